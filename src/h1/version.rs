//! Which version of HTTP does a message speak? Ordered; as nginx, every HTTP/1.x beyond 1.1 is taken for 1.1.

use std::fmt;

/// A version as nginx counts it: major · 1000 + minor.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(pub u16);

impl Version {
    /// HTTP/1.0.
    pub const HTTP_10: Version = Version(1000);
    /// HTTP/1.1.
    pub const HTTP_11: Version = Version(1001);
    /// HTTP/2.
    pub const HTTP_2: Version = Version(2000);

    /// The major number.
    pub const fn major(self) -> u16 {
        self.0 / 1000
    }

    /// The minor number.
    pub const fn minor(self) -> u16 {
        self.0 % 1000
    }
}

/// As `$server_protocol` shows it: `HTTP/1.1`.
impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Version::HTTP_10 => f.write_str("HTTP/1.0"),
            Version::HTTP_11 => f.write_str("HTTP/1.1"),
            other => write!(f, "HTTP/{}.{}", other.major(), other.minor()),
        }
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
