//! Decisions that nobody heard. An edge that is not answered in time decides by itself, and the client gets that answer;
//! what was asked may be on its way all the same, and be decided here later, or be recorded already.

use std::collections::HashMap;

use domain::SessionId;
use domain::event::DecisionRecord;
use domain::session::ENDED_BY_DENIAL;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{OrgTx, Result};

/// The asks whose answers nobody heard, as edges tell by what they decided in their place.
#[derive(Debug, Default)]
pub(super) struct Unheard {
    /// As these records tell.
    told: HashMap<SessionId, Vec<Uuid>>,
    /// As was told before, where it decides which of these records counts.
    known: HashMap<SessionId, Vec<Uuid>>,
}

impl Unheard {
    /// Whether nobody heard this decision.
    pub fn is_of(&self, record: &DecisionRecord) -> bool {
        let Some(ask) = record.ask.filter(|_| !record.offline) else { return false };
        let known = self.known.get(&record.session).is_some_and(|asks| asks.contains(&ask));
        known || self.asks(record.session).contains(&ask)
    }

    /// Those of a session that these records tell.
    pub fn asks(&self, session: SessionId) -> &[Uuid] {
        self.told.get(&session).map_or(&[], Vec::as_slice)
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
    let mut unheard = Unheard { known: known(tx, records).await?, ..Unheard::default() };
    let offline = records.iter().filter(|record| record.offline);
    let told: Vec<(&DecisionRecord, Uuid)> =
        offline.filter_map(|record| Some((*record, record.ask?))).collect();
    if told.is_empty() {
        return Ok(unheard);
    }
    for (record, ask) in &told {
        unheard.told.entry(record.session).or_default().push(*ask);
    }
    let org = tx.org().uuid();
    let session: Vec<Uuid> = told.iter().map(|(record, _)| record.session.uuid()).collect();
    let ask: Vec<Uuid> = told.iter().map(|(_, ask)| *ask).collect();
    let at: Vec<OffsetDateTime> = told.iter().map(|(record, _)| record.counts_from()).collect();
    // All that this batch writes, in the order in which it does.
    let all: Vec<Uuid> = records.iter().map(|record| record.session.uuid()).collect();
    sqlx::query!(
        "WITH held AS MATERIALIZED (SELECT id FROM session WHERE org_id = $1 AND id = ANY ($2)
                                    ORDER BY id FOR UPDATE),
              told AS (SELECT id, array_agg(ask) AS asks, min(at) AS at
                       FROM unnest($3::uuid[], $4::uuid[], $6::timestamptz[]) AS t(id, ask, at)
                       WHERE id IN (SELECT id FROM held) GROUP BY id)
         UPDATE session s SET
             unheard = (told.asks || s.unheard)[1:16],
             ask_id = CASE WHEN s.ask_id = ANY (told.asks) THEN NULL ELSE s.ask_id END,
             decided_at = CASE WHEN s.ask_id = ANY (told.asks) THEN NULL ELSE s.decided_at END,
             -- A denial ends what goes on, and what has ended it ends later.
             ended_at = CASE WHEN (s.ask_id = ANY (told.asks)) IS NOT TRUE THEN s.ended_at
                             WHEN s.terminate_cause = $5 THEN NULL
                             WHEN NOT (s.outcome ->> 'permit')::boolean
                             THEN least(s.ended_at, told.at - interval '1 microsecond')
                             ELSE s.ended_at END,
             terminate_cause = CASE WHEN s.ask_id = ANY (told.asks) AND s.terminate_cause = $5 THEN NULL
                                    ELSE s.terminate_cause END
         FROM told WHERE s.org_id = $1 AND s.id = told.id",
        org,
        &all,
        &session,
        &ask,
        ENDED_BY_DENIAL,
        &at,
    )
    .execute(tx.conn())
    .await?;
    Ok(unheard)
}

/// What was told before of the sessions of which one of several records is to count.
async fn known(tx: &mut OrgTx, records: &[&DecisionRecord]) -> Result<HashMap<SessionId, Vec<Uuid>>> {
    let mut of: HashMap<SessionId, (usize, bool)> = HashMap::new();
    for record in records {
        let (count, asked) = of.entry(record.session).or_default();
        *count += 1;
        *asked |= record.ask.is_some();
    }
    let several: Vec<Uuid> = of
        .into_iter()
        .filter(|(_, (count, asked))| *count > 1 && *asked)
        .map(|(session, _)| session.uuid())
        .collect();
    if several.is_empty() {
        return Ok(HashMap::new());
    }
    let rows = sqlx::query!(
        "SELECT id, unheard FROM session WHERE org_id = $1 AND id = ANY ($2) AND unheard <> '{}'",
        tx.org().uuid(),
        &several,
    )
    .fetch_all(tx.conn())
    .await?;
    Ok(rows.into_iter().map(|row| (SessionId(row.id), row.unheard)).collect())
}
