//! What sites decide from while the cloud is away: facts by name, each with the version that brought it.

use std::collections::{BTreeMap, HashMap};

use domain::bundle::Fallback;
use domain::resolver::LookupKey;
use domain::{OrgId, SiteId};
use time::OffsetDateTime;

use crate::{OrgTx, Result, StoreError};

/// Where a site's bundle stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BundleRow {
    pub version: i64,
    pub built_at: OffsetDateTime,
    /// The organization's revision when it was built.
    pub revision: i64,
    /// Who holds an older version needs the whole.
    pub since: i64,
}

/// What a site's admins set for when the cloud is away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SiteSettings {
    pub fallback: Fallback,
    /// An edge decides from a bundle that is no older.
    pub bundle_max_age_seconds: u32,
}

/// A fact that an edge is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangedFact {
    pub name: String,
    /// `None`: it is gone.
    pub value: Option<String>,
}

/// Lets one process at a time build a site's bundle, until the transaction ends.
pub async fn lock(tx: &mut OrgTx, site: SiteId) -> Result<()> {
    let name = format!("{}/{site}", tx.org());
    sqlx::query!("SELECT pg_advisory_xact_lock(hashtextextended($1, 35))", name).execute(tx.conn()).await?;
    Ok(())
}

/// Where the site's bundle stands; `None` where none was built yet.
pub async fn get(tx: &mut OrgTx, site: SiteId) -> Result<Option<BundleRow>> {
    let org = tx.org().uuid();
    let row = sqlx::query_as!(
        BundleRow,
        "SELECT version, built_at, revision, since FROM bundle WHERE org_id = $1 AND site_id = $2",
        org,
        site.uuid(),
    )
    .fetch_optional(tx.conn())
    .await?;
    Ok(row)
}

/// A site's settings; `None` where the organization has no such site.
pub async fn site_settings(tx: &mut OrgTx, site: SiteId) -> Result<Option<SiteSettings>> {
    let org = tx.org().uuid();
    let row = sqlx::query!(
        "SELECT fallback_vlan, bundle_max_age_seconds FROM site WHERE org_id = $1 AND id = $2",
        org,
        site.uuid(),
    )
    .fetch_optional(tx.conn())
    .await?;
    row.map(|row| {
        Ok(SiteSettings {
            fallback: Fallback { vlan: row.fallback_vlan },
            bundle_max_age_seconds: u32::try_from(row.bundle_max_age_seconds)
                .map_err(|e| StoreError::corrupt("site.bundle_max_age_seconds", e))?,
        })
    })
    .transpose()
}

/// Every key under which the devices of the site's clients may be found: of the `clients_max` sessions that were
/// decided last, since `since`.
pub async fn recent_keys(
    tx: &mut OrgTx,
    site: SiteId,
    since: OffsetDateTime,
    clients_max: i64,
) -> Result<Vec<LookupKey>> {
    let org = tx.org().uuid();
    let keys = sqlx::query_scalar!(
        r#"SELECT DISTINCT unnest(lookup_keys) AS "key!" FROM (
               SELECT lookup_keys FROM session
               WHERE org_id = $1 AND site_id = $2 AND decided_at >= $3
                     AND decided_day >= ($3::timestamptz AT TIME ZONE 'UTC')::date
               ORDER BY decided_day DESC, decided_at DESC LIMIT $4
           ) recent"#,
        org,
        site.uuid(),
        since,
        clients_max,
    )
    .fetch_all(tx.conn())
    .await?;
    keys.into_iter()
        .map(|key| key.parse().map_err(|e| StoreError::corrupt("session.lookup_keys", e)))
        .collect()
}

/// Each fact's hash, in the order of names; not of those that are gone.
pub async fn hashes(tx: &mut OrgTx, site: SiteId) -> Result<BTreeMap<String, [u8; 32]>> {
    let org = tx.org().uuid();
    let rows = sqlx::query!(
        "SELECT name, hash FROM bundle_fact WHERE org_id = $1 AND site_id = $2 AND value IS NOT NULL",
        org,
        site.uuid(),
    )
    .fetch_all(tx.conn())
    .await?;
    let rows = rows.into_iter().map(|row| {
        let hash =
            row.hash.try_into().map_err(|_| StoreError::corrupt("bundle_fact.hash", "not 32 bytes"))?;
        Ok((row.name, hash))
    });
    rows.collect()
}

