//! A database, a Redis prefix, the router, and an organization whose pages have something to show.

#[path = "tenant.rs"]
mod tenant;

use std::hash::{DefaultHasher, Hasher as _};
use std::str::FromStr;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use cache::{Cache, CacheConfig};
use domain::time::{Clock, Ids, ManualClock, SystemClock};
use domain::{
    AccountId, DeviceId, EdgeId, EventId, HoldId, LabelId, LinkId, Mac, OrgId, RuleId, SessionId, SiteId,
};
use linking::{Linking, LinkingConfig, LinkingDeps};
use microsoft::{AppRegistration, Cloud, Credential, HttpLimits, Microsoft};
use policy::Policies;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use store::{Store, accounts};
use time::{Duration, OffsetDateTime};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;
use url::Url;
use uuid::Uuid;
use web::{WebConfig, WebDeps};

/// Serializes the making of templates across test processes, in this crate and elsewhere.
const TEMPLATE_LOCK: i64 = 0x6761_7465;
/// Makes and reads the addresses of remediation pages.
pub const PAGE_KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
/// Where browsers believe they are.
pub const ORIGIN: &str = "http://gatehouse.test";

pub struct World {
    pub store: Store,
    pub cache: Cache,
    pub clock: Arc<dyn Clock>,
    pub ids: Ids,
    pub router: Router,
    /// Sees everything.
    pub admin: PgPool,
}

/// An organization that lives.
#[derive(Clone, Debug)]
pub struct Tenant {
    pub org: OrgId,
    pub tid: Uuid,
    pub link: LinkId,
    pub site: SiteId,
    pub edge: EdgeId,
    pub labels: Vec<LabelId>,
    pub rules: Vec<RuleId>,
    pub events: Vec<EventId>,
    pub sessions: Vec<SessionId>,
    pub macs: Vec<Mac>,
    /// Some of its devices.
    pub devices: Vec<DeviceId>,
    /// Moves that wait.
    pub hold: HoldId,
}

/// Somebody's browser.
#[derive(Clone)]
pub struct Browser {
    pub router: Router,
    pub cookie: String,
}

/// What came back.
#[derive(Debug)]
pub struct Page {
    pub status: StatusCode,
    pub headers: axum::http::HeaderMap,
    pub body: String,
}

fn required(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run the tests with ./dev test"))
}

impl World {
    pub async fn new() -> Self {
        Self::at(Arc::new(ManualClock::new(time::macros::datetime!(2026-11-20 12:34:56 UTC))), ORIGIN).await
    }

    /// A world at a time and an address of one's own.
    pub async fn at(clock: Arc<dyn Clock>, origin: &str) -> Self {
        Self::with(clock, origin, std::time::Duration::from_secs(30)).await
    }

    /// A world whose requests are cut off after `patience`.
    pub async fn impatient(patience: std::time::Duration) -> Self {
        let clock = ManualClock::new(time::macros::datetime!(2026-11-20 12:34:56 UTC));
        Self::with(Arc::new(clock), ORIGIN, patience).await
    }

    async fn with(clock: Arc<dyn Clock>, origin: &str, patience: std::time::Duration) -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let server = required("GATEHOUSE_TEST_DATABASE_URL");
        let name = format!("web_{}", Ids::system().uuid(SystemClock.now()).simple());
        let mut connection = PgConnection::connect(&server).await.expect("the test PostgreSQL answers");
        let template = template(&mut connection, &server).await;
        execute(&mut connection, format!("CREATE DATABASE {name} TEMPLATE {template}")).await;

