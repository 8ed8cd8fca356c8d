//! A NAS starts or stops as a whole: none of its sessions goes on.

use domain::event::{Event, EventKind};
use domain::request::Nas;
use domain::session::ENDED_BY_NAS_RESTART;
use domain::time::uuid_of;
use domain::{EdgeId, EventId, Mac, SessionId, SiteId};
use time::OffsetDateTime;

use crate::{OrgTx, Result};

/// Ends up to `limit` open sessions of a NAS behind an edge of which nothing was decided or heard since `at`, and tells
/// so. Returns how many there were: go on until there are none.
///
/// The NAS is known by what its requests called it: by address and identifier, as far as both sides name them. A NAS
/// without a name has no sessions.
pub async fn end_of_nas(
    tx: &mut OrgTx,
    edge: EdgeId,
    nas: &Nas,
    at: OffsetDateTime,
    limit: i64,
) -> Result<usize> {
    let org = tx.org();
    let rows = sqlx::query!(
        "UPDATE session s SET ended_at = $3, terminate_cause = $7
         FROM (SELECT id FROM session
               WHERE org_id = $1 AND edge_id = $2 AND ended_at IS NULL
                 AND greatest(started_at, decided_at, accounted_at) < $3
                 AND (request -> 'nas' ->> 'ip' = $4 OR request -> 'nas' ->> 'identifier' = $5)
                 AND coalesce(request -> 'nas' ->> 'ip' = $4, true)
                 AND coalesce(request -> 'nas' ->> 'identifier' = $5, true)
               ORDER BY id LIMIT $6 FOR UPDATE) gone
         WHERE s.org_id = $1 AND s.id = gone.id
         RETURNING s.id, s.site_id, s.mac, s.session_key, s.user_name, s.bytes_in, s.bytes_out",
        org.uuid(),
        edge.uuid(),
        at,
        nas.ip.map(|ip| ip.to_string()),
        nas.identifier.as_deref(),
        limit,
        ENDED_BY_NAS_RESTART,
    )
    .fetch_all(tx.conn())
    .await?;
    let ended: Vec<Event> = rows
        .into_iter()
        .map(|row| Event {
            org,
            id: EventId(uuid_of(at, &format!("{}/{ENDED_BY_NAS_RESTART}", row.id))),
            at,
            kind: EventKind::NacSessionEnded,
            mac: row.mac.map(|mac| Mac(mac.bytes())),
            session: Some(SessionId(row.id)),
            edge: Some(edge),
            site: Some(SiteId(row.site_id)),
            summary: format!("Session ended: {ENDED_BY_NAS_RESTART}"),
            detail: serde_json::json!({
                "terminate_cause": ENDED_BY_NAS_RESTART,
                "session_key": row.session_key,
                "user_name": row.user_name,
                "bytes_in": row.bytes_in,
                "bytes_out": row.bytes_out,
                "nas": nas,
            }),
        })
        .collect();
    crate::events::append_all(tx, &ended).await?;
    Ok(ended.len())
}
