//! The token in the address of a client's remediation page.
//!
//! A network access server is given the address, and the client's browser shows it; so it must fit into one RADIUS
//! attribute (247 bytes with what stands before it), say nothing, and be good for one client and a while. It is
//! AES-256-GCM-SIV (RFC 8452) of organization, session, MAC address and end, in base64url: whoever has not the key can
//! neither make nor alter one, nor read what is inside. The nonce is fixed: in that mode all that equal nonces tell is
//! that two texts were the same, and a token of the same client and end is the same token.

use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use domain::{Mac, OrgId, SessionId};
use secrecy::SecretString;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::key_list::{self, KeyListError};
use crate::seal::SealError;

/// Separates these texts from whatever else a key could be used for.
const DOMAIN: &[u8] = b"gatehouse remediation page 1\0";
/// Organization, session, MAC address, seconds since 1970.
const PLAIN_BYTES: usize = 16 + 16 + 6 + 4;
const TAG_BYTES: usize = 16;
/// How long a token is, in characters.
pub const PAGE_TOKEN_CHARS: usize = ((PLAIN_BYTES + TAG_BYTES) * 4).div_ceil(3);

/// Whose page it is, and until when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageToken {
    pub org: OrgId,
    pub session: SessionId,
    /// The client's, so that a session whose name was given to another client later is not shown to this one.
    pub mac: Option<Mac>,
    /// In whole seconds.
    pub expires_at: OffsetDateTime,
}

/// The keys: the first one makes tokens, all of them read. Cheap to clone.
#[derive(Clone, Debug)]
pub struct PageKeys(Arc<[LessSafeKey]>);

impl PageKeys {
    /// From a setting: keys of 32 bytes in base64, with commas or white space between them.
    ///
    /// # Errors
    /// Where one of them does not read. The message shows nothing of it.
    pub fn parse(setting: &SecretString) -> Result<Self, KeyListError> {
        let keys = key_list::parse(setting)?.into_iter().enumerate().map(|(index, key)| {
            let key = UnboundKey::new(&AES_256_GCM_SIV, key.bytes());
            key.map(LessSafeKey::new).map_err(|_| KeyListError::Form(index + 1))
        });
        keys.collect::<Result<_, _>>().map(Self)
    }

    /// A new key, in the form of the setting.
    ///
    /// # Errors
    /// Where the machine has no randomness.
    pub fn generate() -> Result<SecretString, SealError> {
        key_list::generate()
    }

    /// The token's text: [`PAGE_TOKEN_CHARS`] letters, digits, `-` and `_`.
    ///
    /// # Errors
    /// Where nothing can be encrypted, or it ends beyond the year 2106.
    pub fn write(&self, token: &PageToken) -> Result<String, SealError> {
        let PageToken { org, session, mac, expires_at } = token;
        let seconds = u32::try_from(expires_at.unix_timestamp()).map_err(|_| SealError::Unusable)?;
        let mut bytes = Vec::with_capacity(PLAIN_BYTES + TAG_BYTES);
        bytes.extend_from_slice(org.uuid().as_bytes());
        bytes.extend_from_slice(session.uuid().as_bytes());
        // All zeros are nobody's address.
        bytes.extend_from_slice(&mac.map_or([0; 6], |mac| mac.0));
        bytes.extend_from_slice(&seconds.to_be_bytes());
        let key = self.0.first().ok_or(SealError::Unusable)?;
        key.seal_in_place_append_tag(nonce(), Aad::from(DOMAIN), &mut bytes)
            .map_err(|_| SealError::Unusable)?;
        Ok(URL_SAFE_NO_PAD.encode(bytes))
    }

    /// Reads a token. `None` for everything that is not good now: forged, cut, another deployment's, expired. Nobody
    /// is told which.
    #[must_use]
    pub fn read(&self, text: &str, now: OffsetDateTime) -> Option<PageToken> {
        if text.len() != PAGE_TOKEN_CHARS {
            return None;
        }
        let sealed = URL_SAFE_NO_PAD.decode(text).ok()?;
        let plain: [u8; PLAIN_BYTES] = self.0.iter().find_map(|key| {
            let mut bytes = sealed.clone();
            let plain = key.open_in_place(nonce(), Aad::from(DOMAIN), &mut bytes).ok()?;
            (&*plain).try_into().ok()
        })?;
        let (org, rest) = plain.split_first_chunk::<16>()?;
        let (session, rest) = rest.split_first_chunk::<16>()?;
        let (mac, rest) = rest.split_first_chunk::<6>()?;
        let seconds = u32::from_be_bytes(rest.try_into().ok()?);
        let expires_at = OffsetDateTime::from_unix_timestamp(seconds.into()).ok()?;
        (now < expires_at).then_some(PageToken {
            org: OrgId(Uuid::from_bytes(*org)),
            session: SessionId(Uuid::from_bytes(*session)),
            mac: (*mac != [0; 6]).then_some(Mac(*mac)),
            expires_at,
        })
    }
}

