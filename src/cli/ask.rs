//! What does the running semper say? `status` and `renew`, over its admin socket.

use std::path::Path;
use std::process::ExitCode;

use crate::node::admin;
use crate::node::status::Status;

/// `semper status`.
pub fn status(state: &Path, json: bool) -> ExitCode {
    let Some(answer) = ask(state, "status") else { return ExitCode::FAILURE };
    if json {
        println!("{}", String::from_utf8_lossy(&answer));
        return ExitCode::SUCCESS;
    }
    match serde_json::from_slice::<Status>(&answer) {
        Ok(status) => {
            print!("{}", status.text());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("semper: the running semper is of another version ({error}); try --json");
            ExitCode::FAILURE
        }
    }
}

/// `semper renew NAME`.
pub fn renew(state: &Path, name: &str) -> ExitCode {
    let Some(answer) = ask(state, &format!("renew {name}")) else { return ExitCode::FAILURE };
    match serde_json::from_slice::<usize>(&answer) {
        Ok(count) if count > 0 => {
            println!("{count} certificate(s) of {name} are being renewed; see `semper status`");
            ExitCode::SUCCESS
        }
        _ => {
            eprintln!("semper: no certificate of {name} is obtained here");
            ExitCode::FAILURE
        }
    }
}

/// The answer, or what stands in the way.
pub fn ask(state: &Path, question: &str) -> Option<Vec<u8>> {
    admin::ask(state, question)
        .map_err(|error| {
            eprintln!("semper: nobody answers at {}: {error}", admin::path(state).display());
        })
        .ok()
}
