//! Commands, as an edge sees them: fetched at least once, acknowledged, expired. Every state is an event.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use domain::coa::pace::{HANDFUL, Pace};
use domain::command::{Command, CommandState, NasAnswer, Next, again_after};
use domain::event::Event;
use domain::outbox::OutboxMessage;
use domain::request::AccessRequest;
use domain::time::Ids;
use domain::{CommandId, EdgeId, OrgId, SessionId, SiteId};
use mac_address::MacAddress;
use serde_json::Value;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{OrgTx, Result, SystemTx, commands, events, outbox};

/// A command, handed out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    pub command: Command,
    /// The request that the session was decided on: it tells the NAS which session is meant.
    pub request: Option<AccessRequest>,
}

struct Row {
    id: Uuid,
    edge_id: Uuid,
    site_id: Option<Uuid>,
    session_id: Uuid,
    session_key: String,
    mac: Option<MacAddress>,
    kind: String,
    cause: String,
    from_outcome: Value,
    to_outcome: Value,
    state: String,
    created_at: OffsetDateTime,
    not_before: Option<OffsetDateTime>,
    expires_at: OffsetDateTime,
    delivered_at: Option<OffsetDateTime>,
    deliveries: i32,
    finished_at: Option<OffsetDateTime>,
    answer: Option<String>,
    error_cause: Option<i64>,
    result: Option<String>,
    request: Option<Value>,
}

impl Row {
    fn read(self) -> Result<(Delivery, Option<SiteId>, i32)> {
        let (command, site) = commands::Row {
            id: self.id,
            edge_id: self.edge_id,
            site_id: self.site_id,
            session_id: self.session_id,
            session_key: self.session_key,
            mac: self.mac,
            kind: self.kind,
            cause: self.cause,
            from_outcome: self.from_outcome,
            to_outcome: self.to_outcome,
            state: self.state,
            created_at: self.created_at,
            not_before: self.not_before,
            expires_at: self.expires_at,
            delivered_at: self.delivered_at,
            finished_at: self.finished_at,
            answer: self.answer,
            error_cause: self.error_cause,
            result: self.result,
        }
        .read()?;
        // A request that does not read must not keep the command from its edge.
        let request = self.request.and_then(|request| serde_json::from_value(request).ok());
        Ok((Delivery { command, request }, site, self.deliveries))
    }
}

/// Of commands to one session that came to nothing one after the other, so many are each followed by a longer rest.
const RESTS_MAX: i32 = 3;

/// When a session is decided again whose command came to nothing: once the same move may be planned anew, which is as
/// long after the command's turn as commands last, and later where `before` went the same way. An edge that was away
/// for a while gets its moves once it is back; one that stays away is not worth a new command every time.
fn due_again(command: &Command, before: i64, now: OffsetDateTime) -> OffsetDateTime {
    let turn = command.not_before.map_or(command.created_at, |due| due.max(command.created_at));
    // What was answered went out again since, and its turn moved on.
    let lasts = command.expires_at - if command.answer.is_some() { command.created_at } else { turn };
    let rest = lasts * i32::try_from(before).map_or(RESTS_MAX, |before| before.clamp(0, RESTS_MAX));
    (turn + lasts + rest).max(now)
}

/// Which commands go out again that were handed out and never acknowledged.
enum Again {
    /// Those that were handed out by then.
    HandedOutBy(OffsetDateTime),
    /// Those that were handed out after this one; all of them where it is `None`, or no command of the edge.
    HandedOutAfter(Option<CommandId>),
}

/// Hands out the edge's open commands that are due, the longest due first: those that wait, and those that were handed
/// out longer than `redeliver_after` ago and never acknowledged.
pub async fn fetch(
    tx: &mut OrgTx,
    ids: &Ids,
    now: OffsetDateTime,
    edge: EdgeId,
    limit: i64,
    redeliver_after: Duration,
) -> Result<Vec<Delivery>> {
    hand_out(tx, ids, now, edge, limit, Again::HandedOutBy(now - redeliver_after)).await
}

