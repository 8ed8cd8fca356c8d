//! The one way in which anything is encrypted here.

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use domain::OrgId;
use secrecy::SecretSlice;
use secrecy::zeroize::Zeroizing;
use uuid::Uuid;

/// The first byte of everything that is sealed: the layout below it, and the cipher.
const LAYOUT: u8 = 1;
/// Separates these texts from whatever else a key could be used for.
const DOMAIN: &[u8] = b"gatehouse sealing 1\0";

/// What a sealed text is, so that one column's cannot stand in another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// A data key, wrapped with a master key.
    DataKey,
    /// The private key of an app registration's certificate, PKCS #8.
    CertificateKey,
    /// The client secret of an app registration.
    ClientSecret,
}

impl Purpose {
    const fn tag(self) -> u8 {
        match self {
            Self::DataKey => 1,
            Self::CertificateKey => 2,
            Self::ClientSecret => 3,
        }
    }
}

/// Where a sealed text belongs. It opens nowhere else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    pub org: OrgId,
    /// The row's id.
    pub row: Uuid,
    pub purpose: Purpose,
}

impl Place {
    /// The associated data. Every part has a fixed length, so that no two places give the same bytes.
    fn associated_data(self) -> Vec<u8> {
        let mut bytes = DOMAIN.to_vec();
        bytes.push(self.purpose.tag());
        bytes.extend_from_slice(self.org.uuid().as_bytes());
        bytes.extend_from_slice(self.row.as_bytes());
        bytes
    }
}

/// It cannot be sealed, or does not open: it was altered, belongs elsewhere, or the key is another.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    #[error("the sealed text does not open here: it was altered or moved, or its key is another")]
    Refused,
    /// The machine has no randomness, or refuses the key.
    #[error("nothing can be encrypted on this machine")]
    Unusable,
    #[error("no master key here has the id {0}: give the key that wrapped the data keys too")]
    NoMasterKey(String),
}

/// Layout, nonce, ciphertext and tag.
pub(crate) fn seal(key: &[u8], place: Place, plain: &[u8]) -> Result<Vec<u8>, SealError> {
    let key = RandomizedNonceKey::new(&AES_256_GCM, key).map_err(|_| SealError::Unusable)?;
    // Encrypted in place; room for the tag, so that no copy of the plain text is left behind by growing.
    let mut text = Zeroizing::new(Vec::with_capacity(plain.len() + AES_256_GCM.tag_len()));
    text.extend_from_slice(plain);
    let nonce = key
        .seal_in_place_append_tag(Aad::from(place.associated_data()), &mut *text)
        .map_err(|_| SealError::Unusable)?;
    let mut sealed = Vec::with_capacity(1 + NONCE_LEN + text.len());
    sealed.push(LAYOUT);
    sealed.extend_from_slice(nonce.as_ref());
    sealed.extend_from_slice(&text);
    Ok(sealed)
}

pub(crate) fn open(key: &[u8], place: Place, sealed: &[u8]) -> Result<SecretSlice<u8>, SealError> {
    let key = RandomizedNonceKey::new(&AES_256_GCM, key).map_err(|_| SealError::Unusable)?;
    let rest = sealed.strip_prefix(&[LAYOUT]).ok_or(SealError::Refused)?;
    let (nonce, text) = rest.split_at_checked(NONCE_LEN).ok_or(SealError::Refused)?;
    let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| SealError::Refused)?;
    let mut text = Zeroizing::new(text.to_vec());
    let plain = key
        .open_in_place(nonce, Aad::from(place.associated_data()), &mut text)
        .map_err(|_| SealError::Refused)?;
    Ok(SecretSlice::from(plain.to_vec()))
}
