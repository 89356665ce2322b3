//! Is anybody told in time? The production clock for what is overdue looks at every node, from outside of everything that
//! renews; the rule asks only the dates on the certificates.

use crate::node::Role;
use crate::planted::Bug;
use crate::scenario::{DAY, HOUR, MINUTE};
use crate::world::{At, World};
use semper::cert::concern::Topic;
use semper::cert::overdue::{Facts, Kept};
use semper::clock::UnixTime;
use std::time::Duration;

impl World {
    /// Between two looks. The production thread looks every minute; here that would be most of what happens.
    pub fn overdue_every(&self) -> Duration {
        let shortest = self.cas.iter().map(|ca| ca.life).min().unwrap_or(DAY);
        (shortest / 200).clamp(Duration::from_secs(1), HOUR * 12)
    }

    /// One look of the clock, and whether it says what it must.
    pub fn look_for_overdue(&mut self, node: usize) {
        let of = &mut self.nodes[node];
        if !of.up {
            return;
        }
        let mut facts = Vec::new();
        let mut at = Vec::new();
        for (cert, keeping) in of.keeping.iter().enumerate() {
            let Some(served) = keeping.served.as_ref().filter(|_| keeping.wanted && keeping.role == Role::Own) else {
                continue;
            };
            let mut shown = (served.paper.not_before, served.paper.not_after);
            if self.bug == Some(Bug::OverdueIsDeaf) {
                shown.1 = shown.1 + DAY * 3650;
            }
            let kept = Some(Kept { attempts: keeping.stage.trouble().attempts, turned: Duration::ZERO });
            facts.push(Facts { subject: cert.to_string(), shown: Some(shown), kept, paused: None });
            at.push(At { node, cert });
        }
        let told = of.overdue.look(&facts, of.judged.now);
        let sane = of.judged.now.since(self.now).max(self.now.since(of.judged.now)) < Duration::from_secs(1);
        for (at, facts) in at.into_iter().zip(facts) {
            let of_it = told.iter().filter(|concern| concern.subject == facts.subject);
            let topics: Vec<Topic> = of_it.map(|concern| concern.topic).collect();
            if sane {
                self.check_alarm(at, &topics);
            }
        }
    }

    /// An alarm before a third of what was left at the due date is gone, and none before that date.
    fn check_alarm(&mut self, at: At, topics: &[Topic]) {
        let keeping = &self.nodes[at.node].keeping[at.cert];
        let Some(paper) = keeping.served.as_ref().map(|kept| kept.paper.clone()) else { return };
        let life = paper.not_after.since(paper.not_before);
        let at_due = if life < DAY * 10 { life / 2 } else { life / 3 };
        let left = paper.not_after.since(self.now);
        let detail = || format!("{topics:?} with {} hours left of {}", left.as_secs() / 3600, life.as_secs() / 3600);
        if left < at_due * 2 / 3 && topics.is_empty() {
            self.breaks("an alarm is raised before a third of the life left is gone", at, detail());
        } else if left > at_due + MINUTE * 10 && !topics.is_empty() && !keeping.stage_is_new(self.now) {
            self.breaks("nobody is told without a reason", at, detail());
        }
    }
}

impl crate::node::Keeping {
    fn stage_is_new(&self, now: UnixTime) -> bool {
        now.since(self.watch.started) < MINUTE
    }
}
