//! The policy: one draft, and immutable versions.

use domain::policy::PolicyDoc;
use time::OffsetDateTime;

use crate::{OrgTx, Result, StoreError};

/// The draft, as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DraftRow {
    /// Grows with every edit.
    pub revision: i64,
    pub doc: PolicyDoc,
    pub updated_at: OffsetDateTime,
    pub updated_by: String,
}

/// A published version, without its document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionRow {
    pub version: i32,
    pub published_at: OffsetDateTime,
    pub published_by: String,
}

fn read(document: serde_json::Value, what: &'static str) -> Result<PolicyDoc> {
    serde_json::from_value(document).map_err(|e| StoreError::corrupt(what, e))
}

fn write(doc: &PolicyDoc) -> Result<serde_json::Value> {
    serde_json::to_value(doc).map_err(|e| StoreError::corrupt("policy document", e))
}

/// Makes the empty draft of a new organization.
pub async fn create_draft(tx: &mut OrgTx, by: &str, now: OffsetDateTime) -> Result<()> {
    let org = tx.org().uuid();
    sqlx::query!(
        "INSERT INTO policy_draft (org_id, revision, document, updated_at, updated_by) VALUES ($1, 1, $2, $3, $4)",
        org,
        write(&PolicyDoc::default())?,
        now,
        by,
    )
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// The draft. An organization without one has an empty draft of revision 0.
pub async fn draft(tx: &mut OrgTx) -> Result<DraftRow> {
    let org = tx.org().uuid();
    let row = sqlx::query!(
        "SELECT revision, document, updated_at, updated_by FROM policy_draft WHERE org_id = $1",
        org,
    )
    .fetch_optional(tx.conn())
    .await?;
    Ok(match row {
        None => DraftRow {
            revision: 0,
            doc: PolicyDoc::default(),
            updated_at: OffsetDateTime::UNIX_EPOCH,
            updated_by: String::new(),
        },
        Some(row) => DraftRow {
            revision: row.revision,
            doc: read(row.document, "policy_draft.document")?,
            updated_at: row.updated_at,
            updated_by: row.updated_by,
        },
    })
}

/// Replaces the draft if it still stands at `expected`. Returns the new revision, or `None` where somebody else
/// was faster.
pub async fn save_draft(
    tx: &mut OrgTx,
    expected: i64,
    doc: &PolicyDoc,
    by: &str,
    now: OffsetDateTime,
) -> Result<Option<i64>> {
    let org = tx.org().uuid();
    let saved = sqlx::query_scalar!(
        "INSERT INTO policy_draft AS d (org_id, revision, document, updated_at, updated_by)
         VALUES ($1, $2::bigint + 1, $3, $4, $5)
         ON CONFLICT (org_id) DO UPDATE SET revision = EXCLUDED.revision, document = EXCLUDED.document,
             updated_at = EXCLUDED.updated_at, updated_by = EXCLUDED.updated_by
         WHERE d.revision = $2::bigint
         RETURNING revision",
        org,
        expected,
        write(doc)?,
        now,
        by,
    )
    .fetch_optional(tx.conn())
    .await?;
    Ok(saved)
}

/// Adds a version and makes it live. Versions count from 1 without gaps; the organization's row is locked, so that
/// two publishers take turns. Call [`crate::orgs::changed`] in the same transaction.
pub async fn publish(tx: &mut OrgTx, doc: &PolicyDoc, by: &str, now: OffsetDateTime) -> Result<i32> {
    let org = tx.org().uuid();
    sqlx::query_scalar!("SELECT revision FROM org WHERE org_id = $1 FOR UPDATE", org)
        .fetch_one(tx.conn())
        .await?;
    let version = sqlx::query_scalar!(
        "INSERT INTO policy_version (org_id, version, document, published_at, published_by)
         SELECT $1, coalesce(max(version), 0) + 1, $2, $3, $4 FROM policy_version WHERE org_id = $1
         RETURNING version",
        org,
        write(doc)?,
        now,
        by,
    )
    .fetch_one(tx.conn())
    .await?;
    sqlx::query!("UPDATE org SET policy_version = $2 WHERE org_id = $1", org, version)
        .execute(tx.conn())
        .await?;
    Ok(version)
}

/// The document of a version.
pub async fn version(tx: &mut OrgTx, version: i32) -> Result<Option<PolicyDoc>> {
    let org = tx.org().uuid();
    let document = sqlx::query_scalar!(
        "SELECT document FROM policy_version WHERE org_id = $1 AND version = $2",
        org,
        version,
    )
    .fetch_optional(tx.conn())
    .await?;
    document.map(|d| read(d, "policy_version.document")).transpose()
}

/// The versions, newest first, older than `before` where it is given.
pub async fn versions(tx: &mut OrgTx, before: Option<i32>, limit: i64) -> Result<Vec<VersionRow>> {
    let org = tx.org().uuid();
    let rows = sqlx::query_as!(
        VersionRow,
        "SELECT version, published_at, published_by FROM policy_version
         WHERE org_id = $1 AND ($2::integer IS NULL OR version < $2) ORDER BY version DESC LIMIT $3",
        org,
        before,
        limit,
    )
    .fetch_all(tx.conn())
    .await?;
    Ok(rows)
}
