//! A value in memory: trusted for a while, kept for longer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Grows with everything that may have made values in memory untrue.
#[derive(Debug, Default)]
pub struct Epochs {
    /// Messages of the bus were lost: nothing that was read before is trusted.
    lost: AtomicU64,
    /// Something changed: what is being read at this moment may be from before.
    changed: AtomicU64,
}

/// A moment, to be taken before a value is read.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    lost: u64,
    changed: u64,
    at: Instant,
}

impl Epochs {
    pub fn moment(&self) -> Moment {
        Moment {
            lost: self.lost.load(Ordering::Acquire),
            changed: self.changed.load(Ordering::Acquire),
            at: Instant::now(),
        }
    }

    pub fn change(&self) {
        self.changed.fetch_add(1, Ordering::AcqRel);
    }

    pub fn lose(&self) {
        self.lost.fetch_add(1, Ordering::AcqRel);
        self.change();
    }
}

/// A value, as it was read at a moment.
#[derive(Debug)]
pub struct Held<T> {
    pub value: T,
    read: Moment,
    ttl: Duration,
    stale: AtomicBool,
}

impl<T> Held<T> {
    /// A value that was read since `read`. Where something changed meanwhile, it serves only until it is asked for
    /// again.
    pub fn new(value: T, read: Moment, ttl: Duration, epochs: &Epochs) -> Arc<Self> {
        let now = epochs.moment();
        let stale = AtomicBool::new(now.changed != read.changed);
        Arc::new(Self { value, read, ttl, stale })
    }

    pub fn is_fresh(&self, epochs: &Epochs) -> bool {
        !self.stale.load(Ordering::Acquire)
            && self.read.lost == epochs.lost.load(Ordering::Acquire)
            && self.read.at.elapsed() < self.ttl
    }

    /// It changed: it is to be read again, and serves only where nobody can be asked.
    pub fn mark_stale(&self) {
        self.stale.store(true, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trust_ends_with_time_change_and_loss() {
        let epochs = Epochs::default();
        let ttl = Duration::from_secs(60);
        let held = || Held::new((), epochs.moment(), ttl, &epochs);
        let marked = held();
        assert!(marked.is_fresh(&epochs));
        marked.mark_stale();
        assert!(!marked.is_fresh(&epochs));

        assert!(!Held::new((), epochs.moment(), Duration::ZERO, &epochs).is_fresh(&epochs));

        let before = epochs.moment();
        epochs.change();
        assert!(!Held::new((), before, ttl, &epochs).is_fresh(&epochs), "it changed while it was read");

        let other = held();
        epochs.change();
        assert!(other.is_fresh(&epochs), "another value changed");
        epochs.lose();
        assert!(!other.is_fresh(&epochs));
    }
}
