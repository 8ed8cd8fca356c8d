//! What pages read does not grow with what is kept.

use std::str::FromStr;

use domain::compliance::Verdict;
use domain::decision::Reason;
use domain::{EdgeId, Mac, OrgId};
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use store::Store;
use store::views::clients::{self, ClientFilter, ClientRow};
use store::views::events::{self, EventFilter, STRETCH};
use store::views::overview::FLEET_READ_MAX;
use store::views::{COUNT_MAX, Cursor, hits, overview, sites};
use time::Duration;
use uuid::Uuid;

use crate::world::{Tenant, World};

/// A store with one connection, so that what it read is known at once.
struct Reader {
    pool: PgPool,
    store: Store,
}

/// Rows that were read of the tables whose names begin like one.
#[derive(Clone, Copy, Debug)]
struct Read {
    one_by_one: i64,
    by_index: i64,
}

impl Reader {
    async fn of(world: &World) -> Self {
        sqlx::query("VACUUM ANALYZE").execute(&world.admin).await.unwrap();
        let name: String =
            sqlx::query_scalar("SELECT current_database()").fetch_one(&world.admin).await.unwrap();
        let options =
            PgConnectOptions::from_str(&std::env::var("GATEHOUSE_TEST_DATABASE_URL").unwrap()).unwrap();
        let pool = PgPoolOptions::new()
            .max_connections(1)
            .connect_with(options.database(&name).options([("role", "gatehouse_app")]))
            .await
            .unwrap();
        Self { store: Store::from_pool(pool.clone()), pool }
    }

    /// What `run` gives, and what it read.
    async fn count<T>(
        &self,
        world: &World,
        org: OrgId,
        table: &str,
        run: impl AsyncFnOnce(&mut store::OrgTx) -> store::Result<T>,
    ) -> (T, Read) {
        sqlx::query("SELECT pg_stat_force_next_flush()").execute(&self.pool).await.unwrap();
        sqlx::query("SELECT pg_stat_reset()").execute(&world.admin).await.unwrap();
        let mut tx = self.store.org(org).await.unwrap();
        let found = run(&mut tx).await.unwrap();
        tx.commit().await.unwrap();
        sqlx::query("SELECT pg_stat_force_next_flush()").execute(&self.pool).await.unwrap();
        let (one_by_one, by_index) = sqlx::query_as(
            "SELECT sum(seq_tup_read)::bigint, sum(idx_tup_fetch)::bigint FROM pg_stat_user_tables
             WHERE relname LIKE $1 || '%'",
        )
        .bind(table)
        .fetch_one(&world.admin)
        .await
        .unwrap();
        (found, Read { one_by_one, by_index })
    }
}

async fn run(world: &World, tenant: &Tenant, statement: &'static str) {
    let query = sqlx::query(statement);
    let query = if statement.contains("$1") { query.bind(tenant.org.uuid()) } else { query };
    query.execute(&world.admin).await.unwrap();
}

#[tokio::test]
async fn what_an_edge_asked_lately_is_of_its_latest_days() {
    let world = World::new().await;
    let (tenant, browser) = world.tenant("Contoso", "", 10, 20).await;
    // A year of sessions of the site's other edges.
    run(
        &world,
        &tenant,
        "INSERT INTO session (org_id, id, edge_id, site_id, session_key, decided_at, started_at, ended_at, request)
         SELECT $1, md5('s' || n)::uuid, md5('other')::uuid, (SELECT site_id FROM edge WHERE name = 'radius-1'),
                'x' || n, at, at, at, '{}'
         FROM generate_series(1, 40000) n,
              LATERAL (SELECT '2026-11-18 12:00Z'::timestamptz - make_interval(mins => (40001 - n) * 13) AS at) t",
    )
    .await;
    let reader = Reader::of(&world).await;
    let (asked, read) = reader
        .count(&world, tenant.org, "session", async |tx| sites::requests(tx, tenant.site, tenant.edge).await)
        .await;
    assert!(asked.len() > 5, "{}", asked.len());
    assert!(read.one_by_one < 100 && read.by_index < 6_000, "{read:?}");
    let edge = format!("/orgs/{}/sites/edges/{}", tenant.org, tenant.edge);
    browser.get(&format!("{edge}/connect")).await.is(200).has("[[nas]]");
    browser.get(&format!("{edge}/test")).await.is(200).has("A client that this edge asked for lately");
}

