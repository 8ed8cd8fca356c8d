//! How each vendor's NAS is told to move a session: which packet, with which attributes.
//!
//! RFC 5176 names sessions and ends them; authenticating again and bouncing a port are each vendor's own. Where a
//! vendor has no way of its own, ending the session is the way: the client comes back and is asked anew.

use std::net::IpAddr;
use std::time::Duration;

use domain::Mac;
use domain::coa::CoaKind;
use time::OffsetDateTime;

use crate::radius::{Attributes, TooLong, attribute, code};

/// Private Enterprise Numbers.
mod pen {
    pub const CISCO: u32 = 9;
    pub const HP: u32 = 11;
    pub const JUNIPER: u32 = 2_636;
    pub const ARUBA: u32 = 14_823;
}
const CISCO_AV_PAIR: u8 = 1;
const JUNIPER_AV_PAIR: u8 = 52;
const HP_PORT_BOUNCE_HOST: u8 = 23;
const ARUBA_PORT_BOUNCE_HOST: u8 = 40;
/// How long a bounced port stays down: long enough for a client to see it.
const PORT_DOWN: Duration = Duration::from_secs(12);

/// A family of NASes that take CoA in the same way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vendor {
    Generic,
    Juniper,
    Mist,
    Aruba,
    ArubaCx,
    CiscoIos,
    CiscoWlc,
    Meraki,
    Hp,
    Fortinet,
    Ruckus,
    Extreme,
}

impl Vendor {
    /// The names, as a configuration and as sessions have them.
    pub const NAMES: [&'static str; 12] = [
        "generic",
        "juniper",
        "mist",
        "aruba",
        "aruba-cx",
        "cisco-ios",
        "cisco-wlc",
        "meraki",
        "hp",
        "fortinet",
        "ruckus",
        "extreme",
    ];

    /// The family of a configured name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name.trim().to_ascii_lowercase().as_str() {
            "generic" => Self::Generic,
            "juniper" => Self::Juniper,
            "mist" | "juniper-mist" => Self::Mist,
            "aruba" => Self::Aruba,
            "aruba-cx" => Self::ArubaCx,
            "cisco" | "cisco-ios" => Self::CiscoIos,
            "cisco-wlc" | "airespace" => Self::CiscoWlc,
            "meraki" | "cisco-meraki" => Self::Meraki,
            "hp" | "hpe" | "procurve" => Self::Hp,
            "fortinet" => Self::Fortinet,
            "ruckus" => Self::Ruckus,
            "extreme" => Self::Extreme,
            _ => return None,
        })
    }

    /// The family that a session's vendor belongs to; what nobody knows is treated as RFC 5176 has it.
    #[must_use]
    pub fn of(name: Option<&str>) -> Self {
        let name = name.unwrap_or_default();
        Self::parse(name).unwrap_or_else(|| {
            let name = name.trim().to_ascii_lowercase();
            let families = [
                ("juniper-mist", Self::Mist),
                ("mist", Self::Mist),
                ("juniper", Self::Juniper),
                ("cisco-meraki", Self::Meraki),
                ("meraki", Self::Meraki),
                ("cisco-wlc", Self::CiscoWlc),
                ("cisco", Self::CiscoIos),
                ("aruba-cx", Self::ArubaCx),
                ("aruba", Self::Aruba),
                ("hp", Self::Hp),
                ("forti", Self::Fortinet),
                ("ruckus", Self::Ruckus),
                ("extreme", Self::Extreme),
            ];
            families.into_iter().find(|(head, _)| name.starts_with(head)).map_or(Self::Generic, |(_, of)| of)
        })
    }

    const fn mac_format(self) -> MacFormat {
        match self {
            // ArubaOS and AOS-S write Calling-Station-Id bare.
            Self::Aruba | Self::Hp => MacFormat::BareLower,
            // RFC 3580 3.21.
            _ => MacFormat::HyphenUpper,
        }
    }

    /// The packet's code, and what the vendor needs beside the session's name.
    fn way(self, kind: CoaKind) -> (u8, Option<(u32, u8, Vec<u8>)>) {
        let cisco =
            |command: &str| Some((pen::CISCO, CISCO_AV_PAIR, format!("subscriber:command={command}").into()));
        let seconds = |vendor, kind| {
            let down = u32::try_from(PORT_DOWN.as_secs()).unwrap_or(u32::MAX);
            Some((vendor, kind, down.to_be_bytes().to_vec()))
        };
        match (kind, self) {
            (CoaKind::Reauth, Self::CiscoIos | Self::CiscoWlc | Self::Meraki) => {
                (code::COA_REQUEST, cisco("reauthenticate"))
            }
            (CoaKind::PortBounce, Self::CiscoIos | Self::Meraki) => {
                (code::COA_REQUEST, cisco("bounce-host-port"))
            }
            (CoaKind::PortBounce, Self::Juniper) => {
                (code::COA_REQUEST, Some((pen::JUNIPER, JUNIPER_AV_PAIR, b"Port-Bounce".to_vec())))
            }
            (CoaKind::PortBounce, Self::Aruba | Self::ArubaCx) => {
                (code::COA_REQUEST, seconds(pen::ARUBA, ARUBA_PORT_BOUNCE_HOST))
            }
            (CoaKind::PortBounce, Self::Hp) => (code::COA_REQUEST, seconds(pen::HP, HP_PORT_BOUNCE_HOST)),
            _ => (code::DISCONNECT_REQUEST, None),
        }
    }
}

