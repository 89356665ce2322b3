//! What time is it here? The one clock by which certificates are kept: the machine's own, judged beside its witnesses by
//! `cert::quorum`. Remembers on disk what the next start should know. Requests and logs use the machine's clock alone.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::cert::concern::{Concern, Severity, Topic};
use crate::cert::quorum::{Doubt, Judgement, Memory, Quorum, Uptime};
use crate::clock::{Clock, UnixTime};
use crate::store::atomic;

/// What was believed is written down this often; what a certificate proved, at once.
const WRITE_EVERY: Duration = Duration::from_secs(3600);

/// The machine's clock beside its witnesses.
pub struct JudgedClock {
    system: Arc<dyn Clock>,
    uptime: Box<dyn Fn() -> Uptime + Send + Sync>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    quorum: Quorum,
    last: Option<Judgement>,
    file: Option<PathBuf>,
    written: Option<(Memory, Uptime)>,
}

impl std::fmt::Debug for JudgedClock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JudgedClock").finish_non_exhaustive()
    }
}

/// How long the machine has been up, sleep included.
pub fn uptime() -> Uptime {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0))
}

impl JudgedClock {
    /// A clock over `system`, with the memory of an earlier start, if there is one in `state`.
    pub fn new(
        system: Arc<dyn Clock>,
        uptime: impl Fn() -> Uptime + Send + Sync + 'static,
        state: Option<&Path>,
    ) -> JudgedClock {
        let file = state.map(|path| path.join("clock.json"));
        let read = |file: &PathBuf| serde_json::from_slice(&atomic::read(file).ok()??).ok();
        let memory: Option<Memory> = file.as_ref().and_then(read);
        let quorum = Quorum::new(memory.unwrap_or_default());
        let written = memory.map(|memory| (memory, uptime()));
        let state = State { quorum, file, written, last: None };
        JudgedClock { system, uptime: Box::new(uptime), state: Mutex::new(state) }
    }

    /// What is to be believed now.
    pub fn judge(&self) -> Judgement {
        let (system, at) = (self.system.now(), (self.uptime)());
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let judged = state.quorum.judge(system, at);
        state.last = Some(judged);
        judged
    }

    /// What people should know of the time.
    pub fn concern(&self) -> Option<Concern> {
        let judged = self.judge();
        let doubt = judged.doubt?;
        let frozen = "; nothing is ordered for names whose certificate is valid";
        // An authority's word is no more than a word until our own clock contradicts it.
        let severity = if matches!(doubt, Doubt::Jumped(_)) { Severity::Warning } else { Severity::Error };
        let text = format!("{doubt}{frozen}");
        Some(Concern { topic: Topic::Time, subject: "time".to_owned(), severity, text, since: judged.now })
    }

    /// Writes down what the next start should know, if it is time. Blocks for a moment.
    pub fn remember(&self) {
        let at = (self.uptime)();
        let (file, memory) = {
            let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            let memory = state.quorum.memory();
            let known = state.written.is_some_and(|(known, then)| {
                let proved = known.newest_not_before == memory.newest_not_before && known.confirmed == memory.confirmed;
                proved && at.saturating_sub(then) < WRITE_EVERY
            });
            let Some(file) = state.file.clone().filter(|file| !known && file.parent().is_some_and(Path::is_dir)) else {
                return;
            };
            (file, memory)
        };
        let Ok(text) = serde_json::to_vec(&memory) else { return };
        match atomic::write(&file, &text) {
            Ok(()) => self.state.lock().unwrap_or_else(PoisonError::into_inner).written = Some((memory, at)),
            // The next start then knows a little less.
            Err(error) => tracing::debug!("\"{}\" cannot be written ({error})", file.display()),
        }
    }
}

impl Clock for JudgedClock {
    fn now(&self) -> UnixTime {
        self.judge().now
    }

    fn heard(&self, date: UnixTime) {
        let at = (self.uptime)();
        self.state.lock().unwrap_or_else(PoisonError::into_inner).quorum.heard(date, at);
    }

    fn accepted(&self, not_before: UnixTime) {
        let at = (self.uptime)();
        self.state.lock().unwrap_or_else(PoisonError::into_inner).quorum.accepted(not_before, at);
    }

    fn in_doubt(&self) -> bool {
        let last = self.state.lock().unwrap_or_else(PoisonError::into_inner).last;
        last.unwrap_or_else(|| self.judge()).doubt.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::VirtualClock;
    use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

    const START: UnixTime = UnixTime::from_seconds(1_800_000_000);
    const YEAR: Duration = Duration::from_secs(366 * 86_400);

    fn clock(system: &Arc<VirtualClock>, up: &Arc<AtomicU64>, state: &Path) -> JudgedClock {
        let up = up.clone();
        JudgedClock::new(system.clone(), move || Duration::from_secs(up.load(SeqCst)), Some(state))
    }

    #[test]
    fn a_jump_of_years_moves_nothing_and_is_told_until_an_authority_speaks() {
        let folder = tempfile::tempdir().unwrap();
        let (system, up) = (Arc::new(VirtualClock::default()), Arc::new(AtomicU64::new(0)));
        system.set(START);
        let judged = clock(&system, &up, folder.path());
        assert_eq!((judged.now(), judged.in_doubt(), judged.concern()), (START, false, None));
        system.set(START + YEAR * 9);
        up.store(30, SeqCst);
        assert_eq!((judged.now(), judged.in_doubt()), (START + Duration::from_secs(30), true));
        assert!(judged.judge().ask && judged.concern().unwrap().text.contains("jumped"));
        judged.heard(START + Duration::from_secs(40));
        assert_eq!((judged.now(), judged.in_doubt()), (START + Duration::from_secs(40), true));
        system.set(START + Duration::from_secs(41));
        assert_eq!((judged.now(), judged.in_doubt()), (START + Duration::from_secs(41), false));
    }

    #[test]
    fn a_restart_knows_what_the_last_certificate_proved() {
        let folder = tempfile::tempdir().unwrap();
        let (system, up) = (Arc::new(VirtualClock::default()), Arc::new(AtomicU64::new(0)));
        system.set(START);
        let before = clock(&system, &up, folder.path());
        before.accepted(START - Duration::from_secs(3600));
        before.now();
        before.remember();
        system.set(UnixTime::from_seconds(7));
        let after = clock(&system, &up, folder.path());
        assert_eq!((after.now(), after.in_doubt()), (START - Duration::from_secs(3600), true));
        std::fs::write(folder.path().join("clock.json"), "{ damaged").unwrap();
        assert_eq!(clock(&system, &up, folder.path()).now(), UnixTime::from_seconds(7));
    }
}
