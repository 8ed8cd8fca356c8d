//! Who Gatehouse is to Microsoft: a client id, with one or more certificates or secrets.

use aws_lc_rs::digest;
use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::signature::{KeyPair, RsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use crate::credential_files::{CredentialFileError, CredentialFiles};

/// An assertion lives this long; Microsoft advises five to ten minutes.
const ASSERTION_LIFETIME: Duration = Duration::minutes(5);

/// An app registration of one cloud.
#[derive(Clone, Debug)]
pub struct AppRegistration {
    client_id: Uuid,
    pub(crate) credentials: Vec<Credential>,
    pub(crate) files: Option<CredentialFiles>,
}

/// How Gatehouse proves who it is.
#[derive(Clone, Debug)]
pub enum Credential {
    /// `private_key_jwt`: nothing secret crosses the wire. Preferred.
    Certificate(Box<Certificate>),
    /// A client secret, sent with each token request.
    Secret(SecretString),
}

/// A certificate with its private key.
#[derive(Clone)]
pub struct Certificate {
    key: EncodingKey,
    /// `x5t#S256`: by this Entra ID finds the certificate.
    thumbprint: String,
    sha1: String,
    not_before: OffsetDateTime,
    not_after: OffsetDateTime,
}

/// The certificate or its key cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    #[error("no certificate in the PEM text; give the certificate that is uploaded to the app registration")]
    NoCertificate,
    #[error("the certificate cannot be read: {0}")]
    BadCertificate(String),
    #[error("the private key cannot be read; give an unencrypted RSA key as PEM (PKCS #8 or PKCS #1)")]
    BadKey,
    #[error("the private key does not belong to the certificate")]
    KeyMismatch,
}

impl AppRegistration {
    /// With one credential.
    #[must_use]
    pub fn new(client_id: Uuid, credential: Credential) -> Self {
        Self::with_credentials(client_id, [credential])
    }

    /// With several, of which the newest that Microsoft takes is used. Two that are valid side by side let one be
    /// replaced without an interruption.
    #[must_use]
    pub fn with_credentials(client_id: Uuid, credentials: impl IntoIterator<Item = Credential>) -> Self {
        Self { client_id, credentials: credentials.into_iter().collect(), files: None }
    }

    /// With the credentials of files, which are read now, and again when they change.
    ///
    /// # Errors
    /// Where a file cannot be read or used. It blocks while it reads.
    pub fn from_files(client_id: Uuid, files: CredentialFiles) -> Result<Self, CredentialFileError> {
        let credentials = files.read()?;
        Ok(Self { client_id, credentials, files: Some(files) })
    }

    /// The “Application (client) ID”.
    #[must_use]
    pub const fn client_id(&self) -> Uuid {
        self.client_id
    }
}

impl Credential {
    /// What tells credentials apart, and says nothing of a secret.
    pub(crate) fn fingerprint(&self) -> [u8; 32] {
        match self {
            Self::Certificate(certificate) => sha256(&[b"certificate ", certificate.thumbprint.as_bytes()]),
            Self::Secret(secret) => sha256(&[b"secret ", secret.expose_secret().as_bytes()]),
        }
    }

    /// The form fields that authenticate us at a token endpoint; `None` where the key cannot sign.
    pub(crate) fn authentication(
        &self,
        client_id: Uuid,
        audience: &str,
        jti: Uuid,
        now: OffsetDateTime,
    ) -> Option<Vec<(&'static str, SecretString)>> {
        Some(match self {
            Self::Secret(secret) => vec![("client_secret", secret.clone())],
            Self::Certificate(certificate) => {
                let assertion = certificate.assertion(client_id, audience, jti, now)?;
                let kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
                vec![("client_assertion_type", kind.into()), ("client_assertion", assertion.into())]
            }
        })
    }
}

/// SHA-256 of the parts, one after the other.
pub(crate) fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(part);
    }
    let mut out = [0; 32];
    out.copy_from_slice(context.finish().as_ref());
    out
}

impl std::fmt::Debug for Certificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Certificate")
            .field("thumbprint", &self.thumbprint)
            .field("not_after", &self.not_after)
            .finish_non_exhaustive()
    }
}

impl Certificate {
    /// From PEM: the first certificate of `certificate` (a chain may follow it), and the first RSA private key of
    /// `private_key`. Both may be the same text.
    pub fn from_pem(certificate: &str, private_key: &SecretString) -> Result<Self, CertificateError> {
        let pem = certificate_blocks(certificate).next().ok_or(CertificateError::NoCertificate)?;
        let key = key_blocks(private_key.expose_secret()).next().ok_or(CertificateError::BadKey)?;
        Self::pair(&pem, key)
    }

