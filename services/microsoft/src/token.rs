//! App-only tokens (client credentials), cached.
//!
//! The cache lives inside one [`Microsoft`], which pins cloud and credential, so a tenant and a resource name a
//! token. One request at a time fetches it; those who waited share the result, good or bad.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer};
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use crate::Microsoft;
use crate::aadsts::{TokenError, TokenErrorKind};
use crate::http::HttpError;

/// Beyond so many tenants, spent tokens are swept out.
const ENTRIES_SOFT_MAX: usize = 4096;
/// A token is not used in the last moments of its life: the request takes time, and clocks differ.
const SPENT_BEFORE_EXPIRY: Duration = Duration::seconds(30);
/// Microsoft's lifetimes are 60 to 90 minutes, 24 h at most with continuous access evaluation (28 h documented).
const LIFETIME_MAX_SECONDS: i64 = 28 * 3600;

/// A bearer token. Opaque: nothing may be read out of it.
#[derive(Clone)]
pub(crate) struct AccessToken {
    secret: Arc<SecretString>,
    /// Tells tokens apart without comparing them.
    serial: u64,
    refresh_at: OffsetDateTime,
    expires_at: OffsetDateTime,
}

impl AccessToken {
    pub(crate) fn secret(&self) -> &SecretString {
        &self.secret
    }
}

impl fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessToken").field("expires_at", &self.expires_at).finish_non_exhaustive()
    }
}

type Key = (Uuid, String);

/// Tokens by tenant and resource.
#[derive(Debug, Default)]
pub(crate) struct TokenCache(Mutex<HashMap<Key, Arc<Slot>>>);

#[derive(Debug, Default)]
struct Slot {
    /// How many fetches have finished: whoever waited sees that one did meanwhile.
    finished: std::sync::atomic::AtomicU64,
    held: tokio::sync::Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    token: Option<AccessToken>,
    error: Option<TokenError>,
}

impl TokenCache {
    fn slot(&self, key: Key, now: OffsetDateTime) -> Arc<Slot> {
        let mut slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if slots.len() >= ENTRIES_SOFT_MAX && !slots.contains_key(&key) {
            // A slot in use is locked, or held by another Arc: leave it.
            slots.retain(|_, slot| {
                Arc::strong_count(slot) > 1
                    || slot
                        .held
                        .try_lock()
                        .is_ok_and(|held| held.token.as_ref().is_some_and(|token| token.expires_at > now))
            });
        }
        slots.entry(key).or_default().clone()
    }

    fn of_tenant(&self, tid: Uuid) -> Vec<Arc<Slot>> {
        let slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        slots.iter().filter(|((of, _), _)| *of == tid).map(|(_, slot)| slot.clone()).collect()
    }
}

impl Microsoft {
    /// A token for Graph in a tenant.
    pub(crate) async fn graph_token(&self, tid: Uuid) -> Result<AccessToken, TokenError> {
        self.token(tid, self.cloud().graph_resource()).await
    }

    /// Whether Microsoft issues an app-only token for Graph in the tenant. It says little about permissions: an
    /// application without any still gets tokens.
    pub async fn check_token(&self, tid: Uuid) -> Result<(), TokenError> {
        self.graph_token(tid).await.map(drop)
    }

    /// Drops every token of a tenant.
    pub async fn forget_tokens(&self, tid: Uuid) {
        for slot in self.0.tokens.of_tenant(tid) {
            slot.held.lock().await.token = None;
        }
    }

    /// Drops a token that was refused, unless it was already replaced.
    pub(crate) async fn forget_token(&self, tid: Uuid, refused: &AccessToken) {
        for slot in self.0.tokens.of_tenant(tid) {
            let mut held = slot.held.lock().await;
            if held.token.as_ref().is_some_and(|token| token.serial == refused.serial) {
                held.token = None;
            }
        }
    }

