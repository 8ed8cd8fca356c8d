//! What an edge asks.

mod fit;

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::{EdgeId, Mac, SiteId};

pub use fit::{
    IDP_ROLE_CHARS_MAX, IDP_ROLES_MAX, LIST_MAX, NAME_CHARS_MAX, SSID_CHARS_MAX, SUBJECT_CHARS_MAX, Unfit,
};

/// How the client authenticated to the edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AuthType {
    EapTls,
    EapTtls,
    EapPeap,
    EapTeap,
    Mab,
    Psk,
    Admin,
}

/// The kind of port, from NAS-Port-Type (RFC 2865 5.41): Ethernet, 802.11, Virtual.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum PortType {
    Wired,
    Wireless,
    Vpn,
}

macro_rules! words {
    ($type:ty, $what:literal, $($variant:path => $word:literal),+ $(,)?) => {
        impl $type {
            /// Every value, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$($variant),+];

            /// The word that stands for it on the wire.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $($variant => $word),+ }
            }
        }

        impl ::std::fmt::Display for $type {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl ::std::str::FromStr for $type {
            type Err = $crate::request::UnknownWord;
            fn from_str(s: &str) -> Result<Self, $crate::request::UnknownWord> {
                Self::ALL
                    .iter()
                    .copied()
                    .find(|v| v.as_str().eq_ignore_ascii_case(s.trim()))
                    .ok_or_else(|| $crate::request::UnknownWord { what: $what, allowed: [$($word),+].join(", ") })
            }
        }
    };
}
pub(crate) use words;

/// A word that is not in the list of its kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a known {what}: use one of {allowed}")]
pub struct UnknownWord {
    pub what: &'static str,
    pub allowed: String,
}

words!(AuthType, "auth type",
    AuthType::EapTls => "eap-tls", AuthType::EapTtls => "eap-ttls", AuthType::EapPeap => "eap-peap",
    AuthType::EapTeap => "eap-teap", AuthType::Mab => "mab", AuthType::Psk => "psk", AuthType::Admin => "admin",
);
words!(PortType, "port type",
    PortType::Wired => "wired", PortType::Wireless => "wireless", PortType::Vpn => "vpn",
);

/// The network access server that the client is at.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Nas {
    pub ip: Option<IpAddr>,
    pub identifier: Option<String>,
    pub vendor: Option<String>,
    pub port_type: Option<PortType>,
    pub port_id: Option<String>,
}

/// What the edge read from a client certificate that it has verified.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Certificate {
    pub cn: Option<String>,
    /// The subject's distinguished name, in OpenSSL's one-line form (`/CN=…`) or RFC 4514's (`CN=…,O=…`).
    pub subject: Option<String>,
    pub issuer: Option<String>,
    /// The certificate's own serial number, hexadecimal.
    pub serial: Option<String>,
    #[serde(with = "time::serde::rfc3339::option")]
    pub not_after: Option<OffsetDateTime>,
    pub san_uri: Vec<String>,
    pub san_dns: Vec<String>,
    pub san_upn: Vec<String>,
    pub san_email: Vec<String>,
    /// Extended key usages, as OIDs.
    pub ekus: Vec<String>,
    /// The OID of the AD CS template that it was issued from.
    pub template: Option<String>,
}

/// One access request, as the core sees it: the edge and its site are already known from the credential.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessRequest {
    pub edge: EdgeId,
    pub site: SiteId,
    pub mac: Option<Mac>,
    pub auth_type: Option<AuthType>,
    pub ssid: Option<String>,
    pub user_name: Option<String>,
    /// What the client calls itself, where the edge knows it (DHCP option 12 or the like).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// The VLAN, id or name, that the client is in or came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ingress_vlan: Option<String>,
    /// The role that an identity provider or upstream server gave (Filter-Id).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub radius_group: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gbp_tag: Option<u16>,
    /// Groups or roles of the user, from the identity provider.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub idp_roles: Vec<String>,
    /// Labels that the organization's endpoint list gives to the MAC.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub usermac_labels: Vec<String>,
    /// The edge's own name of the session (Acct-Session-Id or the like).
    pub session_id: Option<String>,
    #[serde(default)]
    pub nas: Nas,
    pub cert: Option<Certificate>,
}

impl AccessRequest {
    /// A request with nothing but its origin, for building others from.
    #[must_use]
    pub fn bare(edge: EdgeId, site: SiteId) -> Self {
        Self {
            edge,
            site,
            mac: None,
            auth_type: None,
            ssid: None,
            user_name: None,
            hostname: None,
            ingress_vlan: None,
            radius_group: None,
            gbp_tag: None,
            idp_roles: Vec::new(),
            usermac_labels: Vec::new(),
            session_id: None,
            nas: Nas::default(),
            cert: None,
        }
    }

    /// The realm: what stands behind the last `@` of the user name, or before the first `\`; lower case.
    #[must_use]
    pub fn realm(&self) -> Option<String> {
        self.realm_as_sent().map(str::to_lowercase)
    }

    /// [`Self::realm`] as the client wrote it.
    #[must_use]
    pub fn realm_as_sent(&self) -> Option<&str> {
        let name = self.user_name.as_deref()?;
        let realm = match name.rsplit_once('@') {
            Some((_, realm)) => realm,
            None => name.split_once('\\')?.0,
        };
        (!realm.is_empty()).then_some(realm)
    }
}
