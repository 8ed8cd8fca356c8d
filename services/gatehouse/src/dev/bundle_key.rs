//! The key that signs the demo's bundles for edges: made once.

use std::fs;
use std::path::PathBuf;

use anyhow::Context as _;
use rcgen::{KeyPair, PKCS_ED25519};
use wire::bundle::Signer;

use super::data::Data;

/// A PEM file with the private key, and what edges know its signatures by.
#[derive(Debug)]
pub struct BundleKey {
    pub path: PathBuf,
    pub public: String,
}

impl BundleKey {
    pub fn ensure(data: &Data) -> anyhow::Result<Self> {
        let path = data.path("bundle-key.pem");
        if !path.exists() {
            let key = KeyPair::generate_for(&PKCS_ED25519).context("cannot make an Ed25519 key")?;
            data.write("bundle-key.pem", &key.serialize_pem())?;
        }
        let pem = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let signer = Signer::parse(&pem)
            .with_context(|| format!("{} is no Ed25519 key: delete it", path.display()))?;
        Ok(Self { path, public: signer.public_key().to_string() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once() {
        let directory = std::env::temp_dir().join(format!("gatehouse-bundle-key-{}", std::process::id()));
        let data = Data::open(&directory).unwrap().unwrap();
        let made = BundleKey::ensure(&data).unwrap();
        assert_eq!(BundleKey::ensure(&data).unwrap().public, made.public);
        drop(data);
        fs::remove_dir_all(directory).unwrap();
    }
}
