//! What did the person on the command line ask for? nginx's own flags and semper's commands; no work is done here,
//! only called.

pub mod migrate;
pub mod options;
pub mod version;
