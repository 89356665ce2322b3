//! What does a fleet know, who belongs to it, and whose turn is it? Decisions only: no I/O, no clock, no dice. `peer` and
//! `store` carry what is decided here; `node` feeds the machine and performs its effects.
//!
//! | file | question |
//! |---|---|
//! | [`node_id`] | how is a node called? |
//! | [`subject`] | what may a claim be about? |
//! | [`claim`] | what is a claim, and what of it enters the merge? |
//! | [`state`] | what is known when two nodes have told each other everything? the join |
//! | [`message`] | what do two nodes say to each other, byte for byte? |
//! | [`sync`] | what shall be sent to whom, and when? the machine |
//! | [`follow`] | how far has this node seen what is shared in etcd? |
//! | [`tenure`] | does this node still hold what it holds in etcd? |

pub mod claim;
pub mod follow;
pub mod message;
pub mod node_id;
pub mod state;
pub mod subject;
pub mod sync;
pub mod tenure;
pub mod wire;

pub use claim::{Body, Claim, Digest, Mark};
pub use message::Message;
pub use node_id::NodeId;
pub use state::State;
pub use subject::{Subject, SubjectKey};
pub use sync::Sync;
