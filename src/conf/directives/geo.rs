//! geo, split_clients: a variable whose value follows from an address, or from the hash of a text.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use bytes::Bytes;

use crate::conf::complaint::Complaint;
use crate::conf::read::Reader;
use crate::conf::tree::Directive;
use crate::plan::access::Whom;
use crate::plan::geo::{Geo, Split};
use crate::plan::template::VariableSource;
use crate::words::Place;

use super::access::{masked, network};

/// Reads a `geo` block and defines its variable.
///
/// # Errors
/// nginx's words.
pub fn take(reader: &mut Reader<'_>, directive: &Directive) -> Result<(), Complaint> {
    let place = &directive.place;
    let (source, name) = match &directive.args[..] {
        [source, name] => (Some(variable(source, place)?), name),
        [name, ..] => (None, name),
        [] => return Ok(()),
    };
    if let Some(source) = source {
        reader.variables.var(source, place);
    }
    let name = variable(name, place)?;
    reader.variables.define(name, VariableSource::Slot, place)?;
    let block = directive.block.as_ref().expect("the reader lets `geo` through only with a block");
    let mut lines = Lines::default();
    reader.lines(block, &mut |reader, line| lines.line(reader, line))?;
    let mut geo = lines.build();
    geo.address = source.map(|source| reader.variables.var(source, place));
    reader.variables.define(name, VariableSource::Geo(Arc::new(geo)), place)?;
    Ok(())
}

fn variable<'a>(text: &'a str, place: &Place) -> Result<&'a str, Complaint> {
    text.strip_prefix('$').ok_or_else(|| Complaint::emerg(format!("invalid variable name \"{text}\""), place))
}

/// The lines of a `geo` block.
#[derive(Default)]
struct Lines {
    values: Vec<Bytes>,
    known: HashMap<Box<str>, u32>,
    proxies: Vec<Whom>,
    recursive: bool,
    ranges: bool,
    /// A network or `default` was read: `ranges` comes too late.
    networks: bool,
    /// (bits, network) → value.
    v4: BTreeMap<(u8, u32), u32>,
    v6: BTreeMap<(u8, u128), u32>,
    default: Option<u32>,
    /// With `ranges`: for each /16, disjoint pieces in order.
    pieces: BTreeMap<u16, Vec<Piece>>,
}

/// A part of a range within one /16: first, last, value.
type Piece = (u16, u16, u32);

impl Lines {
    fn line(&mut self, reader: &mut Reader<'_>, line: &Directive) -> Result<(), Complaint> {
        let emerg = |text: &str| Err(Complaint::emerg(text, &line.place));
        match (&*line.name, &line.args[..]) {
            ("ranges", []) if self.networks => {
                return emerg("the \"ranges\" directive must be the first directive inside \"geo\" block");
            }
            ("ranges", []) => self.ranges = true,
            ("proxy_recursive", []) => self.recursive = true,
            ("proxy", [net]) => {
                let (ip, bits) = cidr(reader, net, &line.place)?;
                self.proxies.push(Whom::Net(ip, bits));
            }
            (key, [value]) if self.ranges => self.range(reader, key, value, &line.place)?,
            (key, [value]) => self.network(reader, key, value, &line.place)?,
            _ => return emerg("invalid number of the geo parameters"),
        }
        Ok(())
    }

    fn value(&mut self, text: &str) -> u32 {
        if let Some(known) = self.known.get(text) {
            return *known;
        }
        let index = self.values.len() as u32;
        self.values.push(Bytes::copy_from_slice(text.as_bytes()));
        self.known.insert(text.into(), index);
        index
    }

    fn shown(&self, index: u32) -> String {
        self.values.get(index as usize).map_or_else(String::new, |value| String::from_utf8_lossy(value).into_owned())
    }

