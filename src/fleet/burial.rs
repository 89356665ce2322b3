//! What is cleared away? The bundles, orders and choices of a certificate that no node's configuration has had for thirty
//! days: the node on duty ends them by tombstones, which spread like anything else, so that no copy comes back. Nothing is
//! dropped by a local clock alone. While a member that counts is not heard nothing ends: it may be the one that has the
//! name; should it all the same, it claims its bundle anew beyond the tombstone ([`revived`]).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::members::{Member, Standing};
use super::serving::Served;
use super::{Claim, NodeId, State, Subject, rank};
use crate::clock::UnixTime;
use crate::plan::certificate::CertId;

/// How long nobody must have had a name.
pub const UNUSED: Duration = Duration::from_secs(30 * 86_400);

/// Since when no configuration has had each certificate, as this node saw it; kept over restarts by `node`.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Unused(BTreeMap<CertId, UnixTime>);

impl Unused {
    /// Notes what is used now. Returns the tombstones that are due and this node's to make.
    pub fn note(
        &mut self,
        state: &State,
        served: &Served,
        members: &[Member],
        me: NodeId,
        now: UnixTime,
    ) -> Vec<Claim> {
        let held: BTreeSet<CertId> =
            state.all().filter(|claim| !claim.is_tombstone()).filter_map(certificate).collect();
        let mut unused: BTreeSet<CertId> = served.unused(held.iter()).into_iter().collect();
        // What stands behind another (a standby, names split off) is used while that one is.
        unused.retain(|cert| base(cert).is_none_or(|base| !served.unused(std::iter::once(&base)).is_empty()));
        self.0.retain(|cert, _| unused.contains(cert));
        for cert in unused {
            // A clock that was set back begins anew.
            let since = self.0.entry(cert).or_insert(now);
            *since = (*since).min(now);
        }
        if members.iter().any(|member| matches!(member.standing, Standing::Silent { .. })) {
            return Vec::new();
        }
        let live: Vec<NodeId> =
            members.iter().filter(|member| member.standing.is_live()).map(|member| member.node).collect();
        let due = self.0.iter().filter(|(_, since)| now.since(**since) >= UNUSED).map(|(cert, _)| cert);
        let mine = due.filter(|cert| rank::place(cert.as_str().as_bytes(), me, &live) == 0);
        mine.flat_map(|cert| ends(state, cert, me)).collect()
    }
}

fn certificate(claim: &Arc<Claim>) -> Option<CertId> {
    match claim.subject() {
        Subject::Bundle(cert) | Subject::Order(cert) | Subject::Ari(cert) => Some(cert.clone()),
        _ => None,
    }
}

/// The certificate behind which this one stands.
fn base(cert: &CertId) -> Option<CertId> {
    let (at, _) = cert.as_str().match_indices('~').nth(1)?;
    CertId::try_from(cert.as_str()[..at].to_owned()).ok()
}

/// Tombstones for everything that is known of a certificate.
fn ends(state: &State, cert: &CertId, me: NodeId) -> Vec<Claim> {
    let subjects = [Subject::Bundle(cert.clone()), Subject::Order(cert.clone()), Subject::Ari(cert.clone())];
    let alive = subjects.into_iter().filter(|subject| !state.alive(subject).is_empty());
    let end = |subject: Subject| {
        let epoch = state.epoch(&subject.key())?;
        Some(Claim::tombstone(subject, epoch, me, "no configuration has had this name for thirty days"))
    };
    alive.filter_map(end).collect()
}

