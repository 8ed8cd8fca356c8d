//! App-only tokens (client credentials), cached.
//!
//! A cloud, a tenant, a resource, a client id and its credentials name a token: who holds other credentials for the
//! same client id shares nothing. One request at a time fetches it; those who waited share the result, good or bad,
//! and while a token is merely due for a refresh, they are given the present one.
//!
//! Where Microsoft asks for patience (429, or one of its codes for clients that ask in circles), nothing is asked
//! until then, whoever wants a token.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer};
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use crate::Microsoft;
use crate::aadsts::{TokenError, TokenErrorKind};
use crate::app::Credential;
use crate::http::HttpError;

/// Beyond so many entries, spent tokens are swept out.
const ENTRIES_SOFT_MAX: usize = 4096;
/// A token is not used in the last moments of its life: the request takes time, and clocks differ.
const SPENT_BEFORE_EXPIRY: Duration = Duration::seconds(30);
/// Microsoft's lifetimes are 60 to 90 minutes, 24 h at most with continuous access evaluation (28 h documented).
const LIFETIME_MAX_SECONDS: i64 = 28 * 3600;
/// Tokens that live as long as this are refreshed at half of it, as Microsoft's own libraries do.
const LONG_LIFETIME: Duration = Duration::hours(2);
/// While a token still serves, a refresh that failed is tried again after this.
const REFRESH_AGAIN_AFTER: Duration = Duration::seconds(30);
/// How long to leave Microsoft in peace where it asks to slow down and names no time; doubled each time.
const PATIENCE: Duration = Duration::seconds(30);
const PATIENCE_MAX: Duration = Duration::minutes(15);
/// So many tokens of a tenant may be thrown away for a 401 within [`REFUSED_WITHIN`]; more would be asking in circles.
const REFUSED_MAX: u32 = 5;
const REFUSED_WITHIN: Duration = Duration::minutes(5);

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

/// What names a token, and the owner of its slot.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    authority: Arc<str>,
    tid: Uuid,
    resource: String,
    client_id: Uuid,
    credentials: [u8; 32],
}

/// Tokens of all clouds, tenants and apps.
#[derive(Debug, Default)]
pub(crate) struct TokenCache {
    slots: Mutex<Slots>,
    serials: AtomicU64,
}

#[derive(Debug, Default)]
struct Slots {
    by_key: HashMap<Key, Arc<Slot>>,
    /// Swept when there are more than this.
    sweep_beyond: usize,
}

#[derive(Debug, Default)]
struct Slot {
    token: Mutex<Option<AccessToken>>,
    /// How many fetches have finished: whoever waited sees that one did meanwhile.
    finished: AtomicU64,
    /// Held by whoever fetches.
    fetching: tokio::sync::Mutex<Fetching>,
    refused: Mutex<Refused>,
}

#[derive(Debug, Default)]
struct Fetching {
    error: Option<TokenError>,
    /// Nothing is asked before.
    not_before: Option<OffsetDateTime>,
    /// Times in a row that Microsoft asked to slow down.
    throttled: u32,
}

/// Tokens that were thrown away for a 401.
#[derive(Debug, Default)]
struct Refused {
    since: Option<OffsetDateTime>,
    count: u32,
}

impl Slot {
    fn token_if(&self, serves: impl Fn(&AccessToken) -> bool) -> Option<AccessToken> {
        self.token.lock().unwrap_or_else(PoisonError::into_inner).clone().filter(serves)
    }

    /// A token that is not due for a refresh.
    fn fresh(&self, now: OffsetDateTime) -> Option<AccessToken> {
        self.token_if(|token| now < token.refresh_at)
    }

    /// A token that serves, though it may be due for a refresh.
    fn serving(&self, now: OffsetDateTime) -> Option<AccessToken> {
        self.token_if(|token| now < token.expires_at - SPENT_BEFORE_EXPIRY)
    }

    fn set(&self, token: Option<AccessToken>) {
        *self.token.lock().unwrap_or_else(PoisonError::into_inner) = token;
    }
}

