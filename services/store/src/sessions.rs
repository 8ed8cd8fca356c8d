//! Sessions: what was decided of a client, and what accounting says of its stay.

mod restart;
mod unheard;

use std::collections::HashMap;

use domain::decision::Outcome;
use domain::event::{DecisionRecord, Event, EventKind};
use domain::request::AccessRequest;
use domain::resolver::LookupKey;
use domain::session::{Accounting, ENDED_BY_DENIAL, ENDED_BY_SILENCE, Stay};
use domain::time::Ids;
use domain::{EdgeId, Mac, SessionId, SiteId};
use ipnetwork::IpNetwork;
use mac_address::MacAddress;
use serde_json::Value;
use sqlx::types::Json;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::events::mac_column;
use crate::{OrgTx, Result};

pub use restart::end_of_nas;
pub use unheard::is_unheard;

/// A session that is open and was decided: what CoA planning looks at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActiveSession {
    pub id: SessionId,
    pub edge: EdgeId,
    pub site: SiteId,
    pub session_key: String,
    pub mac: Option<Mac>,
    pub request: AccessRequest,
    pub outcome: Outcome,
    pub lookup_keys: Vec<LookupKey>,
    pub decided_at: OffsetDateTime,
}

/// Writes what was decided. A later decision of a session is never replaced by an earlier one, unless nobody heard it; a
/// permit opens a session again that ended before it, a denial ends it.
pub(crate) async fn decided(tx: &mut OrgTx, records: &[&DecisionRecord]) -> Result<()> {
    let org = tx.org().uuid();
    let unheard = unheard::withdraw(tx, records).await?;
    // The last decision of each session, in the order of ids, so that two processes cannot wait for each other.
    let mut latest: HashMap<SessionId, &DecisionRecord> = HashMap::with_capacity(records.len());
    for &record in records.iter().filter(|record| !unheard.is_of(record)) {
        let held = latest.entry(record.session).or_insert(record);
        if (held.counts_from(), held.answer.id) < (record.counts_from(), record.answer.id) {
            *held = record;
        }
    }
    let mut rows: Vec<&DecisionRecord> = latest.into_values().collect();
    rows.sort_unstable_by_key(|record| record.session);

    let id: Vec<Uuid> = rows.iter().map(|r| r.session.uuid()).collect();
    let edge: Vec<Uuid> = rows.iter().map(|r| r.request.edge.uuid()).collect();
    let site: Vec<Uuid> = rows.iter().map(|r| r.request.site.uuid()).collect();
    let key: Vec<&str> = rows.iter().map(|r| r.session_key.as_str()).collect();
    let mac: Vec<Option<MacAddress>> = rows.iter().map(|r| r.request.mac.map(mac_column)).collect();
    let user: Vec<Option<&str>> = rows.iter().map(|r| r.request.user_name.as_deref()).collect();
    let ssid: Vec<Option<&str>> = rows.iter().map(|r| r.request.ssid.as_deref()).collect();
    let auth: Vec<Option<&str>> = rows.iter().map(|r| r.request.auth_type.map(|a| a.as_str())).collect();
    let decision: Vec<Uuid> = rows.iter().map(|r| r.answer.id.uuid()).collect();
    let at: Vec<OffsetDateTime> = rows.iter().map(|r| r.counts_from()).collect();
    let request: Vec<Json<&AccessRequest>> = rows.iter().map(|r| Json(&r.request)).collect();
    let outcome: Vec<Json<&Outcome>> = rows.iter().map(|r| Json(&r.answer.decision.outcome)).collect();
    let rule: Vec<Option<&str>> =
        rows.iter().map(|r| r.answer.decision.rule.as_ref().map(|rule| rule.name.as_str())).collect();
    let verdict: Vec<&str> = rows.iter().map(|r| r.answer.compliance.verdict.as_str()).collect();
    let strength: Vec<Option<&str>> =
        rows.iter().map(|r| r.answer.found.strength.map(|s| s.as_str())).collect();
    let link: Vec<Option<Uuid>> = rows.iter().map(|r| r.answer.found.link.map(Into::into)).collect();
    let device: Vec<Option<Uuid>> = rows.iter().map(|r| r.answer.found.device.map(Into::into)).collect();
    let device_name: Vec<Option<&str>> = rows.iter().map(|r| r.answer.found.device_name.as_deref()).collect();
    let version: Vec<Option<i32>> = rows.iter().map(|r| r.answer.decision.policy_version).collect();
    // Arrays of arrays do not unnest: the keys travel as JSON.
    let keys: Vec<Json<&[LookupKey]>> = rows.iter().map(|r| Json(r.keys.as_slice())).collect();
    let ask: Vec<Option<Uuid>> = rows.iter().map(|r| r.ask.filter(|_| !r.offline)).collect();
    let unheard: Vec<Json<&[Uuid]>> = rows.iter().map(|r| Json(unheard.asks(r.session))).collect();
    let ended: Vec<Option<OffsetDateTime>> =
        rows.iter().map(|r| (!r.answer.decision.outcome.permit).then(|| r.counts_from())).collect();

    sqlx::query!(
        "INSERT INTO session AS s (org_id, id, edge_id, site_id, session_key, mac, user_name, ssid, auth_type,
                              decision_id, decided_at, request, outcome, rule_name, verdict, match_strength, link_id,
                              device_id, device_name, policy_version, lookup_keys, started_at, ended_at,
                              terminate_cause, ask_id, unheard)
         SELECT $1, d.id, d.edge_id, d.site_id, d.session_key, d.mac, d.user_name, d.ssid, d.auth_type,
                d.decision_id, d.decided_at, d.request, d.outcome, d.rule_name, d.verdict, d.match_strength,
                d.link_id, d.device_id, d.device_name, d.policy_version,
                ARRAY(SELECT jsonb_array_elements_text(d.lookup_keys)), d.decided_at, d.ended_at,
                CASE WHEN d.ended_at IS NOT NULL THEN $23 END, d.ask_id,
                ARRAY(SELECT jsonb_array_elements_text(d.unheard)::uuid)
         FROM unnest($2::uuid[], $3::uuid[], $4::uuid[], $5::text[], $6::macaddr[], $7::text[], $8::text[],
                     $9::text[], $10::uuid[], $11::timestamptz[], $12::jsonb[], $13::jsonb[], $14::text[],
                     $15::text[], $16::text[], $17::uuid[], $18::uuid[], $19::text[], $20::integer[], $21::jsonb[],
                     $22::timestamptz[], $24::uuid[], $25::jsonb[])
              AS d(id, edge_id, site_id, session_key, mac, user_name, ssid, auth_type, decision_id, decided_at,
                   request, outcome, rule_name, verdict, match_strength, link_id, device_id, device_name,
                   policy_version, lookup_keys, ended_at, ask_id, unheard)
         ON CONFLICT (org_id, id) DO UPDATE SET
             mac = coalesce(excluded.mac, s.mac), user_name = coalesce(excluded.user_name, s.user_name),
             ssid = coalesce(excluded.ssid, s.ssid), auth_type = coalesce(excluded.auth_type, s.auth_type),
             decision_id = excluded.decision_id, decided_at = excluded.decided_at, request = excluded.request,
             outcome = excluded.outcome, rule_name = excluded.rule_name, verdict = excluded.verdict,
             match_strength = excluded.match_strength, link_id = excluded.link_id, device_id = excluded.device_id,
             device_name = excluded.device_name, policy_version = excluded.policy_version,
             lookup_keys = excluded.lookup_keys, ask_id = excluded.ask_id,
             -- Where the row was not there yet when these were told.
             unheard = CASE WHEN s.unheard @> excluded.unheard THEN s.unheard
                            ELSE (excluded.unheard || s.unheard)[1:16] END,
             -- A permit after the end begins a new stay.
             started_at = CASE WHEN excluded.ended_at IS NULL AND s.ended_at < excluded.decided_at
                               THEN excluded.decided_at ELSE s.started_at END,
             accounted_at = CASE WHEN excluded.ended_at IS NULL AND s.ended_at < excluded.decided_at
                                 THEN NULL ELSE s.accounted_at END,
             framed_ip = CASE WHEN excluded.ended_at IS NULL AND s.ended_at < excluded.decided_at
                              THEN NULL ELSE s.framed_ip END,
             bytes_in = CASE WHEN excluded.ended_at IS NULL AND s.ended_at < excluded.decided_at
                             THEN NULL ELSE s.bytes_in END,
             bytes_out = CASE WHEN excluded.ended_at IS NULL AND s.ended_at < excluded.decided_at
                              THEN NULL ELSE s.bytes_out END,
             acct_session_id = CASE WHEN excluded.ended_at IS NULL AND s.ended_at < excluded.decided_at
                                    THEN NULL ELSE s.acct_session_id END,
             terminate_cause = CASE WHEN excluded.ended_at IS NOT NULL AND s.ended_at IS NULL THEN $23
                                    WHEN excluded.ended_at IS NULL AND s.ended_at < excluded.decided_at THEN NULL
                                    ELSE s.terminate_cause END,
             ended_at = CASE WHEN excluded.ended_at IS NOT NULL THEN greatest(s.ended_at, excluded.ended_at)
                             WHEN s.ended_at < excluded.decided_at THEN NULL
                             ELSE s.ended_at END
         WHERE (s.decided_at IS NULL OR s.decided_at < excluded.decided_at OR s.ask_id = ANY (excluded.unheard))
           AND (excluded.ask_id IS NULL OR excluded.ask_id <> ALL (s.unheard))",
        org,
        &id,
        &edge,
        &site,
        &key as &[&str],
        &mac as &[Option<MacAddress>],
        &user as &[Option<&str>],
        &ssid as &[Option<&str>],
        &auth as &[Option<&str>],
        &decision,
        &at,
        &request as &[Json<&AccessRequest>],
        &outcome as &[Json<&Outcome>],
        &rule as &[Option<&str>],
        &verdict as &[&str],
        &strength as &[Option<&str>],
        &link as &[Option<Uuid>],
        &device as &[Option<Uuid>],
        &device_name as &[Option<&str>],
        &version as &[Option<i32>],
        &keys as &[Json<&[LookupKey]>],
        &ended as &[Option<OffsetDateTime>],
        ENDED_BY_DENIAL,
        &ask as &[Option<Uuid>],
        &unheard as &[Json<&[Uuid]>],
    )
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// Takes accounting messages in, in their order, and returns the history that they make.
pub(crate) async fn account(tx: &mut OrgTx, messages: &[Accounting]) -> Result<Vec<Event>> {
    let org = tx.org().uuid();
    let mut first: HashMap<SessionId, &Accounting> = HashMap::new();
    for message in messages {
        first.entry(message.session).or_insert(message);
    }
    let mut named: Vec<&Accounting> = first.into_values().collect();
    named.sort_unstable_by_key(|message| message.session);
    let id: Vec<Uuid> = named.iter().map(|m| m.session.uuid()).collect();
    let edge: Vec<Uuid> = named.iter().map(|m| m.edge.uuid()).collect();
    let site: Vec<Uuid> = named.iter().map(|m| m.site.uuid()).collect();
    let key: Vec<&str> = named.iter().map(|m| m.session_key.as_str()).collect();
    let started: Vec<OffsetDateTime> = named.iter().map(|m| Stay::unknown(m).started_at).collect();
    // A session whose decision was lost, or is still on its way.
    sqlx::query!(
        "INSERT INTO session (org_id, id, edge_id, site_id, session_key, started_at)
         SELECT $1, * FROM unnest($2::uuid[], $3::uuid[], $4::uuid[], $5::text[], $6::timestamptz[])
         ON CONFLICT DO NOTHING",
        org,
        &id,
        &edge,
        &site,
        &key as &[&str],
        &started,
    )
    .execute(tx.conn())
    .await?;
    let rows = sqlx::query!(
        "SELECT id, decided_at, started_at, accounted_at, ended_at, framed_ip, bytes_in, bytes_out,
                terminate_cause, acct_session_id, interim_seconds
         FROM session WHERE org_id = $1 AND id = ANY($2) ORDER BY id FOR UPDATE",
        org,
        &id,
    )
    .fetch_all(tx.conn())
    .await?;
    let mut stays: Vec<(SessionId, Stay)> = rows
        .into_iter()
        .map(|row| {
            let stay = Stay {
                decided_at: row.decided_at,
                started_at: row.started_at,
                accounted_at: row.accounted_at,
                ended_at: row.ended_at,
                framed_ip: row.framed_ip.map(|ip| ip.ip()),
                bytes_in: row.bytes_in,
                bytes_out: row.bytes_out,
                terminate_cause: row.terminate_cause,
                acct_session_id: row.acct_session_id,
                interim_seconds: row.interim_seconds,
            };
            (SessionId(row.id), stay)
        })
        .collect();
    let mut history = Vec::new();
    let mut mac: HashMap<SessionId, MacAddress> = HashMap::new();
    let mut user: HashMap<SessionId, &str> = HashMap::new();
    for message in messages {
        if let Ok(index) = stays.binary_search_by_key(&message.session, |(id, _)| *id) {
            history.extend(stays[index].1.apply(message));
            mac.extend(message.mac.map(|mac| (message.session, mac_column(mac))));
            user.extend(message.user_name.as_deref().map(|user| (message.session, user)));
        }
    }
    let id: Vec<Uuid> = stays.iter().map(|(id, _)| id.uuid()).collect();
    let mac: Vec<Option<MacAddress>> = stays.iter().map(|(id, _)| mac.get(id).copied()).collect();
    let user: Vec<Option<&str>> = stays.iter().map(|(id, _)| user.get(id).copied()).collect();
    let started: Vec<OffsetDateTime> = stays.iter().map(|(_, stay)| stay.started_at).collect();
    let accounted: Vec<Option<OffsetDateTime>> = stays.iter().map(|(_, stay)| stay.accounted_at).collect();
    let ended: Vec<Option<OffsetDateTime>> = stays.iter().map(|(_, stay)| stay.ended_at).collect();
    let ip: Vec<Option<IpNetwork>> =
        stays.iter().map(|(_, stay)| stay.framed_ip.map(IpNetwork::from)).collect();
    let bytes_in: Vec<Option<i64>> = stays.iter().map(|(_, stay)| stay.bytes_in).collect();
    let bytes_out: Vec<Option<i64>> = stays.iter().map(|(_, stay)| stay.bytes_out).collect();
    let cause: Vec<Option<&str>> = stays.iter().map(|(_, stay)| stay.terminate_cause.as_deref()).collect();
    let stay_id: Vec<Option<&str>> = stays.iter().map(|(_, stay)| stay.acct_session_id.as_deref()).collect();
    let interim: Vec<Option<i32>> = stays.iter().map(|(_, stay)| stay.interim_seconds).collect();
    sqlx::query!(
        "UPDATE session s SET mac = coalesce(s.mac, a.mac), user_name = coalesce(s.user_name, a.user_name),
                started_at = a.started_at, accounted_at = a.accounted_at, ended_at = a.ended_at,
                framed_ip = a.framed_ip, bytes_in = a.bytes_in, bytes_out = a.bytes_out,
                terminate_cause = a.terminate_cause, acct_session_id = a.acct_session_id,
                interim_seconds = a.interim_seconds
         FROM unnest($2::uuid[], $3::macaddr[], $4::text[], $5::timestamptz[], $6::timestamptz[],
                     $7::timestamptz[], $8::inet[], $9::bigint[], $10::bigint[], $11::text[], $12::text[],
                     $13::integer[])
              AS a(id, mac, user_name, started_at, accounted_at, ended_at, framed_ip, bytes_in, bytes_out,
                   terminate_cause, acct_session_id, interim_seconds)
         WHERE s.org_id = $1 AND s.id = a.id",
        org,
        &id,
        &mac as &[Option<MacAddress>],
        &user as &[Option<&str>],
        &started,
        &accounted as &[Option<OffsetDateTime>],
        &ended as &[Option<OffsetDateTime>],
        &ip as &[Option<IpNetwork>],
        &bytes_in as &[Option<i64>],
        &bytes_out as &[Option<i64>],
        &cause as &[Option<&str>],
        &stay_id as &[Option<&str>],
        &interim as &[Option<i32>],
    )
    .execute(tx.conn())
    .await?;
    Ok(history)
}

