//! What could a human do about it, and why does the next thing happen when it does? Words for `semper explain`, from
//! facts alone; nothing follows from them.

use super::failure::Failure;
use super::stage::{Held, Stage};
use crate::clock::UnixTime;
use crate::plan::acme::ChallengeKind;
use crate::words::Identifier;

/// What somebody could do about a failure that keeps a certificate waiting; the most promising first.
pub fn advice(failure: &Failure) -> Vec<String> {
    let list = |names: &[Identifier]| match names.first() {
        Some(first) => first.to_string(),
        None => "the names".to_owned(),
    };
    match failure {
        Failure::Invalid { kind, names, .. } => of_validation(*kind, &list(names)),
        Failure::Refused { names, detail } if detail.contains("caa") || detail.contains("CAA") => {
            let name = list(names);
            vec![format!(
                "look at the CAA records of {name} and of its parents (`dig {name} CAA`): one must name this authority"
            )]
        }
        Failure::Refused { names, .. } => vec![format!(
            "the authority's own words say what it objects to in {}; if a name is wrong, take it out of the configuration",
            list(names)
        )],
        Failure::NotOffered { kind, names } => vec![format!(
            "{} cannot be shown by {}; allow another kind with `challenge` in the acme_issuer",
            list(names),
            kind.as_str()
        )],
        Failure::Limited { detail, .. } => {
            let mut list = vec!["wait: the attempt comes by itself when the authority allows it".to_owned()];
            if let Some(link) = detail.split_whitespace().find(|word| word.starts_with("https://")) {
                list.insert(0, format!("read {}", link.trim_end_matches(['.', ',', ')'])));
            }
            list.push("a second issuer has limits of its own".to_owned());
            list
        }
        Failure::Unreachable { .. } | Failure::Unfetched { .. } => vec![
            "see whether this machine reaches the authority (`curl -I` its directory): DNS, firewall, proxy".to_owned(),
            "see whether the authority reports an outage; it is tried again by itself".to_owned(),
        ],
        Failure::Account { .. } => {
            vec!["look at the acme_issuer: accept_terms_of_service, external_account_key, account_key".to_owned()]
        }
        Failure::Local { .. } => vec!["look at this machine: disk space and rights of the state path".to_owned()],
        Failure::BadCertificate { .. } => {
            vec!["the authority is at fault; report it, or name another issuer for these names".to_owned()]
        }
        Failure::Lost { .. }
        | Failure::Missed { .. }
        | Failure::Deadline
        | Failure::ReplacesRefused { .. }
        | Failure::Busy => {
            vec!["nothing: a new order begins by itself".to_owned()]
        }
        #[allow(unreachable_patterns)]
        _ => Vec::new(),
    }
}

/// Pages on which an authority says something about this certificate: why it wants it replaced, where a pause is lifted.
pub fn pages(stage: &Stage) -> Vec<String> {
    let why = stage.held().and_then(|held| held.explanation.as_ref());
    let why = why.map(|link| format!("the authority wants it replaced early and says why: {link}"));
    let pause = stage.trouble().pause_link.as_ref();
    let pause = pause.map(|link| format!("the authority has paused names of this account; lift it here: {link}"));
    why.into_iter().chain(pause).collect()
}

fn of_validation(kind: ChallengeKind, name: &str) -> Vec<String> {
    match kind {
        ChallengeKind::Http01 => vec![
            format!("see that http://{name}/.well-known/acme-challenge/x reaches this server from outside, on port 80"),
            format!(
                "see that every address of {name} is ours (`dig {name} A`, `dig {name} AAAA`): a stale AAAA is enough"
            ),
        ],
        ChallengeKind::TlsAlpn01 => {
            vec![format!("see that port 443 of {name} reaches this server with nothing in between that ends TLS")]
        }
        #[allow(unreachable_patterns)]
        _ => vec![format!("see that the record below _acme-challenge.{name} can be written and is seen from outside")],
    }
}

/// Why the next attempt comes when it comes.
pub fn why_then(stage: &Stage, now: UnixTime) -> String {
    match stage {
        Stage::Ordering { attempt, .. } => {
            format!("attempt {} is under way at {}; it is given up then", attempt.number, attempt.way.issuer)
        }
        Stage::Absent { trouble, .. } if trouble.failures == 0 => "nothing is held yet".to_owned(),
        Stage::Absent { trouble, .. } => {
            format!("nothing is held, and {} failed in a row; waits grow up to some hours", attempts(trouble.failures))
        }
        Stage::Serving { held, trouble, .. } if held.disowned => {
            let tried =
                if trouble.failures > 0 { format!("; {} failed", attempts(trouble.failures)) } else { String::new() };
            format!("what is held is revoked, or its key is known to others: another one is wanted at once{tried}")
        }
        Stage::Serving { held, trouble, .. } if trouble.failures > 0 => {
            let end = if held.not_after <= now { "it has expired" } else { "waits shrink as its end comes near" };
            format!("{} failed in a row; {end}", attempts(trouble.failures))
        }
        Stage::Serving { held, .. } => due(held),
    }
}

fn attempts(count: u32) -> String {
    if count == 1 { "one attempt".to_owned() } else { format!("{count} attempts") }
}

fn due(held: &Held) -> String {
    match held.choice {
        Some(choice) => {
            format!(
                "the authority suggests a moment between {} and {} (ARI); this one was drawn",
                choice.start, choice.end
            )
        }
        None if held.lifetime().as_secs() < 10 * 86_400 => "half of its life is left then".to_owned(),
        None => "a third of its life is left then".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_failure_has_advice_that_names_what_it_is_about() {
        let names: Vec<Identifier> = vec!["a.example".parse().unwrap()];
        let detail = || "see https://ca.test/limits.".to_owned();
        let http = Failure::Invalid { kind: ChallengeKind::Http01, names: names.clone(), detail: detail() };
        assert!(advice(&http)[0].contains("http://a.example/.well-known/acme-challenge/"));
        let limited = Failure::Limited { until: None, detail: detail() };
        assert_eq!(advice(&limited)[0], "read https://ca.test/limits");
        let caa = Failure::Refused { names, detail: "urn:ietf:params:acme:error:caa".into() };
        assert!(advice(&caa)[0].contains("dig a.example CAA"));
        for other in [
            Failure::Unreachable { detail: detail() },
            Failure::Account { detail: detail() },
            Failure::Local { detail: detail() },
            Failure::BadCertificate { detail: detail() },
            Failure::Lost { detail: detail() },
            Failure::Deadline,
        ] {
            assert!(!advice(&other).is_empty(), "{other}");
        }
    }

    #[test]
    fn the_reason_for_the_moment_follows_the_stage() {
        let held = crate::cert::stage::tests::held(0, 90 * 86_400);
        let serving = |held: Held, failures| Stage::Serving {
            held,
            renew_at: UnixTime(0),
            ask_at: None,
            trouble: crate::cert::stage::Trouble { failures, ..Default::default() },
        };
        let now = UnixTime(1);
        assert_eq!(why_then(&serving(held.clone(), 0), now), "a third of its life is left then");
        assert!(why_then(&serving(held.clone(), 3), now).starts_with("3 attempts failed in a row; waits shrink"));
        let choice = crate::cert::ari::Choice { start: UnixTime(0), end: UnixTime(9), at: UnixTime(5) };
        let held = Held { choice: Some(choice), ..held };
        assert!(why_then(&serving(held, 0), now).contains("(ARI)"));
        assert_eq!(why_then(&Stage::new(), now), "nothing is held yet");
    }
}
