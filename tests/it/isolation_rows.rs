//! Row level security, proven under the role of the running processes: for every table there is, for every kind of
//! access, and after transactions that were cut off at any moment.

use std::collections::BTreeSet;

use domain::OrgId;
use gatehouse_tests::{Database, Options, TestApp, eventually, journey};
use sqlx::postgres::PgPoolOptions;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, Row as _};
use store::Store;
use uuid::Uuid;

/// Tables without an organization, and why.
const NOT_OF_TENANTS: &[(&str, &str)] = &[
    ("account", "a person may be a member of several organizations"),
    ("browser_session", "a person may be a member of several organizations, or of none yet"),
    ("_sqlx_migrations", "which migrations were applied"),
];

/// What workers may see across organizations, and whether they may also write it.
const SYSTEM_SEES: &[(&str, bool)] = &[
    ("member", false),
    ("org", false),
    ("link", false),
    ("command", false),
    ("sync_job", true),
    ("outbox", true),
];

async fn as_app(database: &Database) -> PgConnection {
    PgConnection::connect(&database.app_url()).await.unwrap()
}

/// Every table of the schema, but partitions: they are reached through their parent.
async fn tables(connection: &mut PgConnection) -> Vec<String> {
    sqlx::query_scalar(
        "SELECT c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE n.nspname = 'public' AND c.relkind IN ('r', 'p') AND NOT c.relispartition ORDER BY 1",
    )
    .fetch_all(connection)
    .await
    .unwrap()
}

async fn tenant_tables(connection: &mut PgConnection) -> Vec<String> {
    let exempt: BTreeSet<&str> = NOT_OF_TENANTS.iter().map(|(name, _)| *name).collect();
    tables(connection).await.into_iter().filter(|table| !exempt.contains(table.as_str())).collect()
}

#[tokio::test]
async fn connections_that_a_restart_of_postgresql_left_dead_fail_nobody() {
    let database = Database::fresh().await;
    let store = database.store();
    let mut open = Vec::new();
    for _ in 0..4 {
        open.push(store.system().await.unwrap());
    }
    drop(open);
    let ended: i64 = sqlx::query_scalar(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
         WHERE datname = current_database() AND usename = 'gatehouse_app'",
    )
    .fetch_one(&mut database.superuser().await)
    .await
    .unwrap();
    assert!(ended >= 4, "{ended} connections were open");
    store.org(OrgId(Uuid::from_u128(1))).await.expect("a transaction, on a connection that is alive");
}

#[tokio::test]
async fn the_role_of_processes_is_bound_by_policies() {
    let database = Database::fresh().await;
    let row = sqlx::query(
        "SELECT rolsuper, rolbypassrls, rolcreaterole FROM pg_roles WHERE rolname = current_user",
    )
    .fetch_one(&mut as_app(&database).await)
    .await
    .unwrap();
    assert_eq!((row.get(0), row.get(1), row.get(2)), (false, false, false));
}

#[tokio::test]
async fn every_table_is_guarded() {
    let database = Database::fresh().await;
    let mut connection = database.superuser().await;
    for table in tenant_tables(&mut connection).await {
        let row = sqlx::query(
            "SELECT relrowsecurity, relforcerowsecurity,
                    EXISTS (SELECT FROM pg_attribute WHERE attrelid = c.oid AND attname = 'org_id' AND attnotnull)
             FROM pg_class c WHERE oid = $1::regclass",
        )
        .bind(&table)
        .fetch_one(&mut connection)
        .await
        .unwrap();
        assert_eq!((row.get(0), row.get(1), row.get(2)), (true, true, true), "{table}: RLS, FORCE, org_id");
        let keys: Vec<String> = sqlx::query_scalar(
            "SELECT a.attname::text FROM pg_index i JOIN pg_attribute a
                 ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
             WHERE i.indrelid = $1::regclass AND i.indisunique",
        )
        .bind(&table)
        .fetch_all(&mut connection)
        .await
        .unwrap();
        // One organization per home tenant is the one thing that is unique across organizations.
        let leads = |key: &String| key == "org_id" || (table == "org" && key == "home_tid");
        assert!(!keys.is_empty() && keys.iter().all(leads), "{table}: unique keys begin with {keys:?}");
    }
}

