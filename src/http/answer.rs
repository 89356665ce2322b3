//! What does a content handler hand over? An answer before the response filters, or a reason why there is none.

use super::message::{Body, Tunnel};
use crate::words::Fields;
use bytes::Bytes;

/// An answer before the response filters. The fields that nginx keeps apart stand apart: they are sent first, in its
/// order (Server, Date, Content-Type, Content-Length, Last-Modified, Location), whatever the handler's order was.
#[derive(Default)]
pub struct Answer {
    /// 100 to 999.
    pub status: u16,
    /// The reason phrase of an upstream.
    pub reason: Option<Bytes>,
    /// `Server`, if an upstream's is passed on.
    pub server: Option<Bytes>,
    /// `Date`, if an upstream's is passed on.
    pub date: Option<Bytes>,
    /// `Content-Type`.
    pub content_type: Option<Bytes>,
    /// `Content-Length`; `None`: not known.
    pub content_length: Option<u64>,
    /// When the content was changed, seconds since 1970: for `If-Modified-Since`, `If-Range`, `expires modified`.
    /// A `Last-Modified` is made from it unless one stands in `fields`.
    pub last_modified: Option<i64>,
    /// `Location`. One that begins with `/` is made absolute (`absolute_redirect`); others are sent as they are.
    pub location: Option<Bytes>,
    /// All other fields in order, ETag included.
    pub fields: Fields,
    /// The body.
    pub body: Body,
    /// Ranges may be cut out of the body (static files; upstream answers with `Accept-Ranges` or force_ranges).
    pub ranges: bool,
    /// An upstream made it and has looked at the client's conditions itself: `If-Modified-Since` and its kin go no further.
    pub forwarded: bool,
    /// Made by the page of an error or redirect: `error_page`s had their turn.
    pub special: bool,
    /// `Vary: Accept-Encoding` is sent (`gzip_vary`).
    pub vary: bool,
    /// No field of the configuration is added (answers to certificate authorities).
    pub bare: bool,
    /// With 101: takes the connection over.
    pub tunnel: Option<Box<dyn Tunnel>>,
    /// Close the connection after this.
    pub close: bool,
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Answer").field("status", &self.status).field("fields", &self.fields).finish_non_exhaustive()
    }
}

/// Why there is no answer yet, and what comes instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Turn {
    /// The page of this status, unless an `error_page` says otherwise. 444: nothing is sent. 499: the client has gone.
    Status(u16),
    /// A redirect: status and `Location`.
    Redirect(u16, Bytes),
    /// An internal redirect (X-Accel-Redirect, index, try_files): path and arguments.
    Internal(Bytes, Bytes),
    /// To a named location, with its `@`.
    Named(Bytes),
}
