//! Two organizations, a policy, some devices, and any number of processes.

use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use cache::{Cache, CacheConfig};
use domain::coa::{CoaCause, CoaKind};
use domain::decision::Outcome;
use domain::device::{ComplianceState, DeviceFacts};
use domain::policy::{Action, Conditions, Label, LabelKind, MatchLabelKey, PolicyDoc, Rule};
use domain::time::{Clock, Ids, ManualClock, SystemClock};
use domain::{
    CommandId, CredentialId, DeviceId, EdgeId, LabelId, LinkId, Mac, OrgId, RuleId, SessionId, SiteId,
};
use http_body_util::BodyExt;
use nac::{Nac, NacConfig, NacDeps};
use serde_json::Value;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{AssertSqlSafe, ConnectOptions};
use store::audit::Actor;
use store::{Store, StoreConfig, commands, edges, orgs, policies};
use time::OffsetDateTime;
use time::macros::datetime;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;
use url::Url;
use uuid::Uuid;

use crate::proxy::Proxy;

pub const START: OffsetDateTime = datetime!(2026-11-20 12:00 UTC);
pub const COMPLIANT: &str = "d4:6e:0e:02:28:96";
pub const NONCOMPLIANT: &str = "d4:6e:0e:02:28:97";
pub const STRANGER: &str = "d4:6e:0e:ff:ff:ff";

pub struct World {
    /// As the role of every running process, not through the proxy.
    pub store: Store,
    /// Sees everything.
    pub admin: PgPool,
    pub cache: Cache,
    pub clock: Arc<ManualClock>,
    pub ids: Ids,
    pub postgres: Proxy,
    pub redis: Proxy,
    pub config: NacConfig,
    name: String,
    server: String,
    redis_url: String,
}

/// One organization.
#[derive(Clone, Debug)]
pub struct Tenant {
    pub org: OrgId,
    pub link: LinkId,
    pub site: SiteId,
    pub edge: EdgeId,
    pub credential: CredentialId,
    pub token: String,
}

/// One process.
pub struct Process {
    pub nac: Nac,
    pub router: Router,
    pub stop: CancellationToken,
    pub cache: Cache,
}

#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Value,
}

fn required(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run the tests with ./dev test"))
}

impl World {
    pub async fn new() -> Self {
        let server = required("GATEHOUSE_TEST_DATABASE_URL");
        let redis_url = required("GATEHOUSE_TEST_REDIS_URL");
        let name = format!("nac_{}", Ids::system().uuid(SystemClock.now()).simple());
        let options = PgConnectOptions::from_str(&server).expect("the test database URL is one");
        let mut root = options.connect().await.expect("the test PostgreSQL answers");
        // One at a time: migrations make roles, which all databases share.
        sqlx::query("SELECT pg_advisory_lock(1734439013)").execute(&mut root).await.unwrap();
        sqlx::query(AssertSqlSafe(format!("CREATE DATABASE {name}"))).execute(&mut root).await.unwrap();
        let admin =
            PgPoolOptions::new().max_connections(4).connect_with(options.clone().database(&name)).await;
        let admin = admin.unwrap();
        Store::from_pool(admin.clone()).migrate().await.unwrap();
        drop(root);

        let postgres = Proxy::to(address(&server, 5432)).await;
        let redis = Proxy::to(address(&redis_url, 6379)).await;
        let app = options.clone().database(&name).options([("role", "gatehouse_app")]);
        let app = PgPoolOptions::new().max_connections(4).connect_with(app).await.unwrap();
        let cache = Cache::connect(&redis_url, cache_config(&name)).unwrap();
        let clock = Arc::new(ManualClock::new(START));
        let config = NacConfig {
            memory_ttl: Duration::from_millis(400),
            credential_confirm_after: Duration::from_millis(400),
            // Tests share the machine with each other.
            store_read_timeout: Duration::from_secs(2),
            store_write_timeout: Duration::from_secs(2),
            drain_interval: Duration::from_millis(100),
            expiry_interval: Duration::from_millis(100),
            seen_interval: Duration::from_millis(100),
            ..NacConfig::default()
        };
        let store = Store::from_pool(app);
        let ids = Ids::seeded(1);
        Self { store, admin, cache, clock, ids, postgres, redis, config, name, server, redis_url }
    }

