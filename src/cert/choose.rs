//! Which certificate is shown? Among several of one server (RSA and ECDSA) the one that the client can verify; among
//! several generations and sources of one certificate the best. Pure: candidates and `now` in, an index out.

use rustls::SignatureScheme;

use super::inspect::PublicKeyKind;
use crate::clock::UnixTime;

/// The candidate whose key the client can verify, in the client's order of preference; `None`: none fits. Of two equal
/// ones the first counts. `schemes` is what rustls gives its resolver: for TLS 1.2 only what the suites allow.
pub fn by_schemes(keys: &[PublicKeyKind], schemes: &[SignatureScheme]) -> Option<usize> {
    schemes.iter().find_map(|scheme| keys.iter().position(|key| signs(*key, *scheme)))
}

/// Whether a key can sign with `scheme`. In TLS 1.3 a scheme of ECDSA names the curve.
fn signs(key: PublicKeyKind, scheme: SignatureScheme) -> bool {
    match key {
        PublicKeyKind::Ecdsa(256) => scheme == SignatureScheme::ECDSA_NISTP256_SHA256,
        PublicKeyKind::Ecdsa(384) => scheme == SignatureScheme::ECDSA_NISTP384_SHA384,
        PublicKeyKind::Ecdsa(521) => scheme == SignatureScheme::ECDSA_NISTP521_SHA512,
        PublicKeyKind::Rsa(_) => matches!(
            scheme,
            SignatureScheme::RSA_PSS_SHA256
                | SignatureScheme::RSA_PSS_SHA384
                | SignatureScheme::RSA_PSS_SHA512
                | SignatureScheme::RSA_PKCS1_SHA256
                | SignatureScheme::RSA_PKCS1_SHA384
                | SignatureScheme::RSA_PKCS1_SHA512
        ),
        PublicKeyKind::Ed25519 => scheme == SignatureScheme::ED25519,
        PublicKeyKind::Ecdsa(_) | PublicKeyKind::Other => false,
    }
}

/// What a plan asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// `acme_certificate`: generations first, files in need.
    Acme,
    /// `ssl_certificate FILE`: the file first, unless it has reached its rescue point.
    File {
        /// From this moment on a rescued certificate goes before the file; `None`: there is no rescue.
        rescue_from: Option<UnixTime>,
    },
}

/// Where a candidate comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Provenance {
    /// A generation, obtained here or by another node; the newest has the largest number.
    Generation(u64),
    /// Of one name that was split off; shown for that name alone.
    Apart,
    /// From a second authority, held ready.
    Standby,
    /// Files.
    File,
    /// Of another set of names that the configuration had before: better than nothing until the new one comes.
    Former,
}

/// One bundle that passed the gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Where it comes from.
    pub provenance: Provenance,
    /// In force from then on.
    pub not_before: UnixTime,
    /// And up to then.
    pub not_after: UnixTime,
    /// Revoked, or its key is known to others: served only if nothing else exists.
    pub disowned: bool,
    /// Its authority wants it replaced before its time: a standby is better.
    pub doubtful: bool,
}

/// How good a candidate is; larger is better. Compared from top to bottom.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    owned: bool,
    in_force: Force,
    source: u8,
    epoch: u64,
    not_after: UnixTime,
}

/// Expired beats nothing; not yet in force may be our clock's fault and beats expired.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Force {
    Expired,
    NotYet,
    Valid,
}

/// The best of `candidates`; `None` only if there are none: then a placeholder is shown, so that the listener stands.
pub fn best(wish: Wish, candidates: &[Candidate], now: UnixTime) -> Option<usize> {
    let newest = candidates
        .iter()
        .filter(|c| !c.disowned && c.not_before <= now && now < c.not_after)
        .filter_map(|c| match c.provenance {
            Provenance::Generation(epoch) => Some(epoch),
            _ => None,
        })
        .max();
    let rank = |candidate: &Candidate| {
        let in_force = match candidate {
            c if c.not_after <= now => Force::Expired,
            c if now < c.not_before => Force::NotYet,
            _ => Force::Valid,
        };
        let (source, epoch) = match (wish, candidate.provenance) {
            (Wish::File { rescue_from }, Provenance::File) if rescue_from.is_none_or(|from| now < from) => (9, 0),
            (_, Provenance::Generation(epoch)) if Some(epoch) == newest && candidate.doubtful => (4, epoch),
            (_, Provenance::Generation(epoch)) if in_force != Force::Valid || Some(epoch) == newest => (7, epoch),
            (_, Provenance::Apart) => (8, 0),
            (_, Provenance::Standby) => (5, 0),
            (_, Provenance::File) => (3, 0),
            (_, Provenance::Generation(epoch)) => (2, epoch),
            (_, Provenance::Former) => (1, 0),
        };
        // Of expired ones the last to expire is the least bad, whatever its source.
        let (source, epoch) = if in_force == Force::Expired { (0, 0) } else { (source, epoch) };
        Rank { owned: !candidate.disowned, in_force, source, epoch, not_after: candidate.not_after }
    };
    let (index, _) = candidates.iter().enumerate().rev().max_by_key(|(_, candidate)| rank(candidate))?;
    Some(index)
}

