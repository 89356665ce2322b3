//! How are nginx and semper run on the same configuration? A template is filled with ports and a folder, the binary is
//! started in the foreground, and the test talks to its ports, reads its logs and sends it signals.
//!
//! In a template `%port1%` … `%port9%` become ports, `%dir%` the server's own folder.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use nix::sys::signal::Signal;
use tempfile::TempDir;

use super::client::{self, Answer};
use super::process::Process;
use super::{PATIENCE, free_port, root, wait_for};

/// Real nginx 1.28.
pub struct Nginx;
/// The semper of this build.
pub struct Semper;

impl Nginx {
    /// Starts nginx on the template `conf` and waits until it listens.
    pub fn start(conf: &str) -> Server {
        Server::start_on_its_own(nginx_binary(), conf)
    }

    /// The same on a site whose files stand already.
    pub fn serve(site: &Site) -> Server {
        Server::start(nginx_binary(), site)
    }
}

impl Semper {
    /// Starts semper on the template `conf` and waits until it listens.
    pub fn start(conf: &str) -> Server {
        Server::start_on_its_own(semper_binary(), conf)
    }

    /// The same on a site whose files stand already.
    pub fn serve(site: &Site) -> Server {
        Server::start(semper_binary(), site)
    }

    /// Runs the binary with `arguments` to its end.
    pub fn run(arguments: &[&str]) -> Output {
        Command::new(semper_binary()).args(arguments).output().unwrap()
    }
}

/// The binary under test.
pub fn semper_binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_semper"))
}

/// nginx 1.28 as `make nginx` builds it; `SEMPER_NGINX` names another one. Built here if it is not there yet.
pub fn nginx_binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        if let Some(path) = std::env::var_os("SEMPER_NGINX") {
            return path.into();
        }
        let built = Command::new("bash").arg(root().join("tests/nginx-build/build.sh")).output().unwrap();
        assert!(built.status.success(), "nginx cannot be built: {}", String::from_utf8_lossy(&built.stderr));
        PathBuf::from(String::from_utf8(built.stdout).unwrap().trim())
    })
}

/// A main configuration around `inside` of the http block, with pid, logs and temporary files in the server's folder.
pub fn http(inside: &str) -> String {
    main(&format!(
        "http {{
    access_log %dir%/access.log;
    client_body_temp_path %dir%/body;
    proxy_temp_path %dir%/proxy;
{inside}
}}"
    ))
}

/// A main configuration around whole blocks such as `http { … }` or `stream { … }`.
pub fn main(blocks: &str) -> String {
    let user = if nix::unistd::getuid().is_root() { "user root;\n" } else { "" };
    format!(
        "{user}worker_processes 1;\npid %dir%/pid;\nerror_log %dir%/error.log info;\nevents {{ worker_connections 512; }}\n{blocks}\n"
    )
}

/// A folder with a configuration in it: what a server is started on.
pub struct Site {
    folder: TempDir,
    ports: Vec<u16>,
}

impl Site {
    /// Fills the template and writes it as `nginx.conf` into a new folder.
    pub fn new(template: &str) -> Site {
        let folder = tempfile::Builder::new().prefix("bed").tempdir().unwrap();
        let site = Site { folder, ports: (0..9).map(|_| free_port()).collect() };
        site.rewrite(template);
        site
    }

    /// Fills `template` with the same ports and folder and writes it again.
    pub fn rewrite(&self, template: &str) {
        std::fs::write(self.conf(), self.fill(template)).unwrap();
    }

    /// The template with ports and folder filled in.
    pub fn fill(&self, template: &str) -> String {
        let mut text = template.replace("%dir%", &self.dir().to_string_lossy());
        for (index, port) in self.ports.iter().enumerate() {
            text = text.replace(&format!("%port{}%", index + 1), &port.to_string());
        }
        text
    }

    /// Writes a file below the folder, making folders as needed.
    pub fn file(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.dir().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, bytes).unwrap();
        path
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        self.folder.path()
    }

    /// The main configuration file.
    pub fn conf(&self) -> PathBuf {
        self.dir().join("nginx.conf")
    }

    /// The port that `%portN%` stands for.
    pub fn port(&self, number: usize) -> u16 {
        self.ports[number - 1]
    }

    /// A file of the folder as text; empty if it is not there.
    pub fn read(&self, name: &str) -> String {
        String::from_utf8_lossy(&std::fs::read(self.dir().join(name)).unwrap_or_default()).into_owned()
    }
}

