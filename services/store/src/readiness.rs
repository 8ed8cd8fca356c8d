//! Whether this process may serve: the schema is the one it was built for, and row level security binds its role.

use sqlx::migrate::Migrator;

use crate::{Result, Store, StoreError};

static MIGRATIONS: Migrator = sqlx::migrate!("../../migrations");

/// What stands in the way of serving, as sentences that say what to do; none: ready.
pub async fn check(store: &Store) -> Result<Vec<String>> {
    let mut problems = Vec::new();
    let mut tx = store.system().await?;
    let role = sqlx::query!(
        r#"SELECT rolname::text AS "name!", (rolsuper OR rolbypassrls) AS "unbound!" FROM pg_roles
           WHERE rolname = current_user"#
    )
    .fetch_one(tx.conn())
    .await?;
    if role.unbound {
        problems.push(format!(
            "the database role {} is above row level security: connect as one that is NOSUPERUSER NOBYPASSRLS",
            role.name
        ));
    }
    // The table is made by the first migration run, so this one query cannot be checked while compiling.
    let applied =
        sqlx::query_scalar::<_, Option<i64>>("SELECT max(version) FROM _sqlx_migrations WHERE success")
            .fetch_one(tx.conn())
            .await;
    let wanted = MIGRATIONS.iter().map(|migration| migration.version).max();
    match applied {
        Ok(applied) if applied >= wanted => {}
        Err(error) if !is_undefined_table(&error) => return Err(StoreError::Sqlx(error)),
        Ok(_) | Err(_) => problems.push("the schema is behind: run gatehouse migrate".to_owned()),
    }
    Ok(problems)
}

fn is_undefined_table(error: &sqlx::Error) -> bool {
    // 42P01 undefined_table
    error.as_database_error().and_then(|error| error.code()).is_some_and(|code| code == "42P01")
}
