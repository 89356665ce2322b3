//! Is there any use in asking the authority now? Looks at the names of an attempt before it is made, and afterwards, while it
//! waits after a failure, until what stood in the way is gone. What is found means what `cert::reach` says.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;

use crate::acme::Ca;
use crate::cert::caa::Asker;
use crate::cert::failure::Failure;
use crate::cert::preflight::{Finding, Sight};
use crate::cert::reach::{self, Addresses, Caa, Facts, Verdict};
use crate::cert::stage::{Policy, Stage};
use crate::clock::Clock;
use crate::plan::acme::ChallengeKind;
use crate::plan::checks::Checks;
use crate::watch::preflight::Preflight;
use crate::words::{DomainName, Identifier};
use crate::zone::challenges::Challenges;

/// Names of one certificate that are looked at.
const MOST: usize = 100;
/// The first pause between two looks; it doubles up to [`SLOWEST`].
const FIRST: Duration = Duration::from_secs(15);
const SLOWEST: Duration = Duration::from_secs(300);

/// Looks at names by the terms of the present plan; shared by all keepers.
#[derive(Default)]
pub struct Lookout {
    preflight: ArcSwapOption<Preflight>,
}

impl Lookout {
    /// Takes the terms of a new plan.
    pub fn adopt(&self, checks: &Checks, challenges: &Arc<Challenges>, clock: &Arc<dyn Clock>) {
        if self.preflight.load().as_ref().is_none_or(|present| present.checks() != checks) {
            let preflight = Preflight::new(checks.clone(), challenges.clone(), clock.clone());
            self.preflight.store(Some(Arc::new(preflight)));
        }
    }

    /// Why the authority would refuse these names, if that can be told from here.
    pub async fn hindrance(
        &self,
        ca: &Ca,
        names: &[Identifier],
        kind: Option<ChallengeKind>,
    ) -> Option<(Vec<Sight>, Failure)> {
        let (kind, asker) = (kind?, ca.asker().await?);
        let found = self.look(names, kind).await;
        let verdicts = self.judge(&found, kind, &asker);
        let why = hindered(&verdicts)?;
        Some((sights(verdicts), why))
    }

    /// Where names lead, for whoever has to decide whether they are still ours.
    pub async fn sights(&self, names: &[Identifier]) -> Vec<Sight> {
        let kind = ChallengeKind::Http01;
        let found = self.look(names, kind).await;
        sights(self.judge(&found, kind, &Asker::default()))
    }

    /// Returns when the authority should be asked again before its time: what stood in the way is gone, or names lead
    /// elsewhere than they did. Never returns while nothing changes, or where nothing can be seen from here.
    /// `was_in_the_way`: something stood there when the attempt failed.
    pub async fn cleared(
        &self,
        ca: &Ca,
        names: &[Identifier],
        kind: ChallengeKind,
        unit: Duration,
        mut was_in_the_way: bool,
    ) {
        let Some(asker) = ca.asker().await else { return std::future::pending().await };
        let mut first: Option<Vec<Facts>> = None;
        let mut pause = (unit / 4).clamp(Duration::from_secs(1), FIRST);
        // Names whose answers change all the time must not use up what the authority allows: three times an hour at most.
        let mut patience = unit * 20;
        loop {
            let found = self.look(names, kind).await;
            let verdicts = self.judge(&found, kind, &asker);
            let in_the_way = hindered(&verdicts).is_some();
            let clear = !verdicts.is_empty() && verdicts.iter().all(|(_, verdict)| *verdict == Verdict::Clear);
            let changed = first.as_ref().is_some_and(|first| *first != trace(&found));
            // Aliases do not change by themselves; addresses do, behind some names all the time.
            let settled = kind == ChallengeKind::Dns01 || patience.is_zero();
            if (was_in_the_way && clear) || (changed && !in_the_way && settled) {
                return;
            }
            was_in_the_way |= in_the_way;
            first.get_or_insert_with(|| trace(&found));
            tokio::time::sleep(pause).await;
            patience = patience.saturating_sub(pause);
            pause = (pause * 2).min(SLOWEST.min(unit * 5).max(pause));
        }
    }

