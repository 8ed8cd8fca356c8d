//! The pool, and the two kinds of transaction.

use std::time::Duration;

use domain::OrgId;
use domain::time::Clock;
use domain::time::follow::Reading;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{AssertSqlSafe, PgConnection, PgPool, Postgres, Transaction};
use time::OffsetDateTime;

use crate::Result;

/// How to reach PostgreSQL.
#[derive(Clone, Debug)]
pub struct StoreConfig {
    pub url: String,
    /// Small pools win: 2 to 4 connections per core of the database.
    pub connections_max: u32,
    /// How long to wait for a connection.
    pub acquire_timeout: Duration,
    /// PostgreSQL gives up on a statement after this.
    pub statement_timeout: Duration,
}

impl StoreConfig {
    /// Defaults for one process.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            connections_max: 8,
            acquire_timeout: Duration::from_secs(3),
            statement_timeout: Duration::from_secs(15),
        }
    }
}

/// The database. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {
    pool: PgPool,
}

impl Store {
    /// A pool that connects when it is first used, so that a process can start while PostgreSQL is away.
    pub fn connect(config: &StoreConfig) -> Result<Self> {
        let millis = config.statement_timeout.as_millis().to_string();
        let options: PgConnectOptions = config.url.parse::<PgConnectOptions>()?.options([
            ("statement_timeout", millis.as_str()),
            ("idle_in_transaction_session_timeout", "30000"),
            ("timezone", "UTC"),
        ]);
        let pool = PgPoolOptions::new()
            .max_connections(config.connections_max)
            .acquire_timeout(config.acquire_timeout)
            .test_before_acquire(false)
            .connect_lazy_with(options);
        Ok(Self { pool })
    }

    /// A store on a pool that the caller made.
    #[must_use]
    pub const fn from_pool(pool: PgPool) -> Self {
        Self { pool }
    }

    /// Brings the schema up to date. Connect as the schema's owner: the app's role owns nothing.
    pub async fn migrate(&self) -> Result<()> {
        sqlx::migrate!("../../migrations").run(&self.pool).await?;
        Ok(())
    }

    /// A transaction of one organization.
    pub async fn org(&self, org: OrgId) -> Result<OrgTx> {
        // A UUID's text holds only hexadecimal digits and dashes.
        let tx = self.begin(format!("SET LOCAL app.org_id = '{org}'")).await?;
        Ok(OrgTx { org, tx })
    }

    /// A transaction that sees ids across organizations.
    pub async fn system(&self) -> Result<SystemTx> {
        let tx = self.begin("SET LOCAL app.scope = 'system'".to_owned()).await?;
        Ok(SystemTx { tx })
    }

    /// Whether PostgreSQL answers, and the app's role is one that row level security binds.
    pub async fn ping(&self) -> Result<()> {
        sqlx::query("SELECT 1").execute(&self.pool).await?;
        Ok(())
    }

    /// Asks PostgreSQL for the time, several times in a row on one connection; `own` says when it was asked and when
    /// it answered. Whoever gives up waiting lets it go on in a task of its own.
    pub async fn read_time(&self, own: &dyn Clock) -> Result<Vec<Reading>> {
        /// The first one also has PostgreSQL read the statement.
        const READINGS: usize = 4;
        let mut connection = self.pool.acquire().await?;
        let mut readings = Vec::with_capacity(READINGS);
        for _ in 0..READINGS {
            let asked_at = own.now();
            let said: OffsetDateTime =
                sqlx::query_scalar("SELECT clock_timestamp()").fetch_one(&mut *connection).await?;
            readings.push(Reading { asked_at, said, answered_at: own.now() });
        }
        Ok(readings)
    }

    /// Closes every connection.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    /// Begins in a task of its own: a cancelled `begin` would hand the pool a connection that is still inside
    /// another organization's transaction (sqlx 0.9.0). Connections that a restart of PostgreSQL left dead in the pool
    /// are noticed here, and others take their place: nothing was asked of them yet.
    async fn begin(&self, scope: String) -> Result<Transaction<'static, Postgres>> {
        let pool = self.pool.clone();
        let begun = tokio::spawn(async move {
            let mut dead = pool.options().get_max_connections();
            loop {
                match begin_once(&pool, &scope).await {
                    Err(error) if dead > 0 && was_cut_off(&error) => dead -= 1,
                    begun => return begun,
                }
            }
        });
        Ok(begun.await??)
    }
}

async fn begin_once(pool: &PgPool, scope: &str) -> sqlx::Result<Transaction<'static, Postgres>> {
    let mut tx = pool.begin().await?;
    sqlx::query(AssertSqlSafe(scope.to_owned())).execute(&mut *tx).await?;
    Ok(tx)
}

/// The connection was ended while nobody used it (`admin_shutdown`, `crash_shutdown`).
fn was_cut_off(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) => true,
        sqlx::Error::Database(error) => matches!(error.code().as_deref(), Some("57P01" | "57P02")),
        _ => false,
    }
}

/// A transaction of one organization: row level security shows its rows alone. Rolled back when dropped.
#[derive(Debug)]
pub struct OrgTx {
    org: OrgId,
    tx: Transaction<'static, Postgres>,
}

impl OrgTx {
    /// The organization.
    #[must_use]
    pub const fn org(&self) -> OrgId {
        self.org
    }

    pub(crate) fn conn(&mut self) -> &mut PgConnection {
        &mut self.tx
    }

    /// Makes it all visible.
    pub async fn commit(self) -> Result<()> {
        self.tx.commit().await?;
        Ok(())
    }
}

/// A transaction that sees ids across organizations: memberships, due jobs, waiting messages. Rolled back when
/// dropped.
#[derive(Debug)]
pub struct SystemTx {
    tx: Transaction<'static, Postgres>,
}

impl SystemTx {
    pub(crate) fn conn(&mut self) -> &mut PgConnection {
        &mut self.tx
    }

    /// Makes it all visible.
    pub async fn commit(self) -> Result<()> {
        self.tx.commit().await?;
        Ok(())
    }
}
