//! How each vendor's network access servers want an answer spelled: one table.
//!
//! VLANs are the same everywhere (RFC 3580 3.31). What differs is the attribute that carries a role, the one that
//! leads a client to a page, and whether such a redirect needs an access list beside it.

use super::RadiusAttribute;
use crate::decision::{self, Outcome};

/// The access list or filter that holds for a redirected client, on equipment that takes redirects only together
/// with one, and where the answer names none itself. It must exist there; for Juniper it is built in.
pub const REDIRECT_ACL: &str = "GATEHOUSE-REDIRECT";
/// Junos's built-in filter for central web authentication.
const JUNOS_REDIRECT_FILTER: &str = "JNPR_RSVD_FILTER_CWA";

/// A family of network access servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Vendor {
    Generic,
    Juniper,
    Mist,
    Aruba,
    CiscoIos,
    CiscoWlc,
    Meraki,
    Fortinet,
    Ruckus,
    Extreme,
    Hp,
    Huawei,
    H3c,
}

/// How one family spells an answer.
#[derive(Debug)]
pub struct Profile {
    pub vendor: Vendor,
    /// The name that edges send, and that lists show.
    pub name: &'static str,
    /// What edges also write, as beginnings of the name in lower case.
    prefixes: &'static [&'static str],
    /// Attributes that only this family sends, as beginnings of their names.
    marks: &'static [&'static str],
    /// Attributes that carry the role (or access list); each gets it.
    pub role: &'static [&'static str],
    redirect: Redirect,
    tag: Tag,
}

