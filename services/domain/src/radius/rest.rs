//! What FreeRADIUS's `rlm_rest` sends with `body = 'json'`, and what it takes for an answer.
//!
//! Every attribute of the packet comes as `{"type": …, "value": […]}`. Names of enumerations stand for their numbers,
//! each byte that is not ASCII comes as a character of its own, octets come as `0x…` (raw from 3.2.10 on). What the
//! packet says of the client is believed only as far as the edge has verified it: see [`request`].

pub mod accounting;
pub mod answer;
mod attributes;
pub mod refusal;
pub mod request;
#[cfg(test)]
mod tests;

use uuid::Uuid;

pub use self::attributes::{Attributes, Unreadable};
use crate::Mac;

/// Longest name of a session: it travels as the Class attribute, of 253 bytes at most.
const SESSION_KEY_BYTES_MAX: usize = 200;
/// Tells our Class from others'.
const CLASS_LEAD: &str = "gh1:";

/// The name under which a session is kept. Acct-Session-Id is unique at one NAS alone, so the NAS stands before it;
/// where the NAS gives none before the client is in, the client's MAC has to do.
fn session_key(attributes: &Attributes) -> Option<String> {
    let nas = ["NAS-IP-Address", "NAS-IPv6-Address", "NAS-Identifier"];
    let nas = nas.iter().find_map(|name| attributes.first(name)).unwrap_or_default();
    let session = attributes.first("Acct-Session-Id").map(str::to_owned);
    let session = session.or_else(|| mac(attributes).map(|mac| format!("mac:{}", mac.digits())))?;
    let key = format!("{nas}/{session}");
    if key.len() <= SESSION_KEY_BYTES_MAX {
        return Some(key);
    }
    Some(format!("#{}", Uuid::new_v5(&Uuid::NAMESPACE_OID, key.as_bytes()).simple()))
}

/// The session's name as Class, which a NAS sends with all of the session's accounting (RFC 2865 5.25).
#[must_use]
pub fn class_of(session_key: &str) -> String {
    let bytes = CLASS_LEAD.bytes().chain(session_key.bytes());
    let digits: String = bytes.map(|byte| format!("{byte:02x}")).collect();
    format!("0x{digits}")
}

/// The session's name out of a packet's Class attributes.
fn session_key_of_class(attributes: &Attributes) -> Option<String> {
    attributes.all("Class").iter().find_map(|class| {
        let text = match class.strip_prefix("0x") {
            Some(digits) => String::from_utf8(bytes_of_hex(digits)?).ok()?,
            None => class.clone(),
        };
        let key = text.strip_prefix(CLASS_LEAD)?;
        let sane =
            !key.is_empty() && key.len() <= SESSION_KEY_BYTES_MAX && !key.chars().any(char::is_control);
        sane.then(|| key.to_owned())
    })
}

fn bytes_of_hex(digits: &str) -> Option<Vec<u8>> {
    let byte = |pair: &[u8]| {
        let [high, low] = pair else { return None };
        let digit = |c: u8| char::from(c).to_digit(16);
        u8::try_from(digit(*high)? * 16 + digit(*low)?).ok()
    };
    digits.as_bytes().chunks(2).map(byte).collect()
}

/// Calling-Station-Id, where it is a MAC: VPN gateways write an IP address, others a telephone number.
fn mac(attributes: &Attributes) -> Option<Mac> {
    attributes.first("Calling-Station-Id")?.parse().ok()
}
