//! allow, deny, auth_basic, satisfy: who gets in.

use std::net::IpAddr;

use crate::conf::complaint::Complaint;
use crate::conf::read::Reader;
use crate::conf::settings::directive_is;
use crate::conf::table::Row;
use crate::conf::tree::Directive;
use crate::plan::access::{Access, AccessRule, AuthBasic, Whom};
use crate::plan::template::Template;

use super::Chain;

/// What one level has said about who gets in.
#[derive(Debug, Default)]
pub struct Said {
    rules: Vec<AccessRule>,
    user_file: Option<Template>,
}

impl Said {
    /// Whether nothing was said.
    pub fn is_silent(&self) -> bool {
        self.rules.is_empty() && self.user_file.is_none()
    }
}

/// Takes `allow`, `deny` or `auth_basic_user_file`.
///
/// # Errors
/// nginx's words.
pub fn take(
    said: &mut super::Said,
    reader: &mut Reader<'_>,
    row: &'static Row,
    directive: &Directive,
) -> Result<(), Complaint> {
    let text = &*directive.args[0];
    if row.name == "auth_basic_user_file" {
        if said.access.user_file.is_some() {
            return Err(directive_is(directive, "is duplicate"));
        }
        let path =
            if text.starts_with('$') { text.into() } else { reader.conf_path(text).to_string_lossy().into_owned() };
        said.access.user_file = Some(reader.template(&path, &directive.place)?);
        return Ok(());
    }
    let whom = match text {
        "all" => Whom::All,
        "unix:" => Whom::Unix,
        _ => {
            let Some((net, bits)) = network(text) else {
                return Err(Complaint::emerg(format!("invalid parameter \"{text}\""), &directive.place));
            };
            let kept = masked(net, bits);
            if kept != net {
                reader.warn(format!("low address bits of {text} are meaningless"), &directive.place);
            }
            Whom::Net(kept, bits)
        }
    };
    said.access.rules.push(AccessRule { allow: row.name == "allow", whom });
    Ok(())
}

/// `address` or `address/bits`.
pub fn network(text: &str) -> Option<(IpAddr, u8)> {
    let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
    let ip: IpAddr = address.parse().ok()?;
    let most = if ip.is_ipv4() { 32 } else { 128 };
    let bits = match bits {
        None => most,
        Some(bits) => {
            crate::conf::value::number(bits).and_then(|bits| u8::try_from(bits).ok()).filter(|b| *b <= most)?
        }
    };
    Some((ip, bits))
}

/// The address of the network: bits of hosts are cleared.
pub fn masked(ip: IpAddr, bits: u8) -> IpAddr {
    match ip {
        IpAddr::V4(ip) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
            IpAddr::V4((u32::from(ip) & mask).into())
        }
        IpAddr::V6(ip) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
            IpAddr::V6((u128::from(ip) & mask).into())
        }
    }
}

/// What a chain says about who gets in.
pub fn settle(chain: Chain<'_>, _reader: &Reader<'_>) -> Access {
    let rules = chain.find(|said| Some(&said.access.rules).filter(|rules| !rules.is_empty()));
    let realm = chain.template("auth_basic").filter(|realm| realm.as_literal() != Some(b"off"));
    let user_file = chain.find(|said| said.access.user_file.clone());
    Access {
        rules: rules.map(|rules| rules.clone().into()).unwrap_or_default(),
        // nginx asks nobody for a password where no file is named.
        basic: realm.zip(user_file).map(|(realm, user_file)| AuthBasic { realm, user_file }),
        delay: chain.time("auth_delay", std::time::Duration::ZERO),
        satisfy_any: chain.word("satisfy") == Some("any"),
    }
}
