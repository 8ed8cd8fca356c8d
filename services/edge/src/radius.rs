//! RADIUS packets (RFC 2865 3, 5), as far as dynamic authorization needs them (RFC 5176).
//!
//! The crates that code RADIUS lack Message-Authenticator on CoA packets, or checks of what comes back, so the few
//! lines that matter are here. The reader takes any bytes whatsoever; the tests hold the writer against FreeRADIUS.

use std::net::IpAddr;

use hmac::{Hmac, KeyInit, Mac};
use md5::{Digest, Md5};
use subtle::ConstantTimeEq;

/// RFC 2865 3: code, identifier, length, authenticator.
pub const HEADER_BYTES: usize = 20;
/// RFC 2865 3.
pub const PACKET_BYTES_MAX: usize = 4_096;

/// Codes of RFC 5176 2.3.
pub mod code {
    pub const DISCONNECT_REQUEST: u8 = 40;
    pub const DISCONNECT_ACK: u8 = 41;
    pub const DISCONNECT_NAK: u8 = 42;
    pub const COA_REQUEST: u8 = 43;
    pub const COA_ACK: u8 = 44;
    pub const COA_NAK: u8 = 45;
}

/// Types of attributes.
pub mod attribute {
    pub const USER_NAME: u8 = 1;
    pub const NAS_IP_ADDRESS: u8 = 4;
    pub const REPLY_MESSAGE: u8 = 18;
    pub const VENDOR_SPECIFIC: u8 = 26;
    pub const CALLING_STATION_ID: u8 = 31;
    pub const NAS_IDENTIFIER: u8 = 32;
    pub const ACCT_SESSION_ID: u8 = 44;
    pub const EVENT_TIMESTAMP: u8 = 55;
    pub const MESSAGE_AUTHENTICATOR: u8 = 80;
    pub const NAS_PORT_ID: u8 = 87;
    pub const NAS_IPV6_ADDRESS: u8 = 95;
    pub const ERROR_CAUSE: u8 = 101;
}

/// The attributes of a request, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attributes(Vec<u8>);

/// The attribute, or the packet, would be longer than RADIUS allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("longer than RADIUS allows")]
pub struct TooLong;

impl Attributes {
    /// Adds an attribute.
    pub fn add(&mut self, kind: u8, value: &[u8]) -> Result<(), TooLong> {
        let length = u8::try_from(value.len() + 2).map_err(|_| TooLong)?;
        // Message-Authenticator is added when the packet is made.
        if HEADER_BYTES + self.0.len() + value.len() + 2 + 18 > PACKET_BYTES_MAX {
            return Err(TooLong);
        }
        self.0.extend([kind, length]);
        self.0.extend(value);
        Ok(())
    }

    /// Adds a vendor's attribute (RFC 2865 5.26).
    pub fn add_vendor(&mut self, vendor: u32, kind: u8, value: &[u8]) -> Result<(), TooLong> {
        let length = u8::try_from(value.len() + 2).map_err(|_| TooLong)?;
        let mut inner = Vec::with_capacity(value.len() + 6);
        inner.extend(vendor.to_be_bytes());
        inner.extend([kind, length]);
        inner.extend(value);
        self.add(attribute::VENDOR_SPECIFIC, &inner)
    }

    /// NAS-IP-Address or NAS-IPv6-Address.
    pub fn add_nas_address(&mut self, address: IpAddr) -> Result<(), TooLong> {
        match address {
            IpAddr::V4(v4) => self.add(attribute::NAS_IP_ADDRESS, &v4.octets()),
            IpAddr::V6(v6) => self.add(attribute::NAS_IPV6_ADDRESS, &v6.octets()),
        }
    }
}

/// A request, ready to be sent, and to be sent again as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub bytes: Vec<u8>,
}

impl Request {
    /// Codes a CoA-Request or Disconnect-Request. Message-Authenticator is first, over a packet whose authenticator is
    /// sixteen zeroes (RFC 5176 3.4); then the Request Authenticator over all of it (RFC 2866 3).
    #[must_use]
    pub fn new(code: u8, identifier: u8, attributes: &Attributes, secret: &[u8]) -> Self {
        let length = HEADER_BYTES + 18 + attributes.0.len();
        let mut bytes = Vec::with_capacity(length);
        bytes.extend([code, identifier]);
        bytes.extend(u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes());
        bytes.extend([0; 16]);
        bytes.extend([attribute::MESSAGE_AUTHENTICATOR, 18]);
        bytes.extend([0; 16]);
        bytes.extend(&attributes.0);
        let signature = hmac_md5(secret, &[&bytes]);
        bytes[HEADER_BYTES + 2..HEADER_BYTES + 18].copy_from_slice(&signature);
        let authenticator = md5(&[&bytes, secret]);
        bytes[4..HEADER_BYTES].copy_from_slice(&authenticator);
        Self { bytes }
    }

    /// RFC 2865 3.
    #[must_use]
    pub fn identifier(&self) -> u8 {
        self.bytes[1]
    }