/// The steps of a test are looked for all the time.
#[tokio::test]
async fn what_is_heard_of_an_edge_is_known_without_its_sessions() {
    let world = World::new().await;
    let (tenant, _) = world.tenant("Contoso", "", 10, 40).await;
    let reader = Reader::of(&world).await;
    for table in ["session", "command", "edge_minute"] {
        let (heard, read) = reader
            .count(&world, tenant.org, table, async |tx| sites::heard(tx, tenant.edge, world.now()).await)
            .await;
        assert_eq!(heard.unwrap().credentials, 1);
        assert_eq!((read.one_by_one, read.by_index), (0, 0), "{table}");
    }
    // It is the same that the edge's page tells.
    let mut tx = world.store.org(tenant.org).await.unwrap();
    let heard = sites::heard(&mut tx, tenant.edge, world.now()).await.unwrap();
    let view = sites::edge(&mut tx, tenant.edge, world.now()).await.unwrap().unwrap();
    assert_eq!(heard.as_ref(), Some(&view.heard));
    let sessions: i64 =
        sqlx::query_scalar("SELECT count(*) FROM session WHERE edge_id = $1 AND ended_at IS NULL")
            .bind(tenant.edge.uuid())
            .fetch_one(&world.admin)
            .await
            .unwrap();
    assert!(sessions > 0);
    assert_eq!((view.active_sessions, view.sessions_cut), (sessions, false));
}

/// Whether a client is on the network is asked of an index, however many sessions it had before and since.
#[tokio::test]
async fn clients_are_listed_without_the_sessions_that_they_had() {
    let world = World::new().await;
    let (tenant, _) = world.tenant("Contoso", "", 10, 20).await;
    // Ten sessions of each of 4 000 clients, of whom a quarter is on the network since before the last ones …
    run(
        &world,
        &tenant,
        "INSERT INTO session (org_id, id, edge_id, site_id, session_key, mac, started_at, ended_at)
         SELECT $1, md5('s' || n)::uuid, md5('edge')::uuid, md5('site')::uuid, 's' || n,
                ('02:00:00:00:' || to_hex(n % 4000 / 256) || ':' || to_hex(n % 4000 % 256))::macaddr, at,
                CASE WHEN n / 4000 <> 3 OR n % 4 <> 0 THEN at END
         FROM generate_series(1, 40000) n,
              LATERAL (SELECT '2026-11-20 12:00Z'::timestamptz - make_interval(secs => n * 10) AS at) t",
    )
    .await;
    // … and one that came and went all the time, and has been there since before all of that.
    run(
        &world,
        &tenant,
        "INSERT INTO session (org_id, id, edge_id, site_id, session_key, mac, started_at, ended_at)
         SELECT $1, md5('h' || n)::uuid, md5('edge')::uuid, md5('site')::uuid, 'h' || n,
                '02:00:00:00:ff:ff', at, CASE WHEN n < 20000 THEN at END
         FROM generate_series(1, 20000) n,
              LATERAL (SELECT '2026-11-10 12:00Z'::timestamptz - make_interval(mins => n) AS at) t",
    )
    .await;
    let reader = Reader::of(&world).await;
    for active in [true, false] {
        let filter = ClientFilter { active, ..ClientFilter::default() };
        let mut before = None;
        for _ in 0..3 {
            let (rows, read) = reader
                .count(&world, tenant.org, "session", async |tx| clients::list(tx, &filter, before, 51).await)
                .await;
            assert_eq!(rows.len(), 51);
            assert!(rows.iter().all(|row| row.is_active() == active), "{active}");
            assert!(read.one_by_one + read.by_index < 2_000, "{active}: {read:?}");
            before = rows.last().map(ClientRow::cursor);
        }
    }
    let busy = Mac([0x02, 0, 0, 0, 0xff, 0xff]);
    let filter = ClientFilter { active: true, mac: Some(busy), ..ClientFilter::default() };
    let (rows, read) = reader
        .count(&world, tenant.org, "session", async |tx| clients::list(tx, &filter, None, 51).await)
        .await;
    assert_eq!(rows.len(), 1);
    assert!(read.one_by_one + read.by_index < 200, "{read:?}");
    let (rows, read) =
        reader.count(&world, tenant.org, "session", async |tx| clients::sessions(tx, busy, 20).await).await;
    let active: Vec<bool> = rows.iter().map(ClientRow::is_active).collect();
    assert_eq!((active.len(), active.iter().position(|is| *is)), (20, Some(0)));
    assert_eq!(active.iter().filter(|is| **is).count(), 1);
    assert!(read.one_by_one + read.by_index < 200, "{read:?}");
}

