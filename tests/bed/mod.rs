//! What do integration tests stand on? Real peers (nginx, Pebble, curl), semper itself, certificates, origins and plain
//! clients, each started on ports that the kernel gave and ended by its own process id.
//! Used as `mod bed;` by the tests in this folder; it knows the binary `semper`, never the library.
//!
//! ```ignore
//! let origin = Origin::echo();
//! let server = Semper::start(&http(&format!("server {{ listen 127.0.0.1:%port1%; location / {{ proxy_pass http://{}; }} }}", origin.address())));
//! let answer = server.get(1, "/hello");
//! assert_eq!(answer.status, 200);
//! ```
#![allow(dead_code, clippy::unwrap_used, unreachable_pub)]

pub mod bind;
pub mod ca;
pub mod client;
pub mod faulty;
pub mod namespace;
pub mod origin;
pub mod pebble;
pub mod process;
pub mod revoked;
pub mod server;

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long anything that must happen is waited for, unless a test says otherwise.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until `condition` holds; panics with `what` after `patience`.
pub fn wait_for(what: &str, patience: Duration, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < patience, "waited {patience:?} for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Waits until `look` finds something and returns it; panics with `what` after `patience`.
pub fn wait_some<T>(what: &str, patience: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let mut found = None;
    wait_for(what, patience, || {
        found = look();
        found.is_some()
    });
    found.unwrap()
}

/// A port on the loopback that the kernel gave, and gives to nobody else for the next minute: a connection that was
/// closed from this side first stays in TIME_WAIT on it, which keeps it out of the ephemeral pool, while a listener with
/// SO_REUSEADDR may still bind it.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let client = TcpStream::connect(address).unwrap();
    let (accepted, _) = listener.accept().unwrap();
    drop(accepted);
    drop(client);
    address.port()
}

/// The root of the repository.
pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Whether this run must leave nothing out (`make test`, CI).
pub fn must_be_complete() -> bool {
    std::env::var_os("SEMPER_TESTS_COMPLETE").is_some() || std::env::var_os("CI").is_some()
}

/// The folder `nginx-conf` beside the checkout, where there is one.
pub fn public_confs() -> Option<PathBuf> {
    let folder = root().parent()?.join("shared/nginx-conf");
    folder.is_dir().then_some(folder)
}

/// Writes `bytes` to `path` with mode 0600, making folders as needed.
pub fn write_private(path: &Path, bytes: impl AsRef<[u8]>) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, bytes).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}
