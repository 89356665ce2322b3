//! What is a keeper told, and how does it hear it? A box of words that takes no room while it is empty: there is one for
//! each certificate, nearly always empty, and a channel of the runtime would hold room for thirty words in each.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;

use super::Word;

/// The words that one keeper has not heard yet. Only the keeper waits on it.
#[derive(Default)]
pub(super) struct Mail {
    words: Mutex<VecDeque<Word>>,
    came: Notify,
}

impl Mail {
    /// Leaves a word.
    pub fn send(&self, word: Word) {
        self.words.lock().unwrap_or_else(PoisonError::into_inner).push_back(word);
        self.came.notify_one();
    }

    /// The next word. Dropped while it waits, it has lost none.
    pub async fn next(&self) -> Word {
        loop {
            if let Some(word) = self.take() {
                return word;
            }
            self.came.notified().await;
        }
    }

    fn take(&self) -> Option<Word> {
        let mut words = self.words.lock().unwrap_or_else(PoisonError::into_inner);
        let word = words.pop_front();
        if words.is_empty() {
            *words = VecDeque::new();
        }
        word
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cert::stage::Event;
    use std::sync::Arc;

    #[tokio::test]
    async fn words_are_heard_in_order_whether_somebody_waits_or_not() {
        let mail = Arc::new(Mail::default());
        let heard = |word| matches!(word, Word::Event(Event::Renew));
        mail.send(Word::Event(Event::Renew));
        mail.send(Word::Event(Event::Cleared));
        assert!(heard(mail.next().await) && !heard(mail.next().await));
        assert_eq!(mail.words.lock().unwrap().capacity(), 0);
        let waits = tokio::spawn({
            let mail = mail.clone();
            async move { mail.next().await }
        });
        tokio::task::yield_now().await;
        mail.send(Word::Event(Event::Renew));
        assert!(heard(waits.await.unwrap()));
    }
}