/// How a client is led to a page.
#[derive(Clone, Copy, Debug)]
enum Redirect {
    /// The URL alone, in this attribute.
    Url(&'static str),
    /// `Cisco-AVPair = "url-redirect=…"`, and `url-redirect-acl=…` beside it.
    CiscoPairs,
    /// `Cisco-AVPair = "url-redirect=…"` alone: what the client may reach is set where the equipment is managed.
    CiscoUrl,
    /// The URL in the attribute, and Junos's built-in filter where no role names another.
    Junos(&'static str),
}

/// How a group-based policy tag is given.
#[derive(Clone, Copy, Debug)]
enum Tag {
    Junos,
    /// TrustSec, and Meraki's adaptive policy: the tag in hexadecimal, then its generation.
    TrustSec,
}

/// Every family, the ones with longer names first where one name begins another.
pub const PROFILES: &[Profile] = &[
    Profile {
        vendor: Vendor::Mist,
        name: "mist",
        prefixes: &["mist", "juniper-mist", "juniper mist"],
        marks: &[],
        role: &["Filter-Id"],
        redirect: Redirect::CiscoUrl,
        tag: Tag::Junos,
    },
    Profile {
        vendor: Vendor::Juniper,
        name: "juniper",
        prefixes: &["juniper", "junos"],
        marks: &["Juniper-", "ERX-"],
        role: &["Filter-Id"],
        redirect: Redirect::Junos("Juniper-CWA-Redirect"),
        tag: Tag::Junos,
    },
    Profile {
        vendor: Vendor::Aruba,
        name: "aruba",
        prefixes: &["aruba"],
        marks: &["Aruba-"],
        role: &["Aruba-User-Role"],
        redirect: Redirect::Url("Aruba-Captive-Portal-URL"),
        tag: Tag::Junos,
    },
    Profile {
        vendor: Vendor::Meraki,
        name: "meraki",
        prefixes: &["meraki", "cisco-meraki", "cisco meraki"],
        marks: &["Meraki-"],
        // Switches read Filter-Id; access points read what the dashboard says, Airespace-ACL-Name among others.
        role: &["Filter-Id", "Airespace-ACL-Name"],
        redirect: Redirect::CiscoUrl,
        tag: Tag::TrustSec,
    },
    Profile {
        vendor: Vendor::CiscoWlc,
        name: "cisco-wlc",
        prefixes: &["cisco-wlc", "cisco wlc", "airespace", "cisco-9800", "cisco-aireos"],
        marks: &["Airespace-"],
        role: &["Airespace-ACL-Name"],
        redirect: Redirect::CiscoPairs,
        tag: Tag::TrustSec,
    },
    Profile {
        vendor: Vendor::CiscoIos,
        name: "cisco-ios",
        prefixes: &["cisco"],
        marks: &["Cisco-"],
        role: &["Filter-Id"],
        redirect: Redirect::CiscoPairs,
        tag: Tag::TrustSec,
    },
    Profile {
        vendor: Vendor::Fortinet,
        name: "fortinet",
        prefixes: &["forti"],
        marks: &["Fortinet-"],
        role: &["Fortinet-Group-Name"],
        redirect: Redirect::Url("WISPr-Redirection-URL"),
        tag: Tag::Junos,
    },
    Profile {
        vendor: Vendor::Ruckus,
        name: "ruckus",
        prefixes: &["ruckus"],
        marks: &["Ruckus-"],
        role: &["Ruckus-User-Groups"],
        redirect: Redirect::Url("WISPr-Redirection-URL"),
        tag: Tag::Junos,
    },
    Profile {
        vendor: Vendor::Extreme,
        name: "extreme",
        prefixes: &["extreme", "enterasys"],
        marks: &["Extreme-"],
        role: &["Filter-Id"],
        redirect: Redirect::Url("Extreme-Netlogin-Url"),
        tag: Tag::Junos,
    },
    Profile {
        vendor: Vendor::Hp,
        name: "hp",
        prefixes: &["hp", "procurve"],
        marks: &["HP-"],
        role: &["HP-User-Role"],
        redirect: Redirect::Url("HP-Captive-Portal-URL"),
        tag: Tag::Junos,
    },
    Profile {
        vendor: Vendor::Huawei,
        name: "huawei",
        prefixes: &["huawei"],
        marks: &["Huawei-"],
        role: &["Filter-Id"],
        redirect: Redirect::Url("Huawei-PortalURL"),
        tag: Tag::Junos,
    },
    Profile {
        vendor: Vendor::H3c,
        name: "h3c",
        prefixes: &["h3c", "comware"],
        marks: &["H3C-"],
        role: &["Filter-Id"],
        redirect: Redirect::Url("H3C-Portal-URL"),
        tag: Tag::Junos,
    },
    GENERIC,
];

const GENERIC: Profile = Profile {
    vendor: Vendor::Generic,
    name: "generic",
    prefixes: &[],
    marks: &[],
    role: &["Filter-Id"],
    redirect: Redirect::Url("WISPr-Redirection-URL"),
    tag: Tag::Junos,
};

impl Profile {
    /// By a vendor's name as edges write it: `cisco-ios`, `Cisco Meraki`, `Juniper`, …. Unknown ones are generic.
    #[must_use]
    pub fn named(name: Option<&str>) -> &'static Self {
        let name = name.unwrap_or_default().trim().to_ascii_lowercase();
        let begins = |profile: &&Self| profile.prefixes.iter().any(|prefix| name.starts_with(prefix));
        PROFILES.iter().find(begins).unwrap_or(&GENERIC)
    }

    /// By the vendor-specific attributes of a request; `None` where it has none that tell.
    #[must_use]
    pub fn recognized(attributes: &[&str]) -> Option<&'static Self> {
        let marked = |profile: &&Self| {
            attributes.iter().any(|name| profile.marks.iter().any(|mark| name.starts_with(mark)))
        };
        PROFILES.iter().find(marked)
    }

