//! What do a connection's driver and the body of its request share? The stream, the bytes read too early, and the place
//! within the body. Reads and writes, decides nothing.

use crate::h1::{BodyDecoder, BodyError, BodyLength, BodyPiece, ChunkRules};
use bytes::{Buf, BytesMut};
use std::cell::{Cell, RefCell};
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

/// Room for a read while heads are expected: a head and a small body in one go.
pub(super) const HEAD_ROOM: usize = 4 * 1024;
/// Room for a read while a body is coming.
pub(super) const BODY_ROOM: usize = 64 * 1024;

thread_local! {
    /// Where idle connections of this thread read their first bytes, so that none holds a buffer while it waits.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; 16 * 1024].into());
}

/// A client's stream, as its driver and a request's body see it.
pub(super) struct Wire<I> {
    io: RefCell<I>,
    /// Read, and not yet understood.
    pub(super) unread: RefCell<BytesMut>,
    body: RefCell<BodyDecoder>,
    /// Counts requests, so that the body of an earlier one does not read what belongs to a later one.
    number: Cell<u64>,
    /// Bytes of the present request's body, with framing.
    body_read: Cell<u64>,
    /// The client waits for `100 Continue`.
    waits: Cell<bool>,
    /// Bytes of `100 Continue` that were sent for the present request; nginx counts them to the body.
    continue_written: Cell<u64>,
    ended: Cell<bool>,
}

impl<I: AsyncRead + AsyncWrite + Unpin> Wire<I> {
    pub(super) fn new(io: I, unread: BytesMut) -> Rc<Wire<I>> {
        Rc::new(Wire {
            io: RefCell::new(io),
            unread: RefCell::new(unread),
            body: RefCell::new(BodyDecoder::new(BodyLength::Length(0), ChunkRules::REQUEST)),
            number: Cell::new(0),
            body_read: Cell::new(0),
            waits: Cell::new(false),
            continue_written: Cell::new(0),
            ended: Cell::new(false),
        })
    }

    /// Begins a request's body; gives the number that asks for it.
    pub(super) fn begin_body(&self, length: BodyLength, waits: bool) -> u64 {
        *self.body.borrow_mut() = BodyDecoder::new(length, ChunkRules::REQUEST);
        self.number.set(self.number.get() + 1);
        self.body_read.set(0);
        self.waits.set(waits);
        self.continue_written.set(0);
        self.number.get()
    }

    /// From now on no body of an earlier request gets anything.
    pub(super) fn end_body(&self) {
        self.number.set(self.number.get() + 1);
    }

    pub(super) fn is_present(&self, number: u64) -> bool {
        self.number.get() == number
    }

    pub(super) fn body_read(&self) -> u64 {
        self.body_read.get()
    }

    pub(super) fn body_is_done(&self) -> bool {
        self.body.borrow().is_done()
    }

    /// Whether the client has gone in the middle of the body.
    pub(super) fn is_cut_short(&self) -> bool {
        self.ended.get() && !self.body_is_done()
    }

    /// Bytes of the body still to come, if they were counted.
    pub(super) fn body_remaining(&self) -> Option<u64> {
        self.body.borrow().remaining()
    }

    /// Whether the client still waits for `100 Continue` and has sent nothing of the body: what it sends next may be a
    /// body or a request.
    pub(super) fn waits_for_continue(&self) -> bool {
        self.waits.get() && self.unread.borrow().is_empty()
    }

    pub(super) fn continue_written(&self) -> u64 {
        self.continue_written.get()
    }

    /// The next piece of the body out of what has been read.
    pub(super) fn next_piece(&self) -> Result<BodyPiece, BodyError> {
        let mut unread = self.unread.borrow_mut();
        let before = unread.len();
        let piece = self.body.borrow_mut().decode(&mut unread);
        self.body_read.set(self.body_read.get() + (before - unread.len()) as u64);
        piece
    }

