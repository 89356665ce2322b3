//! limit_req, limit_conn and their zones: how much one client may do. Zones may be declared after they are used.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::conf::complaint::Complaint;
use crate::conf::read::Reader;
use crate::conf::settings::directive_is;
use crate::conf::table::Row;
use crate::conf::tree::Directive;
use crate::conf::value;
use crate::plan::limit::{Counted, Limit, LimitZone, Limits};
use crate::plan::log::Level;
use crate::words::Place;

use super::Chain;

/// The smallest zone: eight pages.
const LEAST: u64 = 8 * 4096;
/// `nodelay`: more than any burst.
const ALL: u64 = i64::MAX as u64 / 1000 * 1000;

/// Zones that were declared or used, of one kind by name.
#[derive(Debug, Default)]
pub struct Zones {
    requests: BTreeMap<Box<str>, Option<Arc<LimitZone>>>,
    connections: BTreeMap<Box<str>, Option<Arc<LimitZone>>>,
}

impl Zones {
    fn of(&mut self, requests: bool) -> &mut BTreeMap<Box<str>, Option<Arc<LimitZone>>> {
        if requests { &mut self.requests } else { &mut self.connections }
    }

    /// Notes that `name` is named by a directive of this kind.
    fn name(&mut self, requests: bool, name: &str, directive: &Directive) -> Result<(), Complaint> {
        if self.of(!requests).contains_key(name) {
            let text = format!("the shared memory zone \"{name}\" is already declared for a different use");
            return Err(Complaint::emerg(text, &directive.place));
        }
        self.of(requests).entry(name.into()).or_default();
        Ok(())
    }

    /// A zone that is used and was never declared, as nginx complains: without a place.
    pub fn undeclared(&self) -> Option<Complaint> {
        let mut all = self.requests.iter().chain(&self.connections);
        let (name, _) = all.find(|(_, zone)| zone.is_none())?;
        Some(Complaint::placeless(format!("zero size shared memory zone \"{name}\"")))
    }
}

/// What one level has said.
#[derive(Debug, Default)]
pub struct Said {
    requests: Vec<Wanted>,
    connections: Vec<Wanted>,
}

#[derive(Debug)]
struct Wanted {
    zone: Box<str>,
    most: u64,
    undelayed: u64,
}

impl Said {
    /// Whether nothing was said.
    pub fn is_silent(&self) -> bool {
        self.requests.is_empty() && self.connections.is_empty()
    }
}

/// Takes `limit_req_zone` or `limit_conn_zone`.
///
/// # Errors
/// nginx's words.
pub fn zone(reader: &mut Reader<'_>, row: &'static Row, directive: &Directive) -> Result<(), Complaint> {
    let place = &directive.place;
    let emerg = |text: String| Err(Complaint::emerg(text, place));
    let requests = row.name == "limit_req_zone";
    let key = reader.template(&directive.args[0], place)?;
    let (mut found, mut rate) = (None, 1000);
    for text in &directive.args[1..] {
        if let Some(zone) = text.strip_prefix("zone=") {
            let size = zone.split_once(':').and_then(|(name, size)| Some((name, value::size(size)?)));
            match size {
                None => return emerg(format!("invalid zone size \"{text}\"")),
                Some((_, size)) if size < LEAST => return emerg(format!("zone \"{text}\" is too small")),
                some => found = some,
            }
        } else if let Some(text) = text.strip_prefix("rate=").filter(|_| requests) {
            match self::rate(text) {
                Some(read) => rate = read,
                None => return emerg(format!("invalid rate \"rate={text}\"")),
            }
        } else {
            return emerg(format!("invalid parameter \"{text}\""));
        }
    }
    let Some((name, size)) = found.filter(|(name, _)| !name.is_empty()) else {
        return emerg(format!("\"{}\" must have \"zone\" parameter", row.name));
    };
    reader.shared.limit_zones.name(requests, name, directive)?;
    let counted = if requests { Counted::Requests { rate } } else { Counted::Connections };
    let zone = LimitZone { name: name.into(), key, key_text: directive.args[0].clone(), size, counted };
    let slot = reader.shared.limit_zones.of(requests).entry(name.into()).or_default();
    if let Some(known) = slot {
        let key = &known.key_text;
        return emerg(format!("{} \"{name}\" is already bound to key \"{key}\"", row.name));
    }
    *slot = Some(Arc::new(zone));
    Ok(())
}

/// `10r/s`, `30r/m` or `10`, in thousandths for each second.
fn rate(text: &str) -> Option<u64> {
    let (number, scale) = match (text.strip_suffix("r/s"), text.strip_suffix("r/m")) {
        (Some(number), _) => (number, 1),
        (_, Some(number)) => (number, 60),
        _ => (text, 1),
    };
    value::number(number).filter(|number| *number > 0)?.checked_mul(1000).map(|thousandths| thousandths / scale)
}

