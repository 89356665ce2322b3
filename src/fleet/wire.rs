//! How are numbers, texts and lists written on the link? Big-endian, each list and text with its length before it, all
//! lengths bounded by the reader. Reading never panics and never reserves more than is there.

use zeroize::Zeroizing;

/// The bytes are not what they should be. Whose fault: the sender's; the same bytes will never do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadBytes {
    /// They end too early.
    #[error("cut short")]
    Short,
    /// A list, text or body is longer than anybody needs.
    #[error("longer than allowed")]
    Long,
    /// A value that the protocol does not have.
    #[error("malformed")]
    Malformed,
    /// Another protocol, or a later one that does not speak ours.
    #[error("of another protocol version")]
    Version,
}

/// Writes one message. What it holds is wiped when dropped, because bodies may be private keys.
#[derive(Debug, Default)]
pub struct Writer {
    out: Zeroizing<Vec<u8>>,
}

impl Writer {
    /// An empty one with room for `bytes`: growing would leave copies behind.
    pub fn with_room(bytes: usize) -> Writer {
        Writer { out: Zeroizing::new(Vec::with_capacity(bytes)) }
    }

    /// One byte.
    pub fn u8(&mut self, value: u8) {
        self.out.push(value);
    }

    /// Two bytes.
    pub fn u16(&mut self, value: u16) {
        self.out.extend_from_slice(&value.to_be_bytes());
    }

    /// Four bytes.
    pub fn u32(&mut self, value: u32) {
        self.out.extend_from_slice(&value.to_be_bytes());
    }

    /// Eight bytes.
    pub fn u64(&mut self, value: u64) {
        self.out.extend_from_slice(&value.to_be_bytes());
    }

    /// Bytes of a length that both sides know.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    /// A length (four bytes) and so many bytes.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.u32(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
        self.raw(bytes);
    }

    /// A length (two bytes) and a text, cut at 65,535 bytes.
    pub fn text(&mut self, text: &str) {
        let mut end = text.len().min(usize::from(u16::MAX));
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        self.u16(u16::try_from(end).unwrap_or(u16::MAX));
        self.raw(&text.as_bytes()[..end]);
    }

    /// The length of a list (four bytes); its members follow.
    pub fn count(&mut self, count: usize) {
        self.u32(u32::try_from(count).unwrap_or(u32::MAX));
    }

    /// What was written.
    pub fn finish(self) -> Zeroizing<Vec<u8>> {
        self.out
    }
}

/// Reads what a [`Writer`] wrote.
#[derive(Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Reads `bytes` from the start.
    pub fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { rest: bytes }
    }

    /// Whether everything was read. What is left belongs to fields of a later release and is passed over.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next `count` bytes.
    pub fn raw(&mut self, count: usize) -> Result<&'a [u8], BadBytes> {
        let (head, rest) = self.rest.split_at_checked(count).ok_or(BadBytes::Short)?;
        self.rest = rest;
        Ok(head)
    }

    /// The next `N` bytes.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], BadBytes> {
        self.raw(N)?.try_into().map_err(|_| BadBytes::Short)
    }

    /// One byte.
    pub fn u8(&mut self) -> Result<u8, BadBytes> {
        self.array::<1>().map(|[byte]| byte)
    }

    /// One byte that is 0 or 1.
    pub fn flag(&mut self) -> Result<bool, BadBytes> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(BadBytes::Malformed),
        }
    }

    /// Two bytes.
    pub fn u16(&mut self) -> Result<u16, BadBytes> {
        self.array().map(u16::from_be_bytes)
    }

    /// Four bytes.
    pub fn u32(&mut self) -> Result<u32, BadBytes> {
        self.array().map(u32::from_be_bytes)
    }

    /// Eight bytes.
    pub fn u64(&mut self) -> Result<u64, BadBytes> {
        self.array().map(u64::from_be_bytes)
    }

    /// A length of at most `most`, and so many bytes.
    pub fn bytes(&mut self, most: usize) -> Result<&'a [u8], BadBytes> {
        let count = usize::try_from(self.u32()?).map_err(|_| BadBytes::Long)?;
        if count > most {
            return Err(BadBytes::Long);
        }
        self.raw(count)
    }

    /// A text of at most `most` bytes, in UTF-8, without control characters.
    pub fn text(&mut self, most: usize) -> Result<&'a str, BadBytes> {
        let count = usize::from(self.u16()?);
        if count > most {
            return Err(BadBytes::Long);
        }
        let text = std::str::from_utf8(self.raw(count)?).map_err(|_| BadBytes::Malformed)?;
        if text.chars().any(char::is_control) {
            return Err(BadBytes::Malformed);
        }
        Ok(text)
    }

    /// A list of at most `most` members, each read by `member`.
    pub fn list<T>(
        &mut self,
        most: usize,
        mut member: impl FnMut(&mut Reader<'a>) -> Result<T, BadBytes>,
    ) -> Result<Vec<T>, BadBytes> {
        let count = usize::try_from(self.u32()?).map_err(|_| BadBytes::Long)?;
        if count > most {
            return Err(BadBytes::Long);
        }
        // Every member has at least one byte: a length alone reserves no more than was sent.
        let mut list = Vec::with_capacity(count.min(self.rest.len()));
        for _ in 0..count {
            list.push(member(self)?);
        }
        Ok(list)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_that_lie_are_refused_before_anything_is_reserved() {
        let mut writer = Writer::default();
        writer.u32(u32::MAX);
        let bytes = writer.finish();
        assert_eq!(Reader::new(&bytes).bytes(usize::MAX), Err(BadBytes::Short));
        assert_eq!(Reader::new(&bytes).bytes(10), Err(BadBytes::Long));
        assert_eq!(Reader::new(&bytes).list(usize::MAX, |r| r.u8()), Err(BadBytes::Short));
        assert_eq!(Reader::new(&bytes).list(10, |r| r.u8()), Err(BadBytes::Long));
    }

    #[test]
    fn texts_are_cut_at_a_character_and_hold_no_control_characters() {
        let mut writer = Writer::default();
        writer.text(&"é".repeat(40_000));
        let bytes = writer.finish();
        assert_eq!(Reader::new(&bytes).text(70_000).map(str::len), Ok(65_534));
        let mut writer = Writer::default();
        writer.text("a\nb");
        assert_eq!(Reader::new(&writer.finish()).text(10), Err(BadBytes::Malformed));
    }
}
