//! Certificates for app registrations that organizations bring: made here, so that no private key ever travels.

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{
    CertificateParams, DistinguishedName, DnType, IsCa, KeyPair, KeyUsagePurpose, PKCS_RSA_SHA256,
    RsaKeySize, SerialNumber,
};
use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret as _, SecretSlice, SecretString};
use serde_json::{Value, json};
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

/// A year: long enough not to be a nuisance, and the countdown begins early.
const VALID_FOR: Duration = Duration::days(365);
/// Clocks differ: a certificate that begins now would be refused by a slower one.
const BEGINS_BEFORE: Duration = Duration::minutes(10);

/// A new certificate with its private key.
pub struct Generated {
    pub der: Vec<u8>,
    /// SHA-256 of `der`.
    pub thumbprint: Vec<u8>,
    pub not_before: OffsetDateTime,
    pub not_after: OffsetDateTime,
    /// PKCS #8, DER.
    pub key: SecretSlice<u8>,
}

impl std::fmt::Debug for Generated {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Generated").field("not_after", &self.not_after).finish_non_exhaustive()
    }
}

/// Makes a key and a self-signed certificate over it. Takes a moment of computing: keep it off the threads that
/// answer requests.
///
/// RSA of 2048 bits: Entra ID takes RSA keys alone, and NIST SP 800-57 has 2048 bits good through 2030, while this
/// key lives for a year.
///
/// # Errors
/// Where the machine cannot make a key.
pub fn generate(client_id: Uuid, serial: Uuid, now: OffsetDateTime) -> Result<Generated, rcgen::Error> {
    let key = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048)?;
    let now = now.replace_nanosecond(0).unwrap_or(now);
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, format!("Gatehouse {client_id}"));
    params.serial_number = Some(SerialNumber::from_slice(serial.as_bytes()));
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.not_before = now - BEGINS_BEFORE;
    params.not_after = now + VALID_FOR;
    let (not_before, not_after) = (params.not_before, params.not_after);
    let der = params.self_signed(&key)?.der().to_vec();
    Ok(Generated {
        thumbprint: digest::digest(&digest::SHA256, &der).as_ref().to_vec(),
        der,
        not_before,
        not_after,
        key: SecretSlice::from(key.serialize_der()),
    })
}

/// The certificate as PEM: what the Entra admin center takes as an upload.
#[must_use]
pub fn pem(der: &[u8]) -> String {
    block("CERTIFICATE", &STANDARD.encode(der))
}

pub(crate) fn key_pem(key: &SecretSlice<u8>) -> SecretString {
    let text = Zeroizing::new(STANDARD.encode(key.expose_secret()));
    block("PRIVATE KEY", &text).into()
}

/// RFC 7468: lines of 64 characters.
fn block(label: &str, base64: &str) -> String {
    let mut text = String::with_capacity(base64.len() + base64.len() / 64 + 80);
    text.push_str("-----BEGIN ");
    text.push_str(label);
    text.push_str("-----\n");
    let mut rest = base64;
    while !rest.is_empty() {
        let (line, more) = rest.split_at(rest.len().min(64));
        text.push_str(line);
        text.push('\n');
        rest = more;
    }
    text.push_str("-----END ");
    text.push_str(label);
    text.push_str("-----\n");
    text
}

/// The entry of `keyCredentials` to paste into an app manifest.
///
/// `key` is the certificate in base64, `customKeyIdentifier` the base64 of its SHA-1 thumbprint. Source: Microsoft,
/// "keyCredential resource type", and "Certificate credentials" (certificate-credentials), which has the manifest.
#[must_use]
pub fn key_credential(id: Uuid, der: &[u8], not_before: OffsetDateTime, not_after: OffsetDateTime) -> Value {
    let at = |moment: OffsetDateTime| moment.format(&Rfc3339).unwrap_or_default();
    json!({
        "customKeyIdentifier":
            STANDARD.encode(digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, der)),
        "displayName": format!("Gatehouse, until {}", not_after.date()),
        "endDateTime": at(not_after),
        "key": STANDARD.encode(der),
        "keyId": id,
        "startDateTime": at(not_before),
        "type": "AsymmetricX509Cert",
        "usage": "Verify",
    })
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn the_microsoft_client_takes_what_is_made() {
        let now = datetime!(2026-11-21 03:00:00.5 UTC);
        let made = generate(Uuid::from_u128(7), Uuid::from_u128(9), now).unwrap();
        let read = microsoft::Certificate::from_pem(&pem(&made.der), &key_pem(&made.key)).unwrap();
        assert_eq!(read.not_after(), datetime!(2027-11-21 03:00 UTC));
        assert_eq!(made.not_after, read.not_after());
        assert!(made.not_before < now);
        let shown = format!("{made:?}");
        assert!(!shown.contains("key"), "{shown}");
        let entry = key_credential(Uuid::from_u128(3), &made.der, made.not_before, made.not_after);
        assert_eq!(entry["startDateTime"], "2026-11-21T02:50:00Z");
        assert_eq!(entry["endDateTime"], "2027-11-21T03:00:00Z");
        assert_eq!((&entry["type"], &entry["usage"]), (&json!("AsymmetricX509Cert"), &json!("Verify")));
        assert_eq!(STANDARD.decode(entry["key"].as_str().unwrap()).unwrap(), made.der);
        assert_eq!(STANDARD.decode(entry["customKeyIdentifier"].as_str().unwrap()).unwrap().len(), 20);
        let text = pem(&made.der);
        assert!(text.lines().all(|line| line.len() <= 64) && text.ends_with("-----END CERTIFICATE-----\n"));
    }
}
