//! How does a line reach syslog? One datagram in RFC 3164 form over UDP or a unix socket; never waits, never retries:
//! a log server that is away costs lines, not requests.

use crate::plan::log::Syslog;
use bytes::Bytes;
use std::cell::RefCell;
use std::io;
use std::net::{Ipv6Addr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::os::unix::net::UnixDatagram;

/// A way to one syslog server.
#[derive(Debug)]
pub struct SyslogSocket {
    to: Syslog,
    hostname: Bytes,
    socket: RefCell<Option<Socket>>,
}

#[derive(Debug)]
enum Socket {
    Udp(UdpSocket),
    Unix(UnixDatagram),
}

impl SyslogSocket {
    /// A way to `to`; connected at the first line.
    pub fn new(to: Syslog, hostname: Bytes) -> SyslogSocket {
        SyslogSocket { to, hostname, socket: RefCell::new(None) }
    }

    /// Sends `line`. `stamp`: `Nov 22 06:36:47`; `severity`: instead of the configured one.
    pub fn send(&self, line: &[u8], stamp: &str, severity: Option<u8>) {
        let mut socket = self.socket.borrow_mut();
        if socket.is_none() {
            *socket = self.connect().ok();
        }
        let priority = u32::from(self.to.facility) * 8 + u32::from(severity.unwrap_or(self.to.severity));
        let mut message = format!("<{priority}>{stamp} ").into_bytes();
        if !self.to.no_hostname {
            message.extend_from_slice(&self.hostname);
            message.push(b' ');
        }
        message.extend_from_slice(self.to.tag.as_bytes());
        message.extend_from_slice(b": ");
        message.extend_from_slice(line);
        let sent = match &*socket {
            Some(Socket::Udp(udp)) => udp.send(&message),
            Some(Socket::Unix(unix)) => unix.send(&message),
            None => return,
        };
        // A restarted syslog daemon has a new socket: connect again for the next line.
        if sent.is_err_and(|error| error.kind() != io::ErrorKind::WouldBlock) {
            *socket = None;
        }
    }

    fn connect(&self) -> io::Result<Socket> {
        if let Some(path) = self.to.server.strip_prefix("unix:") {
            let unix = UnixDatagram::unbound()?;
            unix.set_nonblocking(true)?;
            unix.connect(path)?;
            return Ok(Socket::Unix(unix));
        }
        let address = address_of(&self.to.server)?;
        let any: SocketAddr =
            if address.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { (Ipv6Addr::UNSPECIFIED, 0).into() };
        let udp = UdpSocket::bind(any)?;
        udp.set_nonblocking(true)?;
        udp.connect(address)?;
        Ok(Socket::Udp(udp))
    }
}

/// `host:port`, `host`, `[v6]:port`; the default port is 514.
fn address_of(server: &str) -> io::Result<SocketAddr> {
    let mut found = match server.to_socket_addrs() {
        Ok(found) => found,
        Err(_) => (server.trim_matches(['[', ']']), 514).to_socket_addrs()?,
    };
    found.next().ok_or_else(|| io::ErrorKind::NotFound.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_becomes_one_datagram_with_priority_and_tag() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let to = Syslog {
            server: server.local_addr().unwrap().to_string().into(),
            facility: 23,
            severity: 6,
            tag: "nginx".into(),
            no_hostname: false,
        };
        SyslogSocket::new(to, "box".into()).send(b"hello", "Nov 22 06:36:47", None);
        let mut buffer = [0; 200];
        let got = server.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..got], b"<190>Nov 22 06:36:47 box nginx: hello");
    }
}
