//! What shall be answered when an authority comes to look? The table of open challenges, shared by the workers that
//! serve HTTP and TLS and by `acme`, which fills it. Knows no network and no order; bounded, and forgets by itself.

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use bytes::Bytes;
use rustls::sign::CertifiedKey;

use crate::clock::{Clock, UnixTime};
use crate::words::Identifier;

/// The path below which HTTP-01 answers stand (RFC 8555 8.3).
pub const HTTP01_PATH: &str = "/.well-known/acme-challenge/";
/// The protocol under which TLS-ALPN-01 is asked (RFC 8737 6.2).
pub const TLS_ALPN01: &[u8] = b"acme-tls/1";

/// Open challenges at most, of either kind. More are refused until some end.
const CAPACITY: usize = 16_384;
/// Tokens have at least 128 bits (RFC 8555 8.1); nobody needs more than this.
const TOKEN_LENGTHS: std::ops::RangeInclusive<usize> = 16..=256;

/// When, within a request, is the table asked?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Before a location is chosen and before any check of who asks.
    BeforeLocation,
    /// The configuration answered 404 or 5xx; its answer may still be replaced.
    AfterUpstream404,
}

/// The answer to an HTTP-01 question: status 200, `body`, and [`Answer::FIELDS`]. To HEAD without the body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The key authorization.
    pub body: Bytes,
}

impl Answer {
    /// Header fields of the answer, besides Content-Length.
    pub const FIELDS: [(&'static str, &'static str); 2] =
        [("Content-Type", "text/plain"), ("X-Content-Type-Options", "nosniff")];
}

/// The table is full of challenges that are still open. Nobody's fault; trying again later is safe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many challenges are open")]
pub struct TableFull;

/// How an authority looks at what other nodes are told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// HTTP-01.
    Http01,
    /// TLS-ALPN-01.
    TlsAlpn01,
}

/// A challenge of ours, as other nodes are told of it.
#[derive(Clone, Debug)]
pub struct Told {
    /// How the authority looks.
    pub kind: Kind,
    /// The name that is validated.
    pub name: Identifier,
    /// The token.
    pub token: String,
    /// `token.thumbprint`.
    pub key_authorization: String,
    /// For how long from now on.
    pub remaining: Duration,
}

/// Other nodes that answer for the same names. Calls return at once.
pub trait Others: Send + Sync {
    /// A challenge was opened here.
    fn opened(&self, told: &Told);
    /// It is over.
    fn closed(&self, token: &str);
    /// Waits, not for long, until all that are there answer for these tokens; those that do not, in words.
    fn spread(&self, tokens: Vec<String>) -> Pin<Box<dyn Future<Output = Vec<String>> + Send + '_>>;
    /// Asks them for a token that is not in the table, where it then stands if one of them knows it. Not for long, and
    /// for few at once.
    fn ask(&self, token: &str) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
}

/// Others, in a form that can be swapped.
struct Shared(Arc<dyn Others>);

/// Open challenges and the names for which we speak.
pub struct Challenges {
    clock: Arc<dyn Clock>,
    http01: RwLock<HashMap<Box<str>, Open<Bytes>>>,
    tls_alpn01: RwLock<HashMap<Box<str>, Open<Arc<CertifiedKey>>>>,
    standing: ArcSwap<Standing>,
    others: ArcSwapOption<Shared>,
}

struct Open<T> {
    value: T,
    until: UnixTime,
}

#[derive(Clone, Default)]
struct Standing {
    thumbprint: Option<Box<str>>,
    names: HashSet<Box<str>>,
}

impl std::fmt::Debug for Challenges {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Challenges").field("http01", &read(&self.http01).len()).finish_non_exhaustive()
    }
}

impl Challenges {
    /// An empty table.
    pub fn new(clock: Arc<dyn Clock>) -> Challenges {
        let standing = ArcSwap::from_pointee(Standing::default());
        Challenges {
            clock,
            http01: RwLock::default(),
            tls_alpn01: RwLock::default(),
            standing,
            others: ArcSwapOption::empty(),
        }
    }

