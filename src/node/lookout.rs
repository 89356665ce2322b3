//! Is there any use in asking the authority now? Looks at the names of an attempt before it is made, and afterwards, while it
//! waits after a failure, until what stood in the way is gone. What is found means what `cert::reach` says, unless an
//! authority has shown before that such a finding is wrong here.

use std::borrow::Cow;
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;

use crate::acme::Ca;
use crate::cert::caa::Asker;
use crate::cert::failure::Failure;
use crate::cert::lessons::Lessons;
use crate::cert::preflight::{Finding, Sight};
use crate::cert::reach::{self, Addresses, Caa, Facts, Verdict};
use crate::cert::stage::{Policy, Stage};
use crate::clock::Clock;
use crate::plan::acme::ChallengeKind;
use crate::plan::checks::{Check, Checks, Skip};
use crate::store::atomic;
use crate::watch::preflight::{Preflight, not_looked_at};
use crate::words::{DomainName, Identifier};
use crate::zone::challenges::Challenges;

/// For a look at all names of one certificate. Those for which there was no time come first when it is looked again.
const BUDGET: Duration = Duration::from_secs(60);
/// The first pause between two looks; it doubles up to [`SLOWEST`].
const FIRST: Duration = Duration::from_secs(15);
const SLOWEST: Duration = Duration::from_secs(300);

/// Looks at names by the terms of the present plan; shared by all keepers.
#[derive(Default)]
pub struct Lookout {
    preflight: ArcSwapOption<Preflight>,
    /// Names for which there was no time lately.
    late: Mutex<HashSet<DomainName>>,
    taught: Mutex<Taught>,
}

/// What authorities taught us about our own checks, and where it is written down.
#[derive(Default)]
struct Taught {
    lessons: Lessons,
    file: Option<PathBuf>,
}

impl Lookout {
    /// Takes the terms of a new plan. What was learned is kept in `state`.
    pub fn adopt(&self, checks: &Checks, state: &Path, challenges: &Arc<Challenges>, clock: &Arc<dyn Clock>) {
        let file = state.join("checks.json");
        let mut taught = self.taught();
        if taught.file.as_ref() != Some(&file) {
            let text = atomic::read(&file).ok().flatten();
            *taught = Taught { lessons: text.map(|text| Lessons::read(&text)).unwrap_or_default(), file: Some(file) };
        }
        drop(taught);
        if self.preflight.load().as_ref().is_none_or(|present| present.checks() != checks) {
            let preflight = Preflight::new(checks.clone(), challenges.clone(), clock.clone());
            self.preflight.store(Some(Arc::new(preflight)));
        }
    }

    /// The eyes themselves, for other looks by the same terms.
    pub fn preflight(&self) -> Option<Arc<Preflight>> {
        self.preflight.load_full()
    }

    fn taught(&self) -> std::sync::MutexGuard<'_, Taught> {
        self.taught.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why the authority would refuse these names, if that can be told from here `within` that time.
    pub async fn hindrance(
        &self,
        ca: &Ca,
        names: &[Identifier],
        kind: Option<ChallengeKind>,
        within: Duration,
    ) -> Option<(Vec<Sight>, Failure)> {
        let (kind, asker) = (kind?, ca.asker().await?);
        let found = self.look(Some(ca), names, kind, within).await;
        let found_out = |facts: &Facts, check| {
            let now = self.preflight.load().as_ref().map(|preflight| preflight.now());
            self.taught().lessons.looked(&facts.name, kind, check, now.unwrap_or_default());
        };
        let verdicts = self.judge(&found, kind, &asker, found_out);
        let why = hindered(&verdicts)?;
        Some((sights(verdicts), why))
    }

    /// Where names lead, for whoever has to decide whether they are still ours.
    pub async fn sights(&self, names: &[Identifier]) -> Vec<Sight> {
        let kind = ChallengeKind::Http01;
        let found = self.look(None, names, kind, BUDGET).await;
        sights(self.judge(&found, kind, &Asker::default(), |_, _| {}))
    }

