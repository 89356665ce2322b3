//! What becomes of a message? Links between two nodes come and go; each direction may be cut by itself; what is sent takes
//! a while, is lost, comes twice, or comes hours later.

use super::world::{What, World};
use semper::fleet::Message;
use semper::fleet::sync::Event;

/// Something on its way.
#[derive(Clone)]
pub struct Letter {
    pub from: usize,
    pub to: usize,
    /// The link on which it was sent.
    pub link: u64,
    /// As on the wire.
    pub bytes: Vec<u8>,
}

impl World {
    fn pair(a: usize, b: usize) -> (usize, usize) {
        (a.min(b), a.max(b))
    }

    /// The link between two nodes, if it stands.
    pub fn link(&self, a: usize, b: usize) -> Option<u64> {
        self.links.get(&World::pair(a, b)).copied()
    }

    pub fn is_cut(&self, from: usize, to: usize) -> bool {
        self.cuts.get(&(from, to)).is_some_and(|until| self.now < *until)
    }

    /// A message leaves.
    pub fn send(&mut self, from: usize, to: usize, message: &Message) {
        self.tally.messages += 1;
        let Some(link) = self.link(from, to) else { return };
        let letter = Letter { from, to, link, bytes: message.encode().to_vec() };
        self.tally.bytes += letter.bytes.len() as u64;
        if self.stormy() && self.dice.chance(self.scenario.late) {
            // Somebody kept it and plays it back.
            let when = self.now + self.millis(60_000, 3_600_000);
            self.post(when, Letter { link: 0, ..letter.clone() });
        }
        if self.is_cut(from, to) || (self.stormy() && self.dice.chance(self.scenario.lost)) {
            return;
        }
        let times = if self.stormy() && self.dice.chance(self.scenario.doubled) { 2 } else { 1 };
        for _ in 0..times {
            let when = self.now + self.millis(5, if self.stormy() { 400 } else { 60 });
            self.post(when, letter.clone());
        }
    }

    fn post(&mut self, when: i64, letter: Letter) {
        let number = self.push(when, What::Letter);
        self.letters.insert(number, letter);
    }

    /// It arrives. What is played back comes over whatever link stands then.
    pub fn arrives(&mut self, number: u64) {
        let Some(letter) = self.letters.remove(&number) else { return };
        let Letter { from, to, link, bytes } = letter;
        let stands = self.link(from, to);
        if self.is_cut(from, to) || stands.is_none() || (link != 0 && stands != Some(link)) {
            return;
        }
        let Ok(message) = Message::decode(&bytes) else { return };
        let Some(message) = message else { return };
        let from = self.nodes[from].id;
        self.tell(to, Event::Received(from, message));
    }

    /// Two nodes try to find each other.
    pub fn meet(&mut self, a: usize, b: usize) {
        let up = |node: usize| self.nodes[node].sync.is_some();
        if self.link(a, b).is_some() || !up(a) || !up(b) {
            return;
        }
        if self.is_cut(a, b) || self.is_cut(b, a) {
            let when = self.now + self.millis(500, 3_000);
            self.push(when, What::Meet(a, b));
            return;
        }
        self.link_number += 1;
        self.links.insert(World::pair(a, b), self.link_number);
        let (id_a, id_b) = (self.nodes[a].id, self.nodes[b].id);
        self.tell(a, Event::Connected(id_b));
        self.tell(b, Event::Connected(id_a));
    }

    /// The link between two nodes is gone, and both notice.
    pub fn part(&mut self, a: usize, b: usize) {
        if self.links.remove(&World::pair(a, b)).is_none() {
            return;
        }
        let (id_a, id_b) = (self.nodes[a].id, self.nodes[b].id);
        self.tell(a, Event::Disconnected(id_b));
        self.tell(b, Event::Disconnected(id_a));
        let when = self.now + self.millis(200, 2_000);
        self.push(when, What::Meet(a, b));
    }

    /// Cuts what leads from some nodes to others.
    pub fn strike(&mut self) {
        let count = self.nodes.len();
        let until = (self.now + self.millis(2_000, 300_000)).min(self.calm_from);
        let side: Vec<bool> = (0..count).map(|_| self.dice.chance(0.5)).collect();
        let kind = self.dice.below(4);
        for a in 0..count {
            for b in 0..count {
                let cut = match kind {
                    // One way between two sides; both ways; one node from all; all from all.
                    0 => side[a] && !side[b],
                    1 => side[a] != side[b],
                    2 => a == 0 || b == 0,
                    _ => true,
                };
                if a != b && cut {
                    self.cuts.insert((a, b), until);
                    // A link that carries nothing is given up.
                    let when = self.now + self.millis(10_000, 20_000);
                    if when < until {
                        self.push(when, What::Break(a, b));
                    }
                }
            }
        }
    }
}