struct ActiveRow {
    id: Uuid,
    edge_id: Uuid,
    site_id: Uuid,
    session_key: String,
    mac: Option<MacAddress>,
    request: Value,
    outcome: Value,
    lookup_keys: Vec<String>,
    decided_at: OffsetDateTime,
}

impl ActiveRow {
    /// `None` where the row cannot be read: one that an older release wrote must not keep the others from moving.
    fn read(self) -> Option<ActiveSession> {
        let id = self.id;
        let read = || -> Result<ActiveSession, serde_json::Error> {
            Ok(ActiveSession {
                id: SessionId(self.id),
                edge: EdgeId(self.edge_id),
                site: SiteId(self.site_id),
                session_key: self.session_key,
                mac: self.mac.map(|mac| Mac(mac.bytes())),
                request: serde_json::from_value(self.request)?,
                outcome: serde_json::from_value(self.outcome)?,
                lookup_keys: self.lookup_keys.iter().filter_map(|key| key.parse().ok()).collect(),
                decided_at: self.decided_at,
            })
        };
        read().inspect_err(|error| tracing::error!(session = %id, %error, "a session cannot be read")).ok()
    }
}

/// The open sessions whose client may be a device that is found under any of the keys, by id, after `after`. Fewer
/// than `limit` does not mean that there are no more: go on until none come.
pub async fn affected(
    tx: &mut OrgTx,
    keys: &[LookupKey],
    after: Option<SessionId>,
    limit: i64,
) -> Result<Vec<ActiveSession>> {
    let org = tx.org().uuid();
    let keys: Vec<String> = keys.iter().map(ToString::to_string).collect();
    let rows = sqlx::query_as!(
        ActiveRow,
        r#"SELECT id, edge_id, site_id, session_key, mac, request AS "request!", outcome AS "outcome!", lookup_keys,
                  decided_at AS "decided_at!"
           FROM session
           WHERE org_id = $1 AND ended_at IS NULL AND outcome IS NOT NULL AND lookup_keys && $2
             AND ($3::uuid IS NULL OR id > $3)
           ORDER BY id LIMIT $4"#,
        org,
        &keys,
        after.map(SessionId::uuid),
        limit,
    )
    .fetch_all(tx.conn())
    .await?;
    Ok(rows.into_iter().filter_map(ActiveRow::read).collect())
}

