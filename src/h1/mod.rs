//! How is HTTP/1 read and written, both ways, without any I/O? Bytes in → heads and body pieces out.
//! No sockets, no clocks, no policy of servers or locations: `http/conn` drives it for clients, `http` for upstreams.
//!
//! | question | answer |
//! |---|---|
//! | is this request head whole, and what does it say? | [`RequestParser`] → [`RequestHead`] or [`Malformed`] |
//! | and this upstream's response head? | [`ResponseParser`] → [`ResponseHead`] or [`ResponseError`] |
//! | where does the body end? | [`BodyLength`], [`BodyDecoder`] |
//! | how is a message put on the wire? | [`write_status_line`], [`write_request_line`], [`write_fields`], [`chunk_size_line`] |
//!
//! Both parsers keep their place: however slowly a peer sends, no byte is looked at twice. Their rules are those of
//! nginx 1.28: nothing is taken from a client that nginx refuses. Where nginx is lax with clients and others are not, we
//! are strict, because requests are smuggled through such differences: a line ends in CRLF, never in LF or CR alone; a
//! chunk likewise, and its extensions and trailers are bounded; HTTP/0.9 is refused. Upstreams are read as nginx does.

mod body;
mod chunked;
mod error;
mod field;
mod framing;
mod fuzz;
mod host;
mod line;
mod request;
mod response;
mod room;
mod status_line;
mod version;
mod write;

pub use body::{BodyDecoder, BodyError, BodyLength, BodyPiece};
pub use chunked::{ChunkRules, LAST_CHUNK, chunk_size_line};
pub use error::{HeadError, Malformed, ResponseError};
pub use fuzz::fuzz;
pub use host::validate_host;
pub use request::{RequestHead, RequestParser};
pub use response::{ResponseHead, ResponseParser};
pub use room::HeadRules;
pub use version::Version;
pub use write::{Unsendable, reason, write_decimal, write_field, write_fields, write_request_line, write_status_line};