    /// Says which other nodes answer for our names too.
    pub fn share_with(&self, others: Option<Arc<dyn Others>>) {
        self.others.store(others.map(|others| Arc::new(Shared(others))));
    }

    /// Now, by the clock of the table.
    pub fn now(&self) -> UnixTime {
        self.clock.now()
    }

    /// Tells other nodes of a challenge of ours.
    pub fn tell(&self, told: &Told) {
        if let Some(others) = &*self.others.load() {
            others.0.opened(told);
        }
    }

    /// Tells other nodes that a challenge of ours is over.
    pub fn tell_end(&self, token: &str) {
        if let Some(others) = &*self.others.load() {
            others.0.closed(token);
        }
    }

    /// Waits, not for long, until other nodes answer for these tokens too; those that do not, in words.
    pub async fn spread(&self, tokens: Vec<String>) -> Vec<String> {
        let others = self.others.load_full();
        match others {
            Some(others) if !tokens.is_empty() => others.0.spread(tokens).await,
            _ => Vec::new(),
        }
    }

    /// Looks elsewhere for a token that an authority asks for here, of a name that semper manages. Without other nodes, and
    /// for any other request, there is nothing to wait for.
    pub async fn look_elsewhere(&self, path: &str, host: &str) {
        let Some(token) = path.strip_prefix(HTTP01_PATH).filter(|token| is_token(token)) else { return };
        let Some(others) = self.others.load_full() else { return };
        if read(&self.http01).contains_key(token) || !self.standing.load().manages(host) {
            return;
        }
        others.0.ask(token).await;
    }

    /// Opens an HTTP-01 challenge: `token` is answered with `key_authorization` until `until`.
    pub fn open_http01(&self, token: &str, key_authorization: &str, until: UnixTime) -> Result<(), TableFull> {
        let value = Bytes::copy_from_slice(key_authorization.as_bytes());
        insert(&self.http01, token, Open { value, until }, self.clock.now())
    }

    /// Ends an HTTP-01 challenge.
    pub fn close_http01(&self, token: &str) {
        write(&self.http01).remove(token);
    }

    /// Opens a TLS-ALPN-01 challenge for the server name that the authority will send (see [`server_name`]).
    pub fn open_tls_alpn01(&self, sni: &str, certificate: Arc<CertifiedKey>, until: UnixTime) -> Result<(), TableFull> {
        insert(&self.tls_alpn01, &sni.to_ascii_lowercase(), Open { value: certificate, until }, self.clock.now())
    }

    /// Ends a TLS-ALPN-01 challenge.
    pub fn close_tls_alpn01(&self, sni: &str) {
        write(&self.tls_alpn01).remove(&*sni.to_ascii_lowercase());
    }

    /// Opens a question of our own for `sni`, unless a challenge for it is open, which serves as well.
    pub fn open_probe(&self, sni: &str, certificate: Arc<CertifiedKey>, until: UnixTime) -> Result<(), TableFull> {
        if self.tls_alpn01(sni).is_some() {
            return Ok(());
        }
        self.open_tls_alpn01(sni, certificate, until)
    }

    /// Ends a question of our own; a challenge that took its place stays.
    pub fn close_probe(&self, sni: &str, certificate: &Arc<CertifiedKey>) {
        let (mut table, sni) = (write(&self.tls_alpn01), sni.to_ascii_lowercase());
        if table.get(&*sni).is_some_and(|open| Arc::ptr_eq(&open.value, certificate)) {
            table.remove(&*sni);
        }
    }

    /// The certificate to show to a client that offers only [`TLS_ALPN01`] and asks for `sni`.
    pub fn tls_alpn01(&self, sni: &str) -> Option<Arc<CertifiedKey>> {
        let table = read(&self.tls_alpn01);
        if table.is_empty() {
            return None;
        }
        let open = table.get(&*sni.to_ascii_lowercase()).filter(|open| self.clock.now() < open.until)?;
        Some(open.value.clone())
    }