#[tokio::test]
async fn a_large_fleet_is_counted_to_a_limit() {
    let world = World::new().await;
    let (tenant, browser) = world.tenant("Contoso", "", 40, 5).await;
    let mut tx = world.store.org(tenant.org).await.unwrap();
    let settings = store::orgs::get(&mut tx).await.unwrap().unwrap().settings;
    let small = overview::fleet(&mut tx, &settings, world.now()).await.unwrap();
    assert_eq!(small.iter().map(|group| group.devices).sum::<i64>(), 40);
    assert!(small.iter().all(|group| !group.cut));
    tx.commit().await.unwrap();
    run(
        &world,
        &tenant,
        "INSERT INTO device (org_id, link_id, id, ordinal, content_hash, compliance, fetched_at)
         SELECT $1, (SELECT id FROM link WHERE org_id = $1), md5('d' || n)::uuid, 1000 + n, sha256('x'),
                'compliant', '2026-11-20 12:00Z'
         FROM generate_series(1, 30000) n",
    )
    .await;
    let reader = Reader::of(&world).await;
    let (fleet, read) = reader
        .count(&world, tenant.org, "device", async |tx| overview::fleet(tx, &settings, world.now()).await)
        .await;
    assert!(read.one_by_one + read.by_index < FLEET_READ_MAX + 1_000, "{read:?}");
    for group in &fleet {
        let is_large = group.compliance.state.as_ref().is_some_and(|state| state.as_str() == "compliant");
        assert_eq!(group.cut, is_large, "{group:?}");
    }
    let of = |verdict, fleet: &[overview::FleetGroup]| -> i64 {
        fleet.iter().filter(|group| group.compliance.verdict == verdict).map(|group| group.devices).sum()
    };
    assert_eq!(of(Verdict::NonCompliant, &fleet), of(Verdict::NonCompliant, &small));
    let page = browser.get(&format!("/orgs/{}", tenant.org)).await;
    page.is(200).has(">about 30\u{202f}0").has("30\u{202f}040</dd>");
}