    fn network(&mut self, reader: &mut Reader<'_>, key: &str, value: &str, place: &Place) -> Result<(), Complaint> {
        self.networks = true;
        if key == "default" {
            self.add(reader, ("0.0.0.0".parse().expect("an address"), 0), value, key, place);
            self.add(reader, ("::".parse().expect("an address"), 0), value, key, place);
            return Ok(());
        }
        if key == "delete" {
            let found = match cidr(reader, value, place)? {
                (IpAddr::V4(ip), bits) => self.v4.remove(&(bits, ip.into())),
                (IpAddr::V6(ip), bits) => self.v6.remove(&(bits, ip.into())),
            };
            if found.is_none() {
                reader.warn(format!("no network \"{value}\" to delete"), place);
            }
            return Ok(());
        }
        let net = cidr(reader, key, place)?;
        self.add(reader, net, value, key, place);
        Ok(())
    }

    fn add(&mut self, reader: &mut Reader<'_>, net: (IpAddr, u8), value: &str, shown: &str, place: &Place) {
        let index = self.value(value);
        let old = match net {
            (IpAddr::V4(ip), bits) => {
                let ip = u32::from(ip);
                let below = |bits| u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
                let nearest = (0..=32).rev().find_map(|bits| self.v4.get(&(bits, ip & below(bits))).copied());
                self.v4.insert((bits, ip), index).and(nearest)
            }
            (IpAddr::V6(ip), bits) => {
                let ip = u128::from(ip);
                let below = |bits| u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
                let nearest = (0..=128).rev().find_map(|bits| self.v6.get(&(bits, ip & below(bits))).copied());
                self.v6.insert((bits, ip), index).and(nearest)
            }
        };
        if let Some(old) = old {
            let old = self.shown(old);
            reader.warn(format!("duplicate network \"{shown}\", value: \"{value}\", old value: \"{old}\""), place);
        }
    }

    fn range(&mut self, reader: &mut Reader<'_>, key: &str, value: &str, place: &Place) -> Result<(), Complaint> {
        if key == "default" {
            if let Some(old) = self.default {
                let old = self.shown(old);
                let text = format!("duplicate default geo range value: \"{value}\", old value: \"{old}\"");
                reader.warn(text, place);
            }
            self.default = Some(self.value(value));
            return Ok(());
        }
        let delete = key == "delete";
        let net = if delete { value } else { key };
        let ends = net.split_once('-').and_then(|(first, last)| Some((end(first)?, end(last)?)));
        let Some((first, last)) = ends.filter(|(first, last)| first <= last) else {
            return Err(Complaint::emerg(format!("invalid range \"{net}\""), place));
        };
        if delete {
            let missing = pieces(first, last).filter(|piece| !self.take_out(*piece)).count();
            if missing > 0 {
                reader.warn(format!("no address range \"{net}\" to delete"), place);
            }
            return Ok(());
        }
        let index = self.value(value);
        for (high, from, to) in pieces(first, last) {
            match insert(self.pieces.entry(high).or_default(), (from, to, index)) {
                Inserted::Yes => {}
                Inserted::Over(old) => {
                    let old = self.shown(old);
                    let text = format!("duplicate range \"{net}\", value: \"{value}\", old value: \"{old}\"");
                    reader.warn(text, place);
                }
                Inserted::Not(from, to) => {
                    let whole = |low: u16| Ipv4Addr::from(u32::from(high) << 16 | u32::from(low));
                    let text = format!("range \"{net}\" overlaps \"{}-{}\"", whole(from), whole(to));
                    return Err(Complaint::emerg(text, place));
                }
            }
        }
        Ok(())
    }

    fn take_out(&mut self, (high, from, to): (u16, u16, u16)) -> bool {
        let Some(list) = self.pieces.get_mut(&high) else { return false };
        let at = list.iter().position(|piece| (piece.0, piece.1) == (from, to));
        at.map(|at| list.remove(at)).is_some()
    }

