use std::net::IpAddr;

use proptest::prelude::*;
use serde_json::{Map, Value, json};
use time::macros::datetime;
use uuid::Uuid;

use super::accounting::Told;
use super::*;
use crate::compliance::{Compliance, Literal, Verdict};
use crate::decision::{
    Answer, Decision, MatchOutcomeName, MatchRecord, Outcome, RadiusAttr, Reason, Redirect, Trace,
};
use crate::request::{AccessRequest, AuthType, PortType};
use crate::resolver::{LookupKey, LookupPlan};
use crate::session::AccountingStatus;
use crate::{DecisionId, EdgeId, SiteId};

const VICTIM: &str = "5b0c6c4e-6c2b-4e5e-9a57-2f1f0e6c1a42";
const INTUNE: &str = "ID:Microsoft Endpoint Manager:GUID:";

fn attributes(body: Value) -> Attributes {
    let Value::Object(body) = body else { panic!("an object") };
    Attributes::read(&body).unwrap()
}

fn ask(body: Value) -> AccessRequest {
    request::read(&attributes(body), EdgeId(Uuid::nil()), SiteId(Uuid::nil())).unwrap().request
}

/// As FreeRADIUS 3.2.1 wrote it.
fn eap_tls() -> Value {
    json!({
        "User-Name": {"type": "string", "value": ["host/LAPTOP-0001"]},
        "NAS-IP-Address": {"type": "ipaddr", "value": ["192.0.2.7"]},
        "NAS-Port": {"type": "integer", "value": [5]},
        "NAS-Port-Type": {"type": "integer", "value": ["Wireless-802.11"]},
        "Called-Station-Id": {"type": "string", "value": ["AA-BB-CC-DD-EE-FF:Caf\u{c3}\u{a9}: 1"]},
        "Calling-Station-Id": {"type": "string", "value": ["D4-6E-0E-02-28-96"]},
        "Event-Timestamp": {"type": "date", "value": ["Nov 20 2026 17:59:48 UTC"]},
        "EAP-Type": {"type": "integer", "value": ["TLS"]},
        "Class": {"type": "octets", "value": ["0x6e61"]},
        "TLS-Client-Cert-Serial": {"type": "string", "value": ["4d0000002f"]},
        "TLS-Client-Cert-Expiration": {"type": "string", "value": ["271120120000Z"]},
        "TLS-Client-Cert-Subject": {"type": "string", "value": ["/O=Contoso/CN=host\\/LAPTOP-0001"]},
        "TLS-Client-Cert-Issuer": {"type": "string", "value": ["/CN=Contoso Issuing CA"]},
        "TLS-Client-Cert-Common-Name": {"type": "string", "value": ["host/LAPTOP-0001"]},
        "TLS-Client-Cert-Subject-Alt-Name-Dns": {"type": "string", "value": ["laptop-0001.contoso.example"]},
        "TLS-Client-Cert-X509v3-Extended-Key-Usage-OID": {"type": "string", "value": ["1.3.6.1.5.5.7.3.2"]},
        "TLS-Client-Cert-X509v3-Subject-Alternative-Name": {"type": "string", "value": [
            format!("DNS:laptop-0001.contoso.example, URI:{INTUNE}{VICTIM}, URI:tag:microsoft.com,2022-09-14:sid:S-1-5-21-1")
        ]},
    })
}

#[test]
fn a_packet_becomes_the_request_that_it_means() {
    let request = ask(eap_tls());
    assert_eq!(request.mac.unwrap().to_string(), "d4:6e:0e:02:28:96");
    assert_eq!(request.auth_type, Some(AuthType::EapTls));
    assert_eq!(request.ssid.as_deref(), Some("Café: 1"));
    assert_eq!(request.user_name.as_deref(), Some("host/LAPTOP-0001"));
    assert_eq!(request.nas.ip, Some(IpAddr::from([192, 0, 2, 7])));
    assert_eq!(
        (request.nas.port_type, request.nas.port_id.as_deref()),
        (Some(PortType::Wireless), Some("5"))
    );
    let cert = request.cert.clone().unwrap();
    assert_eq!(cert.not_after, Some(datetime!(2027-11-20 12:00 UTC)));
    assert_eq!(cert.san_uri.len(), 2);
    assert_eq!(cert.ekus, ["1.3.6.1.5.5.7.3.2"]);
    let keys = LookupPlan::of(&request).keys();
    assert_eq!(keys[0], LookupKey::IntuneId(VICTIM.parse().unwrap()));
    assert!(keys.contains(&LookupKey::Name("laptop-0001".into())));
}

