//! How is a request answered by an upstream? As nginx does it: where to, what is said, who is asked next, what the client
//! sees. One [`Forwarder`] for each worker; it outlives plans.
//!
//! asked (what is needed of the request) → destination → request + upload → tries (talk with one after the other) → head
//! (what the client sees) → answer_body, spool, tunnel.

mod answer_body;
mod asked;
mod destination;
mod error;
mod head;
mod held;
mod leftovers;
mod request;
mod rewrite;
mod spool;
mod talk;
mod tries;
mod tunnel;
mod upload;

pub use asked::Asked;
pub use error::{Cause, ForwardError, SoFar, Verdict};

use self::answer_body::{AnswerBody, Parts};
use self::leftovers::Leftovers;
use self::tries::{Heard, Job, Reached};
use self::upload::Upload;
use super::answer::{Answer, Turn};
use super::message::Body;
use crate::clock::Dice;
use crate::h1::{BodyDecoder, ChunkRules};
use crate::net::dial::UpstreamTlsConfigs;
use crate::net::pool::{Pools, UpstreamPool};
use crate::net::reresolve;
use crate::net::resolver::Resolvers;
use crate::plan::log::Level;
use crate::plan::proxy::Proxy;
use crate::plan::upstream::{Upstream, UpstreamKeepalive};
use crate::zone::upstreams::{Live, Upstreams};
use bytes::Bytes;
use std::cell::{Cell, OnceCell, RefCell};
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::{Arc, Weak};

/// Forwards the requests of one worker.
pub struct Forwarder {
    upstreams: Arc<Upstreams>,
    tls: Arc<dyn UpstreamTlsConfigs>,
    dice: Arc<dyn Dice>,
    pools: Rc<Pools>,
    resolvers: Rc<Resolvers>,
    /// By the place of the plan's upstream in memory.
    known: RefCell<HashMap<usize, Standing, BuildHasherDefault<ByAddress>>>,
    /// Request bodies in memory beyond `client_body_buffer_size`.
    held: Rc<Cell<u64>>,
    /// Made when it is first needed.
    leftovers: OnceCell<Leftovers>,
}

impl std::fmt::Debug for Forwarder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Forwarder").field("held", &self.held).finish_non_exhaustive()
    }
}

/// Addresses need no secret to be spread over a table: nobody outside chooses them.
#[derive(Default)]
struct ByAddress(u64);