/// All open sessions that were decided, by id, after `after`.
pub async fn active_page(tx: &mut OrgTx, after: Option<SessionId>, limit: i64) -> Result<Vec<ActiveSession>> {
    let org = tx.org().uuid();
    let rows = sqlx::query_as!(
        ActiveRow,
        r#"SELECT id, edge_id, site_id, session_key, mac, request AS "request!", outcome AS "outcome!", lookup_keys,
                  decided_at AS "decided_at!"
           FROM session
           WHERE org_id = $1 AND ended_at IS NULL AND outcome IS NOT NULL AND ($2::uuid IS NULL OR id > $2)
           ORDER BY id LIMIT $3"#,
        org,
        after.map(SessionId::uuid),
        limit,
    )
    .fetch_all(tx.conn())
    .await?;
    Ok(rows.into_iter().filter_map(ActiveRow::read).collect())
}

/// The keys under which the clients of open sessions may be found, by session id, after `after`.
pub async fn active_keys(
    tx: &mut OrgTx,
    after: Option<SessionId>,
    limit: i64,
) -> Result<Vec<(SessionId, Vec<LookupKey>)>> {
    let org = tx.org().uuid();
    let rows = sqlx::query!(
        "SELECT id, lookup_keys FROM session
         WHERE org_id = $1 AND ended_at IS NULL AND ($2::uuid IS NULL OR id > $2)
         ORDER BY id LIMIT $3",
        org,
        after.map(SessionId::uuid),
        limit,
    )
    .fetch_all(tx.conn())
    .await?;
    let keys = |texts: Vec<String>| texts.iter().filter_map(|key| key.parse().ok()).collect();
    Ok(rows.into_iter().map(|row| (SessionId(row.id), keys(row.lookup_keys))).collect())
}

