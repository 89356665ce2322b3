//! What is one link? A connection on which TLS has shown that both are members and hellos have shown which; then frames
//! both ways, each with a deadline, and a sign of life every few seconds, so that a half-open link is not taken for one.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};
use zeroize::Zeroizing;

use super::frame::{self, LARGEST, Parser};
use super::hello::{self, Hello, Refusal, Side};
use super::identity::{NodeId, NodeKey};
use super::links::Event;
use super::tls::{Keys, LinkKey};

/// From the first byte to the hello of the other side, and for a connection to be made.
pub(super) const MEET: Duration = Duration::from_secs(5);
/// How long is waited on a link.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// A frame has come whole, or has left, within this time.
    whole: Duration,
    /// With nothing to say, a sign of life goes out this often.
    beat: Duration,
    /// Who says nothing for so long is gone.
    silence: Duration,
}

/// The pace of every link.
const PACE: Pace =
    Pace { whole: Duration::from_secs(30), beat: Duration::from_secs(4), silence: Duration::from_secs(13) };
/// A link that simply ended.
const GONE: &str = "it hung up";
/// Bytes that are read at once.
const READ: usize = 16 << 10;

/// Who we are on every link.
#[derive(Debug)]
pub(super) struct Me {
    pub(super) key: NodeKey,
    pub(super) life: u64,
    pub(super) speaks: (u16, u16),
    pub(super) release: String,
}

impl Me {
    fn hello(&self) -> Hello {
        let Me { key, life, speaks, release } = self;
        Hello { public: key.public(), life: *life, speaks: *speaks, release: release.clone() }
    }
}

/// Why there is no link.
#[derive(Debug, thiserror::Error)]
pub(super) enum Missed {
    /// Nobody there, or the way is closed.
    #[error("{0}")]
    Unreachable(io::Error),
    /// TLS failed: another fleet key, or no node at all.
    #[error("it does not hold our fleet key ({0})")]
    Stranger(io::Error),
    /// It went away in the middle.
    #[error("it ended the handshake ({0})")]
    Ended(io::Error),
    /// It took too long.
    #[error("it did not answer within {} s", MEET.as_secs())]
    Slow,
    /// It holds the fleet key and shows no node.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

impl Missed {
    /// What TLS itself says is about keys; what the system says is about the way.
    fn in_handshake(error: io::Error) -> Missed {
        if error.kind() == io::ErrorKind::InvalidData { Missed::Stranger(error) } else { Missed::Ended(error) }
    }
}

/// A connection whose other end is known.
pub(super) struct Met {
    stream: TlsStream<TcpStream>,
    parser: Parser,
    /// What the other side said.
    pub(super) hello: Hello,
    /// Whether we called.
    pub(super) called: bool,
    /// The name of the fleet key that was shown.
    pub(super) key: String,
    /// Where the other side is.
    pub(super) at: SocketAddr,
}

/// Calls a node, with each key that we hold until one is known there.
pub(super) async fn call(at: SocketAddr, keys: &Keys, me: &Me) -> Result<Met, Missed> {
    let mut missed = Missed::Slow;
    for key in keys.all() {
        let met = timeout(MEET, call_with(at, key, me)).await.unwrap_or(Err(Missed::Slow));
        match met {
            Err(why @ (Missed::Stranger(_) | Missed::Ended(_))) => missed = why,
            other => return other,
        }
    }
    Err(missed)
}

async fn call_with(at: SocketAddr, key: &LinkKey, me: &Me) -> Result<Met, Missed> {
    let tcp = TcpStream::connect(at).await.map_err(Missed::Unreachable)?;
    prepare(&tcp);
    let connector = TlsConnector::from(key.client.clone());
    let stream = connector.connect(key.server_name.clone(), tcp).await.map_err(Missed::in_handshake)?;
    meet(stream.into(), me, Side::Caller, key.name.clone(), at).await
}

/// Answers a call.
pub(super) async fn answer(tcp: TcpStream, at: SocketAddr, keys: &Keys, me: &Me) -> Result<Met, Missed> {
    let meeting = async {
        prepare(&tcp);
        let stream = TlsAcceptor::from(keys.server()).accept(tcp).await.map_err(Missed::in_handshake)?;
        let key = keys.named(stream.get_ref().1.server_name()).unwrap_or_default().to_owned();
        meet(stream.into(), me, Side::Called, key, at).await
    };
    timeout(MEET, meeting).await.unwrap_or(Err(Missed::Slow))
}

fn prepare(tcp: &TcpStream) {
    // Small messages that somebody waits for. Without it they only come later.
    let _ = tcp.set_nodelay(true);
}

async fn meet(
    mut stream: TlsStream<TcpStream>,
    me: &Me,
    side: Side,
    key: String,
    at: SocketAddr,
) -> Result<Met, Missed> {
    let exported = match &stream {
        TlsStream::Client(stream) => stream.get_ref().1.export_keying_material([0; 32], hello::EXPORT, None),
        TlsStream::Server(stream) => stream.get_ref().1.export_keying_material([0; 32], hello::EXPORT, None),
    };
    let exported = exported.map_err(|error| Missed::Stranger(io::Error::other(error)))?;
    let own = me.hello().sign(&me.key, side, &exported);
    let head = frame::head(own.len()).ok_or(Refusal::Foreign)?;
    stream.write_all(&[&head, &own[..]].concat()).await.map_err(Missed::in_handshake)?;
    stream.flush().await.map_err(Missed::in_handshake)?;
    let (mut parser, mut buffer) = (Parser::default(), [0; 2 * hello::LONGEST]);
    let frame = loop {
        if let Some(frame) = parser.next(hello::LONGEST).map_err(|_| Refusal::Foreign)? {
            break frame;
        }
        // A member with another fleet key, or none, ends it here at the latest.
        let length = stream.read(&mut buffer).await.map_err(Missed::in_handshake)?;
        if length == 0 {
            return Err(Missed::Ended(io::ErrorKind::UnexpectedEof.into()));
        }
        parser.feed(&buffer[..length]);
    };
    let hello = Hello::check(&frame, side.other(), &exported)?;
    Ok(Met { stream, parser, hello, called: side == Side::Caller, key, at })
}

/// What waits to be sent on one link.
#[derive(Clone, Debug)]
pub(super) struct Queue {
    say: mpsc::Sender<Zeroizing<Vec<u8>>>,
    bytes: Arc<AtomicUsize>,
}

/// Messages that may wait on one link.
const WAITING: usize = 1024;
/// Bytes that may wait on one link.
const WAITING_BYTES: usize = 4 * LARGEST;

impl Queue {
    pub(super) fn new() -> (Queue, mpsc::Receiver<Zeroizing<Vec<u8>>>, Arc<AtomicUsize>) {
        let (say, outbox) = mpsc::channel(WAITING);
        let bytes = Arc::new(AtomicUsize::new(0));
        (Queue { say, bytes: bytes.clone() }, outbox, bytes)
    }

