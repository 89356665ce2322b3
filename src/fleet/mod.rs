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
//! | [`report`], [`serving`] | what does a node say of itself, and which certificates does it show? |
//! | [`members`] | who belongs to the fleet, and how does each stand? |
//! | [`rank`], [`duty`] | in which order do nodes stand for a task, and whose turn is it? |
//! | [`agreed`], [`burial`] | what have all agreed on for a certificate, and what is cleared away? |
//! | [`ledger`], [`tickets`] | what of an authority's limits is used, which secrets seal tickets? |
//! | [`follow`] | how far has this node seen what is shared in etcd? |
//! | [`tenure`] | does this node still hold what it holds in etcd? |

pub mod agreed;
pub mod burial;
pub mod claim;
pub mod duty;
pub mod follow;
pub mod ledger;
pub mod members;
pub mod message;
pub mod node_id;
pub mod rank;
pub mod report;
pub mod serving;
pub mod state;
pub mod subject;
pub mod sync;
pub mod tenure;
pub mod tickets;
pub mod wire;

pub use claim::{Body, Claim, Digest, Mark};
pub use message::Message;
pub use node_id::NodeId;
pub use report::Report;
pub use state::State;
pub use subject::{Subject, SubjectKey};
pub use sync::Sync;