    /// The Request Authenticator.
    #[must_use]
    pub fn authenticator(&self) -> &[u8] {
        &self.bytes[4..HEADER_BYTES]
    }

    /// Whether the response is an answer of somebody who knows the secret to this very request.
    #[must_use]
    pub fn is_answered_by(&self, response: &Packet<'_>, secret: &[u8]) -> bool {
        let head = &response.bytes[..4];
        let body = &response.bytes[HEADER_BYTES..];
        let wanted = md5(&[head, self.authenticator(), body, secret]);
        if response.identifier() != self.identifier()
            || !bool::from(wanted.ct_eq(&response.bytes[4..HEADER_BYTES]))
        {
            return false;
        }
        // A NAS need not send one; a wrong one is no answer.
        let mut signatures =
            response.attributes().filter(|(kind, _)| *kind == attribute::MESSAGE_AUTHENTICATOR);
        match (signatures.next(), signatures.next()) {
            (None, _) => true,
            // FreeRADIUS 3 signs answers like requests: over zeroes. Who answers whom, the authenticator above says.
            (Some((_, told)), None) => [self.authenticator(), &[0; 16]]
                .iter()
                .any(|authenticator| signature_of(response, authenticator, secret).ct_eq(told).into()),
            (Some(_), Some(_)) => false,
        }
    }
}

/// A packet that was received: its lengths fit, and nothing else is known of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    bytes: &'a [u8],
}

/// Bytes that are no RADIUS packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a RADIUS packet: {0}")]
pub struct Malformed(&'static str);

impl<'a> Packet<'a> {
    /// Reads a datagram. What stands behind the packet's own length is padding (RFC 2865 3).
    pub fn read(datagram: &'a [u8]) -> Result<Self, Malformed> {
        let length = match datagram {
            [_, _, high, low, ..] => usize::from(u16::from_be_bytes([*high, *low])),
            _ => return Err(Malformed("too short for a header")),
        };
        if !(HEADER_BYTES..=PACKET_BYTES_MAX).contains(&length) {
            return Err(Malformed("its length is out of bounds"));
        }
        let bytes = datagram.get(..length).ok_or(Malformed("shorter than it says"))?;
        let mut rest = &bytes[HEADER_BYTES..];
        while !rest.is_empty() {
            let length = rest.get(1).copied().map_or(0, usize::from);
            if length < 2 {
                return Err(Malformed("an attribute without a length"));
            }
            rest = rest.get(length..).ok_or(Malformed("an attribute that is cut off"))?;
        }
        Ok(Self { bytes })
    }

    #[must_use]
    pub fn code(&self) -> u8 {
        self.bytes[0]
    }

    #[must_use]
    pub fn identifier(&self) -> u8 {
        self.bytes[1]
    }

    /// Each attribute's type and value.
    pub fn attributes(&self) -> impl Iterator<Item = (u8, &'a [u8])> + use<'a> {
        let mut rest = &self.bytes[HEADER_BYTES..];
        std::iter::from_fn(move || {
            let (kind, length) = (*rest.first()?, usize::from(*rest.get(1)?));
            let value = rest.get(2..length)?;
            rest = &rest[length..];
            Some((kind, value))
        })
    }

    /// Error-Cause (RFC 5176 3.5), where there is one.
    #[must_use]
    pub fn error_cause(&self) -> Option<u32> {
        let (_, value) = self.attributes().find(|(kind, _)| *kind == attribute::ERROR_CAUSE)?;
        Some(u32::from_be_bytes(value.try_into().ok()?))
    }

    /// Reply-Message, where there is one that is text.
    #[must_use]
    pub fn reply_message(&self) -> Option<&'a str> {
        let (_, value) = self.attributes().find(|(kind, _)| *kind == attribute::REPLY_MESSAGE)?;
        std::str::from_utf8(value).ok()
    }
}

/// The Message-Authenticator that a response must have: over itself, with the request's authenticator (sixteen bytes)
/// in place of its own and zeroes in place of the attribute's value.
fn signature_of(response: &Packet<'_>, authenticator: &[u8], secret: &[u8]) -> [u8; 16] {
    let mut copy = response.bytes.to_vec();
    copy[4..HEADER_BYTES].copy_from_slice(authenticator);
    let mut at = HEADER_BYTES;
    while at < copy.len() {
        let length = usize::from(copy[at + 1]);
        if copy[at] == attribute::MESSAGE_AUTHENTICATOR {
            copy[at + 2..at + length].fill(0);
        }
        at += length;
    }
    hmac_md5(secret, &[&copy])
}

fn md5(parts: &[&[u8]]) -> [u8; 16] {
    let mut digest = Md5::new();
    parts.iter().for_each(|part| digest.update(part));
    digest.finalize().into()
}

#[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
fn hmac_md5(secret: &[u8], parts: &[&[u8]]) -> [u8; 16] {
    let mut mac = Hmac::<Md5>::new_from_slice(secret).expect("HMAC takes keys of any length");
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests;
