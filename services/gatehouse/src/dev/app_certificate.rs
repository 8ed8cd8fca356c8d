//! The certificate with which the demo app proves itself to Microsoft (private_key_jwt): made once, registered
//! with the simulator.

use std::path::PathBuf;

use anyhow::Context as _;
use rcgen::{CertificateParams, DnType, KeyPair, PKCS_RSA_SHA256, RsaKeySize};

use super::data::Data;

/// PEM files: the certificate alone, for registering it; and certificate with key, for Gatehouse.
#[derive(Debug)]
pub struct AppCertificate {
    pub public: PathBuf,
    pub with_key: PathBuf,
}

impl AppCertificate {
    pub fn ensure(data: &Data) -> anyhow::Result<Self> {
        let files =
            Self { public: data.path("app-certificate.pem"), with_key: data.path("app-credential.pem") };
        if files.public.exists() && files.with_key.exists() {
            return Ok(files);
        }
        // Entra takes RSA keys alone.
        let key = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048)
            .context("cannot make an RSA key")?;
        let mut params = CertificateParams::new(Vec::new())?;
        params.distinguished_name.push(DnType::CommonName, "Gatehouse demo");
        params.not_before = rcgen::date_time_ymd(2026, 1, 1);
        params.not_after = rcgen::date_time_ymd(2036, 1, 1);
        let certificate = params.self_signed(&key)?.pem();
        data.write("app-credential.pem", &format!("{certificate}{}", key.serialize_pem()))?;
        data.write("app-certificate.pem", &certificate)?;
        Ok(files)
    }
}
