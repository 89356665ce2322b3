//! resolver, resolver_timeout: whom names are asked of at run time.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::conf::address::{self, AddressKind, Wanted};
use crate::conf::complaint::Complaint;
use crate::conf::read::Reader;
use crate::conf::settings::directive_is;
use crate::conf::tree::Directive;
use crate::conf::value;
use crate::plan::resolver::Resolver;

use super::Chain;

/// What one level has said with `resolver`.
#[derive(Clone, Debug)]
pub struct Said {
    servers: Vec<SocketAddr>,
    valid: Option<Duration>,
    ipv4: bool,
    ipv6: bool,
}

/// Takes `resolver`.
///
/// # Errors
/// nginx's words.
pub fn take(said: &mut super::Said, reader: &mut Reader<'_>, directive: &Directive) -> Result<(), Complaint> {
    if said.resolver.is_some() {
        return Err(directive_is(directive, "is duplicate"));
    }
    let emerg = |text: String| Complaint::emerg(text, &directive.place);
    let mut found = Said { servers: Vec::new(), valid: None, ipv4: true, ipv6: true };
    for text in &directive.args {
        let invalid = || emerg(format!("invalid parameter: {text}"));
        if let Some(valid) = text.strip_prefix("valid=") {
            found.valid = Some(value::seconds(valid).ok_or_else(invalid)?).filter(|valid| !valid.is_zero());
        } else if let Some(on) = text.strip_prefix("ipv4=") {
            found.ipv4 = on_off(on).ok_or_else(invalid)?;
        } else if let Some(on) = text.strip_prefix("ipv6=") {
            found.ipv6 = on_off(on).ok_or_else(invalid)?;
        } else if !text.starts_with("status_zone=") {
            found.servers.extend(server(text, reader, directive)?);
        }
    }
    if !found.ipv4 && !found.ipv6 {
        return Err(emerg("\"ipv4\" and \"ipv6\" cannot both be \"off\"".to_owned()));
    }
    if found.servers.is_empty() && !reader.options.offline {
        return Err(emerg("no name servers defined".to_owned()));
    }
    said.resolver = Some(found);
    Ok(())
}

/// The addresses of one server, port 53 if none is given.
///
/// # Errors
/// nginx's words.
pub(super) fn server(text: &str, reader: &Reader<'_>, directive: &Directive) -> Result<Vec<SocketAddr>, Complaint> {
    let wanted = Wanted { listen: false, uri_part: false, resolve: !reader.options.offline, default_port: 53 };
    let address = address::parse(text, wanted, reader.world)
        .map_err(|wrong| Complaint::emerg(format!("{} in resolver \"{text}\"", wrong.0), &directive.place))?;
    Ok(match address.kind {
        AddressKind::Literal(found) | AddressKind::Resolved(found) => found,
        AddressKind::Unix | AddressKind::Name => Vec::new(),
    })
}

fn on_off(text: &str) -> Option<bool> {
    match text {
        "on" => Some(true),
        "off" => Some(false),
        _ => None,
    }
}

/// The resolver of a chain.
pub fn settle(chain: Chain<'_>) -> Option<Arc<Resolver>> {
    let said = chain.find(|said| said.resolver.as_ref())?;
    Some(Arc::new(Resolver {
        servers: said.servers.clone().into(),
        valid: said.valid,
        ipv4: said.ipv4,
        ipv6: said.ipv6,
        timeout: chain.time("resolver_timeout", Duration::from_secs(30)),
    }))
}