    /// Says which names semper manages: their challenges are answered even without a token in the table.
    pub fn manage<'a>(&self, names: impl IntoIterator<Item = &'a Identifier>) {
        let names: HashSet<Box<str>> = names.into_iter().map(|name| name.to_string().into()).collect();
        self.standing.rcu(|old| Standing { thumbprint: old.thumbprint.clone(), names: names.clone() });
    }

    /// Says whose account answers for tokens that are not in the table: the thumbprint of its key (RFC 8555 8.1).
    pub fn set_thumbprint(&self, thumbprint: Option<&str>) {
        self.standing.rcu(|old| Standing { thumbprint: thumbprint.map(Into::into), names: old.names.clone() });
    }

    /// The thumbprint of the account that answers for tokens that are not in the table.
    pub fn thumbprint(&self) -> Option<Box<str>> {
        self.standing.load().thumbprint.clone()
    }

    /// The answer to a request, if it is an HTTP-01 question that is ours to answer.
    ///
    /// `host` is the name without port. In [`Phase::BeforeLocation`] a token in the table is answered for any host, and
    /// any token for names that semper manages. In [`Phase::AfterUpstream404`] any token is answered: the configuration
    /// had its turn. Such an answer tells the authority only that our account speaks for the host; an order of another
    /// account is not helped by it.
    pub fn answer(&self, method: &str, path: &str, host: &str, phase: Phase) -> Option<Answer> {
        let token = path.strip_prefix(HTTP01_PATH)?;
        if !matches!(method, "GET" | "HEAD") || !is_token(token) {
            return None;
        }
        if let Some(open) = read(&self.http01).get(token).filter(|open| self.clock.now() < open.until) {
            return Some(Answer { body: open.value.clone() });
        }
        let standing = self.standing.load();
        let thumbprint = standing.thumbprint.as_deref()?;
        if phase == Phase::BeforeLocation && !standing.manages(host) {
            return None;
        }
        Some(Answer { body: Bytes::from(format!("{token}.{thumbprint}")) })
    }
}

impl Standing {
    fn manages(&self, host: &str) -> bool {
        let host = host.strip_suffix('.').unwrap_or(host);
        let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host).to_ascii_lowercase();
        self.names.contains(&*bare)
            || bare.split_once('.').is_some_and(|(_, rest)| self.names.contains(&*format!("*.{rest}")))
    }
}

/// The server name that an authority sends for `identifier` under TLS-ALPN-01: addresses in their reverse form
/// (RFC 8738 6), because a server name cannot be an address.
pub fn server_name(identifier: &Identifier) -> String {
    match identifier {
        Identifier::Dns(name) => name.to_string(),
        Identifier::Ip(std::net::IpAddr::V4(ip)) => {
            let [a, b, c, d] = ip.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa")
        }
        Identifier::Ip(std::net::IpAddr::V6(ip)) => {
            let mut name = String::with_capacity(72);
            for byte in ip.octets().iter().rev() {
                name.push_str(&format!("{:x}.{:x}.", byte & 15, byte >> 4));
            }
            name + "ip6.arpa"
        }
    }
}

