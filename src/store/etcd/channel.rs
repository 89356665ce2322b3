//! How does one call reach one member of etcd and its answers come back? gRPC over HTTP/2, with or without TLS, with a
//! limit on every wait and every size. Tries nothing twice, knows no other member and nothing of what is asked.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Request, Response, header};
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use prost::Message;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::fault::EtcdError;
use crate::plan::etcd::Endpoint;

/// For each address of an endpoint.
const CONNECT: Duration = Duration::from_secs(2);
/// For look-up, connect, TLS and the preface together.
const REACH: Duration = Duration::from_secs(4);
/// A call with one answer, from its first byte to the last of the answer. A change of leader takes about two seconds.
const CALL: Duration = Duration::from_secs(5);
/// While something is under way a member that says nothing is asked for a sign of life so often (etcd minds anything
/// below 5 s), and given up after as long again.
const PING: Duration = Duration::from_secs(10);
/// No answer is larger. A value is at most 1.5 MiB, a page of a list is asked for anew if it does not fit.
const LARGEST: usize = 16 << 20;

/// What is sent: one message, or messages as they come.
pub enum Outgoing {
    /// One, wiped when it is sent.
    One(Option<Bytes>),
    /// Until the sender is dropped.
    Many(mpsc::Receiver<Bytes>),
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let next = match self.get_mut() {
            Outgoing::One(message) => message.take(),
            Outgoing::Many(messages) => ready!(messages.poll_recv(context)),
        };
        Poll::Ready(next.map(|message| Ok(Frame::data(message))))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Outgoing::One(None))
    }
}

/// A message as gRPC frames it: not compressed, its length, itself. The buffer is wiped when it is dropped.
pub fn framed(message: &impl Message) -> Bytes {
    let length = message.encoded_len();
    let mut buffer = Zeroizing::new(Vec::with_capacity(length + 5));
    buffer.push(0);
    buffer.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
    message.encode(&mut *buffer).expect("a vector grows as needed");
    Bytes::from_owner(buffer)
}

/// A connection to one member. Clones share it.
#[derive(Clone)]
pub struct Channel {
    endpoint: Arc<str>,
    prefix: Arc<str>,
    origin: Arc<str>,
    sender: SendRequest<Outgoing>,
}

impl Channel {
    /// Connects. `prefix` is for the words of errors alone.
    pub async fn open(at: &Endpoint, prefix: &str, tls: Option<Arc<ClientConfig>>) -> Result<Channel, EtcdError> {
        let unreached = |detail: String| EtcdError::Unreached { endpoint: at.to_string(), detail };
        match timeout(REACH, reach(at, tls)).await {
            Ok(sender) => Ok(Channel {
                endpoint: at.to_string().into(),
                prefix: prefix.into(),
                origin: at.to_string().into(),
                sender: sender?,
            }),
            Err(_) => Err(unreached("no connection in time".into())),
        }
    }

    /// Which member this is.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// The member has hung up.
    pub fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// One question, one answer.
    pub async fn call<A: Message + Default>(
        &self,
        path: &str,
        token: Option<&str>,
        question: &impl Message,
    ) -> Result<A, EtcdError> {
        let whole = async {
            let outgoing = Outgoing::One(Some(framed(question)));
            let mut answers = self.begin(path, token, outgoing, Some(CALL)).await?;
            let answer = answers.next().await?.ok_or_else(|| self.broken("no answer in the answer"))?;
            // The status comes after the message; a refusal may still stand there.
            answers.next().await?;
            Ok(answer)
        };
        timeout(CALL, whole).await.unwrap_or_else(|_| Err(self.broken("no answer in time")))
    }

    /// Messages both ways, until one side ends it.
    pub async fn stream<A: Message + Default>(
        &self,
        path: &str,
        token: Option<&str>,
        questions: mpsc::Receiver<Bytes>,
    ) -> Result<Answers<A>, EtcdError> {
        let begun = self.begin(path, token, Outgoing::Many(questions), None);
        timeout(CALL, begun).await.unwrap_or_else(|_| Err(self.broken("no answer in time")))
    }