    /// A process that has seen nothing yet, behind the proxies.
    pub fn process(&self) -> Process {
        self.process_with(self.config.clone())
    }

    pub fn process_with(&self, config: NacConfig) -> Process {
        let mut url = behind(self.postgres.address, &self.server);
        url.set_path(&self.name);
        url.set_query(Some("options=-c%20role%3Dgatehouse_app"));
        let store = Store::connect(&StoreConfig::new(url.clone())).unwrap();
        let recorder = Store::connect(&StoreConfig::new(url)).unwrap();
        let redis = behind(self.redis.address, &self.redis_url);
        let cache = Cache::connect(redis.as_str(), cache_config(&self.name)).unwrap();
        let stop = CancellationToken::new();
        let (clock, ids) = (self.clock.clone(), Ids::system());
        let deps = NacDeps { store, recorder, cache: cache.clone(), clock, ids };
        let nac = Nac::start(deps, config, stop.clone());
        let router = nac.router();
        Process { nac, router, stop, cache }
    }

    pub fn now(&self) -> OffsetDateTime {
        self.clock.now()
    }

    pub fn advance(&self, seconds: i64) {
        self.clock.advance(time::Duration::seconds(seconds));
    }

    /// An organization with a swept link, a site, an edge, a compliant and a noncompliant device, and Mist's
    /// four-label policy: compliant devices into VLAN 30, others that are known into 99, nobody else.
    pub async fn tenant(&self, n: u128) -> Tenant {
        let (now, ids) = (self.now(), &self.ids);
        let org = OrgId(Uuid::from_u128((0xa << 124) + n));
        let link = LinkId(Uuid::from_u128((0xb << 124) + n));
        let tid = Uuid::from_u128((0xc << 124) + n);
        let mut tx = self.store.org(org).await.unwrap();
        orgs::insert(&mut tx, &format!("Org {n}"), "global", tid, now).await.unwrap();
        let actor = Actor::system();
        let site = edges::create_site(&mut tx, ids, now, &actor, "Site").await.unwrap().id;
        let edge = edges::create_edge(&mut tx, ids, now, &actor, site, "Edge").await.unwrap().unwrap();
        let (token, credential) =
            edges::issue_credential(&mut tx, ids, now, &actor, edge).await.unwrap().unwrap();
        policies::publish(&mut tx, &policy(), "Ada", now).await.unwrap();
        tx.commit().await.unwrap();
        sqlx::query(
            "WITH who AS (INSERT INTO account (id, tid, oid, name, user_name, created_at, signed_in_at)
                          VALUES ($2, $2, $2, 'Ada', 'ada@contoso.example', $4, $4) RETURNING id)
             INSERT INTO link (org_id, id, provider, tid, tenant_name, state, state_since, linked_by,
                               linked_by_name, linked_at, confirmed_at)
             SELECT $1, $3, 'intune', $2, 'Contoso', 'connected', $4, id, 'Ada', $4, $4 FROM who",
        )
        .bind(org.uuid())
        .bind(tid)
        .bind(link.uuid())
        .bind(now)
        .execute(&self.admin)
        .await
        .unwrap();
        let tenant = Tenant { org, link, site, edge, credential, token: token.reveal().to_owned() };
        self.device(&tenant, 1, COMPLIANT, ComplianceState::Compliant).await;
        self.device(&tenant, 2, NONCOMPLIANT, ComplianceState::Noncompliant).await;
        tenant
    }

    /// Writes a device to PostgreSQL alone, as it was before anybody looked.
    pub async fn device(&self, tenant: &Tenant, n: u16, mac: &str, state: ComplianceState) -> DeviceFacts {
        let id = device_id(n);
        let mut device = DeviceFacts::bare(tenant.link, id, state, self.now());
        device.name = Some(format!("LAPTOP-{n:04}"));
        device.wifi_mac = Some(mac.parse().unwrap());
        device.last_check_in = Some(self.now() - time::Duration::minutes(48));
        sqlx::query(
            "INSERT INTO device (org_id, link_id, id, ordinal, content_hash, name, name_key, wifi_mac, compliance,
                                 fetched_at, last_check_in)
             VALUES ($1, $2, $3, $4, '\\x00', $5, lower($5), $6::macaddr, $7, $8, $9)
             ON CONFLICT (org_id, link_id, id) DO UPDATE SET compliance = excluded.compliance",
        )
        .bind(tenant.org.uuid())
        .bind(tenant.link.uuid())
        .bind(id.uuid())
        .bind(i32::from(n))
        .bind(&device.name)
        .bind(mac.parse::<Mac>().unwrap().to_string())
        .bind(device.compliance.as_str())
        .bind(device.fetched_at)
        .bind(device.last_check_in)
        .execute(&self.admin)
        .await
        .unwrap();
        device
    }

    pub async fn revoke(&self, tenant: &Tenant) {
        let mut tx = self.store.org(tenant.org).await.unwrap();
        let actor = Actor::system();
        assert!(
            edges::revoke_credential(&mut tx, &self.ids, self.now(), &actor, tenant.credential)
                .await
                .unwrap()
        );
        tx.commit().await.unwrap();
    }

    /// A command for a session of the tenant: into VLAN 99.
    pub async fn command(&self, tenant: &Tenant, session: Uuid) -> CommandId {
        let to = Outcome { permit: true, vlan: Some("99".to_owned()), ..Outcome::default() };
        self.command_to(tenant, session, to).await
    }

    pub async fn command_to(&self, tenant: &Tenant, session: Uuid, to: Outcome) -> CommandId {
        let mut tx = self.store.org(tenant.org).await.unwrap();
        let new = commands::NewCommand {
            edge: tenant.edge,
            site: tenant.site,
            session: SessionId(session),
            session_key: "s-1".to_owned(),
            mac: Some(COMPLIANT.parse().unwrap()),
            kind: CoaKind::Reauth,
            cause: CoaCause::ComplianceChanged,
            from: Outcome { permit: true, vlan: Some("30".to_owned()), ..Outcome::default() },
            to,
            answered_at: Some(self.now()),
            expires_at: self.now() + time::Duration::minutes(10),
        };
        let id = commands::insert(&mut tx, &self.ids, self.now(), new).await.unwrap();
        tx.commit().await.unwrap();
        id
    }

    /// A command whose turn comes in so many seconds.
    pub async fn command_at(&self, tenant: &Tenant, session: Uuid, seconds: i64) -> CommandId {
        let due = self.now() + time::Duration::seconds(seconds);
        let mut tx = self.store.org(tenant.org).await.unwrap();
        let new = commands::NewCommand {
            edge: tenant.edge,
            site: tenant.site,
            session: SessionId(session),
            session_key: "s-1".to_owned(),
            mac: Some(COMPLIANT.parse().unwrap()),
            kind: CoaKind::Reauth,
            cause: CoaCause::ComplianceChanged,
            from: Outcome::default(),
            to: Outcome { permit: true, ..Outcome::default() },
            answered_at: Some(self.now()),
            expires_at: due + time::Duration::minutes(10),
        };
        let plan = commands::Plan { not_before: Some(due), ..commands::Plan::default() };
        let id = commands::plan(&mut tx, &self.ids, self.now(), new, plan).await.unwrap();
        tx.commit().await.unwrap();
        id
    }

    pub async fn count(&self, sql: &'static str) -> i64 {
        sqlx::query_scalar(sql).fetch_one(&self.admin).await.unwrap()
    }

    /// The kinds of the events of an organization, in their order.
    pub async fn history(&self, tenant: &Tenant) -> Vec<String> {
        sqlx::query_scalar("SELECT kind FROM event WHERE org_id = $1 ORDER BY at, id")
            .bind(tenant.org.uuid())
            .fetch_all(&self.admin)
            .await
            .unwrap()
    }
}