    /// Asks the client for the body, if it waits to be asked.
    pub(super) fn poll_continue(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
        if !self.waits.get() {
            return Poll::Ready(Ok(()));
        }
        let mut io = self.io.borrow_mut();
        let written = ready!(Pin::new(&mut *io).poll_write(cx, CONTINUE))?;
        self.waits.set(false);
        self.continue_written.set(written as u64);
        // As nginx: so small a write into an empty socket is whole or the connection is lost.
        if written < CONTINUE.len() {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        Pin::new(&mut *io).poll_flush(cx)
    }

    /// Reads into `unread`, with room for `room` bytes; 0: the client has ended its side.
    pub(super) fn poll_fill(&self, cx: &mut Context<'_>, room: usize) -> Poll<io::Result<usize>> {
        if self.ended.get() {
            return Poll::Ready(Ok(0));
        }
        let mut unread = self.unread.borrow_mut();
        unread.reserve(room);
        let mut io = self.io.borrow_mut();
        let count = ready!(pin!(io.read_buf(&mut *unread)).poll(cx))?;
        self.ended.set(count == 0);
        Poll::Ready(Ok(count))
    }

    /// As [`Wire::poll_fill`], but holds no buffer while nothing comes.
    pub(super) fn poll_first(&self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.ended.get() {
            return Poll::Ready(Ok(0));
        }
        SCRATCH.with_borrow_mut(|scratch| {
            let mut read = ReadBuf::new(scratch);
            ready!(Pin::new(&mut *self.io.borrow_mut()).poll_read(cx, &mut read))?;
            let bytes = read.filled();
            let mut unread = self.unread.borrow_mut();
            unread.reserve(bytes.len().max(HEAD_ROOM));
            unread.extend_from_slice(bytes);
            self.ended.set(bytes.is_empty());
            Poll::Ready(Ok(bytes.len()))
        })
    }

    /// Reads and throws away; 0: the client has ended its side.
    pub(super) fn poll_discard(&self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        SCRATCH.with_borrow_mut(|scratch| {
            let mut read = ReadBuf::new(scratch);
            ready!(Pin::new(&mut *self.io.borrow_mut()).poll_read(cx, &mut read))?;
            Poll::Ready(Ok(read.filled().len()))
        })
    }

    /// Ready when the client has gone away while it is being answered. Looks only when nothing else can come: with a
    /// body outstanding or a further request read, the next read or write will tell.
    pub(super) fn poll_gone(&self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.body_is_done() || !self.unread.borrow().is_empty() {
            return Poll::Pending;
        }
        // The head's parts still hold the buffer: no new one is made before something comes.
        match self.poll_first(cx) {
            Poll::Ready(Ok(0) | Err(_)) => Poll::Ready(()),
            Poll::Ready(Ok(_)) | Poll::Pending => Poll::Pending,
        }
    }

    pub(super) fn poll_write(&self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.io.borrow_mut()).poll_write(cx, bytes)
    }

    pub(super) fn poll_write_vectored(
        &self,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.io.borrow_mut()).poll_write_vectored(cx, parts)
    }

    pub(super) fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.io.borrow_mut()).poll_flush(cx)
    }

    pub(super) fn poll_shutdown(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.io.borrow_mut()).poll_shutdown(cx)
    }

    /// Gives back the read buffer if nothing is in it.
    pub(super) fn let_go_of_buffer(&self) {
        let mut unread = self.unread.borrow_mut();
        if unread.is_empty() {
            *unread = BytesMut::new();
        }
    }
}

/// A connection that was upgraded: first what was read too early, then the stream.
pub(super) struct Upgraded<I>(pub(super) Rc<Wire<I>>);

impl<I: AsyncRead + AsyncWrite + Unpin> AsyncRead for Upgraded<I> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut unread = self.0.unread.borrow_mut();
        if !unread.is_empty() {
            let count = unread.len().min(buf.remaining());
            buf.put_slice(&unread[..count]);
            unread.advance(count);
            if unread.is_empty() {
                *unread = BytesMut::new();
            }
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut *self.0.io.borrow_mut()).poll_read(cx, buf)
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Upgraded<I> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.0.poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.0.poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.io.borrow().is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_shutdown(cx)
    }
}