    async fn begin<A: Message + Default>(
        &self,
        path: &str,
        token: Option<&str>,
        outgoing: Outgoing,
        limit: Option<Duration>,
    ) -> Result<Answers<A>, EtcdError> {
        let mut request = Request::post(format!("{}{path}", self.origin))
            .header(header::CONTENT_TYPE, "application/grpc")
            .header(header::TE, "trailers")
            // A member that is cut off from its leader says so instead of waiting for one.
            .header("hasleader", "true");
        if let Some(limit) = limit {
            request = request.header("grpc-timeout", format!("{}m", limit.as_millis()));
        }
        if let Some(mut token) = token.and_then(|token| HeaderValue::from_str(token).ok()) {
            token.set_sensitive(true);
            request = request.header("token", token);
        }
        let request = request.body(outgoing).map_err(|error| self.broken(&error.to_string()))?;
        let response = self.sender.clone().send_request(request).await.map_err(|error| self.broken(&cause(&error)))?;
        self.accept(response)
    }

    fn accept<A: Message + Default>(&self, response: Response<Incoming>) -> Result<Answers<A>, EtcdError> {
        if let Some(status) = self.status(response.headers()) {
            status?;
        }
        let kind = response.headers().get(header::CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
        if response.status() != 200 || !kind.starts_with(b"application/grpc") {
            let detail = format!("HTTP status {}, no gRPC: is this etcd's client port?", response.status());
            return Err(EtcdError::Strange { endpoint: self.endpoint.to_string(), detail });
        }
        let queue = VecDeque::new();
        Ok(Answers { channel: self.clone(), body: response.into_body(), kept: BytesMut::new(), queue, ended: false })
    }

    /// The status of a call, if it stands here.
    fn status(&self, headers: &HeaderMap) -> Option<Result<(), EtcdError>> {
        let code = headers.get("grpc-status")?.to_str().ok().and_then(|code| code.parse().ok()).unwrap_or(2);
        if code == 0 {
            return Some(Ok(()));
        }
        let message = headers.get("grpc-message").map(HeaderValue::as_bytes).unwrap_or_default();
        Some(Err(EtcdError::of_status(&self.endpoint, &self.prefix, code, &unescaped(message))))
    }

    fn broken(&self, detail: &str) -> EtcdError {
        EtcdError::Broken { endpoint: self.endpoint.to_string(), detail: detail.to_owned() }
    }
}

/// What comes back.
pub struct Answers<A> {
    channel: Channel,
    body: Incoming,
    kept: BytesMut,
    queue: VecDeque<A>,
    ended: bool,
}

impl<A: Message + Default> Answers<A> {
    /// The next message; `None` at the end. May be dropped and asked again at any time.
    pub async fn next(&mut self) -> Result<Option<A>, EtcdError> {
        loop {
            if let Some(answer) = self.queue.pop_front() {
                return Ok(Some(answer));
            }
            if self.ended {
                return Ok(None);
            }
            match self.body.frame().await {
                None if self.kept.is_empty() => self.ended = true,
                None => return Err(self.channel.broken("it ended in the middle of a message")),
                Some(Err(error)) => return Err(self.channel.broken(&cause(&error))),
                Some(Ok(frame)) => self.take(frame)?,
            }
        }
    }

    fn take(&mut self, frame: Frame<Bytes>) -> Result<(), EtcdError> {
        let data = match frame.into_data() {
            Ok(data) => data,
            Err(frame) => {
                self.ended = true;
                let trailers = frame.into_trailers().unwrap_or_default();
                return self.channel.status(&trailers).unwrap_or(Ok(()));
            }
        };
        self.kept.extend_from_slice(&data);
        while let Some(message) = unframed(&mut self.kept, LARGEST).map_err(|detail| self.channel.broken(detail))? {
            let answer = A::decode(message).map_err(|_| self.channel.broken("an answer that cannot be read"))?;
            self.queue.push_back(answer);
        }
        Ok(())
    }
}

/// Takes the first whole message.
fn unframed(kept: &mut BytesMut, largest: usize) -> Result<Option<Bytes>, &'static str> {
    let Some((head, rest)) = kept.split_first_chunk::<5>() else { return Ok(None) };
    if head[0] != 0 {
        return Err("a compressed answer, which was not asked for");
    }
    let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
    if length > largest {
        return Err(TOO_LONG);
    }
    if rest.len() < length {
        return Ok(None);
    }
    kept.advance(5);
    Ok(Some(kept.split_to(length).freeze()))
}

/// The words of an answer that is too long.
pub const TOO_LONG: &str = "an answer longer than any that is taken";

