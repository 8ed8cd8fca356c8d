//! From a packet's attributes to an access request.
//!
//! Attributes that begin with `Gatehouse-` are the edge's own (they have no number on the wire, so that no NAS and no
//! client can send one): what it has verified. The name that a supplicant gives itself outside of the TLS tunnel is
//! not among that, so it counts only where the certificate bears it.

use std::net::IpAddr;

use time::{OffsetDateTime, PrimitiveDateTime};

use super::{Attributes, Unreadable, mac, session_key};
use crate::radius::vendor::Profile;
use crate::request::{AccessRequest, AuthType, Certificate, Nas, PortType};
use crate::resolver::uris_of_joined_names;
use crate::{EdgeId, Mac, SiteId};

/// An SSID has 32 bytes at most (IEEE 802.11 9.4.2.2).
const SSID_BYTES_MAX: usize = 32;
const CERTIFICATE: &str = "TLS-Client-Cert-";

/// What was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    pub request: AccessRequest,
    /// The session's name; `None` where the client has no name at all.
    pub session_key: Option<String>,
}

/// Reads an access request out of a packet.
///
/// # Errors
/// Where the certificate's attributes cannot all be read: half of a certificate is none; and where a text is longer than
/// it can be.
pub fn read(attributes: &Attributes, edge: EdgeId, site: SiteId) -> Result<Asked, Unreadable> {
    attributes.all_readable(CERTIFICATE)?;
    let mac = mac(attributes);
    let auth_type = auth_type(attributes, mac);
    // MAC authentication has no certificate; one beside it would be the edge's own peer's.
    let cert = if auth_type == Some(AuthType::Mab) { None } else { certificate(attributes) };
    let text = |name| attributes.first(name).map(str::to_owned);
    let request = AccessRequest {
        mac,
        auth_type,
        ssid: ssid(attributes),
        user_name: user_name(attributes, auth_type, cert.as_ref()),
        ingress_vlan: text("Tunnel-Private-Group-Id"),
        radius_group: text("Gatehouse-RADIUS-Group"),
        idp_roles: attributes.all("Gatehouse-Group").to_vec(),
        usermac_labels: attributes.all("Gatehouse-MAC-Label").to_vec(),
        hostname: text("Gatehouse-Hostname"),
        session_id: text("Acct-Session-Id"),
        nas: nas(attributes),
        cert,
        ..AccessRequest::bare(edge, site)
    };
    request.check_fit().map_err(|unfit| Unreadable::Attribute(unfit.field.to_owned()))?;
    Ok(Asked { request, session_key: session_key(attributes) })
}

pub(super) fn auth_type(attributes: &Attributes, mac: Option<Mac>) -> Option<AuthType> {
    if let Some(word) = attributes.first("Gatehouse-Auth-Type") {
        return word.parse().ok();
    }
    if let Some(method) = attributes.first("EAP-Type") {
        // By name or number (RFC 5216, 5281, 7170).
        return match method {
            "TLS" | "EAP-TLS" | "13" => Some(AuthType::EapTls),
            "TTLS" | "EAP-TTLS" | "21" => Some(AuthType::EapTtls),
            "PEAP" | "EAP-PEAP" | "25" => Some(AuthType::EapPeap),
            "TEAP" | "EAP-TEAP" | "55" => Some(AuthType::EapTeap),
            _ => None,
        };
    }
    if !attributes.all("EAP-Message").is_empty() {
        return None;
    }
    let named_by_mac = || {
        let name = attributes.first("User-Name").and_then(|name| name.parse::<Mac>().ok());
        name.is_some() && name == mac
    };
    match attributes.first("Service-Type") {
        Some("Call-Check" | "10") => Some(AuthType::Mab),
        Some("Administrative-User" | "6" | "NAS-Prompt-User" | "7") => Some(AuthType::Admin),
        _ => named_by_mac().then_some(AuthType::Mab),
    }
}

/// A name that somebody has vouched for.
fn user_name(
    attributes: &Attributes,
    auth_type: Option<AuthType>,
    cert: Option<&Certificate>,
) -> Option<String> {
    if let Some(verified) = attributes.first("Gatehouse-User-Name") {
        return Some(verified.to_owned());
    }
    let claimed = attributes.first("User-Name");
    match auth_type {
        // Whatever stands outside of the tunnel, the client made up.
        Some(AuthType::EapTtls | AuthType::EapPeap | AuthType::EapTeap) => None,
        Some(AuthType::EapTls) => {
            let cert = cert?;
            let names = || cert.san_upn.iter().chain(&cert.cn).chain(&cert.san_email).chain(&cert.san_dns);
            let vouched = claimed.filter(|claimed| {
                let claimed = without_host(claimed);
                names().any(|name| without_host(name).eq_ignore_ascii_case(claimed))
            });
            vouched.map(str::to_owned).or_else(|| names().next().cloned())
        }
        _ => claimed.map(str::to_owned),
    }
}

