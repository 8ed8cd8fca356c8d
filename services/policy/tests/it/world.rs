//! A database of its own on the test server, with one organization.

use std::str::FromStr;
use std::sync::Arc;

use domain::OrgId;
use domain::time::{Clock, Ids, ManualClock, SystemClock};
use policy::Policies;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{AssertSqlSafe, ConnectOptions};
use store::audit::Actor;
use store::{Store, orgs, policies};
use time::macros::datetime;

pub struct World {
    pub service: Policies,
    pub org: OrgId,
    pub actor: Actor,
    pub store: Store,
    /// Sees everything.
    pub admin: PgPool,
    pub ids: Ids,
    pub clock: Arc<ManualClock>,
}

pub async fn world() -> World {
    let server = std::env::var("GATEHOUSE_TEST_DATABASE_URL")
        .expect("GATEHOUSE_TEST_DATABASE_URL is not set: run the tests with ./dev test");
    let (ids, clock) = (Ids::system(), Arc::new(ManualClock::new(datetime!(2026-11-20 12:00 UTC))));
    let name = format!("policy_{}", ids.uuid(SystemClock.now()).simple());
    let options = PgConnectOptions::from_str(&server).unwrap();
    let mut root = options.connect().await.unwrap();
    // One at a time: migrations make roles, which all databases share.
    sqlx::query("SELECT pg_advisory_lock(1734439013)").execute(&mut root).await.unwrap();
    sqlx::query(AssertSqlSafe(format!("CREATE DATABASE {name}"))).execute(&mut root).await.unwrap();
    let options = options.database(&name);
    let admin = PgPoolOptions::new().max_connections(1).connect_with(options.clone()).await.unwrap();
    Store::from_pool(admin.clone()).migrate().await.unwrap();
    drop(root);
    let app =
        PgPoolOptions::new().max_connections(2).connect_with(options.options([("role", "gatehouse_app")]));
    let store = Store::from_pool(app.await.unwrap());
    let org: OrgId = ids.make(clock.now());
    let mut tx = store.org(org).await.unwrap();
    orgs::insert(&mut tx, "Example", "global", ids.uuid(clock.now()), clock.now()).await.unwrap();
    policies::create_draft(&mut tx, "Ada", clock.now()).await.unwrap();
    tx.commit().await.unwrap();
    let service = Policies::new(store.clone(), clock.clone(), ids.clone());
    World { service, org, actor: Actor { account: None, name: "Ada".into() }, store, admin, ids, clock }
}
