//! Attributes that people write as `Name=Value`: checked against the dictionary, and brought into its spelling.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::dictionary::{Attribute, Dictionary, Type, integer, nearest};
use crate::Mac;
use crate::decision::RadiusAttr;

/// The most attributes in one label.
pub const ATTRIBUTES_MAX: usize = 32;

/// Attributes that carry the authentication itself, or that the RADIUS server sets.
const RESERVED: &[(&str, &str)] = &[
    ("User-Password", "it carries a secret"),
    ("CHAP-Password", "it carries a secret"),
    ("CHAP-Challenge", "it belongs to the authentication"),
    ("State", "the RADIUS server sets it"),
    ("Proxy-State", "the RADIUS server sets it"),
    ("EAP-Message", "it belongs to the authentication"),
    ("Message-Authenticator", "the RADIUS server sets it"),
    ("EAP-Key-Name", "the RADIUS server sets it"),
    ("MS-MPPE-Send-Key", "the RADIUS server sets it"),
    ("MS-MPPE-Recv-Key", "the RADIUS server sets it"),
    ("MS-CHAP-MPPE-Keys", "the RADIUS server sets it"),
    ("Error-Cause", "it belongs to Change of Authorization"),
    ("User-Name", "use a label of type username_attr"),
];

/// Which attributes a label takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Standard,
    Vendor,
}

/// Reads `Name=Value`. The error says what to write instead.
pub fn parse(kind: Kind, text: &str) -> Result<RadiusAttr, String> {
    let dictionary = Dictionary::get();
    let (name, value) = text.split_once('=').ok_or("write Name=Value, for example Idle-Timeout=600")?;
    let (name, value) = (name.trim(), value.trim());
    if name.ends_with([':', '+']) {
        return Err("write Name=Value, with = alone between them".to_owned());
    }
    let (name, tag) = match name.split_once(':') {
        Some((name, tag)) => (name, Some(tag)),
        None => (name, None),
    };
    let Some(attribute) = dictionary.attribute(name) else {
        return Err(match dictionary.nearest(name, kind == Kind::Vendor) {
            Some(near) => format!("there is no attribute {name}: did you mean {near}?"),
            None => {
                format!("there is no attribute {name} in the dictionaries: check the vendor's documentation")
            }
        });
    };
    let name = attribute.name;
    match (kind, attribute.vendor) {
        (Kind::Standard, Some(vendor)) => {
            return Err(format!(
                "{name} is an attribute of {vendor}: use a label of type radius_vendor_attrs"
            ));
        }
        (Kind::Vendor, None) => {
            return Err(format!("{name} is a standard attribute: use a label of type radius_attrs"));
        }
        _ => {}
    }
    if let Some((_, why)) = RESERVED.iter().find(|(reserved, _)| *reserved == name) {
        return Err(format!("{name} cannot be set here: {why}"));
    }
    let tag = match tag {
        None => String::new(),
        Some(_) if !attribute.tagged => return Err(format!("{name} takes no tag: leave “:…” out")),
        Some(tag) => match tag.parse::<u8>() {
            Ok(tag @ 0..=31) => format!(":{tag}"),
            _ => return Err(format!("a tag of {name} is a number from 0 to 31")),
        },
    };
    let value = check(attribute, value).map_err(|problem| format!("{name}: {problem}"))?;
    Ok(RadiusAttr { name: format!("{name}{tag}"), value })
}