/// Hands out what an edge that begins to listen anew lacks, the longest due first: commands that wait and are due, and
/// those that were handed out after `after` and may never have reached it. `None`: the edge remembers nothing. What is
/// beyond the limit goes out by [`fetch`].
pub async fn resume(
    tx: &mut OrgTx,
    ids: &Ids,
    now: OffsetDateTime,
    edge: EdgeId,
    limit: i64,
    after: Option<CommandId>,
) -> Result<Vec<Delivery>> {
    hand_out(tx, ids, now, edge, limit, Again::HandedOutAfter(after)).await
}

/// A command whose turn came longer ago than this was not fetched because its edge was away, or hardly ever asks.
const BACKLOG_AFTER: time::Duration = time::Duration::seconds(10);

/// Gives those of the edge's commands a new turn, from `now` on and at its pace, whose turn came while it was away: it
/// is back, and all at once would be what the pace is there to avoid. Each is wanted as long after its turn as before.
async fn spread_backlog(tx: &mut OrgTx, edge: EdgeId, now: OffsetDateTime) -> Result<()> {
    let org = tx.org().uuid();
    let rows = sqlx::query!(
        r#"SELECT id, not_before AS "not_before!", per_second AS "per_second!" FROM command
           WHERE org_id = $1 AND edge_id = $2 AND state = 'pending' AND not_before <= $3 AND expires_at > $4
             AND per_second IS NOT NULL
           ORDER BY not_before, id FOR UPDATE SKIP LOCKED"#,
        org,
        edge.uuid(),
        now - BACKLOG_AFTER,
        now,
    )
    .fetch_all(tx.conn())
    .await?;
    let slowest = rows.iter().map(|row| row.per_second).min().and_then(|pace| u32::try_from(pace).ok());
    let Some(per_second) = slowest.filter(|_| rows.len() > HANDFUL) else { return Ok(()) };
    let taken = commands::on_their_way(tx, &[edge], now - BACKLOG_AFTER).await?.remove(&edge);
    let mut pace = Pace::new(per_second, time::Duration::ZERO, taken.unwrap_or_default());
    let ids: Vec<Uuid> = rows.iter().map(|row| row.id).collect();
    let turns: Vec<OffsetDateTime> = rows.iter().map(|_| pace.take(now, 0)).collect();
    sqlx::query!(
        "UPDATE command c SET not_before = t.turn, expires_at = c.expires_at + (t.turn - c.not_before)
         FROM unnest($2::uuid[], $3::timestamptz[]) AS t (id, turn)
         WHERE c.org_id = $1 AND c.id = t.id",
        org,
        &ids,
        &turns,
    )
    .execute(tx.conn())
    .await?;
    tracing::info!(%edge, commands = ids.len(), per_second, "the edge was away; its commands go out at their pace");
    Ok(())
}

