//! Moves that wait for an admin: the banner, the page, and the decision.

use domain::coa::hold::HoldState;

use crate::world::{Tenant, World};

async fn state(world: &World, tenant: &Tenant) -> (String, Option<String>) {
    sqlx::query_as("SELECT state, decided_by FROM hold WHERE id = $1")
        .bind(tenant.hold.uuid())
        .fetch_one(&world.admin)
        .await
        .unwrap()
}

#[tokio::test]
async fn every_page_tells_that_moves_are_held_until_somebody_decides() {
    let world = World::new().await;
    let (tenant, browser) = world.tenant("Contoso", "", 40, 100).await;
    let org = format!("/orgs/{}", tenant.org);
    let hold = format!("{org}/holds/{}", tenant.hold);
    for page in ["", "/events", "/devices", "/settings", "/auth-policies"] {
        let page = browser.get(&format!("{org}{page}")).await;
        page.is(200).has("61 of 120 devices turned worse at once.").has(&format!("href=\"{hold}\""));
    }
    let page = browser.get(&hold).await;
    page.is(200)
        .has("waits for an admin")
        .has("Release…")
        .has("Discard…")
        .has("turned worse")
        .has("rel=\"next\"");
    assert!(!page.body.contains("note warn banner"), "the page need not tell of itself");

    // The moves page by page: every client once.
    let mut next = hold.clone();
    let mut clients = Vec::new();
    for _ in 0..5 {
        let page = browser.get(&next).await;
        let body = &page.body[page.body.find("id=\"moves\"").unwrap()..];
        let rows = body.match_indices("<th scope=\"row\" class=\"who\">");
        clients.extend(rows.map(|(at, m)| body[at + m.len()..].split("</a>").next().unwrap().to_owned()));
        let Some(at) = page.body.find("rel=\"next\"") else { break };
        let before = &page.body[..at];
        next = before[before.rfind("href=\"").unwrap() + 6..].split('"').next().unwrap().to_owned();
        next.truncate(next.find('#').unwrap_or(next.len()));
    }
    let held: i64 = sqlx::query_scalar("SELECT count(*) FROM command WHERE hold_id = $1")
        .bind(tenant.hold.uuid())
        .fetch_one(&world.admin)
        .await
        .unwrap();
    assert!(held > 50, "{held} is no second page");
    assert_eq!(clients.len(), usize::try_from(held).unwrap());
    // The inventory finds those devices, and a client's page says that its move is held.
    let devices = browser.get(&format!("{org}/devices?show=held")).await;
    devices.is(200).has("move held");

    // The way to the decision says what it does, without anything happening.
    let confirm = browser.get(&format!("{hold}/release")).await;
    confirm.is(200).has("Each edge is given 10 a second").has("This cannot be called back");
    browser.get(&format!("{hold}/discard")).await.is(200).has("keep what they were answered");
    assert_eq!(state(&world, &tenant).await.0, HoldState::Open.as_str());

    // Released: once, by whom, and readable afterwards.
    assert_eq!(browser.post(&format!("{hold}/release"), &[]).await.redirect(), hold);
    let (now, by) = state(&world, &tenant).await;
    assert_eq!((now.as_str(), by.as_deref()), ("released", Some("Ada Lovelace")));
    browser
        .get(&hold)
        .await
        .is(200)
        .has("Released: ")
        .has("Ada Lovelace released the moves")
        .has("Clients that waited");
    assert_eq!(browser.post(&format!("{hold}/discard"), &[]).await.redirect(), hold);
    browser.get(&hold).await.has("It was decided already. Ada Lovelace released the moves meanwhile.");
    assert_eq!(state(&world, &tenant).await.0, "released");
    assert_eq!(browser.get(&format!("{hold}/release")).await.redirect(), hold);
    let page = browser.get(&format!("{org}/events")).await;
    assert!(!page.body.contains("note warn banner"), "nothing waits any more");
    // Every move is an event of the same moment, so the hold's own may not be on the first page of all.
    let page = browser.get(&format!("{org}/events?type=NAC_COA_HELD")).await;
    page.is(200).has("Ada Lovelace released the moves that were held");
    browser.get(&format!("{org}/audit")).await.has("hold.release");
    browser.get(&format!("{org}/holds")).await.is(200).has("released").has("by Ada Lovelace");
}

#[tokio::test]
async fn a_move_that_found_nobody_is_gone_and_has_not_failed() {
    let world = World::new().await;
    let (tenant, browser) = world.tenant("Contoso", "", 10, 20).await;
    sqlx::query(
        "UPDATE command SET state = 'failed', answer = 'nak', error_cause = 503, finished_at = $1
         WHERE hold_id = $2",
    )
    .bind(world.now())
    .bind(tenant.hold.uuid())
    .execute(&world.admin)
    .await
    .unwrap();
    let page = browser.get(&format!("/orgs/{}/holds/{}", tenant.org, tenant.hold)).await;
    page.is(200).has("the network had nobody to move");
    // Their number, and each of them.
    assert!(page.body.matches("</svg>gone</span>").count() > 1);
    assert!(!page.body.contains("</svg>failed</span>"));
}

