//! How is it all wired: master and server process, worker threads, signals, reload, drain? The only room with the
//! real clock and the real dice.

pub mod channel;
pub mod clock;
pub mod errand;
pub mod errorlog;
pub mod keeper;
pub mod keepers;
pub mod layout;
pub mod load;
pub mod orders;
pub mod quick;
pub mod rights;
pub mod secrets;
pub mod sockets;
pub mod tape;
pub mod world;
