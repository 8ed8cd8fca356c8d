//! Which app registration speaks for a link: Gatehouse's own of the link's cloud, or one that the organization
//! brought, with its credentials opened.
//!
//! Both who links and who syncs need this, and may not import each other; `store` may not know keys, `microsoft` no
//! organizations, and `sealing` neither. So the one thing that joins the four is a crate of its own.
//!
//! * Credentials are opened for a handle, and live no longer than it does: a minute. What changes on a page is in
//!   effect everywhere within that time. Tokens outlive handles, in a cache that only the same app with the same
//!   credentials has a part in.
//! * Private keys are made here and leave sealed. Nothing secret has a `Debug`, or is told to a log.
//!
//! It decides nothing about who may link what: `linking` does. No transaction of its own is open across HTTP.

pub mod certificate;
pub mod expiry;
mod open;
mod proof;

use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::Duration;

use domain::OrgId;
use domain::time::{Ids, SharedClock};
use microsoft::{
    AppRegistration, CloudName, GraphError, Microsoft, MicrosoftClouds, TokenError, TokenErrorKind,
};
use moka::future::Cache;
use sealing::{MasterKeys, SealError};
use store::apps::AppRow;
use store::links::LinkRow;
use store::{Store, StoreError};
use time::OffsetDateTime;
use uuid::Uuid;

pub use open::{Opened, rewrap};

/// A handle is made again after this, with the credentials of then.
const HANDLE_FOR: Duration = Duration::from_secs(60);
/// More handles than this are not kept.
const HANDLES_MAX: u64 = 2_000;

/// What this needs of the process.
#[derive(Clone)]
pub struct AppsDeps {
    pub store: Store,
    /// Gatehouse's own registrations.
    pub clouds: MicrosoftClouds,
    /// `None`: organizations cannot bring registrations of their own.
    pub master_keys: Option<MasterKeys>,
    pub clock: SharedClock,
    pub ids: Ids,
}

/// App registrations. Cheap to clone.
#[derive(Clone)]
pub struct Apps(Arc<Inner>);

struct Inner {
    store: Store,
    clouds: MicrosoftClouds,
    master_keys: Option<MasterKeys>,
    clock: SharedClock,
    ids: Ids,
    handles: Cache<(OrgId, Uuid), Microsoft>,
    /// When this process last looked for credentials that end, in Unix seconds.
    told_at: AtomicI64,
}

impl std::fmt::Debug for Apps {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Apps").field("clouds", &self.0.clouds).finish_non_exhaustive()
    }
}

