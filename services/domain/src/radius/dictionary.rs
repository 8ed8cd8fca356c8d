//! The attributes of RADIUS, from FreeRADIUS's own dictionaries: names, types and named values.
//!
//! The parser knows what those files use (`ATTRIBUTE`, `VALUE`, `VENDOR`, `BEGIN-VENDOR`, `END-VENDOR`); a test reads
//! every line of them.

mod files;

use std::collections::HashMap;
use std::sync::LazyLock;

/// What a value of an attribute is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    Text,
    /// Any bytes, or exactly so many.
    Octets(Option<usize>),
    /// A whole number between two bounds.
    Integer {
        min: i128,
        max: i128,
    },
    /// Seconds since 1970.
    Date,
    Ipv4,
    Ipv4Prefix,
    Ipv6,
    Ipv6Prefix,
    /// IPv4 or IPv6.
    Ip,
    InterfaceId,
    Ethernet,
    /// Holds other attributes: nothing to write as one value.
    Structure,
}

/// One attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attribute {
    pub name: &'static str,
    /// `None` for a standard one.
    pub vendor: Option<&'static str>,
    pub kind: Type,
    /// May carry a tag, 1 to 31 (RFC 2868).
    pub tagged: bool,
    /// Named values, in the order of the dictionary.
    pub values: Vec<(&'static str, i128)>,
}

/// All of them.
#[derive(Debug, Default)]
pub struct Dictionary {
    attributes: Vec<Attribute>,
    /// By lower-case name.
    index: HashMap<String, usize>,
}

static DICTIONARY: LazyLock<Dictionary> = LazyLock::new(|| {
    let mut dictionary = Dictionary::default();
    for text in files::FILES {
        // What the embedded files hold is known to be read: a test sees to it.
        let _ = dictionary.read(text);
    }
    dictionary
});

/// A line that was not understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a line of a dictionary: {0}")]
pub struct LineError(String);

impl Dictionary {
    /// The embedded dictionary, read at first use.
    #[must_use]
    pub fn get() -> &'static Self {
        &DICTIONARY
    }

    /// An attribute, by its name without regard to case.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<&Attribute> {
        self.index.get(&name.to_ascii_lowercase()).map(|at| &self.attributes[*at])
    }

    /// Every attribute, standard ones first: for completion in the editor.
    pub fn attributes(&self) -> impl Iterator<Item = &Attribute> {
        self.attributes.iter()
    }

    /// The name that is most like a misspelled one, if any is like it.
    #[must_use]
    pub fn nearest(&self, name: &str, vendor: bool) -> Option<&'static str> {
        let name = name.to_ascii_lowercase();
        let of_kind = self.attributes.iter().filter(|attribute| attribute.vendor.is_some() == vendor);
        nearest(&name, of_kind.map(|attribute| attribute.name))
    }

    fn read(&mut self, text: &'static str) -> Result<(), LineError> {
        let mut vendor = None;
        for line in text.lines() {
            let line = line.split('#').next().unwrap_or_default();
            let words: Vec<&'static str> = line.split_whitespace().collect();
            let bad = || LineError(line.to_owned());
            match words.as_slice() {
                [] | ["VENDOR", ..] => {}
                ["BEGIN-VENDOR", name, ..] => vendor = Some(*name),
                ["END-VENDOR", ..] => vendor = None,
                ["ATTRIBUTE", name, _code, kind, flags @ ..] => {
                    let tagged = flags.iter().any(|flags| flags.split(',').any(|flag| flag == "has_tag"));
                    let kind = type_of(kind, tagged).ok_or_else(bad)?;
                    let key = name.to_ascii_lowercase();
                    if !self.index.contains_key(&key) {
                        self.index.insert(key, self.attributes.len());
                        self.attributes.push(Attribute { name, vendor, kind, tagged, values: Vec::new() });
                    }
                }
                ["VALUE", attribute, name, number, ..] => {
                    let number = integer(number).ok_or_else(bad)?;
                    // Some files name values of attributes that other files define.
                    if let Some(at) = self.index.get(&attribute.to_ascii_lowercase()) {
                        self.attributes[*at].values.push((name, number));
                    }
                }
                _ => return Err(bad()),
            }
        }
        Ok(())
    }
}