    async fn look(&self, names: &[Identifier], kind: ChallengeKind) -> Vec<Facts> {
        let Some(preflight) = self.preflight.load_full() else { return Vec::new() };
        let mut looks = tokio::task::JoinSet::new();
        for name in names.iter().take(MOST) {
            let Identifier::Dns(name) = name else { continue };
            let (preflight, name) = (preflight.clone(), name.clone());
            looks.spawn(async move { preflight.look(&name, kind != ChallengeKind::Dns01).await });
        }
        let mut found = looks.join_all().await;
        found.sort_by(|one, other| one.name.cmp(&other.name));
        found
    }

    fn judge(&self, found: &[Facts], kind: ChallengeKind, asker: &Asker) -> Vec<(DomainName, Verdict)> {
        let Some(preflight) = self.preflight.load_full() else { return Vec::new() };
        let judge = |facts: &Facts| (facts.name.clone(), reach::judge(facts, kind, asker, preflight.checks()));
        found.iter().map(judge).collect()
    }
}

/// Whether a certificate waits after a failure whose end can be seen from here: by which kind of challenge to look, and
/// whether something was in the way. `None`: there is nothing to look for.
pub fn wakes(stage: &Stage, policy: &Policy) -> Option<(ChallengeKind, bool)> {
    let trouble = stage.trouble();
    if matches!(stage, Stage::Ordering { .. }) || trouble.failures == 0 {
        return None;
    }
    let in_the_way = match trouble.last.as_ref()? {
        Failure::Hindered { .. } => true,
        Failure::Invalid { .. } | Failure::Unprepared { .. } => false,
        _ => return None,
    };
    let mut kinds = policy.ways.iter().filter_map(|way| way.challenge);
    let by_http = kinds.clone().find(|kind| *kind == ChallengeKind::Http01);
    by_http.or_else(|| kinds.next()).map(|kind| (kind, in_the_way))
}

fn sights(verdicts: Vec<(DomainName, Verdict)>) -> Vec<Sight> {
    let finding = |verdict| match verdict {
        Verdict::Clear => Finding::Here,
        Verdict::Hindered(cause) => Finding::Hindered { detail: cause.to_string() },
        Verdict::Elsewhere(cause) => Finding::Elsewhere { detail: cause.to_string() },
        Verdict::NotCheckable(detail) => Finding::NotCheckable { detail },
    };
    let sight = |(name, verdict)| Sight { name: Identifier::Dns(name), finding: finding(verdict) };
    verdicts.into_iter().map(sight).collect()
}

fn hindered(verdicts: &[(DomainName, Verdict)]) -> Option<Failure> {
    for (name, verdict) in verdicts {
        if let Verdict::NotCheckable(why) = verdict {
            tracing::debug!("{name}: not checkable from here: {why}");
        }
    }
    let causes: Vec<_> = verdicts.iter().filter_map(|(name, verdict)| Some((name, verdict.cause()?))).collect();
    let (_, first) = causes.first()?;
    let more = if causes.len() > 1 { format!(" (and {} more names)", causes.len() - 1) } else { String::new() };
    let names = causes.iter().map(|(name, _)| Identifier::Dns((*name).clone())).collect();
    Some(Failure::Hindered { names, detail: format!("{first}{more}") })
}

/// What changes when a cause disappears, and not with every look: addresses, and CAA.
fn trace(found: &[Facts]) -> Vec<Facts> {
    let mut trace = found.to_vec();
    for facts in &mut trace {
        match &mut facts.addresses {
            Addresses::Found(seen) => seen.iter_mut().for_each(|seen| seen.answer = reach::Answer::Silent),
            unsure @ Addresses::Unknown(_) => *unsure = Addresses::NotAsked,
            Addresses::Missing | Addresses::NotAsked => {}
        }
        if let Caa::Failing(why) = &mut facts.caa {
            why.clear();
        }
    }
    trace
}
