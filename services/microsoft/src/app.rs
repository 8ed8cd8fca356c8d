//! Who Gatehouse is to Microsoft: a client id, and a certificate or a secret.

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

/// An assertion lives this long; Microsoft advises five to ten minutes.
const ASSERTION_LIFETIME: Duration = Duration::minutes(5);

/// An app registration of one cloud.
#[derive(Clone, Debug)]
pub struct AppRegistration {
    pub client_id: Uuid,
    pub credential: Credential,
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
    not_after: OffsetDateTime,
}

/// The certificate or its key cannot be used.
#[derive(Debug, thiserror::Error)]
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
        let pem = x509_parser::pem::Pem::iter_from_buffer(certificate.as_bytes())
            .filter_map(Result::ok)
            .find(|pem| pem.label == "CERTIFICATE")
            .ok_or(CertificateError::NoCertificate)?;
        let parsed = pem.parse_x509().map_err(|error| CertificateError::BadCertificate(error.to_string()))?;
        let key = key_block(private_key.expose_secret()).ok_or(CertificateError::BadKey)?;
        let key = EncodingKey::from_rsa_pem(key.as_bytes()).map_err(|_| CertificateError::BadKey)?;
        let pair = RsaKeyPair::from_der(key.as_bytes()).map_err(|_| CertificateError::BadKey)?;
        let spki = pair.public_key().as_der().map_err(|_| CertificateError::BadKey)?;
        if parsed.public_key().raw != spki.as_ref() {
            return Err(CertificateError::KeyMismatch);
        }
        let thumbprint = URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, &pem.contents));
        Ok(Self { key, thumbprint, not_after: parsed.validity().not_after.to_datetime() })
    }

    /// SHA-256 of the certificate, base64url: as `x5t#S256` has it.
    #[must_use]
    pub fn thumbprint(&self) -> &str {
        &self.thumbprint
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

/// The first private key of a PEM text, of which jsonwebtoken reads the first block alone.
fn key_block(text: &str) -> Option<&str> {
    let from = ["-----BEGIN PRIVATE KEY-----", "-----BEGIN RSA PRIVATE KEY-----"];
    let from = from.iter().filter_map(|begin| text.find(begin)).min()?;
    let block = &text[from..];
    let end = block.find("-----END")?;
    let line = block[end..].find('\n').map_or(block.len(), |length| end + length + 1);
    Some(&block[..line])
}

impl AppRegistration {
    /// The form fields that authenticate us at a token endpoint; `None` where the key cannot sign.
    pub(crate) fn client_authentication(
        &self,
        audience: &str,
        jti: Uuid,
        now: OffsetDateTime,
    ) -> Option<Vec<(&'static str, SecretString)>> {
        Some(match &self.credential {
            Credential::Secret(secret) => vec![("client_secret", secret.clone())],
            Credential::Certificate(certificate) => {
                let assertion = certificate.assertion(self.client_id, audience, jti, now)?;
                let kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
                vec![("client_assertion_type", kind.into()), ("client_assertion", assertion.into())]
            }
        })
    }
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
        let app =
            AppRegistration { client_id, credential: Credential::Certificate(Box::new(certificate.clone())) };
        let fields = app.client_authentication(aud, jti, now).unwrap();
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
