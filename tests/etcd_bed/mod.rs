//! What do the tests with a real etcd stand on? Members of Debian's `etcd-server`, alone or three, with or without TLS and
//! users, on ports that the kernel gave, each ended by its own process id; and semper's client for them.
#![allow(dead_code, clippy::unwrap_used, unreachable_pub)]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::Signal;
use semper::plan::etcd::{Endpoint, EtcdStore};
use semper::store::etcd::{Client, Material};
use semper::words::{Place, SecretRef};
use tempfile::TempDir;
use zeroize::Zeroizing;

use crate::bed::ca::{Ca, Issued};
use crate::bed::process::Process;
use crate::bed::{free_port, wait_for};

const START: Duration = Duration::from_secs(30);

/// Some members that form one etcd.
pub struct Etcd {
    pub folder: TempDir,
    pub members: Vec<Member>,
    tls: Option<Ca>,
    quota: Option<u64>,
}

/// One member.
pub struct Member {
    name: String,
    pub client: u16,
    peer: u16,
    process: Option<Process>,
}

impl Etcd {
    /// One member, without TLS.
    pub fn one() -> Etcd {
        Etcd::start(1, false)
    }

    /// Three members, without TLS.
    pub fn three() -> Etcd {
        Etcd::start(3, false)
    }

    /// One member that demands certificates of clients.
    pub fn with_tls() -> Etcd {
        Etcd::start(1, true)
    }

    /// One member that is full with 16 MiB.
    pub fn small() -> Etcd {
        let mut etcd = Etcd::one();
        etcd.kill(0);
        etcd.quota = Some(16 << 20);
        etcd.run(0);
        etcd.wait_healthy(0);
        etcd
    }

    fn start(count: usize, tls: bool) -> Etcd {
        let folder = TempDir::new().unwrap();
        let tls = tls.then(|| {
            let ca = Ca::new("etcd");
            let own = ca.issue(&["127.0.0.1", "localhost"]);
            write_pair(folder.path(), "etcd", &own);
            std::fs::write(folder.path().join("ca.pem"), ca.pem()).unwrap();
            ca
        });
        let member = |n| Member { name: format!("m{n}"), client: free_port(), peer: free_port(), process: None };
        let mut etcd = Etcd { folder, members: (0..count).map(member).collect(), tls, quota: None };
        for n in 0..count {
            etcd.run(n);
        }
        for n in 0..count {
            etcd.wait_healthy(n);
        }
        etcd
    }

    /// Starts a member, or starts it again.
    pub fn run(&mut self, n: usize) {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        let initial: Vec<String> =
            self.members.iter().map(|m| format!("{}=http://127.0.0.1:{}", m.name, m.peer)).collect();
        let member = &self.members[n];
        let own = |port: u16| format!("http://127.0.0.1:{port}");
        let client = format!("{scheme}://127.0.0.1:{}", member.client);
        let data = self.folder.path().join(&member.name);
        let mut command = Command::new("etcd");
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.args(["--name", &member.name]).arg("--data-dir").arg(&data);
        command.args(["--listen-client-urls", &client, "--advertise-client-urls", &client]);
        command.args(["--listen-peer-urls", &own(member.peer), "--initial-advertise-peer-urls", &own(member.peer)]);
        command.args(["--initial-cluster", &initial.join(","), "--log-level", "error"]);
        if let Some(quota) = self.quota {
            command.args(["--quota-backend-bytes", &quota.to_string()]);
        }
        if self.tls.is_some() {
            let file = |name: &str| self.folder.path().join(name);
            command.arg("--cert-file").arg(file("etcd.pem")).arg("--key-file").arg(file("etcd.key"));
            command.arg("--client-cert-auth").arg("--trusted-ca-file").arg(file("ca.pem"));
        }
        let log = self.folder.path().join(format!("{}.log", member.name));
        self.members[n].process = Some(Process::start(&mut command, &log));
    }

    /// Kills a member at once.
    pub fn kill(&mut self, n: usize) {
        if let Some(mut process) = self.members[n].process.take() {
            process.signal(Signal::SIGKILL);
            process.wait(START);
        }
    }

