//! How do master and server process talk? Frames over a socketpair: a length, then JSON, with open files and sockets
//! beside it. Both ends are ours; whoever speaks wrongly is hung up on. Blocking.

use std::io::{self, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Descriptors in one `sendmsg`; the kernel takes 253.
const BATCH: usize = 128;
/// The longest frame: a large configuration with all its includes fits many times.
const LONGEST: usize = 1 << 30;

/// One end.
#[derive(Debug)]
pub struct Channel(UnixStream);

impl Channel {
    /// Two ends.
    ///
    /// # Errors
    /// When the process has too many files open.
    pub fn pair() -> io::Result<(Channel, Channel)> {
        let (one, other) = UnixStream::pair()?;
        Ok((Channel(one), Channel(other)))
    }

    /// An end that somebody handed over.
    pub fn from_fd(fd: OwnedFd) -> Channel {
        Channel(UnixStream::from(fd))
    }

    /// Sends a word, and `fds` with it.
    ///
    /// # Errors
    /// When the other end is gone.
    pub fn send<T: Serialize>(&self, word: &T, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        let body = serde_json::to_vec(word)?;
        let length =
            u32::try_from(body.len()).ok().filter(|_| body.len() <= LONGEST).ok_or(io::ErrorKind::InvalidData)?;
        let count = u32::try_from(fds.len()).map_err(|_| io::ErrorKind::InvalidData)?;
        let mut head = [0; 8];
        head[..4].copy_from_slice(&length.to_be_bytes());
        head[4..].copy_from_slice(&count.to_be_bytes());
        (&self.0).write_all(&head)?;
        for batch in fds.chunks(BATCH) {
            self.send_batch(batch)?;
        }
        (&self.0).write_all(&body)
    }

    /// Waits for a word; `None`: the other end is gone.
    ///
    /// # Errors
    /// When the other end speaks wrongly.
    pub fn receive<T: DeserializeOwned>(&self) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
        let mut head = [0; 8];
        match (&self.0).read_exact(&mut head) {
            Ok(()) => {}
            Err(gone) if gone.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(gone) if gone.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
            Err(other) => return Err(other),
        }
        let number = |at: usize| u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]) as usize;
        let (length, count) = (number(0), number(4));
        if length > LONGEST {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut fds = Vec::new();
        while fds.len() < count {
            let before = fds.len();
            self.receive_batch(&mut fds)?;
            if fds.len() == before {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "descriptors were announced and did not come"));
            }
        }
        let mut body = vec![0; length];
        (&self.0).read_exact(&mut body)?;
        Ok(Some((serde_json::from_slice(&body)?, fds)))
    }

    fn send_batch(&self, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(BATCH))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !control.push(SendAncillaryMessage::ScmRights(fds)) {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        rustix::io::retry_on_intr(|| sendmsg(&self.0, &[io::IoSlice::new(b"f")], &mut control, SendFlags::NOSIGNAL))?;
        Ok(())
    }

    fn receive_batch(&self, into: &mut Vec<OwnedFd>) -> io::Result<()> {
        let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(BATCH))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut byte = [0; 1];
        let got = rustix::io::retry_on_intr(|| {
            recvmsg(&self.0, &mut [io::IoSliceMut::new(&mut byte)], &mut control, RecvFlags::CMSG_CLOEXEC)
        })?;
        if got.bytes == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(fds) = message {
                into.extend(fds);
            }
        }
        Ok(())
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl From<Channel> for OwnedFd {
    fn from(channel: Channel) -> OwnedFd {
        channel.0.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Seek;

    #[test]
    fn a_word_arrives_with_hundreds_of_open_files() {
        let (one, other) = Channel::pair().unwrap();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"hello").unwrap();
        let fds: Vec<_> = std::iter::repeat_n(file.as_fd(), 300).collect();
        let sent = "x".repeat(500_000);
        std::thread::scope(|scope| {
            scope.spawn(|| one.send(&sent, &fds).unwrap());
            let (word, fds) = other.receive::<String>().unwrap().unwrap();
            assert_eq!((word.len(), fds.len()), (500_000, 300));
            let mut file = std::fs::File::from(fds.into_iter().next_back().unwrap());
            file.rewind().unwrap();
            assert_eq!(io::read_to_string(file).unwrap(), "hello");
        });
    }

    #[test]
    fn an_end_that_is_gone_is_no_error_and_nonsense_is_one() {
        let (one, other) = Channel::pair().unwrap();
        drop(one);
        assert!(other.receive::<String>().unwrap().is_none());
        let (one, other) = Channel::pair().unwrap();
        (&one.0).write_all(&[0xff; 16]).unwrap();
        assert!(other.receive::<String>().is_err());
    }
}
