//! What changes in etcd while we look? One watch over one connection, until either ends. Resumes nothing by itself: whoever
//! holds it knows up to which revision it has seen.

use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::channel::{Answers, framed};
use super::client::{Kept, kept};
use super::fault::EtcdError;
use super::wire;

/// For the confirmation of a new watch.
const BEGIN: Duration = Duration::from_secs(5);

/// What was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Everything up to this revision has now been seen; `None` while more of the same revision follows.
    pub up_to: Option<i64>,
    /// What changed, in order. Empty for a mere sign of life.
    pub changes: Vec<Change>,
}

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Written.
    Written(Kept),
    /// Taken away, or gone with its lease. The key, without the prefix.
    Gone(String),
}

/// A watch.
pub struct Watcher {
    answers: Answers<wire::WatchResponse>,
    asks: mpsc::Sender<Bytes>,
    prefix: String,
    endpoint: String,
}

impl Watcher {
    /// Waits until the watch stands.
    pub(super) async fn begin(
        answers: Answers<wire::WatchResponse>,
        asks: mpsc::Sender<Bytes>,
        prefix: &str,
        endpoint: &str,
    ) -> Result<Watcher, EtcdError> {
        let mut watcher = Watcher { answers, asks, prefix: prefix.to_owned(), endpoint: endpoint.to_owned() };
        let late = || EtcdError::Broken { endpoint: endpoint.to_owned(), detail: "no watch in time".into() };
        let first = timeout(BEGIN, watcher.answer()).await.map_err(|_| late())??;
        if first.created { Ok(watcher) } else { Err(late()) }
    }

    /// The next changes, or a sign of life.
    ///
    /// # Errors
    /// The watch is over. [`EtcdError::Compacted`]: what was to be seen next is gone, list everything anew.
    pub async fn next(&mut self) -> Result<Seen, EtcdError> {
        let answer = self.answer().await?;
        let revision = answer.header.map_or(0, |header| header.revision);
        let change = |event: wire::WatchEvent| {
            let written = event.kind == 0;
            let kept = kept(event.kv?, &self.prefix)?;
            Some(if written { Change::Written(kept) } else { Change::Gone(kept.key) })
        };
        let changes: Vec<Change> = answer.events.into_iter().filter_map(change).collect();
        Ok(Seen { up_to: (!answer.fragment && revision > 0).then_some(revision), changes })
    }

    /// Asks for a sign of life; it comes back as a [`Seen`] without changes.
    pub fn ask(&self) {
        let ask = wire::WatchRequest { ask: Some(wire::Ask::Progress(wire::Nothing {})) };
        let _ = self.asks.try_send(framed(&ask));
    }

    async fn answer(&mut self) -> Result<wire::WatchResponse, EtcdError> {
        let over = || EtcdError::Broken { endpoint: self.endpoint.clone(), detail: "the watch has ended".into() };
        let answer = self.answers.next().await?.ok_or_else(over)?;
        if answer.compact_revision > 0 {
            return Err(EtcdError::Compacted { revision: answer.compact_revision });
        }
        if answer.canceled {
            let code = if answer.cancel_reason.contains("permission denied") { 7 } else { 14 };
            return Err(EtcdError::of_status(&self.endpoint, &self.prefix, code, &answer.cancel_reason));
        }
        Ok(answer)
    }
}
