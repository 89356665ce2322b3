//! How do nodes of a fleet reach each other? Links over TLS 1.3 with raw public keys (RFC 7250): whoever does not hold the
//! fleet key fails in the handshake, and nothing on a link can expire. Inside it each side proves which node it is.
//! Carries messages as bytes and reports who is there; knows nothing of what they mean.

mod call;
mod frame;
mod hello;
mod identity;
mod link;
mod links;
mod table;
mod tls;

pub use frame::{LARGEST, Parser, TooLong};
pub use hello::{Hello, Refusal};
pub use identity::{NodeId, NodeKey, NotANodeKey};
pub use links::{Call, Event, Links, Settings, Standing, Unsent};
pub use tls::Keys;