#[test]
fn the_way_of_authenticating_is_the_packets() {
    let of = |body| ask(body).auth_type;
    let mac = "d46e0e022896";
    assert_eq!(of(json!({"User-Name": mac, "Service-Type": {"value": ["Call-Check"]}})), Some(AuthType::Mab));
    assert_eq!(of(json!({"User-Name": mac, "Calling-Station-Id": "D4:6E:0E:02:28:96"})), Some(AuthType::Mab));
    assert_eq!(
        of(json!({"User-Name": mac, "Calling-Station-Id": "d4:6e:0e:02:28:97"})),
        None,
        "another's MAC"
    );
    assert_eq!(
        of(json!({"User-Name": mac, "Calling-Station-Id": mac, "EAP-Message": "0x0201"})),
        None,
        "a supplicant that calls itself by a MAC is no MAC authentication"
    );
    assert_eq!(of(json!({"EAP-Type": [21]})), Some(AuthType::EapTtls));
    assert_eq!(of(json!({"Service-Type": 6})), Some(AuthType::Admin));
    assert_eq!(of(json!({"Gatehouse-Auth-Type": "mab", "EAP-Type": "TLS"})), Some(AuthType::Mab));
    assert_eq!(of(json!({"Gatehouse-Auth-Type": "nonsense", "EAP-Type": "TLS"})), None);
    assert_eq!(of(json!({})), None);
    let mab = ask(json!({"Service-Type": "Call-Check", "TLS-Client-Cert-Common-Name": "radsec-peer"}));
    assert_eq!(mab.cert, None);
}

#[test]
fn a_name_that_nobody_vouches_for_is_no_user_name() {
    let name = |body| ask(body).user_name;
    assert_eq!(name(json!({"EAP-Type": "TTLS", "User-Name": "ceo@contoso.example"})), None);
    assert_eq!(
        name(json!({"EAP-Type": "TTLS", "User-Name": "anonymous", "Gatehouse-User-Name": "alex"})).unwrap(),
        "alex"
    );
    let tls = |claimed: &str| {
        name(json!({
            "EAP-Type": "TLS", "User-Name": claimed, "TLS-Client-Cert-Common-Name": "LAPTOP-0001",
            "TLS-Client-Cert-Subject-Alt-Name-Upn": ["alex@contoso.example"],
        }))
    };
    assert_eq!(tls("host/laptop-0001").unwrap(), "host/laptop-0001");
    assert_eq!(tls("Alex@contoso.example").unwrap(), "Alex@contoso.example");
    assert_eq!(tls("ceo@contoso.example").unwrap(), "alex@contoso.example");
    assert_eq!(
        name(json!({"User-Name": "d46e0e022896", "Service-Type": "Call-Check"})).unwrap(),
        "d46e0e022896"
    );
}

#[test]
fn half_of_a_certificate_is_none() {
    let mut body = eap_tls();
    body["TLS-Client-Cert-Subject-Alt-Name-Upn"] = json!({"value": ["a\u{0}b"]});
    let read = |body| request::read(&attributes(body), EdgeId(Uuid::nil()), SiteId(Uuid::nil()));
    assert!(matches!(read(body), Err(Unreadable::Attribute(name)) if name.ends_with("Upn")));
    let mut body = eap_tls();
    body["Reply-Message"] = json!({"value": ["a\u{0}b", {"x": [1]}]});
    assert!(read(body).is_ok(), "other attributes are left out");
}

