//! Certificates: an authority, and what it issues.

use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    OtherNameValue, SanType,
};

pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// What a certificate says.
#[derive(Clone, Default)]
pub struct Says<'a> {
    pub cn: &'a str,
    pub dns: &'a [&'a str],
    pub uris: &'a [String],
    pub upn: Option<&'a str>,
    pub expired: bool,
}

/// Where a certificate and its key are.
#[derive(Clone, Debug)]
pub struct Files {
    pub cert: PathBuf,
    pub key: PathBuf,
}

impl Authority {
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub fn pem(&self) -> String {
        self.0.pem()
    }

    pub fn issue(&self, folder: &Path, name: &str, says: &Says<'_>) -> Files {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, says.cn);
        params.not_before = rcgen::date_time_ymd(2024, 1, 1);
        params.not_after = rcgen::date_time_ymd(if says.expired { 2025 } else { 2045 }, 1, 1);
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        let names = &mut params.subject_alt_names;
        names.extend(says.dns.iter().map(|dns| SanType::DnsName((*dns).try_into().unwrap())));
        names.extend(says.uris.iter().map(|uri| SanType::URI(uri.as_str().try_into().unwrap())));
        // The user principal name (Microsoft's szOID_NT_PRINCIPAL_NAME).
        let oid = vec![1, 3, 6, 1, 4, 1, 311, 20, 2, 3];
        names.extend(
            says.upn.map(|upn| SanType::OtherName((oid, OtherNameValue::Utf8String(upn.to_owned())))),
        );
        let key = KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, &self.0).unwrap();
        let files =
            Files { cert: folder.join(format!("{name}.pem")), key: folder.join(format!("{name}.key")) };
        std::fs::write(&files.cert, cert.pem()).unwrap();
        std::fs::write(&files.key, key.serialize_pem()).unwrap();
        files
    }
}
