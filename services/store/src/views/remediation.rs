//! What a client's remediation page is made from.

use domain::decision::Outcome;
use domain::request::AccessRequest;
use domain::{Mac, SessionId};
use time::OffsetDateTime;

use super::mac;
use crate::{OrgTx, Result, StoreError};

/// A client's session, as it was decided last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecidedSession {
    pub mac: Option<Mac>,
    pub request: AccessRequest,
    pub outcome: Outcome,
    pub decided_at: OffsetDateTime,
    pub ended_at: Option<OffsetDateTime>,
}

/// One session; `None` where there is none, or none that was decided.
pub async fn session(tx: &mut OrgTx, id: SessionId) -> Result<Option<DecidedSession>> {
    let org = tx.org().uuid();
    let row = sqlx::query!(
        r#"SELECT mac, request AS "request!", outcome AS "outcome!", decided_at AS "decided_at!", ended_at
           FROM session WHERE org_id = $1 AND id = $2 AND outcome IS NOT NULL"#,
        org,
        id.uuid(),
    )
    .fetch_optional(tx.conn())
    .await?;
    row.map(|row| {
        Ok(DecidedSession {
            mac: row.mac.map(mac),
            request: serde_json::from_value(row.request)
                .map_err(|e| StoreError::corrupt("session.request", e))?,
            outcome: serde_json::from_value(row.outcome)
                .map_err(|e| StoreError::corrupt("session.outcome", e))?,
            decided_at: row.decided_at,
            ended_at: row.ended_at,
        })
    })
    .transpose()
}