#[test]
fn a_joined_text_of_names_cannot_be_forged() {
    let ids = |joined: &str, dns: &[&str], upn: &[&str]| -> Vec<LookupKey> {
        let body = json!({
            "EAP-Type": "TLS",
            "TLS-Client-Cert-X509v3-Subject-Alternative-Name": joined,
            "TLS-Client-Cert-Subject-Alt-Name-Dns": dns,
            "TLS-Client-Cert-Subject-Alt-Name-Upn": upn,
        });
        LookupPlan::of(&ask(body)).keys()
    };
    let victim = [LookupKey::IntuneId(VICTIM.parse().unwrap())];
    let uri = format!("URI:{INTUNE}{VICTIM}");
    assert_eq!(ids(&uri, &[], &[]), victim);
    assert_eq!(ids(&format!("{uri}, othername: UPN::alex@c.example"), &[], &["alex@c.example"]), victim);
    assert_eq!(
        ids(&format!("DNS:a.example, DNS:b.example, {uri}"), &["a.example", "b.example"], &[]),
        victim
    );
    // A URI, a DNS name and a principal name that hold what a joined list would.
    assert_eq!(ids(&format!("URI:http://x/, {uri}"), &[], &[]), []);
    assert_eq!(ids(&format!("DNS:a, {uri}"), &[&format!("a, {uri}")], &[]), []);
    assert_eq!(ids(&format!("DNS:a, {uri}"), &[], &[]), []);
    assert_eq!(ids(&format!("othername: UPN::a, {uri}"), &[], &[&format!("a, {uri}")]), []);
    assert_eq!(ids(&format!("email:a, {uri}"), &[], &[]), []);
    assert_eq!(ids(&format!("DirName:/CN=a, {uri}"), &[], &[]), []);
}

#[test]
fn the_session_of_an_answer_is_the_session_of_its_accounting() {
    let asked = |body| {
        request::read(&attributes(body), EdgeId(Uuid::nil()), SiteId(Uuid::nil())).unwrap().session_key
    };
    let told = |body| match accounting::read(&attributes(body)) {
        Told::Session(message) => message.session_key,
        other => panic!("{other:?}"),
    };
    let packet = json!({"NAS-IP-Address": "192.0.2.7", "Calling-Station-Id": "d4:6e:0e:02:28:96"});
    let key = asked(packet).unwrap();
    assert_eq!(key, "192.0.2.7/mac:d46e0e022896");
    let class = class_of(&key);
    for class in [json!({"value": ["0x00", &class]}), json!(format!("gh1:{key}"))] {
        let accounting = json!({"Acct-Status-Type": "Start", "Class": class, "Acct-Session-Id": "0001"});
        assert_eq!(told(accounting), key);
    }
    let both = json!({"Acct-Status-Type": "Stop", "Acct-Session-Id": "0001", "NAS-IP-Address": "192.0.2.7"});
    assert_eq!(told(both.clone()), asked(both).unwrap());
    let long = json!({"NAS-Identifier": "n".repeat(253), "Acct-Session-Id": "s".repeat(253)});
    let key = asked(long).unwrap();
    assert!(class_of(&key).len() <= 2 * 253);
    assert_eq!(asked(json!({"NAS-IP-Address": "192.0.2.7"})), None);
    assert_eq!(accounting::read(&attributes(json!({"Acct-Status-Type": "Start"}))), Told::Nothing);
}

#[test]
fn a_nas_that_restarts_is_named_as_in_its_requests() {
    let on = json!({
        "Acct-Status-Type": ["Accounting-On"], "NAS-IP-Address": "192.0.2.7", "NAS-Identifier": "sw-1",
        "Event-Timestamp": "Nov 20 2026 17:59:48 UTC", "Acct-Delay-Time": 7,
    });
    let named = ask(on.clone()).nas;
    let Told::NasRestarted(restart) = accounting::read(&attributes(on)) else { panic!("it restarted") };
    assert_eq!(restart.nas, named);
    assert_eq!(restart.at, Some(datetime!(2026-11-20 17:59:48 UTC)));
    assert_eq!(restart.delay, time::Duration::seconds(7));
    let off = accounting::read(&attributes(json!({"Acct-Status-Type": 8})));
    assert!(matches!(off, Told::NasRestarted(restart) if restart.at.is_none()));
}

