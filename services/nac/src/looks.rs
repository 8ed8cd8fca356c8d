//! Has the sync look at devices that a decision missed or did not trust.
//!
//! What is worth a look is written with the decision; that the sync hears of it at once is not, so that no decision
//! waits for a worker. Where this is lost, the sync finds it by itself within minutes.

use std::collections::{BTreeSet, HashSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use domain::OrgId;
use domain::compliance::Verdict;
use domain::decision::MatchOutcomeName;
use domain::event::DecisionRecord;
use domain::resolver::LookupKey;
use domain::time::SharedClock;
use store::jobs::{self, JobKind};
use store::{Store, StoreError};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// An organization's looks are woken no more often than this.
const INTERVAL: Duration = Duration::from_millis(500);

/// The keys under which clients came that no device of the organization bears, and by which Microsoft can be asked.
pub fn unmatched(decisions: &[DecisionRecord]) -> Vec<LookupKey> {
    let missed = decisions.iter().filter(|d| d.answer.found.outcome == MatchOutcomeName::NotEnrolled);
    let keys: BTreeSet<&LookupKey> =
        missed.flat_map(|d| &d.keys).filter(|key| !matches!(key, LookupKey::Mac(_))).collect();
    keys.into_iter().cloned().collect()
}

/// Whether a client is on the network with a device that is worth watching.
pub fn distrusted(decisions: &[DecisionRecord]) -> bool {
    decisions
        .iter()
        .any(|d| d.answer.found.device.is_some() && d.answer.compliance.verdict != Verdict::Compliant)
}

/// Organizations whose looks are to be woken.
#[derive(Debug, Default)]
pub struct Looks {
    waiting: Mutex<HashSet<OrgId>>,
    wake: Notify,
}

impl Looks {
    pub fn are_due(&self, org: OrgId) {
        if self.waiting.lock().unwrap_or_else(PoisonError::into_inner).insert(org) {
            self.wake.notify_one();
        }
    }

    pub async fn run(&self, store: &Store, clock: &SharedClock, stop: &CancellationToken) {
        loop {
            tokio::select! {
                () = self.wake.notified() => {}
                () = stop.cancelled() => return,
            }
            let orgs = std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
            for org in orgs {
                if let Err(error) = wake(store, org, clock).await {
                    tracing::debug!(%org, %error, "looks were not woken; they come due by themselves");
                }
            }
            tokio::time::sleep(INTERVAL).await;
        }
    }
}

async fn wake(store: &Store, org: OrgId, clock: &SharedClock) -> Result<(), StoreError> {
    let mut tx = store.org(org).await?;
    jobs::wake_all(&mut tx, JobKind::Look, clock.now()).await?;
    tx.commit().await
}
