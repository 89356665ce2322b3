//! acme_on_demand: certificates for names that stand nowhere in the configuration; who has to allow them, and in which
//! servers they are served.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use crate::conf::complaint::Complaint;
use crate::conf::read::{Reader, Scope};
use crate::conf::settings::directive_is;
use crate::conf::table::{Home, Row};
use crate::conf::tree::Directive;
use crate::conf::value;
use crate::plan::acme::Issuer;
use crate::plan::certificate::KeyKind;
use crate::plan::limits::Rate;
use crate::plan::on_demand::{Allowed, Ask, OnDemand};
use crate::words::Place;

use super::server::ServerDraft;

/// What `acme_on_demand` has said.
#[derive(Debug)]
pub struct Draft {
    terms: OnDemand,
    said: HashSet<&'static str>,
    /// `servers`; empty: the default servers of the addresses with TLS.
    servers: Vec<Box<str>>,
}

/// Takes `acme_on_demand`.
///
/// # Errors
/// What is wrong with it.
pub fn take(reader: &mut Reader<'_>, directive: &Directive) -> Result<(), Complaint> {
    let place = &directive.place;
    if reader.shared.on_demand.is_some() {
        return Err(directive_is(directive, "is duplicate"));
    }
    let terms = OnDemand::of("", place.clone());
    let mut draft = Draft { terms, said: HashSet::new(), servers: Vec::new() };
    let block = directive.block.as_ref().expect("the reader lets `acme_on_demand` through only with a block");
    reader.walk(block, &mut draft)?;
    if !draft.said.contains("issuer") {
        return Err(Complaint::emerg("\"issuer\" is missing in \"acme_on_demand\"", &block.end));
    }
    if draft.terms.ask.is_none() && draft.terms.allow.is_empty() {
        let text = "\"acme_on_demand\" needs \"ask\" or \"allow\": without them anybody could have certificates issued here \
                    for any name";
        return Err(Complaint::emerg(text, &block.end));
    }
    reader.shared.on_demand = Some(draft);
    Ok(())
}

impl Scope for Draft {
    fn home(&self) -> Home {
        Home::AcmeOnDemand
    }

    fn take(&mut self, reader: &mut Reader<'_>, row: &'static Row, directive: &Directive) -> Result<(), Complaint> {
        let args = &directive.args;
        let first = args.first().map_or("", AsRef::as_ref);
        if !self.said.insert(row.name) && !["allow", "servers"].contains(&row.name) {
            return Err(directive_is(directive, "is duplicate"));
        }
        let invalid = |text: &str| Complaint::emerg(format!("invalid parameter \"{text}\""), &directive.place);
        match row.name {
            "issuer" => {
                self.terms.issuer = first.into();
                for text in &args[1..] {
                    let key = text.strip_prefix("key=").ok_or_else(|| invalid(text))?;
                    let wrong = || Complaint::emerg(format!("invalid key type \"{key}\""), &directive.place);
                    self.terms.key = KeyKind::parse(key).ok_or_else(wrong)?;
                }
            }
            "ask" => self.terms.ask = Some(ask(reader, directive)?),
            "allow" => {
                for text in args {
                    self.terms.allow.push(Allowed::parse(text).ok_or_else(|| invalid(text))?);
                }
            }
            "servers" => self.servers.extend(args.iter().map(|name| name.to_ascii_lowercase().into())),
            "per_client" => self.terms.per_client = rate(first).ok_or_else(|| invalid(first))?,
            "overall" => self.terms.overall = rate(first).ok_or_else(|| invalid(first))?,
            "names" => {
                let count = value::number(first).and_then(|count| usize::try_from(count).ok());
                self.terms.names =
                    count.filter(|count| (1..=1_000_000).contains(count)).ok_or_else(|| invalid(first))?;
            }
            "forget" => {
                let hour = Duration::from_secs(3600);
                let time = value::seconds(first).filter(|time| *time >= hour);
                let short = || Complaint::emerg("\"forget\" must be an hour or more", &directive.place);
                self.terms.forget = time.ok_or_else(short)?;
            }
            _ => {}
        }
        Ok(())
    }
}

/// `ask URL [timeout=TIME] [yes=TIME] [no=TIME] [trusted=FILE]`.
fn ask(reader: &Reader<'_>, directive: &Directive) -> Result<Ask, Complaint> {
    let place = &directive.place;
    let url = &directive.args[0];
    let wrong = || Complaint::emerg(format!("invalid URL \"{url}\" in \"ask\""), place);
    let mut ask = Ask::parse(url).ok_or_else(wrong)?;
    for text in &directive.args[1..] {
        let invalid = || Complaint::emerg(format!("invalid parameter \"{text}\""), place);
        let (name, said) = text.split_once('=').filter(|(_, said)| !said.is_empty()).ok_or_else(invalid)?;
        let time = |least: u64, most: u64| {
            let span = Duration::from_secs(least)..=Duration::from_secs(most);
            value::seconds(said).filter(|time| span.contains(time)).ok_or_else(invalid)
        };
        match name {
            "timeout" => ask.timeout = time(1, 60)?,
            "yes" => ask.yes = time(1, 30 * 86_400)?,
            "no" => ask.no = time(1, 30 * 86_400)?,
            "trusted" => ask.trusted = Some(reader.conf_path(said)),
            _ => return Err(invalid()),
        }
    }
    Ok(ask)
}

/// `N/TIME`.
fn rate(text: &str) -> Option<Rate> {
    let (count, per) = text.split_once('/')?;
    let count = count.parse().ok().filter(|count| *count > 0)?;
    let per = value::seconds(per).filter(|per| !per.is_zero() && *per <= Duration::from_secs(30 * 86_400))?;
    Some(Rate { count, per })
}

/// Which servers serve names on demand, by index; `defaults` are the default servers of addresses with TLS.
///
/// # Errors
/// When a name of `servers` is no server's, or nothing listens with TLS.
pub fn servers(
    draft: Option<&Draft>,
    all: &[ServerDraft],
    defaults: impl Iterator<Item = usize>,
) -> Result<HashSet<usize>, Complaint> {
    let Some(draft) = draft else { return Ok(HashSet::new()) };
    let place = &draft.terms.place;
    let mut found: HashSet<usize> = HashSet::new();
    if draft.servers.is_empty() {
        found.extend(defaults);
        if found.is_empty() {
            return Err(Complaint::emerg("\"acme_on_demand\" needs a server with \"listen ... ssl\"", place));
        }
    }
    for name in &draft.servers {
        let of_name = all.iter().filter(|server| server.names.iter().any(|own| own.text == *name));
        let before = found.len();
        found.extend(of_name.map(|server| server.index));
        if found.len() == before {
            return Err(Complaint::emerg(format!("no server has the name \"{name}\""), place));
        }
    }
    Ok(found)
}

/// The terms, frozen.
///
/// # Errors
/// When the issuer is unknown.
pub fn finish(draft: Option<Draft>, issuers: &[Issuer]) -> Result<Option<Arc<OnDemand>>, Complaint> {
    let Some(Draft { terms, .. }) = draft else { return Ok(None) };
    if !issuers.iter().any(|issuer| issuer.name == terms.issuer) {
        return Err(unknown(&terms.issuer, &terms.place));
    }
    Ok(Some(Arc::new(terms)))
}

fn unknown(issuer: &str, place: &Place) -> Complaint {
    Complaint::emerg(format!("unknown acme_issuer \"{issuer}\""), place)
}
