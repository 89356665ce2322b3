//! Which server, which location, which URI, which value has a variable? Pure: a request's words in, a decision out.
//! No I/O, no clock.

pub mod names;
