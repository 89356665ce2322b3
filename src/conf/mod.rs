//! What does the configuration mean? Words → sentences → a tree → rows of the table → inheritance → Plan, or complaints
//! with file and line and nginx's own words. The world outside is asked only through [`World`].

pub mod address;
pub mod complaint;
pub mod directives;
pub mod document;
pub mod lex;
pub mod load;
pub mod read;
pub mod settings;
pub mod table;
pub mod tree;
pub mod value;
pub mod variables;
pub mod world;

pub use complaint::{Complaint, Kind, Level, SourceFile};
pub use load::{Defaults, Loaded, Note, Options, load};
pub use world::{Errno, MemoryWorld, PairOnDisk, World};
