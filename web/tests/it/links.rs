//! A linked account's page: what is done for it, how fast, within which budgets, and what waits.

use std::time::Duration as StdDuration;

use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use crate::world::{Tenant, World};

async fn run(world: &World, sql: &'static str, tenant: &Tenant, at: OffsetDateTime) {
    sqlx::query(sql)
        .bind(tenant.org.uuid())
        .bind(tenant.link.uuid())
        .bind(at)
        .execute(&world.admin)
        .await
        .unwrap_or_else(|error| panic!("{sql}: {error}"));
}

#[tokio::test]
async fn the_clocks_are_measured_over_a_day() {
    let world = World::new().await;
    let (tenant, browser) = world.tenant("Contoso", "", 5, 5).await;
    let (now, path) = (world.now(), format!("/orgs/{}/identity-providers/{}", tenant.org, tenant.link));
    // The one that the tenant comes with took 75 seconds.
    browser.get(&path).await.is(200).has("75 s").has("Gatehouse to moved client");
    // A hundred changes, seen within 1 to 100 seconds; and old ones, that count no more.
    run(
        &world,
        "INSERT INTO device_transition (org_id, id, link_id, device_id, at, from_state, to_state, noticed_by, visible_after)
         SELECT $1, gen_random_uuid(), $2, gen_random_uuid(), $3 - make_interval(hours => h), 'compliant',
                'noncompliant', 'delta', $3 - make_interval(hours => h, secs => n * f)
         FROM generate_series(1, 100) n, (VALUES (1, 1), (30, 1000)) AS v (h, f)",
        &tenant,
        now,
    )
    .await;
    run(
        &world,
        "INSERT INTO command (org_id, id, edge_id, session_id, session_key, kind, cause, from_outcome, to_outcome, state,
             created_at, expires_at, finished_at, noticed_at, link_id)
         SELECT $1, gen_random_uuid(), e.id, gen_random_uuid(), 's', 'reauth', cause, '{\"permit\":true}',
                '{\"permit\":false}', state, $3, $3, $3 - interval '1 hour',
                $3 - make_interval(hours => 1, secs => n * 10), $2
         FROM generate_series(1, 99) n, edge e,
              (VALUES ('compliance_changed', 'acked'), ('policy_published', 'acked'), ('compliance_changed', 'failed'))
                  AS v (cause, state)
         WHERE e.org_id = $1 AND e.name LIKE 'radius-1%' AND (v.state = 'failed' OR v.cause <> 'x')",
        &tenant,
        now,
    )
    .await;
    let page = browser.get(&path).await;
    // Of 1 to 100 and 75: the middle is 51; of 10 to 990 by tens: 500, and 980.2 of 99 in a hundred.
    page.is(200).has(">51 s<").has(">8 min 20 s<").has(">16 min 20 s<").has(">101<").has(">99<");
    page.has("Entra&#39;s change feed");
}

#[tokio::test]
async fn each_kind_of_work_tells_where_it_stands() {
    let world = World::new().await;
    let (tenant, browser) = world.tenant("Contoso", "", 12, 5).await;
    let (now, path) = (world.now(), format!("/orgs/{}/identity-providers/{}", tenant.org, tenant.link));
    for (sql, at) in [
        ("INSERT INTO sync_job (org_id, link_id, kind, next_due_at)
          SELECT $1, $2, k, $3 FROM unnest(ARRAY['sweep', 'delta', 'look', 'enrich', 'clock']) k ON CONFLICT DO NOTHING",
         now + Duration::minutes(3)),
        ("UPDATE sync_job SET lease_until = $3 WHERE org_id = $1 AND link_id = $2 AND kind = 'sweep'",
         now + Duration::minutes(1)),
        ("UPDATE sync_job SET note = 'Device.Read.All was not consented to: <ask> an administrator', finished_at = $3
          WHERE org_id = $1 AND link_id = $2 AND kind = 'delta'", now - Duration::hours(2)),
        ("UPDATE sync_job SET not_before = $3 WHERE org_id = $1 AND link_id = $2 AND kind = 'look'",
         now + Duration::seconds(100)),
        ("UPDATE sync_job SET fails = 3, next_due_at = $3 WHERE org_id = $1 AND link_id = $2 AND kind = 'enrich'",
         now - Duration::seconds(1)),
        ("INSERT INTO look_wish (org_id, link_id, key, reason, asked_at, due_at)
          VALUES ($1, $2, 'name:x', 'unmatched', $3, $3), ($1, $2, 'name:y', 'unmatched', $3, $3 + interval '1 hour')",
         now),
    ] {
        run(&world, sql, &tenant, at).await;
    }
    // Another's budget is not this one's.
    let bucket = cache::intune_budget(Uuid::from_u128(0xc11e), tenant.tid);
    for (budget, cost) in [(bucket, 300), (cache::intune_budget(Uuid::nil(), tenant.tid), 700)] {
        world.cache.take_budget(&budget, cost, 2000, StdDuration::from_secs(3600)).await.unwrap();
    }
    let page = browser.get(&path).await;
    page.is(200)
        .has(" running</span>")
        .has("Microsoft asked to wait until 20 Nov 12:36:36 UTC")
        .has("3 in a row")
        .has("kept from it")
        .has("Device.Read.All was not consented to: &#60;ask&#62;")
        .has("never yet")
        .has(">due</td>")
        .has("300 of 2\u{202f}000 requests per 1 h")
        .has("<meter id=\"meter-1\" min=\"0\" max=\"2000\" value=\"300\">")
        .has("Entra directory: nothing was asked in the last seconds")
        .has("2 <span class=\"faint\">(1 due)</span>")
        .has(&format!("/devices?show=hot&amp;link={}", tenant.link));
    assert!(!page.body.contains("700 of"), "another app's budget is shown");
}

#[tokio::test]
async fn the_overview_tells_how_the_sync_fares() {
    let world = World::new().await;
    let (tenant, browser) = world.tenant("Contoso", "", 12, 5).await;
    let page = browser.get(&format!("/orgs/{}", tenant.org)).await;
    page.is(200).has("changes seen within 75 s").has("moves are held");
    let (org, fresh) = world.fresh("Fabrikam").await;
    fresh.get(&format!("/orgs/{org}")).await.is(200).has("No moves are held");
}