    fn build(mut self) -> Geo {
        let nothing = self.value("");
        let (v4, v6) = if self.ranges {
            let whole = |(high, list): (&u16, &Vec<Piece>)| {
                let base = u128::from(*high) << 16;
                list.iter()
                    .map(|(from, to, index)| (base | u128::from(*from), base | u128::from(*to), *index))
                    .collect()
            };
            let nets: Vec<_> =
                self.pieces.iter().flat_map(|entry| -> Vec<(u128, u128, u32)> { whole(entry) }).collect();
            (bounds(nets, self.default.unwrap_or(nothing)), Vec::new())
        } else {
            let v4 = self.v4.iter().map(|((bits, ip), index)| {
                let hosts = u32::MAX.checked_shr(u32::from(*bits)).unwrap_or(0);
                (u128::from(*ip), u128::from(ip | hosts), *index)
            });
            let v6 = self
                .v6
                .iter()
                .map(|((bits, ip), index)| (*ip, ip | u128::MAX.checked_shr(u32::from(*bits)).unwrap_or(0), *index));
            (bounds(v4.collect(), nothing), bounds(v6.collect(), nothing))
        };
        Geo {
            address: None,
            proxies: self.proxies.into(),
            recursive: self.recursive,
            ranges: self.ranges,
            // Behind the last address nothing changes any more.
            v4: v4.into_iter().filter_map(|(first, index)| Some((u32::try_from(first).ok()?, index))).collect(),
            v6: v6.into(),
            values: self.values.into(),
        }
    }
}

/// One end of a range. nginx takes 255.255.255.255 for a mistake.
fn end(text: &str) -> Option<u32> {
    text.parse().ok().map(|ip: Ipv4Addr| u32::from(ip)).filter(|ip| *ip != u32::MAX)
}

/// A network, with nginx's words for what is none.
fn cidr(reader: &mut Reader<'_>, text: &str, place: &Place) -> Result<(IpAddr, u8), Complaint> {
    let wrong = || Complaint::emerg(format!("invalid network \"{text}\""), place);
    let (ip, bits) = network(text).ok_or_else(wrong)?;
    let kept = masked(ip, bits);
    if kept != ip {
        reader.warn(format!("low address bits of {text} are meaningless"), place);
    }
    Ok((kept, bits))
}

/// A range cut at every /16, as nginx keeps and compares ranges.
fn pieces(first: u32, last: u32) -> impl Iterator<Item = (u16, u16, u16)> {
    let half = |ip: u32| ((ip >> 16) as u16, (ip & 0xffff) as u16);
    let ((low, from), (high, to)) = (half(first), half(last));
    (low..=high).map(move |at| (at, if at == low { from } else { 0 }, if at == high { to } else { u16::MAX }))
}

/// What became of a piece.
enum Inserted {
    /// It has a place of its own, or cuts one out of a larger piece.
    Yes,
    /// It takes the place of one with this value.
    Over(u32),
    /// It overlaps this one.
    Not(u16, u16),
}

fn insert(list: &mut Vec<Piece>, new: Piece) -> Inserted {
    let (from, to, _) = new;
    let Some(at) = list.iter().rposition(|(first, ..)| to >= *first) else {
        list.insert(0, new);
        return Inserted::Yes;
    };
    let (first, last, value) = list[at];
    if from > last {
        list.insert(at + 1, new);
        return Inserted::Yes;
    }
    if (from, to) == (first, last) {
        list[at] = new;
        return Inserted::Over(value);
    }
    if from < first || to > last {
        return Inserted::Not(first, last);
    }
    let before = (from > first).then(|| (first, from - 1, value));
    let after = (to < last).then(|| (to + 1, last, value));
    list.splice(at..=at, before.into_iter().chain([new]).chain(after));
    Inserted::Yes
}

/// Networks of which one lies within another, or none: where the value of the innermost one changes.
fn bounds(mut nets: Vec<(u128, u128, u32)>, default: u32) -> Vec<(u128, u32)> {
    nets.sort_by_key(|(first, last, _)| (*first, std::cmp::Reverse(*last)));
    let mut found = vec![(0, default)];
    let mut change = |at: u128, index: u32| match found.last_mut() {
        Some((first, value)) if *first == at => *value = index,
        Some((_, value)) if *value == index => {}
        _ => found.push((at, index)),
    };
    let mut around: Vec<(u128, u32)> = Vec::new();
    for (first, last, index) in nets {
        while let Some((end, _)) = around.pop_if(|(end, _)| *end < first) {
            change(end + 1, around.last().map_or(default, |(_, index)| *index));
        }
        change(first, index);
        around.push((last, index));
    }
    while let Some((end, _)) = around.pop() {
        if let Some(next) = end.checked_add(1) {
            change(next, around.last().map_or(default, |(_, index)| *index));
        }
    }
    found
}

