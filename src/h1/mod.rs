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
//! nginx 1.28 (a message may be accepted only if nginx accepts it), with two places where we are stricter, because
//! they are open doors for request smuggling: a CR that no LF follows is refused everywhere, and a request's chunks must
//! be framed by CRLF with bounded extensions and trailers.

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
pub use write::{Unsendable, reason, write_field, write_fields, write_request_line, write_status_line};
