//! Where do log lines go? Files that every worker appends to and that USR1 opens again, stderr, syslog. A line is one
//! write, and on disk before the writer returns unless `buffer=` says otherwise. Knows no request.

pub mod error;
pub mod file;
pub mod syslog;
pub mod writer;

pub use error::ErrorLog;
pub use file::{LogFile, LogFiles};
pub use writer::{Writer, Writers};