#[tokio::test]
async fn much_is_decided_and_little_of_it_is_read() {
    let world = World::new().await;
    let (tenant, browser) = world.tenant("Contoso", "", 30, 60).await;
    fill(&world, &tenant).await;
    let reader = Reader::of(&world).await;
    let org = format!("/orgs/{}", tenant.org);
    let (now, day) = (world.now(), Duration::DAY);

    // A rule's hits stop at a limit, and so does the chart.
    let rules = tenant.rules.clone();
    let (found, read) = reader
        .count(&world, tenant.org, "event", async |tx| hits::hits(tx, now - day, &rules, false).await)
        .await;
    assert_eq!(found.of(rules[0]).count, hits::HITS_MAX);
    assert!(found.of(rules[0]).last.is_some_and(|last| last > now - Duration::HOUR));
    assert!(found.of(rules[1]).count < 100, "others are counted as before");
    assert!(read.one_by_one + read.by_index < 3 * hits::HITS_MAX, "{read:?}");
    browser.get(&format!("{org}/auth-policies")).await.has("10\u{202f}000 or more</a>");
    let mut tx = world.store.org(tenant.org).await.unwrap();
    let from = now - day;
    let counts = overview::decisions(&mut tx, from, 86_400, 1).await.unwrap();
    assert_eq!(counts.iter().map(|count| (count.at, count.permits)).collect::<Vec<_>>(), [(from, COUNT_MAX)]);
    assert!(counts[0].denies < 1_000);
    tx.commit().await.unwrap();

    // Denials of one reason are found by it.
    let expired = EventFilter {
        reason: Some(Reason::CertificateExpired),
        from: Some(now - day),
        ..EventFilter::default()
    };
    let list = async |filter: &EventFilter, before: Option<Cursor>, limit: i64| {
        reader
            .count(&world, tenant.org, "event", async |tx| events::list(tx, filter, before, limit).await)
            .await
    };
    let (found, read) = list(&expired, None, 51).await;
    assert!((8..51).contains(&found.rows.len()), "{}", found.rows.len());
    assert!(read.one_by_one + read.by_index < 500, "{read:?}");

    // An edge that was silent for long is found in stretches.
    let quiet = EdgeId(Uuid::from_u128(7));
    let filter = EventFilter { edge: Some(quiet), from: Some(now - day), ..EventFilter::default() };
    let (first, read) = list(&filter, None, 51).await;
    assert!(first.rows.is_empty(), "{}", first.rows.len());
    let stopped = first.stopped_at.unwrap();
    assert!(read.one_by_one + read.by_index < 2 * STRETCH + 1_000, "{read:?}");
    let (second, _) = list(&filter, Some(stopped), 51).await;
    assert_eq!((second.rows.len(), second.stopped_at), (3, None));
    // A busy one is found at once.
    let busy = EventFilter { edge: Some(tenant.edge), from: Some(now - day), ..EventFilter::default() };
    let (found, read) = list(&busy, None, 20).await;
    assert_eq!((found.rows.len(), found.stopped_at), (20, None));
    assert!(read.one_by_one + read.by_index < 2_000, "{read:?}");
    let page = browser.get(&format!("{org}/events?edge={quiet}")).await;
    page.is(200).has("Nothing fits so far").has("Look further");
    let before = &page.body[..page.body.find("rel=\"next\"").unwrap()];
    let further = before[before.rfind("href=\"").unwrap() + 6..].split('"').next().unwrap();
    let further = browser.get(&further.replace("&#38;", "&").replace("&amp;", "&")).await;
    assert_eq!(further.body.matches(" id=\"e-").count(), 3);
    assert!(!further.body.contains("Look further"));
}

/// More permits by one rule within the day than are counted or looked through; behind them, three of a quiet edge.
async fn fill(world: &World, tenant: &Tenant) {
    run(
        world,
        tenant,
        "INSERT INTO event (org_id, at, id, kind, edge_id, summary, permit, reason, detail)
         SELECT $1, '2026-11-20 12:00Z'::timestamptz - make_interval(secs => n * 7000), md5('d' || n)::uuid,
                'NAC_CLIENT_DENY', md5('edge')::uuid, 'x', false, 'certificate_expired', '{}'
         FROM generate_series(1, 8) n",
    )
    .await;
    sqlx::query(
        "INSERT INTO event (org_id, at, id, kind, edge_id, summary, permit, reason, rule_id, detail)
         SELECT $1, '2026-11-20 12:00Z'::timestamptz - make_interval(secs => n * 0.5), md5('e' || n)::uuid,
                'NAC_CLIENT_PERMIT', CASE WHEN n > 104997 THEN $3 ELSE md5('edge')::uuid END, 'x', true, 'rule_allow',
                $2, '{}'
         FROM generate_series(1, 105000) n",
    )
    .bind(tenant.org.uuid())
    .bind(tenant.rules[0].uuid())
    .bind(Uuid::from_u128(7))
    .execute(&world.admin)
    .await
    .unwrap();
    sqlx::query("ANALYZE event").execute(&world.admin).await.unwrap();
}
