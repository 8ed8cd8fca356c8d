//! People sign in, their tenant gets an organization, and the organization links an Intune account.
//!
//! # Who may link what
//! A link hands a tenant's whole fleet to an organization, so it stands on three proofs, none of them a browser's
//! word:
//! 1. **Who asks**: an id token that was verified names the tenant (`tid`). The `tenant` on Microsoft's consent
//!    callback is only compared with it: a forged one links nothing.
//! 2. **That an admin of the tenant agreed.** Only a Global Administrator or Privileged Role Administrator can grant
//!    application permissions of Microsoft Graph, but once a tenant has consented, Microsoft's consent stands for
//!    whoever asks next. So a plain employee of a tenant that already uses Gatehouse must not be able to link it into
//!    an organization of their own by writing the callback by hand. The rules:
//!    - Where the id token carries directory roles (`wids`), they must hold one of those two roles.
//!    - Without roles, the tenant must be the organization's own, nobody else may have linked it, and consent must
//!      not have existed when the journey began: then its coming into being is the proof that an admin agreed.
//!    - A guest of the tenant acts for it only with one of the two roles.
//! 3. **That it works**: Graph answered a probe with the tenant's own app-only token. Until then nothing is stored.
//!
//! The app registration should therefore ask for the `wids` claim (optional claims of the id token); without it,
//! linking a tenant again whose consent still stands is refused, with the reason.
//!
//! # When consent has not arrived yet
//! Microsoft takes seconds, at times minutes, to pass consent on. The callback waits up to
//! [`LinkingConfig::probe_for`] (20 s); if the permission is still missing then, nothing is stored,
//! [`LinkError::keeps_pending`] says so, and the page offers to check again ([`Linking::check_link_again`]) without
//! another round of consent. An account is listed as linked only once Graph has answered for it.
//!
//! It must not hold a transaction open across HTTP, and knows nothing of pages or cookies: pending values are plain
//! data that the dashboard keeps in the server-side session.

mod holds;
mod link;
mod orgs;
mod own_app;
mod own_app_link;
mod probe;
mod sign_in;
mod unlink;
mod words;

use std::sync::Arc;
use std::time::Duration;

use apps::{Apps, AppsError};
use domain::time::{Ids, SharedClock};
use microsoft::{CloudName, Microsoft};
use store::Store;
use store::audit::Actor;
use time::OffsetDateTime;
use url::Url;

pub use apps::certificate::{key_credential, pem};
pub use apps::expiry;
pub use holds::{DecidedHold, HoldError};
pub use link::{LinkError, Linked, PendingLink};
pub use microsoft::{CloudName as Cloud, ConsentCallback, SignInCallback, VerifiedIdentity};
pub use orgs::{CreateOrgError, HomeOrg, JoinError};
pub use own_app::{NewCredential, OwnAppError};
pub use sign_in::{PendingSignIn, SignInError, SignedIn};
pub use unlink::{UnlinkError, Unlinked};
pub use words::Words;

/// What linking needs of the process.
#[derive(Clone)]
pub struct LinkingDeps {
    pub store: Store,
    /// Gatehouse's own app registrations, and those of organizations.
    pub apps: Apps,
    pub clock: SharedClock,
    pub ids: Ids,
}

/// What linking needs to know.
#[derive(Clone, Debug)]
pub struct LinkingConfig {
    /// Where Microsoft sends the browser after sign-in; registered, to the letter.
    pub sign_in_redirect: Url,
    /// Where Microsoft sends the browser after admin consent; registered, to the letter.
    pub consent_redirect: Url,
    /// How long a callback waits for consent to reach Graph.
    pub probe_for: Duration,
}

impl LinkingConfig {
    /// 20 seconds for consent to arrive.
    #[must_use]
    pub const fn new(sign_in_redirect: Url, consent_redirect: Url) -> Self {
        Self { sign_in_redirect, consent_redirect, probe_for: Duration::from_secs(20) }
    }
}

/// Sign-in, organizations and links. Cheap to clone.
#[derive(Clone)]
pub struct Linking(Arc<Inner>);

struct Inner {
    deps: LinkingDeps,
    config: LinkingConfig,
}

impl Linking {
    #[must_use]
    pub fn new(deps: LinkingDeps, config: LinkingConfig) -> Self {
        Self(Arc::new(Inner { deps, config }))
    }

    fn store(&self) -> &Store {
        &self.0.deps.store
    }

    fn apps(&self) -> &Apps {
        &self.0.deps.apps
    }

    /// Gatehouse's own app registration in a cloud.
    fn gatehouse(&self, cloud: CloudName) -> Result<&Microsoft, AppsError> {
        self.apps().gatehouse(cloud)
    }

    /// The clouds that people can sign in from, the usual one first.
    #[must_use]
    pub fn clouds(&self) -> Vec<CloudName> {
        self.apps().clouds().iter().map(|one| one.cloud().name()).collect()
    }

    /// The sign-in hosts of those clouds.
    pub fn login_urls(&self) -> impl Iterator<Item = &Url> {
        self.apps().clouds().iter().map(|one| one.cloud().login())
    }

    /// Where people of a cloud sign out; `None` for one that is not set up.
    #[must_use]
    pub fn login_url(&self, cloud: CloudName) -> Option<&Url> {
        self.gatehouse(cloud).ok().map(|microsoft| microsoft.cloud().login())
    }

    fn ids(&self) -> &Ids {
        &self.0.deps.ids
    }

    fn now(&self) -> OffsetDateTime {
        self.0.deps.clock.now()
    }
}

/// Who acts, for the audit log.
fn actor(who: &SignedIn) -> Actor {
    Actor { account: Some(who.account), name: who.identity.name.clone() }
}
