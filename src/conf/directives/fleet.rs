//! fleet: which nodes belong together, and how they find each other.

use std::net::{IpAddr, SocketAddr};

use crate::conf::complaint::Complaint;
use crate::conf::read::{Reader, Scope};
use crate::conf::settings::directive_is;
use crate::conf::table::{Home, Row};
use crate::conf::tree::Directive;
use crate::plan::etcd::EtcdStore;
use crate::plan::fleet::{Fleet, Hold, PORT, PeerAddress};
use crate::plan::listener::{ListenAddress, Listener};
use crate::words::{Place, SecretRef};

/// What the block says.
#[derive(Default)]
struct Draft {
    key: Option<SecretRef>,
    old_key: Option<SecretRef>,
    listen: Vec<SocketAddr>,
    peers: Vec<PeerAddress>,
    hold: Option<Hold>,
    store: Option<EtcdStore>,
}

/// Takes `fleet { … }`.
///
/// # Errors
/// What is wrong with it.
pub fn fleet(reader: &mut Reader<'_>, directive: &Directive) -> Result<Fleet, Complaint> {
    let block = directive.block.as_ref().expect("the reader lets `fleet` through only with a block");
    let mut draft = Draft::default();
    reader.walk(block, &mut draft)?;
    let missing = |what: &str| Complaint::emerg(format!("\"{what}\" is missing in \"fleet\""), &block.end);
    let key = draft.key.ok_or_else(|| missing("key"))?;
    if draft.old_key.as_ref() == Some(&key) {
        return Err(Complaint::emerg("\"old_key\" of \"fleet\" is the same as \"key\"", &directive.place));
    }
    if draft.listen.is_empty() && draft.peers.is_empty() && draft.store.is_none() {
        return Err(missing("listen"));
    }
    if draft.peers.is_empty() && draft.store.is_none() {
        reader.warn("this node has no \"peer\" in \"fleet\": it waits for others to call", &directive.place);
    }
    Ok(Fleet {
        key,
        old_key: draft.old_key,
        listen: draft.listen,
        peers: draft.peers,
        hold: draft.hold.unwrap_or_default(),
        store: draft.store,
        place: directive.place.clone(),
    })
}

impl Scope for Draft {
    fn home(&self) -> Home {
        Home::Fleet
    }

    fn take(&mut self, reader: &mut Reader<'_>, row: &'static Row, directive: &Directive) -> Result<(), Complaint> {
        let text = &*directive.args[0];
        let twice = match row.name {
            "key" => self.key.is_some(),
            "old_key" => self.old_key.is_some(),
            "hold" => self.hold.is_some(),
            "store" => self.store.is_some(),
            _ => false,
        };
        if twice {
            return Err(directive_is(directive, "is duplicate"));
        }
        let invalid = |text: &str| Complaint::emerg(format!("invalid parameter \"{text}\""), &directive.place);
        match row.name {
            "key" => self.key = Some(secret(reader, text, &directive.place)?),
            "old_key" => self.old_key = Some(secret(reader, text, &directive.place)?),
            "listen" => {
                let at = listen(text).ok_or_else(|| invalid(text))?;
                if self.listen.contains(&at) {
                    return Err(Complaint::emerg(format!("a duplicate listen {text}"), &directive.place));
                }
                self.listen.push(at);
            }
            "peer" => {
                for text in &directive.args {
                    let peer = peer(text).ok_or_else(|| invalid(text))?;
                    if !self.peers.contains(&peer) {
                        self.peers.push(peer);
                    }
                }
            }
            "hold" => {
                self.hold = Some(match text {
                    "own" => Hold::Own,
                    "all" => Hold::All,
                    _ => return Err(invalid(text)),
                });
            }
            "store" => self.store = Some(super::etcd::store(reader, directive)?),
            other => unreachable!("\"{other}\" has no row in \"fleet\""),
        }
        Ok(())
    }
}

/// A path, `file:PATH`, `env:NAME` or `cred:NAME`; never the key itself.
fn secret(reader: &Reader<'_>, text: &str, place: &Place) -> Result<SecretRef, Complaint> {
    match SecretRef::parse(text) {
        SecretRef::Literal(_) if text.starts_with("semper-fleet-key") => {
            let text = "the fleet key itself does not belong here: name its file, or env:NAME or cred:NAME";
            Err(Complaint::emerg(text, place))
        }
        SecretRef::Literal(path) => Ok(SecretRef::File(reader.conf_path(&path))),
        SecretRef::File(path) => Ok(SecretRef::File(reader.conf_path(&path.to_string_lossy()))),
        other => Ok(other),
    }
}