/// A bundle that this node serves and whose subject ended, or is known in an earlier epoch only (the state was lost): the
/// same body in the epoch after all that is known. `None`: what is known is at least as new.
pub fn revived(state: &State, bundle: &Claim, me: NodeId) -> Option<Claim> {
    let key = bundle.mark().key;
    let known = state.epoch(&key);
    let ended = state.ended(bundle.subject()).is_some_and(|epoch| bundle.epoch() <= epoch);
    if !ended && known.is_some_and(|known| bundle.epoch() <= known) {
        return None;
    }
    let epoch = state.next_epoch(&key).max(bundle.epoch());
    Some(Claim::new(bundle.subject().clone(), epoch, me, bundle.body().clone()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::Body;
    use crate::fleet::serving::{Row, Short, to_body};

    const DAY: Duration = Duration::from_secs(86_400);
    const T: UnixTime = UnixTime::from_seconds(1_800_000_000);

    fn cert() -> CertId {
        CertId::try_from("a.example~0123456789abcdef".to_owned()).unwrap()
    }

    fn member(node: NodeId, standing: Standing) -> Member {
        Member { node, standing, report: None, differs: Vec::new() }
    }

    #[test]
    fn a_standby_is_used_while_the_certificate_before_it_is() {
        let a = NodeId::of_key(b"a");
        let mut state = State::default();
        let standby = Claim::new(Subject::Bundle(cert().variant("standby")), 1, a, Body::empty());
        state.admit(Arc::new(standby)).unwrap();
        let (mut served, mut book, all) = (Served::default(), Unused::default(), [member(a, Standing::Here)]);
        served.take(&serving(a, 1, true));
        for days in [0, 40] {
            assert_eq!(book.note(&state, &served, &all, a, T + DAY * days), []);
        }
        served.take(&serving(a, 2, false));
        assert_eq!(book.note(&state, &served, &all, a, T + DAY * 50), []);
        assert_eq!(book.note(&state, &served, &all, a, T + DAY * 80).len(), 1);
    }

    fn serving(node: NodeId, epoch: u64, has: bool) -> Claim {
        let row = Row { cert: Short::of(&cert()), shows: [0; 8], until: T };
        let rows = if has { vec![row] } else { vec![] };
        Claim::new(Subject::Serving(node, row.cert.bucket()), epoch, node, to_body(&rows))
    }

    #[test]
    fn a_name_that_nobody_has_for_thirty_days_is_ended_by_one_node_and_stays_so() {
        let (a, b) = (NodeId::of_key(b"a"), NodeId::of_key(b"b"));
        let bundle = Arc::new(Claim::new(Subject::Bundle(cert()), 7, a, Body::copy(b"key and chain")));
        let mut state = State::default();
        state.admit(bundle.clone()).unwrap();
        let mut served = Served::default();
        served.take(&serving(b, 1, true));
        let mut books = [Unused::default(), Unused::default()];
        let both = [member(a, Standing::Live), member(b, Standing::Live)];
        let mut note = |state: &State, served: &Served, members: &[Member], now| {
            let mut note = |at: usize, me| books[at].note(state, served, members, me, now);
            [note(0, a), note(1, b)].concat()
        };
        assert_eq!(note(&state, &served, &both, T), []);
        assert_eq!(note(&state, &served, &both, T + DAY * 31), []);
        served.take(&serving(b, 2, false));
        assert_eq!(note(&state, &served, &both, T + DAY * 40), []);
        let silent = [both[0].clone(), member(b, Standing::Silent { since: T })];
        assert_eq!(note(&state, &served, &silent, T + DAY * 71), [], "the silent one may have it");
        let ends = note(&state, &served, &both, T + DAY * 71);
        assert_eq!(ends.len(), 1, "one node does it");
        assert_eq!(base(&cert().variant("standby")), Some(cert()));
        assert_eq!(base(&cert()), None);
        state.admit(Arc::new(ends[0].clone())).unwrap();
        assert!(state.alive(bundle.subject()).is_empty());
        assert_eq!(note(&state, &served, &both, T + DAY * 99), []);
        // A node that was away all the time has it in its configuration: its bundle lives again, the copy does not.
        state.admit(bundle.clone()).unwrap();
        assert!(state.alive(bundle.subject()).is_empty());
        let again = revived(&state, &bundle, b).unwrap();
        assert_eq!((again.epoch(), again.body()), (8, bundle.body()));
        state.admit(Arc::new(again)).unwrap();
        assert_eq!(state.alive(bundle.subject()).len(), 1);
        assert_eq!(revived(&state, &bundle, b), None);
    }
}