    /// Stops (`SIGSTOP`) or continues (`SIGCONT`) a member.
    pub fn signal(&self, n: usize, signal: Signal) {
        self.members[n].process.as_ref().unwrap().signal(signal);
    }

    pub fn wait_healthy(&self, n: usize) {
        let log = || self.members[n].process.as_ref().map(Process::output).unwrap_or_default();
        wait_for(&format!("etcd member {n}: {}", log()), START, || {
            self.try_ctl(n, &["endpoint", "health", "--command-timeout=2s"]).is_some()
        });
    }

    /// What `etcdctl` answers through member `n`; panics if it fails.
    pub fn ctl(&self, n: usize, args: &[&str]) -> String {
        self.try_ctl(n, args).unwrap_or_else(|| panic!("etcdctl {args:?} failed"))
    }

    fn try_ctl(&self, n: usize, args: &[&str]) -> Option<String> {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        let mut command = Command::new("etcdctl");
        command.env("ETCDCTL_API", "3");
        command.arg(format!("--endpoints={scheme}://127.0.0.1:{}", self.members[n].client));
        if self.tls.is_some() {
            for (option, file) in [("--cacert", "ca.pem"), ("--cert", "etcd.pem"), ("--key", "etcd.key")] {
                command.arg(option).arg(self.folder.path().join(file));
            }
        }
        let done = command.args(args).output().unwrap();
        done.status.success().then(|| String::from_utf8_lossy(&done.stdout).into_owned())
    }

    /// The revision of the store.
    pub fn revision(&self, n: usize) -> i64 {
        let status = self.ctl(n, &["endpoint", "status", "-w", "json"]);
        let (_, rest) = status.split_once("\"revision\":").unwrap();
        rest.split(|c: char| !c.is_ascii_digit()).next().unwrap().parse().unwrap()
    }

    /// Compacts everything up to now.
    pub fn compact(&self, n: usize) {
        let revision = self.revision(n).to_string();
        self.ctl(n, &["compact", &revision]);
    }

    /// The directive's words for this etcd, without user.
    pub fn store(&self) -> EtcdStore {
        let file = |name: &str| self.folder.path().join(name);
        let endpoint = |m: &Member| Endpoint { tls: self.tls.is_some(), host: "127.0.0.1".into(), port: m.client };
        EtcdStore {
            endpoints: self.members.iter().map(endpoint).collect(),
            prefix: "/semper/".into(),
            user: None,
            certificate: self.tls.as_ref().map(|ca| {
                write_pair(self.folder.path(), "node", &ca.issue(&["node.test"]));
                (file("node.pem"), file("node.key"))
            }),
            trusted: self.tls.as_ref().map(|_| file("ca.pem")),
            place: Place::built_in(),
        }
    }

    /// A client, which begins with the first member.
    pub fn client(&self) -> Arc<Client> {
        client(self.store())
    }
}

pub fn client(store: EtcdStore) -> Arc<Client> {
    Arc::new(Client::new(store, Arc::new(Files), 0))
}

fn write_pair(folder: &Path, name: &str, pair: &Issued) {
    std::fs::write(folder.join(format!("{name}.pem")), &pair.certificate).unwrap();
    std::fs::write(folder.join(format!("{name}.key")), &pair.key).unwrap();
}

/// Files and secrets as this process may read them.
pub struct Files;

impl Material for Files {
    fn file(&self, path: &Path) -> std::io::Result<Zeroizing<Vec<u8>>> {
        std::fs::read(path).map(Zeroizing::new)
    }

    fn secret(&self, secret: &SecretRef) -> std::io::Result<Zeroizing<Vec<u8>>> {
        match secret {
            SecretRef::File(path) => self.file(path),
            SecretRef::Literal(text) => Ok(Zeroizing::new(text.as_bytes().to_vec())),
            _ => Err(std::io::Error::other("not in tests")),
        }
    }
}

/// A file in `folder` with these bytes.
pub fn file(folder: &Path, name: &str, bytes: &str) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}
