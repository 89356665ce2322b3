//! Is an upstream's response head whole, and what does it say? Bytes in → [`ResponseHead`] or [`ResponseError`].
//!
//! The caller reads into a `BytesMut`, calls [`ResponseParser::parse`] until a head comes, throws interim heads away
//! ([`ResponseHead::is_interim`]) after a [`ResponseParser::reset`], then asks [`ResponseHead::body_length`] and feeds
//! a [`super::BodyDecoder`]. The connection may be used again if [`ResponseHead::keep_alive`] and the decoder is done
//! and the buffer is empty.

use bytes::{Bytes, BytesMut};

use super::body::BodyLength;
use super::error::{ResponseError, printable};
use super::field::{FieldLine, Span, Step};
use super::framing::{contains, parse_length, shown};
use super::status_line::StatusLine;
use super::version::Version;
use crate::words::Fields;

/// An upstream's response head, as it came.
#[derive(Clone, Debug)]
pub struct ResponseHead {
    /// The version the upstream speaks.
    pub version: Version,
    /// Three digits; not further checked.
    pub status: u16,
    /// The reason phrase as it came; may be empty.
    pub reason: Bytes,
    /// Fields in order and as written, hop-by-hop ones too.
    pub fields: Fields,
    /// Content-Length, if there is one and no Transfer-Encoding.
    pub content_length: Option<u64>,
    /// `Transfer-Encoding: chunked`.
    pub chunked: bool,
    /// Whether the upstream would use the connection again: HTTP/1.1 without `Connection: close`.
    pub keep_alive: bool,
    /// Bytes of the head on the wire.
    pub wire_length: u64,
}

impl ResponseHead {
    /// 1xx other than 101: another head follows.
    pub fn is_interim(&self) -> bool {
        (100..200).contains(&self.status) && self.status != 101
    }

    /// How the body is framed (RFC 9112 6.3). `to_head`: the request was HEAD. After 101 there is no body; the
    /// connection is no longer HTTP.
    pub fn body_length(&self, to_head: bool) -> BodyLength {
        match self.status {
            100..=199 | 204 | 304 => BodyLength::Length(0),
            _ if to_head => BodyLength::Length(0),
            _ if self.chunked => BodyLength::Chunked,
            _ => self.content_length.map_or(BodyLength::UntilClose, BodyLength::Length),
        }
    }
}

/// Reads one response head of at most `limit` bytes (`proxy_buffer_size`).
#[derive(Debug)]
pub struct ResponseParser {
    limit: usize,
    at: usize,
    line: StatusLine,
    line_whole: bool,
    field: FieldLine,
    spans: Vec<Span>,
    length: Option<Span>,
    encoding: Option<Span>,
    close: bool,
}

impl ResponseParser {
    /// A parser for heads of at most `limit` bytes.
    pub fn new(limit: usize) -> ResponseParser {
        ResponseParser {
            limit,
            at: 0,
            line: StatusLine::new(),
            line_whole: false,
            field: FieldLine::lenient(),
            spans: Vec::new(),
            length: None,
            encoding: None,
            close: false,
        }
    }

    /// Ready for the next head; keeps its memory.
    pub fn reset(&mut self) {
        let mut spans = std::mem::take(&mut self.spans);
        spans.clear();
        *self = ResponseParser { spans, ..ResponseParser::new(self.limit) };
    }

    /// Looks at what is new in `buf`, which must still begin where it began at the last call. A whole head is taken out
    /// of `buf`, the body's bytes stay. `None`: more bytes are needed. After an error or a head: reset.
    ///
    /// # Errors
    /// The upstream's head is refused: 502, or the next upstream.
    pub fn parse(&mut self, buf: &mut BytesMut) -> Result<Option<ResponseHead>, ResponseError> {
        if !self.line_whole {
            self.line_whole = self.line.step(buf, &mut self.at)?;
        }
        let whole = self.line_whole && self.fields(buf)?;
        if self.at + usize::from(!whole) > self.limit {
            return Err(ResponseError::TooBig);
        }
        if !whole {
            return Ok(None);
        }
        let wire = buf.split_to(self.at).freeze();
        let mut fields = Fields::with_capacity(self.spans.len());
        for span in &self.spans {
            fields.push(wire.slice_ref(span.name(&wire)), wire.slice_ref(span.value(&wire)));
        }
        let version = self.line.version();
        Ok(Some(ResponseHead {
            version,
            status: self.line.status,
            reason: wire.slice(self.line.reason.0..self.line.reason.1),
            fields,
            content_length: self.length.and_then(|span| parse_length(span.value(&wire))),
            chunked: self.encoding.is_some(),
            keep_alive: !self.close && version >= Version::HTTP_11,
            wire_length: wire.len() as u64,
        }))
    }

    fn fields(&mut self, buf: &[u8]) -> Result<bool, ResponseError> {
        loop {
            let step = self.field.step(buf, &mut self.at);
            let step = step.map_err(|offence| ResponseError::InvalidField {
                line: printable(&buf[offence.line_start..offence.at]),
                byte: buf[offence.at],
            })?;
            match step {
                Step::More => return Ok(false),
                Step::End => return Ok(true),
                Step::Field { span, .. } => {
                    self.spans.push(span);
                    self.learn(buf, span)?;
                }
            }
        }
    }

    fn learn(&mut self, buf: &[u8], span: Span) -> Result<(), ResponseError> {
        let (name, value) = (span.name(buf), span.value(buf));
        let slot = match name.len() {
            10 if name.eq_ignore_ascii_case(b"connection") => {
                self.close |= contains(value, b"close");
                return Ok(());
            }
            14 if name.eq_ignore_ascii_case(b"content-length") => &mut self.length,
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => &mut self.encoding,
            _ => return Ok(()),
        };
        if let Some(previous) = *slot {
            return Err(ResponseError::DuplicateField { line: shown(buf, span), previous: shown(buf, previous) });
        }
        *slot = Some(span);
        if self.length.is_some() && self.encoding.is_some() {
            return Err(ResponseError::LengthAndEncoding);
        }
        if self.length == Some(span) && parse_length(value).is_none() {
            return Err(ResponseError::InvalidLength(shown(buf, span)));
        }
        if self.encoding == Some(span) && !value.eq_ignore_ascii_case(b"chunked") {
            return Err(ResponseError::UnknownEncoding(printable(value)));
        }
        Ok(())
    }
}
