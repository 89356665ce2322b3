//! Where does a value of DER end? The few moves that keys need and that no crate of ours offers without
//! loading the key, and signatures of certificates that webpki does not read.

/// SEQUENCE.
pub(crate) const SEQUENCE: u8 = 0x30;
/// INTEGER.
pub(crate) const INTEGER: u8 = 0x02;
/// BIT STRING.
pub(crate) const BIT_STRING: u8 = 0x03;
/// OCTET STRING.
pub(crate) const OCTET_STRING: u8 = 0x04;
/// OBJECT IDENTIFIER.
pub(crate) const OID: u8 = 0x06;

/// Reads values from left to right.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    /// The next value: its tag, its content, and the whole of it.
    pub fn any(&mut self) -> Option<(u8, &'a [u8], &'a [u8])> {
        let (tag, first) = (*self.0.first()?, usize::from(*self.0.get(1)?));
        let (length, head) = match first {
            0..=0x7f => (first, 2),
            0x81 => (usize::from(*self.0.get(2)?), 3),
            0x82 => (usize::from(u16::from_be_bytes([*self.0.get(2)?, *self.0.get(3)?])), 4),
            0x83 => {
                (usize::try_from(u32::from_be_bytes([0, *self.0.get(2)?, *self.0.get(3)?, *self.0.get(4)?])).ok()?, 5)
            }
            _ => return None,
        };
        let whole = self.0.get(..head + length)?;
        self.0 = &self.0[head + length..];
        Some((tag, &whole[head..], whole))
    }

    /// The content of the next value, which must have `tag`.
    pub fn take(&mut self, tag: u8) -> Option<&'a [u8]> {
        let (found, content, _) = self.any()?;
        (found == tag).then_some(content)
    }

    /// A reader of the content of the next value, which must be a sequence.
    pub fn sequence(&mut self) -> Option<Reader<'a>> {
        self.take(SEQUENCE).map(Reader)
    }
}

/// A value with `tag` around `parts`.
pub(crate) fn wrap(tag: u8, parts: &[&[u8]]) -> zeroize::Zeroizing<Vec<u8>> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let mut out = zeroize::Zeroizing::new(Vec::with_capacity(length + 4));
    out.push(tag);
    match u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes() {
        [0, low @ 0..=0x7f] => out.push(low),
        [0, low] => out.extend_from_slice(&[0x81, low]),
        [high, low] => out.extend_from_slice(&[0x82, high, low]),
    }
    parts.iter().for_each(|part| out.extend_from_slice(part));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_wrapped_is_read_and_what_was_cut_is_not() {
        for length in [0, 5, 127, 128, 255, 256, 5000] {
            let value = wrap(SEQUENCE, &[&vec![7; length]]);
            assert_eq!(Reader(&value).take(SEQUENCE).map(<[u8]>::len), Some(length));
            assert!(Reader(&value).take(INTEGER).is_none());
            assert!(Reader(&value[..value.len() - 1]).any().is_none());
        }
        assert!(Reader(&[0x30, 0x84, 0, 0, 0, 1, 0]).any().is_none());
    }
}
