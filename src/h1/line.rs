//! What does a request line say? A machine that keeps its place. Its language is that of nginx 1.28: method of `A-Z_-`,
//! origin or absolute form, any byte above space in the target, `HTTP/1.x`; but no HTTP/0.9, and lines end in CRLF.

use super::error::HeadError;
use super::version::Version;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
enum State {
    #[default]
    Start,
    Method,
    BeforeTarget,
    Scheme,
    /// Slashes of `://` still to come.
    SchemeSlashes(u8),
    HostStart,
    Host,
    HostEnd,
    Literal,
    Port,
    Target,
    AfterTarget,
    /// Letters of `HTTP/` already seen.
    Protocol(u8),
    FirstMajor,
    Major,
    FirstMinor,
    Minor,
    AfterVersion,
    AlmostDone,
}

/// Where the parts of the line are, as offsets into the bytes given.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct RequestLine {
    state: State,
    /// First byte of the line, after any empty lines.
    pub(super) start: usize,
    /// Behind the method.
    pub(super) method_end: usize,
    /// Target without scheme and host; empty if the absolute form has no path.
    pub(super) target: (usize, usize),
    /// The host of an absolute form, without port.
    pub(super) host: Option<(usize, usize)>,
    /// Behind the last byte, without CR and LF.
    pub(super) end: usize,
    major: u16,
    minor: u16,
}

impl RequestLine {
    /// Whether a byte of the line has been seen.
    pub(super) fn begun(&self) -> bool {
        self.state != State::Start
    }

    pub(super) fn version(&self) -> Version {
        Version(self.major * 1000 + self.minor)
    }

    /// Looks at `buf[*at..]`; true when the line is whole, `*at` is then behind its LF.
    pub(super) fn step(&mut self, buf: &[u8], at: &mut usize) -> Result<bool, HeadError> {
        while let Some(&byte) = buf.get(*at) {
            let here = *at;
            match self.state {
                State::Start => {
                    if byte != b'\r' && byte != b'\n' {
                        self.start = here;
                        self.state = State::Method;
                        continue;
                    }
                }
                State::Method => match byte {
                    b'A'..=b'Z' | b'_' | b'-' => {}
                    b' ' if here > self.start => {
                        self.method_end = here;
                        self.state = State::BeforeTarget;
                    }
                    _ => return Err(HeadError::InvalidMethod),
                },
                State::Target => {
                    let stop = buf[here..].iter().position(|&b| b <= b' ' || b == 0x7f);
                    let Some(length) = stop else {
                        *at = buf.len();
                        return Ok(false);
                    };
                    *at = here + length;
                    self.target.1 = *at;
                    self.state = State::AfterTarget;
                    if buf[*at] == b' ' {
                        *at += 1;
                    }
                    continue;
                }
                State::BeforeTarget
                | State::Scheme
                | State::SchemeSlashes(_)
                | State::HostStart
                | State::Host
                | State::HostEnd
                | State::Literal
                | State::Port => self.authority(byte, here)?,
                _ => {
                    if self.tail(byte, here)? {
                        *at = here + 1;
                        return Ok(true);
                    }
                }
            }
            *at = here + 1;
        }
        Ok(false)
    }

    /// From behind the method to the first byte of the path.
    fn authority(&mut self, byte: u8, here: usize) -> Result<(), HeadError> {
        self.state = match (self.state, byte) {
            (State::BeforeTarget, b' ') => State::BeforeTarget,
            (State::BeforeTarget, b'/') => self.path(here),
            (State::BeforeTarget, b'a'..=b'z' | b'A'..=b'Z') => State::Scheme,
            (State::Scheme, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'+' | b'-' | b'.') => State::Scheme,
            (State::Scheme, b':') => State::SchemeSlashes(2),
            (State::SchemeSlashes(2), b'/') => State::SchemeSlashes(1),
            (State::SchemeSlashes(_), b'/') => State::HostStart,
            (State::HostStart, b'[') => {
                self.host = Some((here, here));
                State::Literal
            }
            (State::HostStart | State::Host, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-') => {
                self.host.get_or_insert((here, here));
                State::Host
            }
            (State::Literal, b']') => State::HostEnd,
            (State::Literal, byte) if in_literal(byte) => State::Literal,
            (State::Port, b'0'..=b'9') => State::Port,
            (State::Port, b'/' | b'?' | b' ') => self.behind_authority(byte, here),
            (State::HostStart | State::Host | State::HostEnd, b'/' | b'?' | b' ' | b':') => {
                self.host.get_or_insert((here, here)).1 = here;
                self.behind_authority(byte, here)
            }
            _ => return Err(HeadError::InvalidRequest),
        };
        Ok(())
    }

    fn behind_authority(&mut self, byte: u8, here: usize) -> State {
        match byte {
            b':' => State::Port,
            b' ' => {
                self.target = (here, here);
                State::AfterTarget
            }
            _ => self.path(here),
        }
    }

    fn path(&mut self, here: usize) -> State {
        self.target = (here, here);
        State::Target
    }

    /// From behind the target to the LF; true when that is reached.
    fn tail(&mut self, byte: u8, here: usize) -> Result<bool, HeadError> {
        const PROTOCOL: &[u8] = b"HTTP/";
        self.state = match (self.state, byte) {
            (State::AfterTarget, b' ') => State::AfterTarget,
            (State::AfterTarget, b'H') => State::Protocol(1),
            (State::AfterTarget, b'\r' | b'\n') => return Err(HeadError::Http09),
            (State::Protocol(seen), byte) if PROTOCOL.get(usize::from(seen)) == Some(&byte) => match seen {
                4 => State::FirstMajor,
                _ => State::Protocol(seen + 1),
            },
            (State::FirstMajor, b'1'..=b'9') | (State::Major, b'0'..=b'9') => {
                self.major = self.major * 10 + u16::from(byte - b'0');
                if self.major > 1 {
                    return Err(HeadError::InvalidVersion);
                }
                State::Major
            }
            (State::Major, b'.') => State::FirstMinor,
            (State::FirstMinor, b'0'..=b'9') => {
                self.minor = u16::from(byte - b'0');
                State::Minor
            }
            (State::Minor, b'0'..=b'9') if self.minor <= 99 => {
                self.minor = self.minor * 10 + u16::from(byte - b'0');
                State::Minor
            }
            (State::Minor | State::AfterVersion, b' ') => State::AfterVersion,
            (State::Minor | State::AfterVersion, b'\r') => {
                self.end = here;
                State::AlmostDone
            }
            (State::AlmostDone, b'\n') => return Ok(true),
            _ => return Err(HeadError::InvalidRequest),
        };
        Ok(false)
    }
}

/// Bytes of an address in brackets: unreserved, sub-delims and `:` (RFC 3986 3.2.2).
fn in_literal(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b":-._~!$&'()*+,;=".contains(&byte)
}
