//! How is one HTTP/2 request answered? Head to the service, answer into the client's window, piece by piece; a client
//! that opens no window is given up after `send_timeout`.

use super::Terms;
use super::body::Incoming;
use super::head::{self, Head, Refused};
use crate::http::message::{Body, Malformed, Request, Response, Sent, Service, Version};
use crate::net::connection::Connection;
use crate::net::deadline::Deadline;
use bytes::Bytes;
use h2::Reason;
use h2::server::SendResponse;
use std::cell::Cell;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::Instant;

/// Bytes of a frame's own head.
const FRAME: u64 = 9;
/// Most bytes of a body that wait for the window at once.
const ASKED: usize = 64 * 1024;

/// Why an answer was not sent whole.
enum Broken {
    ClientGone,
    /// No window for `send_timeout`: ENHANCE_YOUR_CALM.
    Stalled,
    /// The body ended early.
    Body,
}

/// Serves one stream. The head is read before the future is made, so that it is all of the request that lives in it.
pub(super) fn serve<S: Service>(
    request: http::Request<h2::RecvStream>,
    respond: SendResponse<Bytes>,
    terms: &Terms,
    connection: Rc<Connection>,
    service: Rc<S>,
) -> impl Future<Output = ()> + use<S> {
    let (head, refused) = Head::of(&request, terms.rules);
    let asked = Asked { head, refused, body: request.into_body(), body_timeout: terms.body_timeout };
    serve_asked(asked, respond, connection, service)
}

/// A request that has come on a stream.
struct Asked {
    head: Head,
    refused: Option<Refused>,
    body: h2::RecvStream,
    body_timeout: Duration,
}

async fn serve_asked<S: Service>(
    asked: Asked,
    mut respond: SendResponse<Bytes>,
    connection: Rc<Connection>,
    service: Rc<S>,
) {
    let started = Instant::now();
    let Asked { head, refused, body, body_timeout } = asked;
    let head_only = &head.method[..] == b"HEAD";
    let (read, length) = (Rc::new(Cell::new(0)), head.length);
    let response = match refused {
        Some(refused) => service.refuse(malformed(head, refused, started), connection).await,
        None => {
            let request = converted(body, head, started, connection, body_timeout, &read);
            let mut call = pin!(service.call(request));
            let answered = poll_fn(|cx| match call.as_mut().poll(cx) {
                Poll::Ready(response) => Poll::Ready(Some(response)),
                Poll::Pending => respond.poll_reset(cx).map(|_| None),
            });
            match answered.await {
                Some(response) => response,
                None => return,
            }
        }
    };
    answer(response, &mut respond, head_only, |sent| Sent { request_length: length + read.get(), ..sent }).await;
}

fn malformed(head: Head, refused: Refused, started: Instant) -> Malformed {
    Malformed {
        status: refused.status,
        silent: false,
        reason: refused.reason.into(),
        line: head.line,
        version: Version::Http2,
        head_length: head.length,
        host: head.host,
        started,
    }
}

fn converted(
    stream: h2::RecvStream,
    head: Head,
    started: Instant,
    connection: Rc<Connection>,
    timeout: Duration,
    read: &Rc<Cell<u64>>,
) -> Request {
    let length = head.fields.get("content-length");
    let length = length.and_then(|length| std::str::from_utf8(length).ok()?.parse().ok());
    let (content_length, body) = match stream.is_end_stream() {
        true => (Some(0), Body::Empty),
        false => (length, Body::Stream(Box::new(Incoming::new(stream, timeout, read.clone())))),
    };
    Request {
        method: head.method,
        target: head.target,
        version: Version::Http2,
        host: head.host,
        host_port: head.host_port,
        fields: head.fields,
        line: head.line,
        head_length: head.length,
        content_length,
        body,
        started,
        connection,
    }
}

