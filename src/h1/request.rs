//! Is a client's request head whole, and what does it say? Bytes in → [`RequestHead`] or [`Malformed`].
//! The head's parts are slices of the read buffer. Which server answers, and how, is not decided here.

use bytes::{Bytes, BytesMut};

use super::body::BodyLength;
use super::error::{HeadError, Malformed, printable};
use super::field::{FieldLine, Span, Step};
use super::framing::Framing;
use super::host::{host_shape, validate_host};
use super::line::RequestLine;
use super::room::{HeadRules, Room};
use super::version::Version;
use crate::words::Fields;

/// A request head as the client sent it, and what it means for the connection.
#[derive(Clone, Debug)]
pub struct RequestHead {
    /// `A-Z_-`, as sent.
    pub method: Bytes,
    /// Path and query, raw: `$request_uri`. Of an absolute-form target without scheme and host; never empty in a whole
    /// head, begins with `/`. May have any byte above space but DEL.
    pub target: Bytes,
    /// The version, 1.0 or later 1.x.
    pub version: Version,
    /// Fields in order and as written. Names are odd only if the rules let odd names pass.
    pub fields: Fields,
    /// The request line without its line end, for the log.
    pub line: Bytes,
    /// The host in lower case, without port and trailing dot: of the absolute-form target, else of Host, else empty
    /// (HTTP/1.0). Both name the same host if both are there.
    pub host: Bytes,
    /// How the body is framed.
    pub body: BodyLength,
    /// Whether the client would use the connection again after this request.
    pub keep_alive: bool,
    /// Whether the client waits for `100 Continue` before it sends the body.
    pub expects_continue: bool,
    /// Bytes of the head on the wire: the head's part of `$request_length`.
    pub wire_length: u64,
    /// Lines left out because their names are odd (`ignore_invalid_headers`), for the log.
    pub dropped: Vec<Bytes>,
}

impl RequestHead {
    fn empty() -> RequestHead {
        RequestHead {
            method: Bytes::new(),
            target: Bytes::new(),
            version: Version::HTTP_10,
            fields: Fields::default(),
            line: Bytes::new(),
            host: Bytes::new(),
            body: BodyLength::Length(0),
            keep_alive: false,
            expects_continue: false,
            wire_length: 0,
            dropped: Vec::new(),
        }
    }
}

/// Reads one request head. Make a new one, or [`RequestParser::reset`] it, for the next.
#[derive(Debug)]
pub struct RequestParser {
    rules: HeadRules,
    room: Room,
    /// Bytes of the buffer already looked at.
    at: usize,
    line: RequestLine,
    line_whole: bool,
    field: FieldLine,
    spans: Vec<Span>,
    dropped: Vec<Span>,
    framing: Framing,
}

impl RequestParser {
    /// A parser under `rules`.
    pub fn new(rules: HeadRules) -> RequestParser {
        RequestParser {
            rules,
            room: Room::new(&rules),
            at: 0,
            line: RequestLine::default(),
            line_whole: false,
            field: FieldLine::strict(rules.underscores),
            spans: Vec::new(),
            dropped: Vec::new(),
            framing: Framing::default(),
        }
    }

    /// Ready for the next head under `rules`; keeps its memory.
    pub fn reset(&mut self, rules: HeadRules) {
        let mut spans = std::mem::take(&mut self.spans);
        spans.clear();
        *self = RequestParser { spans, ..RequestParser::new(rules) };
    }

    /// Whether a byte of a request has been seen (empty lines before it do not count).
    pub fn begun(&self) -> bool {
        self.line.begun()
    }

    /// Looks at what is new in `buf`, which must still begin where it began at the last call. A whole head is taken out
    /// of `buf`; what follows it (body, next request) stays. `None`: more bytes are needed. After an error, or a whole
    /// head, the parser must be reset.
    ///
    /// # Errors
    /// The head is refused; see [`Malformed`]. `buf` is then of no further use.
    pub fn parse(&mut self, buf: &mut BytesMut) -> Result<Option<Box<RequestHead>>, Box<Malformed>> {
        match self.advance(buf) {
            Ok(true) => Ok(Some(self.whole(buf)?)),
            Ok(false) => Ok(None),
            Err(error) => Err(self.malformed(buf, error)),
        }
    }

    /// Whether the request line is whole and fields are being read.
    pub fn line_is_whole(&self) -> bool {
        self.line_whole
    }

    /// What has been read of a head that will never be whole, for the log; takes everything out of `buf`.
    pub fn abandon(&self, buf: &mut BytesMut) -> Box<RequestHead> {
        self.cut(&buf.split().freeze())
    }

