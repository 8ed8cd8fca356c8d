//! Changing and deleting sites; making them is in [`crate::edges`].

use domain::SiteId;
use domain::time::Ids;
use serde_json::json;
use time::OffsetDateTime;

use crate::audit::{self, Actor};
use crate::bundles::SiteSettings;
use crate::{OrgTx, Result, StoreError};

/// Gives a site a name and settings. `false`: the organization has no such site. A name that another site bears runs
/// into the unique index `site_name`.
pub async fn change(
    tx: &mut OrgTx,
    ids: &Ids,
    now: OffsetDateTime,
    actor: &Actor,
    site: SiteId,
    name: &str,
    settings: &SiteSettings,
) -> Result<bool> {
    let org = tx.org().uuid();
    let max_age = i32::try_from(settings.bundle_max_age_seconds)
        .map_err(|e| StoreError::corrupt("site.bundle_max_age_seconds", e))?;
    let before = sqlx::query!(
        "UPDATE site s SET name = $3, fallback_vlan = $4, bundle_max_age_seconds = $5 FROM site old
         WHERE s.org_id = $1 AND s.id = $2 AND old.org_id = $1 AND old.id = $2
         RETURNING old.name, old.fallback_vlan, old.bundle_max_age_seconds",
        org,
        site.uuid(),
        name,
        settings.fallback.vlan,
        max_age,
    )
    .fetch_optional(tx.conn())
    .await?;
    let Some(before) = before else { return Ok(false) };
    let shown = |name: &str, vlan: &Option<String>, max_age: i32| json!({"name": name, "fallback_vlan": vlan, "bundle_max_age_seconds": max_age});
    let before = shown(&before.name, &before.fallback_vlan, before.bundle_max_age_seconds);
    let after = shown(name, &settings.fallback.vlan, max_age);
    if before != after {
        let detail = json!({"site_id": site, "before": before, "after": after});
        audit::write(tx, ids, now, actor, "site.change", name, detail).await?;
    }
    Ok(true)
}

/// Deletes a site at which no edge stands. `None`: the organization has no such site; otherwise how many edges stand
/// there, and nothing is done unless there are none.
pub async fn delete(
    tx: &mut OrgTx,
    ids: &Ids,
    now: OffsetDateTime,
    actor: &Actor,
    site: SiteId,
) -> Result<Option<i64>> {
    let org = tx.org().uuid();
    // An edge that is made meanwhile waits, and finds no site.
    let name = sqlx::query_scalar!(
        "SELECT name FROM site WHERE org_id = $1 AND id = $2 FOR UPDATE",
        org,
        site.uuid()
    )
    .fetch_optional(tx.conn())
    .await?;
    let Some(name) = name else { return Ok(None) };
    let edges = sqlx::query_scalar!(
        r#"SELECT count(*) AS "edges!" FROM edge WHERE org_id = $1 AND site_id = $2"#,
        org,
        site.uuid(),
    )
    .fetch_one(tx.conn())
    .await?;
    if edges > 0 {
        return Ok(Some(edges));
    }
    sqlx::query!("DELETE FROM site WHERE org_id = $1 AND id = $2", org, site.uuid())
        .execute(tx.conn())
        .await?;
    audit::write(tx, ids, now, actor, "site.delete", &name, json!({"site_id": site})).await?;
    Ok(Some(0))
}
