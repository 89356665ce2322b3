//! What is a client's connection made of? A socket, bytes that were read ahead of their time, and TLS if it was spoken.
//! Moves bytes; knows no protocol above TLS.

use bytes::{Buf, Bytes, BytesMut};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::server::TlsStream;

/// A connected socket.
#[derive(Debug)]
pub enum Socket {
    /// TCP.
    Tcp(TcpStream),
    /// A unix-domain stream.
    Unix(UnixStream),
}

impl Socket {
    /// Ready when reading would not block (or would fail). Takes no buffer: an idle connection waits here.
    ///
    /// # Errors
    /// The runtime is shutting down.
    pub fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Socket::Tcp(socket) => socket.poll_read_ready(cx),
            Socket::Unix(socket) => socket.poll_read_ready(cx),
        }
    }

    /// `tcp_nodelay`; nothing on a unix socket.
    ///
    /// # Errors
    /// What `setsockopt()` said.
    pub fn set_nodelay(&self, on: bool) -> io::Result<()> {
        match self {
            Socket::Tcp(socket) => socket.set_nodelay(on),
            Socket::Unix(_) => Ok(()),
        }
    }
}

/// A socket with the bytes that were read from it too early, for example behind a PROXY header.
#[derive(Debug)]
pub struct Wire {
    socket: Socket,
    ahead: Bytes,
}

impl Wire {
    /// A socket of which nothing has been read.
    pub fn new(socket: Socket) -> Wire {
        Wire { socket, ahead: Bytes::new() }
    }

    /// Reads up to `room` more bytes ahead; 0: the other side has ended.
    ///
    /// # Errors
    /// What the socket said.
    pub async fn read_ahead(&mut self, room: usize) -> io::Result<usize> {
        let mut bytes = BytesMut::with_capacity(self.ahead.len() + room);
        bytes.extend_from_slice(&self.ahead);
        let count = match &mut self.socket {
            Socket::Tcp(socket) => socket.read_buf(&mut bytes).await?,
            Socket::Unix(socket) => socket.read_buf(&mut bytes).await?,
        };
        self.ahead = bytes.freeze();
        Ok(count)
    }

    /// Drops the first `count` bytes of [`Wire::ahead`]; at most as many as there are.
    pub fn skip(&mut self, count: usize) {
        self.ahead.advance(count.min(self.ahead.len()));
    }

    /// Bytes that were read too early and not yet asked for.
    pub fn ahead(&self) -> &Bytes {
        &self.ahead
    }

    /// The socket.
    pub fn socket(&self) -> &Socket {
        &self.socket
    }
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.ahead.is_empty() {
            let count = self.ahead.len().min(buf.remaining());
            buf.put_slice(&self.ahead[..count]);
            self.ahead.advance(count);
            if self.ahead.is_empty() {
                self.ahead = Bytes::new();
            }
            return Poll::Ready(Ok(()));
        }
        match &mut self.socket {
            Socket::Tcp(socket) => Pin::new(socket).poll_read(cx, buf),
            Socket::Unix(socket) => Pin::new(socket).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.socket {
            Socket::Tcp(socket) => Pin::new(socket).poll_write(cx, buf),
            Socket::Unix(socket) => Pin::new(socket).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.socket {
            Socket::Tcp(socket) => Pin::new(socket).poll_write_vectored(cx, bufs),
            Socket::Unix(socket) => Pin::new(socket).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.socket {
            Socket::Tcp(socket) => Pin::new(socket).poll_shutdown(cx),
            Socket::Unix(socket) => Pin::new(socket).poll_shutdown(cx),
        }
    }
}

/// A client's connection, ready for HTTP.
#[derive(Debug)]
pub enum ClientStream {
    /// Without TLS.
    Plain(Wire),
    /// Behind TLS, the handshake done.
    Tls(Box<TlsStream<Wire>>),
}

impl ClientStream {
    /// The socket below.
    pub fn socket(&self) -> &Socket {
        match self {
            ClientStream::Plain(wire) => wire.socket(),
            ClientStream::Tls(stream) => stream.get_ref().0.socket(),
        }
    }

    /// Ready when a read may give something: without a buffer, so that an idle connection holds none. A read after it
    /// may still find nothing (half a TLS record).
    ///
    /// # Errors
    /// The runtime is shutting down.
    pub fn poll_read_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            ClientStream::Plain(wire) if !wire.ahead.is_empty() => Poll::Ready(Ok(())),
            ClientStream::Plain(wire) => wire.socket.poll_read_ready(cx),
            ClientStream::Tls(stream) => {
                let (wire, session) = stream.get_mut();
                let waiting = session.process_new_packets().map_or(1, |state| state.plaintext_bytes_to_read());
                if waiting > 0 || !wire.ahead.is_empty() {
                    return Poll::Ready(Ok(()));
                }
                wire.socket.poll_read_ready(cx)
            }
        }
    }
}

impl AsyncRead for ClientStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            ClientStream::Plain(wire) => Pin::new(wire).poll_read(cx, buf),
            ClientStream::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            ClientStream::Plain(wire) => Pin::new(wire).poll_write(cx, buf),
            ClientStream::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            ClientStream::Plain(wire) => Pin::new(wire).poll_write_vectored(cx, bufs),
            ClientStream::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            ClientStream::Plain(wire) => wire.is_write_vectored(),
            ClientStream::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            ClientStream::Plain(wire) => Pin::new(wire).poll_flush(cx),
            ClientStream::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            ClientStream::Plain(wire) => Pin::new(wire).poll_shutdown(cx),
            ClientStream::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
