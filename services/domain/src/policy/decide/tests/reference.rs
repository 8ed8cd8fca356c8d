use super::*;
use crate::LabelId;
use crate::policy::model::MatchLabelKey as Key;

pub fn deciding(doc: &PolicyDoc, input: &Input<'_>) -> Option<RuleId> {
    let enforced = doc.rules.iter().filter(|rule| rule.enabled && !rule.dry_run);
    enforced.into_iter().find(|rule| holds(rule, doc, input)).map(|rule| rule.id)
}

fn holds(rule: &Rule, doc: &PolicyDoc, input: &Input<'_>) -> bool {
    let matching = conditions(&rule.matching, doc, input);
    let not_matching = conditions(&rule.not_matching, doc, input);
    matching.iter().all(|held| *held) && !not_matching.iter().any(|held| *held)
}

fn auth(wanted: &str, r: &AccessRequest) -> bool {
    let Some(method) = r.auth_type else { return false };
    match wanted {
        "cert" => r.cert.is_some() || method == AuthType::EapTls,
        "idp" => r.cert.is_none() && (method == AuthType::EapTtls || method == AuthType::EapPeap),
        exactly => method.as_str() == exactly,
    }
}

fn conditions(side: &Conditions, doc: &PolicyDoc, input: &Input<'_>) -> Vec<bool> {
    let mut out = Vec::new();
    let r = input.request;
    if !side.auth_types.is_empty() {
        out.push(side.auth_types.iter().any(|wanted| auth(wanted.as_str(), r)));
    }
    if !side.port_types.is_empty() {
        out.push(side.port_types.iter().any(|p| Some(*p) == r.nas.port_type));
    }
    if !side.site_ids.is_empty() {
        out.push(side.site_ids.contains(&r.site));
    }
    if !side.vendors.is_empty() {
        let vendor = r.nas.vendor.clone().unwrap_or_default().to_lowercase();
        out.push(side.vendors.iter().any(|v| v.to_lowercase() == vendor));
    }
    out.extend(side.labels.iter().map(|id| label_holds(*id, doc, input)));
    out
}

fn label_holds(id: LabelId, doc: &PolicyDoc, input: &Input<'_>) -> bool {
    let LabelKind::Match { key, values, match_all } = &doc.label(id).unwrap().kind else { panic!() };
    let one = |value: &String| match value.strip_prefix('!') {
        Some(rest) => !value_holds(*key, rest, input),
        None => value_holds(*key, value, input),
    };
    if *match_all { values.iter().all(one) } else { values.iter().any(one) }
}

