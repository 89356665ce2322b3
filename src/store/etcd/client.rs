//! How is etcd asked, whichever of its members is alive? One connection to one member, the next member when it fails, a
//! new login when the token is out of date, an end to every wait. Every write names what it replaces, so that asking once
//! more after a broken answer can do no harm. Knows keys and bytes; nothing of what they mean.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use tokio::sync::{Mutex, mpsc};
use tokio::time::{Instant, timeout_at};
use zeroize::Zeroize;

use super::Material;
use super::channel::{Channel, TOO_LONG, framed};
use super::fault::EtcdError;
use super::trust;
use super::watcher::Watcher;
use super::wire::{self, Compare, Request, RequestOp, Wanted};
use crate::plan::etcd::EtcdStore;

/// A call with everything around it: connecting, logging in, the next member.
const WHOLE: Duration = Duration::from_secs(12);
/// etcd takes 1.5 MiB for a whole request; no value of ours comes near.
pub const LARGEST_VALUE: usize = 1 << 20;
/// Keys in a page of a list; halved if a page does not fit.
const PAGE: i64 = 128;
/// A list that is overtaken by compaction is begun anew so often.
const LISTS: usize = 3;

/// A value as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The key, without the prefix of the configuration.
    pub key: String,
    /// The value.
    pub value: Bytes,
    /// How often it was written since the key came to be: 1 is the first time.
    pub version: i64,
    /// The store's revision that brought the key.
    pub created: i64,
    /// The store's revision that wrote the value.
    pub modified: i64,
    /// The lease with which it goes; 0 for none.
    pub lease: i64,
}

/// A part of a list.
#[derive(Debug)]
pub struct Page {
    /// As of which revision.
    pub revision: i64,
    /// What is there.
    pub values: Vec<Kept>,
    /// Where the next part begins; `None`: this was the last.
    pub(super) next: Option<Vec<u8>>,
}

impl Page {
    /// Whether this was the last part.
    pub fn is_last(&self) -> bool {
        self.next.is_none()
    }
}

/// What a writer believes to stand where it writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Nothing.
    Absent,
    /// What was written with this revision ([`Kept::modified`]).
    Revision(i64),
}

/// The protection under which the holder of a duty writes: the key of the duty as it was when it was taken. When the lease
/// runs out, or another node takes the duty, no write under it succeeds any more, however late it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fence {
    /// The key of the duty, without the prefix.
    pub key: String,
    /// The revision that brought it.
    pub created: i64,
}

/// A client of one etcd.
pub struct Client {
    store: EtcdStore,
    material: Arc<dyn Material>,
    link: Mutex<Link>,
}

#[derive(Default)]
struct Link {
    open: Option<Open>,
    /// Whom to try first when none is open.
    next: usize,
    opened: u64,
}

#[derive(Clone)]
struct Open {
    channel: Channel,
    token: Option<Arc<str>>,
    number: u64,
}

impl Client {
    /// Connects to nobody yet. Nodes that begin at different members (`first`) spread themselves.
    pub fn new(store: EtcdStore, material: Arc<dyn Material>, first: usize) -> Client {
        Client { store, material, link: Mutex::new(Link { next: first, ..Link::default() }) }
    }

    /// The value of `key`.
    pub async fn get(&self, key: &str) -> Result<Option<Kept>, EtcdError> {
        let question = wire::RangeRequest { key: self.full(key), ..wire::RangeRequest::default() };
        let answer: wire::RangeResponse = self.call("/etcdserverpb.KV/Range", &question).await?;
        Ok(answer.kvs.into_iter().next().and_then(|kv| self.kept(kv)))
    }

    /// Gives every value under `under` to `each`, all as of one revision, and returns that revision. If the store is
    /// compacted meanwhile it begins anew, and some values come again.
    pub async fn list(&self, under: &str, mut each: impl FnMut(Kept)) -> Result<i64, EtcdError> {
        let mut last = EtcdError::Compacted { revision: 0 };
        for _ in 0..LISTS {
            match self.list_once(under, &mut each).await {
                Err(error @ EtcdError::Compacted { .. }) => last = error,
                done => return done,
            }
        }
        Err(last)
    }

    async fn list_once(&self, under: &str, each: &mut impl FnMut(Kept)) -> Result<i64, EtcdError> {
        let mut page = self.page(under, None).await?;
        loop {
            page.values.drain(..).for_each(&mut *each);
            match &page.next {
                None => return Ok(page.revision),
                Some(_) => page = self.page(under, Some(&page)).await?,
            }
        }
    }

