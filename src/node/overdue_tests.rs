//! Is a keeper that hangs told of, by a clock that shares nothing with it? Real keepers; one is planted that hangs.

use std::sync::mpsc;

use zeroize::Zeroizing;

use super::*;
use crate::cert::bundle::Bundle;
use crate::cert::concern::Topic;
use crate::cert::journal::{Record, Shelf, ShelfError};
use crate::cert::overdue::STANDSTILL;
use crate::cert::stage::{Event, Policy};
use crate::clock::{UnixTime, VirtualClock};
use crate::node::clock::RealDice;
use crate::node::keeper::{Desk, Handle, Keeper, Rules, Tools, Word};
use crate::plan::acme::{Authority, InternalAuthority, Issuer};
use crate::plan::certificate::{CertSpec, KeyKind};
use crate::store::Memory;
use crate::words::Place;

/// A disk that takes no stage until somebody lets it: what NFS does when its server is away.
struct Hanging(Memory, std::sync::Mutex<mpsc::Receiver<()>>);

impl Shelf for Hanging {
    fn load(&self, record: &Record) -> Result<Option<Zeroizing<Vec<u8>>>, ShelfError> {
        self.0.load(record)
    }

    fn save(&self, record: &Record, content: &[u8]) -> Result<(), ShelfError> {
        if matches!(record, Record::Stage(_)) {
            let _ = self.1.lock().unwrap().recv();
        }
        self.0.save(record, content)
    }

    fn remove(&self, record: &Record) -> Result<(), ShelfError> {
        self.0.remove(record)
    }

    fn bundle(&self, id: &CertId) -> Result<Option<Bundle>, ShelfError> {
        self.0.bundle(id)
    }

    fn replace(&self, bundle: &Bundle, expected: Option<u64>) -> Result<(), ShelfError> {
        self.0.replace(bundle, expected)
    }

    fn disown(&self, id: &CertId, epoch: u64) -> Result<(), ShelfError> {
        self.0.disown(id, epoch)
    }
}

fn keeper(name: &str, shelf: Arc<dyn Shelf>, beats: &Arc<Beats>, clock: &Arc<VirtualClock>) -> (CertId, Handle) {
    let authority = Authority::Internal(InternalAuthority::default());
    let issuer = Issuer::new("inner", None, authority, Place::built_in());
    let spec = CertSpec::new("inner", vec![name.parse().unwrap()], KeyKind::EcdsaP256, Place::built_in());
    let policy = Policy::of(&issuer, &[], spec.identifiers.as_slice());
    // Nobody to ask: what is tried comes to nothing, and is tried again.
    let rules = Rules { spec: Arc::new(spec.clone()), policy, issuers: vec![] };
    let tools =
        Tools { clock: clock.clone(), dice: Arc::new(RealDice), publish: Arc::new(|_| {}), beats: beats.clone() };
    let (keeper, mut handle) = Keeper::new(rules, tools, Desk::over(shelf), None);
    handle.attach(tokio::spawn(keeper.run()));
    (spec.id, handle)
}

fn facts(id: &CertId, beats: &Beats, begun: Instant, at: Instant) -> Facts {
    Facts { subject: id.to_string(), shown: None, kept: Some(kept(beats, id, begun, at)), paused: None }
}

#[tokio::test]
async fn a_keeper_that_hangs_is_told_of_and_one_that_turns_is_not() {
    let (beats, clock, begun) = (Arc::new(Beats::default()), Arc::new(VirtualClock::default()), Instant::now());
    clock.set(UnixTime::from_seconds(1_800_000_000));
    let (let_go, hangs) = mpsc::channel();
    let (stuck, _stuck) = keeper("stuck.test", Arc::new(Hanging(Memory::default(), hangs.into())), &beats, &clock);
    let (sound, handle) = keeper("sound.test", Arc::new(Memory::default()), &beats, &clock);
    // Both have begun; the one is in its first write for ever.
    for _ in 0..500 {
        if beats.of(&stuck).is_some() && beats.of(&sound).is_some_and(|beat| beat.attempts > 0) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // The moment comes at which it has been so for long; what turns has turned since.
    std::thread::sleep(Duration::from_millis(50));
    for _ in 0..500 {
        handle.tell(Word::Event(Event::Tick));
        if beats.of(&sound).is_some_and(|beat| beat.at.saturating_duration_since(begun) > Duration::from_millis(50)) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let last = beats.of(&sound).unwrap().at;
    let later = last + STANDSTILL;
    let both = [facts(&stuck, &beats, begun, later), facts(&sound, &beats, begun, later)];
    let told = OverdueClock::default().look(&both, clock.now());
    assert_eq!(
        told.iter().map(|c| (c.topic, &c.subject[..])).collect::<Vec<_>>(),
        [(Topic::Standstill, stuck.as_str())]
    );
    assert!(told[0].text.contains("has not turned for 20 minutes"), "{}", told[0].text);
    drop(let_go);
    for _ in 0..500 {
        if beats.of(&stuck).is_some_and(|beat| beat.attempts > 0) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it goes on when the disk does");
}

#[test]
fn a_keeper_that_never_began_stands_still_since_the_start() {
    let (beats, begun) = (Beats::default(), Instant::now());
    let id: CertId = CertSpec::new("i", vec!["a.test".parse().unwrap()], KeyKind::EcdsaP256, Place::built_in()).id;
    let at = begun + STANDSTILL + Duration::from_secs(1);
    let told = OverdueClock::default().look(&[facts(&id, &beats, begun, at)], UnixTime::from_seconds(1_800_000_000));
    assert_eq!(told.iter().map(|concern| concern.topic).collect::<Vec<_>>(), [Topic::Standstill]);
}