/// The value in the dictionary's spelling.
fn check(attribute: &Attribute, value: &str) -> Result<String, String> {
    if value.is_empty() {
        return Err("give a value".to_owned());
    }
    // Some RADIUS servers would expand it, and hand out what no client should see.
    if value.contains('%') {
        return Err("a value cannot contain %".to_owned());
    }
    if value.chars().any(char::is_control) {
        return Err("leave out control characters".to_owned());
    }
    let unchanged = || value.to_owned();
    match attribute.kind {
        Type::Text => {
            // RFC 2865 5: 253 bytes; within Vendor-Specific, six of them are the vendor's, and a tag takes one.
            let max = if attribute.vendor.is_some() { 247 } else { 253 } - usize::from(attribute.tagged);
            if value.len() > max {
                return Err(format!("use {max} bytes at most; these are {}", value.len()));
            }
            if value.len() > 1 && value.starts_with('"') && value.ends_with('"') {
                return Err("leave the quotes out: they would be sent".to_owned());
            }
            Ok(unchanged())
        }
        Type::Octets(length) => {
            let digits = value.strip_prefix("0x").ok_or("write hexadecimal digits behind 0x")?;
            if digits.is_empty() || digits.len() % 2 != 0 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
                return Err("write an even number of hexadecimal digits behind 0x".to_owned());
            }
            let (is, max) = (digits.len() / 2, if attribute.vendor.is_some() { 247 } else { 253 });
            match length {
                Some(length) if is != length => Err(format!("write {length} bytes; these are {is}")),
                None if is > max => Err(format!("use {max} bytes at most; these are {is}")),
                _ => Ok(format!("0x{}", digits.to_ascii_lowercase())),
            }
        }
        Type::Integer { min, max } => number(attribute, value, min, max),
        Type::Date => match value.parse::<u32>() {
            Ok(_) => Ok(unchanged()),
            Err(_) => Err("write a time as seconds since 1970".to_owned()),
        },
        Type::Ipv4 => canonical::<Ipv4Addr>(value, "write an IPv4 address, for example 192.0.2.1"),
        Type::Ipv6 => canonical::<Ipv6Addr>(value, "write an IPv6 address, for example 2001:db8::1"),
        Type::Ip => canonical::<IpAddr>(value, "write an IPv4 or IPv6 address"),
        Type::Ipv4Prefix => {
            canonical::<ipnetwork::Ipv4Network>(value, "write a network, for example 192.0.2.0/24")
        }
        Type::Ipv6Prefix => {
            canonical::<ipnetwork::Ipv6Network>(value, "write a network, for example 2001:db8::/64")
        }
        Type::Ethernet => canonical::<Mac>(value, "write a MAC address, for example aa:bb:cc:dd:ee:ff"),
        Type::InterfaceId => {
            let parts: Vec<_> = value.split(':').collect();
            let hex = |p: &str| (1..=4).contains(&p.len()) && p.bytes().all(|b| b.is_ascii_hexdigit());
            if parts.len() == 4 && parts.iter().all(|part| hex(part)) {
                Ok(value.to_ascii_lowercase())
            } else {
                Err("write four groups of hexadecimal digits, for example 2:a0ff:fe12:3456".to_owned())
            }
        }
        Type::Structure => Err("it holds other attributes: name those instead".to_owned()),
    }
}

fn canonical<T: std::str::FromStr + ToString>(value: &str, problem: &str) -> Result<String, String> {
    value.parse::<T>().map(|parsed| parsed.to_string()).map_err(|_| problem.to_owned())
}

