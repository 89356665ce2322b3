//! Does the fleet's knowledge obey its laws? The join on random histories, and many machines over a network that loses,
//! doubles, delays and cuts, in virtual time. Only `fleet::Sync` itself runs here, fed with real frames.
#![allow(clippy::unwrap_used)]

#[path = "fleet_laws/joined.rs"]
mod joined;
#[path = "fleet_laws/network.rs"]
mod network;
#[path = "fleet_laws/orders.rs"]
mod orders;
#[path = "fleet_laws/spread.rs"]
mod spread;