#[test]
fn accounting_is_read_whole() {
    let Told::Session(message) = accounting::read(&attributes(json!({
        "Acct-Status-Type": {"type": "integer", "value": ["Interim-Update"]},
        "Acct-Session-Id": {"type": "string", "value": ["8f3a"]},
        "Acct-Input-Octets": {"type": "integer", "value": [7]},
        "Acct-Input-Gigawords": {"type": "integer", "value": [2]},
        "Acct-Output-Octets": {"type": "integer", "value": [4_294_967_295_u32]},
        "Acct-Session-Time": {"type": "integer", "value": [60]},
        "Framed-IP-Address": {"type": "ipaddr", "value": ["10.1.30.42"]},
        "Event-Timestamp": {"type": "date", "value": ["Nov  5 2026 17:59:48 UTC"]},
    }))) else {
        panic!("a session")
    };
    assert_eq!(message.status, AccountingStatus::Interim);
    assert_eq!((message.bytes_in, message.bytes_out), (Some((2 << 32) + 7), Some(4_294_967_295)));
    assert_eq!(message.at, Some(datetime!(2026-11-05 17:59:48 UTC)));
    assert_eq!(message.framed_ip, Some(IpAddr::from([10, 1, 30, 42])));
    let at = |body: Value| match accounting::read(&attributes(body)) {
        Told::Session(message) => message.at,
        other => panic!("{other:?}"),
    };
    let of = |time: &str| {
        at(
            json!({"Acct-Status-Type": 1, "Acct-Session-Id": "x", "NAS-Identifier": "y", "Event-Timestamp": time}),
        )
    };
    assert_eq!(of("Nov 20 2026 18:59:48 CET"), None, "an abbreviation is no zone");
    assert_eq!(of("1795197588"), Some(datetime!(2026-11-20 17:59:48 UTC)));
    let exact = json!({"Acct-Status-Type": 1, "Acct-Session-Id": "x", "Gatehouse-Event-Time": [1_795_197_588_u64],
        "Event-Timestamp": "Nov 20 2026 18:59:48 CET"});
    assert_eq!(at(exact), Some(datetime!(2026-11-20 17:59:48 UTC)));
}

fn answered(outcome: Outcome) -> Answer {
    Answer {
        id: DecisionId::from(Uuid::from_u128(7)),
        at: datetime!(2026-11-20 12:00 UTC),
        decision: Decision {
            outcome,
            reason: Reason::RuleAllow,
            rule: None,
            policy_version: None,
            trace: Trace::default(),
            dry_run: Vec::new(),
        },
        compliance: Compliance {
            verdict: Verdict::Unknown,
            literals: vec![Literal::Unknown],
            state: None,
            last_check_in: None,
            fetched_at: None,
        },
        found: MatchRecord {
            outcome: MatchOutcomeName::NotEnrolled,
            key: None,
            strength: None,
            mac_mismatch: false,
            link: None,
            device: None,
            device_name: None,
            posture: None,
        },
    }
}

#[test]
fn an_answer_says_its_verdict_and_expands_nothing() {
    let attr = |name: &str, value: &str| RadiusAttr { name: name.into(), value: value.into() };
    let outcome = Outcome {
        permit: true,
        vlan: Some("%{config:client[loopback].secret}".into()),
        redirect_url: Some(Redirect::Url("https://g.example/r".into())),
        attrs: vec![attr("Tunnel-Preference:1", "3"), attr("Cisco-AVPair", "shell:priv-lvl=1")],
        ..Outcome::default()
    };
    let wire = answer::write(&answered(outcome), Some("cisco-ios"), Some("n/1"), true);
    assert_eq!(wire[answer::VERDICT]["value"], "accept");
    assert_eq!(wire["reply:Tunnel-Type:0"]["value"], "VLAN");
    assert_eq!(wire["reply:Tunnel-Preference:1"]["value"], "3");
    assert_eq!(wire["reply:Class"]["value"], class_of("n/1"));
    let pairs = &wire["reply:Cisco-AVPair"];
    assert_eq!((pairs["op"].as_str(), pairs["value"].as_array().unwrap().len()), (Some("+="), 3));
    assert!(wire.as_object().unwrap().values().all(|attribute| attribute["do_xlat"] == false));
    let denied = answer::write(&answered(Outcome::DENY), None, Some("n/1"), false);
    assert_eq!(denied[answer::VERDICT]["value"], "reject");
    assert!(denied.as_object().unwrap().keys().all(|name| name.starts_with("control:")));
}

