//! Wakes the long polls of an edge.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use domain::{EdgeId, OrgId};
use tokio::sync::Notify;

type Edge = (OrgId, EdgeId);

#[derive(Debug, Default)]
pub struct Wakeups {
    waiting: Mutex<HashMap<Edge, Arc<Notify>>>,
}

/// One poll's place; given back when it is dropped.
#[derive(Debug)]
pub struct Listening<'a> {
    wakeups: &'a Wakeups,
    edge: Edge,
    pub bell: Arc<Notify>,
}

impl Wakeups {
    pub fn listen(&self, org: OrgId, edge: EdgeId) -> Listening<'_> {
        let bell = Arc::clone(self.map().entry((org, edge)).or_default());
        Listening { wakeups: self, edge: (org, edge), bell }
    }

    pub fn wake(&self, org: OrgId, edge: EdgeId) {
        let bell = self.map().get(&(org, edge)).map(Arc::clone);
        if let Some(bell) = bell {
            bell.notify_waiters();
        }
    }

    pub fn wake_all(&self) {
        let bells: Vec<Arc<Notify>> = self.map().values().map(Arc::clone).collect();
        for bell in bells {
            bell.notify_waiters();
        }
    }

    fn map(&self) -> MutexGuard<'_, HashMap<Edge, Arc<Notify>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Listening<'_> {
    fn drop(&mut self) {
        let mut map = self.wakeups.map();
        // The map's and ours: nobody else listens.
        if Arc::strong_count(&self.bell) == 2 {
            map.remove(&self.edge);
        }
    }
}
