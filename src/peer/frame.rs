//! How are messages told apart on a link? A length of four bytes, then so many bytes; a frame of nothing only says that
//! somebody is there. A length beyond the bound ends the link before anything is kept for it.

use zeroize::{Zeroize as _, Zeroizing};

/// The longest frame: bytes.
pub const LARGEST: usize = 1 << 20;
/// A buffer that once held a long frame is given back above this size.
const KEPT: usize = 64 << 10;
/// A buffer has at least this size.
const LEAST: usize = 1 << 10;

/// The other side announces more than any message has: it is broken, or means harm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a frame of {0} bytes was announced")]
pub struct TooLong(pub usize);

/// Takes bytes as they come and gives frames.
#[derive(Default)]
pub struct Parser {
    buffer: Zeroizing<Vec<u8>>,
    at: usize,
}

impl std::fmt::Debug for Parser {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parser").field("waiting", &(self.buffer.len() - self.at)).finish()
    }
}

impl Parser {
    /// Adds what came. Frames may hold private keys: what was read is wiped, and growing leaves no copies behind.
    pub fn feed(&mut self, bytes: &[u8]) {
        let rest = self.buffer.len() - self.at;
        let announced = self.buffer[self.at..].first_chunk::<4>().map_or(0, |head| u32::from_be_bytes(*head) as usize);
        let wanted = (rest + bytes.len()).max(announced.min(LARGEST) + 4);
        if wanted > self.buffer.capacity() || (self.buffer.capacity() > KEPT && wanted <= KEPT) {
            let mut buffer = Zeroizing::new(Vec::with_capacity(wanted.max(LEAST)));
            buffer.extend_from_slice(&self.buffer[self.at..]);
            self.buffer = buffer;
        } else if self.at > 0 {
            self.buffer.copy_within(self.at.., 0);
            self.buffer[rest..].zeroize();
            self.buffer.truncate(rest);
        }
        self.at = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole frame; `None`: more has to come.
    ///
    /// # Errors
    /// [`TooLong`]: nothing after it can be understood.
    pub fn next(&mut self, longest: usize) -> Result<Option<Zeroizing<Vec<u8>>>, TooLong> {
        let rest = &self.buffer[self.at..];
        let Some((head, body)) = rest.split_first_chunk::<4>() else { return Ok(None) };
        let length = u32::from_be_bytes(*head) as usize;
        if length > longest {
            return Err(TooLong(length));
        }
        let Some(frame) = body.get(..length) else { return Ok(None) };
        let frame = Zeroizing::new(frame.to_vec());
        self.at += 4 + length;
        Ok(Some(frame))
    }

    /// Whether a frame has begun and not ended.
    pub fn is_within(&self) -> bool {
        self.at < self.buffer.len()
    }
}

/// The head of a frame of `length` bytes; `None`: it may not be sent.
pub(super) fn head(length: usize) -> Option<[u8; 4]> {
    u32::try_from(length).ok().filter(|_| length <= LARGEST).map(u32::to_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_out_whole_however_the_bytes_were_cut() {
        let mut wire = Vec::new();
        for length in [0usize, 1, 5, 70_000, 0, 3] {
            wire.extend(head(length).unwrap());
            wire.extend(std::iter::repeat_n(length as u8, length));
        }
        for step in [1, 3, 4096, wire.len()] {
            let (mut parser, mut lengths) = (Parser::default(), Vec::new());
            for piece in wire.chunks(step) {
                parser.feed(piece);
                while let Some(frame) = parser.next(LARGEST).unwrap() {
                    assert!(frame.iter().all(|byte| *byte == frame.len() as u8));
                    lengths.push(frame.len());
                }
            }
            assert_eq!(lengths, [0, 1, 5, 70_000, 0, 3], "{step}");
            assert!(!parser.is_within());
        }
    }

    #[test]
    fn a_frame_beyond_the_bound_is_refused_by_its_head_alone() {
        let mut parser = Parser::default();
        parser.feed(&u32::MAX.to_be_bytes());
        assert_eq!(parser.next(LARGEST), Err(TooLong(u32::MAX as usize)));
        assert_eq!(head(LARGEST + 1), None);
    }
}
