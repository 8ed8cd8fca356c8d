//! Decisions that nobody heard. An edge that is not answered in time decides by itself, and the client gets that answer;
//! what was asked may be on its way all the same, and be decided here later, or be recorded already.

use std::collections::HashMap;

use domain::SessionId;
use domain::event::DecisionRecord;
use domain::session::ENDED_BY_DENIAL;
use uuid::Uuid;

use crate::{OrgTx, Result};

/// The asks whose answers nobody heard, as edges tell by what they decided in their place.
#[derive(Debug, Default)]
pub(super) struct Unheard(HashMap<SessionId, Vec<Uuid>>);

impl Unheard {
    /// Whether nobody heard this decision.
    pub fn is_of(&self, record: &DecisionRecord) -> bool {
        !record.offline && record.ask.is_some_and(|ask| self.asks(record.session).contains(&ask))
    }

    /// Those of a session.
    pub fn asks(&self, session: SessionId) -> &[Uuid] {
        self.0.get(&session).map_or(&[], Vec::as_slice)
    }
}

/// Whether nobody heard what was decided of an ask of this session: the edge told so, and it is one of the last.
pub async fn is_unheard(tx: &mut OrgTx, session: SessionId, ask: Uuid) -> Result<bool> {
    let org = tx.org().uuid();
    let unheard = sqlx::query_scalar!(
        r#"SELECT $3 = ANY (unheard) AS "unheard!" FROM session WHERE org_id = $1 AND id = $2"#,
        org,
        session.uuid(),
        ask,
    )
    .fetch_optional(tx.conn())
    .await?;
    Ok(unheard.unwrap_or(false))
}

/// Notes at the sessions which asks were not heard, and takes back what was decided of them: the next decision takes
/// the place, though it be the earlier one.
pub(super) async fn withdraw(tx: &mut OrgTx, records: &[&DecisionRecord]) -> Result<Unheard> {
    let mut unheard = Unheard::default();
    for record in records.iter().filter(|record| record.offline) {
        if let Some(ask) = record.ask {
            unheard.0.entry(record.session).or_default().push(ask);
        }
    }
    if unheard.0.is_empty() {
        return Ok(unheard);
    }
    let org = tx.org().uuid();
    let told = unheard.0.iter().flat_map(|(session, asks)| asks.iter().map(|ask| (session.uuid(), *ask)));
    let (session, ask): (Vec<Uuid>, Vec<Uuid>) = told.unzip();
    // All that this batch writes, in the order in which it does.
    let all: Vec<Uuid> = records.iter().map(|record| record.session.uuid()).collect();
    sqlx::query!(
        "WITH held AS MATERIALIZED (SELECT id FROM session WHERE org_id = $1 AND id = ANY ($2)
                                    ORDER BY id FOR UPDATE),
              told AS (SELECT id, array_agg(ask) AS asks FROM unnest($3::uuid[], $4::uuid[]) AS t(id, ask)
                       WHERE id IN (SELECT id FROM held) GROUP BY id)
         UPDATE session s SET
             unheard = (told.asks || s.unheard)[1:16],
             ask_id = CASE WHEN s.ask_id = ANY (told.asks) THEN NULL ELSE s.ask_id END,
             decided_at = CASE WHEN s.ask_id = ANY (told.asks) THEN NULL ELSE s.decided_at END,
             ended_at = CASE WHEN s.ask_id = ANY (told.asks) AND s.terminate_cause = $5 THEN NULL
                             ELSE s.ended_at END,
             terminate_cause = CASE WHEN s.ask_id = ANY (told.asks) AND s.terminate_cause = $5 THEN NULL
                                    ELSE s.terminate_cause END
         FROM told WHERE s.org_id = $1 AND s.id = told.id",
        org,
        &all,
        &session,
        &ask,
        ENDED_BY_DENIAL,
    )
    .execute(tx.conn())
    .await?;
    Ok(unheard)
}
