//! How is HTTP served? Drivers of connections, phases of a request, content, filters, the access log.
//! Never names a runtime, a thread or a file of the configuration; nothing outside `http/` and `net/` names a hyper type.

pub mod answer;
pub mod client_certificate;
pub mod conn;
pub mod exchange;
pub mod forward;
pub mod message;
pub mod serve;
pub mod upstreamed;
mod variables;