impl TokenCache {
    fn slot(&self, key: Key, now: OffsetDateTime) -> Arc<Slot> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let slots = &mut *slots;
        if slots.by_key.len() > slots.sweep_beyond.max(ENTRIES_SOFT_MAX) {
            // A slot in use is held by another Arc, and one that waits for Microsoft's patience is remembered.
            slots.by_key.retain(|_, slot| {
                Arc::strong_count(slot) > 1
                    || slot.token_if(|token| token.expires_at > now).is_some()
                    || slot.fetching.try_lock().is_ok_and(|held| held.not_before.is_some_and(|at| at > now))
            });
            // So that many tenants that are all alive are not looked through for each new one.
            slots.sweep_beyond = slots.by_key.len() * 2;
        }
        slots.by_key.entry(key).or_default().clone()
    }

    fn of_tenant(&self, microsoft: &Microsoft, tid: Uuid) -> Vec<Arc<Slot>> {
        let credentials = microsoft.0.app.ring().id;
        let slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let of = |key: &Key| {
            key.tid == tid
                && key.client_id == microsoft.client_id()
                && key.credentials == credentials
                && key.authority == microsoft.0.authority
        };
        slots.by_key.iter().filter(|(key, _)| of(key)).map(|(_, slot)| slot.clone()).collect()
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

    /// Drops every token that this app has for a tenant.
    pub async fn forget_tokens(&self, tid: Uuid) {
        for slot in self.0.shared.tokens.of_tenant(self, tid) {
            // After a fetch that is under way: what it brings is older than the wish.
            let _fetching = slot.fetching.lock().await;
            slot.set(None);
        }
    }

    /// Drops a token that was refused, unless it was already replaced. False where a new one would not help: several
    /// were refused in a short time.
    pub(crate) async fn forget_token(&self, tid: Uuid, refused: &AccessToken) -> bool {
        let now = self.now();
        for slot in self.0.shared.tokens.of_tenant(self, tid) {
            let _fetching = slot.fetching.lock().await;
            if slot.token_if(|token| token.serial == refused.serial).is_none() {
                continue;
            }
            let mut count = slot.refused.lock().unwrap_or_else(PoisonError::into_inner);
            if count.since.is_none_or(|since| (now - since).abs() > REFUSED_WITHIN) {
                *count = Refused { since: Some(now), count: 0 };
            }
            if count.count >= REFUSED_MAX {
                return false;
            }
            count.count += 1;
            slot.set(None);
        }
        true
    }

    async fn token(&self, tid: Uuid, resource: &str) -> Result<AccessToken, TokenError> {
        use Ordering::SeqCst;

        self.refresh_credentials().await;
        let slot = self.0.shared.tokens.slot(self.key(tid, resource), self.now());
        if let Some(token) = slot.fresh(self.now()) {
            return Ok(token);
        }
        let finished = slot.finished.load(SeqCst);
        let mut fetching = match slot.fetching.try_lock() {
            Ok(fetching) => fetching,
            Err(_) => match slot.serving(self.now()) {
                // Somebody refreshes it already.
                Some(token) => return Ok(token),
                None => slot.fetching.lock().await,
            },
        };
        let now = self.now();
        if let Some(token) = slot.fresh(now) {
            return Ok(token);
        }
        // Somebody asked while this call waited, and was refused: the same answer, without asking again.
        if let Some(error) = fetching.error.as_ref().filter(|_| slot.finished.load(SeqCst) != finished) {
            return slot.serving(now).ok_or_else(|| error.clone());
        }
        // No wait is longer than a day: more is a clock that was set back.
        let wait = fetching.not_before.map(|at| at - now);
        if let Some(wait) = wait.filter(|wait| wait.is_positive() && *wait <= Duration::DAY) {
            let error =
                fetching.error.clone().map(|error| TokenError { retry_after: wait.try_into().ok(), ..error });
            return match (slot.serving(now), error) {
                (Some(token), _) => Ok(token),
                (None, Some(error)) => Err(error),
                (None, None) => Err(TokenError::new(TokenErrorKind::Unavailable, "waiting for Microsoft")),
            };
        }
        let fetched = self.fetch_token(tid, resource).await;
        slot.finished.fetch_add(1, SeqCst);
        match fetched {
            Ok(token) => {
                slot.set(Some(token.clone()));
                *fetching = Fetching::default();
                Ok(token)
            }
            Err(error) => self.not_fetched(tid, &slot, &mut fetching, error),
        }
    }

    /// A refresh that fails leaves a token that still serves, as Microsoft's own libraries do, until its end. Only
    /// where the tenant itself wants us out, the token goes at once.
    fn not_fetched(
        &self,
        tid: Uuid,
        slot: &Slot,
        fetching: &mut Fetching,
        mut error: TokenError,
    ) -> Result<AccessToken, TokenError> {
        let now = self.now();
        let asked = error.retry_after.and_then(|wait| Duration::try_from(wait).ok());
        let spare = slot.serving(now).filter(|_| !error.kind.is_the_tenants_word());
        let throttled = error.kind == TokenErrorKind::Throttled;
        fetching.throttled = if throttled { fetching.throttled.saturating_add(1) } else { 0 };
        let mut wait = asked.filter(|_| error.is_transient());
        if throttled && wait.is_none() {
            let doubled = PATIENCE * 2_i32.saturating_pow(fetching.throttled.saturating_sub(1).min(10));
            let random = self.0.shared.ids.uuid(now).as_bytes()[15];
            let patience = doubled.min(PATIENCE_MAX).whole_seconds() * (255 + i64::from(random) / 4) / 255;
            let patience = Duration::seconds(patience);
            error.retry_after = patience.try_into().ok();
            wait = Some(patience);
        }
        match spare {
            Some(token) => {
                if error.is_transient() {
                    tracing::warn!(%tid, %error, "the token could not be refreshed; the present one still serves");
                } else {
                    let until = token.expires_at;
                    tracing::error!(%tid, %error, %until,
                        "the token cannot be refreshed: it serves to its end, and somebody must act before that");
                }
                // Not beyond the present token's life, for which nobody need wait in vain.
                let again = wait.unwrap_or(REFRESH_AGAIN_AFTER);
                let spent = token.expires_at - SPENT_BEFORE_EXPIRY;
                let until = if wait.is_some() { now + again } else { (now + again).min(spent) };
                *fetching = Fetching { error: Some(error), not_before: Some(until), ..*fetching };
                Ok(token)
            }
            None => {
                slot.set(None);
                let not_before = wait.map(|wait| now + wait);
                *fetching = Fetching { error: Some(error.clone()), not_before, ..*fetching };
                Err(error)
            }
        }
    }

    fn key(&self, tid: Uuid, resource: &str) -> Key {
        Key {
            authority: self.0.authority.clone(),
            tid,
            resource: resource.to_owned(),
            client_id: self.client_id(),
            credentials: self.0.app.ring().id,
        }
    }

    async fn fetch_token(&self, tid: Uuid, resource: &str) -> Result<AccessToken, TokenError> {
        let mut attempts = self.attempts().await?;
        loop {
            let held = attempts.next().await?;
            match self.fetch_token_with(&held.credential, tid, resource).await {
                Ok(token) => {
                    attempts.accepted(&held);
                    return Ok(token);
                }
                Err(error) => attempts.refused(&held, error)?,
            }
        }
    }

    async fn fetch_token_with(
        &self,
        credential: &Credential,
        tid: Uuid,
        resource: &str,
    ) -> Result<AccessToken, TokenError> {
        let url = self.cloud().login_url(&format!("/{tid}/oauth2/v2.0/token"));
        let asked_at = self.now();
        let shared = &self.0.shared;
        let jti = shared.ids.uuid(asked_at);
        let authentication = self.client_authentication(credential, url.as_str(), jti, asked_at)?;
        let (client_id, scope) = (self.client_id().to_string(), format!("{resource}/.default"));
        let mut form = vec![
            ("client_id", client_id.as_str()),
            ("scope", scope.as_str()),
            ("grant_type", "client_credentials"),
        ];
        form.extend(authentication.iter().map(|(name, value)| (*name, value.expose_secret())));
        let request = shared.http.client().post(url).form(&form).build();
        let request = request
            .map_err(|error| TokenError::new(TokenErrorKind::Protocol, error.without_url().to_string()))?;
        let answer = shared.http.send("token", request).await?;
        if !answer.status.is_success() {
            let status = answer.status.as_u16();
            return Err(TokenError::classify_app_only(status, answer.retry_after, &answer.body));
        }
        let wire: WireToken = serde_json::from_slice(&answer.body)
            // serde_json's message may quote the text it stumbled over: only its place is told.
            .map_err(|e| {
                TokenError::new(
                    TokenErrorKind::Protocol,
                    format!("the token answer does not read at column {}", e.column()),
                )
            })?;
        let serial = shared.tokens.serials.fetch_add(1, Ordering::Relaxed);
        Ok(wire.into_token(serial, asked_at, jti.as_bytes()[15]))
    }

    pub(crate) fn client_authentication(
        &self,
        credential: &Credential,
        audience: &str,
        jti: Uuid,
        now: OffsetDateTime,
    ) -> Result<Vec<(&'static str, SecretString)>, TokenError> {
        credential.authentication(self.client_id(), audience, jti, now).ok_or_else(|| {
            TokenError::new(TokenErrorKind::CredentialFailing, "the certificate's private key does not sign")
        })
    }

    pub(crate) fn now(&self) -> OffsetDateTime {
        self.0.shared.clock.0.now()
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
    /// When to refresh it, in seconds; long-lived tokens come with it.
    #[serde(default, deserialize_with = "lenient_seconds")]
    refresh_in: Option<i64>,
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

/// A hint that does not read is no hint.
fn lenient_seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    let value = serde_json::Value::deserialize(deserializer)?;
    Ok(seconds(value).ok().filter(|seconds| *seconds > 0))
}

impl WireToken {
    /// Refreshed when Microsoft says so, else at half of a long life and at 80 % of a usual one; a little earlier at
    /// random, so that many links do not refresh at once.
    fn into_token(self, serial: u64, asked_at: OffsetDateTime, random: u8) -> AccessToken {
        let lifetime = Duration::seconds(self.expires_in.clamp(0, LIFETIME_MAX_SECONDS));
        let refresh = match self.refresh_in {
            Some(seconds) => Duration::seconds(seconds.min(LIFETIME_MAX_SECONDS)).min(lifetime * 95 / 100),
            None if lifetime >= LONG_LIFETIME => lifetime / 2,
            None => lifetime * 80 / 100,
        };
        let jitter = refresh * 6 / 100 * i32::from(random) / 255;
        AccessToken {
            secret: Arc::new(self.access_token),
            serial,
            refresh_at: asked_at + refresh - jitter,
            expires_at: asked_at + lifetime,
        }
    }
}

#[cfg(test)]
#[path = "token_tests.rs"]
mod tests;
