//! Which CA do tests talk to? Pebble, on ports and with a listener certificate of its own, checking challenges on the
//! ports that the test names, with a DNS server beside it that sends every name to the loopback.

use std::process::Command;

use tempfile::TempDir;

use super::ca::Ca;
use super::client::Tls;
use super::process::Process;
use super::{PATIENCE, free_port, wait_for};

/// How a Pebble is to be started.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where it checks HTTP-01.
    pub http: u16,
    /// Where it checks TLS-ALPN-01.
    pub tls: u16,
    /// Life of certificates in seconds.
    pub life: u64,
    /// Share of good nonces that are refused all the same, in percent.
    pub refused_nonces: u8,
    /// Share of valid authorizations used again, in percent.
    pub reused_authorizations: u8,
    /// Longest random pause before a validation, in seconds.
    pub pause: u32,
    /// Key id and key (base64url) that new accounts must be bound to.
    pub binding: Option<(String, String)>,
    /// More roots than one.
    pub alternate_roots: u8,
    /// Port of the DNS server that it asks, instead of one that sends every name to the loopback.
    pub dns: Option<u16>,
}

impl Settings {
    /// Quick and friendly: no pauses, no refused nonces.
    pub fn checking(http: u16, tls: u16) -> Settings {
        Settings {
            http,
            tls,
            life: 90 * 86_400,
            refused_nonces: 0,
            reused_authorizations: 0,
            pause: 0,
            binding: None,
            alternate_roots: 0,
            dns: None,
        }
    }
}

/// A running Pebble with its DNS server; both end when it is dropped.
pub struct Pebble {
    acme: u16,
    management: u16,
    ca: Ca,
    folder: TempDir,
    process: Process,
    names: Process,
    names_management: u16,
    dns: u16,
}

impl Pebble {
    /// Starts Pebble checking HTTP-01 on `http` and TLS-ALPN-01 on `tls`.
    pub fn start(http: u16, tls: u16) -> Pebble {
        Pebble::with(&Settings::checking(http, tls))
    }

    /// Starts Pebble as `settings` say.
    pub fn with(settings: &Settings) -> Pebble {
        let folder = tempfile::Builder::new().prefix("pebble").tempdir().unwrap();
        let (acme, management, dns, names_management) = (free_port(), free_port(), free_port(), free_port());
        let ca = Ca::new("Pebble's listener");
        let own = ca.issue(&["localhost", "127.0.0.1"]);
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let names = Process::start(
            Command::new("pebble-challtestsrv")
                .args(["-defaultIPv6", "", "-http01", "", "-https01", "", "-tlsalpn01", ""])
                .args(["-dns01", &format!("127.0.0.1:{dns}"), "-management", &format!("127.0.0.1:{names_management}")]),
            &folder.path().join("names.log"),
        );
        let mut config = serde_json::json!({ "pebble": {
            "listenAddress": format!("127.0.0.1:{acme}"),
            "managementListenAddress": format!("127.0.0.1:{management}"),
            "certificate": write("own.pem", &own.chain),
            "privateKey": write("own.key", &own.key),
            "httpPort": settings.http,
            "tlsPort": settings.tls,
            "ocspResponderURL": "",
            "externalAccountBindingRequired": settings.binding.is_some(),
            "certificateValidityPeriod": settings.life,
        }});
        if let Some((id, key)) = &settings.binding {
            config["pebble"]["externalAccountMACKeys"] = serde_json::json!({ id: key });
        }
        write("root.pem", &ca.pem());
        let config = write("pebble.json", &config.to_string());
        let mut command = Command::new("pebble");
        command.arg("-config").arg(config).args([
            "-strict",
            "-dnsserver",
            &format!("127.0.0.1:{}", settings.dns.unwrap_or(dns)),
        ]);
        command.env("PEBBLE_WFE_NONCEREJECT", settings.refused_nonces.to_string());
        command.env("PEBBLE_AUTHZREUSE", settings.reused_authorizations.to_string());
        command.env("PEBBLE_ALTERNATE_ROOTS", settings.alternate_roots.to_string());
        match settings.pause {
            0 => command.env("PEBBLE_VA_NOSLEEP", "1"),
            seconds => command.env("PEBBLE_VA_SLEEPTIME", seconds.to_string()),
        };
        let process = Process::start(&mut command, &folder.path().join("pebble.log"));
        let mut pebble = Pebble { acme, management, ca, folder, process, names, names_management, dns };
        wait_for("Pebble", PATIENCE, || {
            assert!(pebble.process.ended().is_none(), "Pebble ended:\n{}", pebble.log());
            assert!(pebble.names.ended().is_none(), "its DNS server ended:\n{}", pebble.names.output());
            pebble.tls().get(management, "localhost", "/roots/0").is_ok_and(|answer| answer.status == 200)
        });
        pebble
    }