fn nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; NONCE_LEN])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use time::Duration;
    use time::macros::datetime;

    use super::*;

    const NOW: OffsetDateTime = datetime!(2026-11-28 06:00 UTC);

    fn keys() -> PageKeys {
        PageKeys::parse(&PageKeys::generate().unwrap()).unwrap()
    }

    fn token(org: u128, session: u128, mac: Option<Mac>) -> PageToken {
        PageToken {
            org: OrgId(Uuid::from_u128(org)),
            session: SessionId(Uuid::from_u128(session)),
            mac,
            expires_at: NOW + Duration::days(7),
        }
    }

    #[test]
    fn a_token_is_good_until_its_end_and_says_nothing() {
        let keys = keys();
        let token = token(u128::MAX, 7, Some(Mac([0xd4, 0x6e, 0x0e, 2, 0x28, 0x96])));
        let text = keys.write(&token).unwrap();
        assert_eq!(text.len(), PAGE_TOKEN_CHARS);
        assert_eq!(text, keys.write(&token).unwrap());
        assert_eq!(keys.read(&text, NOW), Some(token));
        assert_eq!(keys.read(&text, token.expires_at - Duration::SECOND), Some(token));
        assert_eq!(keys.read(&text, token.expires_at), None);
        let bytes = URL_SAFE_NO_PAD.decode(&text).unwrap();
        assert!(!bytes.windows(8).any(|part| part == [0xff; 8]), "the organization can be read in {text}");
        assert!(!format!("{keys:?}").contains(&text[..8]));
        let late = PageToken { expires_at: datetime!(2107-01-01 00:00 UTC), ..token };
        assert_eq!(keys.write(&late), Err(SealError::Unusable));
    }

    #[test]
    fn a_key_is_changed_through_a_list() {
        let (old, new) = (PageKeys::generate().unwrap(), PageKeys::generate().unwrap());
        let list = |keys: &[&SecretString]| -> SecretString {
            let keys: Vec<_> = keys.iter().map(|key| secrecy::ExposeSecret::expose_secret(*key)).collect();
            keys.join(",").into()
        };
        let before = PageKeys::parse(&old).unwrap();
        let between = PageKeys::parse(&list(&[&new, &old])).unwrap();
        let after = PageKeys::parse(&new).unwrap();
        let token = token(1, 2, None);
        let text = before.write(&token).unwrap();
        assert_eq!(between.read(&text, NOW), Some(token));
        assert_eq!(after.read(&text, NOW), None);
        assert_eq!(after.read(&between.write(&token).unwrap(), NOW), Some(token));
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(org: u128, session: u128, mac: Option<[u8; 6]>, seconds in 1_000u32..) {
            let keys = keys();
            let mac = mac.filter(|mac| *mac != [0; 6]).map(Mac);
            let end = OffsetDateTime::from_unix_timestamp(seconds.into()).unwrap();
            let token = PageToken { expires_at: end, ..token(org, session, mac) };
            let text = keys.write(&token).unwrap();
            prop_assert!(text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_'));
            prop_assert_eq!(keys.read(&text, end - Duration::SECOND), Some(token));
            prop_assert_eq!(keys.read(&text, end), None);
        }

        /// Whatever strangers write: nothing but what was made here is read, and nothing panics.
        #[test]
        fn nothing_else_is_read(text in "\\PC{0,120}", letters in "[A-Za-z0-9_-]{78}") {
            let keys = keys();
            prop_assert_eq!(keys.read(&text, NOW), None);
            prop_assert_eq!(keys.read(&letters, NOW), None);
        }

        /// One character changed, cut off or added anywhere.
        #[test]
        fn an_altered_token_is_not_read(at in 0..PAGE_TOKEN_CHARS, to in "[A-Za-z0-9_=+/.-]") {
            let keys = keys();
            let text = keys.write(&token(1, 2, None)).unwrap();
            let altered = format!("{}{to}{}", &text[..at], &text[at + 1..]);
            prop_assert_eq!(keys.read(&altered, NOW).is_some(), altered == text);
            prop_assert_eq!(keys.read(&text[..at], NOW), None);
            prop_assert_eq!(keys.read(&format!("{text}{to}"), NOW), None);
        }
    }
}
