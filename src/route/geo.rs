//! Which value does `geo` give an address, and `split_clients` a text? And who is the client behind proxies that are
//! trusted: the walk back along `X-Forwarded-For`, which `set_real_ip_from` takes too.

use crate::plan::access::Whom;
use crate::plan::geo::{Geo, Split};
use bytes::Bytes;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// The value for an address; `None` is a client without one (a unix socket, or a text that is no address).
pub fn value(geo: &Geo, address: Option<IpAddr>) -> Bytes {
    let index = match address.map(|ip| ip.to_canonical()) {
        Some(IpAddr::V6(ip)) if !geo.ranges => at(&geo.v6, u128::from(ip)),
        Some(IpAddr::V4(ip)) => at(&geo.v4, u32::from(ip)),
        _ => at(&geo.v4, u32::from(Ipv4Addr::BROADCAST)),
    };
    index.and_then(|index| geo.values.get(index as usize)).cloned().unwrap_or_default()
}

fn at<K: Ord + Copy>(bounds: &[(K, u32)], key: K) -> Option<u32> {
    let after = bounds.partition_point(|(first, _)| *first <= key);
    bounds.get(after.checked_sub(1)?).map(|(_, index)| *index)
}

/// The value for a text; empty if no part is meant.
pub fn part(split: &Split, text: &[u8]) -> Bytes {
    let hash = murmur2(text);
    let found = split.parts.iter().find(|(below, _)| below.is_none_or(|below| hash < below));
    found.map(|(_, value)| value.clone()).unwrap_or_default()
}

/// MurmurHash2 with the seed 0, little-endian, by which nginx splits clients.
fn murmur2(data: &[u8]) -> u32 {
    const MIX: u32 = 0x5bd1_e995;
    let mut hash = data.len() as u32;
    let mut words = data.chunks_exact(4);
    for word in &mut words {
        let mut word = u32::from_le_bytes([word[0], word[1], word[2], word[3]]).wrapping_mul(MIX);
        word ^= word >> 24;
        hash = hash.wrapping_mul(MIX) ^ word.wrapping_mul(MIX);
    }
    let rest = words.remainder();
    if !rest.is_empty() {
        let tail = rest.iter().rev().fold(0, |tail: u32, byte| tail << 8 | u32::from(*byte));
        hash = (hash ^ tail).wrapping_mul(MIX);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(MIX);
    hash ^ hash >> 15
}

/// The end of a connection as proxies tell it: an address, and a port if they say one.
pub type Told = (IpAddr, Option<u16>);

/// Who stands behind `from`, where `from` is one of `proxies`: the last address of the last field, and with `recursive`
/// the last one that is not a proxy itself. `None`: nobody says, or nobody who may.
pub fn forwarded<'f>(
    from: Option<IpAddr>,
    fields: impl DoubleEndedIterator<Item = &'f [u8]>,
    proxies: &[Whom],
    recursive: bool,
) -> Option<Told> {
    let trusted = |client: Option<IpAddr>| proxies.iter().any(|proxy| proxy.means(client));
    let mut found: Option<Told> = None;
    for field in fields.rev() {
        let mut rest = field;
        loop {
            let present = found.map_or(from, |(ip, _)| Some(ip));
            if !trusted(present) {
                return found;
            }
            let (before, last) = last_word(rest);
            let Some(told) = address(last) else { return found };
            found = Some(told);
            if !recursive {
                return found;
            }
            rest = before;
            if rest.is_empty() {
                break;
            }
        }
    }
    found
}

/// What stands behind the last space or comma, and what stands before it.
fn last_word(text: &[u8]) -> (&[u8], &[u8]) {
    let is_gap = |byte: &u8| matches!(byte, b' ' | b',');
    let end = text.iter().rposition(|byte| !is_gap(byte)).map_or(text.len().min(1), |at| at + 1);
    let text = &text[..end];
    match text.iter().rposition(is_gap) {
        Some(gap) => (&text[..gap], &text[gap + 1..]),
        None => (&[], text),
    }
}

/// `ADDRESS`, `ADDRESS:PORT`, `[ADDRESS]` or `[ADDRESS]:PORT`.
fn address(text: &[u8]) -> Option<Told> {
    let text = std::str::from_utf8(text).ok()?;
    if let Ok(ip) = text.parse() {
        return Some((ip, None));
    }
    if let Some(inner) = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
        return Some((inner.parse().ok()?, None));
    }
    let address: SocketAddr = text.parse().ok()?;
    (address.port() > 0).then_some((address.ip(), Some(address.port())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn back(fields: &[&str], recursive: bool) -> Option<String> {
        let net = |text: &str, bits| Whom::Net(text.parse().unwrap(), bits);
        let proxies = [net("10.0.0.0", 8), net("fd00::", 8)];
        let from = Some("10.0.0.1".parse().unwrap());
        forwarded(from, fields.iter().map(|field| field.as_bytes()), &proxies, recursive)
            .map(|(ip, port)| format!("{ip} {}", port.unwrap_or_default()))
    }

    #[test]
    fn the_walk_ends_at_the_first_who_is_no_proxy_and_never_believes_nonsense() {
        for (fields, recursive, expected) in [
            (&["1.1.1.1, 10.0.0.9"][..], false, Some("10.0.0.9 0")),
            (&["1.1.1.1, 10.0.0.9"], true, Some("1.1.1.1 0")),
            (&["9.9.9.9, 1.1.1.1:80 ,10.0.0.9 ,"], true, Some("1.1.1.1 80")),
            (&["1.1.1.1", "10.0.0.3, 10.0.0.2"], true, Some("1.1.1.1 0")),
            (&["1.1.1.1", "nonsense, 10.0.0.2"], true, Some("10.0.0.2 0")),
            (&["[fd00::1]:5, [2001:db8::1]"], true, Some("2001:db8::1 0")),
            (&["2001:db8::1, [fd00::1]:5"], true, Some("2001:db8::1 0")),
            (&["10.0.0.7,10.0.0.8"], true, Some("10.0.0.7 0")),
            (&["", " , "], true, None),
            (&["unknown"], false, None),
            (&["1.1.1.1:0"], false, None),
            (&["1.1.1.1:99999"], false, None),
            (&["\u{ff}"], true, None),
            (&[], true, None),
        ] {
            assert_eq!(back(fields, recursive).as_deref(), expected, "{fields:?} {recursive}");
        }
        let outside = Some("192.0.2.1".parse().unwrap());
        assert_eq!(forwarded(outside, [&b"1.1.1.1"[..]].into_iter(), &[Whom::Unix], true), None);
        assert!(forwarded(None, [&b"1.1.1.1"[..]].into_iter(), &[Whom::Unix], true).is_some());
    }

    #[test]
    fn what_is_no_address_is_looked_up_as_the_broadcast_address() {
        let values = ["far", "near"].map(|text| Bytes::from_static(text.as_bytes())).into();
        let geo = Geo { v4: [(0, 0), (u32::MAX, 1)].into(), v6: [(0, 0)].into(), values, ..Geo::default() };
        assert_eq!(value(&geo, None), "near");
        assert_eq!(value(&geo, Some("::1".parse().unwrap())), "far");
        assert_eq!(value(&geo, Some("::ffff:255.255.255.255".parse().unwrap())), "near");
        assert_eq!(value(&Geo { ranges: true, ..geo }, Some("::1".parse().unwrap())), "near");
        assert_eq!(value(&Geo::default(), None), "");
    }
}
