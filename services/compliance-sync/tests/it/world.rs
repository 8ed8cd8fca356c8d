//! A database, a Redis prefix, a Graph, and an organization or more.

use std::hash::{DefaultHasher, Hasher as _};
use std::str::FromStr;
use std::sync::Arc;

use cache::{Cache, CacheConfig};
use compliance_sync::{Stepper, SyncConfig, SyncDeps};
use domain::command::CommandState;
use domain::compliance::assess;
use domain::decision::{Answer, MatchRecord};
use domain::event::DecisionRecord;
use domain::policy::{
    Action, CompiledPolicy, Conditions, Label, LabelKind, MatchLabelKey, PolicyDoc, Rule, decide,
    decide::Input,
};
use domain::request::AccessRequest;
use domain::resolver::{LookupPlan, resolve};
use domain::session::session_id;
use domain::time::{Clock, Ids, ManualClock, SystemClock};
use domain::{DecisionId, EdgeId, LabelId, LinkId, Mac, OrgId, RuleId, SessionId, SiteId};
use microsoft::{AppRegistration, Cloud, Credential, HttpLimits, Microsoft};
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use store::audit::Actor;
use store::links::NewLink;
use store::{Store, accounts, devices, edges, events, links, orgs, policies};
use time::OffsetDateTime;
use time::macros::datetime;
use uuid::Uuid;

use crate::graph::Graph;

pub const START: OffsetDateTime = datetime!(2026-11-20 12:00 UTC);
/// Serializes the making of roles and templates across test processes, in this crate and elsewhere.
const TEMPLATE_LOCK: i64 = 0x6761_7465;

pub struct World {
    pub store: Store,
    /// Sees everything.
    pub admin: PgPool,
    pub cache: Cache,
    pub graph: Graph,
    pub clock: Arc<ManualClock>,
    pub ids: Ids,
    pub config: SyncConfig,
    microsoft: Microsoft,
    name: String,
}

/// An organization with a link, a site and an edge.
#[derive(Clone, Copy, Debug)]
pub struct Tenant {
    pub org: OrgId,
    pub tid: Uuid,
    pub link: LinkId,
    pub site: SiteId,
    pub edge: EdgeId,
}

fn required(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run the tests with ./dev test"))
}

/// Connections of the role of every running process: bound by row level security.
async fn pool(options: PgConnectOptions, connections: u32) -> PgPool {
    let options = options.options([("role", "gatehouse_app"), ("statement_timeout", "15000")]);
    PgPoolOptions::new().max_connections(connections).connect_with(options).await.unwrap()
}

impl World {
    pub async fn new() -> Self {
        Self::with(SyncConfig { settle_millis: 0, ..SyncConfig::default() }).await
    }

    pub async fn with(config: SyncConfig) -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let server = required("GATEHOUSE_TEST_DATABASE_URL");
        let name = format!("sync_{}", Ids::system().uuid(SystemClock.now()).simple());
        let mut connection = PgConnection::connect(&server).await.expect("the test PostgreSQL answers");
        let template = template(&mut connection, &server).await;
        execute(&mut connection, format!("CREATE DATABASE {name} TEMPLATE {template}")).await;

