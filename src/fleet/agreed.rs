//! What have the nodes agreed on for a certificate: the moment of its renewal within the authority's window, the order
//! under way, the generation to serve? Two nodes may have spoken at once; each of these rules gives all nodes the same
//! answer, in whatever order they heard it. Reads and writes the bodies of [`Subject::Ari`] and [`Subject::Order`].

use super::duty::Elsewhere;
use super::wire::{BadBytes, Reader, Writer};
use super::{Body, Claim, Digest, NodeId, State, Subject};
use crate::clock::UnixTime;
use crate::plan::certificate::CertId;
use crate::words::Fingerprint;

/// The longest record of an order: URLs, deadlines, the key that waits for its certificate.
const LONGEST_RECORD: usize = 64 * 1024;

/// The moment chosen within an authority's window (RFC 9773) for one generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The leaf it is about.
    pub leaf: Fingerprint,
    /// The window begins.
    pub start: UnixTime,
    /// The window ends.
    pub end: UnixTime,
    /// Renew then.
    pub at: UnixTime,
}

impl Choice {
    /// The claim of it, in the epoch after all that is known.
    pub fn claim(&self, cert: &CertId, state: &State, me: NodeId) -> Claim {
        let subject = Subject::Ari(cert.clone());
        let epoch = state.next_epoch(&subject.key());
        let mut w = Writer::with_room(64);
        w.u8(1);
        w.raw(&self.leaf.0);
        [self.start, self.end, self.at].iter().for_each(|at| w.u64(at.0.cast_unsigned()));
        Claim::new(subject, epoch, me, Body::new(w.finish()))
    }

    /// Reads the body of a claim.
    ///
    /// # Errors
    /// [`BadBytes`]; a moment outside of its window is malformed.
    pub fn from_body(body: &Body) -> Result<Choice, BadBytes> {
        let mut r = Reader::new(body.as_bytes());
        if r.u8()? != 1 {
            return Err(BadBytes::Version);
        }
        let leaf = Fingerprint(r.array()?);
        let mut moment = || r.u64().map(|at| UnixTime(at.cast_signed()));
        let choice = Choice { leaf, start: moment()?, end: moment()?, at: moment()? };
        if choice.at < choice.start || choice.end < choice.at {
            return Err(BadBytes::Malformed);
        }
        Ok(choice)
    }
}

/// The choice for this leaf that all nodes keep: of several the earliest. `None`: choose, and claim it.
pub fn choice(state: &State, cert: &CertId, leaf: &Fingerprint) -> Option<Choice> {
    let claims = state.alive(&Subject::Ari(cert.clone()));
    let choices = claims.iter().filter_map(|claim| Choice::from_body(claim.body()).ok());
    choices.filter(|choice| choice.leaf == *leaf).min_by_key(|choice| (choice.at, choice.start, choice.end))
}

/// An order under way: until when at most, and what another node needs to go on with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnderWay {
    /// Its deadline.
    pub until: UnixTime,
    /// What `node` needs to fetch what was ordered. Holds the key: secret.
    pub record: Body,
}

impl UnderWay {
    /// The claim of it, in the epoch after all that is known. It ends by [`Claim::tombstone`] of its epoch.
    pub fn claim(&self, cert: &CertId, state: &State, me: NodeId) -> Claim {
        let subject = Subject::Order(cert.clone());
        let epoch = state.next_epoch(&subject.key());
        let mut w = Writer::with_room(self.record.as_bytes().len() + 16);
        w.u8(1);
        w.u64(self.until.0.cast_unsigned());
        w.bytes(self.record.as_bytes());
        Claim::new(subject, epoch, me, Body::new(w.finish()))
    }

    /// Reads the body of a claim.
    ///
    /// # Errors
    /// [`BadBytes`].
    pub fn from_body(body: &Body) -> Result<UnderWay, BadBytes> {
        let mut r = Reader::new(body.as_bytes());
        if r.u8()? != 1 {
            return Err(BadBytes::Version);
        }
        let until = UnixTime(r.u64()?.cast_signed());
        Ok(UnderWay { until, record: Body::copy(r.bytes(LONGEST_RECORD)?) })
    }
}

