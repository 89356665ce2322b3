//! How is a chunked body taken apart and put together (RFC 9112 7.1)? Sizes, extensions and trailers are bounded.

use bytes::{Buf, BufMut, BytesMut};

use super::body::{BodyError, BodyPiece};
use super::field::{FieldLine, Step};
use crate::words::Fields;

/// What is allowed in the framing of a chunked body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkRules {
    /// Only CRLF ends a line of the framing, and extensions have no controls. nginx takes a bare LF too; servers that
    /// differ in this are how requests are smuggled, so requests are always read strictly.
    pub strict: bool,
    /// Most bytes of all extensions together.
    pub extensions: usize,
    /// Most bytes of all trailers together.
    pub trailers: usize,
}

impl ChunkRules {
    /// For bodies from clients.
    pub const REQUEST: ChunkRules = ChunkRules { strict: true, extensions: 16 * 1024, trailers: 16 * 1024 };
    /// For bodies from upstreams: line ends as lenient as nginx.
    pub const RESPONSE: ChunkRules = ChunkRules { strict: false, extensions: 16 * 1024, trailers: 16 * 1024 };
}

/// The last chunk, if no trailers follow.
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// Appends the line that opens a chunk of `size` bytes (not 0: that would be the last). CRLF must follow the data.
pub fn chunk_size_line(out: &mut BytesMut, size: usize) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = (usize::BITS - size.leading_zeros()).div_ceil(4).max(1);
    for place in (0..digits).rev() {
        out.put_u8(DIGITS[(size >> (place * 4)) & 15]);
    }
    out.put_slice(b"\r\n");
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Size,
    Extension,
    SizeLf,
    Data,
    AfterData,
    AfterDataLf,
    Trailers,
}

/// A chunked body being taken apart.
#[derive(Debug)]
pub(super) struct Chunked {
    rules: ChunkRules,
    state: State,
    digits: u8,
    /// Of the present chunk: its size, then what is left of it.
    size: u64,
    extensions: usize,
    trailer_bytes: usize,
    trailers: FieldLine,
    fields: Fields,
    at: usize,
}

impl Chunked {
    pub(super) fn new(rules: ChunkRules) -> Chunked {
        Chunked {
            rules,
            state: State::Size,
            digits: 0,
            size: 0,
            extensions: 0,
            trailer_bytes: 0,
            trailers: if rules.strict { FieldLine::strict(true) } else { FieldLine::lenient() },
            fields: Fields::default(),
            at: 0,
        }
    }

    pub(super) fn decode(&mut self, buf: &mut BytesMut) -> Result<BodyPiece, BodyError> {
        let mut used = 0;
        while let Some(&byte) = buf.get(used) {
            match self.state {
                State::Data => {
                    buf.advance(used);
                    let take = usize::try_from(self.size).unwrap_or(usize::MAX).min(buf.len());
                    self.size -= take as u64;
                    if self.size == 0 {
                        self.state = State::AfterData;
                    }
                    return Ok(BodyPiece::Data(buf.split_to(take).freeze()));
                }
                State::Trailers => {
                    buf.advance(used);
                    return self.trailers(buf);
                }
                _ => self.framing(byte)?,
            }
            used += 1;
        }
        buf.advance(used);
        Ok(BodyPiece::NeedMore)
    }

    /// One byte between the data.
    fn framing(&mut self, byte: u8) -> Result<(), BodyError> {
        let lf_alone = byte == b'\n' && !self.rules.strict;
        self.state = match (self.state, byte) {
            (State::Size, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                let digit = char::from(byte).to_digit(16).map_or(0, u64::from);
                self.digits += 1;
                // 15 digits are beyond any body, and never overflow.
                if self.digits > 15 {
                    return Err(BodyError::InvalidChunk);
                }
                self.size = self.size * 16 + digit;
                State::Size
            }
            (State::Size, _) if self.digits == 0 => return Err(BodyError::InvalidChunk),
            (State::Size, b';' | b' ' | b'\t') => State::Extension,
            (State::Size | State::Extension, b'\r') => State::SizeLf,
            (State::Size | State::Extension, b'\n') if lf_alone => self.sized(),
            (State::Extension, byte) => {
                let control = (byte < b' ' && byte != b'\t') || byte == 0x7f;
                if self.rules.strict && control {
                    return Err(BodyError::InvalidChunk);
                }
                self.extensions += 1;
                if self.extensions > self.rules.extensions {
                    return Err(BodyError::ExtensionsTooLong);
                }
                State::Extension
            }
            (State::SizeLf, b'\n') => self.sized(),
            (State::AfterData, b'\r') => State::AfterDataLf,
            (State::AfterData, b'\n') if lf_alone => State::Size,
            (State::AfterDataLf, b'\n') => State::Size,
            _ => return Err(BodyError::InvalidChunk),
        };
        Ok(())
    }

    fn sized(&mut self) -> State {
        self.digits = 0;
        if self.size == 0 { State::Trailers } else { State::Data }
    }

    /// Trailers are rare: they wait in `buf` until a line is whole.
    fn trailers(&mut self, buf: &mut BytesMut) -> Result<BodyPiece, BodyError> {
        loop {
            let step = self.trailers.step(buf, &mut self.at).map_err(|_| BodyError::InvalidTrailers)?;
            if self.trailer_bytes + self.at > self.rules.trailers {
                return Err(BodyError::TrailersTooLong);
            }
            match step {
                Step::More => return Ok(BodyPiece::NeedMore),
                Step::End => {
                    buf.advance(self.at);
                    let fields = std::mem::take(&mut self.fields);
                    return Ok(BodyPiece::End((!fields.is_empty()).then(|| Box::new(fields))));
                }
                Step::Field { span, .. } => {
                    self.trailer_bytes += self.at;
                    let line = buf.split_to(self.at).freeze();
                    self.fields.push(line.slice_ref(span.name(&line)), line.slice_ref(span.value(&line)));
                    self.at = 0;
                }
            }
        }
    }
}