/// Those of the sessions that are open and were decided, by id.
pub async fn active(tx: &mut OrgTx, ids: &[SessionId]) -> Result<Vec<ActiveSession>> {
    let org = tx.org().uuid();
    let ids: Vec<Uuid> = ids.iter().map(|id| id.uuid()).collect();
    let rows = sqlx::query_as!(
        ActiveRow,
        r#"SELECT id, edge_id, site_id, session_key, mac, request AS "request!", outcome AS "outcome!", lookup_keys,
                  decided_at AS "decided_at!"
           FROM session
           WHERE org_id = $1 AND id = ANY($2) AND ended_at IS NULL AND outcome IS NOT NULL
           ORDER BY id"#,
        org,
        &ids,
    )
    .fetch_all(tx.conn())
    .await?;
    Ok(rows.into_iter().filter_map(ActiveRow::read).collect())
}

/// The vendors of NASes, in lower case, that the newest `sessions_max` sessions came from.
pub async fn vendors_seen(tx: &mut OrgTx, sessions_max: i64) -> Result<Vec<String>> {
    let org = tx.org().uuid();
    let vendors = sqlx::query_scalar!(
        r#"SELECT DISTINCT lower(btrim(request -> 'nas' ->> 'vendor')) AS "vendor!"
           FROM (SELECT request FROM session WHERE org_id = $1 ORDER BY started_at DESC LIMIT $2) newest
           WHERE request -> 'nas' ->> 'vendor' IS NOT NULL
           ORDER BY 1"#,
        org,
        sessions_max,
    )
    .fetch_all(tx.conn())
    .await?;
    Ok(vendors)
}