async fn hand_out(
    tx: &mut OrgTx,
    ids: &Ids,
    now: OffsetDateTime,
    edge: EdgeId,
    limit: i64,
    again: Again,
) -> Result<Vec<Delivery>> {
    let (by, after) = match again {
        Again::HandedOutBy(by) => (Some(by), None),
        Again::HandedOutAfter(after) => (None, after),
    };
    spread_backlog(tx, edge, now).await?;
    let org = tx.org();
    let rows = sqlx::query_as!(
        Row,
        r#"WITH due AS (
               SELECT id FROM command o
               WHERE org_id = $1 AND edge_id = $2 AND expires_at > $3
                 AND (state = 'pending' OR (state = 'delivered' AND CASE WHEN $4::timestamptz IS NOT NULL
                     THEN delivered_at <= $4
                     -- Ids grow as commands are made, which is not the order in which they go out.
                     ELSE NOT EXISTS (
                         SELECT FROM command a WHERE a.org_id = $1 AND a.edge_id = $2 AND a.id = $6
                           AND (o.delivered_at, coalesce(o.not_before, '-infinity'), o.id)
                            <= (a.delivered_at, coalesce(a.not_before, '-infinity'), a.id)) END))
                 AND (not_before IS NULL OR not_before <= $3)
               ORDER BY not_before NULLS FIRST, id LIMIT $5 FOR UPDATE SKIP LOCKED
           )
           UPDATE command c SET state = 'delivered', delivered_at = $3, deliveries = c.deliveries + 1
           FROM due WHERE c.org_id = $1 AND c.id = due.id
           RETURNING c.id, c.edge_id,
                     (SELECT e.site_id FROM edge e WHERE e.org_id = $1 AND e.id = c.edge_id) AS site_id,
                     c.session_id, c.session_key, c.mac, c.kind, c.cause, c.from_outcome, c.to_outcome, c.state,
                     c.created_at, c.not_before, c.expires_at, c.delivered_at, c.deliveries, c.finished_at, c.answer, c.error_cause,
                     c.result,
                     (SELECT CASE WHEN s.acct_session_id IS NULL THEN s.request
                             -- The NAS's own name of the stay, where only accounting told it.
                             ELSE jsonb_set(s.request, '{session_id}', to_jsonb(s.acct_session_id)) END
                      FROM session s WHERE s.org_id = $1 AND s.id = c.session_id) AS request"#,
        org.uuid(),
        edge.uuid(),
        now,
        by,
        limit,
        after.map(CommandId::uuid),
    )
    .fetch_all(tx.conn())
    .await?;
    let mut commands = Vec::with_capacity(rows.len());
    let mut history = Vec::new();
    for row in rows {
        let (delivery, site, deliveries) = row.read()?;
        if deliveries == 1 {
            history.push(delivery.command.event(org, site, ids.make(now), now));
        }
        commands.push(delivery);
    }
    events::append_all(tx, &history).await?;
    commands.sort_by_key(|delivery| (delivery.command.not_before, delivery.command.id));
    Ok(commands)
}

/// When the next of the edge's commands that wait for their turn becomes due, after `now`.
pub async fn next_due(tx: &mut OrgTx, edge: EdgeId, now: OffsetDateTime) -> Result<Option<OffsetDateTime>> {
    let org = tx.org().uuid();
    let due = sqlx::query_scalar!(
        r#"SELECT not_before AS "not_before!" FROM command
           WHERE org_id = $1 AND edge_id = $2 AND state = 'pending' AND not_before > $3
           ORDER BY not_before LIMIT 1"#,
        org,
        edge.uuid(),
        now,
    )
    .fetch_optional(tx.conn())
    .await?;
    Ok(due)
}