/// How a NAS writes a MAC address. It finds the session by it, so it must be written as the NAS does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MacFormat {
    HyphenUpper,
    HyphenLower,
    ColonUpper,
    ColonLower,
    /// `d46e.0e02.2896`
    Dotted,
    BareUpper,
    BareLower,
}

impl MacFormat {
    pub const NAMES: [&'static str; 7] =
        ["hyphen-upper", "hyphen-lower", "colon-upper", "colon-lower", "dotted", "bare-upper", "bare-lower"];

    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let at = Self::NAMES.iter().position(|known| *known == name.trim())?;
        let all = [
            Self::HyphenUpper,
            Self::HyphenLower,
            Self::ColonUpper,
            Self::ColonLower,
            Self::Dotted,
            Self::BareUpper,
            Self::BareLower,
        ];
        all.get(at).copied()
    }

    #[must_use]
    pub fn write(self, mac: Mac) -> String {
        let digits = mac.digits();
        let (separator, every) = match self {
            Self::HyphenUpper | Self::HyphenLower => ("-", 2),
            Self::ColonUpper | Self::ColonLower => (":", 2),
            Self::Dotted => (".", 4),
            Self::BareUpper | Self::BareLower => ("", 12),
        };
        let parts: Vec<&str> = (0..12).step_by(every).map(|at| &digits[at..at + every]).collect();
        let text = parts.join(separator);
        match self {
            Self::HyphenUpper | Self::ColonUpper | Self::BareUpper => text.to_ascii_uppercase(),
            Self::HyphenLower | Self::ColonLower | Self::Dotted | Self::BareLower => text,
        }
    }
}

/// What names a session to its NAS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionName {
    pub acct_session_id: Option<String>,
    pub mac: Option<Mac>,
    pub user_name: Option<String>,
    pub nas_ip: Option<IpAddr>,
    pub nas_identifier: Option<String>,
    pub nas_port_id: Option<String>,
}

/// What is sent, but for its identifier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    pub code: u8,
    pub attributes: Attributes,
}

