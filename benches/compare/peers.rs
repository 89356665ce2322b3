//! How are the proxies started, measured and stopped? One core, one worker, the same nginx.conf for semper and nginx.

use crate::Wishes;
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A proxy that can be measured.
pub struct Peer {
    pub name: &'static str,
    pub binary: PathBuf,
}

/// A proxy that runs.
pub struct Running {
    child: Child,
    name: &'static str,
}

/// Load and origin stand on the last core.
pub fn pin_self() {
    let last = std::thread::available_parallelism().map_or(1, usize::from) - 1;
    let pid = std::process::id().to_string();
    let _ = Command::new("taskset").args(["-apc", &last.to_string(), &pid]).stdout(Stdio::null()).status();
}

/// semper, nginx, and HAProxy if it is installed. `SEMPER_BINARY` measures another build of semper, and `SEMPER_BEFORE`
/// one more beside it, in the same rounds.
pub fn all(wishes: &Wishes) -> Vec<Peer> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let nginx = std::env::var_os("SEMPER_NGINX").map(PathBuf::from).unwrap_or_else(|| {
        let built = Command::new("bash").arg(root.join("tests/nginx-build/build.sh")).output().unwrap();
        PathBuf::from(String::from_utf8(built.stdout).unwrap().trim())
    });
    let mut peers = vec![
        Peer { name: "nginx", binary: nginx },
        Peer {
            name: "semper",
            binary: std::env::var_os("SEMPER_BINARY").unwrap_or_else(|| env!("CARGO_BIN_EXE_semper").into()).into(),
        },
    ];
    if let Some(binary) = std::env::var_os("SEMPER_BEFORE") {
        peers.push(Peer { name: "before", binary: binary.into() });
    }
    if Path::new("/usr/sbin/haproxy").exists() {
        peers.push(Peer { name: "haproxy", binary: "/usr/sbin/haproxy".into() });
    }
    peers.retain(|p| wishes.peers.is_empty() || wishes.peers.iter().any(|w| w == p.name));
    peers
}

impl Peer {
    pub fn version(&self) -> String {
        let out = Command::new(&self.binary).arg("-v").output().unwrap();
        let text = [out.stdout, out.stderr].concat();
        String::from_utf8_lossy(&text).lines().next().unwrap_or("?").to_owned()
    }

    pub fn is_haproxy(&self) -> bool {
        self.name == "haproxy"
    }

    /// Starts it on core 0 with the configuration at `conf`.
    pub fn start(&self, conf: &Path) -> Running {
        let mut command = Command::new("taskset");
        command.args(["-c", "0"]).arg(&self.binary);
        if self.is_haproxy() {
            command.arg("-f").arg(conf);
        } else {
            command.arg("-p").arg(conf.parent().unwrap()).arg("-c").arg(conf).args(["-g", "daemon off;"]);
        }
        let log = std::fs::File::create(conf.with_extension(format!("{}.out", self.name))).unwrap();
        let child = command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        Running { child, name: self.name }
    }
}

impl Running {
    /// Waits until it listens on `port`.
    pub fn ready(mut self, port: u16) -> Running {
        let until = Instant::now() + Duration::from_secs(60);
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < until, "{} does not listen", self.name);
            assert!(self.child.try_wait().unwrap().is_none(), "{} ended at start", self.name);
            std::thread::sleep(Duration::from_millis(2));
        }
        self
    }

    /// Its processes: itself and all descendants.
    pub fn pids(&self) -> HashSet<u32> {
        let mut pids = HashSet::from([self.child.id()]);
        loop {
            let before = pids.len();
            for entry in std::fs::read_dir("/proc").unwrap().flatten() {
                let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse::<u32>().ok()) else { continue };
                let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
                let parent = stat.rsplit(')').next().and_then(|r| r.split_whitespace().nth(1)?.parse::<u32>().ok());
                if parent.is_some_and(|p| pids.contains(&p)) {
                    pids.insert(pid);
                }
            }
            if pids.len() == before {
                return pids;
            }
        }
    }

    /// CPU time of all its threads so far, in microseconds (the scheduler's own account: user and system).
    pub fn cpu(&self) -> f64 {
        let mut nanoseconds = 0.0;
        for pid in self.pids() {
            let Ok(tasks) = std::fs::read_dir(format!("/proc/{pid}/task")) else { continue };
            for task in tasks.flatten() {
                let text = std::fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
                nanoseconds += text.split_whitespace().next().and_then(|n| n.parse::<f64>().ok()).unwrap_or(0.0);
            }
        }
        nanoseconds / 1000.0
    }

    /// Proportional set size of all its processes, in bytes.
    pub fn memory(&self) -> f64 {
        let of = |pid| {
            let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
            let line = text.lines().find(|l| l.starts_with("Pss:")).and_then(|l| l.split_whitespace().nth(1));
            line.and_then(|n| n.parse::<f64>().ok()).unwrap_or(0.0) * 1024.0
        };
        self.pids().into_iter().map(of).sum()
    }

    /// Sends its master a signal.
    pub fn signal(&self, name: &str) {
        let _ = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status();
    }

    /// Ends it; dropping does the same.
    pub fn stop(self) {}
}

impl Drop for Running {
    fn drop(&mut self) {
        self.signal("TERM");
        let until = Instant::now() + Duration::from_secs(5);
        while matches!(self.child.try_wait(), Ok(None)) {
            if Instant::now() > until {
                let _ = self.child.kill();
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// A free TCP port.
pub fn port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
