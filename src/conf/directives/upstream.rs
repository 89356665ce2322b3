//! upstream { server … }: groups of servers, and those that a `proxy_pass` with a plain host makes.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::conf::address::{self, Address, AddressKind, HOST_NOT_FOUND, Wanted};
use crate::conf::complaint::{Complaint, Kind};
use crate::conf::read::{Reader, Scope};
use crate::conf::settings::{Level, clamp, directive_is};
use crate::conf::table::{Home, Row};
use crate::conf::tree::Directive;
use crate::conf::value;
use crate::plan::upstream::{Balance, Upstream, UpstreamAddress, UpstreamKeepalive, UpstreamServer};
use crate::words::Place;

/// All upstreams, by the order in which they were first named.
#[derive(Debug, Default)]
pub struct Registry {
    entries: Vec<Entry>,
    /// Entries by their host in lower case; one host may stand with several ports.
    index: HashMap<String, Vec<usize>>,
    built: Vec<Arc<Upstream>>,
}

#[derive(Debug)]
struct Entry {
    host: String,
    /// 0: any.
    port: u16,
    no_port: bool,
    place: Place,
    address: Option<Address>,
    block: Option<Group>,
}

/// An `upstream` block.
#[derive(Debug)]
struct Group {
    level: Level,
    servers: Vec<UpstreamServer>,
    balance: Option<Balance>,
    keepalive: Option<usize>,
    zone: Option<(Box<str>, bool)>,
    resolves: bool,
}

impl Registry {
    /// Names an upstream by the address of a `proxy_pass`.
    ///
    /// # Errors
    /// nginx's words when the address has a port and a block of that name exists.
    pub fn implicit(&mut self, address: Address, place: &Place) -> Result<usize, Complaint> {
        let host = address.host.to_ascii_lowercase();
        for index in self.index.get(&host).into_iter().flatten() {
            let entry = &self.entries[*index];
            if entry.block.is_some() && !address.no_port {
                let text = format!("upstream \"{}\" may not have port {}", address.host, address.port);
                return Err(Complaint::emerg(text, place));
            }
            if entry.port == 0 || address.port == 0 || entry.port == address.port {
                return Ok(*index);
            }
        }
        self.index.entry(host).or_default().push(self.entries.len());
        self.entries.push(Entry {
            host: address.host.clone(),
            port: address.port,
            no_port: address.no_port,
            place: place.clone(),
            address: Some(address),
            block: None,
        });
        Ok(self.entries.len() - 1)
    }

    /// Names an upstream by its block; the block itself follows with [`Registry::fill`].
    fn explicit(&mut self, name: &str, place: &Place) -> Result<usize, Complaint> {
        let known = self.index.entry(name.to_ascii_lowercase()).or_default();
        if let Some(index) = known.first().copied() {
            let entry = &mut self.entries[index];
            if entry.block.is_some() {
                return Err(Complaint::emerg(format!("duplicate upstream \"{name}\""), place));
            }
            if !entry.no_port {
                let text = format!("upstream \"{name}\" may not have port {}", entry.port);
                return Err(Complaint::emerg(text, &entry.place));
            }
            entry.port = 0;
            entry.block = Some(Group::new());
            return Ok(index);
        }
        known.push(self.entries.len());
        let block = Some(Group::new());
        self.entries.push(Entry {
            host: name.to_owned(),
            port: 0,
            no_port: true,
            place: place.clone(),
            address: None,
            block,
        });
        Ok(self.entries.len() - 1)
    }

    /// The upstream of an index, once all are built.
    pub fn built(&self, index: usize) -> Arc<Upstream> {
        Arc::clone(&self.built[index])
    }

    /// All of them.
    pub fn all(&self) -> Box<[Arc<Upstream>]> {
        self.built.clone().into()
    }
}

impl Group {
    fn new() -> Group {
        Group {
            level: Level::default(),
            servers: Vec::new(),
            balance: None,
            keepalive: None,
            zone: None,
            resolves: false,
        }
    }
}

/// Reads an `upstream` block.
///
/// # Errors
/// nginx's words.
pub fn take(reader: &mut Reader<'_>, directive: &Directive) -> Result<(), Complaint> {
    let index = reader.shared.upstreams.explicit(&directive.args[0], &directive.place)?;
    let block = directive.block.as_ref().expect("the reader lets `upstream` through only with a block");
    let mut group = Group::new();
    reader.walk(block, &mut group)?;
    if group.servers.is_empty() {
        return Err(Complaint::emerg("no servers are inside upstream", &block.end));
    }
    reader.shared.upstreams.entries[index].block = Some(group);
    Ok(())
}

impl Scope for Group {
    fn home(&self) -> Home {
        Home::Upstream
    }

