//! Who answers an authority that comes to look? Every node: what one opens is pushed to all, and the order waits until
//! they have said that they answer. Here: the table of what other nodes opened, and who knows what this one has.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::oneshot;

use crate::acme;
use crate::clock::UnixTime;
use crate::fleet::NodeId;
use crate::fleet::message::{Look, Token};
use crate::words::Identifier;
use crate::zone::challenges::{Challenges, server_name};

/// Tokens of other nodes at most.
const MOST: usize = 8192;

/// Somebody waits until all nodes answer for some tokens.
struct Waiting {
    tokens: Vec<String>,
    done: oneshot::Sender<()>,
}

/// Open challenges, here and elsewhere.
pub struct Tokens {
    table: Arc<Challenges>,
    /// Of other nodes: what was opened for each.
    foreign: HashMap<String, Opened>,
    /// Our own, and who answers for them.
    own: HashMap<String, HashSet<NodeId>>,
    live: HashSet<NodeId>,
    waiting: Vec<Waiting>,
    /// Who waits for a token that other nodes are asked for.
    asking: HashMap<String, Vec<oneshot::Sender<()>>>,
    /// For which account other nodes know that this one answers.
    account: Option<String>,
}

enum Opened {
    Http01,
    /// The server name.
    TlsAlpn01(String),
}

impl Tokens {
    /// Over this table.
    pub fn new(table: Arc<Challenges>) -> Tokens {
        Tokens {
            table,
            foreign: HashMap::new(),
            own: HashMap::new(),
            live: HashSet::new(),
            waiting: Vec::new(),
            account: None,
            asking: HashMap::new(),
        }
    }

    /// Answers for a token of another node.
    pub fn open_foreign(&mut self, token: Token, now: UnixTime) {
        if self.own.contains_key(&token.token) || self.foreign.len() >= MOST {
            return;
        }
        let until = now + token.remaining;
        let opened = match token.look {
            Look::Http01 => self.table.open_http01(&token.token, &token.answer, until).map(|()| Opened::Http01),
            Look::TlsAlpn01 => {
                let Ok(name) = token.name.parse::<Identifier>() else { return };
                let certificate = match acme::challenge_certificate(&name, &token.answer) {
                    Ok(certificate) => Arc::new(certificate),
                    Err(why) => return tracing::error!("fleet: a challenge for {name} cannot be answered here: {why}"),
                };
                let sni = server_name(&name);
                let opened = self.table.open_tls_alpn01(&sni, certificate, until);
                opened.map(|()| Opened::TlsAlpn01(sni))
            }
        };
        match opened {
            Ok(opened) => drop(self.foreign.insert(token.token, opened)),
            Err(full) => tracing::error!("fleet: a challenge of another node cannot be answered here: {full}"),
        }
    }

    /// A token of another node is over.
    pub fn close_foreign(&mut self, token: &str) {
        match self.foreign.remove(token) {
            Some(Opened::Http01) => self.table.close_http01(token),
            Some(Opened::TlsAlpn01(sni)) => self.table.close_tls_alpn01(&sni),
            None => {}
        }
    }

    /// A token that somebody asked for is known elsewhere.
    pub fn found(&mut self, token: Token, now: UnixTime) {
        let asked = self.asking.remove(&token.token);
        self.open_foreign(token, now);
        // Whoever has waited too long has gone.
        asked.into_iter().flatten().for_each(|done| {
            let _ = done.send(());
        });
    }

    /// Somebody waits for a token that may be known elsewhere; whether others are still to be asked.
    pub fn ask(&mut self, token: &str, done: oneshot::Sender<()>) -> bool {
        self.asking.retain(|_, waiting| {
            waiting.retain(|one| !one.is_closed());
            !waiting.is_empty()
        });
        let waiting = self.asking.entry(token.to_owned()).or_default();
        waiting.push(done);
        waiting.len() == 1
    }

    /// The account for which this node answers without tokens, if it is another one than at the last call.
    pub fn other_account(&mut self) -> Option<String> {
        let now = self.table.thumbprint().map(String::from);
        if self.account == now {
            return None;
        }
        self.account.clone_from(&now);
        now
    }

    /// This node has opened a challenge.
    pub fn opened(&mut self, token: &str) {
        self.own.insert(token.to_owned(), HashSet::new());
    }

    /// A challenge of this node is over.
    pub fn closed(&mut self, token: &str) {
        self.own.remove(token);
    }

    /// A node answers for a token of ours.
    pub fn known(&mut self, token: &str, by: NodeId) {
        if let Some(known) = self.own.get_mut(token) {
            known.insert(by);
        }
        self.settle();
    }

    /// These nodes are there.
    pub fn linked(&mut self, linked: &HashMap<NodeId, (u64, Instant)>) {
        self.live = linked.keys().copied().collect();
        self.settle();
    }

    /// Tells when every node that is there answers for these tokens.
    pub fn wait(&mut self, tokens: Vec<String>, done: oneshot::Sender<()>) {
        self.waiting.push(Waiting { tokens, done });
        self.settle();
    }

    /// Nodes that are there and do not answer for all of these tokens.
    pub fn lacking(&self, tokens: &[String]) -> Vec<NodeId> {
        let knows_all =
            |node: &NodeId| tokens.iter().all(|token| self.own.get(token).is_none_or(|known| known.contains(node)));
        self.live.iter().filter(|node| !knows_all(node)).copied().collect()
    }

    fn settle(&mut self) {
        let waiting = std::mem::take(&mut self.waiting);
        for one in waiting {
            if self.lacking(&one.tokens).is_empty() {
                // Whoever gave up waiting need not know.
                let _ = one.done.send(());
            } else if !one.done.is_closed() {
                self.waiting.push(one);
            }
        }
    }
}
