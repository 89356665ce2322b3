//! Where in a configuration was something said? Used in complaints, logs and `explain`.

use std::fmt;
use std::sync::Arc;

/// A file and a line of it, shown as nginx shows it: `FILE:LINE`. Line 0 means "in command line" or "built in".
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// The path as the configuration named it.
    pub file: Arc<str>,
    /// One-based; the line on which the directive ended.
    pub line: u32,
}

impl Place {
    /// A place for things that no file mentions (defaults, quick start, tests).
    pub fn built_in() -> Place {
        Place { file: Arc::from("built in"), line: 0 }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line == 0 { f.write_str(&self.file) } else { write!(f, "{}:{}", self.file, self.line) }
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
