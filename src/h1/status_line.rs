//! What does an upstream's status line say? As lenient as nginx: any HTTP/x.y, several spaces, no reason, `403.1`.

use super::error::ResponseError;
use super::version::Version;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Letters of `HTTP/` already seen.
    Protocol(u8),
    FirstMajor,
    Major,
    FirstMinor,
    Minor,
    Status,
    AfterStatus,
    Reason,
    AlmostDone,
}

/// Where the parts of the line are.
#[derive(Clone, Copy, Debug)]
pub(super) struct StatusLine {
    state: State,
    major: u16,
    minor: u16,
    digits: u8,
    pub(super) status: u16,
    /// Where the reason phrase is.
    pub(super) reason: (usize, usize),
}

impl StatusLine {
    pub(super) fn new() -> StatusLine {
        StatusLine { state: State::Protocol(0), major: 0, minor: 0, digits: 0, status: 0, reason: (0, 0) }
    }

    pub(super) fn version(&self) -> Version {
        Version(self.major.min(64) * 1000 + self.minor)
    }

    /// Looks at `buf[*at..]`; true when the line is whole, `*at` is then behind its LF.
    pub(super) fn step(&mut self, buf: &[u8], at: &mut usize) -> Result<bool, ResponseError> {
        const PROTOCOL: &[u8] = b"HTTP/";
        while let Some(&byte) = buf.get(*at) {
            let here = *at;
            *at += 1;
            self.state = match (self.state, byte) {
                (State::Protocol(seen), byte) if PROTOCOL.get(usize::from(seen)) == Some(&byte) => match seen {
                    4 => State::FirstMajor,
                    _ => State::Protocol(seen + 1),
                },
                (State::FirstMajor, b'1'..=b'9') => {
                    self.major = u16::from(byte - b'0');
                    State::Major
                }
                (State::Major, b'.') => State::FirstMinor,
                (State::Major, b'0'..=b'9') if self.major <= 99 => {
                    self.major = self.major * 10 + u16::from(byte - b'0');
                    State::Major
                }
                (State::FirstMinor, b'0'..=b'9') => {
                    self.minor = u16::from(byte - b'0');
                    State::Minor
                }
                (State::Minor, b'0'..=b'9') if self.minor <= 99 => {
                    self.minor = self.minor * 10 + u16::from(byte - b'0');
                    State::Minor
                }
                (State::Minor | State::Status, b' ') => State::Status,
                (State::Status, b'0'..=b'9') => {
                    self.status = self.status * 10 + u16::from(byte - b'0');
                    self.digits += 1;
                    if self.digits == 3 { State::AfterStatus } else { State::Status }
                }
                (State::AfterStatus, b' ' | b'.') => {
                    self.reason = (here + 1, here + 1);
                    State::Reason
                }
                (State::AfterStatus, b'\r') => State::AlmostDone,
                (State::AfterStatus, b'\n') => return Ok(true),
                (State::Reason, b'\r') => {
                    self.reason.1 = here;
                    State::AlmostDone
                }
                (State::Reason, b'\n') => {
                    self.reason.1 = here;
                    return Ok(true);
                }
                (State::Reason, _) => State::Reason,
                (State::AlmostDone, b'\n') => return Ok(true),
                _ => return Err(ResponseError::NoStatusLine),
            };
        }
        Ok(false)
    }
}
