//! Which name server do tests talk to? Real BIND on a port that the kernel gave, with zones that the test writes and a key
//! for updates.

use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

use super::process::Process;
use super::{PATIENCE, free_port, wait_for};

/// The secret of the key `semper`.
pub const SECRET: &str = "c2VtcGVyIHNlbXBlciBzZW1wZXIgc2VtcGVyIHNlbXA=";

/// A running named; it ends when dropped.
pub struct Bind {
    port: u16,
    folder: TempDir,
    process: Process,
}

impl Bind {
    /// Starts named with `zones`: origin and records in the form of a zone file, without SOA and NS. The key `semper`
    /// (hmac-sha256, [`SECRET`]) may update each, the key `stranger` none.
    pub fn start(zones: &[(&str, &str)]) -> Bind {
        let folder = tempfile::Builder::new().prefix("bind").tempdir().unwrap();
        let (dir, port) = (folder.path().display().to_string(), free_port());
        let mut conf = format!(
            "options {{ directory \"{dir}\"; listen-on port {port} {{ 127.0.0.1; }}; listen-on-v6 {{ none; }};\n\
             pid-file \"{dir}/named.pid\"; session-keyfile none; recursion yes; allow-query {{ any; }};\n\
             dnssec-validation no; notify no; empty-zones-enable no; }};\ncontrols {{ }};\n\
             key \"semper\" {{ algorithm hmac-sha256; secret \"{SECRET}\"; }};\n\
             key \"stranger\" {{ algorithm hmac-sha256; secret \"{SECRET}\"; }};\n"
        );
        // A root of our own: what no zone here knows does not exist, and nobody outside is asked.
        let root = format!("{dir}/root.zone");
        std::fs::write(&root, "$TTL 1\n. IN SOA ns. h. 1 3600 600 86400 1\n. IN NS ns.\nns. IN A 127.0.0.1\n").unwrap();
        conf.push_str(&format!("zone \".\" {{ type primary; file \"{root}\"; }};\n"));
        for (origin, records) in zones {
            let file = format!("{dir}/{origin}.zone");
            let head = format!(
                "$ORIGIN {origin}.\n$TTL 1\n@ IN SOA ns.{origin}. hostmaster.{origin}. 1 3600 600 86400 1\n\
                 @ IN NS ns.{origin}.\nns IN A 127.0.0.1\n"
            );
            std::fs::write(&file, format!("{head}{records}\n")).unwrap();
            conf.push_str(&format!(
                "zone \"{origin}\" {{ type primary; file \"{file}\"; allow-update {{ key \"semper\"; }}; }};\n"
            ));
        }
        let path = folder.path().join("named.conf");
        std::fs::write(&path, conf).unwrap();
        let mut command = Command::new("named");
        command.args(["-g", "-n", "1", "-c"]).arg(&path);
        let process = Process::start(&mut command, &folder.path().join("named.log"));
        let mut bind = Bind { port, folder, process };
        wait_for("named", PATIENCE, || {
            assert!(bind.process.ended().is_none(), "named ended:\n{}", bind.log());
            bind.log().contains("running") && std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        bind
    }

    /// Where it listens, for UDP and TCP.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The same as an address.
    pub fn address(&self) -> std::net::SocketAddr {
        ([127, 0, 0, 1], self.port).into()
    }

    /// Its log.
    pub fn log(&self) -> String {
        self.process.output()
    }

    /// Sends a command of nsupdate for `zone`.
    pub fn update(&self, zone: &str, command: &str) {
        let input = format!("server 127.0.0.1 {}\nzone {zone}\n{command}\nsend\n", self.port);
        let mut child = Command::new("nsupdate")
            .args(["-y", &format!("hmac-sha256:semper:{SECRET}")])
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), input.as_bytes()).unwrap();
        assert!(child.wait().unwrap().success(), "{input}");
    }

    /// A file with the key `semper` as `tsig-keygen` would write it.
    pub fn key_file(&self) -> PathBuf {
        let path = self.folder.path().join("semper.key");
        let text = format!("key \"semper\" {{\n\talgorithm hmac-sha256;\n\tsecret \"{SECRET}\";\n}};\n");
        super::write_private(&path, text);
        path
    }
}