#[tokio::test]
async fn partitions_cannot_be_reached_directly() {
    let database = Database::fresh().await;
    let mut connection = as_app(&database).await;
    connection.execute("SELECT ensure_event_partition('2026-11-21')").await.unwrap();
    let reachable: Vec<String> = sqlx::query_scalar(
        "SELECT c.relname::text FROM pg_class c, unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS right_
         WHERE c.relispartition AND c.relkind = 'r' AND has_table_privilege(c.oid, right_)",
    )
    .fetch_all(&mut connection)
    .await
    .unwrap();
    assert_eq!(reachable, Vec::<String>::new());
}

/// Two organizations that went through the whole journey, so that every table holds rows of both.
async fn two_organizations() -> (TestApp, OrgId, OrgId) {
    let settings = vec![("NAC_SEEN_INTERVAL_SECONDS", "1".to_owned())];
    let app = TestApp::start_with(Options { settings, ..Options::default() }).await;
    let mut orgs = Vec::new();
    for tenant in ["contoso.example", "fabrikam.example"] {
        let journey = journey::whole(&app, tenant).await;
        let url = app.nac_url.join("/v1/nac/bundle").unwrap();
        let bundle = reqwest::Client::new().get(url).bearer_auth(&journey.token).send().await.unwrap();
        assert_eq!(bundle.status().as_u16(), 200);
        orgs.push(journey.org);
        // What is heard of edges is written in the background.
        eventually("the edge's standing to be written", || async {
            let sql = "SELECT EXISTS (SELECT FROM edge_minute WHERE org_id = $1)
                          AND EXISTS (SELECT FROM edge_caller WHERE org_id = $1)
                          AND EXISTS (SELECT FROM edge_status WHERE org_id = $1)";
            let written = sqlx::query_scalar(sql).bind(journey.org.uuid());
            written.fetch_one(&mut app.database.superuser().await).await.unwrap_or(false).then_some(())
        })
        .await;
    }
    (app, orgs[0], orgs[1])
}

