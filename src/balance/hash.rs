//! On which point of the circle does a key fall? CRC-32 and the ketama points, compatible with Cache::Memcached::Fast
//! and therefore with nginx: a fleet of both sends a key to the same server.

/// CRC-32 (IEEE 802.3), the running value before its final inversion.
#[derive(Clone, Copy)]
pub(super) struct Crc32(u32);

const TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut value = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            value = if value & 1 == 1 { (value >> 1) ^ 0xedb8_8320 } else { value >> 1 };
            bit += 1;
        }
        table[byte] = value;
        byte += 1;
    }
    table
};

impl Crc32 {
    pub(super) fn new() -> Crc32 {
        Crc32(u32::MAX)
    }

    pub(super) fn update(mut self, bytes: &[u8]) -> Crc32 {
        for &byte in bytes {
            self.0 = TABLE[usize::from(self.0 as u8 ^ byte)] ^ (self.0 >> 8);
        }
        self
    }

    pub(super) fn finish(self) -> u32 {
        !self.0
    }
}

/// Points for each unit of weight.
const POINTS: u32 = 160;

/// The circle: points sorted by hash, each with the name that owns it (an index into [`Circle::names`]).
#[derive(Debug, Default)]
pub(super) struct Circle {
    points: Vec<(u32, u32)>,
    names: Vec<Box<str>>,
}

impl Circle {
    /// A circle of (server as written, weight of one of its addresses), in order.
    pub(super) fn new<'a>(servers: impl Iterator<Item = (&'a str, u32)>) -> Circle {
        let mut circle = Circle::default();
        for (name, weight) in servers {
            let owner = u32::try_from(circle.names.len()).unwrap_or(u32::MAX);
            circle.names.push(name.into());
            let (host, port) = split(name);
            let base = Crc32::new().update(host).update(b"\0").update(port);
            let mut previous = 0_u32;
            for _ in 0..weight.saturating_mul(POINTS) {
                previous = base.update(&previous.to_le_bytes()).finish();
                circle.points.push((previous, owner));
            }
        }
        circle.points.sort_by_key(|point| point.0);
        circle.points.dedup_by_key(|point| point.0);
        circle
    }

    /// The place of the first point at or after the hash of `key`; may be one past the last.
    pub(super) fn place(&self, key: &[u8]) -> u32 {
        let hash = Crc32::new().update(key).finish();
        u32::try_from(self.points.partition_point(|point| point.0 < hash)).unwrap_or(u32::MAX)
    }

    /// The name that owns `place`, counted round the circle.
    pub(super) fn owner(&self, place: u32) -> Option<&str> {
        let count = self.points.len();
        let point = self.points.get(place as usize % count.max(1))?;
        self.names.get(point.1 as usize).map(|name| &**name)
    }
}

/// Host and port of a server as written: the port is what stands behind the last colon, if it is all digits.
fn split(name: &str) -> (&[u8], &[u8]) {
    let bytes = name.as_bytes();
    if bytes.len() >= 5 && bytes[..5].eq_ignore_ascii_case(b"unix:") {
        return (&bytes[5..], b"");
    }
    match name.rfind(':') {
        Some(colon) if bytes[colon + 1..].iter().all(u8::is_ascii_digit) => (&bytes[..colon], &bytes[colon + 1..]),
        _ => (bytes, b""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_the_well_known_one() {
        assert_eq!(Crc32::new().update(b"123456789").finish(), 0xcbf4_3926);
    }

    #[test]
    fn a_circle_has_160_points_for_each_weight_and_owners_by_name() {
        let circle = Circle::new([("a:80", 1), ("unix:/b", 2)].into_iter());
        assert!(circle.points.len() <= 480 && circle.points.len() > 470);
        assert!(circle.points.is_sorted());
        assert!(circle.owner(circle.place(b"k")).is_some());
        // One past the last point is the first again.
        assert_eq!(circle.owner(circle.points.len() as u32), circle.owner(0));
    }

    #[test]
    fn names_are_split_as_nginx_splits_them() {
        assert_eq!(split("10.0.0.1:8080"), (&b"10.0.0.1"[..], &b"8080"[..]));
        assert_eq!(split("unix:/run/a:1"), (&b"/run/a:1"[..], &b""[..]));
        assert_eq!(split("host"), (&b"host"[..], &b""[..]));
    }
}
