//! Organizations, their settings, and the snapshot that decisions are made from.

use domain::coa::hold::MassChange;
use domain::outbox::OutboxMessage;
use domain::policy::PolicyDoc;
use domain::snapshot::{LinkFacts, OrgSettings, OrgSnapshot, PublishedPolicy};
use domain::time::Ids;
use domain::{LinkId, OrgId};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{OrgTx, Result, StoreError, SystemTx, outbox};

/// An organization, with its settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrgRow {
    pub id: OrgId,
    pub name: String,
    /// The cloud of the home tenant.
    pub home_cloud: String,
    pub home_tid: Uuid,
    pub created_at: OffsetDateTime,
    pub revision: i64,
    pub settings: OrgSettings,
    /// The live policy's version; `None` until the first publish.
    pub policy_version: Option<i32>,
}

struct Row {
    org_id: Uuid,
    name: String,
    home_cloud: String,
    home_tid: Uuid,
    created_at: OffsetDateTime,
    revision: i64,
    stale_after_seconds: i32,
    grace_is_compliant: bool,
    coa: String,
    policy_version: Option<i32>,
}

impl TryFrom<Row> for OrgRow {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self> {
        let settings = OrgSettings {
            stale_after_seconds: u32::try_from(row.stale_after_seconds)
                .map_err(|e| StoreError::corrupt("org.stale_after_seconds", e))?,
            grace_is_compliant: row.grace_is_compliant,
            coa: row.coa.parse().map_err(|e| StoreError::corrupt("org.coa", e))?,
        };
        Ok(Self {
            id: OrgId(row.org_id),
            name: row.name,
            home_cloud: row.home_cloud,
            home_tid: row.home_tid,
            created_at: row.created_at,
            revision: row.revision,
            settings,
            policy_version: row.policy_version,
        })
    }
}

