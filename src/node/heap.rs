//! How does memory go back to the system after a configuration was read? An allocator keeps what was freed for the next
//! request for it; a process that has just read ten thousand servers, and now waits, would keep it for ever. Which
//! allocator there is only `main` knows, and says it here once.

use std::sync::OnceLock;
use std::time::Duration;

static GIVE_BACK: OnceLock<fn()> = OnceLock::new();

/// Says how the allocator gives back what it keeps. The first word counts.
pub fn with(give_back: fn()) {
    let _ = GIVE_BACK.set(give_back);
}

/// Gives back what this thread has freed. Costs milliseconds: after a start and a reload, never on the way of a request.
pub fn give_back() {
    if let Some(give_back) = GIVE_BACK.get() {
        give_back();
    }
}

/// The same on this thread after a while, when what has begun meanwhile has settled.
pub async fn give_back_after(wait: Duration) {
    tokio::time::sleep(wait).await;
    give_back();
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

    #[test]
    fn the_allocator_that_was_named_first_is_asked() {
        static ASKED: AtomicU32 = AtomicU32::new(0);
        super::give_back();
        super::with(|| ASKED.store(ASKED.load(Relaxed) + 1, Relaxed));
        super::with(|| ASKED.store(100, Relaxed));
        super::give_back();
        assert_eq!(ASKED.load(Relaxed), 1);
    }
}
