//! Signing keys: RS256, published with certificates, rotated on demand.

use aws_lc_rs::{
    digest::{SHA1_FOR_LEGACY_USE_ONLY, digest},
    encoding::AsDer as _,
    rand::SystemRandom,
    rsa::{KeyPair as RsaKeyPair, KeySize},
    signature::{KeyPair as _, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, UnparsedPublicKey},
};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use rcgen::{CertificateParams, DnType, KeyPair};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use time::{Duration, OffsetDateTime};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::directory::user::PERSONAL_ACCOUNTS;

#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("no RSA key could be generated")]
    Generate,
    #[error("the stored key cannot be read: {0}")]
    Stored(String),
    #[error("no certificate could be issued: {0}")]
    Certificate(#[from] rcgen::Error),
}

/// Which tokens a key signs, and so which `issuer` it is published with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Signs {
    /// Tokens of any organization: published with the template issuer.
    Organizations,
    /// Tokens of personal accounts: published with the GUID of their tenant.
    PersonalAccounts,
}

/// A key as it is stored.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StoredKey {
    pkcs8: String,
    certificate: String,
    signs: Signs,
}

#[derive(Debug)]
struct SigningKey {
    kid: String,
    pair: RsaKeyPair,
    modulus: String,
    stored: StoredKey,
}

impl SigningKey {
    fn generate(signs: Signs, now: OffsetDateTime) -> Result<Self, KeyError> {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).map_err(|_| KeyError::Generate)?;
        let pkcs8 = pair.as_der().map_err(|_| KeyError::Generate)?.as_ref().to_vec();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "accounts.accesscontrol.windows.net");
        params.not_before = now - Duration::days(1);
        params.not_after = now + Duration::days(5 * 365);
        let certificate = params.self_signed(&KeyPair::try_from(pkcs8.as_slice())?)?;
        Self::load(StoredKey {
            pkcs8: STANDARD.encode(&pkcs8),
            certificate: STANDARD.encode(certificate.der()),
            signs,
        })
    }

    fn load(stored: StoredKey) -> Result<Self, KeyError> {
        let unreadable = |what: &dyn std::fmt::Display| KeyError::Stored(what.to_string());
        let pkcs8 = STANDARD.decode(&stored.pkcs8).map_err(|e| unreadable(&e))?;
        let pair = RsaKeyPair::from_pkcs8(&pkcs8).map_err(|e| unreadable(&e))?;
        let der = STANDARD.decode(&stored.certificate).map_err(|e| unreadable(&e))?;
        let (_, certificate) = X509Certificate::from_der(&der).map_err(|e| unreadable(&e))?;
        let modulus = match certificate.public_key().parsed() {
            Ok(x509_parser::public_key::PublicKey::RSA(key)) => {
                let start = key.modulus.iter().position(|byte| *byte != 0).unwrap_or(0);
                URL_SAFE_NO_PAD.encode(&key.modulus[start..])
            }
            _ => return Err(KeyError::Stored("not an RSA key".to_owned())),
        };
        let kid = URL_SAFE_NO_PAD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, &der));
        Ok(Self { kid, pair, modulus, stored })
    }
}

/// All keys in use, newest last.
#[derive(Debug)]
pub struct Keyring {
    keys: Vec<SigningKey>,
}

impl Keyring {
    pub fn generate(now: OffsetDateTime) -> Result<Self, KeyError> {
        Ok(Self {
            keys: vec![
                SigningKey::generate(Signs::PersonalAccounts, now)?,
                SigningKey::generate(Signs::Organizations, now)?,
            ],
        })
    }

    pub fn load(stored: Vec<StoredKey>) -> Result<Self, KeyError> {
        Ok(Self { keys: stored.into_iter().map(SigningKey::load).collect::<Result<_, _>>()? })
    }

    #[must_use]
    pub fn stored(&self) -> Vec<StoredKey> {
        self.keys.iter().map(|key| key.stored.clone()).collect()
    }

    /// Signs with a new key from now on. Where `keep` is unset, the old keys vanish at once, as after an
    /// emergency: tokens that they signed verify no more.
    pub fn rotate(&mut self, keep: bool, now: OffsetDateTime) -> Result<String, KeyError> {
        let key = SigningKey::generate(Signs::Organizations, now)?;
        if !keep {
            self.keys.retain(|key| key.stored.signs == Signs::PersonalAccounts);
        }
        let kid = key.kid.clone();
        self.keys.push(key);
        Ok(kid)
    }

    #[must_use]
    pub fn key_ids(&self) -> Vec<String> {
        self.keys.iter().map(|key| key.kid.clone()).collect()
    }

    /// The JWKS document; `base` is the issuer's base URL.
    #[must_use]
    pub fn published(&self, base: &str) -> Value {
        let keys: Vec<_> = self
            .keys
            .iter()
            .map(|key| {
                let issuer = match key.stored.signs {
                    Signs::Organizations => format!("{base}/{{tenantid}}/v2.0"),
                    Signs::PersonalAccounts => format!("{base}/{PERSONAL_ACCOUNTS}/v2.0"),
                };
                json!({
                    "kty": "RSA", "use": "sig", "kid": key.kid, "x5t": key.kid, "n": key.modulus, "e": "AQAB",
                    "x5c": [key.stored.certificate], "cloud_instance_name": "microsoftonline.com",
                    "issuer": issuer,
                })
            })
            .collect();
        json!({ "keys": keys })
    }

    /// A signed JWT; empty where there is no key for `signs`.
    #[must_use]
    pub fn sign(&self, signs: Signs, claims: &Value) -> String {
        let Some(key) = self.keys.iter().rev().find(|key| key.stored.signs == signs) else {
            return String::new();
        };
        let header = json!({ "typ": "JWT", "alg": "RS256", "kid": key.kid });
        let input = format!(
            "{}.{}",
            URL_SAFE_NO_PAD.encode(header.to_string()),
            URL_SAFE_NO_PAD.encode(claims.to_string())
        );
        let mut signature = vec![0; key.pair.public_modulus_len()];
        match key.pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), input.as_bytes(), &mut signature) {
            Ok(()) => format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature)),
            Err(_) => String::new(),
        }
    }

    /// The claims of a JWT that one of these keys signed.
    #[must_use]
    pub fn verify(&self, token: &str) -> Option<Value> {
        let (input, signature) = token.rsplit_once('.')?;
        let (header, claims) = input.split_once('.')?;
        let header: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).ok()?).ok()?;
        let key = self.keys.iter().find(|key| header["kid"] == key.kid.as_str())?;
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key.pair.public_key())
            .verify(input.as_bytes(), &signature)
            .ok()?;
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn a_token_verifies_until_its_key_is_dropped() {
        let now = datetime!(2026-01-01 0:00 UTC);
        let mut keys = Keyring::generate(now).unwrap();
        let token = keys.sign(Signs::Organizations, &json!({"tid": "t"}));
        assert_eq!(keys.verify(&token).unwrap()["tid"], "t");
        keys.rotate(true, now).unwrap();
        assert!(keys.verify(&token).is_some());
        let reloaded = Keyring::load(keys.stored()).unwrap();
        assert_eq!(reloaded.key_ids(), keys.key_ids());
        keys.rotate(false, now).unwrap();
        assert!(keys.verify(&token).is_none());
    }
}