    /// Every private key of a PEM text, each with its certificate, wherever that stands. Certificates without a key
    /// are taken for chains.
    pub fn all_from_pem(text: &SecretString) -> Result<Vec<Self>, CertificateError> {
        let text = text.expose_secret();
        let certificates: Vec<_> = certificate_blocks(text).collect();
        if certificates.is_empty() {
            return Err(CertificateError::NoCertificate);
        }
        let mut all = Vec::new();
        for key in key_blocks(text) {
            let mut outcome = Err(CertificateError::KeyMismatch);
            for pem in &certificates {
                match Self::pair(pem, key) {
                    Err(CertificateError::KeyMismatch) => {}
                    other => {
                        outcome = other;
                        break;
                    }
                }
            }
            all.push(outcome?);
        }
        if all.is_empty() { Err(CertificateError::BadKey) } else { Ok(all) }
    }

    fn pair(pem: &x509_parser::pem::Pem, key: &str) -> Result<Self, CertificateError> {
        let parsed = pem.parse_x509().map_err(|error| CertificateError::BadCertificate(error.to_string()))?;
        let key = EncodingKey::from_rsa_pem(key.as_bytes()).map_err(|_| CertificateError::BadKey)?;
        let pair = RsaKeyPair::from_der(key.as_bytes()).map_err(|_| CertificateError::BadKey)?;
        let spki = pair.public_key().as_der().map_err(|_| CertificateError::BadKey)?;
        if parsed.public_key().raw != spki.as_ref() {
            return Err(CertificateError::KeyMismatch);
        }
        let thumbprint = URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, &pem.contents));
        let sha1 = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, &pem.contents);
        let sha1 = sha1.as_ref().iter().map(|byte| format!("{byte:02X}")).collect();
        let validity = parsed.validity();
        Ok(Self {
            key,
            thumbprint,
            sha1,
            not_before: validity.not_before.to_datetime(),
            not_after: validity.not_after.to_datetime(),
        })
    }

    /// SHA-256 of the certificate, base64url: as `x5t#S256` has it.
    #[must_use]
    pub fn thumbprint(&self) -> &str {
        &self.thumbprint
    }

    /// SHA-1 of the certificate in upper-case hexadecimal: as Entra ID's portal names it.
    #[must_use]
    pub fn portal_thumbprint(&self) -> &str {
        &self.sha1
    }

    /// Its beginning.
    #[must_use]
    pub const fn not_before(&self) -> OffsetDateTime {
        self.not_before
    }

    /// Its end, so that the operator can be warned in time.
    #[must_use]
    pub const fn not_after(&self) -> OffsetDateTime {
        self.not_after
    }

    /// The client assertion for a token endpoint (RFC 7523, Microsoft's "certificate credentials").
    fn assertion(&self, client_id: Uuid, audience: &str, jti: Uuid, now: OffsetDateTime) -> Option<String> {
        #[derive(Serialize)]
        struct Claims<'a> {
            aud: &'a str,
            iss: Uuid,
            sub: Uuid,
            jti: Uuid,
            nbf: i64,
            iat: i64,
            exp: i64,
        }
        let iat = now.unix_timestamp();
        let exp = (now + ASSERTION_LIFETIME).unix_timestamp();
        let claims = Claims { aud: audience, iss: client_id, sub: client_id, jti, nbf: iat, iat, exp };
        let mut header = Header::new(Algorithm::PS256);
        header.x5t_s256 = Some(self.thumbprint.clone());
        jsonwebtoken::encode(&header, &claims, &self.key).ok()
    }
}

fn certificate_blocks(text: &str) -> impl Iterator<Item = x509_parser::pem::Pem> {
    let blocks = x509_parser::pem::Pem::iter_from_buffer(text.as_bytes());
    blocks.filter_map(Result::ok).filter(|pem| pem.label == "CERTIFICATE")
}