    /// The first page of a list, or the one that follows on `before`; all of one revision.
    ///
    /// # Errors
    /// [`EtcdError::Compacted`] if the list took so long that its revision is gone.
    pub async fn page(&self, under: &str, before: Option<&Page>) -> Result<Page, EtcdError> {
        let (first, range_end) = self.range(under);
        let revision = before.map_or(0, |page| page.revision);
        let key = before.and_then(|page| page.next.clone()).unwrap_or(first);
        let mut limit = PAGE;
        let answer = loop {
            let question = wire::RangeRequest { key: key.clone(), range_end: range_end.clone(), limit, revision };
            match self.call::<wire::RangeResponse>("/etcdserverpb.KV/Range", &question).await {
                Err(error) if is_too_long(&error) && limit > 1 => limit /= 4,
                answer => break answer?,
            }
        };
        // The next key after the last one.
        let after = |kv: &wire::KeyValue| [&kv.key[..], &[0]].concat();
        let next = answer.more.then(|| answer.kvs.last().map(after)).flatten();
        let revision = if revision > 0 { revision } else { answer.header.map_or(0, |header| header.revision) };
        Ok(Page { revision, values: answer.kvs.into_iter().filter_map(|kv| self.kept(kv)).collect(), next })
    }

    /// Writes `value` if what stands there is what the caller believes, and if the duty is still held. Returns the
    /// revision of the write.
    ///
    /// # Errors
    /// [`EtcdError::Conflict`], [`EtcdError::DutyLost`], or that etcd is away. After a broken answer a repetition may
    /// meet its own first write as a conflict: read what stands there.
    pub async fn write(
        &self,
        key: &str,
        value: Vec<u8>,
        expected: Expected,
        fence: Option<&Fence>,
    ) -> Result<i64, EtcdError> {
        if value.len() > LARGEST_VALUE {
            return Err(EtcdError::TooLarge { key: key.to_owned(), size: value.len() });
        }
        let put = wire::PutRequest { key: self.full(key), value, lease: 0 };
        self.change(key, Request::Put(put), expected, fence).await
    }

    /// Writes a value that goes when `lease` ends, on the same terms.
    pub async fn write_under(
        &self,
        key: &str,
        value: Vec<u8>,
        expected: Expected,
        lease: i64,
    ) -> Result<i64, EtcdError> {
        let put = wire::PutRequest { key: self.full(key), value, lease };
        self.change(key, Request::Put(put), expected, None).await
    }

    /// Takes `key` away, on the same terms.
    pub async fn remove(&self, key: &str, expected: Expected, fence: Option<&Fence>) -> Result<i64, EtcdError> {
        let delete = wire::DeleteRequest { key: self.full(key) };
        self.change(key, Request::Delete(delete), expected, fence).await
    }

    async fn change(
        &self,
        key: &str,
        request: Request,
        expected: Expected,
        fence: Option<&Fence>,
    ) -> Result<i64, EtcdError> {
        let modified = match expected {
            Expected::Absent => 0,
            Expected::Revision(modified) => modified,
        };
        let mut txn = wire::TxnRequest {
            compare: vec![Compare::equal(&self.full(key), Wanted::Modified(modified))],
            success: vec![RequestOp { request: Some(request) }],
            failure: Vec::new(),
        };
        if let Some(fence) = fence {
            txn.compare.push(Compare::equal(&self.full(&fence.key), Wanted::Created(fence.created)));
            txn.failure.push(self.read(&fence.key));
        }
        let answer: wire::TxnResponse = self.call("/etcdserverpb.KV/Txn", &txn).await?;
        if answer.succeeded {
            return Ok(answer.header.map_or(0, |header| header.revision));
        }
        let duty = self.first_of(answer).map(|duty| duty.created);
        match fence {
            Some(fence) if duty != Some(fence.created) => Err(EtcdError::DutyLost { key: fence.key.clone() }),
            _ => Err(EtcdError::Conflict { key: key.to_owned() }),
        }
    }

    /// Takes the duty `key` for the node that `holder` names, for as long as `lease` lives; or says who has it.
    pub async fn take_duty(&self, key: &str, holder: &[u8], lease: i64) -> Result<Taken, EtcdError> {
        let put = wire::PutRequest { key: self.full(key), value: holder.to_vec(), lease };
        let txn = wire::TxnRequest {
            compare: vec![Compare::equal(&self.full(key), Wanted::Created(0))],
            success: vec![RequestOp { request: Some(Request::Put(put)) }],
            failure: vec![self.read(key)],
        };
        let answer: wire::TxnResponse = self.call("/etcdserverpb.KV/Txn", &txn).await?;
        let revision = answer.header.as_ref().map_or(0, |header| header.revision);
        if answer.succeeded {
            return Ok(Taken::Ours(Fence { key: key.to_owned(), created: revision }));
        }
        match self.first_of(answer) {
            // An answer was lost, and this is the second time that it was asked.
            Some(duty) if duty.lease == lease => Ok(Taken::Ours(Fence { key: key.to_owned(), created: duty.created })),
            Some(duty) => Ok(Taken::Theirs(duty.value)),
            None => Err(EtcdError::Conflict { key: key.to_owned() }),
        }
    }

