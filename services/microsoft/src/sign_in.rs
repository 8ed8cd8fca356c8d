//! Sign-in with Entra ID: authorization code with PKCE (RFC 6749, RFC 7636, OpenID Connect Core).
//!
//! The answer comes back in the query (`response_mode=query`): a form post from another site would come without the
//! browser's `SameSite=Lax` session cookie.

use std::borrow::Cow;
use std::pin::Pin;

use openidconnect::core::{CoreAuthPrompt, CoreAuthenticationFlow, CoreClient};
use openidconnect::{
    AsyncHttpClient, AuthUrl, AuthorizationCode, ClientId, CsrfToken, HttpRequest, HttpResponse, IssuerUrl,
    JsonWebKeySet, Nonce, PkceCodeChallenge, PkceCodeVerifier, RedirectUrl, RequestTokenError, Scope,
    TokenResponse, TokenUrl,
};
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime};
use url::Url;

use crate::Microsoft;
use crate::aadsts::{TokenError, TokenErrorKind, aadsts_code, cut, first_line};
use crate::app::Credential;
use crate::consent::same;
use crate::id_token::{self, IdTokenError, VerifiedIdentity};
use crate::signing_keys::Authority;

/// People may read a page, fetch a second factor, ask a colleague.
const PENDING_FOR: Duration = Duration::hours(1);

/// A sign-in that has begun. Keep it in the server-side session of the browser that began it, and nowhere else.
#[derive(Clone, Serialize, Deserialize)]
pub struct PendingSignIn {
    state: String,
    nonce: String,
    pkce_verifier: String,
    redirect_uri: Url,
    #[serde(with = "time::serde::rfc3339")]
    begun_at: OffsetDateTime,
}

impl std::fmt::Debug for PendingSignIn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PendingSignIn").field("begun_at", &self.begun_at).finish_non_exhaustive()
    }
}

impl PendingSignIn {
    /// Whether a callback answers this sign-in. Several may be open in the tabs of one browser.
    #[must_use]
    pub fn is_answered_by(&self, callback: &SignInCallback) -> bool {
        callback.state.as_deref().is_some_and(|state| same(state, &self.state))
    }
}

/// The callback's query.
#[derive(Clone, Default, Deserialize)]
#[serde(default)]
pub struct SignInCallback {
    pub state: Option<String>,
    pub code: Option<String>,
    pub error: Option<String>,
    pub error_description: Option<String>,
}

impl std::fmt::Debug for SignInCallback {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SignInCallback").field("error", &self.error).finish_non_exhaustive()
    }
}

