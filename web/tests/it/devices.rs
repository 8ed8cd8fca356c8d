//! The inventory, a device's page, and "Check now".

use std::collections::BTreeSet;

use domain::compliance::{Literal, assess};
use domain::device::DeviceFacts;
use domain::resolver::{Match, Outcome};
use domain::{DeviceId, LinkId};
use store::views::devices::{DeviceFilter, Eyes};
use uuid::Uuid;

use crate::world::{Page, Tenant, World};

/// The devices that a list names, in its order.
fn listed(page: &Page, tenant: &Tenant) -> Vec<String> {
    let start =
        format!("<th scope=\"row\" class=\"who\"><a href=\"/orgs/{}/devices/{}/", tenant.org, tenant.link);
    let found = page.body.match_indices(&start).map(|(at, start)| {
        let rest = &page.body[at + start.len()..];
        rest[..rest.find('"').unwrap()].to_owned()
    });
    found.collect()
}

#[tokio::test]
async fn the_inventory_is_paged_by_name_without_gaps() {
    let world = World::new().await;
    let (tenant, browser) = world.tenant("Contoso", "", 130, 10).await;
    let mut next = format!("/orgs/{}/devices", tenant.org);
    let mut seen = Vec::new();
    for _ in 0..5 {
        let page = browser.get(&next).await;
        page.is(200);
        seen.extend(listed(&page, &tenant));
        let Some(at) = page.body.find("rel=\"next\"") else { break };
        let before = &page.body[..at];
        let from = before.rfind("href=\"").unwrap() + 6;
        next = before[from..].split('"').next().unwrap().replace("&#38;", "&").replace("&amp;", "&");
    }
    let wanted: Vec<String> = (0..130_u128).map(|n| device(n).to_string()).collect();
    // Names grow with the number.
    assert_eq!(seen, wanted);
    // Also within one account, whose index leaves the account out.
    let page = browser.get(&format!("{next}&link={}", tenant.link)).await;
    page.is(200);
    assert_eq!(listed(&page, &tenant), wanted[100..]);
}

/// As the tenant's fleet is numbered.
fn device(n: u128) -> DeviceId {
    DeviceId(Uuid::from_u128(0x5a1e_0000_0000_4000_8000_0000_0000_0000 + n))
}

#[tokio::test]
async fn a_device_is_found_by_everything_it_is_known_by() {
    let world = World::new().await;
    let (tenant, browser) = world.tenant("Contoso", "", 30, 5).await;
    let entra = Uuid::from_u128(77);
    sqlx::query("UPDATE device SET entra_id = $1 WHERE id = $2")
        .bind(entra)
        .bind(device(7).uuid())
        .execute(&world.admin)
        .await
        .unwrap();
    let all = |range: std::ops::Range<u128>| range.map(device).collect::<Vec<_>>();
    for (query, wanted) in [
        ("q=CONTOSO-LT-0007".to_owned(), all(7..8)),
        ("q=contoso-lt-001".to_owned(), all(10..20)),
        ("q=contoso-lt-001&os=windows".to_owned(), vec![]),
        ("q=contoso-lt-001&os=Windows".to_owned(), all(10..20)),
        ("q=onto".to_owned(), vec![]),
        ("q=5cg0000007".to_owned(), all(7..8)),
        ("q=5cg000000".to_owned(), vec![]),
        ("q=D4-6E-0E-00-00-07".to_owned(), all(7..8)),
        (format!("q={}", device(7)), all(7..8)),
        (format!("q={entra}"), all(7..8)),
        ("q=User7".to_owned(), all(7..8)),
        ("q=user7%40contoso.example".to_owned(), all(7..8)),
        ("q=user7%40".to_owned(), vec![]),
        ("owner=personal".to_owned(), vec![]),
        ("show=hot".to_owned(), (0..6).map(|n| device(n * 5 + 1)).collect()),
    ] {
        let page = browser.get(&format!("/orgs/{}/devices?{query}", tenant.org)).await;
        page.is(200);
        let wanted: Vec<String> = wanted.iter().map(ToString::to_string).collect();
        assert_eq!(listed(&page, &tenant), wanted, "{query}");
    }
}

