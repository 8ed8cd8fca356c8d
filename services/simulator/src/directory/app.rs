//! App registrations: who may sign people in and get tokens, and with which credentials.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use x509_parser::prelude::{FromDer as _, X509Certificate};

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Secret {
    pub value: String,
    /// Unset: never.
    #[serde(default, with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub expires: Option<OffsetDateTime>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Certificate {
    /// DER, standard base64.
    pub der: String,
    /// Upper-case hex of the SHA-1 thumbprint, as the portal shows it.
    pub thumbprint: String,
    #[serde(with = "time::serde::rfc3339")]
    pub not_before: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    pub not_after: OffsetDateTime,
}

#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    #[error("the certificate is neither PEM nor base64 of DER")]
    Encoding,
    #[error("the certificate cannot be parsed: {0}")]
    X509(String),
}

impl Certificate {
    /// Takes PEM, or base64 of DER.
    pub fn parse(text: &str) -> Result<Self, CertificateError> {
        let body: String = text
            .lines()
            .filter(|line| !line.starts_with("-----"))
            .flat_map(str::chars)
            .filter(|c| !c.is_whitespace())
            .collect();
        let der = STANDARD.decode(body).map_err(|_| CertificateError::Encoding)?;
        let (_, parsed) =
            X509Certificate::from_der(&der).map_err(|e| CertificateError::X509(e.to_string()))?;
        let validity = parsed.validity();
        Ok(Self {
            thumbprint: hex::encode_upper(digest(&SHA1_FOR_LEGACY_USE_ONLY, &der)),
            not_before: validity.not_before.to_datetime(),
            not_after: validity.not_after.to_datetime(),
            der: STANDARD.encode(&der),
        })
    }

    #[must_use]
    pub fn der(&self) -> Vec<u8> {
        STANDARD.decode(&self.der).unwrap_or_default()
    }

    #[must_use]
    pub fn sha1(&self) -> Vec<u8> {
        digest(&SHA1_FOR_LEGACY_USE_ONLY, &self.der()).as_ref().to_vec()
    }

    #[must_use]
    pub fn sha256(&self) -> Vec<u8> {
        digest(&SHA256, &self.der()).as_ref().to_vec()
    }

    /// The public key as PKCS#1 DER.
    #[must_use]
    pub fn public_key(&self) -> Option<Vec<u8>> {
        let der = self.der();
        let (_, parsed) = X509Certificate::from_der(&der).ok()?;
        Some(parsed.public_key().subject_public_key.data.to_vec())
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct App {
    pub client_id: String,
    #[serde(default)]
    pub name: String,
    /// Whether other tenants than the app's own may use it.
    #[serde(default = "yes")]
    pub multi_tenant: bool,
    #[serde(default)]
    pub redirect_uris: Vec<String>,
    #[serde(default)]
    pub secrets: Vec<Secret>,
    #[serde(default)]
    pub certificates: Vec<Certificate>,
    /// The app roles in the manifest: what `/.default` asks for.
    #[serde(default = "default_roles")]
    pub required_roles: Vec<String>,
}

const fn yes() -> bool {
    true
}

fn default_roles() -> Vec<String> {
    super::roles::DEFAULT_MANIFEST.iter().map(|&role| role.to_owned()).collect()
}

impl App {
    /// Whether consenting needs an API that only tenants with Intune have.
    #[must_use]
    pub fn needs_intune_api(&self) -> bool {
        self.required_roles.iter().any(|role| super::roles::is_intune_api_role(role))
    }
}