impl Hasher for ByAddress {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_usize(usize::from(*byte)));
    }

    fn write_usize(&mut self, number: usize) {
        self.0 = (self.0 ^ number as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(32);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// A weak reference keeps the place in memory from being taken by another upstream.
type Standing = (Weak<Upstream>, Rc<Known>);

/// An upstream as a worker knows it.
struct Known {
    live: Arc<Live>,
    pool: Rc<UpstreamPool>,
    keepalive: Option<UpstreamKeepalive>,
}

impl Forwarder {
    /// A worker's forwarder. What workers share is given; its connections are its own.
    pub fn new(upstreams: Arc<Upstreams>, tls: Arc<dyn UpstreamTlsConfigs>, dice: Arc<dyn Dice>) -> Rc<Forwarder> {
        Rc::new(Forwarder {
            upstreams,
            tls,
            dice,
            pools: Rc::default(),
            resolvers: Rc::default(),
            known: RefCell::default(),
            held: Rc::default(),
            leftovers: OnceCell::new(),
        })
    }

    /// Looks for the addresses of upstreams that have none yet, or whose names are resolved at run time, as long as the plan
    /// lives. One worker does it for all.
    pub fn watch(&self, upstreams: &[Arc<Upstream>]) {
        reresolve::watch(&self.resolvers, &self.upstreams, upstreams);
    }

    /// Closes idle connections: the worker is to end.
    pub fn close(&self) {
        self.pools.close();
    }

    fn known(&self, upstream: &Arc<Upstream>) -> Rc<Known> {
        let place = Arc::as_ptr(upstream) as usize;
        let mut all = self.known.borrow_mut();
        if let Some((_, known)) = all.get(&place) {
            return known.clone();
        }
        all.retain(|_, (upstream, _)| upstream.strong_count() > 0);
        let known = Rc::new(Known {
            live: self.upstreams.live(upstream),
            pool: self.pools.of(&upstream.name),
            keepalive: upstream.keepalive.clone(),
        });
        all.insert(place, (Arc::downgrade(upstream), known.clone()));
        known
    }

    /// Forwards a request.
    ///
    /// # Errors
    /// The answer comes from elsewhere: an error page, an internal redirect. What went wrong is in the error log already.
    pub async fn forward(self: &Rc<Self>, asked: &mut impl Asked, proxy: &Arc<Proxy>) -> Result<Box<Answer>, Turn> {
        // After an internal redirect the tries before stand apart.
        asked.upstreamed().redirected();
        match self.try_to(asked, proxy).await {
            Ok(reached) => {
                note_complaints(asked);
                self.answer(asked, proxy, reached)
            }
            Err(error) => {
                note_complaints(asked);
                let in_log = matches!(error.cause(), Cause::Ours) && !matches!(error, ForwardError::NoLiveUpstreams);
                if in_log {
                    let level = if error.status() >= 500 { Level::Error } else { Level::Info };
                    asked.note(level, &error.to_string());
                }
                Err(Turn::Status(error.status()))
            }
        }
    }

    async fn try_to(self: &Rc<Self>, asked: &mut impl Asked, proxy: &Arc<Proxy>) -> Result<Reached, ForwardError> {
        let destination = self.destination(asked, proxy).await?;
        let mut upload = self.upload(asked, proxy).await?;
        let outgoing = request::write(asked, proxy, &destination, &mut upload)?;
        let bind = proxy.bind.as_ref().and_then(|bind| local_address(&asked.text(bind)));
        let mut job = Job {
            forwarder: self.clone(),
            proxy: proxy.clone(),
            destination,
            outgoing,
            upload,
            client: asked.client(),
            bind,
            facts: asked.upstreamed().clone(),
        };
        if !proxy.ignore_client_abort {
            return job.run().await;
        }
        // It goes on when the client has gone and this future is dropped.
        match tokio::task::spawn_local(async move { job.run().await }).await {
            Ok(reached) => reached,
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
    }

    /// The body, read to its end or passed on as it comes; or what `proxy_set_body` says, once the client's was read.
    async fn upload(&self, asked: &mut impl Asked, proxy: &Proxy) -> Result<Upload, ForwardError> {
        let length = asked.content_length();
        let live = !proxy.request_buffering && proxy.set_body.is_none() && proxy.pass_body;
        let upload = match asked.take_body() {
            body if matches!(body, Body::Empty) || length == Some(0) => {
                let said = asked.fields().has("content-length");
                if said {
                    asked.body_was_read(&[]);
                }
                Upload::None { said }
            }
            body if live && (length.is_some() || proxy.http11) => return Ok(Upload::Live { body, length }),
            body => {
                let settings = asked.settings().clone();
                let room = upload::Room {
                    memory: settings.client.body_buffer,
                    directory: &settings.client.body_temp_path,
                    held: &self.held,
                };
                let upload = Box::pin(Upload::buffered(body, room)).await?;
                // As nginx: a body a little longer than the buffer is not worth a file.
                let most = settings.client.body_buffer + settings.client.body_buffer / 4;
                if let Some(pieces) = upload.pieces(most as u64) {
                    asked.body_was_read(pieces);
                }
                upload
            }
        };
        if let Some(text) = &proxy.set_body {
            let text = asked.text(text);
            let length = text.len() as u64;
            return Ok(if text.is_empty() {
                Upload::None { said: true }
            } else {
                Upload::Memory { pieces: vec![text], length, _held: None }
            });
        }
        Ok(if proxy.pass_body { upload } else { Upload::None { said: false } })
    }

    fn answer(&self, asked: &mut impl Asked, proxy: &Arc<Proxy>, reached: Reached) -> Result<Box<Answer>, Turn> {
        let Reached { heard, ticket, way_back, started, upstream, to_head } = reached;
        let Heard { reply, connection, at } = *heard;
        let facts = asked.upstreamed().clone();
        let made = head::answer(asked, proxy, &reply.head, &upstream);
        let limit_rate = std::str::from_utf8(&asked.text(&proxy.limit_rate)).ok().and_then(|t| t.parse().ok());
        let switched = reply.head.status == 101;
        let decoder = BodyDecoder::new(reply.head.body_length(to_head), ChunkRules::RESPONSE);
        *facts.fields.borrow_mut() = Some(reply.head.fields);
        if switched && made.is_ok() {
            let (mut answer, _) = made?;
            answer.tunnel = Some(Box::new(tunnel::UpstreamTunnel {
                stream: connection.stream,
                ahead: reply.rest,
                timeout: proxy.read_timeout,
                ticket,
                facts,
                started,
            }));
            return Ok(answer);
        }
        let body = AnswerBody::new(Parts {
            decoder,
            buffer: reply.rest,
            connection,
            way_back,
            ticket,
            facts,
            upstream,
            started,
            read_timeout: proxy.read_timeout,
            limit_rate: limit_rate.unwrap_or(0),
            trailers_by: proxy.pass_trailers.then(|| proxy.clone()),
            leftovers: proxy.ignore_client_abort.then(|| self.leftovers.get_or_init(Leftovers::new).clone()),
            flush_each: !made.as_ref().map_or(proxy.buffering, |(_, directions)| directions.buffering),
        });
        // An answer that is not passed on is read no further; if it has come whole, its connection is kept.
        let begun = body.begin(at);
        let (mut answer, directions) = made?;
        answer.body = match begun {
            Ok(body) => body,
            Err(body) => stream(body, proxy, directions.buffering),
        };
        Ok(answer)
    }
}

/// A body that has not come whole yet.
fn stream(body: Box<AnswerBody>, proxy: &Proxy, buffering: bool) -> Body {
    if !buffering {
        return Body::Stream(body);
    }
    let (number, size) = proxy.buffers;
    let memory = number.saturating_mul(size);
    let room = spool::Room { memory, file: proxy.max_temp_file, directory: proxy.temp_path.clone() };
    Body::Stream(Box::new(spool::Buffered::new(body, room)))
}

/// Writes to the error log what went wrong on the way. Called once more at the request's end, for what its body met.
pub fn note_complaints(asked: &impl Asked) {
    if asked.upstreamed().complaints.borrow().is_empty() {
        return;
    }
    for complaint in asked.upstreamed().complaints.take() {
        asked.note_upstream(complaint.level, &complaint.text, &String::from_utf8_lossy(&complaint.upstream));
    }
}

/// `proxy_bind`: an address, perhaps with a port.
fn local_address(text: &Bytes) -> Option<SocketAddr> {
    let text = std::str::from_utf8(text).ok()?;
    let alone = || text.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().ok();
    text.parse().ok().or_else(|| alone().map(|ip| SocketAddr::new(ip, 0)))
}

#[cfg(test)]
mod tests;
