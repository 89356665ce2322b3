//! What do `rewrite`, `if`, `set`, `return` and `break` say, in order? `route` runs it; nothing here does.

use super::location::Location;
use super::pattern::Pattern;
use super::template::Template;
use std::sync::Arc;

/// The directives of ngx_http_rewrite_module of one level, in order.
pub type Script = Box<[Op]>;

/// One step of a [`Script`].
#[derive(Clone, Debug)]
pub enum Op {
    /// `set $variable value`.
    Set {
        /// Index into `Http::variables`.
        variable: usize,
        /// The new value.
        value: Template,
    },
    /// `rewrite regex replacement [flag]`.
    Rewrite(Rewrite),
    /// `if (condition) { … }`.
    If {
        /// When the body counts.
        condition: Condition,
        /// The body's own rewrite directives.
        script: Script,
        /// The pseudo-location whose settings and handler hold from then on; `None` in a `server`-level `if`
        /// that has rewrite directives only.
        becomes: Option<Arc<Location>>,
    },
    /// `return code [text]`, `return code URL`, `return URL`.
    Return(Return),
    /// `break`.
    Break,
}

/// `rewrite`.
#[derive(Clone, Debug)]
pub struct Rewrite {
    /// Matched against the normalized URI.
    pub pattern: Pattern,
    /// Named groups: (group, index into `Http::variables`).
    pub names: Box<[(usize, usize)]>,
    /// What the URI becomes; without the trailing `?`.
    pub replacement: Template,
    /// A trailing `?` was there: the request's arguments are not appended.
    pub drop_args: bool,
    /// What happens next.
    pub then: Then,
}

/// The flag of a `rewrite`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// Go on with the next directive (no flag).
    Continue,
    /// `last`: stop this script and look for a location again.
    Last,
    /// `break`: stop this script and stay here.
    Break,
    /// `redirect`, or a replacement that begins with `http://`, `https://` or `$scheme`: answer 302.
    Redirect,
    /// `permanent`: answer 301.
    Permanent,
}

/// `return`.
#[derive(Clone, Debug)]
pub struct Return {
    /// 0 to 999; 444 closes the connection without an answer.
    pub status: u16,
    /// The text of the body, or the URL of a redirect (301, 302, 303, 307, 308); `None`: the standard page of the status.
    pub text: Option<Template>,
}

/// The condition of an `if`.
#[derive(Clone, Debug)]
pub enum Condition {
    /// `$variable`: neither empty nor `0`.
    True(Template),
    /// `$variable = text`.
    Equal(Template, Template),
    /// `$variable != text`.
    NotEqual(Template, Template),
    /// `$variable ~ regex` and its kin.
    Match {
        /// What is looked at.
        subject: Template,
        /// What it is compared with.
        pattern: Pattern,
        /// Named groups: (group, index into `Http::variables`).
        names: Box<[(usize, usize)]>,
        /// `!~`, `!~*`.
        negated: bool,
    },
    /// `-f`, `-d`, `-e`, `-x` and their negations.
    File {
        /// What is asked.
        test: FileTest,
        /// The path.
        path: Template,
        /// `!-f`…
        negated: bool,
    },
}

/// What a file condition asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileTest {
    /// `-f`: is a regular file.
    File,
    /// `-d`: is a directory.
    Directory,
    /// `-e`: exists.
    Exists,
    /// `-x`: is executable.
    Executable,
}
