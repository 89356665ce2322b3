//! What happens to certificates because somebody says so now: `renew`, `revoke`, `pause`, `resume`, `account rollover`.
//! Asks the running semper, then follows what it does, line by line.

use std::collections::HashMap;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use crate::acme::Reason;
use crate::node::admin::{self, Progress, Question, Rehearsed};
use crate::node::explain::second;

use super::ask::{self, FAILED, REFUSED};

/// How often it is looked how things stand.
const LOOK: Duration = Duration::from_millis(200);
/// An attempt that was asked for begins within this time.
const BEGINS: Duration = Duration::from_secs(15);
/// The longest that anything is followed here; it goes on in the server all the same.
const PATIENCE: Duration = Duration::from_secs(3600);

/// How the commands of this page speak.
#[derive(Clone, Copy, Debug)]
pub struct Manner {
    /// For programs: one JSON document at the end.
    pub json: bool,
    /// Return as soon as it has begun.
    pub no_wait: bool,
}

/// `semper renew NAME …` and `semper renew --all-due`.
pub fn renew(state: &Path, names: &[String], manner: Manner) -> ExitCode {
    match ask::ask::<Vec<Progress>>(state, &Question::Renew(names.to_vec())) {
        Ok(begun) if begun.is_empty() && !manner.json => {
            println!("nothing is due");
            ExitCode::SUCCESS
        }
        Ok(begun) => follow(state, begun, manner, "renewed"),
        Err(code) => code.into(),
    }
}

/// `semper revoke NAME`.
pub fn revoke(state: &Path, name: &str, reason: Reason, manner: Manner) -> ExitCode {
    match ask::ask::<Vec<Progress>>(state, &Question::Revoke(name.to_owned(), reason)) {
        Ok(begun) => follow(state, begun, manner, "replaced"),
        Err(code) => code.into(),
    }
}

/// `semper pause NAME` and `semper resume NAME`.
pub fn pause(state: &Path, name: &str, pause: bool, json: bool) -> ExitCode {
    match ask::ask::<Vec<Vec<String>>>(state, &Question::Pause(name.to_owned(), pause)) {
        Ok(names) if json => {
            ask::print(&names);
            ExitCode::SUCCESS
        }
        Ok(names) => {
            for names in names {
                let names = names.join(" ");
                match pause {
                    true => println!("{names}: paused; it is not renewed until `semper resume {name}`, and may expire"),
                    false => println!("{names}: looked after again"),
                }
            }
            ExitCode::SUCCESS
        }
        Err(code) => code.into(),
    }
}

/// `semper renew --dry-run`, `semper account rollover`: lines until the end, good only if each is.
pub fn lines(state: &Path, question: &Question, json: bool) -> ExitCode {
    let lines = match admin::ask::<Rehearsed>(state, question) {
        Ok(lines) => lines,
        Err(error) => return ask::nobody(state, &error).into(),
    };
    let (mut all, mut good) = (Vec::new(), true);
    for line in lines {
        let line = match line {
            Ok(line) => line,
            Err(words) => {
                eprintln!("semper: {words}");
                return REFUSED.into();
            }
        };
        good &= line.good != Some(false);
        match (json, line.good) {
            (_, None) if line.words.is_empty() => {}
            (true, None) => {}
            (true, Some(_)) => all.push(line),
            (false, None) => println!("{}: {}", line.name, line.words),
            (false, Some(true)) => println!("{}: good: {}", line.name, line.words),
            (false, Some(false)) => println!("{}: FAILED: {}", line.name, line.words),
        }
    }
    if json {
        ask::print(&all);
    }
    if good { ExitCode::SUCCESS } else { FAILED.into() }
}

/// How one certificate ended that was followed.
enum End {
    Done,
    Failed,
}