/// What is shown for a certificate of several names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Arrangement {
    /// The candidate that is shown for every name without one of its own.
    pub main: Option<usize>,
    /// Names (by index) for which another candidate is shown.
    pub apart: Vec<(usize, usize)>,
    /// When it must be looked at again, because something begins or ends then.
    pub look_again: Option<UnixTime>,
}

/// Decides what is shown for each of `names` names: the best of `candidates`, and where that does not speak for a name or
/// is not in force, the best of those that do. `covers(candidate, name)` says who speaks for what.
pub fn arrange(
    wish: Wish,
    names: usize,
    candidates: &[Candidate],
    covers: impl Fn(usize, usize) -> bool,
    now: UnixTime,
) -> Arrangement {
    let best_of = |few: &dyn Fn(usize) -> bool| {
        let picked: Vec<usize> = (0..candidates.len()).filter(|at| few(*at)).collect();
        let few: Vec<Candidate> = picked.iter().map(|at| candidates[*at]).collect();
        best(wish, &few, now).map(|at| picked[at])
    };
    let whole = |at: usize| candidates[at].provenance != Provenance::Apart;
    let main = best_of(&whole).or_else(|| best_of(&|_| true));
    let good = |at: usize| {
        let candidate = &candidates[at];
        !candidate.disowned && candidate.not_before <= now && now < candidate.not_after
    };
    let served = |name: usize| main.is_some_and(|main| good(main) && covers(main, name));
    let own = |name: usize| best_of(&|at| covers(at, name)).filter(|at| Some(*at) != main && good(*at));
    let apart = (0..names).filter(|name| !served(*name)).filter_map(|name| Some((name, own(name)?))).collect();
    let rescue = match wish {
        Wish::File { rescue_from } => rescue_from,
        Wish::Acme => None,
    };
    let moments = candidates.iter().flat_map(|candidate| [candidate.not_before, candidate.not_after]).chain(rescue);
    Arrangement { main, apart, look_again: moments.filter(|at| now < *at).min() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(provenance: Provenance, from: i64, to: i64) -> Candidate {
        let at = UnixTime::from_seconds;
        Candidate { provenance, not_before: at(from), not_after: at(to), disowned: false, doubtful: false }
    }

    const NOW: UnixTime = UnixTime::from_seconds(1000);

    #[test]
    fn the_client_decides_between_ecdsa_and_rsa() {
        use SignatureScheme as S;
        let keys = [PublicKeyKind::Rsa(2048), PublicKeyKind::Ecdsa(256)];
        assert_eq!(by_schemes(&keys, &[S::ECDSA_NISTP256_SHA256, S::RSA_PSS_SHA256]), Some(1));
        assert_eq!(by_schemes(&keys, &[S::RSA_PSS_SHA256, S::ECDSA_NISTP256_SHA256]), Some(0));
        assert_eq!(by_schemes(&keys, &[S::RSA_PKCS1_SHA256]), Some(0));
        assert_eq!(by_schemes(&keys, &[S::ED25519]), None);
        assert_eq!(by_schemes(&keys, &[]), None);
    }

    #[test]
    fn acme_shows_newest_generation_then_standby_then_files_then_older() {
        use Provenance::{File, Generation, Standby};
        let all = [
            candidate(Generation(1), 0, 2000),
            candidate(File, 0, 9000),
            candidate(Standby, 0, 3000),
            candidate(Generation(2), 0, 1500),
        ];
        assert_eq!(best(Wish::Acme, &all, NOW), Some(3));
        let mut disowned = all;
        disowned[3].disowned = true;
        assert_eq!(best(Wish::Acme, &disowned, NOW), Some(0));
        assert_eq!(best(Wish::Acme, &all, UnixTime::from_seconds(1600)), Some(0));
        assert_eq!(best(Wish::Acme, &all[1..3], NOW), Some(1));
        assert_eq!(best(Wish::Acme, &all[1..2], NOW), Some(0));
        assert_eq!(best(Wish::Acme, &[], NOW), None);
    }

    #[test]
    fn a_standby_steps_in_for_what_is_doubtful_disowned_or_over() {
        use Provenance::{Generation, Standby};
        let mut all =
            [candidate(Generation(1), 0, 2000), candidate(Standby, 0, 3000), candidate(Generation(2), 0, 1500)];
        assert_eq!(best(Wish::Acme, &all, NOW), Some(2));
        assert_eq!(best(Wish::Acme, &all[1..], UnixTime::from_seconds(1501)), Some(0));
        all[2].doubtful = true;
        assert_eq!(best(Wish::Acme, &all, NOW), Some(1));
        assert_eq!(best(Wish::Acme, &all[2..], NOW), Some(0), "doubtful beats nothing");
    }

    #[test]
    fn each_name_is_shown_the_best_that_speaks_for_it() {
        use Provenance::{Apart, Former, Generation};
        // Names a, b, c: the newest generation lacks b.
        let all = [candidate(Generation(1), 0, 2000), candidate(Generation(2), 0, 5000)];
        let covers = |candidate: usize, name: usize| candidate != 1 || name != 1;
        let shown = arrange(Wish::Acme, 3, &all, covers, NOW);
        assert_eq!((shown.main, &shown.apart[..]), (Some(1), &[(1, 0)][..]), "b keeps the old one while it is valid");
        assert_eq!(shown.look_again, Some(UnixTime::from_seconds(2000)));
        let later = arrange(Wish::Acme, 3, &all, covers, UnixTime::from_seconds(2000));
        assert_eq!((later.main, &later.apart[..]), (Some(1), &[][..]));
        // One of its own comes.
        let all = [all[0], all[1], candidate(Apart, 0, 4000)];
        let covers = |candidate: usize, name: usize| [true, name != 1, name == 1][candidate];
        assert_eq!(arrange(Wish::Acme, 3, &all, covers, NOW).apart, [(1, 2)]);
        assert_eq!(arrange(Wish::Acme, 3, &all[2..], |_, name| name == 1, NOW).main, Some(0), "better than nothing");
        // A former set of names helps out until the new one comes.
        let former = [candidate(Former, 0, 4000)];
        assert_eq!(arrange(Wish::Acme, 3, &former, |_, name| name < 2, NOW).main, Some(0));
    }

    #[test]
    fn a_valid_file_comes_first_until_its_rescue_point_and_a_new_one_again() {
        use Provenance::{File, Generation};
        let wish = Wish::File { rescue_from: Some(UnixTime::from_seconds(1500)) };
        let all = [candidate(Generation(5), 0, 9000), candidate(File, 0, 2000)];
        assert_eq!(best(wish, &all, NOW), Some(1));
        assert_eq!(best(wish, &all, UnixTime::from_seconds(1600)), Some(0));
        assert_eq!(best(Wish::File { rescue_from: None }, &all, UnixTime::from_seconds(1600)), Some(1));
        assert_eq!(best(Wish::File { rescue_from: None }, &all, UnixTime::from_seconds(2000)), Some(0));
    }

    #[test]
    fn expired_beats_nothing_and_anything_beats_disowned() {
        use Provenance::{File, Generation};
        let expired = [candidate(Generation(3), 0, 500), candidate(File, 0, 900)];
        assert_eq!(best(Wish::Acme, &expired, NOW), Some(1));
        let mut disowned = [candidate(Generation(3), 0, 5000), candidate(File, 0, 900)];
        disowned[0].disowned = true;
        assert_eq!(best(Wish::Acme, &disowned, NOW), Some(1));
        assert_eq!(best(Wish::Acme, &disowned[..1], NOW), Some(0));
        // Our clock may be wrong: not yet in force is better than over.
        let early = [candidate(File, 0, 900), candidate(Generation(1), 1001, 5000)];
        assert_eq!(best(Wish::Acme, &early, NOW), Some(1));
    }
}
