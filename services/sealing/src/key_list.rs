//! How operators write keys in a setting: one, or several while it is changed.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret as _, SecretString};

use crate::data_key::{DataKey, KEY_BYTES};
use crate::seal::SealError;

/// The setting does not read. Shows nothing of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyListError {
    #[error("holds no key")]
    None,
    #[error("key {0} of the list is not 32 bytes in base64")]
    Form(usize),
    #[error("names key {0} of the list twice: keep it once")]
    Twice(usize),
}

/// Keys of 32 bytes in base64, with commas or white space between them; at least one.
pub(crate) fn parse(setting: &SecretString) -> Result<Vec<DataKey>, KeyListError> {
    let words = setting.expose_secret().split(|c: char| c == ',' || c.is_whitespace());
    let mut keys: Vec<DataKey> = Vec::new();
    for (index, word) in words.filter(|word| !word.is_empty()).enumerate() {
        let bytes = STANDARD.decode(word).map(Zeroizing::new).ok();
        let key = bytes.and_then(|bytes| DataKey::from_bytes(&bytes));
        let key = key.ok_or(KeyListError::Form(index + 1))?;
        if keys.iter().any(|known| known.bytes() == key.bytes()) {
            return Err(KeyListError::Twice(index + 1));
        }
        keys.push(key);
    }
    if keys.is_empty() { Err(KeyListError::None) } else { Ok(keys) }
}

/// A new key, in the form of the setting.
pub(crate) fn generate() -> Result<SecretString, SealError> {
    let key = DataKey::generate()?;
    let mut text = String::with_capacity(KEY_BYTES.div_ceil(3) * 4);
    STANDARD.encode_string(key.bytes(), &mut text);
    Ok(text.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_that_does_not_read_is_told_without_being_shown() {
        let error = |text: &str| parse(&text.into()).unwrap_err();
        assert_eq!(error(" , \n"), KeyListError::None);
        let key = generate().unwrap();
        let key = key.expose_secret();
        assert_eq!(error(&format!("{key} hunter2")), KeyListError::Form(2));
        assert_eq!(error("AAAA"), KeyListError::Form(1));
        assert_eq!(error(&format!("{key},{key}")), KeyListError::Twice(2));
        assert!(!error("hunter2").to_string().contains("hunter2"));
    }
}
