//! The operator's keys, which wrap those of organizations.

use std::sync::Arc;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use domain::OrgId;
use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret as _, SecretString};
use uuid::Uuid;

use crate::data_key::{DataKey, KEY_BYTES};
use crate::seal::{self, Place, Purpose, SealError};

/// Master keys: the first one wraps, all of them unwrap. Cheap to clone.
#[derive(Clone, Debug)]
pub struct MasterKeys(Arc<[MasterKey]>);

#[derive(Debug)]
struct MasterKey {
    /// Derived from the key, so that nobody has to name it.
    id: String,
    key: DataKey,
}

/// A data key as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrappedKey {
    /// Names the master key that wraps it.
    pub master_id: String,
    pub bytes: Vec<u8>,
}

/// The setting does not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MasterKeyError {
    #[error("holds no key: make one with gatehouse master-key new")]
    None,
    #[error("key {0} of the list is not 32 bytes in base64: make one with gatehouse master-key new")]
    Form(usize),
    #[error("names key {0} of the list twice: keep it once")]
    Twice(usize),
}

impl MasterKeys {
    /// From a setting: keys of 32 bytes in base64, with commas or white space between them.
    ///
    /// # Errors
    /// Where one of them does not read. The message shows nothing of it.
    pub fn parse(setting: &SecretString) -> Result<Self, MasterKeyError> {
        let words = setting.expose_secret().split(|c: char| c == ',' || c.is_whitespace());
        let mut keys: Vec<MasterKey> = Vec::new();
        for (index, word) in words.filter(|word| !word.is_empty()).enumerate() {
            let bytes = STANDARD.decode(word).map(Zeroizing::new).ok();
            let key = bytes.and_then(|bytes| DataKey::from_bytes(&bytes));
            let key = key.ok_or(MasterKeyError::Form(index + 1))?;
            let id = id_of(&key);
            if keys.iter().any(|known| known.id == id) {
                return Err(MasterKeyError::Twice(index + 1));
            }
            keys.push(MasterKey { id, key });
        }
        if keys.is_empty() { Err(MasterKeyError::None) } else { Ok(Self(keys.into())) }
    }

    /// A new key, in the form of the setting.
    ///
    /// # Errors
    /// Where the machine has no randomness.
    pub fn generate() -> Result<SecretString, SealError> {
        let key = DataKey::generate()?;
        let mut text = String::with_capacity(KEY_BYTES.div_ceil(3) * 4);
        STANDARD.encode_string(key.bytes(), &mut text);
        Ok(text.into())
    }

    /// The id of the key that wraps: it may be shown.
    #[must_use]
    pub fn current_id(&self) -> &str {
        // The list is never empty.
        self.0.first().map_or("", |key| &key.id)
    }

    /// Every key's id, the one that wraps first.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|key| key.id.as_str())
    }

    /// Wraps a data key of an organization, that is stored under `id`.
    ///
    /// # Errors
    /// Where the machine has no randomness.
    pub fn wrap(&self, org: OrgId, id: Uuid, key: &DataKey) -> Result<WrappedKey, SealError> {
        let master = self.0.first().ok_or(SealError::Unusable)?;
        let bytes = seal::seal(master.key.bytes(), place(org, id), key.bytes())?;
        Ok(WrappedKey { master_id: master.id.clone(), bytes })
    }

    /// Unwraps a data key.
    ///
    /// # Errors
    /// Where its master key is not among these, or it is another organization's or row's.
    pub fn unwrap(&self, org: OrgId, id: Uuid, wrapped: &WrappedKey) -> Result<DataKey, SealError> {
        let master = self.0.iter().find(|key| key.id == wrapped.master_id);
        let master = master.ok_or_else(|| SealError::NoMasterKey(wrapped.master_id.clone()))?;
        let bytes = seal::open(master.key.bytes(), place(org, id), &wrapped.bytes)?;
        DataKey::from_bytes(bytes.expose_secret()).ok_or(SealError::Refused)
    }
}

const fn place(org: OrgId, row: Uuid) -> Place {
    Place { org, row, purpose: Purpose::DataKey }
}

/// Half of a hash over the key: enough to tell keys apart, and of no use against a key of 256 random bits.
fn id_of(key: &DataKey) -> String {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(b"gatehouse master key id\0");
    context.update(key.bytes());
    let digest = context.finish();
    hex::encode(digest.as_ref().get(..8).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORG: OrgId = OrgId(Uuid::from_u128(1));
    const ROW: Uuid = Uuid::from_u128(2);

    fn list(keys: &[&SecretString]) -> SecretString {
        keys.iter().map(|key| key.expose_secret()).collect::<Vec<_>>().join(",\n").into()
    }

    #[test]
    fn a_rotation_goes_through_a_list() {
        let (old, new) = (MasterKeys::generate().unwrap(), MasterKeys::generate().unwrap());
        let before = MasterKeys::parse(&old).unwrap();
        let between = MasterKeys::parse(&list(&[&new, &old])).unwrap();
        let after = MasterKeys::parse(&new).unwrap();
        let key = DataKey::generate().unwrap();
        let wrapped = before.wrap(ORG, ROW, &key).unwrap();
        assert_eq!(wrapped.master_id, before.current_id());
        let unwrapped = between.unwrap(ORG, ROW, &wrapped).unwrap();
        assert_eq!(unwrapped.bytes(), key.bytes());
        let again = between.wrap(ORG, ROW, &unwrapped).unwrap();
        assert_eq!(after.unwrap(ORG, ROW, &again).unwrap().bytes(), key.bytes());
        assert_eq!(
            after.unwrap(ORG, ROW, &wrapped).err(),
            Some(SealError::NoMasterKey(before.current_id().to_owned()))
        );
        assert_eq!(between.ids().collect::<Vec<_>>(), [after.current_id(), before.current_id()]);
    }

    #[test]
    fn a_wrapped_key_is_of_one_organization_and_row() {
        let keys = MasterKeys::parse(&MasterKeys::generate().unwrap()).unwrap();
        let wrapped = keys.wrap(ORG, ROW, &DataKey::generate().unwrap()).unwrap();
        assert!(keys.unwrap(ORG, ROW, &wrapped).is_ok());
        assert_eq!(keys.unwrap(OrgId(ROW), ROW, &wrapped).err(), Some(SealError::Refused));
        assert_eq!(keys.unwrap(ORG, ORG.uuid(), &wrapped).err(), Some(SealError::Refused));
        // The same id with another key behind it opens nothing.
        let forged = MasterKeys(Arc::new([MasterKey {
            id: wrapped.master_id.clone(),
            key: DataKey::generate().unwrap(),
        }]));
        assert_eq!(forged.unwrap(ORG, ROW, &wrapped).err(), Some(SealError::Refused));
    }

    #[test]
    fn a_setting_that_does_not_read_is_told_without_being_shown() {
        let parse = |text: &str| MasterKeys::parse(&text.into()).unwrap_err();
        assert_eq!(parse(" , \n"), MasterKeyError::None);
        let key = MasterKeys::generate().unwrap();
        let key = key.expose_secret();
        assert_eq!(parse(&format!("{key} hunter2")), MasterKeyError::Form(2));
        assert_eq!(parse("AAAA"), MasterKeyError::Form(1));
        assert_eq!(parse(&format!("{key},{key}")), MasterKeyError::Twice(2));
        assert!(!parse("hunter2").to_string().contains("hunter2"));
        let shown = format!("{:?}", MasterKeys::parse(&key.to_owned().into()).unwrap());
        assert!(!shown.contains(&key[..8]), "{shown}");
    }
}
