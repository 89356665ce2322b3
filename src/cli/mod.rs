//! What did the person on the command line ask for? nginx's own flags and semper's commands; no work is done here,
//! only called.

pub mod ask;
pub mod ca;
pub mod certificates;
pub mod commands;
pub mod demo;
pub mod explain;
pub mod fleet;
pub mod import;
pub mod look;
pub mod migrate;
pub mod nginx;
pub mod options;
pub mod renew;
pub mod state;
pub mod version;

use std::process::ExitCode;

use crate::node::{child, servant, start};

/// Does what the command line `program` (name first) says; the exit code of the process.
pub fn run(program: Vec<String>) -> ExitCode {
    match program.get(1).map(String::as_str) {
        Some(servant::ARGUMENT) => child::run(),
        Some(start::DETACHED) => nginx::run(program[2..].to_vec(), true),
        Some(word) if !word.starts_with('-') && !is_nginx(&program[0]) => commands::run(&program),
        _ => nginx::run(program, false),
    }
}

/// Whether the program was called by nginx's name, and takes nothing that nginx does not.
fn is_nginx(program: &str) -> bool {
    program.rsplit('/').next() == Some("nginx")
}
