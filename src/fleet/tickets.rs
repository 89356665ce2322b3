//! Which secrets seal and open session tickets? Each epoch of twelve hours has a random one, made by the node on duty half
//! an epoch before it is used, so that every node has it by then. Previous, current and next are accepted; older ones end
//! in a tombstone. A secret follows from no other: who has today's cannot open yesterday's.

use std::time::Duration;

use super::rank;
use super::{Claim, NodeId, State, Subject};
use crate::clock::UnixTime;

/// The length of an epoch.
pub const EPOCH: Duration = Duration::from_secs(12 * 3600);
/// Slots on which epochs are kept; an epoch's secret is overwritten after so many.
const SLOTS: u64 = 8;
/// The length of a secret in bytes.
pub const SECRET: usize = 32;
/// The next in rank makes a secret if it was not seen for so long after it was due.
const NEXT_IN_RANK: Duration = Duration::from_secs(120);

/// The epoch of a moment; the first has number 1.
pub fn epoch_at(now: UnixTime) -> u64 {
    u64::try_from(now.0.max(0)).unwrap_or(0) / u64::try_from(EPOCH.as_millis()).unwrap_or(1) + 1
}

/// When an epoch begins.
fn begins(epoch: u64) -> UnixTime {
    UnixTime::default() + EPOCH * u32::try_from(epoch.saturating_sub(1)).unwrap_or(u32::MAX)
}

/// The subject under which the secret of an epoch stands.
pub fn subject(epoch: u64) -> Subject {
    Subject::Ticket(u8::try_from(epoch % SLOTS).unwrap_or(0))
}

/// The secrets that hold at a moment.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Secrets {
    /// Seals new tickets. That of the current epoch, else of the previous or next one; `None`: there is none yet.
    pub seals: Option<Secret>,
    /// All that open tickets, the sealing one among them.
    pub open: Vec<Secret>,
}

/// The secret of an epoch.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    /// Of which epoch.
    pub epoch: u64,
    /// 32 random bytes.
    pub bytes: zeroize::Zeroizing<[u8; SECRET]>,
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "of epoch {}", self.epoch)
    }
}

/// The secrets that hold at `now`. If two nodes made one for the same epoch, both open and all nodes seal with the same.
pub fn secrets(state: &State, now: UnixTime) -> Secrets {
    let current = epoch_at(now);
    let of = |epoch: u64| {
        let mut claims = state.alive(&subject(epoch));
        claims.retain(|claim| claim.epoch() == epoch);
        claims.sort_by_key(|claim| std::cmp::Reverse(claim.mark().digest));
        claims.into_iter().filter_map(move |claim| {
            let bytes = zeroize::Zeroizing::new(claim.body().as_bytes().try_into().ok()?);
            Some(Secret { epoch, bytes })
        })
    };
    let open: Vec<Secret> = [current, current.saturating_sub(1), current + 1].into_iter().flat_map(of).collect();
    Secrets { seals: open.first().cloned(), open }
}

/// What this node shall do about secrets now.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct TicketDuty {
    /// Make a secret for these epochs, claim it ([`make`]), and tell it.
    pub make: Vec<u64>,
    /// Claim that these are over ([`Claim::tombstone`]): their epochs ended.
    pub end: Vec<(Subject, u64)>,
    /// When to ask again.
    pub again: UnixTime,
}

/// The claim of a secret for `epoch`, of bytes that were drawn for it alone.
pub fn make(epoch: u64, secret: &[u8; SECRET], me: NodeId) -> Claim {
    Claim::new(subject(epoch), epoch, me, super::Body::copy(secret))
}

