//! Sign-in: Entra ID vouches for a person, and they become an account.

use apps::AppsError;
use domain::AccountId;
use microsoft::{CloudName, IdTokenError, SignInCallback, VerifiedIdentity};
use serde::{Deserialize, Serialize};
use store::StoreError;
use store::accounts::{self, SigningIn};
use url::Url;

use crate::{Linking, Words};

/// Who is signed in. Kept in the server-side session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedIn {
    pub account: AccountId,
    /// As Entra ID vouched at sign-in.
    pub identity: VerifiedIdentity,
}

/// A sign-in that has begun, and the cloud that must complete it. Keep it in the server-side session of the browser
/// that began it, and nowhere else.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PendingSignIn {
    cloud: CloudName,
    pending: microsoft::PendingSignIn,
}

impl PendingSignIn {
    /// Whether a callback answers this sign-in.
    #[must_use]
    pub fn is_answered_by(&self, callback: &SignInCallback) -> bool {
        self.pending.is_answered_by(callback)
    }
}

/// Why nobody is signed in.
#[derive(Debug, thiserror::Error)]
pub enum SignInError {
    #[error(transparent)]
    Microsoft(#[from] microsoft::SignInError),
    /// This Gatehouse is not set up for the cloud.
    #[error(transparent)]
    Cloud(#[from] AppsError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl SignInError {
    /// For a page.
    #[must_use]
    pub fn words(&self) -> Words {
        use microsoft::SignInError as E;
        match self {
            Self::Store(_) => Words::store(),
            Self::Cloud(error) => Words::new(
                "Not this cloud",
                "This Gatehouse is not set up for that cloud of Microsoft.",
                "Sign in with another one, or ask whoever runs this Gatehouse.",
            )
            .with_detail(&error.to_string()),
            Self::Microsoft(E::StateMismatch | E::NoCode) => Words::new(
                "That sign-in is not yours",
                "This answer belongs to no sign-in that this browser began; perhaps the page was opened twice.",
                "Sign in again.",
            ),
            Self::Microsoft(E::Expired) => Words::new(
                "The sign-in took too long",
                "It was begun more than an hour ago.",
                "Sign in again.",
            ),
            Self::Microsoft(E::Declined { detail }) => Words::new(
                "Sign-in was cancelled",
                "Microsoft's sign-in page was cancelled, or consent to read your name was declined.",
                "Sign in again when you like.",
            )
            .with_detail(detail),
            Self::Microsoft(E::Refused(error)) => Words::token(error),
            Self::Microsoft(E::IdToken(IdTokenError::PersonalAccount)) => Words::new(
                "That is a personal Microsoft account",
                "Gatehouse serves organizations, and a personal account belongs to none.",
                "Sign in with a work or school account.",
            ),
            Self::Microsoft(E::IdToken(error)) => Words::new(
                "Microsoft's answer cannot be trusted",
                "The id token did not pass Gatehouse's checks. Nobody was signed in.",
                "Sign in again. If it fails again, tell whoever runs this Gatehouse.",
            )
            .with_detail(&error.to_string()),
        }
    }
}

impl Linking {
    /// Begins a sign-in to a cloud: where to send the browser, and what to keep in its server-side session.
    pub async fn begin_sign_in(&self, cloud: CloudName) -> Result<(Url, PendingSignIn), SignInError> {
        let microsoft = self.gatehouse(cloud)?;
        let (url, pending) = microsoft.begin_sign_in(&self.0.config.sign_in_redirect).await?;
        Ok((url, PendingSignIn { cloud, pending }))
    }

    /// Completes a sign-in. Take `pending` out of the session first: it serves once.
    pub async fn complete_sign_in(
        &self,
        callback: &SignInCallback,
        pending: &PendingSignIn,
    ) -> Result<SignedIn, SignInError> {
        let identity = self.verify_identity(callback, pending).await?;
        let mut tx = self.store().system().await?;
        let who = SigningIn {
            cloud: identity.cloud.as_str(),
            tid: identity.tid,
            oid: identity.oid,
            name: &identity.name,
            user_name: &identity.user_name,
        };
        let account = accounts::signed_in(&mut tx, self.ids(), self.now(), who).await?;
        tx.commit().await?;
        tracing::info!(%account, tid = %identity.tid, guest = identity.guest, "signed in");
        Ok(SignedIn { account, identity })
    }

    /// Verifies somebody without signing them in: for linking another tenant than one's own, whose administrator
    /// proves who they are with the same flow.
    pub async fn verify_identity(
        &self,
        callback: &SignInCallback,
        pending: &PendingSignIn,
    ) -> Result<VerifiedIdentity, SignInError> {
        Ok(self.gatehouse(pending.cloud)?.complete_sign_in(callback, &pending.pending).await?)
    }
}