/// `grpc-message` is percent-encoded.
fn unescaped(message: &[u8]) -> String {
    let mut bytes = Vec::with_capacity(message.len());
    let mut rest = message.iter();
    while let Some(&byte) = rest.next() {
        let digit = |b: &u8| char::from(*b).to_digit(16).and_then(|d| u8::try_from(d).ok());
        let pair = rest.as_slice().first().and_then(digit).zip(rest.as_slice().get(1).and_then(digit));
        match (byte, pair) {
            (b'%', Some((high, low))) => {
                bytes.push(high << 4 | low);
                rest.nth(1);
            }
            _ => bytes.push(byte),
        }
    }
    let text = String::from_utf8_lossy(&bytes);
    text.chars().take(300).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

async fn reach(at: &Endpoint, tls: Option<Arc<ClientConfig>>) -> Result<SendRequest<Outgoing>, EtcdError> {
    let unreached = |detail: String| EtcdError::Unreached { endpoint: at.to_string(), detail };
    let stream = connect(at).await.map_err(unreached)?;
    let Some(config) = tls else { return preface(at, stream).await };
    let name = ServerName::try_from(at.host.to_string()).map_err(|_| unreached("not a host name".into()))?;
    let stream = tokio_rustls::TlsConnector::from(config).connect(name, stream).await;
    let trust = |detail: String| EtcdError::Trust { endpoint: at.to_string(), detail };
    let stream = stream.map_err(|error| trust(error.to_string()))?;
    preface(at, stream).await
}

async fn connect(at: &Endpoint) -> Result<TcpStream, String> {
    let mut last = "no address".to_owned();
    let found = tokio::net::lookup_host((&*at.host, at.port)).await.map_err(|error| error.to_string())?;
    for address in found.take(8) {
        match timeout(CONNECT, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Ok(Err(error)) => last = format!("{address}: {error}"),
            Err(_) => last = format!("{address}: no connection in time"),
        }
    }
    Err(last)
}

async fn preface(
    at: &Endpoint,
    io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> Result<SendRequest<Outgoing>, EtcdError> {
    let shaken = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .keep_alive_interval(PING)
        .keep_alive_timeout(PING)
        .initial_stream_window_size(1 << 20)
        .initial_connection_window_size(4 << 20)
        .max_header_list_size(32 << 10)
        .handshake(TokioIo::new(io))
        .await;
    // rustls tells of a refused client certificate only with the first bytes that are read.
    let failed = |error: hyper::Error| EtcdError::Unreached { endpoint: at.to_string(), detail: cause(&error) };
    let (sender, connection) = shaken.map_err(failed)?;
    // Ends when the last sender is dropped or the member hangs up; its errors reach the one who asks.
    tokio::spawn(async move {
        let _ = connection.await;
    });
    Ok(sender)
}

/// An error of hyper with what is behind it.
fn cause(error: &hyper::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        source = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::wire::LeaseRequest;
    use super::*;

    #[test]
    fn messages_are_framed_and_found_again_wherever_they_are_cut() {
        let one = framed(&LeaseRequest { id: 300 });
        assert_eq!(one.as_ref(), [0, 0, 0, 0, 3, 8, 172, 2]);
        let two = [one.as_ref(), one.as_ref()].concat();
        let mut kept = BytesMut::new();
        let mut found = 0;
        for byte in two {
            kept.extend_from_slice(&[byte]);
            while let Some(message) = unframed(&mut kept, 100).unwrap() {
                assert_eq!(LeaseRequest::decode(message).unwrap().id, 300);
                found += 1;
            }
        }
        assert_eq!((found, kept.len()), (2, 0));
    }

    #[test]
    fn lengths_that_cannot_be_meant_cost_nothing() {
        for hostile in [&[0, 255, 255, 255, 255][..], &[0, 0, 0, 0, 101], &[1, 0, 0, 0, 1, 0]] {
            assert!(unframed(&mut BytesMut::from(hostile), 100).is_err());
        }
        assert_eq!(unframed(&mut BytesMut::from(&[0, 0, 0, 0, 100][..]), 100), Ok(None));
    }

    #[test]
    fn words_of_a_stranger_stay_one_short_line() {
        assert_eq!(unescaped(b"a%20b%0Ac%zz%4"), "a b c%zz%4");
        assert_eq!(unescaped(&[b'x'; 5000]).len(), 300);
        assert_eq!(unescaped(b"\xff%ff"), "\u{fffd}\u{fffd}");
    }
}