/// Reads a `split_clients` block and defines its variable.
///
/// # Errors
/// nginx's words.
pub fn split_clients(reader: &mut Reader<'_>, directive: &Directive) -> Result<(), Complaint> {
    let place = &directive.place;
    let source = reader.template(&directive.args[0], place)?;
    let name = variable(&directive.args[1], place)?;
    reader.variables.define(name, VariableSource::Slot, place)?;
    let block = directive.block.as_ref().expect("the reader lets `split_clients` through only with a block");
    let mut lines: Vec<(Option<u32>, Bytes)> = Vec::new();
    reader.lines(block, &mut |_, line| {
        let share = match &*line.name {
            "*" => None,
            text => {
                let wrong = || Complaint::emerg(format!("invalid percent value \"{text}\""), &line.place);
                Some(text.strip_suffix('%').and_then(hundredths).ok_or_else(wrong)?)
            }
        };
        let value = line.args.first().map_or("", AsRef::as_ref);
        lines.push((share, Bytes::copy_from_slice(value.as_bytes())));
        Ok(())
    })?;
    let (mut sum, mut below) = (0, 0);
    for (share, _) in &mut lines {
        sum = share.map_or(10_000, |share| sum + share);
        if sum > 10_000 {
            return Err(Complaint::emerg("percent total is greater than 100%", &block.end));
        }
        if let Some(share) = share {
            below += u32::try_from(u64::from(*share) * u64::from(u32::MAX) / 10_000).unwrap_or(u32::MAX);
            *share = below;
        }
    }
    let split = Split { source, parts: lines.into() };
    reader.variables.define(name, VariableSource::Split(Arc::new(split)), place)?;
    Ok(())
}

/// `12`, `0.5`, `33.33` → hundredths; nothing for 0 and for what is no such number.
fn hundredths(text: &str) -> Option<u32> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(part) || part.len() > 2 || whole.len() > 5 || (whole.is_empty() && part.is_empty()) {
        return None;
    }
    format!("{whole}{part:0<2}").parse().ok().filter(|share| *share > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_innermost_network_gives_the_value() {
        let nets = vec![(0, u128::MAX, 1), (10, 99, 2), (10, 19, 3), (50, 50, 4), (99, 99, 5)];
        let expected = [(0, 1), (10, 3), (20, 2), (50, 4), (51, 2), (99, 5), (100, 1)];
        assert_eq!(bounds(nets, 0), expected);
        assert_eq!(bounds(Vec::new(), 7), [(0, 7)]);
        assert_eq!(bounds(vec![(u128::MAX, u128::MAX, 1)], 0), [(0, 0), (u128::MAX, 1)]);
    }

    #[test]
    fn a_piece_cuts_a_larger_one_and_may_not_hang_over() {
        let mut list = vec![(10, 20, 1), (30, 40, 2)];
        assert!(matches!(insert(&mut list, (15, 20, 3)), Inserted::Yes));
        assert!(matches!(insert(&mut list, (32, 35, 4)), Inserted::Yes));
        assert!(matches!(insert(&mut list, (0, 9, 5)), Inserted::Yes));
        assert_eq!(list, [(0, 9, 5), (10, 14, 1), (15, 20, 3), (30, 31, 2), (32, 35, 4), (36, 40, 2)]);
        assert!(matches!(insert(&mut list, (38, 41, 6)), Inserted::Not(36, 40)));
        assert!(matches!(insert(&mut list, (0, 9, 6)), Inserted::Over(5)));
    }
}
