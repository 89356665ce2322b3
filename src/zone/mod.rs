//! What do workers share? Fixed shards, a lock held for a few instructions, never across an await.

pub mod beats;
pub mod challenges;
pub mod concerns;
pub mod limits;
pub mod stats;
pub mod upstreams;
