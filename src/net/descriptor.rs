//! What does the kernel know of a client's TCP connection (`$tcpinfo_…`), and how is it made to end in a reset
//! (`reset_timedout_connection`)? Asked through the number of its descriptor, because whoever asks does not own the socket.
//!
//! The one unsafe line says that the number is open. [`Descriptor`] holds it only while the connection's driver holds the
//! socket, on the same thread; were it ever wrong, the answer would be of another socket, and no memory would suffer.

#![allow(unsafe_code)]

use std::cell::Cell;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::time::Duration;

/// The socket below a connection, while it is open.
#[derive(Debug, Default)]
pub struct Descriptor(Cell<Option<RawFd>>);

/// What the kernel measures of a TCP connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpFacts {
    /// `$tcpinfo_rtt`, microseconds.
    pub rtt: u32,
    /// `$tcpinfo_rttvar`, microseconds.
    pub rttvar: u32,
    /// `$tcpinfo_snd_cwnd`, segments.
    pub snd_cwnd: u32,
    /// `$tcpinfo_rcv_space`, bytes.
    pub rcv_space: u32,
}

impl Descriptor {
    /// From now on it is this one.
    pub(super) fn open(&self, socket: &impl AsFd) {
        self.0.set(Some(socket.as_fd().as_raw_fd()));
    }

    /// The socket is gone.
    pub(super) fn closed(&self) {
        self.0.set(None);
    }

    fn with<T>(&self, ask: impl FnOnce(BorrowedFd<'_>) -> Option<T>) -> Option<T> {
        let number = self.0.get()?;
        // SAFETY: the number was taken from an open socket, and is forgotten before that is closed; see above.
        ask(unsafe { BorrowedFd::borrow_raw(number) })
    }

    /// What the kernel knows; `None` on a unix socket.
    pub fn tcp_facts(&self) -> Option<TcpFacts> {
        self.with(|socket| {
            let mut info = std::mem::MaybeUninit::<libc::tcp_info>::zeroed();
            let mut length = size_of::<libc::tcp_info>() as libc::socklen_t;
            // SAFETY: the kernel writes at most `length` bytes into a structure of that size, which is all numbers and
            // so holds a value whatever was written.
            let info = unsafe {
                let to = info.as_mut_ptr().cast();
                let number = socket.as_raw_fd();
                let answer = libc::getsockopt(number, libc::IPPROTO_TCP, libc::TCP_INFO, to, &raw mut length);
                (answer == 0).then(|| info.assume_init())?
            };
            Some(TcpFacts {
                rtt: info.tcpi_rtt,
                rttvar: info.tcpi_rttvar,
                snd_cwnd: info.tcpi_snd_cwnd,
                rcv_space: info.tcpi_rcv_space,
            })
        })
    }

    /// Makes the next close send a reset; nothing on a unix socket.
    pub fn reset_on_close(&self) {
        // Fails only where there is nothing to reset.
        self.with(|socket| socket2::SockRef::from(&socket).set_linger(Some(Duration::ZERO)).ok());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn a_connection_has_facts_while_it_is_open_and_ends_in_a_reset_when_told() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, _) = listener.accept().unwrap();
        let descriptor = Descriptor::default();
        assert_eq!(descriptor.tcp_facts(), None);
        descriptor.open(&server);
        assert!(descriptor.tcp_facts().unwrap().snd_cwnd > 0);
        descriptor.reset_on_close();
        drop(server);
        descriptor.closed();
        assert_eq!(descriptor.tcp_facts(), None);
        let ended = client.read(&mut [0]).unwrap_err();
        assert_eq!(ended.kind(), std::io::ErrorKind::ConnectionReset);
    }
}
