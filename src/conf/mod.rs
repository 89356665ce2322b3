//! What does the configuration mean? Words → sentences → a tree → rows of the table → inheritance → Plan, or complaints
//! with file and line and nginx's own words. The world outside is asked only through [`World`].

pub mod complaint;
pub mod lex;
pub mod table;
pub mod tree;
pub mod value;
pub mod world;

pub use complaint::{Complaint, Kind, Level, SourceFile};
pub use world::{Errno, MemoryWorld, PairOnDisk, World};