    /// Gives the duty back before the lease ends; nothing happens if it is lost already.
    pub async fn give_back(&self, fence: &Fence) -> Result<(), EtcdError> {
        let txn = wire::TxnRequest {
            compare: vec![Compare::equal(&self.full(&fence.key), Wanted::Created(fence.created))],
            success: vec![RequestOp {
                request: Some(Request::Delete(wire::DeleteRequest { key: self.full(&fence.key) })),
            }],
            failure: Vec::new(),
        };
        let _: wire::TxnResponse = self.call("/etcdserverpb.KV/Txn", &txn).await?;
        Ok(())
    }

    /// A new lease; returns its number, and for how long it was granted.
    pub async fn grant(&self, ttl: Duration) -> Result<(i64, Duration), EtcdError> {
        let ttl = i64::try_from(ttl.as_secs()).unwrap_or(i64::MAX).max(1);
        let answer: wire::LeaseResponse =
            self.call("/etcdserverpb.Lease/LeaseGrant", &wire::LeaseGrantRequest { ttl }).await?;
        Ok((answer.id, Duration::from_secs(u64::try_from(answer.ttl).unwrap_or(0))))
    }

    /// A sign of life for a lease; returns for how long it lives on.
    ///
    /// # Errors
    /// [`EtcdError::LeaseGone`] if it has run out.
    pub async fn keep_alive(&self, lease: i64) -> Result<Duration, EtcdError> {
        let question = wire::LeaseRequest { id: lease };
        let answer: wire::LeaseResponse = self.call("/etcdserverpb.Lease/LeaseKeepAlive", &question).await?;
        match u64::try_from(answer.ttl).unwrap_or(0) {
            0 => Err(EtcdError::LeaseGone),
            ttl => Ok(Duration::from_secs(ttl)),
        }
    }

    /// Ends a lease, and with it everything that is held under it.
    pub async fn revoke(&self, lease: i64) -> Result<(), EtcdError> {
        let _: wire::Nothing = self.call("/etcdserverpb.Lease/LeaseRevoke", &wire::LeaseRequest { id: lease }).await?;
        Ok(())
    }

    /// Watches what changes under `under`, from revision `from` on.
    pub async fn watch(&self, under: &str, from: i64) -> Result<Watcher, EtcdError> {
        let (key, range_end) = self.range(under);
        let create = wire::WatchCreate { key, range_end, start_revision: from, progress_notify: true, fragment: true };
        let create = framed(&wire::WatchRequest { ask: Some(wire::Ask::Create(create)) });
        let deadline = Instant::now() + WHOLE;
        let mut relogged = false;
        loop {
            let open = self.open(deadline).await?;
            let (asks, questions) = mpsc::channel::<Bytes>(4);
            let _ = asks.try_send(create.clone());
            let begun = open.channel.stream("/etcdserverpb.Watch/Watch", open.token.as_deref(), questions).await;
            let begun = match begun {
                Ok(answers) => Watcher::begin(answers, asks, &self.store.prefix, open.channel.endpoint()).await,
                Err(error) => Err(error),
            };
            match begun {
                Ok(watcher) => return Ok(watcher),
                Err(error) => self.look_elsewhere(&open, error, &mut relogged, deadline).await?,
            }
        }
    }

    async fn call<A: Message + Default>(&self, path: &str, question: &impl Message) -> Result<A, EtcdError> {
        let deadline = Instant::now() + WHOLE;
        let mut relogged = false;
        loop {
            let open = self.open(deadline).await?;
            match open.channel.call(path, open.token.as_deref(), question).await {
                Ok(answer) => return Ok(answer),
                Err(error) => self.look_elsewhere(&open, error, &mut relogged, deadline).await?,
            }
        }
    }

    /// What to do after `error`: once more (a new login, another member), or give up with it.
    async fn look_elsewhere(
        &self,
        open: &Open,
        error: EtcdError,
        relogged: &mut bool,
        deadline: Instant,
    ) -> Result<(), EtcdError> {
        // Or users were demanded only after we came in without one.
        let unnamed = self.store.user.is_some() && open.token.is_none();
        let refused = matches!(error, EtcdError::Credentials { .. } | EtcdError::Permission { .. });
        let login = error == EtcdError::TokenOutdated || (unnamed && refused);
        let renews = login && !std::mem::replace(relogged, true);
        let moves = error.elsewhere() && !is_too_long(&error);
        let mut link = self.link.lock().await;
        if (renews || moves) && link.open.as_ref().is_some_and(|now| now.number == open.number) {
            link.open = None;
            link.next = link.next.wrapping_add(usize::from(moves));
        }
        drop(link);
        let busy = matches!(error, EtcdError::Busy { .. } | EtcdError::Strange { .. });
        let again = renews || (moves && !busy && Instant::now() + WHOLE / 4 < deadline);
        if again { Ok(()) } else { Err(error) }
    }