        let options = PgConnectOptions::from_str(&server).unwrap().database(&name);
        let admin = PgPoolOptions::new().max_connections(2).connect_with(options.clone()).await.unwrap();
        let app = pool(options, 12).await;
        let redis = required("GATEHOUSE_TEST_REDIS_URL");
        let cache =
            Cache::connect(&redis, CacheConfig { prefix: name.clone(), ..CacheConfig::default() }).unwrap();
        let graph = Graph::start().await;
        let clock = Arc::new(ManualClock::new(START));
        let ids = Ids::seeded(1);
        let base: url::Url = graph.base.parse().unwrap();
        let registration =
            AppRegistration::new(Uuid::from_u128(0xc11e), Credential::Secret("secret".to_owned().into()));
        let cloud = Cloud::custom(base.clone(), base);
        let microsoft =
            Microsoft::new(cloud, registration, clock.clone(), ids.clone(), HttpLimits::default()).unwrap();
        let store = Store::from_pool(app);
        Self { store, admin, cache, graph, clock, ids, config, microsoft, name }
    }

    /// More connections of the role that processes run as.
    pub async fn app_pool(&self, connections: u32) -> PgPool {
        let server = PgConnectOptions::from_str(&required("GATEHOUSE_TEST_DATABASE_URL")).unwrap();
        pool(server.database(&self.name), connections).await
    }

    /// Another process: nothing is shared but the servers.
    pub fn process(&self) -> Stepper {
        self.process_with(self.cache.clone())
    }

    pub fn process_with(&self, cache: Cache) -> Stepper {
        Stepper::new(self.deps_with(cache), self.config.clone())
    }

    pub fn deps_with(&self, cache: Cache) -> SyncDeps {
        SyncDeps {
            store: self.store.clone(),
            cache,
            apps: apps::Apps::new(apps::AppsDeps {
                store: self.store.clone(),
                clouds: self.microsoft.clone().into(),
                master_keys: None,
                clock: self.clock.clone(),
                ids: self.ids.clone(),
            }),
            clock: self.clock.clone(),
            ids: self.ids.clone(),
        }
    }

    /// A Redis that nobody listens at.
    pub fn dead_cache() -> Cache {
        Cache::connect("redis://127.0.0.1:1", CacheConfig::default()).unwrap()
    }

    /// Redis loses everything.
    pub fn forget_redis(&self, client: &mut redis::Client) {
        let keys: Vec<String> = redis::cmd("KEYS").arg(format!("{}:*", self.name)).query(client).unwrap();
        let () = redis::cmd("DEL").arg(keys).query(client).unwrap();
    }

    pub fn now(&self) -> OffsetDateTime {
        self.clock.now()
    }

    pub fn advance(&self, seconds: i64) {
        self.clock.advance(time::Duration::seconds(seconds));
    }

    /// An organization with a linked tenant whose sweep is due.
    pub async fn tenant(&self, n: u128) -> Tenant {
        let (now, ids) = (self.now(), &self.ids);
        let org = OrgId(Uuid::from_u128((0xa << 124) + n));
        let tid = Uuid::from_u128((0xb << 124) + n);
        let mut tx = self.store.system().await.unwrap();
        let who = accounts::SigningIn {
            cloud: "global",
            tid,
            oid: tid,
            name: "Ada",
            user_name: "ada@contoso.example",
        };
        let account = accounts::signed_in(&mut tx, ids, now, who).await.unwrap();
        tx.commit().await.unwrap();
        let mut tx = self.store.org(org).await.unwrap();
        let new = accounts::NewOrg {
            home_cloud: "global",
            name: "Contoso",
            home_tid: tid,
            admin: account,
            admin_name: "Ada",
        };
        let site = accounts::create_org(&mut tx, ids, now, new).await.unwrap();
        let edge =
            edges::create_edge(&mut tx, ids, now, &Actor::system(), site, "edge").await.unwrap().unwrap();
        let link: LinkId = ids.make(now);
        let new = NewLink {
            cloud: "global",
            app: None,
            id: link,
            tid,
            tenant_name: "Contoso",
            linked_by: account,
            linked_by_name: "Ada",
        };
        links::insert(&mut tx, now, new).await.unwrap();
        let doc = policy();
        policies::publish(&mut tx, &doc, "Ada", now).await.unwrap();
        orgs::changed(&mut tx, ids, now, true).await.unwrap();
        tx.commit().await.unwrap();
        self.graph.tenant(tid, |_| ());
        Tenant { org, tid, link, site, edge }
    }

    /// A client whose MAC is that of device `n` authenticates, as the NAC service would decide and record it.
    pub async fn authenticate(&self, tenant: Tenant, n: u32, ssid: &str) -> SessionId {
        let request = request(tenant, n, ssid);
        let answer = self.decide(tenant, &request).await;
        self.record(tenant, request, answer).await
    }

    pub async fn decide(&self, tenant: Tenant, request: &AccessRequest) -> Answer {
        let now = self.now();
        let mut tx = self.store.org(tenant.org).await.unwrap();
        let snapshot = orgs::snapshot(&mut tx).await.unwrap().unwrap();
        let plan = LookupPlan::of(request);
        let facts = devices::by_keys(&mut tx, &plan.keys(), 8).await.unwrap();
        tx.commit().await.unwrap();
        let found = resolve(&plan, |key| facts.get(key).map_or(&[], Vec::as_slice));
        let compliance = assess(&found, &snapshot.links, &snapshot.settings, now);
        let policy =
            snapshot.policy.map(|published| CompiledPolicy::compile(published.version, &published.doc));
        let input = Input { request, found: &found, compliance: &compliance, now };
        let decision = decide(policy.as_ref(), &input);
        let id: DecisionId = self.ids.make(now);
        Answer { id, at: now, decision, found: MatchRecord::of(&found), compliance }
    }

    pub async fn record(&self, tenant: Tenant, request: AccessRequest, answer: Answer) -> SessionId {
        let key = request.session_id.clone().unwrap();
        let session = session_id(tenant.org, tenant.edge, &key);
        let keys = LookupPlan::of(&request).keys();
        let record = DecisionRecord {
            org: tenant.org,
            session,
            session_key: key,
            request,
            answer,
            keys,
            offline: false,
            ask: None,
            told_at: None,
        };
        let mut tx = self.store.org(tenant.org).await.unwrap();
        events::record_batch(&mut tx, &[record]).await.unwrap();
        tx.commit().await.unwrap();
        session
    }

    /// The commands of a session: state and the VLAN it is to move to, in order.
    pub async fn commands(&self, tenant: Tenant, session: SessionId) -> Vec<(CommandState, String)> {
        let rows: Vec<(String, serde_json::Value)> = sqlx::query_as(
            "SELECT state, to_outcome FROM command WHERE org_id = $1 AND session_id = $2 ORDER BY created_at, id",
        )
        .bind(tenant.org.uuid())
        .bind(session.uuid())
        .fetch_all(&self.admin)
        .await
        .unwrap();
        let vlan = |outcome: &serde_json::Value| outcome["vlan"].as_str().unwrap_or("-").to_owned();
        rows.iter().map(|(state, to)| (state.parse().unwrap(), vlan(to))).collect()
    }

    pub async fn count(&self, sql: &'static str) -> i64 {
        sqlx::query_scalar(sql).fetch_one(&self.admin).await.unwrap()
    }

    pub async fn link(&self, tenant: Tenant) -> links::LinkRow {
        let mut tx = self.store.org(tenant.org).await.unwrap();
        links::get(&mut tx, tenant.link).await.unwrap().unwrap()
    }

    pub async fn job(&self, tenant: Tenant) -> store::jobs::JobStatus {
        let mut tx = self.store.org(tenant.org).await.unwrap();
        store::jobs::status(&mut tx, tenant.link, store::jobs::JobKind::Sweep).await.unwrap().unwrap()
    }

    pub async fn job_of(&self, tenant: Tenant, kind: store::jobs::JobKind) -> store::jobs::JobStatus {
        let mut tx = self.store.org(tenant.org).await.unwrap();
        store::jobs::status(&mut tx, tenant.link, kind).await.unwrap().unwrap()
    }

    /// Works on what is due of one kind.
    pub async fn work(&self, kind: store::jobs::JobKind) -> usize {
        self.process().work_due(&[kind]).await.unwrap()
    }

    /// Somebody asks for a look.
    pub async fn wish(
        &self,
        tenant: Tenant,
        key: domain::resolver::LookupKey,
        reason: store::looks::WishReason,
    ) {
        let mut tx = self.store.org(tenant.org).await.unwrap();
        assert!(store::looks::wish(&mut tx, tenant.link, &key, reason, self.now()).await.unwrap());
        assert!(
            store::jobs::wake(&mut tx, tenant.link, store::jobs::JobKind::Look, self.now()).await.unwrap()
        );
        tx.commit().await.unwrap();
    }

    /// The compliance of a device, as it is stored.
    pub async fn state(&self, tenant: Tenant, n: u32) -> Option<String> {
        sqlx::query_scalar("SELECT compliance FROM device WHERE org_id = $1 AND id = $2")
            .bind(tenant.org.uuid())
            .bind(crate::graph::device_id(tenant.tid, n))
            .fetch_optional(&self.admin)
            .await
            .unwrap()
    }

    pub async fn runs(&self, tenant: Tenant) -> Vec<store::runs::SyncRun> {
        let mut tx = self.store.org(tenant.org).await.unwrap();
        store::runs::recent(&mut tx, tenant.link, 10).await.unwrap()
    }

    pub async fn sync_now(&self, tenant: Tenant) {
        let mut tx = self.store.org(tenant.org).await.unwrap();
        assert!(store::jobs::request_sweep(&mut tx, tenant.link, self.now()).await.unwrap());
        tx.commit().await.unwrap();
    }
}

