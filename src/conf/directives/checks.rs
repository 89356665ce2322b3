//! public_address, skip_checks: what the operator knows of the way from outside, and which checks of it are not wanted.

use crate::conf::complaint::Complaint;
use crate::conf::read::Reader;
use crate::conf::tree::Directive;
use crate::plan::checks::{Check, PublicAddress, Skip};

/// Takes `public_address ADDRESS [via=ADDRESS:PORT]`.
///
/// # Errors
/// When an address is none.
pub fn public_address(reader: &mut Reader<'_>, directive: &Directive) -> Result<(), Complaint> {
    let invalid = |text: &str| Complaint::emerg(format!("invalid parameter \"{text}\""), &directive.place);
    let mut via = None;
    let mut addresses = Vec::new();
    for text in &directive.args {
        match text.strip_prefix("via=") {
            Some(at) => via = Some(at.parse().map_err(|_| invalid(text))?),
            None => addresses.push(text.parse().map_err(|_| invalid(text))?),
        }
    }
    if addresses.is_empty() {
        return Err(invalid(&directive.args[0]));
    }
    reader.shared.checks.public.extend(addresses.into_iter().map(|address| PublicAddress { address, via }));
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
                let known = "reach, ipv6, caa, cdn or all";
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
