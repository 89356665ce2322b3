//! How does a new binary take over? As with nginx: USR2 starts it with the listening sockets open and named in the
//! environment variable NGINX, so that either of the two programs can hand over to the other.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::process::{Child, Command};

use crate::plan::listener::ListenAddress;
use crate::plan::log::Level;

use super::errorlog::ErrorLogs;
use super::sockets::Sockets;

/// nginx's name for the variable.
const VARIABLE: &str = "NGINX";

/// How this master was started, and whom it has started to take over.
#[derive(Debug, Default)]
pub struct Upgrade {
    program: Vec<String>,
    daemon: bool,
    child: Option<Child>,
    /// Whoever handed the sockets over to us.
    parent: Option<i32>,
}

impl Upgrade {
    /// `program`: the command line, program first. `daemon`: detached from its terminal, as an heir always is: the master
    /// that started it may leave.
    pub fn new(program: Vec<String>, daemon: bool) -> Upgrade {
        let parent = is_heir().then(|| rustix::process::getppid().map_or(0, |parent| parent.as_raw_nonzero().get()));
        Upgrade { program, daemon: daemon || parent.is_some(), child: None, parent }
    }

    /// Whether it is detached from its terminal.
    pub fn is_daemon(&self) -> bool {
        self.daemon
    }

    /// Whether a successor runs.
    pub fn successor(&self) -> bool {
        self.child.is_some()
    }

    /// Whether two masters run: a successor, or the one that handed over to us. USR2 is ignored then, and files of unix
    /// sockets stay where they are.
    pub fn is_under_way(&self) -> bool {
        let predecessor = || {
            let now = rustix::process::getppid().map(|parent| parent.as_raw_nonzero().get());
            self.parent.is_some_and(|parent| now == Some(parent))
        };
        self.child.is_some() || predecessor()
    }

    /// Starts the new binary with `sockets`.
    ///
    /// # Errors
    /// What the system said.
    pub fn start(&mut self, sockets: &[BorrowedFd<'_>]) -> io::Result<()> {
        use rustix::io::{FdFlags, fcntl_setfd};
        let Some((program, arguments)) = self.program.split_first() else { return Err(io::ErrorKind::NotFound.into()) };
        let mut names = String::new();
        for socket in sockets {
            names.push_str(&format!("{};", socket.as_raw_fd()));
            fcntl_setfd(socket, FdFlags::empty())?;
        }
        let child = Command::new(program).args(arguments).env(VARIABLE, names).spawn();
        for socket in sockets {
            fcntl_setfd(socket, FdFlags::CLOEXEC)?;
        }
        self.child = Some(child?);
        Ok(())
    }

    /// Notes the end of the successor; whether it has ended.
    pub fn reap(&mut self, logs: &ErrorLogs) -> bool {
        let Some(child) = &mut self.child else { return false };
        let Ok(Some(how)) = child.try_wait() else { return false };
        let (level, text) = super::servant::words(child.id(), how);
        logs.line(level, None, &text.replacen("worker process", "new binary process", 1));
        self.child = None;
        true
    }
}

/// Whether another master has handed its sockets over.
pub fn is_heir() -> bool {
    std::env::var_os(VARIABLE).is_some()
}

/// The sockets that another master has handed over. Descriptors that are no listening sockets are left alone.
pub fn inherit(sockets: &mut Sockets, logs: &ErrorLogs) {
    let Ok(names) = std::env::var(VARIABLE) else { return };
    logs.line(Level::Notice, None, &format!("using inherited sockets from \"{names}\""));
    for name in names.split([';', ':']).filter(|name| !name.is_empty()) {
        match name.parse().ok().and_then(|number| take(number).ok()) {
            Some((address, socket)) => sockets.adopt(address, socket),
            None => {
                let text = format!("invalid socket number \"{name}\" in {VARIABLE} environment variable, ignoring");
                logs.line(Level::Emerg, None, &text);
            }
        }
    }
}

/// A descriptor of our own by its number. Asked from the kernel as if of another process, which needs no unsafe code.
fn take(number: i32) -> io::Result<(ListenAddress, OwnedFd)> {
    use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};
    let own = pidfd_open(getpid(), PidfdFlags::empty())?;
    let socket = pidfd_getfd(own, number, PidfdGetfdFlags::empty())?;
    let socket = socket2::Socket::from(socket);
    let address = socket.local_addr()?;
    let address = match address.as_socket() {
        Some(address) => ListenAddress::Tcp(plain(address)),
        None => ListenAddress::Unix(address.as_pathname().ok_or(io::ErrorKind::InvalidInput)?.to_owned()),
    };
    // Now that we hold a duplicate, the number itself must not reach our own children.
    let _ = nix::unistd::close(number);
    socket.set_cloexec(true)?;
    Ok((address, socket.into()))
}

fn plain(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V6(mut six) => {
            six.set_flowinfo(0);
            SocketAddr::V6(six)
        }
        four => four,
    }
}
