//! OIDC discovery and signing keys of the `organizations` authority.
//!
//! Kept for a day. A token whose key is unknown has them fetched again, but not more often than every half minute:
//! anybody can write a `kid`. While Microsoft is away, keys that were fetched once go on serving.

use serde::Deserialize;
use time::{Duration, OffsetDateTime};
use url::Url;

use crate::Microsoft;
use crate::aadsts::{TokenError, TokenErrorKind};

const KEPT_FOR: Duration = Duration::hours(24);
const REFRESH_EVERY_AT_MOST: Duration = Duration::seconds(30);

/// What Microsoft writes in place of a tenant.
pub(crate) const TENANT_PLACEHOLDER: &str = "{tenantid}";

/// The `organizations` authority.
#[derive(Clone, Debug)]
pub(crate) struct Authority {
    pub authorization_endpoint: Url,
    pub token_endpoint: Url,
    /// `https://login.microsoftonline.com/{tenantid}/v2.0`, with the placeholder as it stands.
    pub issuer: String,
    keys: Vec<SigningKey>,
}

/// An RSA key that signs id tokens.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct SigningKey {
    kid: Option<String>,
    kty: String,
    #[serde(rename = "use")]
    usage: Option<String>,
    #[serde(default)]
    pub n: String,
    #[serde(default)]
    pub e: String,
    /// The issuer that this key signs for, with the placeholder, or of one tenant alone.
    pub issuer: Option<String>,
}

impl Authority {
    /// The key that a token names.
    pub(crate) fn key(&self, kid: &str) -> Option<&SigningKey> {
        self.keys.iter().find(|key| key.kid.as_deref() == Some(kid))
    }
}

#[derive(Debug, Default)]
pub(crate) struct SigningKeys(tokio::sync::Mutex<Option<Cached>>);

#[derive(Debug)]
struct Cached {
    authority: Authority,
    fetched_at: OffsetDateTime,
    /// The last fetch that was made for an unknown key, or that failed.
    tried_at: Option<OffsetDateTime>,
}

impl Microsoft {
    /// The authority, at most a day old where Microsoft answers.
    pub(crate) async fn authority(&self) -> Result<Authority, TokenError> {
        self.authority_if(|_| false).await
    }

    /// The authority, fetched again if it lacks the key; it may lack it still.
    pub(crate) async fn authority_with_key(&self, kid: &str) -> Result<Authority, TokenError> {
        self.authority_if(|authority| authority.key(kid).is_none()).await
    }

    async fn authority_if(
        &self,
        wants_refresh: impl Fn(&Authority) -> bool,
    ) -> Result<Authority, TokenError> {
        let mut cached = self.0.signing_keys.0.lock().await;
        let now = self.now();
        if let Some(held) = cached.as_ref() {
            let old = now - held.fetched_at >= KEPT_FOR;
            let may = held.tried_at.is_none_or(|tried_at| now - tried_at >= REFRESH_EVERY_AT_MOST);
            if !(old || wants_refresh(&held.authority)) || !may {
                return Ok(held.authority.clone());
            }
        }
        let tried_at = cached.is_some().then_some(now);
        match self.fetch_authority().await {
            Ok(authority) => {
                *cached = Some(Cached { authority: authority.clone(), fetched_at: now, tried_at });
                Ok(authority)
            }
            Err(error) => match cached.as_mut() {
                Some(held) => {
                    tracing::warn!(%error, "signing keys could not be fetched; those of before still serve");
                    held.tried_at = Some(now);
                    Ok(held.authority.clone())
                }
                None => Err(error),
            },
        }
    }

    async fn fetch_authority(&self) -> Result<Authority, TokenError> {
        let base = self.cloud().login();
        let url = self.cloud().login_url("/organizations/v2.0/.well-known/openid-configuration");
        let document: Discovery = self.fetch_json("OIDC discovery", url).await?;
        // A document that leads elsewhere would have us send codes, or trust keys, elsewhere.
        for (name, url) in [
            ("authorization_endpoint", &document.authorization_endpoint),
            ("token_endpoint", &document.token_endpoint),
            ("jwks_uri", &document.jwks_uri),
        ] {
            if url.origin() != base.origin() {
                return Err(protocol(format!("{name} of the discovery document is on another host")));
            }
        }
        let issuer = document.issuer;
        let same_host = Url::parse(&issuer).is_ok_and(|url| url.origin() == base.origin());
        if !same_host || issuer.matches(TENANT_PLACEHOLDER).count() != 1 {
            return Err(protocol("the issuer of the discovery document is not a template of this cloud"));
        }
        let mut keys: KeySet = self.fetch_json("signing keys", document.jwks_uri).await?;
        keys.keys.retain(|key| key.kty == "RSA" && key.usage.as_deref().is_none_or(|usage| usage == "sig"));
        Ok(Authority {
            authorization_endpoint: document.authorization_endpoint,
            token_endpoint: document.token_endpoint,
            issuer,
            keys: keys.keys,
        })
    }

    async fn fetch_json<T: serde::de::DeserializeOwned>(
        &self,
        what: &'static str,
        url: Url,
    ) -> Result<T, TokenError> {
        let http = &self.0.shared.http;
        let request =
            http.client().get(url).build().map_err(|error| protocol(error.without_url().to_string()))?;
        let answer = http.send(what, request).await?;
        if !answer.status.is_success() {
            return Err(TokenError::classify(answer.status.as_u16(), answer.retry_after, &answer.body));
        }
        serde_json::from_slice(&answer.body).map_err(|error| protocol(format!("{what}: {error}")))
    }
}

fn protocol(detail: impl Into<String>) -> TokenError {
    TokenError::new(TokenErrorKind::Protocol, detail)
}

#[derive(Deserialize)]
struct Discovery {
    issuer: String,
    authorization_endpoint: Url,
    token_endpoint: Url,
    jwks_uri: Url,
}

#[derive(Deserialize)]
struct KeySet {
    keys: Vec<SigningKey>,
}
