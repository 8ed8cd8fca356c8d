//! A decision in RADIUS attributes, as every NAS understands them (RFC 2865, RFC 3580).

pub mod check;
pub mod dictionary;
pub mod rest;
pub mod vendor;

use std::borrow::Cow;

use serde::Serialize;

use self::vendor::Profile;
use crate::decision::Outcome;

/// One attribute of an Access-Accept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RadiusAttribute {
    pub name: Cow<'static, str>,
    pub value: String,
}

/// The attributes that carry an outcome. None for a denial: Access-Reject carries no authorization.
#[must_use]
pub fn attributes(outcome: &Outcome) -> Vec<RadiusAttribute> {
    attributes_for(outcome, None)
}

/// The same for a NAS of a vendor, in its words ([`vendor`]). What does not fit into its attribute is left out.
#[must_use]
pub fn attributes_for(outcome: &Outcome, vendor: Option<&str>) -> Vec<RadiusAttribute> {
    let mut out = Vec::new();
    if !outcome.permit {
        return out;
    }
    let mut add = |name, value: &str| {
        out.push(RadiusAttribute { name: Cow::Borrowed(name), value: value.to_owned() });
    };
    if let Some(user_name) = &outcome.user_name {
        add("User-Name", user_name);
    }
    if let Some(vlan) = &outcome.vlan {
        // RFC 3580 3.31: VLAN assignment takes all three.
        add("Tunnel-Type", "VLAN");
        add("Tunnel-Medium-Type", "IEEE-802");
        add("Tunnel-Private-Group-Id", vlan);
    }
    for name in &outcome.egress_vlan_names {
        add("Egress-VLAN-Name", name);
    }
    let profile = Profile::named(vendor);
    if let Some(role) = &outcome.role {
        for attribute in profile.role {
            add(attribute, role);
        }
    }
    if let Some(seconds) = outcome.session_timeout {
        add("Session-Timeout", &seconds.to_string());
        // RFC 2865 5.29: at the end of the session, ask again instead of cutting the port.
        add("Termination-Action", "RADIUS-Request");
    }
    profile.spell(outcome, |name, value| {
        out.push(RadiusAttribute { name: Cow::Borrowed(name), value });
    });
    let further = outcome.attrs.iter();
    out.extend(further.map(|a| RadiusAttribute { name: Cow::Owned(a.name.clone()), value: a.value.clone() }));
    out.retain(vendor::fits);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decision::{RadiusAttr, Redirect};

    fn all() -> Outcome {
        Outcome {
            permit: true,
            vlan: Some("10".into()),
            role: Some("corp".into()),
            session_timeout: Some(3600),
            egress_vlan_names: vec!["1voice".into(), "2data".into()],
            gbp_tag: Some(4000),
            user_name: Some("ada@example.com".into()),
            redirect_url: Some(Redirect::Url("https://example.com/fix".into())),
            attrs: vec![RadiusAttr { name: "Tunnel-Preference:1".into(), value: "3".into() }],
        }
    }

    #[test]
    fn everything_sent_is_in_the_dictionary() {
        for profile in vendor::PROFILES {
            let vendor = profile.name;
            for attribute in attributes_for(&all(), Some(vendor)) {
                let name = attribute.name.split(':').next().unwrap();
                let known = dictionary::Dictionary::get().attribute(name);
                assert_eq!(known.map(|a| a.name), Some(name), "{vendor}");
            }
        }
    }

    #[test]
    fn tags_and_redirects_go_out_as_the_vendor_reads_them() {
        let values = |vendor| -> Vec<String> {
            let all = attributes_for(&all(), Some(vendor)).into_iter();
            all.map(|a| format!("{}={}", a.name, a.value)).collect()
        };
        assert!(values("Cisco-IOS").contains(&"Cisco-AVPair=cts:security-group-tag=0fa0-00".to_owned()));
        assert!(
            values("cisco-ios").contains(&"Cisco-AVPair=url-redirect=https://example.com/fix".to_owned())
        );
        assert!(values("juniper").contains(&"Juniper-CWA-Redirect=https://example.com/fix".to_owned()));
        assert!(values("ruckus").contains(&"WISPr-Redirection-URL=https://example.com/fix".to_owned()));
        assert!(attributes(&Outcome { permit: false, ..all() }).is_empty());
    }
}