pub fn mac(n: u32) -> Mac {
    let [_, a, b, c] = n.to_be_bytes();
    Mac([0xd4, 0x6e, 0x0e, a, b, c])
}

pub fn request(tenant: Tenant, n: u32, ssid: &str) -> AccessRequest {
    AccessRequest {
        mac: Some(mac(n)),
        ssid: Some(ssid.to_owned()),
        session_id: Some(format!("{ssid}-{n}")),
        ..AccessRequest::bare(tenant.edge, tenant.site)
    }
}

/// Guests go to VLAN 99 whatever they are; compliant devices to 10, non-compliant ones to 30, those that nobody
/// knows to 50, and all others to 40.
fn policy() -> PolicyDoc {
    let label =
        |n: u128, name: &str, kind| Label { id: LabelId(Uuid::from_u128(n)), name: name.to_owned(), kind };
    let is = |key, value: &str| LabelKind::Match { key, values: vec![value.to_owned()], match_all: false };
    let mdm = |value| is(MatchLabelKey::MdmStatus, value);
    let vlan = |vlan: &str| LabelKind::Vlan { vlan: vlan.to_owned() };
    let rule = |n: u128, name: &str, when: &[u128], apply: u128| Rule {
        id: RuleId(Uuid::from_u128(n)),
        name: name.to_owned(),
        comment: String::new(),
        enabled: true,
        dry_run: false,
        action: Action::Allow,
        matching: Conditions {
            labels: when.iter().map(|n| LabelId(Uuid::from_u128(*n))).collect(),
            ..Conditions::default()
        },
        not_matching: Conditions::default(),
        apply: vec![LabelId(Uuid::from_u128(apply))],
    };
    PolicyDoc {
        labels: vec![
            label(1, "guest network", is(MatchLabelKey::Ssid, "guest")),
            label(2, "compliant", mdm("compliant")),
            label(3, "non-compliant", mdm("non-compliant")),
            label(4, "not enrolled", mdm("not-enrolled")),
            label(99, "VLAN 99", vlan("99")),
            label(10, "VLAN 10", vlan("10")),
            label(30, "VLAN 30", vlan("30")),
            label(50, "VLAN 50", vlan("50")),
            label(40, "VLAN 40", vlan("40")),
        ],
        rules: vec![
            rule(1, "guests", &[1], 99),
            rule(2, "corp", &[2], 10),
            rule(3, "quarantine", &[3], 30),
            rule(4, "strangers", &[4], 50),
            rule(5, "unknown", &[], 40),
        ],
        sections: Vec::new(),
    }
}