/// The order of another node that is under way for a certificate, for [`duty`](super::duty::duty): that with the latest
/// deadline.
pub fn elsewhere(state: &State, cert: &CertId, me: NodeId) -> Option<Elsewhere> {
    let claims = state.alive(&Subject::Order(cert.clone()));
    let others = claims.iter().filter(|claim| claim.origin() != me);
    let orders = others.filter_map(|claim| {
        let until = UnderWay::from_body(claim.body()).ok()?.until;
        Some(Elsewhere { by: claim.origin(), until })
    });
    orders.max_by_key(|order| (order.until, order.by))
}

/// A generation that passed the gate, as the choice among those of one epoch sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Its key was declared compromised, or it was revoked.
    pub disowned: bool,
    /// In force from then on.
    pub not_before: UnixTime,
    /// And up to then.
    pub not_after: UnixTime,
    /// The digest of its claim.
    pub digest: Digest,
}

/// The generation that every node serves, of those of one epoch: not a disowned one if there is another, then the one
/// issued last, the one that lives longest, the largest digest. Looks at no clock.
pub fn best(generations: &[Verified]) -> Option<usize> {
    let rank = |one: &Verified| (!one.disowned, one.not_before, one.not_after, one.digest);
    (0..generations.len()).max_by_key(|at| rank(&generations[*at]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn cert() -> CertId {
        CertId::try_from("a.example~0123456789abcdef".to_owned()).unwrap()
    }

    fn at(seconds: i64) -> UnixTime {
        UnixTime::from_seconds(seconds)
    }

    #[test]
    fn of_two_choices_made_at_once_all_nodes_keep_the_earlier_and_a_new_leaf_has_its_own() {
        let (old, new) = (Fingerprint::of(b"old"), Fingerprint::of(b"new"));
        let of = |leaf, seconds| Choice { leaf, start: at(10), end: at(90), at: at(seconds) };
        let empty = State::default();
        let claims = [
            Arc::new(of(old, 50).claim(&cert(), &empty, NodeId::of_key(b"1"))),
            Arc::new(of(old, 20).claim(&cert(), &empty, NodeId::of_key(b"2"))),
        ];
        let (mut one, mut two) = (State::default(), State::default());
        claims.iter().for_each(|claim| assert!(one.admit(claim.clone()).is_ok()));
        claims.iter().rev().for_each(|claim| assert!(two.admit(claim.clone()).is_ok()));
        assert_eq!(choice(&one, &cert(), &old), Some(of(old, 20)));
        assert_eq!(choice(&one, &cert(), &old), choice(&two, &cert(), &old));
        assert_eq!(choice(&one, &cert(), &new), None);
        one.admit(Arc::new(of(new, 80).claim(&cert(), &one, NodeId::of_key(b"1")))).unwrap();
        assert_eq!(choice(&one, &cert(), &new), Some(of(new, 80)));
        let outside = of(old, 91).claim(&cert(), &empty, NodeId::of_key(b"1"));
        assert_eq!(Choice::from_body(outside.body()), Err(BadBytes::Malformed));
    }

    #[test]
    fn an_order_elsewhere_is_seen_until_it_is_over() {
        let (me, other) = (NodeId::of_key(b"me"), NodeId::of_key(b"other"));
        let mut state = State::default();
        let order = UnderWay { until: at(100), record: Body::copy(b"key") };
        let claim = Arc::new(order.claim(&cert(), &state, other));
        state.admit(claim.clone()).unwrap();
        assert_eq!(UnderWay::from_body(claim.body()), Ok(order));
        assert_eq!(elsewhere(&state, &cert(), me), Some(Elsewhere { by: other, until: at(100) }));
        assert_eq!(elsewhere(&state, &cert(), other), None);
        let over = Claim::tombstone(Subject::Order(cert()), claim.epoch(), other, "issued");
        state.admit(Arc::new(over)).unwrap();
        assert_eq!(elsewhere(&state, &cert(), me), None);
    }

    #[test]
    fn the_choice_between_generations_of_one_epoch_depends_on_what_they_are_alone() {
        let of = |disowned, from, to, digest| Verified {
            disowned,
            not_before: at(from),
            not_after: at(to),
            digest: Digest([digest; 32]),
        };
        assert_eq!(best(&[]), None);
        assert_eq!(best(&[of(true, 9, 99, 9), of(false, 1, 2, 1)]), Some(1));
        assert_eq!(best(&[of(false, 1, 9, 1), of(false, 2, 5, 1)]), Some(1));
        assert_eq!(best(&[of(false, 1, 9, 2), of(false, 1, 9, 1)]), Some(0));
    }
}
