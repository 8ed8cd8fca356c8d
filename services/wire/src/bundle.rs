//! The survivability bundle, as it travels and as an edge keeps it.
//!
//! A bundle is a manifest, signed, and facts, which the manifest names by one digest over all of them. So a part that
//! holds only what changed is as safe as the whole: who puts it onto what they have must come to the digest that was
//! signed. Facts travel as texts, because what is hashed must be the very bytes.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::sync::Arc;

use aws_lc_rs::digest;
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use domain::bundle::{Bundle, Contents, Fallback};
use domain::device::DeviceFacts;
use domain::policy::CompiledPolicy;
use domain::resolver::LookupKey;
use domain::snapshot::{LinkFacts, OrgSettings, PublishedPolicy};
use domain::{EdgeId, OrgId, SiteId};
use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime};
use utoipa::ToSchema;

const POLICY: &str = "policy";
const COVERED: &str = "key:";
const DEVICE: &str = "device:";

/// Facts by name: `policy`, `key:<lookup key>` (with no text: everything is known of the key), `device:<link>/<id>`.
pub type FactTexts = BTreeMap<String, String>;

/// What is signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    pub org: OrgId,
    pub site: SiteId,
    /// Who asked for it.
    pub edge: EdgeId,
    /// Grows with every change of the facts.
    pub version: i64,
    #[serde(with = "time::serde::rfc3339")]
    pub issued_at: OffsetDateTime,
    /// Older than this, it is not decided from.
    pub max_age_seconds: u32,
    pub fallback: Fallback,
    pub settings: OrgSettings,
    pub links: Vec<LinkFacts>,
    /// See [`digest_of`], hexadecimal.
    pub digest: String,
}

/// A bundle, or the part of one that changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SignedBundle {
    /// JSON, signed as it stands: organization, site, version, time of issue, settings, and a digest of all facts.
    #[schema(example = "{\"version\":7,\"digest\":\"…\"}")]
    pub manifest: String,
    /// Ed25519, of the manifest's UTF-8 bytes; Base64.
    pub signature: String,
    /// Names the key that signed: the first 16 digits of the SHA-256 of the public key.
    #[schema(example = "1f2e3d4c5b6a7988")]
    pub key_id: String,
    /// The version that the facts are put onto; null where they are all there are.
    pub since: Option<i64>,
    /// Facts that are new or changed, by name.
    pub facts: BTreeMap<String, String>,
    /// Names of facts that are no more.
    pub gone: Vec<String>,
}

/// Why a bundle is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("nobody who is trusted has signed it")]
    Signature,
    #[error("its manifest cannot be read: {0}")]
    Manifest(String),
    #[error("it is made for another {0}")]
    Stranger(&'static str),
    #[error("it is older than the one at hand")]
    Older,
    #[error("it is a part of another bundle than the one at hand")]
    Base,
    #[error("its facts are not those that were signed")]
    Digest,
    #[error("its fact {0} cannot be read")]
    Fact(String),
}

/// SHA-256 of a fact's text.
#[must_use]
pub fn hash_of(text: &str) -> [u8; 32] {
    sha256(&[text.as_bytes()])
}

/// One digest over all facts: of names and hashes of texts, in the order of names.
pub fn digest_of<'a>(facts: impl IntoIterator<Item = (&'a str, [u8; 32])>) -> String {
    let mut context = digest::Context::new(&digest::SHA256);
    for (name, hash) in facts {
        context.update(&u64::try_from(name.len()).unwrap_or(u64::MAX).to_be_bytes());
        context.update(name.as_bytes());
        context.update(&hash);
    }
    hex(context.finish().as_ref())
}

/// The facts' texts.
pub fn fact_texts<'a>(
    policy: Option<&PublishedPolicy>,
    covered: impl IntoIterator<Item = &'a LookupKey>,
    devices: impl IntoIterator<Item = &'a DeviceFacts>,
) -> Result<FactTexts, serde_json::Error> {
    let mut facts = FactTexts::new();
    if let Some(policy) = policy {
        facts.insert(POLICY.to_owned(), serde_json::to_string(policy)?);
    }
    facts.extend(covered.into_iter().map(|key| (format!("{COVERED}{key}"), String::new())));
    for device in devices {
        facts.insert(format!("{DEVICE}{}/{}", device.link, device.id), serde_json::to_string(device)?);
    }
    Ok(facts)
}

/// Signs manifests. Never shown by `Debug`.
#[derive(Clone)]
pub struct Signer {
    pair: Arc<Ed25519KeyPair>,
    public: PublicKey,
}

impl Signer {
    /// Reads an Ed25519 private key: PKCS #8 in PEM, as `openssl genpkey -algorithm ed25519` writes it.
    #[must_use]
    pub fn parse(pem: &str) -> Option<Self> {
        let der = pem_body(pem, "PRIVATE KEY")?;
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der).ok()?;
        let public = PublicKey(pair.public_key().as_ref().try_into().ok()?);
        Some(Self { pair: Arc::new(pair), public })
    }

    /// What edges are given, to know the signature by.
    #[must_use]
    pub const fn public_key(&self) -> PublicKey {
        self.public
    }

    /// Signs a manifest, for facts that are put onto `since`.
    pub fn sign(
        &self,
        manifest: &Manifest,
        since: Option<i64>,
        facts: FactTexts,
        gone: Vec<String>,
    ) -> Result<SignedBundle, serde_json::Error> {
        let manifest = serde_json::to_string(manifest)?;
        let signature = STANDARD.encode(self.pair.sign(manifest.as_bytes()).as_ref());
        Ok(SignedBundle { manifest, signature, key_id: self.public.id(), since, facts, gone })
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signer({})", self.public.id())
    }
}