fn number(attribute: &Attribute, value: &str, min: i128, max: i128) -> Result<String, String> {
    if let Some((name, _)) = attribute.values.iter().find(|(name, _)| name.eq_ignore_ascii_case(value)) {
        return Ok((*name).to_owned());
    }
    match integer(value) {
        Some(number) if (min..=max).contains(&number) => Ok(number.to_string()),
        Some(_) => Err(format!("write a number from {min} to {max}")),
        None if attribute.values.is_empty() => Err(format!("write a whole number from {min} to {max}")),
        None => {
            let names = || attribute.values.iter().map(|(name, _)| *name);
            Err(match nearest(value, names()) {
                Some(near) => format!("there is no value {value}: did you mean {near}?"),
                None => {
                    let some: Vec<_> = names().take(8).collect();
                    let more = if names().count() > some.len() { ", …" } else { "" };
                    format!("there is no value {value}: write a number, or one of {}{more}", some.join(", "))
                }
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ok(kind: Kind, text: &str) -> (String, String) {
        let attr = parse(kind, text).unwrap_or_else(|e| panic!("{text}: {e}"));
        (attr.name, attr.value)
    }

    #[test]
    fn good_attributes_come_out_in_the_dictionarys_spelling() {
        for (kind, text, name, value) in [
            (Kind::Standard, "idle-timeout = 600", "Idle-Timeout", "600"),
            (Kind::Standard, "service-type=framed-user", "Service-Type", "Framed-User"),
            (Kind::Standard, "Service-Type=2", "Service-Type", "2"),
            (Kind::Standard, "Tunnel-Type:1=vlan", "Tunnel-Type:1", "VLAN"),
            (Kind::Standard, "Framed-IP-Address=192.0.2.1", "Framed-IP-Address", "192.0.2.1"),
            (Kind::Standard, "Framed-IPv6-Prefix=2001:DB8::/64", "Framed-IPv6-Prefix", "2001:db8::/64"),
            (Kind::Standard, "Class=0xAB", "Class", "0xab"),
            (Kind::Vendor, "cisco-avpair=shell:priv-lvl=15", "Cisco-AVPair", "shell:priv-lvl=15"),
            (Kind::Vendor, "aruba-user-vlan=10", "Aruba-User-Vlan", "10"),
        ] {
            assert_eq!(ok(kind, text), (name.to_owned(), value.to_owned()), "{text}");
        }
    }

    #[test]
    fn errors_say_what_to_write() {
        for (kind, text, says) in [
            (Kind::Standard, "Idle-Timeout", "write Name=Value"),
            (Kind::Standard, "Idle-Timeout:=600", "with = alone"),
            (Kind::Standard, "Idle-Timout=600", "did you mean Idle-Timeout?"),
            (Kind::Standard, "Cisco-AVPair=x=y", "radius_vendor_attrs"),
            (Kind::Vendor, "Idle-Timeout=600", "radius_attrs"),
            (Kind::Vendor, "Cisco-AV-Pair=x=y", "did you mean Cisco-AVPair?"),
            (Kind::Standard, "Idle-Timeout=ten", "a whole number from 0 to 4294967295"),
            (Kind::Standard, "Idle-Timeout=4294967296", "a number from 0 to 4294967295"),
            (Kind::Standard, "Service-Type=Framed-Usr", "did you mean Framed-User?"),
            (Kind::Standard, "Service-Type=nonsense at all", "or one of"),
            (Kind::Standard, "Tunnel-Type=16777216", "from 0 to 16777215"),
            (Kind::Standard, "Tunnel-Type:32=VLAN", "from 0 to 31"),
            (Kind::Standard, "Idle-Timeout:1=600", "takes no tag"),
            (Kind::Standard, "Framed-IP-Address=10.0.0", "an IPv4 address"),
            (Kind::Standard, "Class=abc", "behind 0x"),
            (Kind::Standard, "Class=0xabc", "an even number"),
            (Kind::Standard, "Filter-Id=50% off", "cannot contain %"),
            (Kind::Standard, "Filter-Id=\"x\"", "leave the quotes out"),
            (Kind::Standard, "Filter-Id=", "give a value"),
            (Kind::Standard, "EAP-Message=0x01", "cannot be set here"),
            (Kind::Standard, "User-Name=x", "username_attr"),
            (Kind::Standard, "Vendor-Specific=0x01", "holds other attributes"),
        ] {
            let error = parse(kind, text).unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
        assert!(
            parse(Kind::Standard, &format!("Filter-Id={}", "x".repeat(254))).unwrap_err().contains("253")
        );
        assert!(
            parse(Kind::Vendor, &format!("Cisco-AVPair={}", "x".repeat(248))).unwrap_err().contains("247")
        );
    }

    #[test]
    fn what_may_not_be_set_is_in_the_dictionary() {
        for (name, _) in RESERVED {
            assert!(Dictionary::get().attribute(name).is_some(), "{name}");
        }
    }

    proptest::proptest! {
        #[test]
        fn parsing_is_total_and_what_it_gives_is_stable(text in "(Idle-Timeout|Class|Service-Type|Cisco-AVPair|[a-zA-Z-]{1,9})(:[0-9]{1,3})?=\\PC{0,12}") {
            for kind in [Kind::Standard, Kind::Vendor] {
                if let Ok(attr) = parse(kind, &text) {
                    proptest::prop_assert_eq!(parse(kind, &format!("{}={}", attr.name, attr.value)), Ok(attr.clone()));
                    proptest::prop_assert!(!attr.value.contains('%'));
                }
            }
        }
    }
}