/// Why nobody is signed in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignInError {
    /// The callback answers no sign-in of this browser.
    #[error("this answer belongs to no sign-in of this browser; begin again")]
    StateMismatch,
    /// The sign-in was begun too long ago.
    #[error("the sign-in took too long; begin again")]
    Expired,
    /// The person cancelled, or declined.
    #[error("the sign-in was cancelled: {detail}")]
    Declined { detail: String },
    /// The callback has neither a code nor an error.
    #[error("Microsoft's answer holds no code; begin again")]
    NoCode,
    /// Entra ID refused, on the callback or when the code was redeemed.
    #[error(transparent)]
    Refused(#[from] TokenError),
    /// The id token is not to be believed.
    #[error("the id token was refused: {0}")]
    IdToken(#[from] IdTokenError),
}

impl Microsoft {
    /// Begins a sign-in: where to send the browser, and what to keep until it comes back to `redirect_uri`.
    pub async fn begin_sign_in(&self, redirect_uri: &Url) -> Result<(Url, PendingSignIn), SignInError> {
        let authority = self.authority().await?;
        let client = self.oidc_client(&authority)?;
        let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
        let (url, state, nonce) = client
            .authorize_url(
                CoreAuthenticationFlow::AuthorizationCode,
                CsrfToken::new_random,
                Nonce::new_random,
            )
            .set_redirect_uri(Cow::Owned(RedirectUrl::from_url(redirect_uri.clone())))
            .add_scope(Scope::new("profile".to_owned()))
            .add_extra_param("response_mode", "query")
            .add_prompt(CoreAuthPrompt::SelectAccount)
            .set_pkce_challenge(challenge)
            .url();
        let pending = PendingSignIn {
            state: state.into_secret(),
            nonce: nonce.secret().clone(),
            pkce_verifier: verifier.into_secret(),
            redirect_uri: redirect_uri.clone(),
            begun_at: self.now(),
        };
        Ok((url, pending))
    }

    /// Completes a sign-in: redeems the code and verifies who it is. Consume `pending`: a code serves once.
    pub async fn complete_sign_in(
        &self,
        callback: &SignInCallback,
        pending: &PendingSignIn,
    ) -> Result<VerifiedIdentity, SignInError> {
        if !pending.is_answered_by(callback) {
            return Err(SignInError::StateMismatch);
        }
        if self.now() - pending.begun_at > PENDING_FOR {
            return Err(SignInError::Expired);
        }
        if let Some(error) = &callback.error {
            return Err(refused(error, callback.error_description.as_deref().unwrap_or_default()));
        }
        let code = callback.code.clone().filter(|code| !code.is_empty()).ok_or(SignInError::NoCode)?;
        let token = self.redeem(code, pending).await?;
        let authority = self.authority_with_key(&id_token::key_id(&token)?).await?;
        let cloud = self.cloud().name();
        Ok(id_token::verify(&token, cloud, &authority, self.client_id(), &pending.nonce, self.now())?)
    }

    /// The raw id token for a code.
    async fn redeem(&self, code: String, pending: &PendingSignIn) -> Result<String, SignInError> {
        let authority = self.authority().await?;
        let client = self.oidc_client(&authority)?;
        let mut attempts = self.attempts().await?;
        loop {
            let held = attempts.next().await?;
            match self.redeem_with(&held.credential, &code, pending, &authority, &client).await {
                Ok(token) => {
                    attempts.accepted(&held);
                    return Ok(token);
                }
                // A code is not spent by a client that could not prove who it is.
                Err(SignInError::Refused(error)) => attempts.refused(&held, error)?,
                Err(error) => return Err(error),
            }
        }
    }

    async fn redeem_with(
        &self,
        credential: &Credential,
        code: &str,
        pending: &PendingSignIn,
        authority: &Authority,
        client: &OidcClient,
    ) -> Result<String, SignInError> {
        let now = self.now();
        let audience = authority.token_endpoint.as_str();
        let authentication =
            self.client_authentication(credential, audience, self.0.shared.ids.uuid(now), now)?;
        let mut request = client
            .exchange_code(AuthorizationCode::new(code.to_owned()))
            .set_pkce_verifier(PkceCodeVerifier::new(pending.pkce_verifier.clone()))
            .set_redirect_uri(Cow::Owned(RedirectUrl::from_url(pending.redirect_uri.clone())));
        for (name, value) in &authentication {
            request = request.add_extra_param(*name, value.expose_secret());
        }
        let bridge = Bridge(self.clone());
        let response = request.request_async(&bridge).await.map_err(|error| match error {
            RequestTokenError::Request(BridgeError(error)) => error,
            // The library's other errors may quote the answer, which holds tokens.
            RequestTokenError::ServerResponse(_)
            | RequestTokenError::Parse(..)
            | RequestTokenError::Other(_) => {
                TokenError::new(TokenErrorKind::Protocol, "the token answer does not read")
            }
        })?;
        let token = response.id_token().ok_or(IdTokenError::Malformed)?;
        Ok(token.to_string())
    }

    fn oidc_client(&self, authority: &Authority) -> Result<OidcClient, TokenError> {
        // Only the flow is openidconnect's: it must not verify, so it is given neither the issuer nor the keys.
        let unused = IssuerUrl::new(self.cloud().login().to_string())
            .map_err(|error| TokenError::new(TokenErrorKind::Protocol, error.to_string()))?;
        let client =
            CoreClient::new(ClientId::new(self.client_id().to_string()), unused, JsonWebKeySet::default())
                .set_auth_uri(AuthUrl::from_url(authority.authorization_endpoint.clone()))
                .set_token_uri(TokenUrl::from_url(authority.token_endpoint.clone()));
        Ok(client)
    }
}

type OidcClient = CoreClient<
    openidconnect::EndpointSet,
    openidconnect::EndpointNotSet,
    openidconnect::EndpointNotSet,
    openidconnect::EndpointNotSet,
    openidconnect::EndpointSet,
>;

/// Microsoft's refusal, classified while the whole answer is at hand.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
struct BridgeError(#[from] TokenError);

/// openidconnect's idea of an HTTP client, on ours. Boxed: a closure's future is not `Send` for every lifetime.
struct Bridge(Microsoft);

impl<'c> AsyncHttpClient<'c> for Bridge {
    type Error = BridgeError;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, BridgeError>> + Send + 'c>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(self.exchange(request))
    }
}

impl Bridge {
    async fn exchange(&self, request: HttpRequest) -> Result<HttpResponse, BridgeError> {
        let request = reqwest::Request::try_from(request)
            .map_err(|error| TokenError::new(TokenErrorKind::Protocol, error.without_url().to_string()))?;
        let answer = self.0.0.shared.http.send("code redemption", request).await.map_err(TokenError::from)?;
        if !answer.status.is_success() {
            return Err(TokenError::classify(answer.status.as_u16(), answer.retry_after, &answer.body).into());
        }
        let mut response = HttpResponse::new(answer.body);
        *response.headers_mut() = answer.headers;
        Ok(response)
    }
}

/// An error on the callback. Anybody can write one, but only to a sign-in whose state they know.
fn refused(error: &str, description: &str) -> SignInError {
    let code = aadsts_code(description);
    let line = first_line(description);
    let detail = cut(if line.is_empty() { error } else { line });
    if error == "access_denied" || code == Some(65_004) {
        return SignInError::Declined { detail };
    }
    let body = serde_json::json!({ "error": error, "error_description": description });
    SignInError::Refused(TokenError::classify(400, None, body.to_string().as_bytes()))
}