fn value_holds(key: Key, value: &str, input: &Input<'_>) -> bool {
    let (r, device) = (input.request, input.found.device());
    let cert = r.cert.clone().unwrap_or_default();
    let lower = |text: &Option<String>| text.iter().map(|t| t.to_lowercase()).collect::<Vec<_>>();
    let exact = |text: &Option<String>| text.iter().cloned().collect::<Vec<_>>();
    let posture = |text: Option<&Option<String>>| text.cloned().flatten();
    let any = |texts: Vec<String>, value: &str| texts.iter().any(|text| glob(value, text));
    let small = value.to_lowercase();
    match key {
        Key::MdmStatus => input.compliance.literals.iter().any(|l| l.as_str() == value),
        Key::AuthType => auth(value, r),
        Key::MatchStrength => input.found.strength().is_some_and(|s| s.as_str() == value),
        Key::Ssid => any(exact(&r.ssid), value),
        Key::UserName => any(exact(&r.user_name), value),
        Key::Realm => any(lower(&r.realm()), &small),
        Key::ClientMac => {
            let plain: String = small.chars().filter(|c| !":-.".contains(*c)).collect();
            r.mac.is_some_and(|mac| glob(&plain, &mac.digits()))
        }
        Key::UsermacLabel => any(r.usermac_labels.clone(), value),
        Key::Hostname => any(lower(&r.hostname), &small),
        Key::CertCn => any(exact(&cert.cn), value),
        Key::CertIssuer => any(exact(&cert.issuer), value),
        Key::CertSan => {
            let all = [&cert.san_uri, &cert.san_dns, &cert.san_upn, &cert.san_email];
            all.iter().any(|names| any((*names).clone(), value))
        }
        Key::CertSerial => {
            let bare = |text: &str| text.to_lowercase().replace([':', '-', ' '], "");
            let value = bare(value);
            let value = if value.starts_with('*') { value } else { value.trim_start_matches('0').to_owned() };
            cert.serial.is_some_and(|serial| glob(&value, bare(&serial).trim_start_matches('0')))
        }
        Key::CertSub => any(exact(&cert.subject), value),
        Key::CertEku => any(cert.ekus, value),
        Key::CertTemplate => any(exact(&cert.template), value),
        Key::NasIp => r.nas.ip.is_some_and(|ip| in_network(value, ip.to_canonical())),
        Key::IngressVlan => any(exact(&r.ingress_vlan), value),
        Key::RadiusGroup => any(exact(&r.radius_group), value),
        Key::GbpTag => r.gbp_tag.is_some_and(|tag| compare(value, |wanted| i64::from(tag) - number(wanted))),
        Key::IdpRole => any(r.idp_roles.clone(), value),
        Key::Os => any(lower(&posture(device.map(|d| &d.os))), &small),
        Key::OsVersion => {
            let Some(version) = posture(device.map(|d| &d.os_version)) else { return false };
            if value.contains('*') {
                return glob(&small, &version.to_lowercase());
            }
            version.starts_with(|c: char| c.is_ascii_digit())
                && compare(value, |wanted| versions(&version, wanted))
        }
        Key::Owner => lower(&posture(device.map(|d| &d.owner))).iter().any(|owner| owner == value),
        Key::Encrypted => device.and_then(|d| d.encrypted).is_some_and(|flag| flag.to_string() == value),
        Key::Jailbroken => device.and_then(|d| d.jailbroken).is_some_and(|flag| flag.to_string() == value),
        Key::ThreatState => any(lower(&posture(device.map(|d| &d.threat_state))), &small),
        Key::DeviceCategory => any(exact(&posture(device.map(|d| &d.category))), value),
        Key::Manufacturer => any(exact(&posture(device.map(|d| &d.manufacturer))), value),
        Key::Model => any(exact(&posture(device.map(|d| &d.model))), value),
        Key::LastCheckInDays => device
            .and_then(|d| d.last_check_in)
            .is_some_and(|at| compare(value, |wanted| (input.now - at).whole_hours() / 24 - number(wanted))),
        Key::RandomMac => r.mac.is_some_and(|mac| {
            let second = mac.digits().chars().nth(1).unwrap();
            "2367abef".contains(second).to_string() == value
        }),
    }
}

fn number(text: &str) -> i64 {
    text.parse().unwrap()
}

/// `against` gives how the client's value stands to the wanted one: below zero, zero, or above.
fn compare(value: &str, against: impl Fn(&str) -> i64) -> bool {
    let wanted = value.trim_start_matches(['<', '>', '=']);
    let difference = against(wanted);
    match &value[..value.len() - wanted.len()] {
        "" | "=" => difference == 0,
        ">=" => difference >= 0,
        "<=" => difference <= 0,
        ">" => difference > 0,
        "<" => difference < 0,
        other => panic!("{other}"),
    }
}

fn versions(seen: &str, wanted: &str) -> i64 {
    let read = |text: &str| {
        let mut numbers: Vec<i64> = text.split('.').map(number).collect();
        numbers.resize(8, 0);
        numbers
    };
    let (seen, wanted) = (read(seen), read(wanted));
    seen.iter().zip(&wanted).map(|(a, b)| a - b).find(|d| *d != 0).unwrap_or(0)
}

fn in_network(text: &str, ip: std::net::IpAddr) -> bool {
    use std::net::IpAddr;
    let (base, length) = text.split_once('/').map_or((text, None), |(base, n)| (base, Some(n)));
    let bits = |ip: IpAddr| match ip {
        IpAddr::V4(v4) => format!("{:032b}", u32::from(v4)),
        IpAddr::V6(v6) => format!("{:0128b}", u128::from(v6)),
    };
    let (base, ip) = (bits(base.parse().unwrap()), bits(ip));
    let length: usize = length.map_or(base.len(), |n| n.parse().unwrap());
    base.len() == ip.len() && base[..length] == ip[..length]
}

fn glob(pattern: &str, text: &str) -> bool {
    match pattern.split('*').collect::<Vec<_>>().as_slice() {
        [exact] => text == *exact,
        [start, ""] => text.starts_with(start),
        ["", end] => text.ends_with(end),
        ["", middle, ""] => text.contains(middle),
        _ => panic!("{pattern}"),
    }
}