    /// The tag and the redirect of a permit, in this family's words.
    pub(super) fn spell(&self, outcome: &Outcome, mut add: impl FnMut(&'static str, String)) {
        if let Some(tag) = outcome.gbp_tag {
            match self.tag {
                Tag::TrustSec => add("Cisco-AVPair", format!("cts:security-group-tag={tag:04x}-00")),
                Tag::Junos => add("Juniper-Switching-Filter", format!("apply action gbp-tag {tag}")),
            }
        }
        let Some(url) = outcome.redirect_url.as_ref().and_then(decision::Redirect::url) else { return };
        let says = |attribute: &str, begins: &str| {
            outcome.attrs.iter().any(|a| a.name == attribute && a.value.starts_with(begins))
        };
        match self.redirect {
            Redirect::Url(attribute) => add(attribute, url.to_owned()),
            Redirect::CiscoUrl => add("Cisco-AVPair", format!("url-redirect={url}")),
            Redirect::CiscoPairs => {
                add("Cisco-AVPair", format!("url-redirect={url}"));
                if !says("Cisco-AVPair", "url-redirect-acl=") {
                    add("Cisco-AVPair", format!("url-redirect-acl={REDIRECT_ACL}"));
                }
            }
            Redirect::Junos(attribute) => {
                add(attribute, url.to_owned());
                let filtered = outcome.role.is_some()
                    || outcome.gbp_tag.is_some()
                    || says("Filter-Id", "")
                    || says("Juniper-Switching-Filter", "");
                if !filtered {
                    add("Filter-Id", JUNOS_REDIRECT_FILTER.to_owned());
                }
            }
        }
    }
}

/// Where a value does not fit into its attribute, the NAS would get half of it, or nothing: neither is an answer.
pub(super) fn fits(attribute: &RadiusAttribute) -> bool {
    let name = attribute.name.split(':').next().unwrap_or_default();
    let known = super::dictionary::Dictionary::get().attribute(name);
    let (vendor, tagged) = known.map_or((true, true), |known| (known.vendor.is_some(), known.tagged));
    let max = if vendor { 247 } else { 253 } - usize::from(tagged);
    let octets = known.is_some_and(|known| matches!(known.kind, super::dictionary::Type::Octets(_)));
    let hexadecimal = attribute.value.strip_prefix("0x").filter(|_| octets);
    hexadecimal.map_or(attribute.value.len(), |digits| digits.len() / 2) <= max
}

#[cfg(test)]
mod tests {
    use super::super::{attributes_for, dictionary::Dictionary};
    use super::*;
    use crate::decision::RadiusAttr;

    fn to(url: &str) -> Option<decision::Redirect> {
        Some(decision::Redirect::Url(url.to_owned()))
    }

    fn spelled(vendor: &str, outcome: &Outcome) -> Vec<String> {
        let attributes = attributes_for(outcome, Some(vendor)).into_iter();
        attributes.map(|a| format!("{}={}", a.name, a.value)).collect()
    }

    /// Each vendor's documented attributes, in the order of the answer.
    #[test]
    fn each_vendor_gets_what_its_documentation_asks_for() {
        let outcome = Outcome {
            permit: true,
            vlan: Some("10".into()),
            role: Some("staff".into()),
            session_timeout: Some(600),
            redirect_url: to("https://g.example/r/1"),
            ..Outcome::default()
        };
        let vlan = ["Tunnel-Type=VLAN", "Tunnel-Medium-Type=IEEE-802", "Tunnel-Private-Group-Id=10"];
        let timeout = ["Session-Timeout=600", "Termination-Action=RADIUS-Request"];
        let pairs = [
            "Cisco-AVPair=url-redirect=https://g.example/r/1",
            "Cisco-AVPair=url-redirect-acl=GATEHOUSE-REDIRECT",
        ];
        let table: &[(&[&str], &[&str], &[&str])] = &[
            (
                &["", "generic", "acme"],
                &["Filter-Id=staff"],
                &["WISPr-Redirection-URL=https://g.example/r/1"],
            ),
            (&["juniper", "Junos EX"], &["Filter-Id=staff"], &["Juniper-CWA-Redirect=https://g.example/r/1"]),
            (&["mist", "juniper-mist"], &["Filter-Id=staff"], &pairs[..1]),
            (
                &["aruba", "Aruba CX"],
                &["Aruba-User-Role=staff"],
                &["Aruba-Captive-Portal-URL=https://g.example/r/1"],
            ),
            (&["cisco-ios", "cisco", "Cisco IOS-XE"], &["Filter-Id=staff"], &pairs),
            (&["cisco-wlc", "airespace"], &["Airespace-ACL-Name=staff"], &pairs),
            (&["meraki", "cisco-meraki"], &["Filter-Id=staff", "Airespace-ACL-Name=staff"], &pairs[..1]),
            (
                &["fortinet", "FortiGate"],
                &["Fortinet-Group-Name=staff"],
                &["WISPr-Redirection-URL=https://g.example/r/1"],
            ),
            (&["ruckus"], &["Ruckus-User-Groups=staff"], &["WISPr-Redirection-URL=https://g.example/r/1"]),
            (&["extreme"], &["Filter-Id=staff"], &["Extreme-Netlogin-Url=https://g.example/r/1"]),
            (
                &["hp", "hpe", "procurve"],
                &["HP-User-Role=staff"],
                &["HP-Captive-Portal-URL=https://g.example/r/1"],
            ),
            (&["huawei"], &["Filter-Id=staff"], &["Huawei-PortalURL=https://g.example/r/1"]),
            (&["h3c"], &["Filter-Id=staff"], &["H3C-Portal-URL=https://g.example/r/1"]),
        ];
        let mut tried = Vec::new();
        for (names, role, redirect) in table {
            for name in *names {
                let expected: Vec<&str> = [&vlan[..], role, &timeout, redirect].concat();
                assert_eq!(spelled(name, &outcome), expected, "{name}");
                tried.push(Profile::named(Some(name)).vendor);
            }
        }
        assert!(PROFILES.iter().all(|profile| tried.contains(&profile.vendor)), "each has a line here");
    }

