//! The page of a client, and of one session: everything that happened, as one list.

use std::collections::BTreeSet;
use std::str::FromStr;

use domain::coa::{CoaCause, CoaKind};
use domain::command::{ErrorCause, NasAnswer, NasResult};
use domain::decision::Outcome;
use domain::event::{Event, EventKind};
use domain::{Mac, OrgId, SessionId};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use store::commands::{self, NewCommand};
use store::views::timeline::{self, Part, Scope, Whose};
use store::{Store, commands_edge};
use time::Duration;

use crate::world::{Page, Tenant, World};

/// The client of the device whose compliance changed: see `tenant`.
const CHANGED: Mac = Mac([0xd4, 0x6e, 0x0e, 0, 0, 1]);

/// The ids of a page's entries, in their order.
fn entries(page: &Page) -> Vec<String> {
    let found = page.body.match_indices("<li id=\"t-").map(|(at, start)| {
        let rest = &page.body[at + start.len()..];
        rest[..rest.find('"').unwrap()].to_owned()
    });
    found.collect()
}

/// Where the page's link to what follows leads.
pub fn older(page: &Page) -> Option<String> {
    let before = &page.body[..page.body.find("rel=\"next\"")?];
    let href = before[before.rfind("href=\"")? + 6..].split(['"']).next()?;
    let href = href.replace("&#38;", "&").replace("&amp;", "&");
    Some(href.trim_end_matches("#timeline").to_owned())
}

/// A session of the client that goes on.
async fn active(world: &World, tenant: &Tenant) -> SessionId {
    let id = sqlx::query_scalar(
        "SELECT id FROM session s WHERE org_id = $1 AND mac = 'd4:6e:0e:00:00:01' AND ended_at IS NULL
         AND NOT EXISTS (SELECT FROM command c WHERE c.session_id = s.id) ORDER BY started_at DESC LIMIT 1",
    )
    .bind(tenant.org.uuid())
    .fetch_one(&world.admin)
    .await
    .unwrap();
    SessionId(id)
}

async fn refuse(world: &World, tenant: &Tenant, session: SessionId, cause: u32) {
    let now = world.now();
    let mut tx = world.store.org(tenant.org).await.unwrap();
    let command = NewCommand {
        edge: tenant.edge,
        site: tenant.site,
        session,
        session_key: "s".to_owned(),
        mac: Some(CHANGED),
        kind: CoaKind::Reauth,
        cause: CoaCause::ComplianceChanged,
        from: Outcome::DENY,
        to: Outcome { permit: true, vlan: Some("77".to_owned()), ..Outcome::default() },
        answered_at: None,
        expires_at: now + Duration::minutes(5),
    };
    let id = commands::insert(&mut tx, &world.ids, now, command).await.unwrap();
    let answer = NasAnswer { result: NasResult::Nak, error_cause: Some(ErrorCause(cause)) };
    assert!(commands_edge::ack(&mut tx, &world.ids, now, tenant.edge, id, answer, None).await.unwrap());
    tx.commit().await.unwrap();
}