/// An Ed25519 public key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    /// Reads 32 bytes in Base64, or PEM as `openssl pkey -pubout` writes it.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = match pem_body(text, "PUBLIC KEY") {
            // RFC 8410 4: an algorithm of twelve bytes, then the key.
            Some(der) => der.strip_prefix(&hex_bytes("302a300506032b6570032100")?[..])?.to_vec(),
            None => STANDARD.decode(text.trim()).ok()?,
        };
        bytes.try_into().ok().map(Self)
    }

    /// The first 16 digits of its SHA-256.
    #[must_use]
    pub fn id(&self) -> String {
        hex(&sha256(&[&self.0])[..8])
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&STANDARD.encode(self.0))
    }
}

/// For whom an edge takes bundles, and whose signature it believes.
#[derive(Clone, Debug)]
pub struct Trust {
    pub keys: Vec<PublicKey>,
    pub org: OrgId,
    /// `None` until the first bundle was taken, unless the edge was told.
    pub site: Option<SiteId>,
}

/// A whole bundle at hand, verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    pub manifest: Manifest,
    /// The signed text, its signature, and the key's id: with them it is verified again when it is read from disk.
    pub signed: (String, String, String),
    pub facts: FactTexts,
}

impl Held {
    /// Takes what came, onto what is at hand. What is refused changes nothing.
    pub fn take(held: Option<&Self>, came: SignedBundle, trust: &Trust) -> Result<Self, Refused> {
        let SignedBundle { manifest: text, signature, key_id, since, facts: changed, gone } = came;
        let bytes = STANDARD.decode(&signature).map_err(|_| Refused::Signature)?;
        let signed = trust
            .keys
            .iter()
            .any(|key| UnparsedPublicKey::new(&ED25519, &key.0).verify(text.as_bytes(), &bytes).is_ok());
        if !signed {
            return Err(Refused::Signature);
        }
        let manifest: Manifest =
            serde_json::from_str(&text).map_err(|error| Refused::Manifest(error.to_string()))?;
        if manifest.org != trust.org {
            return Err(Refused::Stranger("organization"));
        }
        if trust.site.or(held.map(|held| held.manifest.site)).is_some_and(|site| site != manifest.site) {
            return Err(Refused::Stranger("site"));
        }
        if let Some(held) = held
            && (manifest.version, manifest.issued_at) < (held.manifest.version, held.manifest.issued_at)
        {
            return Err(Refused::Older);
        }
        let mut facts = match (since, held) {
            (None, _) => FactTexts::new(),
            (Some(since), Some(held)) if held.manifest.version == since => held.facts.clone(),
            (Some(_), _) => return Err(Refused::Base),
        };
        for name in &gone {
            facts.remove(name);
        }
        facts.extend(changed);
        let digest = digest_of(facts.iter().map(|(name, text)| (name.as_str(), hash_of(text))));
        if digest != manifest.digest {
            return Err(Refused::Digest);
        }
        Ok(Self { manifest, signed: (text, signature, key_id), facts })
    }

    /// The bundle, ready to decide.
    pub fn prepare(&self) -> Result<Bundle, Refused> {
        let mut policy: Option<PublishedPolicy> = None;
        let mut covered = HashSet::new();
        let mut devices: Vec<DeviceFacts> = Vec::new();
        for (name, text) in &self.facts {
            let wrong = || Refused::Fact(name.clone());
            if name == POLICY {
                policy = Some(serde_json::from_str(text).map_err(|_| wrong())?);
            } else if let Some(key) = name.strip_prefix(COVERED) {
                covered.insert(key.parse().map_err(|_| wrong())?);
            } else if name.starts_with(DEVICE) {
                devices.push(serde_json::from_str(text).map_err(|_| wrong())?);
            } else {
                return Err(wrong());
            }
        }
        let manifest = &self.manifest;
        Ok(Bundle::new(Contents {
            settings: manifest.settings.clone(),
            links: manifest.links.clone(),
            policy: policy.map(|published| CompiledPolicy::compile(published.version, &published.doc)),
            fallback: manifest.fallback.clone(),
            issued_at: manifest.issued_at,
            max_age: Duration::seconds(manifest.max_age_seconds.into()),
            covered,
            devices,
        }))
    }
}

fn pem_body(text: &str, label: &str) -> Option<Vec<u8>> {
    let rest = text.split_once(&format!("-----BEGIN {label}-----"))?.1;
    let body = rest.split_once(&format!("-----END {label}-----"))?.0;
    STANDARD.decode(body.split_whitespace().collect::<String>()).ok()
}

fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    parts.iter().for_each(|part| context.update(part));
    let mut out = [0; 32];
    out.copy_from_slice(context.finish().as_ref());
    out
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn hex_bytes(digits: &str) -> Option<Vec<u8>> {
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(digits.get(at..at + 2)?, 16).ok()).collect()
}

#[cfg(test)]
mod tests;
