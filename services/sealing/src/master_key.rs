//! The operator's keys, which wrap those of organizations.

use std::sync::Arc;

use aws_lc_rs::digest;
use domain::OrgId;
use secrecy::{ExposeSecret as _, SecretString};
use uuid::Uuid;

use crate::data_key::DataKey;
use crate::key_list::{self, KeyListError};
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

impl MasterKeys {
    /// From a setting: keys of 32 bytes in base64, with commas or white space between them.
    ///
    /// # Errors
    /// Where one of them does not read. The message shows nothing of it.
    pub fn parse(setting: &SecretString) -> Result<Self, KeyListError> {
        let keys = key_list::parse(setting)?.into_iter();
        Ok(Self(keys.map(|key| MasterKey { id: id_of(&key), key }).collect()))
    }

    /// A new key, in the form of the setting.
    ///
    /// # Errors
    /// Where the machine has no randomness.
    pub fn generate() -> Result<SecretString, SealError> {
        key_list::generate()
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
    fn no_key_is_shown() {
        let key = MasterKeys::generate().unwrap();
        let key = key.expose_secret();
        let shown = format!("{:?}", MasterKeys::parse(&key.to_owned().into()).unwrap());
        assert!(!shown.contains(&key[..8]), "{shown}");
    }
}
