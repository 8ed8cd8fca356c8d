//! The list of clients and the page of one: who is on the network, whatever began and ended since.

use std::collections::BTreeSet;

use domain::{Mac, SessionId};
use time::Duration;

use crate::timeline::older;
use crate::world::{Page, Tenant, World};

/// A session of a client, that began and ended so long ago.
async fn stay(
    world: &World,
    tenant: &Tenant,
    mac: Mac,
    began: Duration,
    ended: Option<Duration>,
) -> SessionId {
    let now = world.now();
    let id: SessionId = world.ids.make(now);
    sqlx::query(
        "INSERT INTO session (org_id, id, edge_id, site_id, session_key, mac, started_at, ended_at)
         VALUES ($1, $2, $3, $4, $2::text, $5::macaddr, $6, $7)",
    )
    .bind(tenant.org.uuid())
    .bind(id.uuid())
    .bind(tenant.edge.uuid())
    .bind(tenant.site.uuid())
    .bind(mac.to_string())
    .bind(now - began)
    .bind(ended.map(|ended| now - ended))
    .execute(&world.admin)
    .await
    .unwrap();
    id
}

/// The clients of a page of the list, and whether they are on the network.
fn rows(page: &Page) -> Vec<(String, bool)> {
    page.is(200);
    let rows = page.body.split("<tr><th scope=\"row\" class=\"who\">").skip(1);
    let rows = rows.map(|row| {
        let row = row.split("</tr>").next().unwrap();
        let name = row.split("</a>").next().unwrap().rsplit('>').next().unwrap();
        (name.to_owned(), row.contains("</svg>active</span>"))
    });
    rows.collect()
}

#[tokio::test]
async fn who_is_on_the_network_is_not_hidden_by_what_is_over() {
    let world = World::new().await;
    let (tenant, browser) = world.tenant("Contoso", "", 5, 5).await;
    let at = |rest: &str| format!("/orgs/{}/{rest}", tenant.org);
    let mac = Mac([0x02, 0, 0, 0, 0, 0x31]);
    stay(&world, &tenant, mac, Duration::hours(30), Some(Duration::hours(29))).await;
    stay(&world, &tenant, mac, Duration::hours(5), None).await;
    let open = stay(&world, &tenant, mac, Duration::hours(4), None).await;
    // A denial under another name, and the end of a stay that nobody told of before.
    stay(&world, &tenant, mac, Duration::hours(1), Some(Duration::hours(1))).await;
    let last = stay(&world, &tenant, mac, Duration::minutes(3), Some(Duration::minutes(2))).await;

    let list = async |state: &str| {
        let page = browser.get(&at(&format!("clients?state={state}&mac={mac}"))).await;
        rows(&page)
    };
    let reauthenticate =
        |session: SessionId| format!("action=\"{}\"", at(&format!("sessions/{session}/reauthenticate")));
    for state in ["", "active"] {
        assert_eq!(list(state).await, [(mac.to_string(), true)], "{state}");
    }
    assert!(list("ended").await.is_empty());
    let client = at(&format!("clients/{mac}"));
    browser.get(&client).await.is(200).has("</svg>active</span>").has(&reauthenticate(open));

    // It leaves: the last of all stands for it.
    sqlx::query("UPDATE session SET ended_at = $1 WHERE mac = '02:00:00:00:00:31' AND ended_at IS NULL")
        .bind(world.now())
        .execute(&world.admin)
        .await
        .unwrap();
    for state in ["", "ended"] {
        assert_eq!(list(state).await, [(mac.to_string(), false)], "{state}");
    }
    assert!(list("active").await.is_empty());
    let page = browser.get(&client).await;
    page.is(200).has("</svg>ended</span>").has(&last.to_string());
    assert!(!page.body.contains("id=\"reauthenticate\""));
}

#[tokio::test]
async fn every_client_is_listed_once_those_on_the_network_first() {
    let world = World::new().await;
    let (tenant, browser) = world.tenant("Contoso", "", 5, 5).await;
    // Of one moment, so that a page ends among them.
    for n in 0..60 {
        let here = Mac([0x02, 0, 0, 0, 0x41, n]);
        stay(&world, &tenant, here, Duration::hours(6), None).await;
        stay(&world, &tenant, here, Duration::hours(1), Some(Duration::hours(1))).await;
        let away = Mac([0x02, 0, 0, 0, 0x42, n]);
        stay(&world, &tenant, away, Duration::hours(2), Some(Duration::hours(1))).await;
        stay(&world, &tenant, away, Duration::hours(2), Some(Duration::hours(1))).await;
    }
    let mut next = Some(format!("/orgs/{}/clients", tenant.org));
    let (mut seen, mut pages) = (Vec::new(), 0);
    while let Some(path) = next {
        let page = browser.get(&path).await;
        seen.extend(rows(&page));
        next = older(&page);
        pages += 1;
        assert!(pages < 10);
    }
    assert!(pages >= 3, "{pages}");
    let distinct: BTreeSet<&str> = seen.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(distinct.len(), seen.len(), "none comes twice");
    assert!(seen.is_sorted_by_key(|(_, is_active)| !is_active), "{seen:?}");
    for n in 0..60 {
        assert!(seen.contains(&(Mac([0x02, 0, 0, 0, 0x41, n]).to_string(), true)), "{n}");
        assert!(seen.contains(&(Mac([0x02, 0, 0, 0, 0x42, n]).to_string(), false)), "{n}");
    }
}