    fn take(&mut self, reader: &mut Reader<'_>, row: &'static Row, directive: &Directive) -> Result<(), Complaint> {
        let balance = match row.name {
            "server" => return self.server(reader, directive),
            "keepalive" => return self.keepalive(directive),
            "zone" => return self.zone(directive),
            "least_conn" => Balance::LeastConn,
            "ip_hash" => Balance::IpHash,
            "random" => random(reader, directive)?,
            "hash" => hash(reader, directive)?,
            _ => return self.level.set(row, directive, &mut reader.variables, &mut reader.complaints),
        };
        // `keepalive` is a method too in nginx, and is said to belong behind the others.
        if self.balance.is_some() || self.keepalive.is_some() {
            reader.warn("load balancing method redefined", &directive.place);
        }
        self.balance = Some(balance);
        Ok(())
    }
}

fn hash(reader: &mut Reader<'_>, directive: &Directive) -> Result<Balance, Complaint> {
    let key = reader.template(&directive.args[0], &directive.place)?;
    let consistent = match directive.args.get(1).map(AsRef::as_ref) {
        None => false,
        Some("consistent") => true,
        Some(other) => return Err(Complaint::emerg(format!("invalid parameter \"{other}\""), &directive.place)),
    };
    Ok(Balance::Hash { key, consistent })
}

fn random(reader: &mut Reader<'_>, directive: &Directive) -> Result<Balance, Complaint> {
    let invalid = |text: &str| Complaint::emerg(format!("invalid parameter \"{text}\""), &directive.place);
    let two = match directive.args.first().map(AsRef::as_ref) {
        None => false,
        Some("two") => true,
        Some(other) => return Err(invalid(other)),
    };
    match directive.args.get(1).map(AsRef::as_ref) {
        None | Some("least_conn") => {}
        Some(text @ ("least_time=header" | "least_time=last_byte")) => reader.not_yet(text, &directive.place),
        Some(other) => return Err(invalid(other)),
    }
    Ok(Balance::Random { two })
}

impl Group {
    fn keepalive(&mut self, directive: &Directive) -> Result<(), Complaint> {
        if self.keepalive.is_some() {
            return Err(directive_is(directive, "is duplicate"));
        }
        let text = &directive.args[0];
        let number = value::number(text).filter(|number| *number > 0).ok_or_else(|| {
            Complaint::emerg(format!("invalid value \"{text}\" in \"keepalive\" directive"), &directive.place)
        })?;
        self.keepalive = Some(clamp(number));
        Ok(())
    }

    fn zone(&mut self, directive: &Directive) -> Result<(), Complaint> {
        let emerg = |text: String| Complaint::emerg(text, &directive.place);
        let name = &directive.args[0];
        if name.is_empty() {
            return Err(emerg("invalid zone name \"\"".to_owned()));
        }
        if let Some(text) = directive.args.get(1) {
            let size = value::size(text).ok_or_else(|| emerg(format!("invalid zone size \"{text}\"")))?;
            if size < 8 * 4096 {
                return Err(emerg(format!("zone \"{name}\" is too small")));
            }
        }
        self.zone = Some((name.clone(), directive.args.len() > 1));
        Ok(())
    }

    /// Which parameters the chosen method takes.
    fn supports(&self, parameter: &str) -> bool {
        match &self.balance {
            Some(Balance::IpHash | Balance::Hash { .. } | Balance::Random { .. }) => parameter != "backup",
            _ => true,
        }
    }

    fn server(&mut self, reader: &mut Reader<'_>, directive: &Directive) -> Result<(), Complaint> {
        let mut server = UpstreamServer::new(directive.args[0].clone(), []);
        for text in directive.args.iter().skip(1) {
            let name = text.split_once('=').map_or(&**text, |(name, _)| name);
            if !self.supports(name) {
                let text = format!("balancing method does not support parameter \"{text}\"");
                return Err(Complaint::emerg(text, &directive.place));
            }
            parameter(&mut server, reader, text, &directive.place)?;
        }
        self.resolves |= server.resolve;
        let wanted = Wanted {
            listen: false,
            uri_part: false,
            resolve: !server.resolve && !reader.options.offline,
            default_port: 80,
        };
        let text = &directive.args[0];
        let complaint = |wrong: address::BadAddress| {
            Complaint::emerg(format!("{} in upstream \"{text}\"", wrong.0), &directive.place)
        };
        let address = match address::parse(text, wanted, reader.world) {
            Err(HOST_NOT_FOUND) => {
                reader.complaints.push(complaint(HOST_NOT_FOUND).of_kind(Kind::UpstreamUnresolved));
                address::parse(text, Wanted { resolve: false, ..wanted }, reader.world).map_err(complaint)?
            }
            other => other.map_err(complaint)?,
        };
        place_addresses(&mut server, address);
        self.servers.push(server);
        Ok(())
    }
}

