use axum::http::StatusCode;
use domain::bundle::{Bundle, Fallback};
use domain::device::ComplianceState;
use domain::resolver::LookupKey;
use domain::{DecisionId, SiteId};
use nac::NacConfig;
use serde_json::{Value, json};
use store::audit::Actor;
use store::bundles::SiteSettings;
use store::{devices, edges, orgs, policies, sites};
use uuid::Uuid;
use wire::authorize::read_request;
use wire::bundle::{Held, SignedBundle, Signer, Trust};
use wire::fields;

use crate::world::{COMPLIANT, NONCOMPLIANT, Process, STRANGER, Tenant, World, policy};

/// Of RFC 8410 10.3.
const KEY: &str = "-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC
-----END PRIVATE KEY-----";

fn process(world: &World) -> Process {
    world.process_with(NacConfig { bundle_signer: Signer::parse(KEY), ..world.config.clone() })
}

fn trust(tenant: &Tenant) -> Trust {
    Trust { keys: vec![Signer::parse(KEY).unwrap().public_key()], org: tenant.org, site: Some(tenant.site) }
}

async fn fetch(process: &Process, tenant: &Tenant, since: Option<i64>) -> SignedBundle {
    let since = since.map(|since| format!("?since={since}")).unwrap_or_default();
    let answer = process.get(&format!("/v1/nac/bundle{since}"), &tenant.token).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    serde_json::from_value(answer.body).unwrap()
}

async fn renew(process: &Process, tenant: &Tenant, held: &Held) -> (Held, usize) {
    let came = fetch(process, tenant, Some(held.manifest.version)).await;
    assert_eq!(came.since, Some(held.manifest.version));
    let changed = came.facts.len() + came.gone.len();
    (Held::take(Some(held), came, &trust(tenant)).unwrap(), changed)
}

/// What the bundle says of a request, as far as an edge acts on it.
fn offline(world: &World, tenant: &Tenant, bundle: &Bundle, body: &Value) -> Value {
    let body = body.as_object().unwrap();
    let request = fields::read(body, |fields| read_request(fields, tenant.edge, tenant.site)).unwrap();
    let answer = bundle.answer(&request, DecisionId::from(Uuid::nil()), world.now());
    serde_json::to_value(wire::authorize::write_answer(&answer, None, None, false)).unwrap()
}

fn same(mut one: Value, mut other: Value) {
    for answer in [&mut one, &mut other] {
        for own in ["decision_id", "session_id", "recorded"] {
            answer.as_object_mut().unwrap().remove(own);
        }
    }
    assert_eq!(one, other);
}

fn asks(mac: &str) -> Value {
    json!({"mac": mac, "auth_type": "mab", "session_id": mac})
}

