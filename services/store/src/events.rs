//! NAC history: written once, never changed. Every write is idempotent by the event's id, so that records which were
//! spilled and drained, or sent twice, are there once.

use std::collections::HashSet;

use domain::event::{DecisionRecord, Event};
use domain::session::Accounting;
use domain::time::uuid_time;
use domain::{EdgeId, EventId, Mac, RuleId, SessionId, SiteId};
use mac_address::MacAddress;
use sqlx::types::Json;
use time::{Date, Duration, OffsetDateTime};
use uuid::Uuid;

use crate::{OrgTx, Result, Store, StoreError, sessions};

/// Days for which partitions are kept ready, before and after today: late accounting, and a clock that moves on
/// while nobody makes new ones.
const DAYS_BEHIND: i64 = 8;
const DAYS_AHEAD: i64 = 7;

/// Records decisions: an event for each, and its session.
pub async fn record_batch(tx: &mut OrgTx, records: &[DecisionRecord]) -> Result<()> {
    let org = tx.org().uuid();
    let known = known_offline(tx, records).await?;
    let mut c = DecisionColumns::default();
    for record in records {
        c.push(record);
    }
    sqlx::query!(
        "INSERT INTO event (org_id, at, id, kind, mac, session_id, edge_id, site_id, summary, auth_type, ssid,
                            user_name, permit, reason, rule_id, rule_name, policy_version, vlan, role, verdict,
                            match_strength, device_id, trial_rules, detail)
         SELECT $1, * FROM unnest($2::timestamptz[], $3::uuid[], $4::text[], $5::macaddr[], $6::uuid[], $7::uuid[],
             $8::uuid[], $9::text[], $10::text[], $11::text[], $12::text[], $13::boolean[], $14::text[],
             $15::uuid[], $16::text[], $17::integer[], $18::text[], $19::text[], $20::text[], $21::text[],
             $22::uuid[], $23::jsonb[], $24::jsonb[])
         ON CONFLICT DO NOTHING",
        org,
        &c.at,
        &c.id,
        &c.kind as &[&str],
        &c.mac as &[Option<MacAddress>],
        &c.session,
        &c.edge,
        &c.site,
        &c.summary,
        &c.auth_type as &[Option<&str>],
        &c.ssid as &[Option<&str>],
        &c.user_name as &[Option<&str>],
        &c.permit,
        &c.reason as &[&str],
        &c.rule as &[Option<Uuid>],
        &c.rule_name as &[Option<&str>],
        &c.policy_version as &[Option<i32>],
        &c.vlan as &[Option<&str>],
        &c.role as &[Option<&str>],
        &c.verdict as &[&str],
        &c.match_strength as &[Option<&str>],
        &c.device as &[Option<Uuid>],
        &c.trials as &[Option<Json<Vec<RuleId>>>],
        &c.detail as &[Json<&DecisionRecord>],
    )
    .execute(tx.conn())
    .await?;
    let fresh: Vec<&DecisionRecord> =
        records.iter().filter(|record| !known.contains(&record.answer.id.uuid())).collect();
    sessions::decided(tx, &fresh).await
}

/// Those decisions of edges' own that are kept already. An edge tells them again where it did not hear that they were
/// taken, and by then later ones may count for their sessions.
async fn known_offline(tx: &mut OrgTx, records: &[DecisionRecord]) -> Result<HashSet<Uuid>> {
    let offline: Vec<&DecisionRecord> = records.iter().filter(|record| record.offline).collect();
    if offline.is_empty() {
        return Ok(HashSet::new());
    }
    let org = tx.org().uuid();
    let at: Vec<OffsetDateTime> = offline.iter().map(|record| record.answer.at).collect();
    let id: Vec<Uuid> = offline.iter().map(|record| record.answer.id.uuid()).collect();
    let known = sqlx::query_scalar!(
        "SELECT e.id FROM unnest($2::timestamptz[], $3::uuid[]) AS told(at, id)
         JOIN event e ON e.org_id = $1 AND e.at = told.at AND e.id = told.id",
        org,
        &at,
        &id,
    )
    .fetch_all(tx.conn())
    .await?;
    Ok(known.into_iter().collect())
}