/// Why nobody can speak for a link, or a credential cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum AppsError {
    /// This Gatehouse has no registration in the link's cloud.
    #[error("this Gatehouse is not set up for the cloud {0}")]
    NoCloud(String),
    /// The operator has to set GATEHOUSE_MASTER_KEY.
    #[error("this Gatehouse has no master key, so it keeps no credentials of organizations")]
    NoMasterKey,
    /// The registration is gone.
    #[error("the organization has no such app registration")]
    NoApp,
    /// Every credential is retired or has expired.
    #[error("the app registration {client_id} has no credential that is still valid: add one on its page")]
    NoCredential { client_id: Uuid },
    /// Keys of before are missing, or a row was altered.
    #[error("a stored credential cannot be opened: {0}")]
    Sealed(#[from] SealError),
    #[error("a certificate cannot be made: {0}")]
    Generate(String),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl AppsError {
    /// As a refusal of the link's own credential, which is what Microsoft would answer without one; a database that
    /// is away stays an error of its own.
    ///
    /// # Errors
    /// The database's error.
    pub fn as_graph_error(self) -> Result<GraphError, StoreError> {
        let kind = match self {
            Self::Store(error) => return Err(error),
            Self::NoCloud(_) => TokenErrorKind::Misconfigured,
            _ => TokenErrorKind::CredentialFailing,
        };
        let detail = self.to_string();
        Ok(GraphError::Token(TokenError { kind, code: None, detail, retry_after: None }))
    }
}

impl Apps {
    #[must_use]
    pub fn new(deps: AppsDeps) -> Self {
        let AppsDeps { store, clouds, master_keys, clock, ids } = deps;
        let handles = Cache::builder().max_capacity(HANDLES_MAX).time_to_live(HANDLE_FOR).build();
        let told_at = AtomicI64::new(i64::MIN);
        Self(Arc::new(Inner { store, clouds, master_keys, clock, ids, handles, told_at }))
    }

    /// Gatehouse's own registrations.
    #[must_use]
    pub fn clouds(&self) -> &MicrosoftClouds {
        &self.0.clouds
    }

    /// Whether organizations can bring registrations of their own.
    #[must_use]
    pub fn can_keep_credentials(&self) -> bool {
        self.0.master_keys.is_some()
    }

    /// Gatehouse's own registration in a cloud.
    ///
    /// # Errors
    /// [`AppsError::NoCloud`].
    pub fn gatehouse(&self, cloud: CloudName) -> Result<&Microsoft, AppsError> {
        self.0.clouds.get(cloud).ok_or_else(|| AppsError::NoCloud(cloud.to_string()))
    }

    /// Microsoft, as the registration that speaks for the link. Call it with no transaction open.
    ///
    /// # Errors
    /// Where nobody can; see [`AppsError::as_graph_error`].
    pub async fn for_link(&self, org: OrgId, link: &LinkRow) -> Result<Microsoft, AppsError> {
        match link.app {
            None => self.gatehouse(cloud_of(&link.cloud)?).cloned(),
            Some(app) => self.for_app(org, app).await,
        }
    }

    /// Microsoft, as a registration of the organization's, with all its valid credentials.
    ///
    /// # Errors
    /// Where it has none that opens.
    pub async fn for_app(&self, org: OrgId, app: Uuid) -> Result<Microsoft, AppsError> {
        if let Some(handle) = self.0.handles.get(&(org, app)).await {
            return Ok(handle);
        }
        // Two callers may both make one: they share connections and tokens all the same.
        let handle = self.make(org, app).await?;
        self.0.handles.insert((org, app), handle.clone()).await;
        Ok(handle)
    }

    /// Forgets the handle of an app in this process: its credentials were changed here.
    pub async fn changed(&self, org: OrgId, app: Uuid) {
        self.0.handles.invalidate(&(org, app)).await;
    }

    /// A handle that nobody else uses, with some credentials of an app alone: to prove them.
    ///
    /// # Errors
    /// [`AppsError::NoCloud`].
    pub fn with_credentials(&self, app: &AppRow, credentials: Vec<Opened>) -> Result<Microsoft, AppsError> {
        let cloud = cloud_of(&app.cloud)?;
        let credentials = credentials.into_iter().map(|opened| opened.credential);
        let registration = AppRegistration::with_credentials(app.client_id, credentials);
        let microsoft = self.0.clouds.with_app(cloud, registration);
        microsoft.ok_or_else(|| AppsError::NoCloud(app.cloud.clone()))
    }

    async fn make(&self, org: OrgId, app: Uuid) -> Result<Microsoft, AppsError> {
        let mut tx = self.0.store.org(org).await?;
        let row = store::apps::get(&mut tx, app).await?.ok_or(AppsError::NoApp)?;
        let opened = self.open(&mut tx, &row).await?;
        tx.commit().await?;
        if opened.is_empty() {
            return Err(AppsError::NoCredential { client_id: row.client_id });
        }
        let unproven: Vec<_> =
            opened.iter().filter(|one| one.row.proven_at.is_none()).map(|one| one.row.clone()).collect();
        let microsoft = self.with_credentials(&row, opened)?;
        self.note_proofs(org, &row, &unproven, &microsoft).await?;
        Ok(microsoft)
    }

    fn now(&self) -> OffsetDateTime {
        self.0.clock.now()
    }
}

/// A stored cloud.
fn cloud_of(name: &str) -> Result<CloudName, AppsError> {
    name.parse().map_err(|_| AppsError::NoCloud(name.to_owned()))
}
