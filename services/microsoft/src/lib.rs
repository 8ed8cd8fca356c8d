//! The only Microsoft HTTP of Gatehouse: sign-in, admin consent, tokens and Graph.
//!
//! * One [`Microsoft`] pins a cloud, an app registration and an HTTP client; everything else hangs off it.
//!   [`MicrosoftClouds`] knows those of all clouds that this Gatehouse is registered in.
//! * An app registration may have several credentials: the newest that Microsoft takes is used, so that a certificate
//!   is replaced without a request that fails.
//! * Every answer of Microsoft is classified here, once: callers see enums, never status codes.
//! * Tokens, secrets and keys never reach a log or a `Debug` output.
//! * A bearer token goes only to the cloud's own Graph host, below the path that the request named.
//! * It waits for nothing: where Microsoft says `Retry-After`, the caller is told, and decides.
//!
//! It must not touch PostgreSQL or Redis, and knows nothing of organizations: a tenant (`tid`) is all it is told.
//!
//! The caller installs a rustls provider before the first [`Microsoft::new`].

mod aadsts;
mod app;
mod cloud;
mod clouds;
mod consent;
mod credential_files;
mod credentials;
mod graph;
mod http;
mod id_token;
mod retry_after;
mod sign_in;
mod signing_keys;
mod token;

#[cfg(test)]
mod testing;

use std::sync::Arc;

use domain::time::{Ids, SharedClock};
use uuid::Uuid;

pub use aadsts::{TokenError, TokenErrorKind, aadsts_code};
pub use app::{AppRegistration, Certificate, CertificateError, Credential};
pub use cloud::{Cloud, CloudName, UnknownCloud};
pub use clouds::MicrosoftClouds;
pub use consent::{ConsentCallback, ConsentError, ConsentRefusal, ConsentRefusalKind, PendingConsent};
pub use credential_files::{CredentialFileError, CredentialFiles, CredentialKind};
pub use credentials::{CredentialRefusal, CredentialStatus};
pub use graph::{
    Adapters, BATCH_MAX, BatchItem, DeltaItem, DeltaLink, DeltaNext, DeltaPage, DeltaStart, DeviceFilter,
    DevicesPage, Graph, GraphDevice, GraphError, NextLink, Organization, PAGE_SIZE_MAX, RemovedReason,
};
pub use http::HttpLimits;
pub use id_token::{DirectoryRole, IdTokenError, VerifiedIdentity};
pub use sign_in::{PendingSignIn, SignInCallback, SignInError};

/// One cloud, one app registration, one HTTP client. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Microsoft(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    cloud: Cloud,
    /// Where the cloud's tokens come from: tells clouds apart in what handles share.
    authority: Arc<str>,
    app: credentials::App,
    signing_keys: Arc<signing_keys::SigningKeys>,
    shared: Arc<Shared>,
}

/// What all handles of a process share, whatever their cloud and app.
#[derive(Debug)]
struct Shared {
    clock: SharedClockDebug,
    ids: Ids,
    http: http::Http,
    tokens: token::TokenCache,
    records: credentials::Records,
    schemas: graph::Schemas,
}

/// The HTTP client cannot be built: most often no rustls provider is installed.
#[derive(Debug, thiserror::Error)]
#[error("the HTTP client for Microsoft cannot be built; install a rustls provider first: {0}")]
pub struct SetupError(#[from] reqwest::Error);

impl Microsoft {
    /// Opens no connection yet.
    pub fn new(
        cloud: Cloud,
        app: AppRegistration,
        clock: SharedClock,
        ids: Ids,
        limits: HttpLimits,
    ) -> Result<Self, SetupError> {
        let http = http::Http::new(limits, clock.clone(), ids.clone())?;
        let shared = Shared {
            clock: SharedClockDebug(clock),
            ids,
            http,
            tokens: token::TokenCache::default(),
            records: credentials::Records::default(),
            schemas: graph::Schemas::default(),
        };
        Ok(Self::on(Arc::new(shared), Arc::default(), cloud, app))
    }

    /// The same cloud as another app registration: an organization's own, for example. It shares connections,
    /// signing keys and the cache of tokens, where only the same app with the same credentials finds its tokens.
    #[must_use]
    pub fn with_app(&self, app: AppRegistration) -> Self {
        Self::on(self.0.shared.clone(), self.0.signing_keys.clone(), self.0.cloud.clone(), app)
    }

    /// Another cloud, as an app registration of that cloud. It shares connections and the cache of tokens.
    #[must_use]
    pub fn with_cloud(&self, cloud: Cloud, app: AppRegistration) -> Self {
        let signing_keys =
            if cloud.login() == self.0.cloud.login() { self.0.signing_keys.clone() } else { Arc::default() };
        Self::on(self.0.shared.clone(), signing_keys, cloud, app)
    }

    fn on(
        shared: Arc<Shared>,
        signing_keys: Arc<signing_keys::SigningKeys>,
        cloud: Cloud,
        app: AppRegistration,
    ) -> Self {
        let authority = Arc::from(cloud.login().as_str());
        Self(Arc::new(Inner { cloud, authority, app: credentials::App::new(app), signing_keys, shared }))
    }

    /// The cloud that this instance talks to.
    #[must_use]
    pub fn cloud(&self) -> &Cloud {
        &self.0.cloud
    }

    /// The `client_id` of the app registration.
    #[must_use]
    pub fn client_id(&self) -> Uuid {
        self.0.app.client_id()
    }

    /// Microsoft Graph for one tenant, with app-only tokens.
    #[must_use]
    pub fn graph(&self, tid: Uuid) -> Graph {
        Graph::for_tenant(self, tid)
    }
}

/// A clock has no `Debug` of its own.
struct SharedClockDebug(SharedClock);

impl std::fmt::Debug for SharedClockDebug {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Clock")
    }
}