#[derive(Default)]
struct DecisionColumns<'a> {
    at: Vec<OffsetDateTime>,
    id: Vec<Uuid>,
    kind: Vec<&'static str>,
    mac: Vec<Option<MacAddress>>,
    session: Vec<Uuid>,
    edge: Vec<Uuid>,
    site: Vec<Uuid>,
    summary: Vec<String>,
    auth_type: Vec<Option<&'static str>>,
    ssid: Vec<Option<&'a str>>,
    user_name: Vec<Option<&'a str>>,
    permit: Vec<bool>,
    reason: Vec<&'static str>,
    rule: Vec<Option<Uuid>>,
    rule_name: Vec<Option<&'a str>>,
    policy_version: Vec<Option<i32>>,
    vlan: Vec<Option<&'a str>>,
    role: Vec<Option<&'a str>>,
    verdict: Vec<&'static str>,
    match_strength: Vec<Option<&'static str>>,
    device: Vec<Option<Uuid>>,
    trials: Vec<Option<Json<Vec<RuleId>>>>,
    detail: Vec<Json<&'a DecisionRecord>>,
}

impl<'a> DecisionColumns<'a> {
    fn push(&mut self, record: &'a DecisionRecord) {
        let (request, answer, decision) = (&record.request, &record.answer, &record.answer.decision);
        self.at.push(answer.at);
        self.id.push(answer.id.uuid());
        self.kind.push(record.kind().as_str());
        self.mac.push(request.mac.map(mac_column));
        self.session.push(record.session.uuid());
        self.edge.push(request.edge.uuid());
        self.site.push(request.site.uuid());
        self.summary.push(record.summary());
        self.auth_type.push(request.auth_type.map(|auth| auth.as_str()));
        self.ssid.push(request.ssid.as_deref());
        self.user_name.push(request.user_name.as_deref());
        self.permit.push(decision.outcome.permit);
        self.reason.push(decision.reason.as_str());
        self.rule.push(decision.rule.as_ref().map(|rule| rule.id.uuid()));
        self.rule_name.push(decision.rule.as_ref().map(|rule| rule.name.as_str()));
        self.policy_version.push(decision.policy_version);
        self.vlan.push(decision.outcome.vlan.as_deref());
        self.role.push(decision.outcome.role.as_deref());
        self.verdict.push(answer.compliance.verdict.as_str());
        self.match_strength.push(answer.found.strength.map(|strength| strength.as_str()));
        self.device.push(answer.found.device.map(Into::into));
        let trials: Vec<RuleId> =
            decision.dry_run.iter().filter(|trial| trial.matched).map(|trial| trial.rule.id).collect();
        self.trials.push((!trials.is_empty()).then_some(Json(trials)));
        self.detail.push(Json(record));
    }
}

/// Appends one line.
pub async fn append(tx: &mut OrgTx, event: &Event) -> Result<()> {
    append_all(tx, std::slice::from_ref(event)).await
}

/// Appends lines.
pub async fn append_all(tx: &mut OrgTx, events: &[Event]) -> Result<()> {
    if events.is_empty() {
        return Ok(());
    }
    let org = tx.org().uuid();
    let at: Vec<OffsetDateTime> = events.iter().map(|e| e.at).collect();
    let id: Vec<Uuid> = events.iter().map(|e| e.id.uuid()).collect();
    let kind: Vec<&str> = events.iter().map(|e| e.kind.as_str()).collect();
    let mac: Vec<Option<MacAddress>> = events.iter().map(|e| e.mac.map(mac_column)).collect();
    let session: Vec<Option<Uuid>> = events.iter().map(|e| e.session.map(Into::into)).collect();
    let edge: Vec<Option<Uuid>> = events.iter().map(|e| e.edge.map(Into::into)).collect();
    let site: Vec<Option<Uuid>> = events.iter().map(|e| e.site.map(Into::into)).collect();
    let summary: Vec<&str> = events.iter().map(|e| e.summary.as_str()).collect();
    let detail: Vec<&serde_json::Value> = events.iter().map(|e| &e.detail).collect();
    sqlx::query!(
        "INSERT INTO event (org_id, at, id, kind, mac, session_id, edge_id, site_id, summary, detail)
         SELECT $1, * FROM unnest($2::timestamptz[], $3::uuid[], $4::text[], $5::macaddr[], $6::uuid[], $7::uuid[],
             $8::uuid[], $9::text[], $10::jsonb[])
         ON CONFLICT DO NOTHING",
        org,
        &at,
        &id,
        &kind as &[&str],
        &mac as &[Option<MacAddress>],
        &session as &[Option<Uuid>],
        &edge as &[Option<Uuid>],
        &site as &[Option<Uuid>],
        &summary as &[&str],
        &detail as &[&serde_json::Value],
    )
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// Appends a line, unless the same kind was told of the same client at the same edge, of the same `cause` (in `detail`),
/// within `lately` before it. Says whether it did.
pub async fn append_unless_lately(tx: &mut OrgTx, event: &Event, lately: Duration) -> Result<bool> {
    let org = tx.org().uuid();
    let told = sqlx::query_scalar!(
        r#"SELECT EXISTS (
               SELECT FROM event
               WHERE org_id = $1 AND kind = $2 AND at > $3 AND at <= $4 AND edge_id IS NOT DISTINCT FROM $5
                 AND mac IS NOT DISTINCT FROM $6 AND detail -> 'cause' IS NOT DISTINCT FROM $7
           ) AS "told!""#,
        org,
        event.kind.as_str(),
        event.at - lately,
        event.at,
        event.edge.map(EdgeId::uuid),
        event.mac.map(mac_column),
        event.detail.get("cause"),
    )
    .fetch_one(tx.conn())
    .await?;
    if !told {
        append(tx, event).await?;
    }
    Ok(!told)
}