#[tokio::test]
async fn a_client_is_told_as_one_story() {
    let world = World::new().await;
    let (tenant, browser) = world.tenant("Contoso", "", 30, 130).await;
    let at = |rest: &str| format!("/orgs/{}/{rest}", tenant.org);
    let session = active(&world, &tenant).await;
    refuse(&world, &tenant, session, 405).await;
    browser.post(&at(&format!("devices/{}/{}/check", tenant.link, tenant.devices[1])), &[]).await.redirect();
    // The device has been here under another address.
    sqlx::query(
        "UPDATE session SET mac = '02:00:00:00:00:99' WHERE id = (
            SELECT id FROM session WHERE mac = 'd4:6e:0e:00:00:01' AND id <> $1 ORDER BY started_at LIMIT 1)",
    )
    .bind(session.uuid())
    .execute(&world.admin)
    .await
    .unwrap();

    let client = at(&format!("clients/{CHANGED}"));
    let page = browser.get(&client).await;
    page.is(200)
        .has("<code>compliant</code> → <code>noncompliant</code>")
        .has("noticed by a look at the device")
        .has("A look was asked for")
        .has("ada@contoso.example")
        .has("Session began")
        .has("Has address")
        .has("matched by Intune id in the certificate")
        .has("to VLAN 77")
        .has("the NAS refused: Unsupported-Service (405)")
        .has("What to do:")
        .has("same as before")
        .has("no decision before it is kept")
        .has("Also known as")
        .has(&format!("href=\"{}\">02:00:00:00:00:99", at("clients/02:00:00:00:00:99")))
        .has("session of 20 Nov")
        .has("Fri 20 Nov 2026");
    let all = entries(&page);
    // Newest first, whatever table an entry comes from.
    let times: Vec<&str> = page.body[page.body.find("id=\"timeline\"").unwrap()..]
        .match_indices("<div class=\"when\"><time datetime=\"")
        .map(|(at, start)| at + start.len())
        .map(|at| &page.body[page.body.find("id=\"timeline\"").unwrap()..][at..at + 20])
        .collect();
    assert_eq!(times.len(), all.len());
    assert!(times.is_sorted_by(|a, b| a >= b), "{times:?}");

    // Each kind by itself; together they are all.
    let mut parts = Vec::new();
    for (show, has, has_not) in [
        ("decisions", "Permitted", "Session began"),
        ("sessions", "Session began", "matched by"),
        ("compliance", "A look was asked for", "Session began"),
        ("coa", "Unsupported-Service", "A look was asked for"),
    ] {
        let part = browser.get(&format!("{client}?show={show}")).await;
        part.is(200).has(has);
        assert!(!part.body[part.body.find("id=\"timeline\"").unwrap()..].contains(has_not), "{show}");
        parts.extend(entries(&part));
    }
    assert_eq!(parts.iter().collect::<BTreeSet<_>>(), all.iter().collect::<BTreeSet<_>>());
    assert_eq!(parts.len(), all.len());
    let recent = browser.get(&format!("{client}?show=compliance&period=1d")).await;
    assert_eq!(entries(&recent).len(), 2, "the change and the look of today");

    // One session: its own part of the story.
    let page = browser.get(&at(&format!("sessions/{session}"))).await;
    page.is(200).has("Unsupported-Service (405)").has("Session began").has("All of this client");
    let own = entries(&page);
    assert!(own.len() < all.len());
    assert!(own.iter().all(|entry| all.contains(entry)), "{own:?}");
    let unmoved: uuid::Uuid = sqlx::query_scalar(
        "SELECT id FROM session s WHERE org_id = $1
         AND NOT EXISTS (SELECT FROM command c WHERE c.session_id = s.id) LIMIT 1",
    )
    .bind(tenant.org.uuid())
    .fetch_one(&world.admin)
    .await
    .unwrap();
    let empty = browser.get(&at(&format!("sessions/{unmoved}?show=coa"))).await;
    empty.is(200).has("Nothing of that kind in this period").has("Show everything that is kept");
}

/// Nobody was there to be moved: that is no failure, and nobody has to see to it.
#[tokio::test]
async fn who_is_gone_is_not_told_as_a_failure() {
    let world = World::new().await;
    let (tenant, browser) = world.tenant("Contoso", "", 30, 130).await;
    let session = active(&world, &tenant).await;
    let client = format!("/orgs/{}/clients/{CHANGED}?show=coa", tenant.org);
    let (gone, failed) = ("</svg>gone</span>", "</svg>failed</span>");
    refuse(&world, &tenant, session, 503).await;
    let page = browser.get(&client).await;
    page.is(200).has("the NAS refused: Session-Context-Not-Found (503)").has(gone);
    assert!(!page.body.contains(failed));
    refuse(&world, &tenant, session, 501).await;
    browser.get(&client).await.is(200).has(gone).has(failed);
}

