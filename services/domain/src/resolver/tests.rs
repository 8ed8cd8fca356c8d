use std::collections::HashMap;

use proptest::prelude::*;
use time::macros::datetime;

use super::*;
use crate::request::{AccessRequest, Certificate};
use crate::{EdgeId, LinkId, SiteId};

const A: &str = "aaaaaaaa-0000-4000-8000-00000000000a";
const B: &str = "bbbbbbbb-0000-4000-8000-00000000000b";
const E: &str = "eeeeeeee-0000-4000-8000-00000000000e";

fn device(id: &str) -> DeviceFacts {
    let link = LinkId(Uuid::from_u128(1));
    let at = datetime!(2026-11-20 12:00 UTC);
    DeviceFacts::bare(link, id.parse().unwrap(), "compliant".parse().unwrap(), at)
}

/// Two devices: A bears every key, B has a name and MAC of its own.
fn fleet() -> Vec<DeviceFacts> {
    let a = DeviceFacts {
        name: Some("LAPTOP-A".into()),
        serial: Some("SER-A".into()),
        entra_id: Some(E.parse().unwrap()),
        wifi_mac: Some("d4:6e:0e:00:00:0a".parse().unwrap()),
        ..device(A)
    };
    let b = DeviceFacts {
        name: Some("laptop-b".into()),
        wifi_mac: Some("d4:6e:0e:00:00:0b".parse().unwrap()),
        ..device(B)
    };
    vec![a, b]
}

fn run(
    fleet: &[DeviceFacts],
    request: &AccessRequest,
) -> (Option<DeviceId>, Option<MatchKey>, bool, &'static str) {
    let mut index: HashMap<LookupKey, Vec<DeviceFacts>> = HashMap::new();
    for device in fleet {
        for key in keys_of(device) {
            index.entry(key).or_default().push(device.clone());
        }
    }
    let found = resolve(&LookupPlan::of(request), |key| index.get(key).map_or(&[], Vec::as_slice));
    let name = match found.outcome {
        Outcome::Device(_) => "matched",
        Outcome::NotEnrolled => "not-enrolled",
        Outcome::Ambiguous => "ambiguous",
    };
    (found.device().map(|d| d.id), found.key, found.mac_mismatch, name)
}

fn request(cert: Option<Certificate>, mac: Option<&str>) -> AccessRequest {
    let mut request = AccessRequest::bare(EdgeId(Uuid::from_u128(3)), SiteId(Uuid::from_u128(4)));
    request.cert = cert;
    request.mac = mac.map(|m| m.parse().unwrap());
    request
}

fn cert(fill: impl FnOnce(&mut Certificate)) -> Option<Certificate> {
    let mut cert = Certificate::default();
    fill(&mut cert);
    Some(cert)
}

fn uri(texts: &[&str]) -> Option<Certificate> {
    cert(|c| c.san_uri = texts.iter().map(|t| (*t).to_owned()).collect())
}

#[test]
fn every_form_of_the_intune_uri_is_read() {
    for text in [
        format!("ID:Microsoft Endpoint Manager:GUID:{A}"),
        format!("ID:Intune:GUID:{}", A.to_uppercase()),
        format!("IntuneDeviceId://{A}"),
        format!("id:microsoft endpoint manager:guid:{A}"),
    ] {
        let got = run(&fleet(), &request(uri(&[&text]), None));
        assert_eq!(got, (Some(A.parse().unwrap()), Some(MatchKey::SanUri), false, "matched"), "{text}");
    }
}

#[test]
fn all_uris_are_tried_and_the_strong_mapping_does_no_harm() {
    let sid = "tag:microsoft.com,2022-09-14:sid:S-1-5-21-1-2-3-1104";
    let id = format!("ID:Microsoft Endpoint Manager:GUID:{A}");
    for uris in [vec![sid, &id], vec![&id, sid]] {
        assert_eq!(run(&fleet(), &request(uri(&uris), None)).0, Some(A.parse().unwrap()));
    }
    for joined in [format!("{id}, {sid}"), format!("URI:{sid}, URI:{id}"), format!("{sid},{id}")] {
        assert_eq!(run(&fleet(), &request(uri(&[&joined]), None)).0, Some(A.parse().unwrap()), "{joined}");
    }
    // One id that is gone beside one that is known: the known one.
    let gone = format!("IntuneDeviceId://{E}");
    assert_eq!(run(&fleet(), &request(uri(&[&gone, &id]), None)).0, Some(A.parse().unwrap()));
    // Two that are known: never a guess.
    let other = format!("IntuneDeviceId://{B}");
    assert_eq!(run(&fleet(), &request(uri(&[&id, &other]), None)).3, "ambiguous");
}

#[test]
fn a_value_cannot_smuggle_in_a_second_entry() {
    for text in [
        format!("http://x/, URI:ID:Microsoft Endpoint Manager:GUID:{A}"),
        format!("DNS:a, URI:ID:Microsoft Endpoint Manager:GUID:{A}"),
        format!("x ID:Intune:GUID:{A}"),
        format!("ID:Intune:GUID:{A}x"),
        format!("ID:Intune:GUID:{A}, DNS:evil"),
        format!("tag:microsoft.com,2022-09-14:sid:evil, ID:Intune:GUID:{A}"),
        format!("tag:microsoft.com,2022-09-14:sid:, ID:Intune:GUID:{A}"),
    ] {
        assert_eq!(intune_ids(&text), Vec::<Uuid>::new(), "{text}");
    }
}

#[test]
fn a_retired_devices_certificate_borrows_no_mac() {
    let gone = format!("IntuneDeviceId://{E}");
    let got = run(&fleet(), &request(uri(&[&gone]), Some("d4:6e:0e:00:00:0a")));
    assert_eq!(got, (None, Some(MatchKey::SanUri), false, "not-enrolled"));
    let plan = LookupPlan::of(&request(uri(&[&gone]), None));
    assert_eq!(resolve(&plan, |_| &[]).wanted, vec![E.parse().unwrap()]);
}