/// `PORT`, `ADDRESS` or `ADDRESS:PORT`.
fn listen(text: &str) -> Option<SocketAddr> {
    let all = |port: u16| SocketAddr::from(([0, 0, 0, 0], port));
    let at = text.parse().ok().or_else(|| text.parse().ok().map(all)).or_else(|| {
        let address: IpAddr = text.trim_start_matches('[').trim_end_matches(']').parse().ok()?;
        Some(SocketAddr::new(address, PORT))
    })?;
    (at.port() != 0).then_some(at)
}

/// `HOST`, `HOST:PORT`, `[ADDRESS]:PORT`.
fn peer(text: &str) -> Option<PeerAddress> {
    if let Ok(at) = text.parse::<SocketAddr>() {
        return (at.port() != 0).then(|| PeerAddress { host: at.ip().to_string().into(), port: at.port() });
    }
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    if let Ok(address) = bare.parse::<IpAddr>() {
        return Some(PeerAddress { host: address.to_string().into(), port: PORT });
    }
    let (host, port) = match text.split_once(':') {
        Some((host, port)) => (host, port.parse().ok().filter(|port| *port != 0)?),
        None => (text, PORT),
    };
    let sane = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    let good = !host.is_empty() && host.len() <= 253 && host.bytes().all(sane);
    good.then(|| PeerAddress { host: host.to_ascii_lowercase().into(), port })
}

/// Refuses an address that clients have already.
///
/// # Errors
/// Which one.
pub fn check(fleet: &Fleet, listeners: &[Listener]) -> Result<(), Complaint> {
    for at in &fleet.listen {
        let taken = |listener: &&Listener| match &listener.address {
            ListenAddress::Tcp(own) => own.port() == at.port() && (own.ip() == at.ip() || own.ip().is_unspecified()),
            ListenAddress::Unix(_) => false,
        };
        if listeners.iter().any(|listener| taken(&listener)) {
            let text = format!("clients listen at {at} already: the link of \"fleet\" needs a port of its own");
            return Err(Complaint::emerg(text, &fleet.place));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conf::world::MemoryWorld;
    use crate::conf::{Options, load};

    fn read(fleet: &str) -> Result<Fleet, String> {
        let text = format!("events {{}} {fleet} http {{ server {{ listen 80; }} }}");
        let world = MemoryWorld::with_file("/etc/nginx/nginx.conf", text);
        let loaded = load(&world, &Options::new("/etc/nginx/nginx.conf", "/usr/share/nginx"));
        match loaded.first_error() {
            Some(error) => Err(error.to_string()),
            None => Ok(loaded.plan.and_then(|plan| plan.fleet).expect("a fleet was written")),
        }
    }

    #[test]
    fn the_same_lines_serve_on_every_node() {
        let fleet = read("fleet { key fleet.key; listen 7443; peer A.example b.example:9; peer [::1]:7; peer ::2; }");
        let fleet = fleet.unwrap();
        assert_eq!(fleet.key, SecretRef::File("/etc/nginx/fleet.key".into()));
        assert_eq!(fleet.listen, ["0.0.0.0:7443".parse().unwrap()]);
        let peers: Vec<String> = fleet.peers.iter().map(ToString::to_string).collect();
        assert_eq!(peers, ["a.example:7443", "b.example:9", "[::1]:7", "[::2]:7443"]);
        assert_eq!(fleet.hold, Hold::Own);
        let fleet = read("fleet { key cred:f; old_key old.key; listen 10.0.0.1; hold all; }").unwrap();
        assert_eq!((fleet.key, fleet.hold), (SecretRef::Credential("f".into()), Hold::All));
        assert_eq!(fleet.listen, ["10.0.0.1:7443".parse().unwrap()]);
    }

    #[test]
    fn what_cannot_be_meant_is_said_with_file_and_line() {
        for (text, words) in [
            ("fleet { listen 7443; }", "\"key\" is missing in \"fleet\""),
            ("fleet { key a; }", "\"listen\" is missing in \"fleet\""),
            ("fleet { key a; key b; listen 1; }", "\"key\" directive is duplicate"),
            ("fleet { key a; old_key a; listen 1; }", "is the same as \"key\""),
            ("fleet { key semper-fleet-key-1:AAAA; listen 1; }", "the fleet key itself does not belong here"),
            ("fleet { key a; listen a.example:1; }", "invalid parameter \"a.example:1\""),
            ("fleet { key a; peer a:0; }", "invalid parameter \"a:0\""),
            ("fleet { key a; peer a/b; }", "invalid parameter \"a/b\""),
            ("fleet { key a; listen 1; hold some; }", "invalid parameter \"some\""),
            ("fleet { key a; listen 80; }", "clients listen at 0.0.0.0:80 already"),
            ("fleet { key a; listen 1; } fleet { key a; listen 2; }", "\"fleet\" directive is duplicate"),
        ] {
            let said = read(text).unwrap_err();
            assert!(said.contains(words) && said.contains("nginx.conf:1"), "{text}: {said}");
        }
    }
}
