//! Checks of result labels: whatever they let through goes out to a NAS.

use super::FieldError;
use crate::decision::Redirect;
use crate::policy::model::{LabelKind, PolicyDoc, Rule};
use crate::radius::check::{ATTRIBUTES_MAX, Kind, parse};

/// What an Access-Accept can hold besides what the RADIUS server adds (RFC 2865 3: 4096 bytes).
const BYTES_MAX: usize = 3_000;

pub fn vlan(vlan: &str, errors: &mut Vec<FieldError>) {
    let problem = if vlan.is_empty() {
        Some("Give a VLAN id (1 to 4094) or name.")
    } else if vlan.chars().all(|c| c.is_ascii_digit()) {
        let id = vlan.parse::<u32>().unwrap_or(u32::MAX);
        (!(1..=4094).contains(&id)).then_some("A VLAN id is a number from 1 to 4094 (IEEE 802.1Q).")
    } else if vlan.len() > 32 || !vlan.chars().all(|c| c.is_ascii_graphic()) || vlan.contains('%') {
        Some("A VLAN name has 32 visible ASCII characters at most, no spaces and no %.")
    } else {
        None
    };
    errors.extend(problem.map(|message| FieldError::new("vlan", "bad_value", message)));
}

pub fn role(role: &str, errors: &mut Vec<FieldError>) {
    // A RADIUS text attribute holds 253 bytes (RFC 2865 5); `%` would be expanded by some RADIUS servers.
    let fits = !role.is_empty() && role.len() <= 253 && role.trim() == role;
    if !fits || role.chars().any(|c| c.is_control() || c == '%') {
        let message = "Give a role of 1 to 253 bytes, without % and without spaces at its ends.";
        errors.push(FieldError::new("radius_group", "bad_value", message));
    }
}

/// RFC 4675 2.3: `1` (tagged) or `2` (untagged), then the VLAN's name.
pub fn egress(names: &[String], errors: &mut Vec<FieldError>) {
    let mut add = |code, message: String| errors.push(FieldError::new("egress_vlan_names", code, message));
    if names.is_empty() {
        add("required", "Give at least one VLAN, as 1name (tagged) or 2name (untagged).".to_owned());
    }
    if names.len() > ATTRIBUTES_MAX {
        add("too_many", format!("Use {ATTRIBUTES_MAX} VLANs at most."));
    }
    for name in names {
        let rest = name.strip_prefix(['1', '2']).unwrap_or_default();
        let fits = !rest.is_empty() && name.len() <= 253;
        if !fits || !rest.chars().all(|c| c.is_ascii_graphic()) || rest.contains('%') {
            add(
                "bad_value",
                format!("“{name}”: write 1name (tagged) or 2name (untagged), without spaces and without %."),
            );
        }
    }
}

pub fn redirect(url: &str, errors: &mut Vec<FieldError>) {
    if url == Redirect::REMEDIATION {
        return;
    }
    let host = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    let host = host.map(|rest| rest.split(['/', '?', '#']).next().unwrap_or_default());
    let problem = if host.is_none_or(str::is_empty) {
        Some(
            "Give a whole address, for example https://portal.example.com/fix, or gatehouse for Gatehouse's page.",
        )
    } else if url.len() > 230 {
        // It goes out within one attribute of 247 bytes, behind what a vendor writes before it.
        Some("Use 230 bytes at most.")
    } else if url.contains('%') || !url.chars().all(|c| c.is_ascii_graphic()) {
        Some("Leave out spaces, % and whatever is not ASCII: some RADIUS servers would change them.")
    } else {
        None
    };
    errors.extend(problem.map(|message| FieldError::new("redirect_url", "bad_value", message)));
}

pub fn attributes(field: &'static str, kind: Kind, texts: &[String], errors: &mut Vec<FieldError>) {
    if texts.is_empty() {
        errors.push(FieldError::new(field, "required", "Give at least one attribute, as Name=Value."));
    }
    if texts.len() > ATTRIBUTES_MAX {
        errors.push(FieldError::new(field, "too_many", format!("Use {ATTRIBUTES_MAX} attributes at most.")));
    }
    for text in texts {
        if let Err(problem) = parse(kind, text) {
            errors.push(FieldError::new(
                field,
                "bad_value",
                format!("“{text}”: {problem}.").replace("?.", "?"),
            ));
        }
    }
}