/// Says every step of what was begun, until each has ended.
fn follow(state: &Path, begun: Vec<Progress>, manner: Manner, done: &str) -> ExitCode {
    if manner.no_wait {
        return begun_only(&begun, manner);
    }
    let ids: Vec<String> = begun.iter().map(|one| one.id.clone()).collect();
    let (started, mut said, mut ends) = (Instant::now(), HashMap::new(), HashMap::new());
    let mut last = begun.clone();
    while ends.len() < begun.len() && started.elapsed() < PATIENCE {
        std::thread::sleep(LOOK);
        last = match ask::ask(state, &Question::Progress(ids.clone())) {
            Ok(list) => list,
            Err(code) => return code.into(),
        };
        for before in &begun {
            let now = last.iter().find(|one| one.id == before.id);
            let (words, end) = match now {
                None => ("it is no longer configured".to_owned(), Some(End::Failed)),
                Some(now) => judge(before, now, started.elapsed(), done),
            };
            if ends.contains_key(&before.id) {
                continue;
            }
            if !manner.json && !words.is_empty() && said.get(&before.id) != Some(&words) {
                println!("{}: {words}", before.names.join(" "));
            }
            said.insert(before.id.clone(), words);
            if let Some(end) = end {
                ends.insert(before.id.clone(), end);
            }
        }
    }
    if manner.json {
        ask::print(&last);
    }
    let failed = ends.len() < begun.len() || ends.values().any(|end| matches!(end, End::Failed));
    if failed { FAILED.into() } else { ExitCode::SUCCESS }
}

fn begun_only(begun: &[Progress], manner: Manner) -> ExitCode {
    if manner.json {
        ask::print(&begun);
    } else {
        begun.iter().for_each(|one| println!("{}: begun; see `semper status`", one.names.join(" ")));
    }
    ExitCode::SUCCESS
}

/// What there is to say about one certificate, and whether it has ended.
fn judge(before: &Progress, now: &Progress, elapsed: Duration, done: &str) -> (String, Option<End>) {
    if now.epoch > before.epoch {
        if let Some(words) = &now.revoking {
            return (format!("{done}; {words}"), None);
        }
        let until = now.not_after.map_or(String::new(), |at| format!(", in force until {}", second(at)));
        let revoked = if before.revoking.is_some() { ", and the old one is revoked" } else { "" };
        return (format!("{done}: generation {}{until}{revoked}", now.epoch.unwrap_or_default()), Some(End::Done));
    }
    if now.ordering {
        let step = now.step.as_deref().unwrap_or("begins");
        return (format!("attempt {}: {step}", now.attempts), None);
    }
    let serves = match now.not_after {
        Some(at) => format!("the present certificate is in force until {}", second(at)),
        None => "no certificate is held".to_owned(),
    };
    if now.attempts > before.attempts || before.ordering {
        let why = now.trouble.as_deref().unwrap_or("it ended without a word");
        return (format!("FAILED: {why}; {serves}; next attempt {}", second(now.next)), Some(End::Failed));
    }
    if elapsed > BEGINS {
        return (
            format!("FAILED: no attempt has begun; {serves}; the next is {}", second(now.next)),
            Some(End::Failed),
        );
    }
    (String::new(), None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::UnixTime;

    fn progress(epoch: u64, attempts: u64, ordering: bool) -> Progress {
        Progress {
            id: "a~0".into(),
            names: vec!["a".into()],
            issuer: "i".into(),
            epoch: Some(epoch),
            not_after: Some(UnixTime(0)),
            attempts,
            ordering,
            step: None,
            trouble: Some("refused".into()),
            next: UnixTime(0),
            paused: false,
            revoking: None,
        }
    }

    #[test]
    fn a_renewal_ends_with_another_generation_or_with_a_failed_attempt() {
        let before = progress(1, 4, false);
        let end = |now: Progress| judge(&before, &now, Duration::ZERO, "renewed");
        assert!(end(progress(1, 4, false)).1.is_none(), "it has not begun");
        assert!(end(progress(1, 5, true)).1.is_none());
        assert!(matches!(end(progress(2, 0, false)).1, Some(End::Done)));
        let (words, failed) = end(progress(1, 5, false));
        assert!(matches!(failed, Some(End::Failed)) && words.contains("FAILED: refused"), "{words}");
        let late = judge(&before, &progress(1, 4, false), BEGINS * 2, "renewed");
        assert!(matches!(late.1, Some(End::Failed)));
    }

    #[test]
    fn a_revocation_ends_only_when_the_authority_has_heard_it() {
        let before = Progress { revoking: Some("soon".into()), ..progress(1, 4, false) };
        let waiting = Progress { revoking: Some("not yet".into()), ..progress(2, 0, false) };
        assert!(judge(&before, &waiting, Duration::ZERO, "replaced").1.is_none());
        let (words, end) = judge(&before, &progress(2, 0, false), Duration::ZERO, "replaced");
        assert!(matches!(end, Some(End::Done)) && words.contains("the old one is revoked"), "{words}");
    }
}
