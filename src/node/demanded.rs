//! Why is this name on demand not live yet? For the tenant who waits and for whoever has to answer him: how the name stands,
//! what was said about it, where it leads, what he can do. Words and their text form.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::explain::{row, second};
use super::lookout::Lookout;
use crate::cert::on_demand::{Refusal, Standing};
use crate::cert::preflight::Finding;
use crate::cert::rehearse::span;
use crate::clock::UnixTime;
use crate::words::{DomainName, Identifier};

/// A look from outside may take so long.
const LOOK: Duration = Duration::from_secs(5);

/// A name on demand.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Demanded {
    /// How it stands.
    pub standing: Standing,
    /// A certificate of it is in force.
    pub live: bool,
    /// Where it leads, as far as this node can see; `None`: not looked, because it is live, or nobody could.
    pub leads: Option<Leads>,
    /// What its tenant could do; empty if nothing needs to be done.
    pub advice: Vec<String>,
}

/// Where a name leads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leads {
    /// To us.
    pub here: bool,
    /// In words.
    pub words: String,
}

/// Looks where a name leads, for a few seconds at most.
pub async fn look(lookout: Arc<Lookout>, name: &DomainName) -> Option<Leads> {
    let names = [Identifier::Dns(name.clone())];
    let sights = tokio::time::timeout(LOOK, lookout.sights(&names)).await.ok()?;
    let leads = |here, words: String| Some(Leads { here, words });
    match sights.into_iter().next()?.finding {
        Finding::Here => leads(true, "here".to_owned()),
        Finding::Elsewhere { detail } => leads(false, detail),
        Finding::Hindered { detail } => leads(false, detail),
        Finding::NotCheckable { .. } => None,
    }
}

impl Demanded {
    /// The same with what a tenant could do about it.
    pub fn advised(mut self, name: &str) -> Demanded {
        let astray = self.leads.as_ref().filter(|leads| !leads.here);
        let mut advice = Vec::new();
        if let Some(leads) = astray {
            advice.push(format!("let {name} lead here (CNAME, or A and AAAA): {}", leads.words));
        }
        match &self.standing {
            Standing::Unknown { .. } if !self.live => {
                advice.push(format!(
                    "connect to https://{name}/ once: the first client that asks for it begins the order"
                ));
            }
            Standing::Refused { why, .. } => advice.extend(remedy(why).map(|words| words.replace("NAME", name))),
            Standing::Held(held) if held.stopped => {
                advice.push("let \"ask\" say yes again, if the name is still to be served".to_owned());
            }
            _ => {}
        }
        self.advice = advice;
        self
    }

    /// For people.
    pub fn text(&self, now: UnixTime) -> String {
        let mut out = String::from("on demand (acme_on_demand)\n");
        for (head, words) in self.rows(now) {
            out.push_str(&row(head, &words));
        }
        if let Some(leads) = &self.leads {
            out.push_str(&row("leads", &leads.words));
        }
        for advice in &self.advice {
            out.push_str(&row("to do", advice));
        }
        out
    }

    fn rows(&self, now: UnixTime) -> Vec<(&'static str, String)> {
        let ago = |at: UnixTime| format!("{} ago ({})", span(now.since(at)), second(at));
        match &self.standing {
            Standing::Unknown { listed: true } => {
                vec![("standing", "nobody has asked for it yet; it is on the allow-list".to_owned())]
            }
            Standing::Unknown { listed: false } => {
                let words = "nobody has asked for it yet; \"ask\" decides when the first client comes";
                vec![("standing", words.to_owned())]
            }
            Standing::Asking { since } => {
                vec![("standing", format!("\"ask\" is being asked about it since {}", second(*since)))]
            }
            Standing::Refused { why, at, again } => {
                let mut rows = vec![("standing", format!("NOT OBTAINED: {why}"))];
                rows.extend(at.map(|at| ("last tried", ago(at))));
                if let Some(again) = again {
                    let words = if *again <= now { "with the next client".to_owned() } else { second(*again) };
                    rows.push(("looked at", format!("again {words}, when a client asks for it")));
                }
                rows
            }
            Standing::Held(held) => {
                let live = if self.live { "held and live" } else { "held, and NOT LIVE YET: see below" };
                let mut rows = vec![("standing", format!("{live}; since {}", second(held.since)))];
                let word = match (held.listed, held.asked) {
                    (true, _) => "it is on the allow-list".to_owned(),
                    (false, Some(asked)) => format!("\"ask\" said yes {}", ago(asked)),
                    (false, None) => "it is on no allow-list any more".to_owned(),
                };
                rows.push(("allowed", word));
                if let Some(denied) = held.denied {
                    let then =
                        if held.stopped { "it is renewed no more" } else { "it is renewed until that has lasted" };
                    let words = format!("\"ask\" has said no since {} ({}): {then}", second(denied), held.words);
                    rows.push(("refused", words));
                } else if !held.words.is_empty() {
                    rows.push((
                        "silence",
                        format!("\"ask\" last gave no answer ({}): that changes nothing", held.words),
                    ));
                }
                rows.push(("last used", ago(held.used)));
                rows
            }
        }
    }
}

