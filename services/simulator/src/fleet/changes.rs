//! The change log behind Entra's `devices/delta`.

use std::collections::{BTreeMap, VecDeque};

/// Changes beyond this many are forgotten, and the tokens that need them answer 410.
const KEPT: usize = 200_000;

/// What a change touched, as far as `$select` of a delta query can tell changes apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Touched {
    /// `isCompliant` or `isManaged`.
    pub compliance: bool,
    pub other: bool,
    pub removed: bool,
}

impl Touched {
    #[must_use]
    pub const fn everything() -> Self {
        Self { compliance: true, other: true, removed: false }
    }

    const fn and(self, later: Self) -> Self {
        Self {
            compliance: self.compliance || later.compliance,
            other: self.other || later.other,
            removed: later.removed,
        }
    }
}

#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
struct Change {
    sequence: u64,
    index: u64,
    /// How many devices from `index` on: a bulk generation is one change.
    count: u64,
    touched: Touched,
}

#[derive(Debug, Clone, Default, serde::Serialize, serde::Deserialize)]
pub struct ChangeLog {
    sequence: u64,
    /// The newest change that was forgotten.
    forgotten: u64,
    changes: VecDeque<Change>,
}

impl ChangeLog {
    pub fn push(&mut self, index: u64, touched: Touched) {
        self.append(index, 1, touched);
    }

    pub fn push_range(&mut self, index: u64, count: u64) {
        self.append(index, count, Touched::everything());
    }

    fn append(&mut self, index: u64, count: u64, touched: Touched) {
        self.sequence += 1;
        self.changes.push_back(Change { sequence: self.sequence, index, count, touched });
        if self.changes.len() > KEPT {
            self.forgotten = self.changes.pop_front().map_or(self.forgotten, |change| change.sequence);
        }
    }

    /// The number of the last change.
    #[must_use]
    pub const fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Forgets everything, so that every delta token issued before now is too old.
    pub fn expire(&mut self) {
        self.sequence += 1;
        self.forgotten = self.sequence;
        self.changes.clear();
    }

    /// Which devices changed after change number `since`, each once; `None` where that is no longer known.
    #[must_use]
    pub fn since(&self, since: u64) -> Option<BTreeMap<u64, Touched>> {
        if since < self.forgotten {
            return None;
        }
        let mut touched = BTreeMap::<u64, Touched>::new();
        for change in self.changes.iter().filter(|change| change.sequence > since) {
            for index in change.index..change.index + change.count {
                touched
                    .entry(index)
                    .and_modify(|known| *known = known.and(change.touched))
                    .or_insert(change.touched);
            }
        }
        Some(touched)
    }
}
