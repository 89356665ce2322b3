//! How do requests keep their distance? One pace for each authority in the whole process, however many issuers, orders
//! and errands ask the same one: it sees a single client. `cert::pace` decides, this waits.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use tokio::time::Instant;

use crate::cert::pace::Pace;

/// By the origin of the directory. An operator names a handful of authorities; nobody else can add one.
static PACES: LazyLock<Mutex<HashMap<String, Arc<Pacing>>>> = LazyLock::new(Mutex::default);

/// The pace toward one authority.
pub struct Pacing {
    since: Instant,
    pace: Mutex<Pace>,
}

impl Pacing {
    /// The pace toward the authority whose directory has this origin.
    pub fn toward(origin: &str) -> Arc<Pacing> {
        let mut all = PACES.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = || Arc::new(Pacing { since: Instant::now(), pace: Mutex::default() });
        all.entry(origin.to_owned()).or_insert_with(fresh).clone()
    }

    /// Returns when the next request may be sent.
    pub async fn turn(&self) {
        let at = {
            let mut pace = self.pace.lock().unwrap_or_else(PoisonError::into_inner);
            self.since + pace.turn(self.since.elapsed())
        };
        tokio::time::sleep_until(at).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test]
    async fn two_issuers_of_one_authority_keep_one_pace_and_others_their_own() {
        let (one, same) = (Pacing::toward("https://one.test"), Pacing::toward("https://one.test"));
        assert!(Arc::ptr_eq(&one, &same));
        let begun = Instant::now();
        for _ in 0..5 {
            one.turn().await;
            same.turn().await;
        }
        assert!(begun.elapsed() > Duration::from_secs(1), "{:?}", begun.elapsed());
        let begun = Instant::now();
        Pacing::toward("https://two.test").turn().await;
        assert!(begun.elapsed() < Duration::from_millis(900), "{:?}", begun.elapsed());
    }
}
