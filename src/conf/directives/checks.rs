//! public_address, fronted_by, skip_checks: what the operator knows of the way from outside, and which checks of it are not
//! wanted.

use crate::conf::complaint::Complaint;
use crate::conf::read::Reader;
use crate::conf::tree::Directive;
use crate::plan::access::Whom;
use crate::plan::checks::{Check, Front, PublicAddress, Skip};

use super::access;

/// Takes `public_address ADDRESS [via=ADDRESS:PORT] [tls_via=ADDRESS:PORT]`.
///
/// # Errors
/// When an address is none.
pub fn public_address(reader: &mut Reader<'_>, directive: &Directive) -> Result<(), Complaint> {
    let invalid = |text: &str| Complaint::emerg(format!("invalid parameter \"{text}\""), &directive.place);
    let (mut via, mut tls_via) = (None, None);
    let mut addresses = Vec::new();
    for text in &directive.args {
        match (text.strip_prefix("via="), text.strip_prefix("tls_via=")) {
            (Some(at), _) => via = Some(at.parse().map_err(|_| invalid(text))?),
            (_, Some(at)) => tls_via = Some(at.parse().map_err(|_| invalid(text))?),
            (None, None) => addresses.push(text.parse().map_err(|_| invalid(text))?),
        }
    }
    if addresses.is_empty() {
        return Err(invalid(&directive.args[0]));
    }
    reader.shared.checks.public.extend(addresses.into_iter().map(|address| PublicAddress { address, via, tls_via }));
    Ok(())
}

/// Takes `fronted_by CDN|ADDRESS/prefix … [NAME …]`: words without a dot or colon are what it is called.
///
/// # Errors
/// When a range or a name is none.
pub fn fronted_by(reader: &mut Reader<'_>, directive: &Directive) -> Result<(), Complaint> {
    let mut front = Front { who: String::new(), ranges: Vec::new(), names: Vec::new() };
    for text in &directive.args {
        if let Some((net, bits)) = access::network(text) {
            front.ranges.push(Whom::Net(net, bits));
        } else if text.contains(['/', ':']) {
            return Err(Complaint::emerg(format!("invalid network \"{text}\""), &directive.place));
        } else if text.contains('.') {
            let wrong = |_| Complaint::emerg(format!("invalid domain name \"{text}\""), &directive.place);
            front.names.push(text.parse().map_err(wrong)?);
        } else {
            front.who = if front.who.is_empty() { text.to_string() } else { format!("{} {text}", front.who) };
        }
    }
    if front.who.is_empty() && front.ranges.is_empty() {
        let why = "\"fronted_by\" names neither a CDN nor a network";
        return Err(Complaint::emerg(why, &directive.place));
    }
    if front.who.is_empty() {
        "fronted_by".clone_into(&mut front.who);
    }
    reader.shared.checks.fronts.push(front);
    Ok(())
}

/// Takes `skip_checks CHECK … [NAME …]`.
///
/// # Errors
/// When a check is unknown, or no check is named.
pub fn skip(reader: &mut Reader<'_>, directive: &Directive) -> Result<(), Complaint> {
    let mut skip = Skip { checks: Vec::new(), names: Vec::new() };
    for text in &directive.args {
        match (Check::parse(text), &**text, text.contains('.')) {
            (Some(check), ..) => skip.checks.push(check),
            (None, "all", _) => skip.checks.extend(Check::ALL),
            (None, _, true) => {
                let name = text.parse();
                let wrong = || Complaint::emerg(format!("invalid domain name \"{text}\""), &directive.place);
                skip.names.push(name.map_err(|_| wrong())?);
            }
            (None, ..) => {
                let known = "reach, ipv6, caa, cdn, cname or all";
                return Err(Complaint::emerg(format!("unknown check \"{text}\": {known}"), &directive.place));
            }
        }
    }
    if skip.checks.is_empty() {
        return Err(Complaint::emerg("\"skip_checks\" names no check", &directive.place));
    }
    reader.shared.checks.skip.push(skip);
    Ok(())
}
