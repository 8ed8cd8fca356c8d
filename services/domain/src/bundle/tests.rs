use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use time::macros::datetime;
use uuid::Uuid;

use super::*;
use crate::policy::PolicyDoc;
use crate::policy::generate::{any_device, any_doc, any_request, link};
use crate::request::Certificate;
use crate::{DeviceId, EdgeId, LinkId, Mac, SiteId};

const NOW: OffsetDateTime = datetime!(2026-11-20 12:00 UTC);
const MACS: [&str; 3] = ["d4:6e:0e:02:28:96", "d4:6e:0e:02:28:97", "d4:6e:0e:02:28:98"];
const NAMES: [&str; 3] = ["LAPTOP-1", "laptop-2", "lobby"];
const SERIALS: [&str; 2] = ["PF1", "pf2"];

fn device_id(n: u8) -> DeviceId {
    DeviceId(Uuid::from_u128(0xd0 + u128::from(n)))
}

/// A fleet in which names, serials and MACs may collide, also across links.
fn any_fleet() -> impl Strategy<Value = Vec<DeviceFacts>> {
    let identity = (
        prop::option::of(select(&NAMES[..])),
        prop::option::of(select(&SERIALS[..])),
        prop::option::of(select(&MACS[..])),
        prop::option::of(select(&MACS[..])),
        any::<bool>(),
    );
    vec((any_device(), identity), 0..6).prop_map(|devices| {
        let devices = devices.into_iter().zip(0u8..);
        devices
            .map(|((device, (name, serial, wifi, ethernet, elsewhere)), n)| DeviceFacts {
                id: device_id(n),
                link: if elsewhere { LinkId(Uuid::from_u128(9)) } else { device.link },
                name: name.map(str::to_owned),
                serial: serial.map(str::to_owned),
                entra_id: Some(Uuid::from_u128(0xe0 + u128::from(n))),
                wifi_mac: wifi.map(|mac| mac.parse().unwrap()),
                ethernet_mac: ethernet.map(|mac| mac.parse().unwrap()),
                ..device
            })
            .collect()
    })
}

/// A client, by any of the keys that the fleet may bear, or that nobody bears.
fn any_client() -> impl Strategy<Value = AccessRequest> {
    let cert = (
        prop::option::of(0u8..8),
        prop::option::of(0u8..8),
        prop::option::of(select(vec!["LAPTOP-1", "host/laptop-2.corp.example", "lobby", "nobody"])),
        prop::option::of(select(vec!["/serialNumber=PF1", "/serialNumber=pf2", "/serialNumber=PF9"])),
    );
    let mac =
        prop::option::of(select(vec![MACS[0], MACS[1], MACS[2], "d4:6e:0e:ff:ff:ff", "02:00:00:00:00:01"]));
    (any_request(), prop::option::weighted(0.7, cert), mac).prop_map(|(request, cert, mac)| AccessRequest {
        mac: mac.map(|mac| mac.parse::<Mac>().unwrap()),
        cert: cert.map(|(uri, dns, cn, subject)| Certificate {
            san_uri: uri.map(|n| format!("IntuneDeviceId://{}", device_id(n))).into_iter().collect(),
            san_dns: dns.map(|n| Uuid::from_u128(0xe0 + u128::from(n)).to_string()).into_iter().collect(),
            cn: cn.map(str::to_owned),
            subject: subject.map(str::to_owned),
            ..request.cert.clone().unwrap_or_default()
        }),
        ..request
    })
}

fn bears(device: &DeviceFacts, key: &LookupKey) -> bool {
    keys_of(device).contains(key)
}

struct Cloud {
    fleet: Vec<DeviceFacts>,
    doc: PolicyDoc,
    links: Vec<LinkFacts>,
    settings: OrgSettings,
}

