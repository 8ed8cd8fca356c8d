//! A fresh database per test.

use std::hash::{DefaultHasher, Hasher as _};
use std::path::Path;

use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use store::{Store, StoreConfig};
use url::Url;

/// Serializes the making of the template across test processes.
const TEMPLATE_LOCK: i64 = 0x6761_7465;
const PASSWORD: &str = "test";

/// A migrated, empty database.
#[derive(Clone, Debug)]
pub struct Database {
    pub name: String,
    server: Url,
}

impl Database {
    /// A new one. Panics where `./dev test` did not name a server.
    pub async fn fresh() -> Self {
        let server: Url =
            required("GATEHOUSE_TEST_DATABASE_URL").parse().expect("the test database URL is one");
        let mut admin = PgConnection::connect(server.as_str()).await.expect("the test PostgreSQL answers");
        let template = make_template(&mut admin, &server).await;
        let name = format!("test_{}", devservers::random_hex().expect("random digits"));
        let name = name[..24].to_owned();
        execute(&mut admin, format!("CREATE DATABASE {name} TEMPLATE {template} OWNER gatehouse_owner"))
            .await;
        Self { name, server }
    }

    /// As the role of every running process.
    #[must_use]
    pub fn app_url(&self) -> String {
        self.url("gatehouse_app").to_string()
    }

    /// As a superuser, who sees everything: for looking behind the scenes.
    #[must_use]
    pub fn superuser_url(&self) -> String {
        let mut url = self.server.clone();
        url.set_path(&self.name);
        url.to_string()
    }

    /// A store as every running process has it.
    #[must_use]
    pub fn store(&self) -> Store {
        Store::connect(&StoreConfig::new(self.app_url())).expect("the URL is one")
    }

    /// A connection that sees everything.
    pub async fn superuser(&self) -> PgConnection {
        PgConnection::connect(&self.superuser_url()).await.expect("the test PostgreSQL answers")
    }

    fn url(&self, role: &str) -> Url {
        url_as(&self.server, role, &self.name)
    }
}

fn url_as(server: &Url, role: &str, database: &str) -> Url {
    let mut url = server.clone();
    url.set_username(role).expect("the URL takes a user");
    url.set_password(Some(PASSWORD)).expect("the URL takes a password");
    url.set_path(database);
    url
}

async fn make_template(admin: &mut PgConnection, server: &Url) -> String {
    let template = format!("template_{:016x}", fingerprint());
    execute(admin, format!("SELECT pg_advisory_lock({TEMPLATE_LOCK})")).await;
    let exists: bool = sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)")
        .bind(&template)
        .fetch_one(&mut *admin)
        .await
        .expect("pg_database can be read");
    if !exists {
        for (role, more) in [("gatehouse_owner", ""), ("gatehouse_app", "NOSUPERUSER NOBYPASSRLS")] {
            execute(
                admin,
                format!(
                    "DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{role}') THEN
                     CREATE ROLE {role}; END IF; END $$"
                ),
            )
            .await;
            execute(admin, format!("ALTER ROLE {role} LOGIN {more} PASSWORD '{PASSWORD}'")).await;
        }
        let half_made = format!("{template}_new");
        execute(admin, format!("DROP DATABASE IF EXISTS {half_made}")).await;
        execute(admin, format!("CREATE DATABASE {half_made} OWNER gatehouse_owner")).await;
        // As in production: by the owner, who is no superuser.
        let owner = url_as(server, "gatehouse_owner", &half_made);
        let store = Store::connect(&StoreConfig::new(owner)).expect("the URL is one");
        store.migrate().await.expect("the migrations run");
        store.close().await;
        execute(admin, format!("ALTER DATABASE {half_made} RENAME TO {template}")).await;
    }
    execute(admin, format!("SELECT pg_advisory_unlock({TEMPLATE_LOCK})")).await;
    template
}

/// Of the migrations, so that a changed one makes a new template.
fn fingerprint() -> u64 {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../migrations");
    let mut files: Vec<_> = dir.read_dir().expect("migrations/").map(|e| e.expect("a file").path()).collect();
    files.sort();
    let mut hasher = DefaultHasher::new();
    for file in files {
        hasher.write(file.file_name().expect("a name").as_encoded_bytes());
        hasher.write(&std::fs::read(file).expect("a migration"));
    }
    hasher.finish()
}

async fn execute(connection: &mut PgConnection, sql: String) {
    let shown = sql.clone();
    if let Err(error) = connection.execute(AssertSqlSafe(sql)).await {
        panic!("{shown}: {error}");
    }
}

/// What `./dev test` puts into the environment.
#[must_use]
pub fn required(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run the tests with ./dev test"))
}