async fn template(connection: &mut PgConnection, server: &str) -> String {
    let template = format!("sync_template_{:016x}", fingerprint());
    execute(connection, format!("SELECT pg_advisory_lock({TEMPLATE_LOCK})")).await;
    let exists: bool = sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)")
        .bind(&template)
        .fetch_one(&mut *connection)
        .await
        .unwrap();
    if !exists {
        let half_made = format!("{template}_new");
        execute(connection, format!("DROP DATABASE IF EXISTS {half_made}")).await;
        execute(connection, format!("CREATE DATABASE {half_made}")).await;
        let options = PgConnectOptions::from_str(server).unwrap().database(&half_made);
        let pool = PgPoolOptions::new().max_connections(1).connect_with(options).await.unwrap();
        let store = Store::from_pool(pool);
        store.migrate().await.expect("the migrations run");
        store.close().await;
        execute(connection, format!("ALTER DATABASE {half_made} RENAME TO {template}")).await;
    }
    execute(connection, format!("SELECT pg_advisory_unlock({TEMPLATE_LOCK})")).await;
    template
}

/// Of the migrations, so that a changed one makes a new template.
fn fingerprint() -> u64 {
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../migrations");
    let mut files: Vec<_> = dir.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let mut hasher = DefaultHasher::new();
    for file in files {
        hasher.write(file.file_name().unwrap().as_encoded_bytes());
        hasher.write(&std::fs::read(file).unwrap());
    }
    hasher.finish()
}

async fn execute(connection: &mut PgConnection, sql: String) {
    let shown = sql.clone();
    if let Err(error) = connection.execute(AssertSqlSafe(sql)).await {
        panic!("{shown}: {error}");
    }
}
