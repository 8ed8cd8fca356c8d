//! Tells the dashboard that there are new events: at most a few times a second per organization.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use cache::{BusMessage, Cache};
use domain::OrgId;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

const INTERVAL: Duration = Duration::from_millis(200);

#[derive(Debug, Default)]
pub struct Announcer {
    waiting: Mutex<HashSet<OrgId>>,
    wake: Notify,
}

impl Announcer {
    pub fn events(&self, org: OrgId) {
        if self.waiting.lock().unwrap_or_else(PoisonError::into_inner).insert(org) {
            self.wake.notify_one();
        }
    }

    pub async fn run(&self, cache: &Cache, stop: &CancellationToken) {
        loop {
            tokio::select! {
                () = self.wake.notified() => {}
                () = stop.cancelled() => return,
            }
            let orgs = std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
            for org in orgs {
                // The dashboard looks for itself where this is lost.
                let _ = cache.publish(&BusMessage::Events { org }).await;
            }
            tokio::time::sleep(INTERVAL).await;
        }
    }
}
