//! The keys of organizations.

use aws_lc_rs::rand;
use secrecy::{ExposeSecret as _, SecretBox, SecretSlice};

use crate::seal::{self, Place, SealError};

/// 256 bits.
pub(crate) const KEY_BYTES: usize = 32;

/// A key of one organization.
#[derive(Debug)]
pub struct DataKey(SecretBox<[u8; KEY_BYTES]>);

impl DataKey {
    /// A new one, from the machine's randomness: keys are never made from a seed.
    ///
    /// # Errors
    /// Where the machine has no randomness.
    pub fn generate() -> Result<Self, SealError> {
        let mut key = SecretBox::new(Box::new([0; KEY_BYTES]));
        rand::fill(secrecy::ExposeSecretMut::expose_secret_mut(&mut key).as_mut_slice())
            .map_err(|_| SealError::Unusable)?;
        Ok(Self(key))
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes: [u8; KEY_BYTES] = bytes.try_into().ok()?;
        Some(Self(SecretBox::new(Box::new(bytes))))
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        self.0.expose_secret()
    }

    /// Encrypts a secret for its place.
    ///
    /// # Errors
    /// Where the machine has no randomness.
    pub fn seal(&self, place: Place, secret: &[u8]) -> Result<Vec<u8>, SealError> {
        seal::seal(self.bytes(), place, secret)
    }

    /// Decrypts what was sealed for this place with this key.
    ///
    /// # Errors
    /// [`SealError::Refused`] for everything else.
    pub fn open(&self, place: Place, sealed: &[u8]) -> Result<SecretSlice<u8>, SealError> {
        seal::open(self.bytes(), place, sealed)
    }
}

#[cfg(test)]
mod tests {
    use domain::OrgId;
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;
    use crate::Purpose;

    fn place() -> impl Strategy<Value = Place> {
        let purpose =
            prop_oneof![Just(Purpose::DataKey), Just(Purpose::CertificateKey), Just(Purpose::ClientSecret)];
        (0_u128..4, 0_u128..4, purpose).prop_map(|(org, row, purpose)| Place {
            org: OrgId(Uuid::from_u128(org)),
            row: Uuid::from_u128(row),
            purpose,
        })
    }

    proptest! {
        #[test]
        fn what_is_sealed_opens_in_its_place_alone(secret: Vec<u8>, here in place(), there in place()) {
            let key = DataKey::generate().unwrap();
            let sealed = key.seal(here, &secret).unwrap();
            let opened = key.open(here, &sealed).unwrap();
            prop_assert_eq!(opened.expose_secret(), secret.as_slice());
            prop_assert_eq!(key.open(there, &sealed).is_ok(), here == there);
            prop_assert!(DataKey::generate().unwrap().open(here, &sealed).is_err(), "another key");
            prop_assert_ne!(key.seal(here, &secret).unwrap(), sealed, "a nonce of its own each time");
        }

        #[test]
        fn no_byte_can_be_altered(
            secret: Vec<u8>, here in place(), at: prop::sample::Index, flip in 1_u8..=255
        ) {
            let key = DataKey::generate().unwrap();
            let mut sealed = key.seal(here, &secret).unwrap();
            let at = at.index(sealed.len());
            sealed[at] ^= flip;
            prop_assert_eq!(key.open(here, &sealed).err(), Some(SealError::Refused));
        }

        #[test]
        fn any_bytes_are_refused_without_a_panic(bytes: Vec<u8>, here in place()) {
            prop_assert!(DataKey::generate().unwrap().open(here, &bytes).is_err());
        }

        #[test]
        fn nothing_is_seen_of_the_secret(secret in prop::collection::vec(any::<u8>(), 8..64), here in place()) {
            let key = DataKey::generate().unwrap();
            let sealed = key.seal(here, &secret).unwrap();
            prop_assert!(!sealed.windows(secret.len()).any(|window| window == secret));
        }
    }

    #[test]
    fn a_key_is_not_shown() {
        let key = DataKey::from_bytes(&[0x41; KEY_BYTES]).unwrap();
        let shown = format!("{key:?}");
        assert!(shown.contains("REDACTED") && !shown.contains("65"), "{shown}");
        assert!(DataKey::from_bytes(&[0; 31]).is_none());
    }
}