    /// The open connection, or a new one to the first member that takes us.
    async fn open(&self, deadline: Instant) -> Result<Open, EtcdError> {
        let late = || EtcdError::Unreached { endpoint: "etcd".into(), detail: "no connection in time".into() };
        let mut link = timeout_at(deadline, self.link.lock()).await.map_err(|_| late())?;
        if let Some(open) = link.open.as_ref().filter(|open| !open.channel.is_closed()) {
            return Ok(open.clone());
        }
        let mut last = late();
        for _ in 0..self.store.endpoints.len() {
            match timeout_at(deadline, self.enter(link.next)).await {
                Ok(Ok((channel, token))) => {
                    link.opened += 1;
                    let open = Open { channel, token, number: link.opened };
                    link.open = Some(open.clone());
                    return Ok(open);
                }
                Ok(Err(error)) if !error.elsewhere() => return Err(error),
                Ok(Err(error)) => last = error,
                Err(_) => return Err(last),
            }
            link.next = link.next.wrapping_add(1);
        }
        Err(last)
    }

    /// Connects to one member and logs in, if there is a user.
    async fn enter(&self, number: usize) -> Result<(Channel, Option<Arc<str>>), EtcdError> {
        let at = &self.store.endpoints[number % self.store.endpoints.len()];
        let tls = match at.tls {
            false => None,
            true => Some(trust::client(&self.store, &*self.material).map_err(|detail| {
                let endpoint = at.to_string();
                EtcdError::Trust { endpoint, detail }
            })?),
        };
        let channel = Channel::open(at, &self.store.prefix, tls).await?;
        let Some((name, password)) = &self.store.user else { return Ok((channel, None)) };
        let password = self.material.secret(password).map_err(|error| EtcdError::Credentials {
            detail: format!("the password of {name} cannot be read: {error}"),
        })?;
        let password = std::str::from_utf8(&password)
            .map_err(|_| EtcdError::Credentials { detail: format!("the password of {name} is no text") })?;
        let mut question = wire::AuthenticateRequest { name: name.clone(), password: password.to_owned() };
        let answer: Result<wire::AuthenticateResponse, _> =
            channel.call("/etcdserverpb.Auth/Authenticate", None, &question).await;
        question.password.zeroize();
        match answer {
            Ok(answer) => Ok((channel, Some(answer.token.into()))),
            // Users are named here before they are demanded there: nothing stops, and it works when it is switched on.
            Err(EtcdError::Strange { detail, .. }) if detail.contains("authentication is not enabled") => {
                Ok((channel, None))
            }
            Err(error) => Err(error),
        }
    }

    fn read(&self, key: &str) -> RequestOp {
        let range = wire::RangeRequest { key: self.full(key), ..wire::RangeRequest::default() };
        RequestOp { request: Some(Request::Range(range)) }
    }

    fn first_of(&self, answer: wire::TxnResponse) -> Option<Kept> {
        let range = answer.responses.into_iter().next()?.range?;
        self.kept(range.kvs.into_iter().next()?)
    }

    fn full(&self, key: &str) -> Vec<u8> {
        [self.store.prefix.as_bytes(), key.as_bytes()].concat()
    }

    /// The keys that begin with `under`, as etcd names ranges.
    fn range(&self, under: &str) -> (Vec<u8>, Vec<u8>) {
        let first = self.full(under);
        let mut end = first.clone();
        // The prefix ends with a slash, and no key of ours holds a byte 0xff: there is always a next one.
        if let Some(last) = end.last_mut() {
            *last = last.saturating_add(1);
        }
        (first, end)
    }

    fn kept(&self, kv: wire::KeyValue) -> Option<Kept> {
        kept(kv, &self.store.prefix)
    }
}

/// Who has a duty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Taken {
    /// We have it now, or had it already.
    Ours(Fence),
    /// Another node; what it wrote about itself.
    Theirs(Bytes),
}

/// A value without the prefix; `None` for keys that are none of ours.
pub(super) fn kept(kv: wire::KeyValue, prefix: &str) -> Option<Kept> {
    let key = std::str::from_utf8(&kv.key).ok()?.strip_prefix(prefix)?.to_owned();
    Some(Kept {
        key,
        value: kv.value,
        version: kv.version,
        created: kv.create_revision,
        modified: kv.mod_revision,
        lease: kv.lease,
    })
}

fn is_too_long(error: &EtcdError) -> bool {
    matches!(error, EtcdError::Broken { detail, .. } if detail == TOO_LONG)
}