/// How long a session may be silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Silence {
    /// Of a session whose interval of interim updates is not known: nothing was heard, or nothing but its start.
    pub unknown: time::Duration,
    /// Otherwise three times its interval, but no less than this.
    pub shortest: time::Duration,
}

/// Ends up to `limit` sessions that were silent for longer than they may be, at the last that was heard of them, and
/// tells so. A message that is newer opens them again.
pub async fn end_silent(
    tx: &mut OrgTx,
    ids: &Ids,
    now: OffsetDateTime,
    silence: Silence,
    limit: i64,
) -> Result<usize> {
    let org = tx.org();
    let rows = sqlx::query!(
        r#"UPDATE session s
           SET ended_at = greatest(s.started_at, s.decided_at, s.accounted_at), terminate_cause = $6
           FROM (SELECT id FROM session
                 WHERE org_id = $1 AND ended_at IS NULL AND greatest(started_at, decided_at, accounted_at)
                     < $2::timestamptz - CASE WHEN interim_seconds IS NULL THEN make_interval(secs => $3)
                                              ELSE make_interval(secs => greatest(3 * interim_seconds, $4::double precision)) END
                 ORDER BY id LIMIT $5 FOR UPDATE SKIP LOCKED) silent
           WHERE s.org_id = $1 AND s.id = silent.id
           RETURNING s.id, s.edge_id, s.site_id, s.mac, s.session_key, s.ended_at AS "heard_at!", s.bytes_in,
                     s.bytes_out"#,
        org.uuid(),
        now,
        silence.unknown.as_seconds_f64(),
        silence.shortest.as_seconds_f64(),
        limit,
        ENDED_BY_SILENCE,
    )
    .fetch_all(tx.conn())
    .await?;
    let ended: Vec<Event> = rows
        .into_iter()
        .map(|row| Event {
            org,
            id: ids.make(now),
            at: now,
            kind: EventKind::NacSessionEnded,
            mac: row.mac.map(|mac| Mac(mac.bytes())),
            session: Some(SessionId(row.id)),
            edge: Some(EdgeId(row.edge_id)),
            site: Some(SiteId(row.site_id)),
            summary: "Session ended: nothing was heard of it any more".to_owned(),
            detail: serde_json::json!({
                "terminate_cause": ENDED_BY_SILENCE,
                "session_key": row.session_key,
                "heard_at": row.heard_at.unix_timestamp(),
                "bytes_in": row.bytes_in,
                "bytes_out": row.bytes_out,
            }),
        })
        .collect();
    crate::events::append_all(tx, &ended).await?;
    Ok(ended.len())
}