    #[test]
    fn every_attribute_is_in_the_dictionary_with_a_text_value() {
        for profile in PROFILES {
            let redirect = match profile.redirect {
                Redirect::Url(attribute) | Redirect::Junos(attribute) => attribute,
                Redirect::CiscoPairs | Redirect::CiscoUrl => "Cisco-AVPair",
            };
            for name in profile.role.iter().chain([&redirect]) {
                let known = Dictionary::get().attribute(name).unwrap_or_else(|| panic!("{name}"));
                assert_eq!((known.name, known.kind), (*name, super::super::dictionary::Type::Text));
            }
            assert_eq!(Profile::named(Some(profile.name)).vendor, profile.vendor, "its own name leads to it");
        }
    }

    #[test]
    fn a_redirects_filter_is_the_labels_own_where_it_names_one() {
        let mut outcome =
            Outcome { permit: true, redirect_url: to("https://g.example/"), ..Outcome::default() };
        assert!(spelled("juniper", &outcome).contains(&"Filter-Id=JNPR_RSVD_FILTER_CWA".to_owned()));
        let attr = |name: &str, value: &str| RadiusAttr { name: name.into(), value: value.into() };
        outcome.attrs =
            vec![attr("Cisco-AVPair", "url-redirect-acl=WEB"), attr("Juniper-Switching-Filter", "match …")];
        let cisco = spelled("cisco-ios", &outcome);
        assert_eq!(cisco.iter().filter(|a| a.contains("url-redirect-acl")).count(), 1, "{cisco:?}");
        assert!(!spelled("juniper", &outcome).iter().any(|a| a.starts_with("Filter-Id")));
    }

    #[test]
    fn gatehouses_page_goes_out_as_the_clients_own_address_or_not_at_all() {
        let mut outcome = Outcome {
            permit: true,
            vlan: Some("99".into()),
            redirect_url: Some(decision::Redirect::Remediation),
            ..Outcome::default()
        };
        let asked = outcome.clone();
        for profile in PROFILES {
            let without = Outcome { redirect_url: None, ..outcome.clone() };
            assert_eq!(
                spelled(profile.name, &outcome),
                spelled(profile.name, &without),
                "no half a redirect"
            );
        }
        outcome.lead_to(None);
        assert_eq!(outcome.redirect_url, None);
        outcome = asked;
        outcome.lead_to(Some("https://g.example/r/me".into()));
        assert!(
            spelled("meraki", &outcome)
                .contains(&"Cisco-AVPair=url-redirect=https://g.example/r/me".to_owned())
        );
        // A page of the organization's is not replaced.
        outcome.lead_to(Some("https://g.example/r/other".into()));
        assert_eq!(outcome.redirect_url, to("https://g.example/r/me"));
    }

    #[test]
    fn a_vendor_is_recognized_by_its_attributes() {
        let of = |names: &[&str]| Profile::recognized(names).map(|p| p.vendor);
        assert_eq!(of(&["User-Name", "NAS-Port"]), None);
        assert_eq!(of(&["User-Name", "Aruba-Essid-Name"]), Some(Vendor::Aruba));
        assert_eq!(of(&["Cisco-AVPair", "Airespace-Wlan-Id"]), Some(Vendor::CiscoWlc));
        assert_eq!(of(&["Cisco-AVPair", "Meraki-Network-Name"]), Some(Vendor::Meraki));
        assert_eq!(of(&["Cisco-AVPair"]), Some(Vendor::CiscoIos));
    }

    #[test]
    fn a_value_that_does_not_fit_is_left_out() {
        let url = format!("https://g.example/{}", "x".repeat(240));
        let outcome = Outcome { permit: true, redirect_url: to(&url), ..Outcome::default() };
        assert!(attributes_for(&outcome, Some("aruba")).is_empty());
    }
}