/// Inserts an organization with default settings. A tenant whose organization exists already runs into the unique
/// index `org_home_tid`.
pub async fn insert(
    tx: &mut OrgTx,
    name: &str,
    home_cloud: &str,
    home_tid: Uuid,
    now: OffsetDateTime,
) -> Result<()> {
    let org = tx.org().uuid();
    sqlx::query!(
        "INSERT INTO org (org_id, name, home_tid, created_at, home_cloud) VALUES ($1, $2, $3, $4, $5)",
        org,
        name,
        home_tid,
        now,
        home_cloud,
    )
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// The transaction's organization.
pub async fn get(tx: &mut OrgTx) -> Result<Option<OrgRow>> {
    let org = tx.org().uuid();
    let row = sqlx::query_as!(
        Row,
        "SELECT org_id, name, home_cloud, home_tid, created_at, revision, stale_after_seconds, grace_is_compliant, coa,
                policy_version
         FROM org WHERE org_id = $1",
        org,
    )
    .fetch_optional(tx.conn())
    .await?;
    row.map(OrgRow::try_from).transpose()
}

/// The organization that a tenant's first sign-in created.
pub async fn by_home_tenant(tx: &mut SystemTx, cloud: &str, tid: Uuid) -> Result<Option<OrgId>> {
    let id =
        sqlx::query_scalar!("SELECT org_id FROM org WHERE home_tid = $1 AND home_cloud = $2", tid, cloud,)
            .fetch_optional(tx.conn())
            .await?;
    Ok(id.map(OrgId))
}

/// Every organization's id, ascending, after `after`.
pub async fn ids_after(tx: &mut SystemTx, after: Option<OrgId>, limit: i64) -> Result<Vec<OrgId>> {
    let ids = sqlx::query_scalar!(
        "SELECT org_id FROM org WHERE $1::uuid IS NULL OR org_id > $1 ORDER BY org_id LIMIT $2",
        after.map(OrgId::uuid),
        limit,
    )
    .fetch_all(tx.conn())
    .await?;
    Ok(ids.into_iter().map(OrgId).collect())
}

/// Sets name and settings. Call [`changed`] in the same transaction.
pub async fn update(tx: &mut OrgTx, name: &str, settings: &OrgSettings) -> Result<()> {
    let org = tx.org().uuid();
    let stale_after = i32::try_from(settings.stale_after_seconds)
        .map_err(|e| StoreError::corrupt("org.stale_after_seconds", e))?;
    sqlx::query!(
        "UPDATE org SET name = $2, stale_after_seconds = $3, grace_is_compliant = $4, coa = $5
         WHERE org_id = $1",
        org,
        name,
        stale_after,
        settings.grace_is_compliant,
        settings.coa.as_str(),
    )
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// What the organization tells its clients beside Gatehouse's words on remediation pages; empty where nothing.
pub async fn help_text(tx: &mut OrgTx) -> Result<Option<String>> {
    let org = tx.org().uuid();
    let text = sqlx::query_scalar!("SELECT help_text FROM org WHERE org_id = $1", org);
    Ok(text.fetch_optional(tx.conn()).await?)
}

/// Sets it: 600 characters at most. No decision looks at it.
pub async fn set_help_text(tx: &mut OrgTx, text: &str) -> Result<()> {
    let org = tx.org().uuid();
    sqlx::query!("UPDATE org SET help_text = $2 WHERE org_id = $1", org, text).execute(tx.conn()).await?;
    Ok(())
}

/// Sets how much of a fleet may turn worse at once before an admin is asked.
pub async fn set_mass_change(tx: &mut OrgTx, limits: MassChange) -> Result<()> {
    let org = tx.org().uuid();
    let column = |n: u32| i32::try_from(n).map_err(|e| StoreError::corrupt("org.mass_change", e));
    sqlx::query!(
        "UPDATE org SET mass_change_percent = $2, mass_change_min = $3 WHERE org_id = $1",
        org,
        column(limits.percent)?,
        column(limits.min)?,
    )
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// Says that settings, links or the live policy changed: the snapshot's revision grows, and the outbox carries
/// the word. `redecide` where active sessions may now deserve another answer.
pub async fn changed(tx: &mut OrgTx, ids: &Ids, now: OffsetDateTime, redecide: bool) -> Result<()> {
    let org = tx.org().uuid();
    sqlx::query!("UPDATE org SET revision = revision + 1 WHERE org_id = $1", org).execute(tx.conn()).await?;
    outbox::enqueue(tx, ids, now, &OutboxMessage::SnapshotChanged { redecide }).await
}

/// What decisions need of the organization; `None` where there is no such organization.
pub async fn snapshot(tx: &mut OrgTx) -> Result<Option<OrgSnapshot>> {
    let Some(row) = get(tx).await? else { return Ok(None) };
    let org = tx.org().uuid();
    let links = sqlx::query!("SELECT id, confirmed_at FROM link WHERE org_id = $1 ORDER BY id", org)
        .fetch_all(tx.conn())
        .await?;
    let links = links.into_iter().map(|l| LinkFacts { id: LinkId(l.id), confirmed_at: l.confirmed_at });
    let policy = match row.policy_version {
        None => None,
        Some(version) => {
            let doc = sqlx::query_scalar!(
                "SELECT document FROM policy_version WHERE org_id = $1 AND version = $2",
                org,
                version,
            )
            .fetch_one(tx.conn())
            .await?;
            let doc: PolicyDoc =
                serde_json::from_value(doc).map_err(|e| StoreError::corrupt("policy_version.document", e))?;
            Some(PublishedPolicy { version, doc })
        }
    };
    Ok(Some(OrgSnapshot {
        org: row.id,
        revision: row.revision,
        settings: row.settings,
        links: links.collect(),
        policy,
    }))
}

/// The ids of organizations, in their order, after `after`: for housekeeping that goes from one to the next.
pub async fn ids_page(tx: &mut SystemTx, after: Option<OrgId>, limit: i64) -> Result<Vec<OrgId>> {
    let orgs = sqlx::query_scalar!(
        "SELECT org_id FROM org WHERE $1::uuid IS NULL OR org_id > $1 ORDER BY org_id LIMIT $2",
        after.map(OrgId::uuid),
        limit,
    )
    .fetch_all(tx.conn())
    .await?;
    Ok(orgs.into_iter().map(OrgId).collect())
}