/// Takes `limit_req` or `limit_conn`; several of one level add up.
///
/// # Errors
/// nginx's words.
pub fn take(
    said: &mut super::Said,
    reader: &mut Reader<'_>,
    row: &'static Row,
    directive: &Directive,
) -> Result<(), Complaint> {
    let place = &directive.place;
    let requests = row.name == "limit_req";
    let list = if requests { &mut said.limits.requests } else { &mut said.limits.connections };
    let wanted = if requests { self::requests(directive)? } else { connections(reader, list, directive)? };
    reader.shared.limit_zones.name(requests, &wanted.zone, directive)?;
    if list.iter().any(|known| known.zone == wanted.zone) {
        return Err(directive_is(directive, "is duplicate"));
    }
    if !requests && wanted.most > 65_535 {
        return Err(Complaint::emerg("connection limit must be less 65536", place));
    }
    list.push(wanted);
    Ok(())
}

fn requests(directive: &Directive) -> Result<Wanted, Complaint> {
    let emerg = |text: String| Complaint::emerg(text, &directive.place);
    let positive = |text: &str| value::number(text).filter(|number| *number > 0 && *number < ALL / 1000);
    let (mut zone, mut most, mut undelayed) = (None, 0, 0);
    for text in &directive.args {
        if let Some(name) = text.strip_prefix("zone=") {
            zone = Some(name);
        } else if let Some(burst) = text.strip_prefix("burst=") {
            most = positive(burst).ok_or_else(|| emerg(format!("invalid burst value \"{text}\"")))? * 1000;
        } else if let Some(delay) = text.strip_prefix("delay=") {
            undelayed = positive(delay).ok_or_else(|| emerg(format!("invalid delay value \"{text}\"")))? * 1000;
        } else if &**text == "nodelay" {
            undelayed = ALL;
        } else {
            return Err(emerg(format!("invalid parameter \"{text}\"")));
        }
    }
    let zone = zone.ok_or_else(|| emerg("\"limit_req\" must have \"zone\" parameter".to_owned()))?;
    Ok(Wanted { zone: zone.into(), most, undelayed })
}

fn connections(reader: &mut Reader<'_>, list: &[Wanted], directive: &Directive) -> Result<Wanted, Complaint> {
    let (zone, number) = (&directive.args[0], &directive.args[1]);
    reader.shared.limit_zones.name(false, zone, directive)?;
    if list.iter().any(|known| known.zone == *zone) {
        return Err(directive_is(directive, "is duplicate"));
    }
    let wrong = || Complaint::emerg(format!("invalid number of connections \"{number}\""), &directive.place);
    let most = value::number(number).filter(|most| *most > 0).ok_or_else(wrong)?;
    Ok(Wanted { zone: zone.clone(), most, undelayed: 0 })
}

/// What a chain says about requests (`limit_req`), and about connections (`limit_conn`).
pub fn settle(chain: Chain<'_>, reader: &Reader<'_>) -> (Option<Arc<Limits>>, Option<Arc<Limits>>) {
    let of = |requests: bool| {
        let pick = |said: &Said| if requests { said.requests.is_empty() } else { said.connections.is_empty() };
        let said = chain.find(|said| Some(&said.limits).filter(|said| !pick(said)))?;
        let (wanted, zones, kind) = match requests {
            true => (&said.requests, &reader.shared.limit_zones.requests, "limit_req"),
            false => (&said.connections, &reader.shared.limit_zones.connections, "limit_conn"),
        };
        let limit = |wanted: &Wanted| {
            let zone = zones.get(&wanted.zone)?.clone()?;
            Some(Limit { zone, most: wanted.most, undelayed: wanted.undelayed })
        };
        Some(Arc::new(Limits {
            limits: wanted.iter().filter_map(limit).collect(),
            status: u16::try_from(chain.number(&format!("{kind}_status"), 503)).unwrap_or(503),
            level: match chain.word(&format!("{kind}_log_level")) {
                Some("info") => Level::Info,
                Some("notice") => Level::Notice,
                Some("warn") => Level::Warn,
                _ => Level::Error,
            },
            dry_run: chain.flag(&format!("{kind}_dry_run"), false),
        }))
    };
    (of(true), of(false))
}

/// What nginx checks when all is read.
///
/// # Errors
/// A zone was never declared.
pub fn finish(reader: &Reader<'_>, _end: &Place) -> Result<(), Complaint> {
    reader.shared.limit_zones.undeclared().map_or(Ok(()), Err)
}
