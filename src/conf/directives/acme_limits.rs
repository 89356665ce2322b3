//! `limits`, `fallback` and `standby` of `acme_issuer`: how much an authority allows, and who is asked instead of it; and
//! `rescue`: who takes over certificates of files that nobody renews.

use std::sync::Arc;

use crate::conf::complaint::Complaint;
use crate::conf::read::Reader;
use crate::conf::settings::directive_is;
use crate::conf::tree::Directive;
use crate::conf::value;
use crate::plan::acme::Issuer;
use crate::plan::limits::{Limits, Rate};
use crate::plan::rescue::Rescue;

/// Takes `limits none` or `limits [orders=300/3h] [domain=50/7d] [set=5/7d] [failures=5/1h] [row=1152]`: what is left out
/// follows from the directory, `off` in the place of a number takes that limit away.
///
/// # Errors
/// When a word is none of these.
pub fn limits(directive: &Directive, usual: Limits) -> Result<Limits, Complaint> {
    if let [word] = &directive.args[..]
        && **word == *"none"
    {
        return Ok(Limits::NONE);
    }
    let mut limits = Limits { elastic: false, ..usual };
    for word in &directive.args {
        let wrong = || Complaint::emerg(format!("invalid limit \"{word}\""), &directive.place);
        let (name, text) = word.split_once('=').ok_or_else(wrong)?;
        let rate = || rate(text).ok_or_else(wrong);
        match name {
            "orders" => limits.orders = rate()?,
            "domain" => limits.domain = rate()?,
            "set" => limits.set = rate()?,
            "failures" => limits.failures = rate()?,
            "row" if text == "off" => limits.row = None,
            "row" => limits.row = Some(text.parse().ok().filter(|n| *n > 0).ok_or_else(wrong)?),
            _ => return Err(wrong()),
        }
    }
    Ok(limits)
}

fn rate(text: &str) -> Option<Option<Rate>> {
    if text == "off" {
        return Some(None);
    }
    let (count, per) = text.split_once('/')?;
    let count = count.parse().ok().filter(|count| *count > 0)?;
    let per = value::seconds(per).filter(|per| !per.is_zero())?;
    Some(Some(Rate { count, per }))
}

/// Takes `fallback NAME …`.
///
/// # Errors
/// When a name stands twice.
pub fn fallback(directive: &Directive) -> Result<Vec<Arc<str>>, Complaint> {
    let mut names: Vec<Arc<str>> = Vec::new();
    for name in &directive.args {
        if names.iter().any(|known| **known == **name) {
            return Err(Complaint::emerg(format!("\"{name}\" stands twice"), &directive.place));
        }
        names.push((**name).into());
    }
    Ok(names)
}

/// Takes `rescue ISSUER [before=TIME] [names=NAME,…]`.
///
/// # Errors
/// When it stands twice, or a word is none of these.
pub fn rescue(reader: &mut Reader<'_>, directive: &Directive) -> Result<(), Complaint> {
    let place = &directive.place;
    if reader.shared.rescue.is_some() {
        return Err(directive_is(directive, "is duplicate"));
    }
    let mut rescue =
        Rescue { issuer: (*directive.args[0]).into(), before: None, names: Vec::new(), place: place.clone() };
    for word in directive.args.iter().skip(1) {
        let wrong = || Complaint::emerg(format!("invalid parameter \"{word}\""), place);
        match word.split_once('=') {
            Some(("before", time)) => {
                let time = value::seconds(time).filter(|time| !time.is_zero());
                rescue.before = Some(time.ok_or_else(wrong)?);
            }
            Some(("names", names)) => {
                for name in names.split(',') {
                    rescue.names.push(name.parse().map_err(|_| wrong())?);
                }
            }
            _ => return Err(wrong()),
        }
    }
    reader.shared.rescue = Some(rescue);
    Ok(())
}

/// Every issuer that another one names must be there, and nobody stands in for himself.
///
/// # Errors
/// When one is missing.
pub fn check(issuers: &[Issuer], rescue: Option<&Rescue>) -> Result<(), Complaint> {
    if let Some(rescue) = rescue
        && !issuers.iter().any(|issuer| issuer.name == rescue.issuer)
    {
        return Err(Complaint::emerg(format!("unknown acme_issuer \"{}\"", rescue.issuer), &rescue.place));
    }
    for issuer in issuers {
        for name in issuer.fallback.iter().chain(&issuer.standby) {
            if *name == issuer.name {
                let text = format!("acme_issuer \"{name}\" stands in for itself");
                return Err(Complaint::emerg(text, &issuer.place));
            }
            if !issuers.iter().any(|other| other.name == *name) {
                return Err(Complaint::emerg(format!("unknown acme_issuer \"{name}\""), &issuer.place));
            }
        }
    }
    Ok(())
}