/// A running nginx or semper.
pub struct Server {
    process: Process,
    dir: PathBuf,
    conf: PathBuf,
    ports: Vec<u16>,
    binary: PathBuf,
    /// The folder, if no test keeps it; dropped after the process.
    kept: Option<TempDir>,
}

impl Server {
    fn start(binary: &Path, site: &Site) -> Server {
        Server::start_with(binary, site, &[], &[])
    }

    fn start_on_its_own(binary: &Path, conf: &str) -> Server {
        let site = Site::new(conf);
        let mut server = Server::start(binary, &site);
        server.kept = Some(site.folder);
        server
    }

    /// Starts `binary` on `site` with more arguments and environment, and waits until it listens.
    pub fn start_with(binary: &Path, site: &Site, arguments: &[&str], environment: &[(&str, &str)]) -> Server {
        Server::start_inside(&[], binary, site, arguments, environment)
    }

    /// The same through `wrapper`, a program with arguments that replaces itself by what stands behind it.
    pub fn start_inside(
        wrapper: &[&str],
        binary: &Path,
        site: &Site,
        arguments: &[&str],
        environment: &[(&str, &str)],
    ) -> Server {
        let mut command = Command::new(wrapper.first().map_or(binary.as_os_str(), |program| program.as_ref()));
        command.args(wrapper.iter().skip(1)).args((!wrapper.is_empty()).then_some(binary));
        command.arg("-p").arg(site.dir()).arg("-c").arg(site.conf()).arg("-e").arg(site.dir().join("error.log"));
        command.args(["-g", "daemon off;"]).args(arguments).envs(environment.iter().copied());
        let _ = std::fs::remove_file(site.dir().join("pid"));
        let process = Process::start(&mut command, &site.dir().join("output"));
        let mut server = Server {
            process,
            dir: site.dir().to_owned(),
            conf: site.conf(),
            ports: site.ports.clone(),
            binary: binary.to_owned(),
            kept: None,
        };
        let pid = site.dir().join("pid");
        wait_for("the pid file", PATIENCE, || {
            if let Some(status) = server.process.ended() {
                panic!("{} ended at start with {status}:\n{}", binary.display(), server.complaints());
            }
            std::fs::read_to_string(&pid).is_ok_and(|text| text.ends_with('\n'))
        });
        server
    }

    /// The port that `%portN%` stands for.
    pub fn port(&self, number: usize) -> u16 {
        self.ports[number - 1]
    }

    /// The server's folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The process that was started: the master.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// A file of the folder as text; empty if it is not there.
    pub fn read(&self, name: &str) -> String {
        String::from_utf8_lossy(&std::fs::read(self.dir.join(name)).unwrap_or_default()).into_owned()
    }

    /// Its output and its error log.
    pub fn complaints(&self) -> String {
        format!("{}{}", self.process.output(), self.read("error.log"))
    }

    /// Waits until the file `name` holds `text`.
    pub fn wait_for_line(&self, name: &str, text: &str) {
        wait_for(&format!("`{text}` in {name}"), PATIENCE, || self.read(name).contains(text));
    }

    /// Replaces the configuration (a template with the same ports) and asks for a reload by signal.
    pub fn reload(&self, template: &str) {
        let mut text = template.replace("%dir%", &self.dir.to_string_lossy());
        for (index, port) in self.ports.iter().enumerate() {
            text = text.replace(&format!("%port{}%", index + 1), &port.to_string());
        }
        std::fs::write(&self.conf, text).unwrap();
        self.process.signal(Signal::SIGHUP);
    }

    /// Sends a signal to the master.
    pub fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// Runs the same binary with `-s signal` on the same configuration.
    pub fn ask(&self, signal: &str) -> Output {
        let mut command = Command::new(&self.binary);
        command.arg("-p").arg(&self.dir).arg("-c").arg(&self.conf).args(["-s", signal]).output().unwrap()
    }

    /// Sends raw bytes to `%portN%` and returns everything that comes back.
    pub fn exchange(&self, port: usize, request: &[u8]) -> Vec<u8> {
        client::exchange(self.port(port), request).bytes
    }

    /// A plain GET on a connection of its own.
    pub fn get(&self, port: usize, target: &str) -> Answer {
        let head = format!("GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        Answer::parse(&self.exchange(port, head.as_bytes()), false).expect("an answer").0
    }

    /// The resident memory of master and children together, in bytes.
    pub fn resident(&self) -> u64 {
        let ids = std::iter::once(self.process.id()).chain(self.process.children());
        ids.map(super::process::resident).sum()
    }
}
