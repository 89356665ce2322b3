//! Who is the real client behind a balancer? Reads a PROXY header, version 1 or 2, from the first bytes of a connection
//! (the PROXY protocol specification of HAProxy, `listen … proxy_protocol`). Pure, strict and bounded: TLVs are skipped.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The longest header that is read: version 2 with an address and plenty of TLVs. nginx has the same bound.
pub const LONGEST: usize = 4096;

const V1_LONGEST: usize = 107;
const V2_SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// A whole header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Source and destination; `None` for `UNKNOWN`, `LOCAL` and families that are not IP: the socket's own hold.
    pub addresses: Option<(SocketAddr, SocketAddr)>,
    /// How many bytes it took.
    pub length: usize,
}

/// These bytes are no PROXY header. Whose fault: the peer's, or that of a listener which expects one where none is sent.
/// The connection is closed without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("broken header: {0}")]
pub struct Broken(pub &'static str);

/// Reads a header from the start of `bytes`; `Ok(None)`: more bytes are needed.
///
/// # Errors
/// [`Broken`], as soon as the bytes cannot become a header any more.
pub fn read(bytes: &[u8]) -> Result<Option<Header>, Broken> {
    let start = bytes.len().min(V2_SIGNATURE.len());
    if bytes.is_empty() {
        return Ok(None);
    }
    if bytes[..start] == V2_SIGNATURE[..start] {
        return version2(bytes);
    }
    let start = bytes.len().min(6);
    if bytes[..start] == b"PROXY "[..start] {
        return version1(bytes);
    }
    Err(Broken("no PROXY signature"))
}

fn version1(bytes: &[u8]) -> Result<Option<Header>, Broken> {
    let window = &bytes[..bytes.len().min(V1_LONGEST)];
    let Some(end) = window.iter().position(|b| *b == b'\n') else {
        return if bytes.len() < V1_LONGEST { Ok(None) } else { Err(Broken("line without end")) };
    };
    let length = end + 1;
    let line = window[..end].strip_suffix(b"\r").ok_or(Broken("line ends without CR"))?;
    let line = std::str::from_utf8(line).map_err(|_| Broken("not ASCII"))?;
    let mut words = line.split(' ').skip(1);
    let family = words.next().unwrap_or_default();
    if family == "UNKNOWN" {
        return Ok(Some(Header { addresses: None, length }));
    }
    let v6 = match family {
        "TCP4" => false,
        "TCP6" => true,
        _ => return Err(Broken("unknown family")),
    };
    let mut address = || {
        let ip: IpAddr = words.next().and_then(|w| w.parse().ok()).ok_or(Broken("bad address"))?;
        if ip.is_ipv6() == v6 { Ok(ip) } else { Err(Broken("address of another family")) }
    };
    let (source, destination) = (address()?, address()?);
    let mut port = || {
        let word = words.next().ok_or(Broken("no port"))?;
        let plain = word.bytes().all(|b| b.is_ascii_digit()) && (word == "0" || !word.starts_with('0'));
        word.parse::<u16>().ok().filter(|_| plain).ok_or(Broken("bad port"))
    };
    let (source_port, destination_port) = (port()?, port()?);
    if words.next().is_some() {
        return Err(Broken("words after the ports"));
    }
    let addresses = (SocketAddr::new(source, source_port), SocketAddr::new(destination, destination_port));
    Ok(Some(Header { addresses: Some(addresses), length }))
}

fn version2(bytes: &[u8]) -> Result<Option<Header>, Broken> {
    let Some(head) = bytes.get(..16) else {
        return Ok(None);
    };
    let (command, family) = (head[12], head[13]);
    if command >> 4 != 2 {
        return Err(Broken("unknown version"));
    }
    let body_length = usize::from(u16::from_be_bytes([head[14], head[15]]));
    let length = 16 + body_length;
    if length > LONGEST {
        return Err(Broken("header too long"));
    }
    if command & 15 > 1 {
        return Err(Broken("unknown command"));
    }
    let needs = match family >> 4 {
        1 => 12,
        2 => 36,
        _ => 0,
    };
    let local = command & 15 == 0;
    if !local && body_length < needs {
        return Err(Broken("addresses too short"));
    }
    let Some(body) = bytes.get(16..length) else {
        return Ok(None);
    };
    // LOCAL: a health check of the balancer itself. The other families have no address that we could show.
    let addresses = match (local, needs, family & 15) {
        (false, 12, 1) => Some(pair::<4>(body, |b| IpAddr::V4(Ipv4Addr::from(b)))),
        (false, 36, 1) => Some(pair::<16>(body, |b| IpAddr::V6(Ipv6Addr::from(b)))),
        _ => None,
    };
    Ok(Some(Header { addresses, length }))
}

/// Two addresses of `N` bytes, then two ports. The caller has checked the length.
fn pair<const N: usize>(body: &[u8], ip: impl Fn([u8; N]) -> IpAddr) -> (SocketAddr, SocketAddr) {
    let address = |at: usize| {
        let mut bytes = [0; N];
        bytes.copy_from_slice(&body[at..at + N]);
        ip(bytes)
    };
    let port = |at: usize| u16::from_be_bytes([body[at], body[at + 1]]);
    (SocketAddr::new(address(0), port(2 * N)), SocketAddr::new(address(N), port(2 * N + 2)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let length = u16::try_from(body.len()).unwrap().to_be_bytes();
        [&V2_SIGNATURE[..], &[command, family], &length, body].concat()
    }

    fn ends(text: &[u8]) -> Option<(String, String)> {
        let header = read(text).unwrap().unwrap();
        header.addresses.map(|(a, b)| (a.to_string(), b.to_string()))
    }

    #[test]
    fn both_versions_give_source_and_destination_and_leave_what_follows() {
        let line = b"PROXY TCP4 192.0.2.1 198.51.100.2 5000 443\r\nGET /";
        assert_eq!(ends(line), Some(("192.0.2.1:5000".into(), "198.51.100.2:443".into())));
        assert_eq!(read(line).unwrap().unwrap().length, line.len() - 5);
        let six = b"PROXY TCP6 2001:db8::1 2001:db8::2 1 2\r\n";
        assert_eq!(ends(six), Some(("[2001:db8::1]:1".into(), "[2001:db8::2]:2".into())));
        let four = v2(0x21, 0x11, &[192, 0, 2, 1, 198, 51, 100, 2, 0x13, 0x88, 1, 0xbb, 4, 0, 1, 9]);
        assert_eq!(ends(&four), Some(("192.0.2.1:5000".into(), "198.51.100.2:443".into())));
        assert_eq!(read(&four).unwrap().unwrap().length, four.len());
        let mut long = vec![0; 36];
        (long[15], long[31], long[33], long[35]) = (1, 2, 7, 8);
        assert_eq!(ends(&v2(0x21, 0x21, &long)), Some(("[::1]:7".into(), "[::2]:8".into())));
    }

    #[test]
    fn headers_without_usable_addresses_leave_those_of_the_socket() {
        for header in [
            b"PROXY UNKNOWN\r\n".to_vec(),
            b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n".to_vec(),
            v2(0x20, 0, b""),
            v2(0x20, 0x11, b""),
            v2(0x21, 0x00, b""),
            v2(0x21, 0x31, &[0; 216]),
            v2(0x21, 0x12, &[0; 12]),
        ] {
            assert_eq!(ends(&header), None);
        }
    }

    #[test]
    fn a_header_cut_anywhere_asks_for_more() {
        for whole in [b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n".to_vec(), v2(0x21, 0x11, &[1; 12])] {
            for end in 0..whole.len() {
                assert_eq!(read(&whole[..end]), Ok(None), "cut at {end}");
            }
            assert!(read(&whole).unwrap().is_some());
        }
    }

    #[test]
    fn hostile_headers_are_refused_at_once() {
        let endless = [b"PROXY TCP4 ".as_slice(), &[b'1'; 200]].concat();
        for bad in [
            b"GET / HTTP/1.1\r\n".to_vec(),
            b"\x16\x03\x01".to_vec(),
            b"PROXX".to_vec(),
            b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\n".to_vec(),
            b"PROXY TCP4 1.2.3.4 5.6.7.8 1\r\n".to_vec(),
            b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2 3\r\n".to_vec(),
            b"PROXY TCP4 1.2.3.4  5.6.7.8 1 2\r\n".to_vec(),
            b"PROXY TCP4 1.2.3.4 5.6.7.8 1 65536\r\n".to_vec(),
            b"PROXY TCP4 1.2.3.4 5.6.7.8 +1 2\r\n".to_vec(),
            b"PROXY TCP4 1.2.3.4 5.6.7.8 01 2\r\n".to_vec(),
            b"PROXY TCP4 ::1 ::2 1 2\r\n".to_vec(),
            b"PROXY TCP6 1.2.3.4 5.6.7.8 1 2\r\n".to_vec(),
            b"PROXY UDP4 1.2.3.4 5.6.7.8 1 2\r\n".to_vec(),
            b"PROXY TCP4 1.2.3.4\xff 5.6.7.8 1 2\r\n".to_vec(),
            endless,
            v2(0x11, 0x11, &[0; 12]),
            v2(0x22, 0x11, &[0; 12]),
            v2(0x21, 0x11, &[0; 11]),
            v2(0x21, 0x21, &[0; 35]),
            v2(0x21, 0x11, &vec![0; LONGEST]),
        ] {
            assert!(read(&bad).is_err(), "{}", bad.escape_ascii());
        }
    }
}