/// Writes what changed since the last time: facts with their hashes, and the names of those that are gone. Where
/// nothing did, the version stays. Call [`lock`] before. Returns where the bundle stands then.
pub async fn write(
    tx: &mut OrgTx,
    site: SiteId,
    now: OffsetDateTime,
    revision: i64,
    changed: &HashMap<String, ([u8; 32], String)>,
    gone: &[String],
) -> Result<BundleRow> {
    let org: OrgId = tx.org();
    let grows = !changed.is_empty() || !gone.is_empty();
    let row = sqlx::query_as!(
        BundleRow,
        "INSERT INTO bundle AS b (org_id, site_id, version, built_at, revision) VALUES ($1, $2, $6, $3, $4)
         ON CONFLICT (org_id, site_id) DO UPDATE SET
             version = CASE WHEN $5 THEN greatest(b.version + 1, excluded.version) ELSE b.version END,
             built_at = excluded.built_at, revision = excluded.revision
         RETURNING version, built_at, revision, since",
        org.uuid(),
        site.uuid(),
        now,
        revision,
        grows,
        // Grows beyond what edges hold even where the database was put back to an older state.
        now.unix_timestamp(),
    )
    .fetch_one(tx.conn())
    .await?;
    let names: Vec<&str> = changed.keys().map(String::as_str).collect();
    let hashes: Vec<&[u8]> = changed.values().map(|(hash, _)| &hash[..]).collect();
    let values: Vec<&str> = changed.values().map(|(_, value)| value.as_str()).collect();
    sqlx::query!(
        "INSERT INTO bundle_fact (org_id, site_id, name, hash, value, version, changed_at)
         SELECT $1, $2, f.name, f.hash, f.value, $6, $7
         FROM unnest($3::text[], $4::bytea[], $5::text[]) AS f(name, hash, value)
         ON CONFLICT (org_id, site_id, name) DO UPDATE SET
             hash = excluded.hash, value = excluded.value, version = excluded.version,
             changed_at = excluded.changed_at",
        org.uuid(),
        site.uuid(),
        &names as &[&str],
        &hashes as &[&[u8]],
        &values as &[&str],
        row.version,
        now,
    )
    .execute(tx.conn())
    .await?;
    sqlx::query!(
        "UPDATE bundle_fact SET value = NULL, version = $4, changed_at = $5
         WHERE org_id = $1 AND site_id = $2 AND name = ANY($3)",
        org.uuid(),
        site.uuid(),
        gone,
        row.version,
        now,
    )
    .execute(tx.conn())
    .await?;
    Ok(row)
}

/// Forgets what was gone before `before`: who holds so old a bundle fetches the whole.
pub async fn forget(tx: &mut OrgTx, site: SiteId, before: OffsetDateTime) -> Result<()> {
    let org = tx.org().uuid();
    sqlx::query!(
        "WITH forgotten AS (
             DELETE FROM bundle_fact WHERE org_id = $1 AND site_id = $2 AND value IS NULL AND changed_at < $3
             RETURNING version
         )
         UPDATE bundle SET since = greatest(since, (SELECT max(version) FROM forgotten))
         WHERE org_id = $1 AND site_id = $2 AND EXISTS (SELECT FROM forgotten)",
        org,
        site.uuid(),
        before,
    )
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// The facts that changed after a version; those that are there where it is `None`.
pub async fn changed_since(tx: &mut OrgTx, site: SiteId, since: Option<i64>) -> Result<Vec<ChangedFact>> {
    let org = tx.org().uuid();
    let facts = sqlx::query_as!(
        ChangedFact,
        "SELECT name, value FROM bundle_fact
         WHERE org_id = $1 AND site_id = $2 AND ($3::bigint IS NULL AND value IS NOT NULL OR version > $3)",
        org,
        site.uuid(),
        since,
    )
    .fetch_all(tx.conn())
    .await?;
    Ok(facts)
}
