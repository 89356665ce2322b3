//! What does the running semper say? The questions of all commands go through here, over its admin socket, and so do the
//! exit codes: 0 done, 1 tried and failed, 2 refused (no such name, or not now), 3 nobody answers.

use std::path::Path;
use std::process::ExitCode;

use serde::de::DeserializeOwned;

use crate::node::admin::{self, Question, Unanswered};
use crate::node::status::Status;

/// It was tried, and failed.
pub const FAILED: u8 = 1;
/// The running semper will not, and said why.
pub const REFUSED: u8 = 2;
/// No running semper answers.
pub const NOBODY: u8 = 3;

/// `semper status`.
pub fn status(state: &Path, json: bool) -> ExitCode {
    match ask::<serde_json::Value>(state, &Question::Status) {
        Err(code) => code.into(),
        Ok(answer) if json => {
            println!("{answer}");
            ExitCode::SUCCESS
        }
        Ok(answer) => match serde_json::from_value::<Status>(answer) {
            Ok(status) => {
                print!("{}", status.text());
                ExitCode::SUCCESS
            }
            Err(error) => {
                eprintln!("semper: the running semper is of another version ({error}); try --json");
                ExitCode::FAILURE
            }
        },
    }
}

/// The one line of an answer, or the exit code after saying what stands in the way.
pub fn ask<T: DeserializeOwned>(state: &Path, question: &Question) -> Result<T, u8> {
    admin::ask_once(state, question).map_err(|error| match error {
        Unanswered::Nobody(error) => nobody(state, &error),
        Unanswered::Refused(words) => {
            eprintln!("semper: {words}");
            REFUSED
        }
    })
}

/// Says that nobody answers.
pub fn nobody(state: &Path, error: &std::io::Error) -> u8 {
    eprintln!("semper: nobody answers at {}: {error}", admin::path(state).display());
    NOBODY
}

/// Prints what programs read.
pub fn print(value: &impl serde::Serialize) {
    match serde_json::to_string_pretty(value) {
        Ok(text) => println!("{text}"),
        Err(error) => eprintln!("semper: {error}"),
    }
}
