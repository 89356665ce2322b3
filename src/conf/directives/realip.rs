//! set_real_ip_from, real_ip_header: who may say who the client is.

use std::sync::Arc;

use crate::conf::complaint::Complaint;
use crate::conf::read::Reader;
use crate::conf::settings::directive_is;
use crate::conf::table::Row;
use crate::conf::tree::Directive;
use crate::plan::access::Whom;
use crate::plan::realip::{RealIp, RealIpHeader};

use super::Chain;
use super::access::{masked, network};

/// What one level has said.
#[derive(Debug, Default)]
pub struct Said {
    from: Vec<Whom>,
    header: Option<RealIpHeader>,
}

impl Said {
    /// Whether nothing was said.
    pub fn is_silent(&self) -> bool {
        self.from.is_empty() && self.header.is_none()
    }
}

/// Takes `set_real_ip_from` (several add up) or `real_ip_header`.
///
/// # Errors
/// nginx's words.
pub fn take(
    said: &mut super::Said,
    reader: &mut Reader<'_>,
    row: &'static Row,
    directive: &Directive,
) -> Result<(), Complaint> {
    let (said, text, place) = (&mut said.realip, &*directive.args[0], &directive.place);
    if row.name == "real_ip_header" {
        let header = match text {
            "X-Forwarded-For" => RealIpHeader::ForwardedFor,
            "proxy_protocol" => RealIpHeader::ProxyProtocol,
            name => RealIpHeader::Field(name.to_ascii_lowercase().into()),
        };
        return match said.header.replace(header) {
            None => Ok(()),
            Some(_) => Err(directive_is(directive, "is duplicate")),
        };
    }
    if text == "unix:" {
        said.from.push(Whom::Unix);
    } else if let Some((net, bits)) = network(text) {
        let kept = masked(net, bits);
        if kept != net {
            reader.warn(format!("low address bits of {text} are meaningless"), place);
        }
        said.from.push(Whom::Net(kept, bits));
    } else {
        let found = reader.world.resolve(text).filter(|found| !found.is_empty());
        if found.is_none() && !reader.options.offline {
            return Err(Complaint::emerg(format!("host not found in set_real_ip_from \"{text}\""), place));
        }
        let whole = |ip: std::net::IpAddr| Whom::Net(ip, if ip.is_ipv4() { 32 } else { 128 });
        said.from.extend(found.unwrap_or_default().into_iter().map(whole));
    }
    Ok(())
}

/// What a chain says, and `None` where `set_real_ip_from` stands nowhere.
pub fn settle(chain: Chain<'_>) -> Option<Arc<RealIp>> {
    let from = chain.find(|said| Some(&said.realip.from).filter(|from| !from.is_empty()))?;
    let header = chain.find(|said| said.realip.header.clone());
    Some(Arc::new(RealIp {
        from: from.clone().into(),
        header: header.unwrap_or_else(|| RealIpHeader::Field("x-real-ip".into())),
        recursive: chain.flag("real_ip_recursive", false),
    }))
}