async fn answer(
    mut response: Response,
    respond: &mut SendResponse<Bytes>,
    head_only: bool,
    complete: impl FnOnce(Sent) -> Sent,
) {
    let finish = response.finish.take();
    let send_timeout = response.settings.client.send_timeout;
    let mut sent = Sent::default();
    if response.status == 444 || response.status < 200 {
        // Nothing is to be said; and there is no upgrade in HTTP/2.
        respond.send_reset(Reason::CANCEL);
    } else {
        let no_body = head_only || matches!(response.status, 204 | 304);
        let length = response.content_length.filter(|_| response.status != 204);
        let body = std::mem::take(&mut response.body);
        let ends = no_body || matches!(body.length(), Some(0));
        let (head, bytes) = head::answer(&response, length);
        drop(response);
        sent.bytes = bytes + FRAME;
        match respond.send_response(head, ends) {
            Err(_) => sent.client_gone = true,
            Ok(_) if ends => sent.complete = true,
            Ok(stream) => {
                let mut sending = Sending::new(body, stream, length, send_timeout);
                let result = poll_fn(|cx| sending.poll(cx)).await;
                sent.body_bytes = sending.sent;
                sent.bytes += sending.sent + FRAME;
                sent.complete = result.is_ok();
                match result {
                    Ok(()) => {}
                    Err(Broken::ClientGone) => sent.client_gone = true,
                    Err(Broken::Stalled) => {
                        tracing::info!("client timed out");
                        sending.stream.send_reset(Reason::ENHANCE_YOUR_CALM);
                    }
                    Err(Broken::Body) => sending.stream.send_reset(Reason::INTERNAL_ERROR),
                }
            }
        }
    }
    if let Some(finish) = finish {
        finish.finish(complete(sent));
    }
}

/// A body on its way into the client's window.
struct Sending {
    body: Body,
    stream: h2::SendStream<Bytes>,
    /// Bytes promised and not yet sent.
    owed: Option<u64>,
    piece: Bytes,
    sent: u64,
    deadline: Deadline,
    send_timeout: Duration,
}

impl Sending {
    fn new(body: Body, stream: h2::SendStream<Bytes>, owed: Option<u64>, send_timeout: Duration) -> Sending {
        let (piece, deadline) = (Bytes::new(), Deadline::default());
        Sending { body, stream, owed, piece, sent: 0, deadline, send_timeout }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        loop {
            if self.piece.is_empty() {
                match self.body.poll_chunk(cx) {
                    Poll::Ready(Some(Ok(piece))) => self.piece = piece,
                    Poll::Ready(Some(Err(error))) => {
                        tracing::error!("{error}");
                        return Poll::Ready(Err(Broken::Body));
                    }
                    Poll::Ready(None) => return Poll::Ready(self.end()),
                    Poll::Pending => return self.stream.poll_reset(cx).map(|_| Err(Broken::ClientGone)),
                }
                continue;
            }
            match ready!(self.window(cx)) {
                Ok(room) => {
                    let data = self.piece.split_to(room.min(self.piece.len()));
                    let size = data.len() as u64;
                    let last = match &mut self.owed {
                        Some(owed) if *owed < size || (*owed == size && !self.piece.is_empty()) => {
                            tracing::error!("the response is longer than was announced");
                            return Poll::Ready(Err(Broken::Body));
                        }
                        Some(owed) => {
                            *owed -= size;
                            *owed == 0
                        }
                        None => false,
                    };
                    if self.stream.send_data(data, last).is_err() {
                        return Poll::Ready(Err(Broken::ClientGone));
                    }
                    self.sent += size;
                    if last {
                        return Poll::Ready(Ok(()));
                    }
                }
                Err(broken) => return Poll::Ready(Err(broken)),
            }
        }
    }

    /// Room in the client's window for a part of the present piece.
    fn window(&mut self, cx: &mut Context<'_>) -> Poll<Result<usize, Broken>> {
        self.stream.reserve_capacity(self.piece.len().min(ASKED));
        let room = self.stream.capacity();
        if room > 0 {
            self.deadline.clear();
            return Poll::Ready(Ok(room));
        }
        loop {
            match self.stream.poll_capacity(cx) {
                // Room that was taken away again.
                Poll::Ready(Some(Ok(0))) => {}
                Poll::Ready(Some(Ok(room))) => {
                    self.deadline.clear();
                    return Poll::Ready(Ok(room));
                }
                Poll::Ready(None | Some(Err(_))) => return Poll::Ready(Err(Broken::ClientGone)),
                Poll::Pending => {
                    if self.deadline.due().is_none() {
                        self.deadline.set(Instant::now() + self.send_timeout);
                    }
                    return self.deadline.poll(cx).map(|()| Err(Broken::Stalled));
                }
            }
        }
    }

    fn end(&mut self) -> Result<(), Broken> {
        if self.owed.is_some_and(|owed| owed > 0) {
            tracing::error!("the response is shorter than was announced");
            return Err(Broken::Body);
        }
        let ended = match self.body.trailers() {
            Some(trailers) => self.stream.send_trailers(head::trailers(&trailers)),
            None => self.stream.send_data(Bytes::new(), true),
        };
        ended.map_err(|_| Broken::ClientGone)
    }
}
