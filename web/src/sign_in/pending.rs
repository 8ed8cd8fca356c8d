//! Sign-ins that have begun in this browser. Several may be open, in several tabs.

use domain::OrgId;
use linking::{Cloud, PendingSignIn, SignInCallback, SignInError};
use serde::{Deserialize, Serialize};
use tower_sessions::Session;
use url::Url;
use uuid::Uuid;

use crate::app::{App, boxed};
use crate::error::PageError;
use crate::session::key;

/// More than this many are not kept: the oldest is forgotten.
const OPEN_MAX: usize = 5;

/// What somebody signs in for.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "purpose", rename_all = "snake_case")]
pub(crate) enum Purpose {
    /// To use the dashboard.
    SignIn { return_to: Option<String> },
    /// To vouch for another tenant that is to be linked to an organization.
    LinkTenant { org: OrgId },
    /// The same, with an app registration of the organization's own.
    LinkWithApp { org: OrgId, app: Uuid },
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Open {
    pending: PendingSignIn,
    purpose: Purpose,
}

/// Begins a sign-in to a cloud: where to send the browser.
pub(crate) async fn begin(
    app: &App,
    session: &Session,
    cloud: Cloud,
    purpose: Purpose,
) -> Result<Result<Url, SignInError>, PageError> {
    let (url, pending) = match boxed(app.linking.begin_sign_in(cloud)).await {
        Ok(begun) => begun,
        Err(error) => return Ok(Err(error)),
    };
    let mut open: Vec<Open> = session.get(key::SIGN_IN).await?.unwrap_or_default();
    open.push(Open { pending, purpose });
    let surplus = open.len().saturating_sub(OPEN_MAX);
    open.drain(..surplus);
    session.insert(key::SIGN_IN, open).await?;
    Ok(Ok(url))
}

/// Takes the sign-in that a callback answers. It serves once.
pub(super) async fn take(
    session: &Session,
    callback: &SignInCallback,
) -> Result<Option<(PendingSignIn, Purpose)>, PageError> {
    let mut open: Vec<Open> = session.get(key::SIGN_IN).await?.unwrap_or_default();
    let Some(index) = open.iter().position(|open| open.pending.is_answered_by(callback)) else {
        return Ok(None);
    };
    let Open { pending, purpose } = open.remove(index);
    session.insert(key::SIGN_IN, open).await?;
    Ok(Some((pending, purpose)))
}