/// What `me` shall do at `now`; `live` are the nodes that live, `since` is when this node met its fleet: before it makes
/// the secret of a running epoch it listens for a while whether there is one.
pub fn duty(state: &State, me: NodeId, live: &[NodeId], since: UnixTime, now: UnixTime) -> TicketDuty {
    let current = epoch_at(now);
    let mut duty = TicketDuty { again: begins(current + 1), ..TicketDuty::default() };
    for epoch in [current, current + 1] {
        let known = state.claims(&subject(epoch).key()).any(|claim| claim.epoch() >= epoch);
        if known {
            continue;
        }
        let place = u32::try_from(rank::place(&epoch.to_be_bytes(), me, live)).unwrap_or(u32::MAX);
        let wanted = (begins(epoch) - EPOCH / 2).max(since + Duration::from_secs(10));
        let mine = wanted + NEXT_IN_RANK.saturating_mul(place);
        if mine <= now {
            duty.make.push(epoch);
        } else {
            duty.again = duty.again.min(mine);
        }
    }
    if rank::place(&current.to_be_bytes(), me, live) == 0 {
        for claim in (0..SLOTS).flat_map(|slot| state.alive(&subject(slot))) {
            let gone = claim.epoch().saturating_add(1) < current;
            if gone && !duty.end.contains(&(claim.subject().clone(), claim.epoch())) {
                duty.end.push((claim.subject().clone(), claim.epoch()));
            }
        }
    }
    duty
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn perform(states: &mut [State], nodes: &[NodeId], now: UnixTime) -> usize {
        let mut made = 0;
        for (at, me) in nodes.iter().enumerate() {
            let duty = duty(&states[at], *me, nodes, UnixTime::default(), now);
            let ends = duty.end.into_iter().map(|(subject, epoch)| Claim::tombstone(subject, epoch, *me, "ended"));
            let new = duty.make.iter().map(|epoch| make(*epoch, &[at as u8; SECRET], *me));
            for claim in new.chain(ends) {
                made += usize::from(!claim.is_tombstone());
                let claim = Arc::new(claim);
                states.iter_mut().for_each(|state| assert!(state.admit(claim.clone()).is_ok()));
            }
        }
        made
    }

    #[test]
    fn each_epoch_has_one_secret_made_by_one_node_and_spread_before_its_use() {
        let nodes: Vec<NodeId> = (0..5_u8).map(|n| NodeId::of_key(&[n])).collect();
        let mut states = vec![State::default(); 5];
        let start = begins(40_000);
        let mut made = 0;
        for minute in 0..(60 * 24 * 10) {
            let now = start + Duration::from_secs(60 * minute);
            made += perform(&mut states, &nodes, now);
            let secrets: Vec<Secrets> = states.iter().map(|state| secrets(state, now)).collect();
            assert!(secrets.iter().all(|one| one == &secrets[0]));
            if minute > 60 * 7 {
                assert_eq!(secrets[0].seals.as_ref().map(|secret| secret.epoch), Some(epoch_at(now)));
                // Present on every node half an epoch before it seals.
                assert!(secrets[0].open.len() <= 3);
                let next = secrets[0].open.iter().any(|secret| secret.epoch == epoch_at(now) + 1);
                let half_over = now.since(begins(epoch_at(now))) > EPOCH / 2 + NEXT_IN_RANK;
                assert!(next || !half_over, "minute {minute}");
            }
        }
        assert_eq!(made, 21, "one for each half day, and the running one at first");
        let kept = (0..SLOTS).flat_map(|slot| states[0].alive(&subject(slot))).count();
        assert!(kept <= 3, "{kept} secrets are kept");
    }

    #[test]
    fn the_next_in_rank_makes_it_when_the_first_does_not() {
        let (dead, me) = (1..100_u8)
            .map(|n| (NodeId::of_key(&[0]), NodeId::of_key(&[n])))
            .find(|(dead, me)| rank::place(&41_u64.to_be_bytes(), *me, &[*dead, *me]) == 1)
            .unwrap();
        let state = State::default();
        let at = begins(41) + Duration::from_secs(60);
        let duty_at = |now| duty(&state, me, &[dead, me], UnixTime::default(), now);
        assert!(!duty_at(begins(41) - EPOCH / 2).make.contains(&41));
        assert!(duty_at(at).make.contains(&41));
    }

    #[test]
    fn when_two_were_made_all_seal_with_the_same_and_open_both() {
        let now = begins(9) + Duration::from_secs(1);
        let claims = [1, 2].map(|n| Arc::new(make(9, &[n; SECRET], NodeId::of_key(&[n]))));
        let (mut one, mut two) = (State::default(), State::default());
        claims.iter().for_each(|claim| assert!(one.admit(claim.clone()).is_ok()));
        claims.iter().rev().for_each(|claim| assert!(two.admit(claim.clone()).is_ok()));
        assert_eq!(secrets(&one, now), secrets(&two, now));
        assert_eq!(secrets(&one, now).open.len(), 2);
        assert_eq!(secrets(&one, begins(12)).open, [], "wiped from use after the next epoch");
    }
}