    /// An authority has validated these names by `kind` and issued for `life`: what a look found in the way was not there.
    /// Written down; blocks for a moment.
    pub fn passed(&self, names: &[Identifier], kind: ChallengeKind, life: Duration) {
        let Some(now) = self.preflight.load().as_ref().map(|preflight| preflight.now()) else { return };
        let names = names.iter().filter_map(|name| match name {
            Identifier::Dns(name) => Some(name),
            Identifier::Ip(_) => None,
        });
        let (text, file) = {
            let mut taught = self.taught();
            let before = taught.lessons.write();
            for (name, check) in taught.lessons.passed(names, kind, life, now) {
                tracing::info!(
                    level = "notice",
                    "{name}: the check \"{}\" found something in the way and the authority did not; from here that is not \
                     checkable for now",
                    check.as_str()
                );
            }
            let text = taught.lessons.write();
            let Some(file) = taught.file.clone().filter(|_| text != before) else { return };
            (text, file)
        };
        if let Err(error) = atomic::write(&file, &text) {
            // It is learned again after the next start.
            tracing::debug!("\"{}\" cannot be written ({error})", file.display());
        }
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
            let found = self.look(Some(ca), names, kind, BUDGET).await;
            let verdicts = self.judge(&found, kind, &asker, |_, _| {});
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

    async fn look(&self, ca: Option<&Ca>, names: &[Identifier], kind: ChallengeKind, within: Duration) -> Vec<Facts> {
        let Some(preflight) = self.preflight.load_full() else { return Vec::new() };
        let late = || self.late.lock().unwrap_or_else(PoisonError::into_inner);
        let mut wanted: Vec<&DomainName> = Vec::with_capacity(names.len());
        wanted.extend(names.iter().filter_map(|name| match name {
            Identifier::Dns(name) => Some(name),
            Identifier::Ip(_) => None,
        }));
        {
            let late = late();
            wanted.sort_by_key(|name| !late.contains(*name));
        }
        let end = tokio::time::Instant::now() + within.min(BUDGET);
        let mut looks = tokio::task::JoinSet::new();
        for name in wanted {
            let (preflight, name) = (preflight.clone(), name.clone());
            looks.spawn(async move {
                let looked = tokio::time::timeout_at(end, preflight.look(&name, kind)).await;
                (looked.is_err(), looked.unwrap_or_else(|_| not_looked_at(&name, "there was no time to look at it")))
            });
        }
        let mut found = Vec::new();
        for (is_late, mut facts) in looks.join_all().await {
            match is_late {
                true => late().insert(facts.name.clone()),
                false => late().remove(&facts.name),
            };
            facts.stranger = ca.and_then(|ca| ca.stranger(&facts.name, &facts.alias));
            found.push(facts);
        }
        found.sort_by(|one, other| one.name.cmp(&other.name));
        found
    }

    /// What was found means; `found_out` hears which check found something in the way, whether or not it is believed.
    fn judge(
        &self,
        found: &[Facts],
        kind: ChallengeKind,
        asker: &Asker,
        found_out: impl Fn(&Facts, Option<Check>),
    ) -> Vec<(DomainName, Verdict)> {
        let Some(preflight) = self.preflight.load_full() else { return Vec::new() };
        let now = preflight.now();
        let mistaken = |facts: &Facts, check| self.taught().lessons.is_mistaken(&facts.name, kind, check, now);
        let judge = |facts: &Facts| {
            let mut verdict = reach::judge(facts, kind, asker, preflight.checks());
            found_out(facts, verdict.cause().map(reach::Cause::check));
            let (mut checks, mut overruled) = (Cow::Borrowed(preflight.checks()), None);
            // What was wrong before is left out, and the rest judged again.
            for _ in Check::ALL {
                let Some(cause) = verdict.cause().filter(|cause| mistaken(facts, cause.check())) else { break };
                let skip = Skip { checks: vec![cause.check()], names: vec![facts.name.clone()] };
                overruled = Some(format!("{cause}; an authority found nothing wrong with that before"));
                checks.to_mut().skip.push(skip);
                verdict = reach::judge(facts, kind, asker, &checks);
            }
            let verdict = match (verdict, overruled) {
                (Verdict::Clear, Some(why)) => Verdict::NotCheckable(why),
                (verdict, _) => verdict,
            };
            (facts.name.clone(), verdict)
        };
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