    /// Leads a name to another address than the loopback's first, in the DNS that Pebble asks; or (`None`) back.
    pub fn lead(&self, name: &str, address: Option<&str>) {
        let (path, body) = match address {
            Some(address) => ("add-a", serde_json::json!({ "host": name, "addresses": [address] })),
            None => ("clear-a", serde_json::json!({ "host": name })),
        };
        let body = body.to_string();
        let head =
            format!("POST /{path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
        let done = super::client::exchange(self.names_management, (head + &body).as_bytes());
        assert!(done.bytes.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&done.bytes));
    }

    /// URL of the ACME directory.
    pub fn directory(&self) -> String {
        format!("https://localhost:{}/dir", self.acme)
    }

    /// File with the root that signed Pebble's own listener certificate (`ssl_trusted_certificate` of an issuer).
    pub fn trusted(&self) -> String {
        self.folder.path().join("root.pem").to_string_lossy().into_owned()
    }

    /// Root of the certificates that Pebble issues, as PEM.
    pub fn root(&self) -> String {
        self.manage("/roots/0")
    }

    /// Another of its roots (`alternate_roots`), as PEM.
    pub fn other_root(&self, number: u8) -> String {
        self.manage(&format!("/roots/{number}"))
    }

    /// Intermediate of the certificates that Pebble issues, as PEM.
    pub fn intermediate(&self) -> String {
        self.manage("/intermediates/0")
    }

    /// Everything Pebble wrote; it names every request, order and validation.
    pub fn log(&self) -> String {
        self.process.output()
    }

    /// How many certificates it has issued.
    pub fn issued(&self) -> usize {
        self.log().matches("Issued certificate serial").count()
    }

    /// How many orders were placed.
    pub fn orders(&self) -> usize {
        self.log().matches("POST /order-plz").count()
    }

    /// Port of the ACME server.
    pub fn port(&self) -> u16 {
        self.acme
    }

    /// Port of the DNS server that sends every name to 127.0.0.1.
    pub fn dns(&self) -> u16 {
        self.dns
    }

    /// Where it looks for `name` from now on.
    pub fn steer(&self, name: &str, addresses: &[std::net::IpAddr]) {
        let (host, addresses) = (format!("{name}."), addresses.iter().map(ToString::to_string).collect::<Vec<_>>());
        for path in ["/clear-a", "/add-a"] {
            let body = serde_json::json!({ "host": host, "addresses": addresses }).to_string();
            let head = format!(
                "POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
                body.len()
            );
            let answer = super::client::exchange(self.names_management, (head + &body).as_bytes());
            assert!(String::from_utf8_lossy(&answer.bytes).starts_with("HTTP/1.1 200"), "{path} was refused");
        }
    }

    /// What it says about the certificate with this serial number (lower-case hexadecimal): status and reason.
    pub fn standing(&self, serial: &str) -> String {
        self.manage(&format!("/cert-status-by-serial/{serial}"))
    }

    fn manage(&self, path: &str) -> String {
        self.tls().get(self.management, "localhost", path).unwrap().text()
    }

    fn tls(&self) -> Tls {
        Tls::trusting(&self.ca.pem())
    }
}