fn is_token(text: &str) -> bool {
    TOKEN_LENGTHS.contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

fn insert<T>(
    table: &RwLock<HashMap<Box<str>, Open<T>>>,
    key: &str,
    open: Open<T>,
    now: UnixTime,
) -> Result<(), TableFull> {
    let mut table = write(table);
    if table.len() >= CAPACITY {
        table.retain(|_, open| now < open.until);
        if table.len() >= CAPACITY {
            return Err(TableFull);
        }
    }
    table.insert(key.into(), open);
    Ok(())
}

// A panic while the lock is held leaves a whole table: every change is one call of the map.
fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::VirtualClock;

    const TOKEN: &str = "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA";
    const OTHER: &str = "AAAAxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA";

    fn table() -> (Arc<VirtualClock>, Challenges) {
        let clock = Arc::new(VirtualClock::default());
        let table = Challenges::new(clock.clone());
        let names: Vec<Identifier> = ["a.example", "*.b.example", "::1"].iter().map(|n| n.parse().unwrap()).collect();
        table.manage(&names);
        (clock, table)
    }

    fn ask(table: &Challenges, token: &str, host: &str, phase: Phase) -> Option<String> {
        let answer = table.answer("GET", &format!("{HTTP01_PATH}{token}"), host, phase)?;
        Some(String::from_utf8(answer.body.to_vec()).unwrap())
    }

    #[test]
    fn a_token_in_the_table_is_answered_until_it_ends() {
        let (clock, table) = table();
        table.open_http01(TOKEN, "x.y", UnixTime::from_seconds(10)).unwrap();
        assert_eq!(ask(&table, TOKEN, "any.example", Phase::BeforeLocation).as_deref(), Some("x.y"));
        assert_eq!(ask(&table, OTHER, "a.example", Phase::BeforeLocation), None);
        clock.set(UnixTime::from_seconds(10));
        assert_eq!(ask(&table, TOKEN, "any.example", Phase::BeforeLocation), None);
    }

    #[test]
    fn a_managed_name_is_answered_by_thumbprint_and_another_only_after_its_own_configuration() {
        let (_, table) = table();
        table.set_thumbprint(Some("thumb"));
        let expected = Some(format!("{TOKEN}.thumb"));
        for host in ["a.example", "A.EXAMPLE.", "x.b.example", "[::1]"] {
            assert_eq!(ask(&table, TOKEN, host, Phase::BeforeLocation), expected, "{host}");
        }
        for host in ["b.example", "x.y.b.example", "evil.example"] {
            assert_eq!(ask(&table, TOKEN, host, Phase::BeforeLocation), None, "{host}");
            assert_eq!(ask(&table, TOKEN, host, Phase::AfterUpstream404), expected, "{host}");
        }
    }

    #[test]
    fn only_sane_tokens_at_the_exact_path_by_get_or_head_are_answered() {
        let (_, table) = table();
        table.set_thumbprint(Some("thumb"));
        for bad in ["", "short", "<script>alert(1)</script>", "../../../etc/passwd/..", &"a".repeat(257)] {
            assert_eq!(ask(&table, bad, "a.example", Phase::BeforeLocation), None, "{bad}");
        }
        for tail in ["/", "?x", "/more", "%41", "="] {
            assert_eq!(ask(&table, &format!("{TOKEN}{tail}"), "a.example", Phase::BeforeLocation), None, "{tail}");
        }
        for (method, answered) in [("GET", true), ("HEAD", true), ("POST", false), ("get", false)] {
            let answer = table.answer(method, &format!("{HTTP01_PATH}{TOKEN}"), "a.example", Phase::BeforeLocation);
            assert_eq!(answer.is_some(), answered, "{method}");
        }
    }

    #[test]
    fn a_full_table_makes_room_only_by_what_has_ended() {
        let (clock, table) = table();
        for n in 0..CAPACITY {
            table.open_http01(&format!("{n:032}"), "x", UnixTime::from_seconds(5)).unwrap();
        }
        assert_eq!(table.open_http01(TOKEN, "x", UnixTime::from_seconds(9)), Err(TableFull));
        clock.set(UnixTime::from_seconds(6));
        table.open_http01(TOKEN, "x", UnixTime::from_seconds(9)).unwrap();
        assert_eq!(read(&table.http01).len(), 1);
    }

    #[test]
    fn an_address_is_asked_for_by_its_reverse_name() {
        assert_eq!(server_name(&"192.0.2.1".parse().unwrap()), "1.2.0.192.in-addr.arpa");
        let v6 = server_name(&"2001:db8::1".parse().unwrap());
        assert!(v6.starts_with("1.0.0.0.") && v6.ends_with("8.b.d.0.1.0.0.2.ip6.arpa"), "{v6}");
    }
}