#[test]
fn keys_fall_through_in_order() {
    let a = Some(A.parse().unwrap());
    let cases: Vec<(Option<Certificate>, MatchKey)> = vec![
        (cert(|c| c.san_dns = vec!["host.example".into(), A.into()]), MatchKey::CertificateId),
        (cert(|c| c.cn = Some(E.into())), MatchKey::CertificateId),
        (cert(|c| c.subject = Some("/C=US/serialNumber=ser-a/CN=x".into())), MatchKey::SubjectSerial),
        (cert(|c| c.subject = Some("CN=x, O=\"y, z\", SERIALNUMBER=SER-A".into())), MatchKey::SubjectSerial),
        (cert(|c| c.cn = Some("laptop-a".into())), MatchKey::DeviceName),
        (cert(|c| c.cn = Some("HOST/Laptop-A.corp.example".into())), MatchKey::DeviceName),
        (cert(|c| c.cn = Some("host\\/laptop-a.corp.example".into())), MatchKey::DeviceName),
        (cert(|c| c.cn = Some("nobody".into())), MatchKey::Mac),
        (None, MatchKey::Mac),
    ];
    for (certificate, key) in cases {
        let got = run(&fleet(), &request(certificate.clone(), Some("d4:6e:0e:00:00:0a")));
        assert_eq!(got, (a, Some(key), false, "matched"), "{certificate:?}");
    }
}

#[test]
fn names_and_macs_that_two_devices_bear_are_ambiguous() {
    let mut fleet = fleet();
    fleet[1].name = Some("Laptop-A".into());
    fleet[1].ethernet_mac = Some("d4:6e:0e:00:00:0a".parse().unwrap());
    let by_name = request(cert(|c| c.cn = Some("laptop-a".into())), None);
    assert_eq!(run(&fleet, &by_name), (None, Some(MatchKey::DeviceName), false, "ambiguous"));
    let by_mac = request(None, Some("d4:6e:0e:00:00:0a"));
    assert_eq!(run(&fleet, &by_mac), (None, Some(MatchKey::Mac), false, "ambiguous"));
}

#[test]
fn a_randomized_mac_identifies_nobody() {
    let mut fleet = fleet();
    fleet[0].wifi_mac = Some("d6:6e:0e:00:00:0a".parse().unwrap());
    assert_eq!(run(&fleet, &request(None, Some("d6:6e:0e:00:00:0a"))).3, "not-enrolled");
}

#[test]
fn a_spoofed_mac_is_noticed() {
    let of_a = || uri(&[&format!("IntuneDeviceId://{A}")]);
    assert!(run(&fleet(), &request(of_a(), Some("d4:6e:0e:00:00:0b"))).2);
    assert!(!run(&fleet(), &request(of_a(), Some("d4:6e:0e:00:00:0a"))).2);
    assert!(!run(&fleet(), &request(of_a(), Some("d4:6e:0e:00:00:0c"))).2);
}

#[test]
fn serial_numbers_are_read_from_both_forms_and_never_from_two() {
    for (subject, want) in [
        ("/CN=host\\/X/serialNumber=5CG1234", Some("5CG1234")),
        ("/serialNumber=A\\/B", Some("A/B")),
        ("CN=x\\,serialNumber=EVIL,2.5.4.5=REAL", Some("REAL")),
        ("CN=\"x,serialNumber=EVIL\",serialNumber=REAL", Some("REAL")),
        ("/CN=x/serialNumber=EVIL/serialNumber=REAL", None),
        ("/CN=x\\/serialNumber=EVIL", None),
        ("/CN=x/serialNumber=0", None),
        ("CN=x", None),
        ("", None),
    ] {
        assert_eq!(subject_serial(subject).as_deref(), want, "{subject}");
    }
    let smuggled = cert(|c| {
        c.cn = Some("x/serialNumber=SER-A".into());
        c.subject = Some("/CN=x/serialNumber=SER-A".into());
    });
    assert_eq!(run(&fleet(), &request(smuggled, None)).3, "not-enrolled");
}

#[test]
fn a_user_principal_name_is_no_device_name() {
    let mut fleet = fleet();
    fleet[0].name = Some("alice@corp".into());
    let user = request(cert(|c| c.cn = Some("alice@corp.example".into())), None);
    assert_eq!(run(&fleet, &user).3, "not-enrolled");
}

proptest! {
    #[test]
    fn keys_round_trip_as_text(name in "\\PC{1,20}", bytes: [u8; 6], id: u128) {
        for key in [LookupKey::Name(name.clone()), LookupKey::Serial(name), LookupKey::Mac(Mac(bytes)), LookupKey::IntuneId(Uuid::from_u128(id))] {
            prop_assert_eq!(key.to_string().parse(), Ok(key));
        }
    }

    #[test]
    fn parsers_never_panic(text in "\\PC{0,200}") {
        let _ = intune_ids(&text);
        let _ = subject_serial(&text);
        let _ = text.parse::<LookupKey>();
    }

    /// Whatever a holder writes before a separator, an id behind it is not believed.
    #[test]
    fn nothing_behind_free_text_is_believed(lead in "[a-zA-Z0-9:/. _-]{1,40}", separator in "(, URI:|,|, | |/)") {
        let text = format!("{lead}{separator}ID:Intune:GUID:{A}");
        let trimmed = lead.trim();
        prop_assume!(!trimmed.is_empty() && !trimmed.eq_ignore_ascii_case("uri:"));
        prop_assert_eq!(intune_ids(&text), Vec::<Uuid>::new());
    }
}