    async fn token(&self, tid: Uuid, resource: &str) -> Result<AccessToken, TokenError> {
        use std::sync::atomic::Ordering::SeqCst;

        let slot = self.0.tokens.slot((tid, resource.to_owned()), self.now());
        let finished = slot.finished.load(SeqCst);
        let mut held = slot.held.lock().await;
        let now = self.now();
        if let Some(token) = held.token.as_ref().filter(|token| now < token.refresh_at) {
            return Ok(token.clone());
        }
        // Somebody asked while this call waited, and was refused: the same answer, without asking again.
        if let Some(error) = held.error.as_ref().filter(|_| slot.finished.load(SeqCst) != finished) {
            return Err(error.clone());
        }
        let fetched = self.fetch_token(tid, resource, slot.finished.load(SeqCst)).await;
        slot.finished.fetch_add(1, SeqCst);
        match fetched {
            Ok(token) => {
                *held = Held { token: Some(token.clone()), error: None };
                Ok(token)
            }
            Err(error) => {
                // A refresh that fails for a passing reason leaves a token that still serves.
                let spare = held
                    .token
                    .as_ref()
                    .filter(|t| error.is_transient() && now < t.expires_at - SPENT_BEFORE_EXPIRY);
                if let Some(token) = spare {
                    tracing::warn!(%tid, %error, "the token could not be refreshed; the present one still serves");
                    return Ok(token.clone());
                }
                *held = Held { token: None, error: Some(error.clone()) };
                Err(error)
            }
        }
    }

    async fn fetch_token(&self, tid: Uuid, resource: &str, serial: u64) -> Result<AccessToken, TokenError> {
        let url = self.cloud().login_url(&format!("/{tid}/oauth2/v2.0/token"));
        let asked_at = self.now();
        let jti = self.0.ids.uuid(asked_at);
        let authentication = self.client_authentication(url.as_str(), jti, asked_at)?;
        let (client_id, scope) = (self.client_id().to_string(), format!("{resource}/.default"));
        let mut form = vec![
            ("client_id", client_id.as_str()),
            ("scope", scope.as_str()),
            ("grant_type", "client_credentials"),
        ];
        form.extend(authentication.iter().map(|(name, value)| (*name, value.expose_secret())));
        let request = self.0.http.client().post(url).form(&form).build();
        let request = request
            .map_err(|error| TokenError::new(TokenErrorKind::Protocol, error.without_url().to_string()))?;
        let answer = self.0.http.send("token", request).await?;
        if !answer.status.is_success() {
            return Err(TokenError::classify(answer.status.as_u16(), answer.retry_after, &answer.body));
        }
        let wire: WireToken = serde_json::from_slice(&answer.body)
            // serde_json's message may quote the text it stumbled over: only its place is told.
            .map_err(|e| {
                TokenError::new(
                    TokenErrorKind::Protocol,
                    format!("the token answer does not read at column {}", e.column()),
                )
            })?;
        Ok(wire.into_token(serial, asked_at, jti.as_bytes()[15]))
    }

    pub(crate) fn client_authentication(
        &self,
        audience: &str,
        jti: Uuid,
        now: OffsetDateTime,
    ) -> Result<Vec<(&'static str, SecretString)>, TokenError> {
        self.0.app.client_authentication(audience, jti, now).ok_or_else(|| {
            TokenError::new(TokenErrorKind::CredentialFailing, "the certificate's private key does not sign")
        })
    }

    pub(crate) fn now(&self) -> OffsetDateTime {
        self.0.clock.0.now()
    }
}

impl From<HttpError> for TokenError {
    fn from(error: HttpError) -> Self {
        let kind = match error {
            HttpError::TooLarge(_) => TokenErrorKind::Protocol,
            HttpError::Timeout(_) | HttpError::Failed(_) => TokenErrorKind::Unavailable,
        };
        Self::new(kind, error.to_string())
    }
}

#[derive(Deserialize)]
struct WireToken {
    access_token: SecretString,
    /// Seconds; the v1 endpoint writes them as a string.
    #[serde(deserialize_with = "seconds")]
    expires_in: i64,
}

fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Seconds {
        Number(i64),
        Text(String),
    }
    match Seconds::deserialize(deserializer)? {
        Seconds::Number(number) => Ok(number),
        Seconds::Text(text) => text.parse().map_err(serde::de::Error::custom),
    }
}

impl WireToken {
    /// Refreshed at 80 % of its life, a little earlier at random so that many links do not refresh at once.
    fn into_token(self, serial: u64, asked_at: OffsetDateTime, random: u8) -> AccessToken {
        let lifetime = Duration::seconds(self.expires_in.clamp(0, LIFETIME_MAX_SECONDS));
        let jitter = lifetime * 5 / 100 * i32::from(random) / 255;
        AccessToken {
            secret: Arc::new(self.access_token),
            serial,
            refresh_at: asked_at + lifetime * 80 / 100 - jitter,
            expires_at: asked_at + lifetime,
        }
    }
}

#[cfg(test)]
#[path = "token_tests.rs"]
mod tests;
