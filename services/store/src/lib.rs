//! The only SQL of Gatehouse.
//!
//! Tenant data is reachable only through [`OrgTx`], a transaction that names its organization to PostgreSQL; row
//! level security is the second wall behind the `org_id = $1` of each statement. [`SystemTx`] sees ids across
//! organizations, and little else. One file per aggregate; no trait in front of it, no business rule inside it.
//!
//! No transaction may be open across HTTP: take one, use it, commit it.

pub mod accounts;
pub mod apps;
pub mod audit;
pub mod browser;
pub mod bundles;
pub mod clock;
pub mod commands;
pub mod commands_edge;
pub mod devices;
pub mod edge_status;
pub mod edges;
pub mod events;
pub mod holds;
pub mod jobs;
pub mod keys;
pub mod links;
pub mod looks;
pub mod orgs;
pub mod outbox;
pub mod policies;
pub mod readiness;
pub mod runs;
pub mod sessions;
pub mod sites;
pub mod transitions;
mod tx;
pub mod views;

pub use tx::{OrgTx, Store, StoreConfig, SystemTx};

/// Why the database could not do it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// PostgreSQL is away, or refused.
    #[error("the database did not answer: {0}")]
    Sqlx(#[from] sqlx::Error),
    /// A stored value does not read as what it should be: `what` names the column.
    #[error("the stored {what} cannot be read: {why}")]
    Corrupt { what: &'static str, why: String },
    /// The task that began a transaction was lost.
    #[error("a transaction could not begin: {0}")]
    Begin(#[from] tokio::task::JoinError),
    #[error("the schema could not be brought up to date: {0}")]
    Migrate(#[from] sqlx::migrate::MigrateError),
}

impl StoreError {
    /// The name of the unique index or constraint that a write ran into.
    #[must_use]
    pub fn unique_violation(&self) -> Option<&str> {
        match self {
            Self::Sqlx(sqlx::Error::Database(error)) if error.is_unique_violation() => error.constraint(),
            _ => None,
        }
    }

    /// PostgreSQL's own code for what went wrong, such as `57014` for a statement that took too long.
    #[must_use]
    pub fn sql_state(&self) -> Option<String> {
        match self {
            Self::Sqlx(sqlx::Error::Database(error)) => error.code().map(|code| code.into_owned()),
            _ => None,
        }
    }

    /// A stored value that does not read.
    pub fn corrupt(what: &'static str, why: impl std::fmt::Display) -> Self {
        Self::Corrupt { what, why: why.to_string() }
    }

    /// PostgreSQL could not be reached or gave up, so that the same call may succeed later; not a fault of the
    /// statement or its data.
    #[must_use]
    pub fn is_unavailable(&self) -> bool {
        match self {
            Self::Sqlx(sqlx::Error::Database(error)) => {
                // Class 08 connection exception, 53 insufficient resources, 57 operator intervention, 40 rollback, 58
                // system error; and a server that is read-only, or would not wait for a lock.
                let passing = ["08", "53", "57", "40", "58", "25006", "55P03"];
                error.code().is_some_and(|code| passing.iter().any(|class| code.starts_with(class)))
            }
            Self::Sqlx(
                sqlx::Error::Io(_)
                | sqlx::Error::PoolTimedOut
                | sqlx::Error::PoolClosed
                | sqlx::Error::Tls(_)
                | sqlx::Error::Protocol(_)
                | sqlx::Error::WorkerCrashed,
            )
            | Self::Begin(_) => true,
            _ => false,
        }
    }
}

impl StoreError {
    /// The data is at fault: told again, it would be refused again. What else goes wrong may pass, or be mended.
    #[must_use]
    pub fn blames_data(&self) -> bool {
        match self {
            // Class 22 data exception, 23 integrity constraint violation, 54 program limit exceeded.
            Self::Sqlx(sqlx::Error::Database(error)) => error
                .code()
                .is_some_and(|code| ["22", "23", "54"].iter().any(|class| code.starts_with(class))),
            Self::Sqlx(sqlx::Error::Encode(_)) => true,
            _ => false,
        }
    }
}

/// What every function of this crate returns.
pub type Result<T, E = StoreError> = std::result::Result<T, E>;

/// As PostgreSQL adds it to an instant.
fn interval(duration: time::Duration) -> sqlx::postgres::types::PgInterval {
    let microseconds = i64::try_from(duration.whole_microseconds()).unwrap_or(i64::MAX);
    sqlx::postgres::types::PgInterval { months: 0, days: 0, microseconds }
}