#[tokio::test]
async fn the_bundle_answers_as_the_cloud_does_and_follows_it() {
    let world = World::new().await;
    let tenant = world.tenant(1).await;
    let process = process(&world);
    for mac in [COMPLIANT, NONCOMPLIANT] {
        process.authorize(&tenant.token, &asks(mac)).await;
    }
    let held = Held::take(None, fetch(&process, &tenant, None).await, &trust(&tenant)).unwrap();
    let bundle = held.prepare().unwrap();
    for mac in [COMPLIANT, NONCOMPLIANT] {
        same(
            offline(&world, &tenant, &bundle, &asks(mac)),
            process.authorize(&tenant.token, &asks(mac)).await,
        );
    }
    assert_eq!(offline(&world, &tenant, &bundle, &asks(STRANGER))["reason"], "site_fallback");
    // Trust ages on the edge as it does in the cloud.
    world.advance(25 * 3_600);
    let late = offline(&world, &tenant, &bundle, &asks(COMPLIANT));
    assert_eq!((&late["action"], &late["compliance"]["verdict"]), (&json!("deny"), &json!("unknown")));
    assert!(late["compliance"]["literals"].as_array().unwrap().contains(&json!("stale")));
    world.advance(-25 * 3_600);

    // Nothing changed: a new manifest, and no facts.
    world.advance(61);
    let (held, changed) = renew(&process, &tenant, &held).await;
    assert_eq!((changed, held.manifest.issued_at), (0, world.now()));
    let unchanged = held.manifest.version;

    // A device changed, a client came, and a policy was published.
    let device = world.device(&tenant, 2, NONCOMPLIANT, ComplianceState::Compliant).await;
    world.advance(61);
    let (held, changed) = renew(&process, &tenant, &held).await;
    assert_eq!(changed, 1);
    assert!(held.manifest.version > unchanged);
    let key = LookupKey::Mac(NONCOMPLIANT.parse().unwrap());
    let mut tx = world.store.org(tenant.org).await.unwrap();
    let read = devices::by_keys(&mut tx, std::slice::from_ref(&key), 8).await.unwrap();
    drop(tx);
    assert_eq!(read[&key][0].compliance, device.compliance);
    world.cache.put_lookups(tenant.org, &[(key.clone(), read[&key].clone())]).await.unwrap();
    process.authorize(&tenant.token, &asks(STRANGER)).await;
    world.advance(61);
    let (held, changed) = renew(&process, &tenant, &held).await;
    assert_eq!(changed, 1, "its key, which nobody bears");
    let mut tx = world.store.org(tenant.org).await.unwrap();
    let mut doc = policy();
    doc.rules.pop();
    policies::publish(&mut tx, &doc, "Ada", world.now()).await.unwrap();
    orgs::changed(&mut tx, &world.ids, world.now(), true).await.unwrap();
    let snapshot = orgs::snapshot(&mut tx).await.unwrap().unwrap();
    tx.commit().await.unwrap();
    world.cache.put_snapshot(&snapshot).await.unwrap();
    let (held, changed) = renew(&process, &tenant, &held).await;
    assert_eq!(changed, 1, "at once: the revision grew");
    let bundle = held.prepare().unwrap();
    tokio::time::sleep(world.config.memory_ttl * 2).await;
    for mac in [COMPLIANT, NONCOMPLIANT, STRANGER] {
        let cloud = process.authorize(&tenant.token, &asks(mac)).await;
        let told = offline(&world, &tenant, &bundle, &asks(mac));
        same(told, cloud);
    }

    // Who was not seen for long is forgotten.
    world.advance(31 * 86_400);
    let (held, changed) = renew(&process, &tenant, &held).await;
    assert!(changed >= 5, "{changed}");
    assert!(held.facts.keys().all(|name| name == "policy"), "{:?}", held.facts.keys());
    // And an edge that was away for long is given the whole.
    world.advance(31 * 86_400);
    assert_eq!(
        fetch(&process, &tenant, Some(held.manifest.version)).await.since,
        Some(held.manifest.version)
    );
    assert_eq!(fetch(&process, &tenant, Some(unchanged)).await.since, None);
    assert_eq!(fetch(&process, &tenant, Some(held.manifest.version + 9)).await.since, None);
}

#[tokio::test]
async fn a_site_is_told_of_its_own_clients_alone() {
    let world = World::new().await;
    let (one, two) = (world.tenant(1).await, world.tenant(2).await);
    let process = process(&world);
    process.authorize(&one.token, &asks(COMPLIANT)).await;
    let mut tx = world.store.org(one.org).await.unwrap();
    let (now, actor) = (world.now(), Actor::system());
    let site: SiteId = edges::create_site(&mut tx, &world.ids, now, &actor, "Elsewhere").await.unwrap().id;
    let edge = edges::create_edge(&mut tx, &world.ids, now, &actor, site, "Far").await.unwrap().unwrap();
    let (token, _) = edges::issue_credential(&mut tx, &world.ids, now, &actor, edge).await.unwrap().unwrap();
    let settings =
        SiteSettings { fallback: Fallback { vlan: Some("crit".to_owned()) }, bundle_max_age_seconds: 600 };
    for (site, name, ours) in [(site, "Elsewhere", true), (two.site, "Theirs", false)] {
        let changed = sites::change(&mut tx, &world.ids, now, &actor, site, name, &settings).await.unwrap();
        assert_eq!(changed, ours, "{name}");
    }
    tx.commit().await.unwrap();

    let far = Tenant { site, edge, token: token.reveal().to_owned(), ..one.clone() };
    for (tenant, clients) in [(&one, 2), (&two, 0), (&far, 0)] {
        let came = fetch(&process, tenant, None).await;
        let held = Held::take(None, came, &trust(tenant)).unwrap();
        let names = held.facts.keys().filter(|name| *name != "policy").count();
        assert_eq!((names, held.manifest.edge), (clients, tenant.edge));
    }
    let held = Held::take(None, fetch(&process, &far, None).await, &trust(&far)).unwrap();
    let told = offline(&world, &far, &held.prepare().unwrap(), &asks(COMPLIANT));
    assert_eq!((&told["action"], &told["vlan"]), (&json!("allow"), &json!("crit")));
    world.advance(600);
    let told = offline(&world, &far, &held.prepare().unwrap(), &json!({}));
    assert_eq!(told["reason"], "site_fallback", "too old");

    let answer = process.get("/v1/nac/bundle?since=x", &one.token).await;
    assert_eq!(
        (answer.status, &answer.body["errors"][0]["field"]),
        (StatusCode::UNPROCESSABLE_ENTITY, &json!("since"))
    );
    let answer = world.process().get("/v1/nac/bundle", &one.token).await;
    assert_eq!((answer.status, &answer.body["code"]), (StatusCode::NOT_FOUND, &json!("no_bundles")));
}