/// What helps against a refusal.
fn remedy(why: &Refusal) -> Option<&'static str> {
    match why {
        Refusal::Unfit(_) => Some("use another name: no public authority certifies this one"),
        Refusal::NotListed => Some("the operator adds it to \"allow\", or names an \"ask\""),
        Refusal::No(_) => {
            Some("register NAME where \"ask\" looks; the operator of that service can say why it refused")
        }
        Refusal::Silence(_) => Some("nothing on the tenant's side: the operator mends the service behind \"ask\""),
        Refusal::Client | Refusal::Overall | Refusal::Busy => {
            Some("wait, and connect again; the operator may raise \"per_client\" or \"overall\"")
        }
        Refusal::Full => Some("the operator raises \"names\""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cert::on_demand::Held;

    const NOW: UnixTime = UnixTime::from_seconds(1_800_000_000);

    fn of(standing: Standing) -> Demanded {
        Demanded { standing, live: false, leads: None, advice: vec![] }.advised("shop.example.com")
    }

    #[test]
    fn each_reason_has_its_own_words_and_something_to_do() {
        let refused = |why| Standing::Refused { why, at: Some(NOW), again: Some(NOW + Duration::from_secs(60)) };
        for (standing, words, advice) in [
            (
                Standing::Unknown { listed: false },
                "nobody has asked for it yet",
                "connect to https://shop.example.com/",
            ),
            (
                refused(Refusal::No("status 403: no such shop".into())),
                "status 403: no such shop",
                "register shop.example.com",
            ),
            (
                refused(Refusal::Silence("no answer within 5s".into())),
                "gave no answer: no answer within 5s",
                "operator mends",
            ),
            (refused(Refusal::Client), "its client has brought too many", "wait"),
            (refused(Refusal::Full), "as many names are held as may be", "\"names\""),
            (refused(Refusal::NotListed), "not on the allow-list", "\"allow\""),
        ] {
            let said = of(standing.clone());
            assert!(said.text(NOW).contains(words), "{}", said.text(NOW));
            assert!(said.advice.iter().any(|line| line.contains(advice)), "{:?}", said.advice);
            let again: Demanded = serde_json::from_str(&serde_json::to_string(&said).unwrap()).unwrap();
            assert_eq!(again, said);
        }
    }

    #[test]
    fn a_name_that_leads_elsewhere_says_so_first() {
        let leads = Some(Leads { here: false, words: "shop.example.com has no address in DNS".into() });
        let standing = Standing::Unknown { listed: true };
        let said = Demanded { standing, live: false, leads, advice: vec![] }.advised("shop.example.com");
        assert!(said.advice[0].contains("has no address in DNS"), "{:?}", said.advice);
        assert!(said.text(NOW).contains("leads"));
    }

    #[test]
    fn a_held_name_that_is_refused_now_says_what_becomes_of_it() {
        let held = Held {
            since: NOW,
            used: NOW,
            asked: Some(NOW),
            until: NOW,
            denied: Some(NOW),
            denials: 13,
            stopped: true,
            words: "status 404".into(),
            listed: false,
        };
        let text = of(Standing::Held(held)).text(NOW);
        assert!(text.contains("renewed no more") && text.contains("status 404"), "{text}");
    }
}
