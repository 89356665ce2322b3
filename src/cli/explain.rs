//! Why is it as it is with this name, and what would happen if …? `explain` and `rehearse`, of the running semper; without
//! one, what the configuration alone says.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use crate::cert::rehearse::Scenario;
use crate::node::admin::{self, Question, Unanswered};
use crate::node::control::serves;
use crate::node::explain::{Explained, Timeline, second};
use crate::node::layout::Layout;
use crate::node::load::{Broken, Loaded, Wish};
use crate::node::snippet::Program;
use crate::node::world::OfflineWorld;

use super::ask::{self, REFUSED};
use super::look::say;

/// What `explain` shall print.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// For people.
    Text,
    /// For programs.
    Json,
    /// Lines for nodes that run another program.
    Snippet(Program),
}

/// `semper explain NAME`.
pub fn explain(name: &str, layout: Layout, state: &Path, form: Form) -> ExitCode {
    let explained = match admin::ask_once::<Explained>(state, &Question::Explain(name.to_ascii_lowercase())) {
        Ok(explained) => explained,
        Err(Unanswered::Nobody(error)) if form == Form::Text => {
            let code = by_configuration(name, layout);
            println!("no running semper answers at {}: {error}", admin::path(state).display());
            return code;
        }
        Err(Unanswered::Nobody(error)) => return ask::nobody(state, &error).into(),
        Err(Unanswered::Refused(words)) => {
            eprintln!("semper: {words}");
            return REFUSED.into();
        }
    };
    match form {
        Form::Json => ask::print(&explained),
        Form::Text => {
            print!("{}", explained.text());
            for record in explained.kept.iter().filter_map(|kept| kept.persistent_record()) {
                println!("\nif the authority knows dns-persist-01, this record lets it issue for good:\n{record}");
            }
        }
        Form::Snippet(program) => match explained.snippet(program) {
            Some(lines) => print!("{lines}"),
            None => {
                eprintln!("semper: no ACME account answers for {name} here");
                return REFUSED.into();
            }
        },
    }
    ExitCode::SUCCESS
}

/// What can be said without a running semper.
fn by_configuration(name: &str, layout: Layout) -> ExitCode {
    let conf = layout.conf.display().to_string();
    let wish = Wish::Conf { layout, directives: None, offline: true };
    match wish.judge(&OfflineWorld) {
        Ok(Loaded { plan, .. }) => {
            let served = serves(&plan, name);
            if served.is_empty() {
                println!("{name}: no server of {conf} has a listener");
            }
            served.iter().for_each(|line| println!("{line}"));
            ExitCode::SUCCESS
        }
        Err(Broken { complaints, files }) => {
            say(&complaints, &files);
            println!("{conf}: refused");
            ExitCode::FAILURE
        }
    }
}

/// `semper rehearse NAME`.
pub fn rehearse(name: &str, state: &Path, scenario: Scenario, json: bool) -> ExitCode {
    match ask::ask::<Vec<Timeline>>(state, &Question::Rehearse(name.to_owned(), scenario)) {
        Err(code) => code.into(),
        Ok(lines) if json => {
            ask::print(&lines);
            ExitCode::SUCCESS
        }
        Ok(lines) => {
            for line in lines {
                println!("{} (a rehearsal: nothing is done)", line.names.join(" "));
                line.moments.iter().for_each(|moment| println!("  {}  {}", second(moment.at), moment.words));
            }
            ExitCode::SUCCESS
        }
    }
}

/// Reads `5d`, `36h`, `90m`, `45s`, or plain seconds.
///
/// # Errors
/// It is none of them.
pub fn duration(text: &str) -> Result<Duration, String> {
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(split);
    let size = match unit {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        "w" => 7 * 86_400,
        _ => return Err(format!("\"{text}\" is no time; write for example 5d, 36h or 90m")),
    };
    let count: u64 = digits.parse().map_err(|_| format!("\"{text}\" is no time; write for example 5d or 36h"))?;
    count.checked_mul(size).filter(|s| *s < 100 * 366 * 86_400).map(Duration::from_secs).ok_or("too long".to_owned())
}

/// Reads `+5d`, `-1h`, `90s`.
///
/// # Errors
/// It is no time.
pub fn jump(text: &str) -> Result<i64, String> {
    let (sign, rest) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    duration(rest).map(|time| sign * i64::try_from(time.as_secs()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_people_write_them() {
        assert_eq!(duration("5d"), Ok(Duration::from_secs(432_000)));
        assert_eq!((jump("-1h"), jump("+2m"), jump("7")), (Ok(-3600), Ok(120), Ok(7)));
        for bad in ["", "d", "5y", "-5d", "99999999999999999999d", "1000000d"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }
}