impl Cloud {
    fn answer(&self, request: &AccessRequest) -> Answer {
        let plan = LookupPlan::of(request);
        let by_key: HashMap<LookupKey, Vec<DeviceFacts>> = plan
            .keys()
            .into_iter()
            .map(|key| {
                let mut found: Vec<_> =
                    self.fleet.iter().filter(|device| bears(device, &key)).cloned().collect();
                found.sort_by_key(|device| (device.link, device.id));
                (key, found)
            })
            .collect();
        let found = resolve(&plan, |key| by_key.get(key).map_or(&[], Vec::as_slice));
        let policy = CompiledPolicy::compile(3, &self.doc);
        let ground = Ground { settings: &self.settings, links: &self.links, policy: Some(&policy) };
        answer(ground, request, &found, DecisionId::from(Uuid::nil()), NOW)
    }

    /// What a site that saw these clients is given, through JSON and back.
    fn bundle(&self, seen: &[AccessRequest]) -> Bundle {
        fn travelled<T: Serialize + serde::de::DeserializeOwned>(value: &T) -> T {
            serde_json::from_str(&serde_json::to_string(value).unwrap()).unwrap()
        }
        let covered: HashSet<LookupKey> =
            seen.iter().flat_map(|request| LookupPlan::of(request).keys()).collect();
        let devices = self.fleet.iter().filter(|device| covered.iter().any(|key| bears(device, key)));
        Bundle::new(Contents {
            settings: travelled(&self.settings),
            links: travelled(&self.links),
            policy: Some(CompiledPolicy::compile(3, &travelled(&self.doc))),
            fallback: Fallback { vlan: Some("critical".to_owned()) },
            issued_at: NOW - Duration::hours(1),
            max_age: Duration::hours(2),
            devices: devices.map(travelled).collect(),
            covered: covered.iter().map(travelled).collect(),
        })
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn the_edge_answers_as_the_cloud_does(
        fleet in any_fleet(),
        doc in any_doc(),
        seen in vec(any_client(), 1..6),
        stranger in any_client(),
        linked: bool,
        grace: bool,
    ) {
        let confirmed_at = linked.then_some(NOW - Duration::hours(3));
        let links = [link(), LinkId(Uuid::from_u128(9))].map(|id| LinkFacts { id, confirmed_at });
        let settings = OrgSettings { grace_is_compliant: grace, ..OrgSettings::default() };
        let cloud = Cloud { fleet, doc, links: links.to_vec(), settings };
        let bundle = cloud.bundle(&seen);
        let id = DecisionId::from(Uuid::nil());
        for request in &seen {
            prop_assert_eq!(bundle.answer(request, id, NOW), cloud.answer(request));
        }
        // Of a client that the site never saw, it gives the same outcome or none of its own.
        let told = bundle.answer(&stranger, id, NOW);
        if told.decision.reason != Reason::SiteFallback {
            prop_assert_eq!(told.decision, cloud.answer(&stranger).decision);
        }
    }
}

#[test]
fn too_old_a_bundle_and_an_unknown_client_get_the_fallback() {
    let request = AccessRequest {
        mac: Some(MACS[0].parse().unwrap()),
        ..AccessRequest::bare(EdgeId(Uuid::nil()), SiteId(Uuid::nil()))
    };
    let cloud = Cloud {
        fleet: Vec::new(),
        doc: PolicyDoc::default(),
        links: Vec::new(),
        settings: OrgSettings::default(),
    };
    let id = DecisionId::from(Uuid::nil());
    let bundle = cloud.bundle(std::slice::from_ref(&request));
    assert_eq!(bundle.answer(&request, id, NOW).decision.reason, Reason::ImplicitDeny);
    let late = bundle.answer(&request, id, NOW + Duration::hours(1)).decision;
    assert_eq!((late.reason, late.outcome.vlan.as_deref()), (Reason::SiteFallback, Some("critical")));
    let stranger = AccessRequest { mac: Some(MACS[1].parse().unwrap()), ..request };
    let told = bundle.answer(&stranger, id, NOW).decision;
    assert_eq!((told.reason, told.outcome), (Reason::SiteFallback, bundle.fallback.outcome()));
    assert_eq!(Fallback::default().outcome(), Outcome::DENY);
}