/// What the results of one rule make of each other: the same attribute from two labels, or more than fits.
pub fn together(rule: &Rule, doc: &PolicyDoc, errors: &mut Vec<FieldError>) {
    let mut owned: Vec<(&str, &str)> = Vec::new();
    let mut written = Vec::new();
    let mut bytes = 0;
    for label in rule.apply.iter().filter_map(|id| doc.label(*id)) {
        let name = label.name.as_str();
        let mut parse_all = |kind, texts: &[String]| {
            written.extend(texts.iter().filter_map(|text| parse(kind, text).ok()).map(|attr| (attr, name)));
        };
        match &label.kind {
            LabelKind::Vlan { .. } => owned.extend(
                ["Tunnel-Type", "Tunnel-Medium-Type", "Tunnel-Private-Group-Id"]
                    .map(|attribute| (attribute, name)),
            ),
            LabelKind::RadiusGroup { .. } => owned.push(("Filter-Id", name)),
            LabelKind::SessionTimeout { .. } => {
                owned.extend([("Session-Timeout", name), ("Termination-Action", name)]);
            }
            LabelKind::RadiusAttrs { radius_attrs } => parse_all(Kind::Standard, radius_attrs),
            LabelKind::RadiusVendorAttrs { radius_vendor_attrs } => {
                parse_all(Kind::Vendor, radius_vendor_attrs);
            }
            LabelKind::EgressVlanNames { egress_vlan_names } => {
                bytes += egress_vlan_names.iter().map(|name| name.len() + 2).sum::<usize>();
            }
            _ => {}
        }
    }
    for (attr, label) in &written {
        bytes += attr.value.len() + 8;
        if let Some((attribute, owner)) = owned.iter().find(|(attribute, _)| *attribute == attr.name) {
            let message = format!(
                "“{owner}” and “{label}” both give {attribute}: take one of them out, or give the second a tag."
            );
            errors.push(FieldError::new("apply", "repeated_attribute", message));
        }
    }
    if bytes > BYTES_MAX {
        let message =
            format!("The attributes take {bytes} bytes; an answer holds {BYTES_MAX}: apply fewer labels.");
        errors.push(FieldError::new("apply", "too_large", message));
    }
}

#[cfg(test)]
mod tests {
    use crate::policy::draft::{check_label, check_rule};
    use crate::policy::generate::{label, policy, rule};
    use crate::policy::model::{Action, LabelKind, PolicyDoc};

    #[test]
    fn each_result_is_checked_beside_its_field() {
        let one = |kind: LabelKind| -> Vec<(&str, &str)> {
            let errors = check_label(&label(1, kind), &PolicyDoc::default());
            errors.iter().map(|e| (e.field, e.code)).collect()
        };
        let texts = |texts: &[&str]| texts.iter().map(|t| (*t).to_owned()).collect::<Vec<_>>();
        let url = |url: &str| one(LabelKind::RedirectUrl { redirect_url: url.into() });
        assert_eq!(one(LabelKind::GbpTag { gbp_tag: 0 }), [("gbp_tag", "out_of_range")]);
        assert_eq!(one(LabelKind::EgressVlanNames { egress_vlan_names: texts(&["1voice", "2data"]) }), []);
        assert_eq!(
            one(LabelKind::EgressVlanNames { egress_vlan_names: texts(&["voice"]) }),
            [("egress_vlan_names", "bad_value")]
        );
        assert_eq!(one(LabelKind::RadiusAttrs { radius_attrs: vec![] }), [("radius_attrs", "required")]);
        assert_eq!(
            one(LabelKind::RadiusVendorAttrs { radius_vendor_attrs: texts(&["Cisco-AV-Pair=x"]) }),
            [("radius_vendor_attrs", "bad_value")]
        );
        assert_eq!(url("https://example.com/fix?why=noncompliant"), []);
        assert_eq!(url("gatehouse"), []);
        for bad in [
            "Gatehouse",
            "gatehouse/",
            "example.com",
            "https://",
            "ftp://example.com",
            "https://example.com/%20",
            "https://e x",
        ] {
            assert_eq!(url(bad), [("redirect_url", "bad_value")], "{bad}");
        }
    }

    #[test]
    fn one_attribute_comes_from_one_label() {
        let attrs =
            LabelKind::RadiusAttrs { radius_attrs: vec!["Filter-Id=a".into(), "Idle-Timeout=60".into()] };
        let more = LabelKind::RadiusAttrs { radius_attrs: vec!["Tunnel-Preference:1=3".into()] };
        let mut doc = policy(
            vec![
                label(1, LabelKind::RadiusGroup { radius_group: "staff".into() }),
                label(2, attrs),
                label(3, more),
            ],
            vec![rule(1, Action::Allow, &[], &[1, 2, 3])],
        );
        let codes =
            |doc: &PolicyDoc| check_rule(&doc.rules[0], doc).iter().map(|e| e.code).collect::<Vec<_>>();
        assert_eq!(codes(&doc), ["repeated_attribute"]);
        doc.rules[0].apply.remove(0);
        assert_eq!(codes(&doc), Vec::<&str>::new());
        let long = (0..20).map(|n| format!("Cisco-AVPair={n}{}", "x".repeat(200))).collect();
        doc.labels.push(label(4, LabelKind::RadiusVendorAttrs { radius_vendor_attrs: long }));
        doc.rules[0].apply.push(doc.labels[3].id);
        assert_eq!(codes(&doc), ["too_large"]);
    }
}
