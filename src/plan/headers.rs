//! Which headers are added to answers? (add_header, expires, server_tokens.)

use super::template::Template;
use std::time::Duration;

/// Headers of a location's answers.
#[derive(Clone, Debug, Default)]
pub struct Headers {
    /// `add_header`, in order.
    pub add: Box<[AddHeader]>,
    /// `add_trailer`, in order.
    pub trailers: Box<[AddHeader]>,
    /// `expires`.
    pub expires: Expires,
    /// `server_tokens`. Default on.
    pub server_tokens: ServerTokens,
}

/// `add_header`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddHeader {
    /// The field's name.
    pub name: Box<str>,
    /// Its value; a field with an empty value is not sent.
    pub value: Template,
    /// `always`: whatever the status. Else only 200 201 204 206 301 302 303 304 307 308.
    pub always: bool,
}

/// `expires`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Expires {
    /// `off`: nothing is touched.
    #[default]
    Off,
    /// `epoch`: 1 January 1970 and `no-cache`.
    Epoch,
    /// `max`: 31 December 2037 and ten years.
    Max,
    /// From now; negative seconds mean `no-cache`.
    Access(i64),
    /// `modified …`: from the file's modification, seconds.
    Modified(i64),
    /// `@15h30m`: the next such time of day, UTC offset of the machine.
    Daily(Duration),
    /// A text with variables, read at run time.
    Template {
        /// `modified` stood in front.
        modified: bool,
        /// The text.
        value: Template,
    },
}

/// `server_tokens`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ServerTokens {
    /// Name and version.
    #[default]
    On,
    /// The name alone.
    Off,
    /// Name, version and build.
    Build,
}