fn place_addresses(server: &mut UpstreamServer, address: Address) {
    let tcp = |all: Vec<std::net::SocketAddr>| all.into_iter().map(UpstreamAddress::Tcp).collect();
    match address.kind {
        AddressKind::Unix => server.addresses = Box::new([UpstreamAddress::Unix(address.host.into())]),
        AddressKind::Literal(all) => server.addresses = tcp(all),
        AddressKind::Resolved(all) => {
            server.addresses = tcp(all);
            server.host = Some((address.host.into(), address.port));
        }
        AddressKind::Name => server.host = Some((address.host.into(), address.port)),
    }
}

fn parameter(server: &mut UpstreamServer, reader: &mut Reader<'_>, text: &str, place: &Place) -> Result<(), Complaint> {
    let invalid = || Complaint::emerg(format!("invalid parameter \"{text}\""), place);
    let number = |value: &str| {
        let number = value::number(value).ok_or_else(invalid)?;
        Ok::<u32, Complaint>(u32::try_from(number).unwrap_or(u32::MAX))
    };
    match text.split_once('=') {
        Some(("weight", value)) => server.weight = Some(number(value)?).filter(|n| *n > 0).ok_or_else(invalid)?,
        Some(("max_conns", value)) => server.max_conns = number(value)?,
        Some(("max_fails", value)) => server.max_fails = number(value)?,
        Some(("fail_timeout", value)) => server.fail_timeout = value::seconds(value).ok_or_else(invalid)?,
        Some(("service", "")) => return Err(Complaint::emerg("service is empty", place)),
        Some(("service", _)) => reader.not_yet("server … service=", place),
        None if text == "backup" => server.backup = true,
        None if text == "down" => server.down = true,
        None if text == "resolve" => server.resolve = true,
        _ => return Err(invalid()),
    }
    Ok(())
}

/// Builds every upstream, and looks up the hosts of those that `proxy_pass` made.
///
/// # Errors
/// nginx's words. A host that is not found is said, and forgiven by a start.
pub fn finish(reader: &mut Reader<'_>, has_resolver: bool) -> Result<(), Complaint> {
    let entries = std::mem::take(&mut reader.shared.upstreams.entries);
    let mut built = Vec::with_capacity(entries.len());
    for entry in entries {
        built.push(Arc::new(match entry.block {
            Some(group) => {
                if let Some((zone, false)) = &group.zone {
                    let text = format!("zero size shared memory zone \"{zone}\"");
                    reader.late.push(Complaint::placeless(text).of_kind(Kind::Late));
                }
                explicit(&entry.host, &entry.place, group, has_resolver)?
            }
            None => implicit(&entry, reader),
        }));
    }
    reader.shared.upstreams.built = built;
    Ok(())
}

fn explicit(name: &str, place: &Place, group: Group, has_resolver: bool) -> Result<Upstream, Complaint> {
    if group.resolves {
        let file = format!("upstream \"{name}\" in {place}");
        if group.zone.is_none() {
            let text = format!("resolving names at run time requires {file} to be in shared memory");
            return Err(Complaint::placeless(text));
        }
        if !has_resolver {
            let text = format!("no resolver defined to resolve names at run time in {file}");
            return Err(Complaint::placeless(text));
        }
    }
    if !group.servers.iter().any(|server| !server.backup) {
        return Err(Complaint::placeless(format!("no servers in upstream \"{name}\" in {place}")));
    }
    let keepalive = group.keepalive.map(|connections| UpstreamKeepalive {
        connections,
        requests: group.level.number("keepalive_requests").unwrap_or(1000),
        time: group.level.time("keepalive_time").unwrap_or(Duration::from_secs(3600)),
        timeout: group.level.time("keepalive_timeout").unwrap_or(Duration::from_secs(60)),
    });
    Ok(Upstream {
        name: name.to_ascii_lowercase().into(),
        implicit: false,
        place: place.clone(),
        servers: group.servers.into(),
        balance: group.balance.unwrap_or_default(),
        keepalive,
        zone: group.zone.map(|(name, _)| name),
    })
}

fn implicit(entry: &Entry, reader: &mut Reader<'_>) -> Upstream {
    let name: Box<str> = match &entry.address {
        Some(Address { kind: AddressKind::Unix, host, .. }) => format!("unix:{host}").into(),
        _ => format!("{}:{}", entry.host.to_ascii_lowercase(), entry.port).into(),
    };
    let mut server = UpstreamServer::new(name, []);
    if let Some(mut address) = entry.address.clone() {
        if address.kind == AddressKind::Name && !reader.options.offline {
            let found = reader.world.resolve(&address.host).filter(|found| !found.is_empty());
            match found {
                Some(found) => {
                    let port = address.port;
                    let all = found.into_iter().map(|ip| std::net::SocketAddr::new(ip, port));
                    address.kind = AddressKind::Resolved(all.collect());
                }
                None => {
                    let text = format!("host not found in upstream \"{}\"", address.host);
                    let complaint = Complaint::emerg(text, &entry.place).of_kind(Kind::UpstreamUnresolved);
                    reader.complaints.push(complaint);
                }
            }
        }
        place_addresses(&mut server, address);
    }
    Upstream::implicit(server, entry.place.clone())
}
