//! How is it all wired: master and server process, worker threads, signals, reload, drain? The only room with the
//! real clock and the real dice.

pub mod admin;
pub mod books;
mod borrowed;
pub mod challenge_listener;
pub mod channel;
pub mod child;
pub mod clock;
pub mod control;
pub mod errand;
pub mod errorlog;
pub mod heap;
pub mod keeper;
pub mod keepers;
pub mod layout;
pub mod load;
pub mod master;
pub mod named;
pub mod orders;
pub mod pidfile;
pub mod quick;
pub mod rights;
pub mod secrets;
pub mod servant;
pub mod server;
pub mod signals;
pub mod sockets;
pub mod start;
pub mod status;
pub mod tape;
pub mod upgrade;
pub mod watched;
pub mod worker;
pub mod world;