/// What an edge refused by itself: on the client's page, and among the events where nothing was ever decided of it.
#[tokio::test]
async fn a_refusal_by_the_edge_is_on_the_clients_page() {
    let world = World::new().await;
    let (tenant, browser) = world.tenant("Contoso", "", 30, 130).await;
    let at = |rest: &str| format!("/orgs/{}/{rest}", tenant.org);
    let stranger = Mac([0xd4, 0x6e, 0x0e, 9, 9, 9]);
    browser.get(&at(&format!("clients/{stranger}"))).await.is(404);
    let now = world.now();
    let mut tx = world.store.org(tenant.org).await.unwrap();
    for mac in [CHANGED, stranger] {
        let event = Event {
            org: tenant.org,
            id: world.ids.make(now),
            at: now,
            kind: EventKind::NacClientCertCheckFailure,
            mac: Some(mac),
            session: None,
            edge: Some(tenant.edge),
            site: None,
            summary: "Refused by the edge: its certificate is nobody’s".to_owned(),
            detail: serde_json::json!({"cause": "certificate_issuer_unknown"}),
        };
        store::events::append(&mut tx, &event).await.unwrap();
    }
    tx.commit().await.unwrap();
    let told = "its certificate is nobody’s";
    browser.get(&at(&format!("clients/{CHANGED}?show=decisions"))).await.is(200).has(told);
    let events = browser.get(&at(&format!("clients/{stranger}"))).await.redirect();
    assert!(events.starts_with(&at("events?mac=d4:6e:0e:09:09:09")), "{events}");
    browser.get(&events).await.is(200).has(told);
}

#[tokio::test]
async fn a_long_story_is_paged_without_gaps() {
    let world = World::new().await;
    let (tenant, browser) = world.tenant("Contoso", "", 30, 30).await;
    // Several of one moment, on the border of a page, too.
    for (table, kind) in [("a", "NAC_CLIENT_PERMIT"), ("b", "NAC_SESSION_STARTED")] {
        sqlx::query(
            "INSERT INTO event (org_id, at, id, kind, mac, session_id, summary, permit, detail)
             SELECT $1, $2::timestamptz - make_interval(mins => n / 7), md5($3 || n)::uuid, $4,
                    'd4:6e:0e:00:00:01', $5, 'x', true, '{}' FROM generate_series(1, 80) n",
        )
        .bind(tenant.org.uuid())
        .bind(world.now())
        .bind(table)
        .bind(kind)
        .bind(tenant.sessions[0].uuid())
        .execute(&world.admin)
        .await
        .unwrap();
    }
    let mut next = Some(format!("/orgs/{}/clients/{CHANGED}", tenant.org));
    let (mut seen, mut pages) = (Vec::new(), 0);
    while let Some(path) = next {
        let page = browser.get(&path).await;
        page.is(200);
        pages += 1;
        if pages > 1 {
            page.has("Newest</a>");
        }
        seen.extend(entries(&page));
        next = older(&page);
        assert!(pages < 10);
    }
    assert!(pages >= 4, "{pages}");
    let distinct: BTreeSet<_> = seen.iter().collect();
    assert_eq!(distinct.len(), seen.len(), "none comes twice");
    let events: Vec<uuid::Uuid> = sqlx::query_scalar(
        "SELECT id FROM event WHERE org_id = $1 AND mac = 'd4:6e:0e:00:00:01' AND kind NOT LIKE 'NAC_CLIENT_COA%'
         AND kind <> 'NAC_MDM_COMPLIANCE_CHANGED'",
    )
    .bind(tenant.org.uuid())
    .fetch_all(&world.admin)
    .await
    .unwrap();
    assert!(events.len() >= 160);
    for event in events {
        assert!(distinct.contains(&event.to_string()), "{event} is missing");
    }
}