/// What the filter finds in SQL is what decisions see.
#[tokio::test]
async fn each_compliance_finds_what_decisions_see() {
    let world = World::new().await;
    let (tenant, _) = world.tenant("Contoso", "", 80, 1).await;
    let now = world.now();
    for link_is_fresh in [true, false] {
        if !link_is_fresh {
            sqlx::query("UPDATE link SET confirmed_at = confirmed_at - interval '30 hours'")
                .execute(&world.admin)
                .await
                .unwrap();
            sqlx::query(
                "UPDATE device SET fetched_at = fetched_at - interval '25 hours' WHERE ordinal % 3 = 0",
            )
            .execute(&world.admin)
            .await
            .unwrap();
        }
        // Grace that is over, and grace without an end.
        sqlx::query(
            "UPDATE device SET grace_expires_at = CASE WHEN ordinal < 40 THEN $1 - interval '1 hour' END
             WHERE compliance = 'inGracePeriod' AND ordinal % 40 < 30",
        )
        .bind(now)
        .execute(&world.admin)
        .await
        .unwrap();
        let mut tx = world.store.org(tenant.org).await.unwrap();
        let snapshot = store::orgs::snapshot(&mut tx).await.unwrap().unwrap();
        for grace_is_compliant in [true, false] {
            let mut settings = snapshot.settings.clone();
            settings.grace_is_compliant = grace_is_compliant;
            let eyes = Eyes { settings: &settings, links: &snapshot.links, now };
            let all = store::views::devices::list(&mut tx, &DeviceFilter::default(), &eyes, None, 1000)
                .await
                .unwrap();
            assert_eq!(all.len(), 80);
            for literal in Literal::ALL.iter().copied() {
                let filter = DeviceFilter { literal: Some(literal), ..DeviceFilter::default() };
                let found = store::views::devices::list(&mut tx, &filter, &eyes, None, 1000).await.unwrap();
                let sees = |facts: &DeviceFacts| {
                    let found = Match {
                        outcome: Outcome::Device(facts),
                        key: None,
                        mac_mismatch: false,
                        wanted: vec![],
                    };
                    assess(&found, &snapshot.links, &settings, now).has(literal)
                };
                let wanted: BTreeSet<_> =
                    all.iter().filter(|row| sees(&row.facts)).map(|row| row.facts.id).collect();
                let ids: BTreeSet<_> = found.iter().map(|row| row.facts.id).collect();
                assert_eq!(ids.len(), found.len(), "{literal:?} finds a device twice");
                assert_eq!(ids, wanted, "{literal:?}, grace {grace_is_compliant}, fresh {link_is_fresh}");
            }
        }
        tx.commit().await.unwrap();
    }
}