/// The private keys of a PEM text, one by one: jsonwebtoken reads the first block alone.
fn key_blocks(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let from = ["-----BEGIN PRIVATE KEY-----", "-----BEGIN RSA PRIVATE KEY-----"];
        let from = from.iter().filter_map(|begin| rest.find(begin)).min()?;
        let block = &rest[from..];
        let end = block.find("-----END")?;
        let line = block[end..].find('\n').map_or(block.len(), |length| end + length + 1);
        rest = &block[line..];
        Some(&block[..line])
    })
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::{DecodingKey, Validation};
    use time::macros::datetime;

    use super::*;
    use crate::testing;

    #[test]
    fn the_assertion_is_what_microsoft_documents() {
        let key = testing::rsa_key();
        let certificate = testing::certificate(&key);
        let now = datetime!(2026-11-20 12:00 UTC);
        let (client_id, jti) = (Uuid::from_u128(7), Uuid::from_u128(9));
        let aud = "https://login.microsoftonline.com/t/oauth2/v2.0/token";
        let credential = Credential::Certificate(Box::new(certificate.clone()));
        let fields = credential.authentication(client_id, aud, jti, now).unwrap();
        assert_eq!(fields[0].0, "client_assertion_type");
        let jwt = fields[1].1.expose_secret();

        let header: serde_json::Value =
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(jwt.split('.').next().unwrap()).unwrap()).unwrap();
        assert_eq!(
            header,
            serde_json::json!({"alg": "PS256", "typ": "JWT", "x5t#S256": certificate.thumbprint()})
        );
        let mut validation = Validation::new(Algorithm::PS256);
        validation.validate_exp = false;
        validation.set_audience(&[aud]);
        let public = DecodingKey::from_rsa_pem(key.public_key_pem().as_bytes()).unwrap();
        let claims = jsonwebtoken::decode::<serde_json::Value>(jwt, &public, &validation).unwrap().claims;
        let id = client_id.to_string();
        assert_eq!((claims["iss"].as_str(), claims["sub"].as_str()), (Some(&*id), Some(&*id)));
        assert_eq!(claims["jti"], jti.to_string());
        assert_eq!(claims["exp"].as_i64().unwrap() - claims["nbf"].as_i64().unwrap(), 300);
        assert_eq!(claims["nbf"], now.unix_timestamp());
    }

    #[test]
    fn a_certificate_needs_its_own_key() {
        let (key, other) = (testing::rsa_key(), testing::other_rsa_key());
        let pem = testing::certificate_pem(&key);
        let secret = |key: &rcgen::KeyPair| SecretString::from(key.serialize_pem());
        assert!(Certificate::from_pem(&pem, &secret(&key)).is_ok());
        let both = format!("{pem}{}", key.serialize_pem());
        assert!(Certificate::from_pem(&both, &both.clone().into()).is_ok(), "one file with both");
        let wrong = Certificate::from_pem(&pem, &secret(&other));
        assert!(matches!(wrong, Err(CertificateError::KeyMismatch)));
        assert!(matches!(Certificate::from_pem(&pem, &"x".into()), Err(CertificateError::BadKey)));
        assert!(matches!(Certificate::from_pem("", &secret(&key)), Err(CertificateError::NoCertificate)));
    }

    #[test]
    fn one_text_may_hold_several_pairs() {
        let keys = [testing::rsa_key(), testing::other_rsa_key()];
        let pems = keys.each_ref().map(testing::certificate_pem);
        let thumbprint = |text: &str| {
            let all = Certificate::all_from_pem(&text.into())?;
            Ok::<_, CertificateError>(all.iter().map(|one| one.thumbprint().to_owned()).collect::<Vec<_>>())
        };
        let alone = [0, 1].map(|n| thumbprint(&format!("{}{}", keys[n].serialize_pem(), pems[n])).unwrap());
        let [first, second] = keys.each_ref().map(rcgen::KeyPair::serialize_pem);
        let mixed = format!("{first}{}{}{second}", pems[1], pems[0]);
        assert_eq!(thumbprint(&mixed).unwrap(), [alone[0][0].clone(), alone[1][0].clone()]);
        let chain = format!("{first}{}{}", pems[0], pems[1]);
        assert_eq!(thumbprint(&chain).unwrap(), alone[0], "what has no key is a chain");
        assert_eq!(thumbprint(&format!("{second}{}", pems[0])), Err(CertificateError::KeyMismatch));
        assert_eq!(thumbprint(&pems[0]), Err(CertificateError::BadKey));
        assert_eq!(thumbprint(&first), Err(CertificateError::NoCertificate));
    }

    #[test]
    fn nothing_secret_is_shown() {
        let key = testing::rsa_key();
        let certificate = Credential::Certificate(Box::new(testing::certificate(&key)));
        let shown = format!("{certificate:?} {:?}", Credential::Secret("hunter2".into()));
        assert!(
            shown.contains("thumbprint") && !shown.contains("hunter2") && !shown.contains("key"),
            "{shown}"
        );
    }
}
