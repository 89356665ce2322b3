//! Directives that are accepted or refused without being honoured: their arguments are checked all the same, so that what
//! nginx refuses is refused with nginx's words.

use crate::conf::complaint::Complaint;
use crate::conf::settings::directive_is;
use crate::conf::tree::Directive;
use crate::conf::value;

/// How the value of a `name=value` parameter is read.
#[derive(Clone, Copy)]
enum Kind {
    Number,
    Positive,
    Milliseconds,
    Seconds,
    Offset,
    /// `NAME:SIZE` with at least so many bytes.
    Zone(u64),
    Levels,
    OnOff,
}

/// `name=`, how its value is read, and nginx's words for a wrong one; `%` stands for the whole argument.
type Parameter = (&'static str, Kind, &'static str);

const PAGE: u64 = 4096;

const OPEN_FILE_CACHE: [Parameter; 2] = [
    ("max", Kind::Positive, "invalid \"open_file_cache\" parameter \"%\""),
    ("inactive", Kind::Seconds, "invalid \"open_file_cache\" parameter \"%\""),
];

const CACHE_PATH: [Parameter; 12] = [
    ("levels", Kind::Levels, "invalid \"levels\" \"%\""),
    ("use_temp_path", Kind::OnOff, "invalid use_temp_path value \"%\", it must be \"on\" or \"off\""),
    ("keys_zone", Kind::Zone(2 * PAGE), "invalid keys zone size \"%\""),
    ("inactive", Kind::Seconds, "invalid inactive value \"%\""),
    ("max_size", Kind::Offset, "invalid max_size value \"%\""),
    ("min_free", Kind::Offset, "invalid min_free value \"%\""),
    ("loader_files", Kind::Number, "invalid loader_files value \"%\""),
    ("loader_sleep", Kind::Milliseconds, "invalid loader_sleep value \"%\""),
    ("loader_threshold", Kind::Milliseconds, "invalid loader_threshold value \"%\""),
    ("manager_files", Kind::Number, "invalid manager_files value \"%\""),
    ("manager_sleep", Kind::Milliseconds, "invalid manager_sleep value \"%\""),
    ("manager_threshold", Kind::Milliseconds, "invalid manager_threshold value \"%\""),
];

/// Checks a directive that is not honoured; most have no rules beyond their type.
///
/// # Errors
/// nginx's words.
pub fn check(directive: &Directive) -> Result<(), Complaint> {
    let name = &*directive.name;
    match name {
        "aio" if !aio(&directive.args[0]) => Err(directive_is(directive, "invalid value")),
        "directio" if &*directive.args[0] != "off" && value::offset(&directive.args[0]).is_none() => {
            Err(directive_is(directive, "invalid value"))
        }
        "open_file_cache" => {
            parameters(directive, 0, &OPEN_FILE_CACHE, &["off"])?;
            let off = directive.args.iter().any(|text| &**text == "off");
            let max = off || directive.args.iter().any(|text| text.starts_with("max="));
            require(max, "\"open_file_cache\" must have the \"max\" parameter", directive)
        }
        "proxy_cache_path" | "fastcgi_cache_path" | "uwsgi_cache_path" | "scgi_cache_path" => {
            parameters(directive, 1, &CACHE_PATH, &[])?;
            let zone = directive.args.iter().any(|text| text.starts_with("keys_zone="));
            require(zone, &format!("\"{name}\" must have \"keys_zone\" parameter"), directive)
        }
        "proxy_cache_valid" | "fastcgi_cache_valid" | "uwsgi_cache_valid" | "scgi_cache_valid" => valid(directive),
        _ => Ok(()),
    }
}

fn require(given: bool, text: &str, directive: &Directive) -> Result<(), Complaint> {
    if given { Ok(()) } else { Err(Complaint::emerg(text, &directive.place)) }
}

fn aio(text: &str) -> bool {
    ["on", "off", "threads"].contains(&text) || text.starts_with("threads=")
}

fn parameters(directive: &Directive, skip: usize, rules: &[Parameter], words: &[&str]) -> Result<(), Complaint> {
    for text in directive.args.iter().skip(skip).filter(|text| !words.contains(&&***text)) {
        let emerg = |message: &str| Err(Complaint::emerg(message.replace('%', text), &directive.place));
        let rule = text.split_once('=').and_then(|(name, value)| {
            let (_, kind, message) = rules.iter().find(|(known, _, _)| *known == name)?;
            Some((*kind, *message, value))
        });
        let Some((kind, message, value)) = rule else {
            let first = rules.first().filter(|(_, _, message)| message.contains("parameter"));
            return emerg(first.map_or("invalid parameter \"%\"", |(_, _, message)| *message));
        };
        if !is_good(kind, value) {
            return emerg(message);
        }
        if let (Kind::Zone(least), Some((_, size))) = (kind, value.split_once(':'))
            && value::size(size).is_some_and(|size| size < least)
        {
            return emerg(if text.starts_with("keys_") {
                "keys zone \"%\" is too small"
            } else {
                "zone \"%\" is too small"
            });
        }
    }
    Ok(())
}

fn is_good(kind: Kind, text: &str) -> bool {
    match kind {
        Kind::Number => value::number(text).is_some(),
        Kind::Positive => value::number(text).is_some_and(|number| number > 0),
        Kind::Milliseconds => value::milliseconds(text).is_some(),
        Kind::Seconds => value::seconds(text).is_some(),
        Kind::Offset => value::offset(text).is_some(),
        Kind::Zone(_) => text.split_once(':').is_some_and(|(_, size)| value::size(size).is_some()),
        Kind::Levels => {
            let levels: Vec<&str> = text.split(':').collect();
            levels.len() <= 3 && levels.iter().all(|level| ["1", "2"].contains(level))
        }
        Kind::OnOff => text == "on" || text == "off",
    }
}

fn valid(directive: &Directive) -> Result<(), Complaint> {
    let Some((time, statuses)) = directive.args.split_last() else { return Ok(()) };
    if value::seconds(time).is_none() {
        return Err(Complaint::emerg(format!("invalid time value \"{time}\""), &directive.place));
    }
    let good = |text: &&str| *text == "any" || value::number(text).is_some_and(|status| (100..=599).contains(&status));
    match statuses.iter().map(AsRef::as_ref).find(|text| !good(text)) {
        Some(text) => Err(Complaint::emerg(format!("invalid status \"{text}\""), &directive.place)),
        None => Ok(()),
    }
}