#[tokio::test(flavor = "multi_thread")]
async fn no_row_crosses_the_wall() {
    let (app, a, b) = two_organizations().await;
    let mut superuser = app.database.superuser().await;
    let tables = tenant_tables(&mut superuser).await;
    let mut connection = as_app(&app.database).await;
    for table in &tables {
        let theirs: Vec<serde_json::Value> = sqlx::query_scalar(AssertSqlSafe(format!(
            "SELECT to_jsonb(t) FROM {table} t WHERE org_id = $1 LIMIT 3"
        )))
        .bind(b.uuid())
        .fetch_all(&mut superuser)
        .await
        .unwrap();
        // The journey itself empties the outbox; every other table must hold something to steal.
        assert!(!theirs.is_empty() || table == "outbox", "{table} is empty: let the journey fill it");

        assert_eq!(seen(&mut connection, table, Some(a), b).await, 0, "{table}: read");
        assert_eq!(seen(&mut connection, table, None, b).await, 0, "{table}: read without an organization");
        if table != "outbox" {
            assert!(seen(&mut connection, table, Some(b), b).await > 0, "{table}: its own rows are seen");
        }
        for statement in [
            format!("UPDATE {table} SET org_id = org_id WHERE org_id = '{b}'"),
            format!("UPDATE {table} SET org_id = '{a}' WHERE org_id = '{b}'"),
            format!("DELETE FROM {table} WHERE org_id = '{b}'"),
        ] {
            let done = touched(&mut connection, a, &statement).await;
            assert!(matches!(done, Touched::Rows(0) | Touched::Denied), "{statement}: {done:?}");
        }
        let columns = written_columns(&mut superuser, table).await;
        for row in theirs {
            let statement = format!(
                "INSERT INTO {table} ({columns}) SELECT {columns} FROM jsonb_populate_record(NULL::{table}, '{}')",
                quoted(&row)
            );
            assert_eq!(touched(&mut connection, a, &statement).await, Touched::Denied, "{statement}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn work_across_organizations_sees_little() {
    let (app, _, b) = two_organizations().await;
    let mut superuser = app.database.superuser().await;
    let mut connection = as_app(&app.database).await;
    for table in tenant_tables(&mut superuser).await {
        let allowed = SYSTEM_SEES.iter().find(|(name, _)| *name == table);
        let mut tx = connection.begin().await.unwrap();
        tx.execute("SET LOCAL app.scope = 'system'").await.unwrap();
        let rows: i64 = sqlx::query_scalar(AssertSqlSafe(format!("SELECT count(*) FROM {table}")))
            .fetch_one(&mut *tx)
            .await
            .unwrap();
        tx.rollback().await.unwrap();
        if allowed.is_none() {
            assert_eq!(rows, 0, "{table}");
        }
        if !allowed.is_some_and(|(_, writes)| *writes) {
            let mut tx = connection.begin().await.unwrap();
            tx.execute("SET LOCAL app.scope = 'system'").await.unwrap();
            let statement = format!("DELETE FROM {table} WHERE org_id = '{b}'");
            let done = Touched::of(tx.execute(AssertSqlSafe(statement)).await);
            assert!(matches!(done, Touched::Rows(0) | Touched::Denied), "{table}: {done:?}");
        }
    }
}

/// Handlers are dropped whenever a client goes away: at any moment of any transaction. A connection must come back
/// clean, or the next borrower runs inside another organization.
#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_transaction_poisons_no_connection() {
    let database = Database::fresh().await;
    let orgs = [OrgId(Uuid::from_u128(1)), OrgId(Uuid::from_u128(2))];
    let pool = PgPoolOptions::new()
        .max_connections(3)
        .test_before_acquire(false)
        .connect_lazy(&database.app_url())
        .unwrap();
    let store = Store::from_pool(pool.clone());
    let mut poisoned = Vec::new();
    let mut cancelled = 0;
    for round in 0..400_u64 {
        let tasks: Vec<_> = (0..6_u64)
            .map(|n| {
                let (store, org) = (store.clone(), orgs[usize::from(n % 2 == 0)]);
                tokio::spawn(async move {
                    let mut tx = store.org(org).await?;
                    store::orgs::get(&mut tx).await?;
                    tx.commit().await
                })
            })
            .collect();
        // Anything from at once to long after they are through, in steps of 20 µs.
        tokio::time::sleep(std::time::Duration::from_micros((round * 7919) % 150 * 20)).await;
        for task in &tasks {
            task.abort();
        }
        for task in tasks {
            cancelled += usize::from(task.await.is_err_and(|error| error.is_cancelled()));
        }
        // Outside of a transaction, no connection may know an organization.
        let mut held = Vec::new();
        for _ in 0..3 {
            held.push(pool.acquire().await.unwrap());
        }
        for connection in &mut held {
            let org: Option<String> =
                sqlx::query_scalar("SELECT nullif(current_setting('app.org_id', true), '')")
                    .fetch_one(&mut **connection)
                    .await
                    .unwrap();
            poisoned.extend(org.map(|org| (round, org)));
        }
    }
    assert!(cancelled > 100, "only {cancelled} were cancelled: the test proves nothing");
    assert_eq!(poisoned, Vec::<(u64, String)>::new());
}

/// The columns that are not generated.
async fn written_columns(superuser: &mut PgConnection, table: &str) -> String {
    sqlx::query_scalar(
        "SELECT string_agg(quote_ident(attname), ', ') FROM pg_attribute
         WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped AND attgenerated = ''",
    )
    .bind(table)
    .fetch_one(superuser)
    .await
    .unwrap()
}

async fn seen(connection: &mut PgConnection, table: &str, org: Option<OrgId>, whose: OrgId) -> i64 {
    let mut tx = connection.begin().await.unwrap();
    if let Some(org) = org {
        tx.execute(AssertSqlSafe(format!("SET LOCAL app.org_id = '{org}'"))).await.unwrap();
    }
    let rows = sqlx::query_scalar(AssertSqlSafe(format!("SELECT count(*) FROM {table} WHERE org_id = $1")))
        .bind(whose.uuid())
        .fetch_one(&mut *tx)
        .await
        .unwrap();
    tx.rollback().await.unwrap();
    rows
}

#[derive(Debug, PartialEq, Eq)]
enum Touched {
    Rows(u64),
    Denied,
}

impl Touched {
    fn of(done: Result<sqlx::postgres::PgQueryResult, sqlx::Error>) -> Self {
        match done {
            Ok(done) => Self::Rows(done.rows_affected()),
            // 42501 insufficient_privilege: a policy, or no right to the statement at all.
            Err(sqlx::Error::Database(error)) if error.code().is_some_and(|code| code == "42501") => {
                Self::Denied
            }
            Err(error) => panic!("{error}"),
        }
    }
}

async fn touched(connection: &mut PgConnection, org: OrgId, statement: &str) -> Touched {
    let mut tx = connection.begin().await.unwrap();
    tx.execute(AssertSqlSafe(format!("SET LOCAL app.org_id = '{org}'"))).await.unwrap();
    let done = Touched::of(tx.execute(AssertSqlSafe(statement.to_owned())).await);
    tx.rollback().await.unwrap();
    done
}

fn quoted(row: &serde_json::Value) -> String {
    row.to_string().replace('\'', "''")
}
