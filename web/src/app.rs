//! What every page has at hand.

use std::ops::Deref;
use std::pin::Pin;
use std::sync::Arc;

use cache::Cache;
use domain::time::{Ids, SharedClock};
use linking::Linking;
use policy::Policies;
use policy::replay::Replays;
use sealing::PageKeys;
use store::Store;
use tokio_util::sync::CancellationToken;
use url::Url;
use uuid::Uuid;

use crate::remediation::Limits;

/// What the dashboard needs of the process.
#[derive(Clone)]
pub struct WebDeps {
    pub store: Store,
    pub cache: Cache,
    pub linking: Linking,
    pub policies: Policies,
    pub clock: SharedClock,
    pub ids: Ids,
    /// Ends the live streams, so that a graceful shutdown need not wait for browsers.
    pub shutdown: CancellationToken,
}

/// What the dashboard needs to know.
#[derive(Clone, Debug)]
pub struct WebConfig {
    /// Where browsers reach the dashboard. Cookies are `Secure` where it is https.
    pub public_url: Url,
    /// Where edges reach the NAC API; stands in what an edge is connected with.
    pub nac_url: Url,
    /// What edges know bundles by, where bundles are signed.
    pub bundle_public_key: Option<String>,
    /// Gatehouse's own app registration, whose budgets a link uses that brings none.
    pub client_id: Uuid,
    /// Moves that an edge is given in a second, as the sync paces them; for what a page foretells.
    pub coa_per_edge_per_second: u32,
    /// Reads the addresses of remediation pages; `None`: there are none, and labels say so.
    pub page_keys: Option<PageKeys>,
}

pub(crate) struct Inner {
    pub deps: WebDeps,
    pub config: WebConfig,
    pub replays: Replays,
    pub page_limits: Limits,
}

/// Shared by all requests.
#[derive(Clone)]
pub(crate) struct App(pub(crate) Arc<Inner>);

impl Deref for App {
    type Target = WebDeps;

    fn deref(&self) -> &WebDeps {
        &self.0.deps
    }
}

/// A future without the names of what it borrows inside. Linking's futures hold Microsoft's clients across awaits,
/// and the compiler does not see that a handler that awaits them is `Send` unless they are boxed.
pub(crate) fn boxed<'a, T>(
    future: impl Future<Output = T> + Send + 'a,
) -> Pin<Box<dyn Future<Output = T> + Send + 'a>> {
    Box::pin(future)
}

impl App {
    pub(crate) fn config(&self) -> &WebConfig {
        &self.0.config
    }

    /// The replays that run in this process.
    pub(crate) fn replays(&self) -> &Replays {
        &self.0.replays
    }

    /// How often remediation pages may be asked.
    pub(crate) fn page_limits(&self) -> &Limits {
        &self.0.page_limits
    }

    pub(crate) fn now(&self) -> time::OffsetDateTime {
        self.clock.now()
    }
}