/// Takes an accounting message into its session, with the history that it makes.
pub async fn apply_accounting(tx: &mut OrgTx, message: &Accounting) -> Result<()> {
    apply_accounting_batch(tx, std::slice::from_ref(message)).await
}

/// The same for many.
pub async fn apply_accounting_batch(tx: &mut OrgTx, messages: &[Accounting]) -> Result<()> {
    let history = sessions::account(tx, messages).await?;
    append_all(tx, &history).await
}

/// The times between which an event of this id lies, the end excluded: the id carries its time to the millisecond, and
/// what an edge decided by itself bears a time of its own, up to a second away. `None` where no event has such an id.
pub(crate) fn about(id: EventId) -> Option<(OffsetDateTime, OffsetDateTime)> {
    let made = uuid_time(id.uuid())?;
    let until = made.checked_add(Duration::SECOND)?.checked_add(Duration::milliseconds(1))?;
    Some((made.checked_sub(Duration::SECOND)?, until))
}

/// One event, found by its id alone: the id carries the time, so that seconds of history are read and no more.
pub async fn find(tx: &mut OrgTx, id: EventId) -> Result<Option<Event>> {
    let Some((from, until)) = about(id) else { return Ok(None) };
    let org = tx.org();
    let row = sqlx::query!(
        "SELECT at, kind, mac, session_id, edge_id, site_id, summary, detail FROM event
         WHERE org_id = $1 AND at >= $2 AND at < $3 AND id = $4",
        org.uuid(),
        from,
        until,
        id.uuid(),
    )
    .fetch_optional(tx.conn())
    .await?;
    let Some(row) = row else { return Ok(None) };
    Ok(Some(Event {
        org,
        id,
        at: row.at,
        kind: row.kind.parse().map_err(|e| StoreError::corrupt("event.kind", e))?,
        mac: row.mac.map(|mac| Mac(mac.bytes())),
        session: row.session_id.map(SessionId),
        edge: row.edge_id.map(EdgeId),
        site: row.site_id.map(SiteId),
        summary: row.summary,
        detail: row.detail,
    }))
}

/// Makes the partitions of the days around `now`, where they are missing.
pub async fn ensure_partitions(store: &Store, now: OffsetDateTime) -> Result<()> {
    let mut tx = store.system().await?;
    let day = |days| now.date().checked_add(Duration::days(days)).unwrap_or(now.date());
    let days: Vec<Date> = (-DAYS_BEHIND..=DAYS_AHEAD).map(day).collect();
    // In a statement of its own: who waited for another process sees the tables that it made from the next one on.
    sqlx::query!("SELECT pg_advisory_xact_lock(hashtext('ensure_event_partition'))::text AS held")
        .fetch_all(tx.conn())
        .await?;
    sqlx::query!("SELECT ensure_event_partition(day)::text FROM unnest($1::date[]) AS day", &days)
        .fetch_all(tx.conn())
        .await?;
    tx.commit().await
}

/// Drops the partitions of the days before `before`. Returns their names.
pub async fn drop_partitions(store: &Store, before: OffsetDateTime) -> Result<Vec<String>> {
    let mut tx = store.system().await?;
    let dropped = sqlx::query_scalar!(
        r#"SELECT name AS "name!" FROM drop_event_partitions_before($1) AS name"#,
        before.date()
    )
    .fetch_all(tx.conn())
    .await?;
    tx.commit().await?;
    Ok(dropped)
}

pub(crate) fn mac_column(mac: Mac) -> MacAddress {
    MacAddress::new(mac.0)
}
