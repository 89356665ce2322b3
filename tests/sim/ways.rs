//! Does a validation find its way to us? The DNS of every name and the ports of this node, as the authority sees them.

use crate::authority::Name;
use crate::fault::Fault;
use semper::clock::UnixTime;
use semper::plan::acme::ChallengeKind;
use std::collections::BTreeMap;

/// The way to every name.
#[derive(Default)]
pub struct Ways {
    names: BTreeMap<Name, (Fault, UnixTime)>,
    ports: Vec<(Fault, UnixTime)>,
}

impl Ways {
    /// One name is hard to find for a while.
    pub fn strike(&mut self, name: Name, fault: Fault, until: UnixTime) {
        match fault {
            Fault::Port80Closed | Fault::Port443Closed => self.ports.push((fault, until)),
            _ => {
                self.names.insert(name, (fault, until));
            }
        }
    }

    pub fn calm(&mut self) {
        *self = Ways::default();
    }

    /// What keeps a validation of this kind from finding us.
    pub fn fault(&self, name: Name, kind: ChallengeKind, now: UnixTime) -> Option<Fault> {
        let of_name = self.names.get(&name).filter(|(_, until)| now < *until).map(|(fault, _)| *fault);
        let port = match kind {
            ChallengeKind::TlsAlpn01 => Fault::Port443Closed,
            _ => Fault::Port80Closed,
        };
        of_name.or_else(|| self.ports.iter().any(|(fault, until)| *fault == port && now < *until).then_some(port))
    }
}
