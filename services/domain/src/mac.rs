//! MAC addresses, in whatever notation an edge or an MDM writes them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An EUI-48. Written `aa:bb:cc:dd:ee:ff`; read from any of `AABBCCDDEEFF`, `AA-BB-CC-DD-EE-FF`,
/// `aabb.ccdd.eeff`, `aa:bb:cc:dd:ee:ff` (also with a trailing `:SSID`, as Called-Station-Id has it: refused).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac(pub [u8; 6]);

/// The text is not a MAC address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a MAC address: write twelve hexadecimal digits, for example aa:bb:cc:dd:ee:ff")]
pub struct MacError;

impl Mac {
    /// Locally administered, so randomized or virtual: it identifies nobody (IEEE 802, second bit of the first
    /// octet).
    #[must_use]
    pub const fn is_locally_administered(self) -> bool {
        self.0[0] & 0b10 != 0
    }

    /// A group address, or all zeros: never a station.
    #[must_use]
    pub fn is_station(self) -> bool {
        self.0[0] & 1 == 0 && self.0 != [0; 6]
    }

    /// Twelve lower-case digits without separators.
    #[must_use]
    pub fn digits(self) -> String {
        let [a, b, c, d, e, f] = self.0;
        format!("{a:02x}{b:02x}{c:02x}{d:02x}{e:02x}{f:02x}")
    }
}

/// The hexadecimal digits of a MAC or of a prefix of one, lower case; `None` where anything else is in the text.
#[must_use]
pub fn hex_digits(text: &str) -> Option<String> {
    let mut out = String::with_capacity(12);
    for c in text.trim().chars() {
        match c {
            ':' | '-' | '.' => {}
            c if c.is_ascii_hexdigit() => out.push(c.to_ascii_lowercase()),
            _ => return None,
        }
    }
    (out.len() <= 12).then_some(out)
}

impl FromStr for Mac {
    type Err = MacError;

    fn from_str(text: &str) -> Result<Self, MacError> {
        let digits = hex_digits(text).ok_or(MacError)?;
        if digits.len() != 12 {
            return Err(MacError);
        }
        let mut out = [0; 6];
        for (i, byte) in out.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&digits[i * 2..i * 2 + 2], 16).map_err(|_| MacError)?;
        }
        Ok(Self(out))
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mac({self})")
    }
}

impl Serialize for Mac {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Mac {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_usual_notation_is_read() {
        for text in ["aabbccddeeff", "AA-BB-CC-DD-EE-FF", "aabb.ccdd.eeff", " AA:bb:CC:dd:EE:ff "] {
            assert_eq!(text.parse(), Ok(Mac([0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff])), "{text}");
        }
        for text in ["", "aabbccddeef", "aabbccddeeff0", "aa:bb:cc:dd:ee:gg", "aa:bb:cc:dd:ee:ff:corp"] {
            assert_eq!(text.parse::<Mac>(), Err(MacError), "{text}");
        }
    }

    #[test]
    fn randomized_addresses_are_told_apart() {
        assert!("da:a1:19:00:00:01".parse::<Mac>().unwrap().is_locally_administered());
        assert!(!"d4:6e:0e:02:28:96".parse::<Mac>().unwrap().is_locally_administered());
        assert!(!Mac([0; 6]).is_station());
        assert!(!Mac([1, 0, 0x5e, 0, 0, 1]).is_station());
    }

    proptest! {
        #[test]
        fn text_round_trips(bytes: [u8; 6]) {
            let mac = Mac(bytes);
            prop_assert_eq!(mac.to_string().parse(), Ok(mac));
            prop_assert_eq!(mac.digits().to_uppercase().parse(), Ok(mac));
        }

        #[test]
        fn parsing_never_panics(text in "\\PC*") {
            let _ = text.parse::<Mac>();
        }
    }
}
