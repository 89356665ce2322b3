//! How does a listening socket come to be? Binds with the options of `listen`, one socket for each worker. Called by the
//! master, which may be root; parses nothing and accepts nothing.

use crate::plan::listener::{Keepalive, ListenAddress, SocketOptions};
use socket2::{Domain, SockAddr, Socket, TcpKeepalive, Type};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

/// A socket cannot be opened; printed in nginx's words. Whose fault: the configuration's, or of another process that has
/// the address. Trying again is safe, and sensible if [`ListenError::in_use`].
#[derive(Debug, thiserror::Error)]
#[error("{call} {address} failed ({})", errno(.source))]
pub struct ListenError {
    /// `socket()`, `bind() to`, `listen() to` …
    pub call: &'static str,
    /// The address as nginx prints it.
    pub address: String,
    /// What the system said.
    pub source: io::Error,
}

impl ListenError {
    /// Whether another process has the address.
    pub fn in_use(&self) -> bool {
        self.source.raw_os_error() == Some(libc::EADDRINUSE)
    }
}

/// `98: Address already in use`.
fn errno(error: &io::Error) -> String {
    let text = error.to_string();
    match (error.raw_os_error(), text.rsplit_once(" (os error")) {
        (Some(number), Some((words, _))) => format!("{number}: {words}"),
        _ => text,
    }
}

/// The address as nginx prints it: `0.0.0.0:80`, `[::]:80`, `unix:/path`.
pub fn shown(address: &ListenAddress) -> String {
    match address {
        ListenAddress::Tcp(address) => address.to_string(),
        ListenAddress::Unix(path) => format!("unix:{}", path.display()),
    }
}

/// Opens `count` sockets (at least one) that listen on `address`, one for each worker; the kernel spreads connections
/// over them. The first is bound without SO_REUSEPORT, so that an address which another process has is refused whatever
/// that process allows. On a unix socket the one socket is duplicated.
///
/// # Errors
/// [`ListenError`], in nginx's words.
pub fn open(address: &ListenAddress, options: &SocketOptions, count: usize) -> Result<Vec<OwnedFd>, ListenError> {
    let failed = |call| move |source| ListenError { call, address: shown(address), source };
    let first = match address {
        ListenAddress::Tcp(at) => bind_tcp(&SockAddr::from(*at), Domain::for_address(*at), options, address, false)?,
        ListenAddress::Unix(path) => {
            let first = Socket::new(Domain::UNIX, Type::STREAM, None).map_err(failed("socket()"))?;
            let at = SockAddr::unix(path).map_err(failed("bind() to"))?;
            first.bind(&at).map_err(failed("bind() to"))?;
            // Everybody may connect, as with nginx.
            let everybody = std::fs::Permissions::from_mode(0o666);
            std::fs::set_permissions(path, everybody).map_err(failed("chmod()"))?;
            first
        }
    };
    let more = more(&first, address, options, count.max(1) - 1)?;
    first.listen(options.backlog).map_err(failed("listen() to"))?;
    Ok(std::iter::once(first.into()).chain(more).collect())
}

/// Opens `count` further sockets for more workers, beside `existing` ones that [`open`] gave.
///
/// # Errors
/// [`ListenError`], in nginx's words.
pub fn open_more(
    existing: &OwnedFd,
    address: &ListenAddress,
    options: &SocketOptions,
    count: usize,
) -> Result<Vec<OwnedFd>, ListenError> {
    let failed = |source| ListenError { call: "dup()", address: shown(address), source };
    let existing = Socket::from(existing.try_clone().map_err(failed)?);
    more(&existing, address, options, count)
}

fn more(
    first: &Socket,
    address: &ListenAddress,
    options: &SocketOptions,
    count: usize,
) -> Result<Vec<OwnedFd>, ListenError> {
    let failed = |call| move |source| ListenError { call, address: shown(address), source };
    let mut sockets = Vec::with_capacity(count);
    match address {
        ListenAddress::Unix(_) => {
            for _ in 0..count {
                sockets.push(first.try_clone().map_err(failed("dup()"))?.into());
            }
        }
        ListenAddress::Tcp(at) => {
            // From now on sockets of the same user may share the address with the first one, and none else.
            first.set_reuse_port(true).map_err(failed("setsockopt(SO_REUSEPORT)"))?;
            // Port 0 (tests): the kernel has chosen one.
            let at = first.local_addr().unwrap_or_else(|_| SockAddr::from(*at));
            for _ in 0..count {
                let domain = Domain::from(i32::from(at.family()));
                let socket = bind_tcp(&at, domain, options, address, true)?;
                socket.listen(options.backlog).map_err(failed("listen() to"))?;
                sockets.push(socket.into());
            }
        }
    }
    Ok(sockets)
}

fn bind_tcp(
    at: &SockAddr,
    domain: Domain,
    options: &SocketOptions,
    address: &ListenAddress,
    share: bool,
) -> Result<Socket, ListenError> {
    let failed = |call| move |source| ListenError { call, address: shown(address), source };
    let socket = Socket::new(domain, Type::STREAM, None).map_err(failed("socket()"))?;
    socket.set_reuse_address(true).map_err(failed("setsockopt(SO_REUSEADDR)"))?;
    if share {
        socket.set_reuse_port(true).map_err(failed("setsockopt(SO_REUSEPORT)"))?;
    }
    if domain == Domain::IPV6 {
        socket.set_only_v6(options.ipv6_only).map_err(failed("setsockopt(IPV6_V6ONLY)"))?;
    }
    socket.set_nonblocking(true).map_err(failed("ioctl(FIONBIO)"))?;
    adjust(&socket, options).map_err(failed("setsockopt() for"))?;
    socket.bind(at).map_err(failed("bind() to"))?;
    Ok(socket)
}