    fn advance(&mut self, buf: &mut BytesMut) -> Result<bool, HeadError> {
        if !self.line.begun() {
            // Empty lines before a request cost no memory, as in nginx.
            let empty = buf.iter().take_while(|&&b| b == b'\r' || b == b'\n').count();
            bytes::Buf::advance(buf, empty);
        }
        if !self.line_whole {
            let whole = self.line.step(buf, &mut self.at)?;
            // An unfinished line needs room for one byte more.
            let end = self.at + usize::from(!whole);
            if self.line.begun() && !self.room.fits(&self.rules, self.line.start, end) {
                return Err(HeadError::LineTooLong);
            }
            if !whole {
                return Ok(false);
            }
            self.line_whole = true;
            if self.line.host.is_some_and(|(from, to)| host_shape(&buf[from..to]).is_none()) {
                return Err(HeadError::InvalidHostInLine);
            }
        }
        self.fields(buf)
    }

    fn fields(&mut self, buf: &[u8]) -> Result<bool, HeadError> {
        loop {
            let step = self.field.step(buf, &mut self.at);
            let step = step.map_err(|offence| HeadError::InvalidField {
                line: printable(&buf[offence.line_start..offence.at]),
                byte: buf[offence.at],
            })?;
            let unfinished = usize::from(step == Step::More);
            let between_lines = step == Step::More && self.field.between_lines();
            let start = if between_lines { self.at } else { self.field.line_start() };
            if !self.room.fits(&self.rules, start, self.at + unfinished) {
                return Err(HeadError::FieldTooLong(printable(&buf[start..])));
            }
            match step {
                Step::More => return Ok(false),
                Step::Field { span, odd: true } if self.rules.ignore_invalid => self.dropped.push(span),
                Step::Field { span, .. } => {
                    self.spans.push(span);
                    let had_host = self.framing.host.is_some();
                    self.framing.learn(buf, span)?;
                    if !had_host && self.framing.host.is_some() && host_shape(span.value(buf)).is_none() {
                        return Err(HeadError::InvalidHost);
                    }
                }
                Step::End => return Ok(true),
            }
        }
    }

    /// Cuts the whole head out of `buf` and judges it.
    fn whole(&mut self, buf: &mut BytesMut) -> Result<Box<RequestHead>, Box<Malformed>> {
        let wire = buf.split_to(self.at).freeze();
        let mut head = self.cut(&wire);
        let judged = match self.framing.judge(&wire, head.version, &head.method) {
            Ok(_) if self.hosts_differ(&wire, &head.host) => Err(HeadError::HostsDiffer),
            judged => judged,
        };
        match judged {
            Ok((length, chunked)) => {
                head.body = if chunked { BodyLength::Chunked } else { BodyLength::Length(length.unwrap_or(0)) };
                head.keep_alive = self.framing.keep_alive(head.version);
                head.expects_continue = self.framing.expects_continue(&wire, head.version);
                Ok(head)
            }
            Err(error) => Err(Box::new(Malformed { error, head: *head })),
        }
    }

    /// Whether Host names another server than the target did.
    fn hosts_differ(&self, wire: &Bytes, host: &Bytes) -> bool {
        let (Some(_), Some(field)) = (self.line.host, self.framing.host) else { return false };
        validate_host(&wire.slice_ref(field.value(wire))).as_ref() != Some(host)
    }

    /// The head with all parts known so far, as slices of `wire`.
    fn cut(&self, wire: &Bytes) -> Box<RequestHead> {
        let mut head = Box::new(RequestHead::empty());
        head.wire_length = self.at as u64;
        if self.line_whole {
            head.line = wire.slice(self.line.start..self.line.end);
            head.method = wire.slice(self.line.start..self.line.method_end);
            head.version = self.line.version();
            head.target = self.target(wire);
        } else {
            // Of a line that is too long, as much as nginx's buffer would hold.
            let end = self.room.end().min(wire.len());
            let line = &wire[self.line.start.min(end)..end];
            let end = memchr::memchr2(b'\r', b'\n', line).unwrap_or(line.len());
            head.line = wire.slice_ref(&line[..end]);
        }
        let host = match (self.line.host, self.framing.host) {
            (Some((from, to)), _) => validate_host(&wire.slice(from..to)),
            (None, Some(span)) => validate_host(&wire.slice_ref(span.value(wire))),
            (None, None) => None,
        };
        head.host = host.unwrap_or_default();
        head.fields = Fields::with_capacity(self.spans.len());
        for span in &self.spans {
            head.fields.push(wire.slice_ref(span.name(wire)), wire.slice_ref(span.value(wire)));
        }
        head.dropped = self.dropped.iter().map(|span| self.dropped_line(wire, *span)).collect();
        head
    }

    fn dropped_line(&self, wire: &Bytes, span: Span) -> Bytes {
        wire.slice(span.name.0 as usize..span.value.1 as usize)
    }

    fn target(&self, wire: &Bytes) -> Bytes {
        let (from, to) = self.line.target;
        match wire[from..to].first() {
            Some(b'/') => wire.slice(from..to),
            // An absolute form without path: the path is `/` (RFC 9110 4.2.3).
            Some(_) => [b"/", &wire[from..to]].concat().into(),
            None => Bytes::from_static(b"/"),
        }
    }

    fn malformed(&mut self, buf: &mut BytesMut, error: HeadError) -> Box<Malformed> {
        Box::new(Malformed { error, head: *self.abandon(buf) })
    }
}