/// The name most like another, where they differ in few letters.
pub(super) fn nearest(name: &str, among: impl Iterator<Item = &'static str>) -> Option<&'static str> {
    let name = name.to_ascii_lowercase();
    let allowed = (name.len() / 4).clamp(1, 4);
    among
        .map(|known| (strsim::osa_distance(&name, &known.to_ascii_lowercase()), known))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, known)| known)
}

/// A number as dictionaries and people write it: decimal, or hexadecimal behind `0x`.
pub(super) fn integer(text: &str) -> Option<i128> {
    match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => i128::from_str_radix(digits, 16).ok().filter(|_| digits.len() <= 16),
        None => text.parse().ok().filter(|_| text.len() <= 20 && !text.starts_with('+')),
    }
}

fn type_of(word: &str, tagged: bool) -> Option<Type> {
    let word = word.to_ascii_lowercase();
    let unsigned = |bits: u32| Type::Integer { min: 0, max: (1 << bits) - 1 };
    Some(match word.as_str() {
        "string" | "abinary" => Type::Text,
        "octets" => Type::Octets(None),
        // A tag takes the first of the four bytes (RFC 2868 3.1).
        "integer" if tagged => unsigned(24),
        "integer" | "uint32" => unsigned(32),
        "byte" | "uint8" => unsigned(8),
        "short" | "uint16" => unsigned(16),
        "integer64" | "uint64" => unsigned(64),
        "signed" => Type::Integer { min: i32::MIN.into(), max: i32::MAX.into() },
        "date" => Type::Date,
        "ipaddr" => Type::Ipv4,
        "ipv4prefix" => Type::Ipv4Prefix,
        "ipv6addr" => Type::Ipv6,
        "ipv6prefix" => Type::Ipv6Prefix,
        "combo-ip" => Type::Ip,
        "ifid" => Type::InterfaceId,
        "ether" => Type::Ethernet,
        "tlv" | "vsa" | "evs" | "extended" | "long-extended" => Type::Structure,
        _ => {
            let length = word.strip_prefix("octets[")?.strip_suffix(']')?;
            Type::Octets(Some(length.parse().ok()?))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_every_file_is_read() {
        let mut dictionary = Dictionary::default();
        for text in files::FILES {
            assert!(text.contains("CC-BY version 4.0"));
            dictionary.read(text).unwrap();
        }
        assert!(dictionary.attributes.len() > 2_000, "{}", dictionary.attributes.len());
        let count = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/dictionary")).unwrap().count();
        assert_eq!(count, files::FILES.len() + 1, "each file is embedded, and there is a README");
    }

    #[test]
    fn attributes_are_as_their_documents_have_them() {
        let dictionary = Dictionary::get();
        let tunnel = dictionary.attribute("tunnel-type").unwrap();
        assert_eq!((tunnel.name, tunnel.vendor, tunnel.tagged), ("Tunnel-Type", None, true));
        assert!(tunnel.values.contains(&("VLAN", 13)));
        let avpair = dictionary.attribute("CISCO-AVPAIR").unwrap();
        assert_eq!((avpair.name, avpair.vendor, avpair.kind), ("Cisco-AVPair", Some("Cisco"), Type::Text));
        assert_eq!(dictionary.attribute("Framed-IP-Address").unwrap().kind, Type::Ipv4);
        assert_eq!(dictionary.nearest("Cisco-AV-Pair", true), Some("Cisco-AVPair"));
        assert_eq!(dictionary.nearest("Sesion-Timeot", false), Some("Session-Timeout"));
        assert_eq!(dictionary.nearest("Completely-Different-Thing", false), None);
    }
}