impl Process {
    pub async fn send(&self, request: Request<Body>) -> Answer {
        send(self.router.clone(), request).await
    }

    pub async fn post(&self, path: &str, token: &str, body: &Value) -> Answer {
        self.send(post(path, token, body.to_string())).await
    }

    pub async fn get(&self, path: &str, token: &str) -> Answer {
        let request = Request::get(path).header("authorization", format!("Bearer {token}"));
        self.send(request.body(Body::empty()).unwrap()).await
    }

    pub async fn authorize(&self, token: &str, body: &Value) -> Value {
        let answer = self.post("/v1/nac/authorize", token, body).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
        answer.body
    }

    /// Authenticates by MAC, in a session of that name.
    pub async fn mab(&self, token: &str, mac: &str) -> Value {
        self.authorize(token, &serde_json::json!({"mac": mac, "auth_type": "mab", "session_id": "s-1"})).await
    }
}

pub fn post(path: &str, token: &str, body: String) -> Request<Body> {
    Request::post(path)
        .header("authorization", format!("Bearer {token}"))
        .header("content-type", "application/json")
        .body(Body::from(body))
        .unwrap()
}

pub async fn send(router: Router, request: Request<Body>) -> Answer {
    let response = router.oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
    Answer { status: parts.status, headers: parts.headers, body }
}

