//! Edges, with what goes on at them.

use domain::{EdgeId, SiteId};
use time::OffsetDateTime;

use crate::{OrgTx, Result};

/// An edge with its site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EdgeView {
    pub id: EdgeId,
    pub name: String,
    pub site: SiteId,
    pub site_name: String,
    pub created_at: OffsetDateTime,
    pub last_seen_at: Option<OffsetDateTime>,
    pub active_sessions: i64,
    pub credentials: i64,
}

/// The edges, by site and name.
pub async fn edges(tx: &mut OrgTx) -> Result<Vec<EdgeView>> {
    select(tx, None).await
}

/// One edge.
pub async fn edge(tx: &mut OrgTx, edge: EdgeId) -> Result<Option<EdgeView>> {
    Ok(select(tx, Some(edge)).await?.pop())
}

async fn select(tx: &mut OrgTx, edge: Option<EdgeId>) -> Result<Vec<EdgeView>> {
    let org = tx.org().uuid();
    let rows = sqlx::query!(
        r#"SELECT e.id, e.name, e.site_id, s.name AS site_name, e.created_at, e.last_seen_at,
                  coalesce(a.sessions, 0) AS "active_sessions!",
                  (SELECT count(*) FROM edge_credential c
                   WHERE c.org_id = e.org_id AND c.edge_id = e.id AND c.revoked_at IS NULL) AS "credentials!"
           FROM edge e
           JOIN site s ON s.org_id = e.org_id AND s.id = e.site_id
           LEFT JOIN (SELECT edge_id, count(*) AS sessions FROM session
                      WHERE org_id = $1 AND ended_at IS NULL GROUP BY edge_id) a ON a.edge_id = e.id
           WHERE e.org_id = $1 AND ($2::uuid IS NULL OR e.id = $2)
           ORDER BY lower(s.name), lower(e.name)"#,
        org,
        edge.map(EdgeId::uuid),
    )
    .fetch_all(tx.conn())
    .await?;
    let view = rows.into_iter().map(|r| EdgeView {
        id: EdgeId(r.id),
        name: r.name,
        site: SiteId(r.site_id),
        site_name: r.site_name,
        created_at: r.created_at,
        last_seen_at: r.last_seen_at,
        active_sessions: r.active_sessions,
        credentials: r.credentials,
    });
    Ok(view.collect())
}