#[tokio::test]
async fn a_hold_is_its_organizations_alone_and_no_other_site_decides() {
    let world = World::new().await;
    let (ours, browser) = world.tenant("Contoso", "", 10, 20).await;
    let (theirs, other) = world.tenant("Fabrikam", "", 10, 20).await;
    let hold = format!("/orgs/{}/holds/{}", ours.org, ours.hold);
    let foreign = format!("/orgs/{}/holds/{}", theirs.org, ours.hold);
    for path in [&hold, &foreign] {
        for rest in ["", "/release", "/discard"] {
            other.get(&format!("{path}{rest}")).await.is(404);
            if !rest.is_empty() {
                other.post(&format!("{path}{rest}"), &[]).await.is(404);
            }
        }
    }
    let request =
        browser.request("POST", &format!("{hold}/release")).header("origin", "https://evil.example");
    browser.submit(request, &[]).await.is(403);
    assert_eq!(state(&world, &ours).await.0, "open");
    browser.post(&format!("{hold}/discard"), &[]).await.redirect();
    assert_eq!(state(&world, &ours).await.0, "discarded");
    assert_eq!(state(&world, &theirs).await.0, "open");
    browser.get(&hold).await.is(200).has("discarded the moves");
}

#[tokio::test]
async fn a_sync_that_still_runs_is_told_as_such() {
    let world = World::new().await;
    let (tenant, browser) = world.tenant("Contoso", "", 10, 20).await;
    sqlx::query("UPDATE hold SET state = 'suspected'").execute(&world.admin).await.unwrap();
    let org = format!("/orgs/{}", tenant.org);
    browser.get(&org).await.is(200).has("61 devices turned worse in a sync that is still running.");
    browser
        .get(&format!("{org}/holds/{}", tenant.hold))
        .await
        .is(200)
        .has("The sync that saw this is still running.");
}

#[tokio::test]
async fn the_limits_of_mass_changes_are_set_and_checked() {
    let world = World::new().await;
    let (org, browser) = world.fresh("Fabrikam").await;
    let path = format!("/orgs/{org}/settings");
    browser
        .get(&path)
        .await
        .is(200)
        .has("name=\"mass_change_percent\" value=\"20\"")
        .has("name=\"mass_change_min\" value=\"50\"");
    let form = |percent, min| {
        [
            ("name", "Fabrikam"),
            ("stale_after", "24"),
            ("stale_unit", "hours"),
            ("grace_is_compliant", "on"),
            ("coa", "reauth"),
            ("mass_change_percent", percent),
            ("mass_change_min", min),
        ]
    };
    for (percent, min, field) in [
        ("0", "50", "mass_change_percent"),
        ("101", "50", "mass_change_percent"),
        ("a fifth", "50", "mass_change_percent"),
        ("20", "0", "mass_change_min"),
        ("20", "1000001", "mass_change_min"),
        ("20", "", "mass_change_min"),
    ] {
        let page = browser.post(&path, &form(percent, min)).await;
        page.is(422)
            .has(&format!("id=\"{field}-error\""))
            .has(&format!("name=\"mass_change_percent\" value=\"{percent}\""));
    }
    browser.post(&path, &form("35", "200")).await.redirect();
    browser
        .get(&path)
        .await
        .has("name=\"mass_change_percent\" value=\"35\"")
        .has("name=\"mass_change_min\" value=\"200\"");
    let detail: serde_json::Value =
        sqlx::query_scalar("SELECT detail FROM audit WHERE org_id = $1 AND action = 'org.update'")
            .bind(org.uuid())
            .fetch_one(&world.admin)
            .await
            .unwrap();
    assert_eq!(detail["before"]["mass_change"], serde_json::json!({ "percent": 20, "min": 50 }));
    assert_eq!(detail["after"]["mass_change"], serde_json::json!({ "percent": 35, "min": 200 }));
}

#[tokio::test]
async fn old_holds_are_on_further_pages() {
    let world = World::new().await;
    let (tenant, browser) = world.tenant("Contoso", "", 5, 5).await;
    sqlx::query(
        "INSERT INTO hold (org_id, id, link_id, state, opened_at, counted_since, worse, fleet)
         SELECT $1, gen_random_uuid(), $2, 'cleared', $3 - make_interval(mins => n / 2), $3, n, 900
         FROM generate_series(1, 70) n",
    )
    .bind(tenant.org.uuid())
    .bind(tenant.link.uuid())
    .bind(world.now() - time::Duration::HOUR)
    .execute(&world.admin)
    .await
    .unwrap();
    let list = format!("/orgs/{}/holds", tenant.org);
    let first = browser.get(&list).await;
    let before = &first.body[..first.body.find("rel=\"next\"").unwrap()];
    let older = before[before.rfind("href=\"").unwrap() + 6..].split('"').next().unwrap();
    let second = browser.get(older).await;
    assert!(!second.body.contains("rel=\"next\""));
    let start = format!("<th scope=\"row\"><a href=\"{list}/");
    let ids = |body: &str| {
        let found =
            body.match_indices(&start).map(|(at, m)| body[at + m.len()..at + m.len() + 36].to_owned());
        found.collect::<Vec<_>>()
    };
    let mut all = [ids(&first.body), ids(&second.body)].concat();
    assert_eq!(all.len(), 71);
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), 71, "a hold came twice");
}