        let options = PgConnectOptions::from_str(&server).unwrap().database(&name);
        let admin = PgPoolOptions::new().max_connections(2).connect_with(options.clone()).await.unwrap();
        // As the role of every running process: bound by row level security.
        let app = options.options([("role", "gatehouse_app"), ("statement_timeout", "15000")]);
        let app = PgPoolOptions::new().max_connections(8).connect_with(app).await.unwrap();
        let store = Store::from_pool(app);
        let redis = required("GATEHOUSE_TEST_REDIS_URL");
        let cache =
            Cache::connect(&redis, CacheConfig { prefix: name.clone(), ..CacheConfig::default() }).unwrap();
        let ids = Ids::system();
        let public_url: Url = origin.parse().unwrap();
        // Nobody listens there: these tests never get as far as Microsoft.
        let nowhere: Url = "http://127.0.0.1:9".parse().unwrap();
        let registration =
            AppRegistration::new(Uuid::from_u128(0xc11e), Credential::Secret("secret".to_owned().into()));
        let microsoft = Microsoft::new(
            Cloud::custom(nowhere.clone(), nowhere),
            registration,
            clock.clone(),
            ids.clone(),
            HttpLimits::default(),
        )
        .unwrap();
        let linking = Linking::new(
            LinkingDeps {
                store: store.clone(),
                apps: apps::Apps::new(apps::AppsDeps {
                    store: store.clone(),
                    clouds: microsoft.into(),
                    master_keys: None,
                    clock: clock.clone(),
                    ids: ids.clone(),
                }),
                clock: clock.clone(),
                ids: ids.clone(),
            },
            LinkingConfig::new(
                public_url.join(web::SIGN_IN_CALLBACK).unwrap(),
                public_url.join(web::LINK_CALLBACK).unwrap(),
            ),
        );
        let deps = WebDeps {
            store: store.clone(),
            cache: cache.clone(),
            linking,
            policies: Policies::new(store.clone(), clock.clone(), ids.clone()),
            clock: clock.clone(),
            ids: ids.clone(),
            shutdown: CancellationToken::new(),
        };
        let config = WebConfig {
            public_url,
            nac_url: "http://nac.gatehouse.test:8443".parse().unwrap(),
            bundle_public_key: Some("11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=".to_owned()),
            client_id: Uuid::from_u128(0xc11e),
            coa_per_edge_per_second: 10,
            page_keys: sealing::PageKeys::parse(&PAGE_KEY.into()).ok(),
        };
        let router = web::router(deps, config).unwrap().layer(httpkit::FrontLayer::new(
            clock.clone(),
            ids.clone(),
            patience,
        ));
        Self { store, cache, clock, ids, router, admin }
    }

    pub fn now(&self) -> OffsetDateTime {
        self.clock.now()
    }

    /// A person's account, and a browser in which they are signed in.
    pub async fn person(&self, tid: Uuid, name: &str, user_name: &str) -> (AccountId, Browser) {
        let oid = Uuid::new_v5(&tid, user_name.as_bytes());
        let mut tx = self.store.system().await.unwrap();
        let who = accounts::SigningIn { cloud: "global", tid, oid, name, user_name };
        let account = accounts::signed_in(&mut tx, &self.ids, self.now(), who).await.unwrap();
        tx.commit().await.unwrap();
        // Global Administrator.
        let roles = ["62e90394-69f5-4237-9190-012177145e10"];
        let person = serde_json::json!({
            "account": account,
            "identity": { "cloud": "global", "tid": tid, "oid": oid, "name": name, "user_name": user_name, "guest": false, "roles": roles },
        });
        let id = tower_sessions::session::Id::default();
        let record = tower_sessions::session::Record {
            id,
            data: [("person".to_owned(), person)].into(),
            expiry_date: SystemClock.now() + Duration::hours(12),
        };
        let bytes = serde_json::to_vec(&record).unwrap();
        let until = self.now() + std::time::Duration::from_secs(12 * 3600);
        let mut tx = self.store.system().await.unwrap();
        assert!(store::browser::create(&mut tx, &id.to_string(), &bytes, self.now(), until).await.unwrap());
        tx.commit().await.unwrap();
        (account, Browser { router: self.router.clone(), cookie: format!("gh_session={id}") })
    }

    /// Somebody without any cookie.
    pub fn stranger(&self) -> Browser {
        Browser { router: self.router.clone(), cookie: String::new() }
    }

    /// An organization with nothing in it.
    pub async fn fresh(&self, name: &str) -> (OrgId, Browser) {
        let tid = self.ids.uuid(self.now());
        let (account, browser) = self.person(tid, "Ada Lovelace", "ada@contoso.example").await;
        let org: OrgId = self.ids.make(self.now());
        let mut tx = self.store.org(org).await.unwrap();
        let new = accounts::NewOrg {
            home_cloud: "global",
            name,
            home_tid: tid,
            admin: account,
            admin_name: "Ada Lovelace",
        };
        accounts::create_org(&mut tx, &self.ids, self.now(), new).await.unwrap();
        tx.commit().await.unwrap();
        (org, browser)
    }
}

impl Browser {
    pub async fn get(&self, path: &str) -> Page {
        self.send(self.request("GET", path).body(Body::empty()).unwrap()).await
    }

    /// Posts a form as a page of the dashboard does.
    pub async fn post(&self, path: &str, form: &[(&str, &str)]) -> Page {
        let request = self.request("POST", path).header(header::ORIGIN, ORIGIN);
        self.submit(request, form).await
    }

    pub async fn submit(&self, request: axum::http::request::Builder, form: &[(&str, &str)]) -> Page {
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let request = request.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        self.send(request.body(Body::from(body)).unwrap()).await
    }

    pub fn request(&self, method: &str, path: &str) -> axum::http::request::Builder {
        let request = Request::builder().method(method).uri(path).header(header::HOST, "gatehouse.test");
        if self.cookie.is_empty() { request } else { request.header(header::COOKIE, &self.cookie) }
    }

    pub async fn send(&self, request: Request<Body>) -> Page {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = axum::body::to_bytes(body, 16 << 20).await.unwrap();
        Page { status: parts.status, headers: parts.headers, body: String::from_utf8(body.to_vec()).unwrap() }
    }
}

impl Page {
    /// Where it leads; panics where it does not.
    #[track_caller]
    pub fn redirect(&self) -> String {
        assert_eq!(self.status, StatusCode::SEE_OTHER, "{}", self.shown());
        self.headers[header::LOCATION].to_str().unwrap().to_owned()
    }

    /// The value of a hidden field.
    #[track_caller]
    pub fn hidden(&self, name: &str) -> String {
        let start = format!(r#"name="{name}" value=""#);
        let from = self.body.find(&start).unwrap_or_else(|| panic!("no field {name} in {}", self.body))
            + start.len();
        let rest = &self.body[from..];
        rest[..rest.find('"').unwrap()].to_owned()
    }

    #[track_caller]
    pub fn has(&self, text: &str) -> &Self {
        assert!(self.body.contains(text), "{text:?} is not in {}", self.shown());
        self
    }

    #[track_caller]
    pub fn is(&self, status: u16) -> &Self {
        assert_eq!(self.status.as_u16(), status, "{}", self.shown());
        self
    }

    /// The part that differs from page to page, cut short.
    fn shown(&self) -> &str {
        let from = self.body.find("<main").unwrap_or(0);
        let to = self.body.len().min(from + 6_000);
        self.body.get(from..to).unwrap_or(&self.body)
    }
}

async fn template(connection: &mut PgConnection, server: &str) -> String {
    let template = format!("web_template_{:016x}", fingerprint());
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
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../migrations");
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