#[test]
fn the_nas_learns_the_name_that_was_verified() {
    let named = |outcome: Outcome, claimed| {
        let mut wire = answer::write(&answered(outcome), None, None, true);
        answer::name_client(&mut wire, Some("LAPTOP-1"), Some(claimed));
        wire["reply:User-Name"]["value"].as_str().map(str::to_owned)
    };
    let permit = || Outcome { permit: true, ..Outcome::default() };
    assert_eq!(named(permit(), "anonymous").as_deref(), Some("LAPTOP-1"));
    assert_eq!(named(permit(), "LAPTOP-1"), None);
    assert_eq!(named(Outcome::DENY, "anonymous"), None);
    let label = Outcome { user_name: Some("label".into()), ..permit() };
    assert_eq!(named(label, "anonymous").as_deref(), Some("label"));
}

/// Any JSON, with names that mean something.
fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,40}".prop_map(Value::from),
        "[0-9a-fA-F:.x-]{0,20}".prop_map(Value::from),
        "[\u{0}-\u{ff}]{0,20}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            inner.clone().prop_map(|value| json!({"type": "string", "value": [value]})),
            prop::collection::hash_map("(value|type|[a-z]{1,4})", inner, 0..3)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn packet() -> impl Strategy<Value = Map<String, Value>> {
    let name = prop::sample::select(vec![
        "User-Name",
        "Calling-Station-Id",
        "Called-Station-Id",
        "Acct-Status-Type",
        "Acct-Session-Id",
        "Class",
        "Event-Timestamp",
        "EAP-Type",
        "NAS-IP-Address",
        "Cisco-AVPair",
        "Acct-Input-Octets:1",
        "TLS-Client-Cert-Expiration",
        "TLS-Client-Cert-Common-Name",
        "TLS-Client-Cert-Subject",
        "TLS-Client-Cert-X509v3-Subject-Alternative-Name",
        "TLS-Client-Cert-Subject-Alt-Name-Dns",
    ]);
    prop::collection::vec((name, json_value()), 0..12)
        .prop_map(|fields| fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

proptest! {
    #[test]
    fn nothing_that_is_sent_panics(body in packet()) {
        if let Ok(attributes) = Attributes::read(&body) {
            let told = accounting::read(&attributes);
            if let Told::Session(message) = told {
                prop_assert!(message.session_key.len() <= SESSION_KEY_BYTES_MAX);
            }
            if let Ok(asked) = request::read(&attributes, EdgeId(Uuid::nil()), SiteId(Uuid::nil())) {
                let _ = LookupPlan::of(&asked.request).keys();
            }
        }
    }

    /// Whatever a certificate's holder writes into names that are told one by one, the joined text makes no device of
    /// it that they do not name by themselves.
    #[test]
    fn no_name_smuggles_in_a_device(lead in "[a-z0-9.@/:, -]{0,12}", kind in 0_usize..4, tail in "[a-z, :]{0,6}") {
        let kinds = ["DNS:", "email:", "othername: UPN::", "URI:http://"];
        let value = format!("{lead}, URI:{INTUNE}{VICTIM}{tail}");
        let joined = format!("{}{value}", kinds[kind]);
        let names = |n: usize| if kind == n { vec![value.trim().to_owned()] } else { Vec::new() };
        let uris = crate::resolver::uris_of_joined_names(&joined, &names(0), &names(1), &names(2));
        prop_assert!(uris.is_empty(), "{uris:?}");
        let alone = crate::resolver::uris_of_joined_names(&joined, &[], &[], &[]);
        prop_assert!(alone.is_empty(), "{alone:?}");
    }

    #[test]
    fn text_of_any_language_survives(text in "[a-zäöüßéłŁα-ω日本語🙂]{1,20}") {
        let as_sent: String = text.bytes().map(char::from).collect();
        let request = ask(json!({"User-Name": {"value": [as_sent]}, "Service-Type": "Call-Check"}));
        prop_assert_eq!(request.user_name.as_deref(), Some(text.as_str()));
        let request = ask(json!({"User-Name": &text, "Service-Type": "Call-Check"}));
        prop_assert_eq!(request.user_name, Some(text));
    }
}