/// Takes an edge's word on a command. `false`: the edge has no such command. Said twice, or of a command that is no
/// longer open, it changes nothing. A command that may go better the next time stays open and goes out again, unless
/// its time is over by then; then its session is decided again after a while.
pub async fn ack(
    tx: &mut OrgTx,
    ids: &Ids,
    now: OffsetDateTime,
    edge: EdgeId,
    id: CommandId,
    answer: NasAnswer,
    said: Option<&str>,
) -> Result<bool> {
    let org = tx.org();
    let command = sqlx::query!(
        "SELECT state, expires_at, deliveries, answers, answered_delivery FROM command
         WHERE org_id = $1 AND id = $2 AND edge_id = $3 FOR UPDATE",
        org.uuid(),
        id.uuid(),
        edge.uuid(),
    )
    .fetch_optional(tx.conn())
    .await?;
    let Some(command) = command else { return Ok(false) };
    if !matches!(command.state.as_str(), "pending" | "delivered") {
        return Ok(true);
    }
    let (state, again_at) = match answer.next() {
        Next::Done => (CommandState::Acked, None),
        Next::Gone | Next::Failed => (CommandState::Failed, None),
        Next::Again if command.deliveries <= command.answered_delivery => return Ok(true),
        Next::Again => {
            let answers = u32::try_from(command.answers).unwrap_or_default().saturating_add(1);
            let again_at = now + again_after(answers);
            match again_at < command.expires_at {
                true => (CommandState::Delivered, Some(again_at)),
                false => (CommandState::Failed, None),
            }
        }
    };
    let row = sqlx::query_as!(
        Row,
        r#"UPDATE command c SET state = $4, answer = $5, error_cause = $6, result = $7,
               finished_at = CASE WHEN $8::timestamptz IS NULL THEN $9::timestamptz END,
               not_before = coalesce($8, c.not_before),
               answers = c.answers + ($8 IS NOT NULL)::int,
               answered_delivery = CASE WHEN $8 IS NULL THEN c.answered_delivery ELSE c.deliveries END
           WHERE c.org_id = $1 AND c.id = $2 AND c.edge_id = $3
           RETURNING c.id, c.edge_id,
                     (SELECT e.site_id FROM edge e WHERE e.org_id = $1 AND e.id = c.edge_id) AS site_id,
                     c.session_id, c.session_key, c.mac, c.kind, c.cause, c.from_outcome, c.to_outcome, c.state,
                     c.created_at, c.not_before, c.expires_at, c.delivered_at, c.deliveries, c.finished_at, c.answer,
                     c.error_cause, c.result,
                     (SELECT s.request FROM session s WHERE s.org_id = $1 AND s.id = c.session_id) AS request"#,
        org.uuid(),
        id.uuid(),
        edge.uuid(),
        state.as_str(),
        answer.result.as_str(),
        answer.error_cause.map(|cause| i64::from(cause.0)),
        said,
        again_at,
        now,
    )
    .fetch_one(tx.conn())
    .await?;
    let (Delivery { command, .. }, site, _) = row.read()?;
    events::append(tx, &command.event(org, site, ids.make(now), now)).await?;
    if command.state == CommandState::Failed && answer.next() == Next::Again {
        let before = came_to_nothing(tx, &[command.id]).await?;
        let due = due_again(&command, before.get(&command.id).copied().unwrap_or(0), now);
        let message = OutboxMessage::SessionsDue { sessions: vec![command.session] };
        outbox::enqueue_at(tx, ids, now, due, &message).await?;
    }
    Ok(true)
}

/// How many commands came to nothing, before each of these, that wanted the same answer replaced.
async fn came_to_nothing(tx: &mut OrgTx, ids: &[CommandId]) -> Result<HashMap<CommandId, i64>> {
    let org = tx.org().uuid();
    let ids: Vec<Uuid> = ids.iter().map(|id| id.uuid()).collect();
    let rows = sqlx::query!(
        r#"SELECT c.id, (SELECT count(*) FROM command o
                         WHERE o.org_id = $1 AND o.session_id = c.session_id AND o.state IN ('expired', 'failed')
                           AND o.answered_at = c.answered_at AND o.created_at < c.created_at) AS "before!"
           FROM command c WHERE c.org_id = $1 AND c.id = ANY($2)"#,
        org,
        &ids,
    )
    .fetch_all(tx.conn())
    .await?;
    Ok(rows.into_iter().map(|row| (CommandId(row.id), row.before)).collect())
}