/// What reading costs does not grow with what is kept: each page reads its own rows, by an index.
#[tokio::test]
async fn a_page_reads_little_of_much() {
    let world = World::new().await;
    let (tenant, _) = world.tenant("Contoso", "", 30, 30).await;
    fill(&world, tenant.org).await;
    let name: String = sqlx::query_scalar("SELECT current_database()").fetch_one(&world.admin).await.unwrap();
    let options = PgConnectOptions::from_str(&std::env::var("GATEHOUSE_TEST_DATABASE_URL").unwrap()).unwrap();
    // One connection, so that what it read is known at once.
    let pool = PgPoolOptions::new()
        .max_connections(1)
        .connect_with(options.database(&name).options([("role", "gatehouse_app")]))
        .await
        .unwrap();
    let store = Store::from_pool(pool.clone());
    let mac = Mac([0x02, 0, 0, 0, 0, 7]);
    let session = SessionId(uuid::Uuid::from_u128(7));
    for whose in [Whose::Client(mac), Whose::Session(session)] {
        let scope = Scope {
            whose,
            devices: vec![(tenant.link, tenant.devices[1])],
            from: None,
            stay: None,
            parts: Part::ALL.to_vec(),
        };
        let mut before = None;
        for _ in 0..3 {
            sqlx::query("SELECT pg_stat_reset()").execute(&world.admin).await.unwrap();
            let mut tx = store.org(tenant.org).await.unwrap();
            let (page, more) = timeline::page(&mut tx, &scope, before, 50).await.unwrap();
            tx.commit().await.unwrap();
            assert_eq!((page.len(), more), (50, true));
            before = page.last().map(timeline::Entry::cursor);
            sqlx::query("SELECT pg_stat_force_next_flush()").execute(&pool).await.unwrap();
            let (one_by_one, by_index): (i64, i64) = sqlx::query_as(
                "SELECT sum(seq_tup_read)::bigint, sum(idx_tup_fetch)::bigint FROM pg_stat_user_tables
                 WHERE relname LIKE 'event%' OR relname IN ('command', 'audit', 'device_transition')",
            )
            .fetch_one(&world.admin)
            .await
            .unwrap();
            assert!(one_by_one < 100, "{whose:?}: {one_by_one} rows were read one by one");
            assert!((50..1_000).contains(&by_index), "{whose:?}: {by_index} rows were read by index");
        }
    }
}

/// Events of a thousand clients and as many sessions over a month, commands, and what other people asked for.
async fn fill(world: &World, org: OrgId) {
    for statement in [
        "SELECT ensure_event_partition(('2026-11-20'::date - n)) FROM generate_series(0, 30) n",
        "INSERT INTO event (org_id, at, id, kind, mac, session_id, summary, permit, detail)
         SELECT $1, '2026-11-20 12:00Z'::timestamptz - make_interval(secs => n * 13), md5('e' || n)::uuid,
                (ARRAY['NAC_CLIENT_PERMIT', 'NAC_SESSION_STARTED', 'NAC_CLIENT_COA_REAUTH', 'NAC_SESSION_ENDED'])[n / 1000 % 4 + 1],
                ('02:00:00:00:' || to_hex(n % 1000 / 256) || ':' || to_hex(n % 1000 % 256))::macaddr,
                lpad(to_hex(n % 1000), 32, '0')::uuid, 'x', true, '{}'
         FROM generate_series(1, 200000) n",
        "INSERT INTO command (org_id, id, edge_id, session_id, session_key, mac, kind, cause, from_outcome, to_outcome,
                              state, created_at, expires_at)
         SELECT $1, md5('c' || n)::uuid, (SELECT id FROM edge WHERE org_id = $1 LIMIT 1),
                lpad(to_hex(n % 1000), 32, '0')::uuid, 'x',
                ('02:00:00:00:' || to_hex(n % 1000 / 256) || ':' || to_hex(n % 1000 % 256))::macaddr, 'reauth',
                'admin_asked', '{}', '{\"permit\": true}', 'acked',
                '2026-11-20 12:00Z'::timestamptz - make_interval(secs => n * 13), '2026-11-20 12:00Z'
         FROM generate_series(1, 50000) n",
        "INSERT INTO audit (org_id, id, at, actor, action, target, detail)
         SELECT $1, md5('a' || n)::uuid, '2026-11-20 12:00Z'::timestamptz - make_interval(secs => n), 'x',
                'device.check', 'x', jsonb_build_object('device', md5('d' || n % 1000)::uuid)
         FROM generate_series(1, 20000) n",
        "INSERT INTO device_transition (org_id, id, link_id, device_id, at, from_state, to_state)
         SELECT $1, md5('t' || n)::uuid, (SELECT id FROM link WHERE org_id = $1 LIMIT 1), md5('d' || n % 1000)::uuid,
                '2026-11-20 12:00Z'::timestamptz - make_interval(secs => n), 'compliant', 'noncompliant'
         FROM generate_series(1, 20000) n",
    ] {
        let query = sqlx::query(statement);
        let query = if statement.contains("$1") { query.bind(org.uuid()) } else { query };
        query.execute(&world.admin).await.unwrap();
    }
    sqlx::query("ANALYZE").execute(&world.admin).await.unwrap();
}
