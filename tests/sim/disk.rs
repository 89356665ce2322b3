//! What does a disk keep? Records that are durable, in the cache or damaged; a full disk, one that may not be written, bit
//! rot; what is left after a kill and after a loss of power.

use semper::cert::stage::Stage;
use semper::clock::UnixTime;
use std::sync::Arc;

use crate::authority::{Name, Paper};

/// Whether the disk takes writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    Well,
    Full,
    ReadOnly,
}

/// The disk refused.
#[derive(Clone, Copy, Debug)]
pub struct Refused;

/// What one file holds.
#[derive(Clone, Debug)]
pub enum Content<T> {
    Good(T),
    Rotten,
}

/// One file: what survives a loss of power, and what does not yet.
#[derive(Debug)]
pub struct File<T> {
    durable: Option<Content<T>>,
    cached: Option<Option<Content<T>>>,
}

impl<T> Default for File<T> {
    fn default() -> File<T> {
        File { durable: None, cached: None }
    }
}

impl<T> File<T> {
    fn seen(&self) -> Option<&Content<T>> {
        self.cached.as_ref().unwrap_or(&self.durable).as_ref()
    }

    /// What can be read.
    pub fn read(&self) -> Option<&T> {
        match self.seen() {
            Some(Content::Good(value)) => Some(value),
            _ => None,
        }
    }

    /// Puts `value` in its place; `synced`: the directory too, as `store::atomic` does.
    pub fn write(&mut self, value: Option<T>, health: Health, synced: bool) -> Result<(), Refused> {
        // Taking a file away needs no room.
        if health == Health::ReadOnly || (health == Health::Full && value.is_some()) {
            return Err(Refused);
        }
        self.put(value.map(Content::Good), synced);
        Ok(())
    }

    /// Without asking the disk: for faults.
    pub fn put(&mut self, content: Option<Content<T>>, synced: bool) {
        if synced {
            (self.durable, self.cached) = (content, None);
        } else {
            self.cached = Some(content);
        }
    }

    pub fn rot(&mut self) {
        if self.seen().is_some() {
            (self.durable, self.cached) = (Some(Content::Rotten), None);
        }
    }

    pub fn lose_power(&mut self) {
        self.cached = None;
    }

    pub fn exists(&self) -> bool {
        self.seen().is_some()
    }
}

/// The journal of an order under way, as `cert::journal::Order`.
#[derive(Clone, Debug)]
pub struct OrderRecord {
    pub ca: usize,
    pub names: Arc<[Name]>,
    pub key: u64,
    /// By the clock of this node.
    pub began_at: UnixTime,
    pub number: Option<u64>,
    pub finalizing: bool,
    pub spoiled: bool,
    pub stalled: bool,
}

/// A certificate and its key, as it was put in force.
#[derive(Clone, Debug)]
pub struct Kept {
    pub epoch: u64,
    pub obtained_at: UnixTime,
    pub key: u64,
    pub paper: Arc<Paper>,
    /// Revoked: shown only if nothing else is there.
    pub disowned: bool,
}

/// Generations that are kept, as `store::directory`.
const GENERATIONS: usize = 4;

/// The files of one certificate.
#[derive(Debug, Default)]
pub struct Folder {
    pub stage: File<Stage>,
    pub order: File<OrderRecord>,
    /// The newest last.
    pub generations: Vec<File<Kept>>,
}

impl Folder {
    /// The newest generation that can be read.
    pub fn newest(&self) -> Option<&Kept> {
        self.generations.iter().rev().find_map(File::read)
    }

    /// Every generation that can be read.
    pub fn readable(&self) -> impl Iterator<Item = &Kept> {
        self.generations.iter().filter_map(File::read)
    }

    /// Compare and replace, as `Shelf::replace`; an error tells which epoch is in force, if that was the reason.
    pub fn replace(
        &mut self,
        new: &Kept,
        expected: Option<u64>,
        health: Health,
        synced: bool,
    ) -> Result<(), Option<Option<u64>>> {
        let found = self.newest().map(|kept| kept.epoch);
        if found != expected {
            return Err(Some(found));
        }
        if health != Health::Well {
            return Err(None);
        }
        let mut file = File::default();
        file.put(Some(Content::Good(new.clone())), synced);
        self.generations.push(file);
        self.generations.retain(File::exists);
        let excess = self.generations.len().saturating_sub(GENERATIONS);
        self.generations.drain(..excess);
        Ok(())
    }

    /// Marks a generation as one that is shown only if nothing else is there.
    pub fn disown(&mut self, epoch: u64) {
        for file in &mut self.generations {
            if let Some(kept) = file.read().filter(|kept| kept.epoch == epoch) {
                let marked = Kept { disowned: true, ..kept.clone() };
                file.put(Some(Content::Good(marked)), true);
            }
        }
    }

    pub fn lose_power(&mut self) {
        self.stage.lose_power();
        self.order.lose_power();
        self.generations.iter_mut().for_each(File::lose_power);
        self.generations.retain(File::exists);
    }
}