/// Closes the commands whose time is over, and has their sessions decided again. Returns how many.
pub async fn expire_due(tx: &mut OrgTx, ids: &Ids, now: OffsetDateTime, limit: i64) -> Result<usize> {
    let org = tx.org();
    let rows = sqlx::query_as!(
        Row,
        r#"WITH due AS (
               SELECT id FROM command
               WHERE org_id = $1 AND expires_at <= $2 AND state IN ('pending', 'delivered')
               ORDER BY id LIMIT $3 FOR UPDATE SKIP LOCKED
           )
           UPDATE command c SET state = 'expired', finished_at = $2 FROM due WHERE c.org_id = $1 AND c.id = due.id
           RETURNING c.id, c.edge_id,
                     (SELECT e.site_id FROM edge e WHERE e.org_id = $1 AND e.id = c.edge_id) AS site_id,
                     c.session_id, c.session_key, c.mac, c.kind, c.cause, c.from_outcome, c.to_outcome, c.state,
                     c.created_at, c.not_before, c.expires_at, c.delivered_at, c.deliveries, c.finished_at, c.answer, c.error_cause,
                     c.result,
                     (SELECT s.request FROM session s WHERE s.org_id = $1 AND s.id = c.session_id) AS request"#,
        org.uuid(),
        now,
        limit,
    )
    .fetch_all(tx.conn())
    .await?;
    let expired: Vec<(Command, Option<SiteId>)> = rows
        .into_iter()
        .map(|row| row.read().map(|(delivery, site, _)| (delivery.command, site)))
        .collect::<Result<_>>()?;
    let history: Vec<Event> =
        expired.iter().map(|(command, site)| command.event(org, *site, ids.make(now), now)).collect();
    events::append_all(tx, &history).await?;

    let of: Vec<CommandId> = expired.iter().map(|(command, _)| command.id).collect();
    let before = came_to_nothing(tx, &of).await?;
    let mut due: BTreeMap<OffsetDateTime, Vec<SessionId>> = BTreeMap::new();
    for (command, _) in &expired {
        let at = due_again(command, before.get(&command.id).copied().unwrap_or(0), now);
        // Those of one second go together.
        let at = if at > now { at.truncate_to_second() + time::Duration::SECOND } else { at };
        due.entry(at).or_default().push(command.session);
    }
    for (at, sessions) in due {
        outbox::enqueue_at(tx, ids, now, at, &OutboxMessage::SessionsDue { sessions }).await?;
    }
    Ok(expired.len())
}

/// The organizations that have commands to expire.
pub async fn orgs_with_expired(tx: &mut SystemTx, now: OffsetDateTime, limit: i64) -> Result<Vec<OrgId>> {
    let orgs = sqlx::query_scalar!(
        "SELECT DISTINCT org_id FROM command WHERE state IN ('pending', 'delivered') AND expires_at <= $1 LIMIT $2",
        now,
        limit,
    )
    .fetch_all(tx.conn())
    .await?;
    Ok(orgs.into_iter().map(OrgId).collect())
}

#[cfg(test)]
mod tests {
    use domain::coa::{CoaCause, CoaKind};
    use domain::command::NasResult;
    use domain::decision::Outcome;
    use time::Duration;
    use time::macros::datetime;

    use super::*;

    const NOW: OffsetDateTime = datetime!(2026-11-20 12:00 UTC);

    /// Seconds from the command's making.
    fn command(not_before: Option<i64>, expires_at: i64, answer: Option<NasAnswer>) -> Command {
        let at = |seconds| NOW + Duration::seconds(seconds);
        Command {
            id: CommandId(Uuid::nil()),
            edge: EdgeId(Uuid::nil()),
            session: SessionId(Uuid::nil()),
            session_key: String::new(),
            mac: None,
            kind: CoaKind::Reauth,
            cause: CoaCause::ComplianceChanged,
            from: Outcome::DENY,
            to: Outcome::DENY,
            state: CommandState::Expired,
            created_at: NOW,
            not_before: not_before.map(at),
            expires_at: at(expires_at),
            delivered_at: None,
            finished_at: None,
            answer,
            result: None,
        }
    }

    #[test]
    fn a_move_that_came_to_nothing_is_wanted_again_and_ever_later() {
        let silent = Some(NasAnswer { result: NasResult::Timeout, error_cause: None });
        for (not_before, expires_at, answer, before, now, wanted) in [
            (None, 600, None, 0, 600, 600),
            (Some(0), 600, None, 0, 650, 650),
            // It waited for its turn.
            (Some(30), 630, None, 0, 630, 630),
            // The NAS was asked again and again, the last time at 520.
            (Some(520), 600, silent, 0, 590, 1120),
            (None, 600, None, 1, 600, 1200),
            (None, 600, None, 2, 600, 1800),
            (None, 600, None, 3, 600, 2400),
            (None, 600, None, 40, 600, 2400),
        ] {
            let command = command(not_before, expires_at, answer);
            let due = due_again(&command, before, NOW + Duration::seconds(now));
            assert_eq!((due - NOW).whole_seconds(), wanted, "{not_before:?} {before} {now}");
        }
    }
}
