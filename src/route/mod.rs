//! Which server, which location, which URI, which value has a variable? Pure: a request's words in, a decision out.
//! No I/O, no clock.

pub mod access;
pub mod conditional;
pub mod date;
pub mod escape;
pub mod expires;
pub mod geo;
pub mod gzip;
pub mod locations;
pub mod map;
pub mod names;
pub mod query;
pub mod ranges;
pub mod referer;
pub mod script;
pub mod uri;
pub mod values;
