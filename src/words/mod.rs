//! Which words does the whole house use? Each is parsed once and then trusted. No I/O, no policy.

pub mod fields;
pub mod fingerprint;
pub mod fleet_key;
pub mod identifier;
pub mod place;
pub mod secret;

pub use fields::{Field, Fields};
pub use fingerprint::Fingerprint;
pub use fleet_key::{FleetKey, NotAFleetKey};
pub use identifier::{DomainName, Identifier};
pub use place::Place;
pub use secret::SecretRef;