/// Waits until it holds.
pub async fn eventually<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    for _ in 0..200 {
        if holds().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("it never came to this: {what}");
}

pub const fn device_id(n: u16) -> DeviceId {
    DeviceId(Uuid::from_u128((0xd << 124) + n as u128))
}

fn cache_config(name: &str) -> CacheConfig {
    CacheConfig {
        prefix: name.to_owned(),
        cool_down: Duration::from_millis(100),
        command_timeout: Duration::from_secs(1),
        spill_idle: Duration::from_millis(500),
        ..CacheConfig::default()
    }
}

pub fn policy() -> PolicyDoc {
    let id = |n: u128| Uuid::from_u128((0xe << 124) + n);
    let mdm = |n, name: &str, value: &str| Label {
        id: LabelId(id(n)),
        name: name.to_owned(),
        kind: LabelKind::Match {
            key: MatchLabelKey::MdmStatus,
            values: vec![value.to_owned()],
            match_all: false,
        },
    };
    let vlan = |n, name: &str, vlan: &str| Label {
        id: LabelId(id(n)),
        name: name.to_owned(),
        kind: LabelKind::Vlan { vlan: vlan.to_owned() },
    };
    let rule = |n, name: &str, on, apply| Rule {
        id: RuleId(id(n)),
        name: name.to_owned(),
        comment: String::new(),
        enabled: true,
        dry_run: false,
        action: Action::Allow,
        matching: Conditions { labels: vec![LabelId(id(on))], ..Conditions::default() },
        not_matching: Conditions::default(),
        apply: vec![LabelId(id(apply))],
    };
    PolicyDoc {
        labels: vec![
            mdm(1, "Compliant", "compliant"),
            mdm(2, "Not compliant", "non-compliant"),
            vlan(3, "Corp", "30"),
            vlan(4, "Quarantine", "99"),
        ],
        rules: vec![rule(11, "Compliant devices", 1, 3), rule(12, "Quarantine", 2, 4)],
        sections: Vec::new(),
    }
}

/// The address of a URL, and the same URL at another address.
fn address(url: &str, default_port: u16) -> String {
    let url = Url::parse(url).unwrap();
    format!("{}:{}", url.host_str().unwrap(), url.port().unwrap_or(default_port))
}

fn behind(proxy: SocketAddr, url: &str) -> Url {
    let mut url = Url::parse(url).unwrap();
    url.set_ip_host(proxy.ip()).unwrap();
    url.set_port(Some(proxy.port())).unwrap();
    url
}
