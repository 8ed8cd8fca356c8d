use domain::{DeviceId, LinkId, Mac};
use time::macros::datetime;
use uuid::Uuid;

use super::*;

/// Of RFC 8410 10.3.
const PRIVATE: &str = "-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC
-----END PRIVATE KEY-----";
const PUBLIC: &str = "-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=
-----END PUBLIC KEY-----";
/// Another's, made by `openssl genpkey -algorithm ed25519`.
const OTHER: &str = "-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g
-----END PRIVATE KEY-----";

fn id(n: u128) -> Uuid {
    Uuid::from_u128(n)
}

fn facts(macs: &[&str]) -> FactTexts {
    let link = LinkId(id(1));
    let devices: Vec<DeviceFacts> = macs
        .iter()
        .zip(10u128..)
        .map(|(mac, n)| DeviceFacts {
            wifi_mac: Some(mac.parse::<Mac>().unwrap()),
            ..DeviceFacts::bare(
                link,
                DeviceId(id(n)),
                "compliant".parse().unwrap(),
                datetime!(2026-11-20 11:00 UTC),
            )
        })
        .collect();
    let covered: Vec<LookupKey> = macs.iter().map(|mac| LookupKey::Mac(mac.parse().unwrap())).collect();
    fact_texts(None, &covered, &devices).unwrap()
}

fn manifest(version: i64, facts: &FactTexts) -> Manifest {
    Manifest {
        org: OrgId(id(2)),
        site: SiteId(id(3)),
        edge: EdgeId(id(4)),
        version,
        issued_at: datetime!(2026-11-20 12:00 UTC) + Duration::seconds(version),
        max_age_seconds: 600,
        fallback: Fallback::default(),
        settings: OrgSettings::default(),
        links: Vec::new(),
        digest: digest_of(facts.iter().map(|(name, text)| (name.as_str(), hash_of(text)))),
    }
}

fn trust() -> Trust {
    Trust { keys: vec![PublicKey::parse(PUBLIC).unwrap()], org: OrgId(id(2)), site: None }
}

fn signer() -> Signer {
    Signer::parse(PRIVATE).unwrap()
}

const A: &str = "d4:6e:0e:02:28:96";
const B: &str = "d4:6e:0e:02:28:97";

fn whole(version: i64, macs: &[&str]) -> SignedBundle {
    let facts = facts(macs);
    signer().sign(&manifest(version, &facts), None, facts, Vec::new()).unwrap()
}

#[test]
fn keys_are_read_as_openssl_writes_them() {
    assert_eq!(signer().public_key(), PublicKey::parse(PUBLIC).unwrap());
    assert_eq!(PublicKey::parse(&signer().public_key().to_string()), Some(signer().public_key()));
    assert!(!format!("{:?}", signer()).contains("1O5y"));
    for bad in ["", "AAAA", PRIVATE] {
        assert_eq!(PublicKey::parse(bad), None);
    }
    assert!(Signer::parse(PUBLIC).is_none());
}

#[test]
fn a_part_put_onto_what_is_at_hand_is_the_whole() {
    let held = Held::take(None, whole(1, &[A]), &trust()).unwrap();
    assert!(held.prepare().is_ok());
    let after = facts(&[A, B]);
    let mut changed = after.clone();
    changed.retain(|name, text| held.facts.get(name) != Some(text));
    assert_eq!(changed.len(), 2);
    let part = signer().sign(&manifest(2, &after), Some(1), changed, Vec::new()).unwrap();
    let held = Held::take(Some(&held), part, &trust()).unwrap();
    assert_eq!(held, Held::take(None, whole(2, &[A, B]), &trust()).unwrap());
    // And back again.
    let before = facts(&[A]);
    let gone = after.keys().filter(|name| !before.contains_key(*name)).cloned().collect();
    let part = signer().sign(&manifest(3, &before), Some(2), FactTexts::new(), gone).unwrap();
    assert_eq!(Held::take(Some(&held), part, &trust()).unwrap().facts, before);
}

#[test]
fn what_was_tampered_with_is_refused() {
    let take = |came: SignedBundle| Held::take(None, came, &trust()).unwrap_err();
    let good = whole(1, &[A]);
    let mut came = good.clone();
    came.manifest = came.manifest.replace("600", "601");
    assert_eq!(take(came), Refused::Signature);
    let mut came = good.clone();
    let text = came.facts.values_mut().find(|text| text.contains("compliant")).unwrap();
    *text = text.replace("\"compliant\"", "\"noncompliant\"");
    assert_eq!(take(came), Refused::Digest);
    let mut came = good.clone();
    came.facts.pop_first();
    assert_eq!(take(came), Refused::Digest);
    let mut came = good.clone();
    came.facts.insert("key:mac:d46e0e022899".to_owned(), String::new());
    assert_eq!(take(came), Refused::Digest);

    let all = facts(&[A]);
    let theirs = Signer::parse(OTHER).unwrap().sign(&manifest(1, &all), None, all, Vec::new()).unwrap();
    assert_eq!(take(theirs.clone()), Refused::Signature);
    let mut claimed = theirs;
    claimed.key_id = good.key_id;
    assert_eq!(take(claimed), Refused::Signature);
}

#[test]
fn another_s_and_older_ones_are_refused() {
    let held = Held::take(None, whole(5, &[A]), &trust()).unwrap();
    assert_eq!(Held::take(Some(&held), whole(4, &[A]), &trust()), Err(Refused::Older));
    // The same version, issued earlier: links that were confirmed less.
    let all = facts(&[A]);
    let mut earlier = manifest(5, &all);
    earlier.issued_at -= Duration::seconds(1);
    let earlier = signer().sign(&earlier, None, all.clone(), Vec::new()).unwrap();
    assert_eq!(Held::take(Some(&held), earlier, &trust()), Err(Refused::Older));

    let mut elsewhere = manifest(6, &all);
    elsewhere.site = SiteId(id(33));
    let elsewhere = signer().sign(&elsewhere, None, all.clone(), Vec::new()).unwrap();
    assert_eq!(Held::take(Some(&held), elsewhere.clone(), &trust()), Err(Refused::Stranger("site")));
    let told = Trust { site: Some(SiteId(id(3))), ..trust() };
    assert_eq!(Held::take(None, elsewhere, &told), Err(Refused::Stranger("site")));
    let mut foreign = manifest(6, &all);
    foreign.org = OrgId(id(22));
    let foreign = signer().sign(&foreign, None, all.clone(), Vec::new()).unwrap();
    assert_eq!(Held::take(None, foreign, &trust()), Err(Refused::Stranger("organization")));

    let part = signer().sign(&manifest(7, &all), Some(6), FactTexts::new(), Vec::new()).unwrap();
    assert_eq!(Held::take(Some(&held), part.clone(), &trust()), Err(Refused::Base));
    assert_eq!(Held::take(None, part, &trust()), Err(Refused::Base));
}