/// Lets nobody new into the queue of a listening socket that is about to be closed, while those in it stay: a filter
/// drops each SYN, so that a client which comes now finds the port closed when it tries again, instead of a connection
/// that is reset. It holds for every duplicate of the socket.
pub fn turn_away(socket: impl AsFd) {
    use socket2::{SockFilter, SockRef};
    let step = |code: u32, jt, jf, k| SockFilter::new(u16::try_from(code).unwrap_or(0), jt, jf, k);
    // Byte 13 of the TCP header has the flags; 2 is SYN.
    let drop_syn = [
        step(libc::BPF_LD | libc::BPF_B | libc::BPF_ABS, 0, 0, 13),
        step(libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K, 0, 1, 2),
        step(libc::BPF_RET | libc::BPF_K, 0, 0, 0),
        step(libc::BPF_RET | libc::BPF_K, 0, 0, u32::MAX),
    ];
    let socket = SockRef::from(&socket);
    if socket.domain().is_ok_and(|domain| domain != Domain::UNIX) {
        // Without it a client that comes in the last instant is reset, as with nginx.
        let _ = socket.attach_filter(&drop_syn);
    }
}

/// Sets what may also change while the socket listens: buffers, keep-alive, deferred accept, fast open.
///
/// # Errors
/// What `setsockopt()` said.
pub fn adjust(socket: &Socket, options: &SocketOptions) -> io::Result<()> {
    if let Some(size) = options.receive_buffer {
        socket.set_recv_buffer_size(size)?;
    }
    if let Some(size) = options.send_buffer {
        socket.set_send_buffer_size(size)?;
    }
    match &options.keepalive {
        None => {}
        Some(Keepalive::Off) => socket.set_keepalive(false)?,
        Some(Keepalive::On { idle, interval, count }) => {
            socket.set_keepalive(true)?;
            let mut times = TcpKeepalive::new();
            if let Some(idle) = idle {
                times = times.with_time(Duration::from_secs(u64::from(*idle)));
            }
            if let Some(interval) = interval {
                times = times.with_interval(Duration::from_secs(u64::from(*interval)));
            }
            if let Some(count) = count {
                times = times.with_retries(*count);
            }
            socket.set_tcp_keepalive(&times)?;
        }
    }
    if options.deferred {
        tcp_option(socket, libc::TCP_DEFER_ACCEPT, 1)?;
    }
    if let Some(length) = options.fast_open {
        tcp_option(socket, libc::TCP_FASTOPEN, length)?;
    }
    Ok(())
}

/// No crate of ours wraps TCP_DEFER_ACCEPT and TCP_FASTOPEN.
#[allow(unsafe_code)]
fn tcp_option(socket: &Socket, option: libc::c_int, value: libc::c_int) -> io::Result<()> {
    let length = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the descriptor is open for the whole call, and the value points to one c_int of the given length.
    let result = unsafe {
        let value: *const libc::c_int = &value;
        libc::setsockopt(socket.as_raw_fd(), libc::IPPROTO_TCP, option, value.cast(), length)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;
    use std::net::{SocketAddr, TcpListener, TcpStream};

    fn any() -> ListenAddress {
        ListenAddress::Tcp(SocketAddr::from(([127, 0, 0, 1], 0)))
    }

    fn at(socket: &OwnedFd) -> SocketAddr {
        TcpListener::from(socket.try_clone().unwrap()).local_addr().unwrap()
    }

    #[test]
    fn workers_share_an_address_that_nobody_else_may_take() {
        let options = SocketOptions { deferred: true, fast_open: Some(16), ..SocketOptions::default() };
        let sockets = open(&any(), &options, 3).unwrap();
        assert_eq!(sockets.len(), 3);
        let address = ListenAddress::Tcp(at(&sockets[0]));
        assert!(sockets.iter().all(|socket| at(socket) == at(&sockets[0])));
        let refused = open(&address, &options, 2).unwrap_err();
        assert!(refused.in_use());
        let words = format!("bind() to {} failed (98: Address already in use)", at(&sockets[0]));
        assert_eq!(refused.to_string(), words);
        assert_eq!(open_more(&sockets[0], &address, &options, 2).unwrap().len(), 2);
    }

    #[test]
    fn an_address_that_another_process_shares_is_refused_too() {
        let other = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        other.set_reuse_port(true).unwrap();
        other.set_reuse_address(true).unwrap();
        other.bind(&SockAddr::from(SocketAddr::from(([127, 0, 0, 1], 0)))).unwrap();
        other.listen(1).unwrap();
        let address = ListenAddress::Tcp(other.local_addr().unwrap().as_socket().unwrap());
        assert!(open(&address, &SocketOptions::default(), 1).unwrap_err().in_use());
    }

    #[test]
    fn a_unix_socket_is_open_to_everybody_and_shared_by_duplication() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let address = ListenAddress::Unix(path.clone());
        let sockets = open(&address, &SocketOptions::default(), 2).unwrap();
        assert_eq!(sockets.len(), 2);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o666);
        assert!(open(&address, &SocketOptions::default(), 1).unwrap_err().to_string().starts_with("bind() to unix:/"));
    }

    #[test]
    fn connections_reach_the_sockets() {
        let sockets = open(&any(), &SocketOptions::default(), 1).unwrap();
        let listener = TcpListener::from(sockets.into_iter().next().unwrap());
        listener.set_nonblocking(false).unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        drop(listener.accept().unwrap());
        assert_eq!(client.read(&mut [0]).unwrap(), 0);
    }
}