/// Codes a move for a vendor's NAS.
pub fn order(
    vendor: Vendor,
    mac_format: Option<MacFormat>,
    kind: CoaKind,
    session: &SessionName,
    now: OffsetDateTime,
) -> Result<Order, TooLong> {
    let (code, own) = vendor.way(kind);
    let mut attributes = Attributes::default();
    if let Some(ip) = session.nas_ip {
        attributes.add_nas_address(ip)?;
    }
    if let Some(identifier) = &session.nas_identifier
        && session.nas_ip.is_none()
    {
        attributes.add(attribute::NAS_IDENTIFIER, identifier.as_bytes())?;
    }
    for (kind, text) in [
        (attribute::USER_NAME, &session.user_name),
        (attribute::ACCT_SESSION_ID, &session.acct_session_id),
        (attribute::NAS_PORT_ID, &session.nas_port_id),
    ] {
        // RFC 5176 3: the port names the session only where nothing else does.
        let needed = kind != attribute::NAS_PORT_ID || session.acct_session_id.is_none();
        if let Some(text) = text.as_deref().filter(|text| needed && !text.is_empty()) {
            attributes.add(kind, text.as_bytes())?;
        }
    }
    if let Some(mac) = session.mac {
        let written = mac_format.unwrap_or_else(|| vendor.mac_format()).write(mac);
        attributes.add(attribute::CALLING_STATION_ID, written.as_bytes())?;
    }
    // RFC 5176 3.3: seconds since 1970, by which the NAS tells a replay.
    let seconds = u32::try_from(now.unix_timestamp()).unwrap_or(u32::MAX);
    attributes.add(attribute::EVENT_TIMESTAMP, &seconds.to_be_bytes())?;
    if let Some((vendor, kind, value)) = own {
        attributes.add_vendor(vendor, kind, &value)?;
    }
    Ok(Order { code, attributes })
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;
    use crate::radius::{Packet, Request};

    fn session() -> SessionName {
        SessionName {
            acct_session_id: Some("8f3a-0001".to_owned()),
            mac: Some("d4:6e:0e:02:28:96".parse().unwrap()),
            user_name: Some("ada".to_owned()),
            nas_ip: Some("192.0.2.7".parse().unwrap()),
            nas_identifier: Some("sw-1".to_owned()),
            nas_port_id: Some("ge-0/0/7".to_owned()),
        }
    }

    fn sent(vendor: Vendor, kind: CoaKind) -> (u8, Vec<(u8, Vec<u8>)>) {
        let order = order(vendor, None, kind, &session(), datetime!(2026-11-20 12:00 UTC)).unwrap();
        let request = Request::new(order.code, 1, &order.attributes, b"x");
        let packet = Packet::read(&request.bytes).unwrap();
        (packet.code(), packet.attributes().skip(1).map(|(kind, value)| (kind, value.to_vec())).collect())
    }

    #[test]
    fn every_request_names_the_session() {
        for name in Vendor::NAMES {
            let vendor = Vendor::parse(name).unwrap();
            for kind in CoaKind::ALL {
                let (_, attributes) = sent(vendor, *kind);
                for wanted in [1, 4, 31, 44, 55] {
                    assert!(
                        attributes.iter().any(|(kind, _)| *kind == wanted),
                        "{name}: no attribute {wanted}"
                    );
                }
            }
        }
    }

    #[test]
    fn each_vendor_has_its_way() {
        let pair = |text: &str| {
            let mut value = vec![0, 0, 0, 9, 1, u8::try_from(text.len() + 2).unwrap()];
            value.extend(text.as_bytes());
            Some(value)
        };
        for (vendor, kind, code, own) in [
            (Vendor::CiscoIos, CoaKind::Reauth, 43, pair("subscriber:command=reauthenticate")),
            (Vendor::CiscoWlc, CoaKind::Reauth, 43, pair("subscriber:command=reauthenticate")),
            (Vendor::Meraki, CoaKind::Reauth, 43, pair("subscriber:command=reauthenticate")),
            (Vendor::CiscoIos, CoaKind::PortBounce, 43, pair("subscriber:command=bounce-host-port")),
            (Vendor::CiscoWlc, CoaKind::PortBounce, 40, None),
            (Vendor::CiscoIos, CoaKind::Disconnect, 40, None),
            (Vendor::Mist, CoaKind::Reauth, 40, None),
            (Vendor::Aruba, CoaKind::Reauth, 40, None),
            (Vendor::ArubaCx, CoaKind::PortBounce, 43, Some(vec![0, 0, 0x39, 0xe7, 40, 6, 0, 0, 0, 12])),
            (Vendor::Hp, CoaKind::PortBounce, 43, Some(vec![0, 0, 0, 11, 23, 6, 0, 0, 0, 12])),
            (Vendor::Generic, CoaKind::PortBounce, 40, None),
        ] {
            let (sent_code, attributes) = sent(vendor, kind);
            let specific = attributes.into_iter().find(|(kind, _)| *kind == 26).map(|(_, value)| value);
            assert_eq!((sent_code, specific), (code, own), "{vendor:?} {kind}");
        }
    }

    #[test]
    fn sessions_name_vendors_loosely() {
        for (name, vendor) in [
            ("Juniper", Vendor::Juniper),
            ("juniper-mist", Vendor::Mist),
            ("cisco-ios-xe", Vendor::CiscoIos),
            ("FortiGate", Vendor::Fortinet),
            ("acme", Vendor::Generic),
            ("", Vendor::Generic),
        ] {
            assert_eq!(Vendor::of(Some(name)), vendor, "{name}");
        }
    }

    #[test]
    fn a_mac_is_written_as_the_nas_does() {
        let mac = "d4:6e:0e:02:28:96".parse().unwrap();
        let written: Vec<String> =
            MacFormat::NAMES.iter().map(|name| MacFormat::parse(name).unwrap().write(mac)).collect();
        assert_eq!(
            written,
            [
                "D4-6E-0E-02-28-96",
                "d4-6e-0e-02-28-96",
                "D4:6E:0E:02:28:96",
                "d4:6e:0e:02:28:96",
                "d46e.0e02.2896",
                "D46E0E022896",
                "d46e0e022896"
            ]
        );
    }
}