    /// Puts a message behind the others; false: there is no room.
    pub(super) fn push(&self, message: Zeroizing<Vec<u8>>) -> bool {
        let length = message.len();
        if length > LARGEST || self.bytes.load(Ordering::Relaxed) + length > WAITING_BYTES {
            return false;
        }
        self.bytes.fetch_add(length, Ordering::Relaxed);
        let taken = self.say.try_send(message).is_ok();
        if !taken {
            self.bytes.fetch_sub(length, Ordering::Relaxed);
        }
        taken
    }
}

/// Where the messages of one link go.
#[derive(Debug)]
pub(super) struct Ear {
    pub(super) events: mpsc::Sender<Event>,
    pub(super) node: NodeId,
    pub(super) link: u64,
}

impl Ear {
    /// Waits until there is room: meanwhile nothing more is read from this node.
    async fn take(&self, bytes: Zeroizing<Vec<u8>>) {
        let Ear { events, node, link } = self;
        // Whoever hears no more has ended; so do we, soon.
        let _ = events.send(Event::Message { node: *node, link: *link, bytes }).await;
    }
}

/// Carries frames both ways until the link ends; why it did.
pub(super) async fn carry(
    met: Met,
    outbox: mpsc::Receiver<Zeroizing<Vec<u8>>>,
    waiting: Arc<AtomicUsize>,
    ear: &Ear,
) -> String {
    let Met { stream, parser, .. } = met;
    let (reading, writing) = tokio::io::split(stream);
    tokio::select! {
        why = read(reading, parser, PACE, ear) => why,
        why = write(writing, outbox, waiting, PACE) => why,
    }
}

async fn read(mut from: impl AsyncRead + Unpin, mut parser: Parser, pace: Pace, ear: &Ear) -> String {
    let mut buffer = Zeroizing::new(vec![0; READ]);
    let mut begun = None;
    loop {
        loop {
            match parser.next(LARGEST) {
                Ok(Some(frame)) => {
                    begun = None;
                    if !frame.is_empty() {
                        ear.take(frame).await;
                    }
                }
                Ok(None) => break,
                Err(error) => return error.to_string(),
            }
        }
        let now = Instant::now();
        let until = match parser.is_within() {
            true => *begun.get_or_insert(now) + pace.whole,
            false => now + pace.silence,
        };
        match timeout_at(until, from.read(&mut buffer)).await {
            Ok(Ok(0)) => return GONE.to_owned(),
            Ok(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => return GONE.to_owned(),
            Ok(Ok(length)) => parser.feed(&buffer[..length]),
            Ok(Err(error)) => return error.to_string(),
            Err(_) if parser.is_within() => return format!("a message took longer than {} s", pace.whole.as_secs()),
            Err(_) => return format!("nothing was heard for {} s", pace.silence.as_secs()),
        }
    }
}

async fn write(
    mut to: impl AsyncWrite + Unpin,
    mut outbox: mpsc::Receiver<Zeroizing<Vec<u8>>>,
    waiting: Arc<AtomicUsize>,
    pace: Pace,
) -> String {
    loop {
        let message = match timeout(pace.beat, outbox.recv()).await {
            Ok(Some(message)) => message,
            // We hang up: the other side shall know that nothing was cut off.
            Ok(None) => {
                let _ = timeout(Duration::from_secs(1), to.shutdown()).await;
                return "it was closed here".to_owned();
            }
            Err(_) => Zeroizing::default(),
        };
        let Some(head) = frame::head(message.len()) else { continue };
        let sending = async {
            to.write_all(&head).await?;
            to.write_all(&message).await?;
            if outbox.is_empty() { to.flush().await } else { Ok(()) }
        };
        let sent = timeout(pace.whole, sending).await;
        waiting.fetch_sub(message.len(), Ordering::Relaxed);
        match sent {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return error.to_string(),
            Err(_) => return format!("it took no message within {} s", pace.whole.as_secs()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUICK: Pace = Pace {
        whole: Duration::from_millis(300),
        beat: Duration::from_millis(20),
        silence: Duration::from_millis(100),
    };

    fn ear() -> (Ear, mpsc::Receiver<Event>) {
        let (events, heard) = mpsc::channel(4);
        (Ear { events, node: [0; 32], link: 1 }, heard)
    }

    #[tokio::test]
    async fn who_drips_a_message_or_says_nothing_is_let_go() {
        let (mut far, near) = tokio::io::duplex(64);
        let dripping = tokio::spawn(async move {
            let _ = far.write_all(&100u32.to_be_bytes()).await;
            while far.write_all(b"x").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        let (ear, mut heard) = ear();
        let why = read(near, Parser::default(), QUICK, &ear).await;
        assert!(why.starts_with("a message took longer"), "{why}");
        dripping.abort();
        let (_far, near) = tokio::io::duplex(64);
        let why = read(near, Parser::default(), QUICK, &ear).await;
        assert!(why.starts_with("nothing was heard"), "{why}");
        assert!(heard.try_recv().is_err(), "no frame was whole");
    }

    #[tokio::test]
    async fn signs_of_life_keep_a_link_that_has_nothing_to_say() {
        let (far, near) = tokio::io::duplex(64);
        let (queue, outbox, waiting) = Queue::new();
        let beating = tokio::spawn(write(far, outbox, waiting, QUICK));
        let begun = Instant::now();
        let listening = tokio::spawn(async move { read(near, Parser::default(), QUICK, &ear().0).await });
        tokio::time::sleep(4 * QUICK.silence).await;
        assert!(!listening.is_finished());
        drop(queue);
        assert_eq!(beating.await.unwrap(), "it was closed here");
        assert_eq!(listening.await.unwrap(), "it hung up");
        assert!(begun.elapsed() >= 4 * QUICK.silence);
    }

    #[tokio::test]
    async fn who_takes_nothing_fills_its_own_queue_and_is_let_go() {
        let (far, _near) = tokio::io::duplex(64);
        let (queue, outbox, waiting) = Queue::new();
        let message = Zeroizing::new(vec![0; LARGEST]);
        let pushed = (0..100).take_while(|_| queue.push(message.clone())).count();
        assert_eq!(pushed, WAITING_BYTES / LARGEST);
        assert!(!queue.push(Zeroizing::new(vec![0; LARGEST + 1])), "longer than any message");
        let why = write(far, outbox, waiting, QUICK).await;
        assert!(why.starts_with("it took no message"), "{why}");
    }
}