#[tokio::test]
async fn a_device_tells_its_compliance_its_history_and_whom_it_may_be_taken_for() {
    let world = World::new().await;
    let (tenant, browser) = world.tenant("Contoso", "", 50, 44).await;
    sqlx::query(
        "UPDATE device SET wifi_mac = 'd4:6e:0e:00:00:01', name = 'Twin', name_key = 'twin' WHERE id = $1",
    )
    .bind(device(2).uuid())
    .execute(&world.admin)
    .await
    .unwrap();
    let page = browser.get(&path(&tenant, 1)).await;
    page.is(200)
        .has("Intune says noncompliant.")
        .has("a look at the device")
        .has("at most 75 s after Microsoft could show it")
        .has("1 other device with the MAC address")
        .has(">Twin</a>")
        .has("freeStorageSpaceInBytes")
        .has("id=\"raw-json\"");
    // A device in grace says when that ends; one whose record was not kept yet says how to get it.
    browser.get(&path(&tenant, 43)).await.has("inGracePeriod").has("when grace ends");
    browser.get(&path(&tenant, 3)).await.has("inGracePeriod").has("without waiting for Intune to say so");
    browser.get(&path(&tenant, 2)).await.has("Not kept yet");
    // By which key a session found it.
    let (id,): (Uuid,) =
        sqlx::query_as("SELECT device_id FROM session WHERE device_id IS NOT NULL AND match_strength = 'certificate' LIMIT 1")
            .fetch_one(&world.admin)
            .await
            .unwrap();
    let found = browser.get(&format!("/orgs/{}/devices/{}/{id}", tenant.org, tenant.link)).await;
    found.is(200).has("Intune id in the certificate&#39;s SAN:URI");
    // What is gone keeps its history.
    sqlx::query("DELETE FROM device WHERE id = $1")
        .bind(device(1).uuid())
        .execute(&world.admin)
        .await
        .unwrap();
    browser
        .get(&path(&tenant, 1))
        .await
        .is(200)
        .has("A device that is gone")
        .has("<code>noncompliant</code>");
    browser.get(&path(&tenant, 99)).await.is(404);
}

fn path(tenant: &Tenant, n: u128) -> String {
    format!("/orgs/{}/devices/{}/{}", tenant.org, tenant.link, device(n))
}

#[tokio::test]
async fn check_now_asks_for_a_look_once_and_tells_how_it_went() {
    let world = World::new().await;
    let (tenant, browser) = world.tenant("Contoso", "", 5, 2).await;
    let path = path(&tenant, 1);
    let back = browser.post(&format!("{path}/check"), &[]).await.redirect();
    assert!(back.starts_with(&format!("{path}?asked=")), "{back}");
    let page = browser.get(&back).await;
    page.is(200).has("A look at it is waited for").has("by an admin").has("http-equiv=\"refresh\"");
    let again = browser.post(&format!("{path}/check"), &[]).await;
    again.redirect();
    let wishes: Vec<(String, String)> = sqlx::query_as("SELECT key, reason FROM look_wish WHERE org_id = $1")
        .bind(tenant.org.uuid())
        .fetch_all(&world.admin)
        .await
        .unwrap();
    assert_eq!(wishes, [(format!("intune:{}", device(1)), "admin".to_owned())]);
    let lines: i64 =
        sqlx::query_scalar("SELECT count(*) FROM audit WHERE org_id = $1 AND action = 'device.check'")
            .bind(tenant.org.uuid())
            .fetch_one(&world.admin)
            .await
            .unwrap();
    assert_eq!(lines, 2);

    // Done, and nothing came of it.
    sqlx::query("DELETE FROM look_wish").execute(&world.admin).await.unwrap();
    let page = browser.get(&back).await;
    page.is(200).has("did not find the record");
    assert!(!page.body.contains("http-equiv=\"refresh\""), "nothing is waited for any more");
    // Done, and the record was read.
    sqlx::query("UPDATE device SET fetched_at = $1").bind(world.now()).execute(&world.admin).await.unwrap();
    browser.get(&back).await.is(200).has("Checked: Microsoft showed <code>noncompliant</code>");

    // Another site cannot ask, and nobody can ask for what is not theirs.
    let request = browser.request("POST", &format!("{path}/check")).header("origin", "https://evil.example");
    browser.submit(request, &[]).await.is(403);
    let (theirs, other) = world.tenant("Fabrikam", "", 2, 1).await;
    other.get(&path).await.is(404);
    let foreign = path.replace(&tenant.org.to_string(), &theirs.org.to_string());
    other.get(&foreign).await.is(404);
    other.post(&format!("{foreign}/check"), &[]).await.is(404);
    other.get(&format!("{foreign}/live")).await.is(404);
    let nobody = LinkId(Uuid::nil());
    browser.get(&format!("/orgs/{}/devices/{nobody}/{}", tenant.org, device(1))).await.is(404);
}
