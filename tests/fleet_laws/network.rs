//! A network in virtual time: machines, frames under way, and what the weather does to them. One seed, one course.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use semper::clock::{Dice, UnixTime};
use semper::fleet::sync::{Effect, Event, Now, Sync, Terms};
use semper::fleet::{Claim, Message, NodeId, SubjectKey};

/// Draws from one seed.
pub struct Seeded(AtomicU64);

impl Seeded {
    pub fn new(seed: u64) -> Seeded {
        Seeded(AtomicU64::new(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1))
    }
}

impl Dice for Seeded {
    fn draw(&self) -> f64 {
        let mut x = self.0.load(Ordering::Relaxed);
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        self.0.store(x, Ordering::Relaxed);
        (x >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// What happens to frames.
#[derive(Clone, Copy)]
pub struct Weather {
    pub loss: f64,
    pub doubling: f64,
    pub shortest: Duration,
    pub longest: Duration,
}

impl Weather {
    pub const FAIR: Weather =
        Weather { loss: 0.0, doubling: 0.0, shortest: Duration::from_millis(1), longest: Duration::from_millis(5) };
    pub const FOUL: Weather =
        Weather { loss: 0.2, doubling: 0.1, shortest: Duration::from_millis(5), longest: Duration::from_millis(400) };
}

enum What {
    Frame(NodeId, Arc<Vec<u8>>),
    Wake(u64),
}

/// Whether a frame from the first to the second gets through.
type Cut = Box<dyn Fn(usize, usize) -> bool>;

pub struct Network {
    pub now: Duration,
    pub nodes: Vec<Sync>,
    pub ids: Vec<NodeId>,
    numbers: BTreeMap<NodeId, usize>,
    wakes: Vec<u64>,
    queue: BinaryHeap<Reverse<(Duration, u64, usize)>>,
    under_way: BTreeMap<u64, What>,
    count: u64,
    pub weather: Weather,
    pub cut: Cut,
    pub dice: Seeded,
    /// Bytes sent by each node since somebody set it to zero.
    pub sent: Vec<usize>,
    /// What each node has on disk.
    pub disks: Vec<BTreeMap<SubjectKey, Vec<Arc<Claim>>>>,
    /// Effects other than frames, disk and waking, in order.
    pub seen: Vec<(usize, Duration, Effect)>,
}

impl Network {
    pub fn new(count: usize, seed: u64, weather: Weather, terms: impl Fn(usize) -> Terms) -> Network {
        let ids: Vec<NodeId> = (0..count).map(|at| NodeId::of_key(&[at as u8, 1])).collect();
        let nodes = ids.iter().enumerate().map(|(at, id)| Sync::new(*id, terms(at))).collect();
        Network {
            now: Duration::from_secs(1),
            nodes,
            numbers: ids.iter().enumerate().map(|(at, id)| (*id, at)).collect(),
            ids,
            wakes: vec![0; count],
            queue: BinaryHeap::new(),
            under_way: BTreeMap::new(),
            count: 0,
            weather,
            cut: Box::new(|_, _| false),
            dice: Seeded::new(seed),
            sent: vec![0; count],
            disks: vec![BTreeMap::new(); count],
            seen: Vec::new(),
        }
    }

    pub fn usual(count: usize, seed: u64, weather: Weather) -> Network {
        Network::new(count, seed, weather, |at| Terms::new("semper 0.1.0", at as u64))
    }

    /// Every node meets every other.
    pub fn connect_all(&mut self) {
        for at in 0..self.nodes.len() {
            self.connect(at);
        }
    }

    /// One node meets all others, from its side only.
    pub fn connect(&mut self, at: usize) {
        for other in 0..self.nodes.len() {
            if other != at {
                self.tell(at, Event::Connected(self.ids[other]));
            }
        }
    }

    pub fn moment(&self) -> Now {
        Now { mono: self.now, civil: UnixTime::from_seconds(1_800_000_000) + self.now }
    }

    pub fn tell(&mut self, at: usize, event: Event) {
        let now = self.moment();
        let effects = self.nodes[at].on(now, event, &self.dice);
        for effect in effects {
            match effect {
                Effect::Send { to, message } => self.send(at, to, &message),
                Effect::Store { key, claims } => {
                    self.disks[at].insert(key, claims);
                }
                Effect::WakeAt(when) => {
                    self.wakes[at] += 1;
                    let turn = self.wakes[at];
                    self.put(when.max(self.now), at, What::Wake(turn));
                }
                other => self.seen.push((at, self.now, other)),
            }
        }
    }

    fn put(&mut self, when: Duration, at: usize, what: What) {
        self.count += 1;
        self.queue.push(Reverse((when, self.count, at)));
        self.under_way.insert(self.count, what);
    }

    fn send(&mut self, from: usize, to: NodeId, message: &Message) {
        let frame = Arc::new(message.encode().to_vec());
        self.sent[from] += frame.len();
        let at = self.numbers[&to];
        let Weather { loss, doubling, shortest, longest } = self.weather;
        let copies = 1 + usize::from(self.dice.draw() < doubling);
        for _ in 0..copies {
            let late = shortest + (longest - shortest).mul_f64(self.dice.draw());
            if self.dice.draw() >= loss && !(self.cut)(from, at) {
                self.put(self.now + late, at, What::Frame(self.ids[from], frame.clone()));
            }
        }
    }

    /// Lets time pass.
    pub fn pass(&mut self, span: Duration) {
        let end = self.now + span;
        while let Some(Reverse((when, number, at))) = self.queue.peek().copied() {
            if when > end {
                break;
            }
            self.queue.pop();
            self.now = self.now.max(when);
            match self.under_way.remove(&number) {
                Some(What::Frame(from, frame)) => {
                    let message = Message::decode(&frame).unwrap().unwrap();
                    self.tell(at, Event::Received(from, message));
                }
                Some(What::Wake(turn)) if turn == self.wakes[at] => self.tell(at, Event::Tick),
                _ => {}
            }
        }
        self.now = end;
    }

    /// Lets time pass until `done`, at most `longest`; how long it took.
    pub fn until(&mut self, longest: Duration, done: impl Fn(&Network) -> bool) -> Option<Duration> {
        let start = self.now;
        while self.now - start <= longest {
            if done(self) {
                return Some(self.now - start);
            }
            self.pass(Duration::from_millis(100));
        }
        None
    }

    /// How many nodes know exactly this claim.
    pub fn knowing(&self, claim: &Claim) -> usize {
        self.nodes.iter().filter(|node| node.state().knows(&claim.mark())).count()
    }

    /// Whether all know the same.
    pub fn agree(&self) -> bool {
        self.nodes.iter().all(|node| node.state() == self.nodes[0].state())
    }
}