fn without_host(name: &str) -> &str {
    name.strip_prefix("host/").or_else(|| name.strip_prefix("host\\/")).unwrap_or(name)
}

pub(super) fn ssid(attributes: &Attributes) -> Option<String> {
    let named = ["Called-Station-SSID", "Aruba-Essid-Name", "Ruckus-SSID", "Fortinet-SSID"];
    let of_pair = || attributes.all("Cisco-AVPair").iter().find_map(|pair| pair.strip_prefix("ssid="));
    let ssid = named.iter().find_map(|name| attributes.first(name)).or_else(of_pair);
    let ssid = ssid.or_else(|| ssid_of_called_station(attributes.first("Called-Station-Id")?));
    ssid.filter(|ssid| ssid.len() <= SSID_BYTES_MAX).map(str::to_owned)
}

/// RFC 3580 3.20: the access point's MAC, a colon, and the SSID.
fn ssid_of_called_station(called: &str) -> Option<&str> {
    let digits = called.char_indices().filter(|(_, c)| c.is_ascii_hexdigit()).nth(11)?.0;
    let (station, rest) = called.split_at(digits + 1);
    station.parse::<Mac>().ok()?;
    rest.strip_prefix(':').filter(|ssid| !ssid.is_empty())
}

pub(super) fn nas(attributes: &Attributes) -> Nas {
    let ip = |name| attributes.first(name).and_then(|ip| ip.parse::<IpAddr>().ok());
    let vendor = attributes.first("Gatehouse-NAS-Vendor").map(str::to_owned);
    let port = attributes.first("NAS-Port-Id").or_else(|| attributes.first("NAS-Port"));
    Nas {
        ip: ip("NAS-IP-Address").or_else(|| ip("NAS-IPv6-Address")),
        identifier: attributes.first("NAS-Identifier").map(str::to_owned),
        vendor: vendor.or_else(|| Profile::recognized(&attributes.names()).map(|p| p.name.to_owned())),
        port_type: attributes.first("NAS-Port-Type").and_then(port_type),
        port_id: port.map(str::to_owned),
    }
}

/// RFC 2865 5.41, by name or number.
fn port_type(name: &str) -> Option<PortType> {
    match name {
        "Ethernet" | "15" => Some(PortType::Wired),
        "Wireless-802.11" | "19" | "Wireless-Other" | "18" => Some(PortType::Wireless),
        "Virtual" | "5" => Some(PortType::Vpn),
        _ => None,
    }
}

pub(super) fn certificate(attributes: &Attributes) -> Option<Certificate> {
    let text = |name: &str| attributes.first(&format!("{CERTIFICATE}{name}")).map(str::to_owned);
    let all = |name: &str| attributes.all(&format!("{CERTIFICATE}{name}")).to_vec();
    let (dns, upn, email) =
        (all("Subject-Alt-Name-Dns"), all("Subject-Alt-Name-Upn"), all("Subject-Alt-Name-Email"));
    let mut uris = all("Subject-Alt-Name-Uri");
    if uris.is_empty() {
        // Before 3.2.7 there is no attribute for URIs, but one text of all names.
        let joined = all("X509v3-Subject-Alternative-Name");
        uris = joined.iter().flat_map(|text| uris_of_joined_names(text, &dns, &email, &upn)).collect();
    }
    let cert = Certificate {
        cn: text("Common-Name"),
        subject: text("Subject"),
        issuer: text("Issuer"),
        serial: text("Serial"),
        not_after: text("Expiration").as_deref().and_then(asn1_time),
        san_uri: uris,
        san_dns: dns,
        san_upn: upn,
        san_email: email,
        ekus: all("X509v3-Extended-Key-Usage-OID"),
        template: None,
    };
    (cert != Certificate::default()).then_some(cert)
}

/// `YYMMDDhhmmssZ` or `YYYYMMDDhhmmssZ` (RFC 5280 4.1.2.5): two digits of a year mean 1950 to 2049.
fn asn1_time(text: &str) -> Option<OffsetDateTime> {
    let digits = text.strip_suffix('Z').filter(|digits| digits.bytes().all(|b| b.is_ascii_digit()))?;
    let full = match digits.len() {
        12 if digits < "50" => format!("20{digits}"),
        12 => format!("19{digits}"),
        14 => digits.to_owned(),
        _ => return None,
    };
    let format = time::macros::format_description!("[year][month][day][hour][minute][second]");
    PrimitiveDateTime::parse(&full, format).ok().map(PrimitiveDateTime::assume_utc)
}
