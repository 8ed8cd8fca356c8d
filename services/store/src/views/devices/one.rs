//! One device: the record, what happened to it, and who else looks like it.

use domain::command::NasAnswer;
use domain::decision::Outcome;
use domain::device::{ComplianceState, DeviceFacts};
use domain::link::LinkState;
use domain::resolver::{LookupKey, keys_of};
use domain::{CommandId, DeviceId, EventId, LinkId, Mac, SessionId};
use mac_address::MacAddress;
use time::OffsetDateTime;
use uuid::Uuid;

use super::super::mac;
use crate::commands::read_answer;
use crate::{OrgTx, Result, StoreError, devices};

/// A device with everything that is stored of it.
#[derive(Clone, Debug, PartialEq)]
pub struct DetailRow {
    pub facts: DeviceFacts,
    pub udid: Option<String>,
    pub next_look_at: Option<OffsetDateTime>,
    /// When what lists leave out was last asked for.
    pub enriched_at: Option<OffsetDateTime>,
    /// The record as Microsoft Graph gave it.
    pub raw: Option<serde_json::Value>,
    pub tenant_name: String,
    pub link_state: LinkState,
}

/// One device of a link.
pub async fn one(tx: &mut OrgTx, link: LinkId, id: DeviceId) -> Result<Option<DetailRow>> {
    let org = tx.org().uuid();
    let row = sqlx::query!(
        "SELECT d.name, d.serial, d.entra_id, d.wifi_mac, d.ethernet_mac, d.compliance, d.grace_expires_at,
                d.last_check_in, d.fetched_at, d.missing_since, d.enrolled_at, d.os, d.os_version, d.owner,
                d.encrypted, d.jailbroken, d.threat_state, d.category, d.manufacturer, d.model,
                d.user_principal_name, d.management_state, d.udid, d.next_look_at, d.enriched_at, d.raw,
                l.tenant_name, l.state
         FROM device d JOIN link l ON l.org_id = d.org_id AND l.id = d.link_id
         WHERE d.org_id = $1 AND d.link_id = $2 AND d.id = $3",
        org,
        link.uuid(),
        id.uuid(),
    )
    .fetch_optional(tx.conn())
    .await?;
    let Some(row) = row else { return Ok(None) };
    Ok(Some(DetailRow {
        facts: DeviceFacts {
            link,
            id,
            name: row.name,
            serial: row.serial,
            entra_id: row.entra_id,
            wifi_mac: row.wifi_mac.map(mac),
            ethernet_mac: row.ethernet_mac.map(mac),
            compliance: ComplianceState::from(row.compliance),
            grace_expires_at: row.grace_expires_at,
            last_check_in: row.last_check_in,
            fetched_at: row.fetched_at,
            missing_since: row.missing_since,
            enrolled_at: row.enrolled_at,
            os: row.os,
            os_version: row.os_version,
            owner: row.owner,
            encrypted: row.encrypted,
            jailbroken: row.jailbroken,
            threat_state: row.threat_state,
            category: row.category,
            manufacturer: row.manufacturer,
            model: row.model,
            user_principal_name: row.user_principal_name,
            management_state: row.management_state,
        },
        udid: row.udid,
        next_look_at: row.next_look_at,
        enriched_at: row.enriched_at,
        raw: row.raw,
        tenant_name: row.tenant_name,
        link_state: row.state.parse().map_err(|e| StoreError::corrupt("link.state", e))?,
    }))
}

/// A change of a device's compliance, and how it came to be known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryRow {
    pub at: OffsetDateTime,
    /// `None`: the device was new.
    pub from_state: Option<String>,
    /// `None`: its record is gone.
    pub to_state: Option<String>,
    /// The kind of work that saw it; `None` before that was noted.
    pub noticed_by: Option<String>,
    /// The earliest moment at which Microsoft can have shown it.
    pub visible_after: Option<OffsetDateTime>,
}

/// A device's changes, the latest first.
pub async fn history(tx: &mut OrgTx, link: LinkId, id: DeviceId, limit: i64) -> Result<Vec<HistoryRow>> {
    let org = tx.org().uuid();
    let rows = sqlx::query_as!(
        HistoryRow,
        "SELECT at, from_state, to_state, noticed_by, visible_after FROM device_transition
         WHERE org_id = $1 AND device_id = $3 AND link_id = $2 ORDER BY at DESC, id DESC LIMIT $4",
        org,
        link.uuid(),
        id.uuid(),
        limit,
    )
    .fetch_all(tx.conn())
    .await?;
    Ok(rows)
}

/// A session that a device's compliance decides.
#[derive(Clone, Debug, PartialEq)]
pub struct MatchedSession {
    pub id: SessionId,
    pub session_key: String,
    pub mac: Option<Mac>,
    pub user_name: Option<String>,
    pub ssid: Option<String>,
    pub edge_name: Option<String>,
    pub site_name: Option<String>,
    pub started_at: OffsetDateTime,
    pub ended_at: Option<OffsetDateTime>,
    pub outcome: Option<Outcome>,
    pub rule_name: Option<String>,
    pub match_strength: Option<String>,
    /// The kind of key that found the device, as the decision has it.
    pub match_key: Option<String>,
    pub decision: Option<EventId>,
}

/// The sessions whose last decision matched a device: those that go on first, then the latest.
pub async fn sessions(tx: &mut OrgTx, link: LinkId, id: DeviceId, limit: i64) -> Result<Vec<MatchedSession>> {
    let org = tx.org().uuid();
    let rows = sqlx::query!(
        r#"WITH active AS (
               SELECT * FROM session WHERE org_id = $1 AND device_id = $3 AND link_id = $2 AND ended_at IS NULL
               ORDER BY started_at DESC LIMIT $4
           ), ended AS (
               SELECT * FROM session WHERE org_id = $1 AND device_id = $3 AND link_id = $2 AND ended_at IS NOT NULL
               ORDER BY started_at DESC LIMIT $4
           ), s AS (SELECT * FROM active UNION ALL SELECT * FROM ended)
           SELECT s.id AS "id!", s.session_key AS "session_key!", s.mac, s.user_name, s.ssid, g.name AS "edge_name?",
                  t.name AS "site_name?", s.started_at AS "started_at!", s.ended_at, s.outcome, s.rule_name,
                  s.match_strength, s.decision_id, e.detail -> 'answer' -> 'found' ->> 'key' AS match_key
           FROM s
           LEFT JOIN edge g ON g.org_id = $1 AND g.id = s.edge_id
           LEFT JOIN site t ON t.org_id = $1 AND t.id = s.site_id
           LEFT JOIN event e ON e.org_id = $1 AND e.at = s.decided_at AND e.id = s.decision_id
           ORDER BY s.ended_at IS NOT NULL, s.started_at DESC, s.id LIMIT $4"#,
        org,
        link.uuid(),
        id.uuid(),
        limit,
    )
    .fetch_all(tx.conn())
    .await?;
    rows.into_iter()
        .map(|r| {
            let outcome = r.outcome.map(serde_json::from_value).transpose();
            Ok(MatchedSession {
                id: SessionId(r.id),
                session_key: r.session_key,
                mac: r.mac.map(mac),
                user_name: r.user_name,
                ssid: r.ssid,
                edge_name: r.edge_name,
                site_name: r.site_name,
                started_at: r.started_at,
                ended_at: r.ended_at,
                outcome: outcome.map_err(|e| StoreError::corrupt("session.outcome", e))?,
                rule_name: r.rule_name,
                match_strength: r.match_strength,
                match_key: r.match_key,
                decision: r.decision_id.map(EventId),
            })
        })
        .collect()
}

/// A look at a device that was asked for and has not been answered yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitingLook {
    /// `admin`, `client`, `unmatched` or `entra`.
    pub reason: String,
    pub asked_at: OffsetDateTime,
    pub due_at: OffsetDateTime,
    pub attempts: i32,
}

/// The look that is waited for at a device, whatever key it was asked for by; the earliest where there are several.
pub async fn waiting(tx: &mut OrgTx, link: LinkId, keys: &[LookupKey]) -> Result<Option<WaitingLook>> {
    let org = tx.org().uuid();
    let keys: Vec<String> = keys.iter().map(ToString::to_string).collect();
    let row = sqlx::query_as!(
        WaitingLook,
        "SELECT reason, asked_at, due_at, attempts FROM look_wish
         WHERE org_id = $1 AND link_id = $2 AND key = ANY($3) ORDER BY reason <> 'admin', asked_at LIMIT 1",
        org,
        link.uuid(),
        &keys,
    )
    .fetch_optional(tx.conn())
    .await?;
    Ok(row)
}

/// Devices that share a key with another: a client that shows that key matches none of them for sure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Twin {
    pub key: LookupKey,
    /// Without the device that was asked about.
    pub others: Vec<DeviceFacts>,
}

/// Who shares a key with a device; keys that are its own alone are left out.
pub async fn twins(tx: &mut OrgTx, facts: &DeviceFacts) -> Result<Vec<Twin>> {
    let keys = keys_of(facts);
    let mut found = devices::by_keys(tx, &keys, devices::CANDIDATES_MAX).await?;
    let twins = keys.into_iter().filter_map(|key| {
        let mut others = found.remove(&key)?;
        others.retain(|other| (other.link, other.id) != (facts.link, facts.id));
        (!others.is_empty()).then_some(Twin { key, others })
    });
    Ok(twins.collect())
}

/// A command that was planned for a session of a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceCommand {
    pub id: CommandId,
    pub session: SessionId,
    pub mac: Option<Mac>,
    pub kind: String,
    pub cause: String,
    pub state: String,
    pub hold: Option<Uuid>,
    pub created_at: OffsetDateTime,
    pub not_before: Option<OffsetDateTime>,
    pub finished_at: Option<OffsetDateTime>,
    pub answer: Option<NasAnswer>,
    pub result: Option<String>,
}

/// The commands of some sessions, the latest first.
pub async fn commands(tx: &mut OrgTx, sessions: &[SessionId], limit: i64) -> Result<Vec<DeviceCommand>> {
    let org = tx.org().uuid();
    let sessions: Vec<Uuid> = sessions.iter().map(|id| id.uuid()).collect();
    let rows = sqlx::query!(
        "SELECT id, session_id, mac, kind, cause, state, hold_id, created_at, not_before, finished_at, answer,
                error_cause, result
         FROM command WHERE org_id = $1 AND session_id = ANY($2) ORDER BY created_at DESC, id DESC LIMIT $3",
        org,
        &sessions,
        limit,
    )
    .fetch_all(tx.conn())
    .await?;
    let rows = rows.into_iter().map(|r| {
        let mac: Option<MacAddress> = r.mac;
        Ok(DeviceCommand {
            id: CommandId(r.id),
            session: SessionId(r.session_id),
            mac: mac.map(super::super::mac),
            kind: r.kind,
            cause: r.cause,
            state: r.state,
            hold: r.hold_id,
            created_at: r.created_at,
            not_before: r.not_before,
            finished_at: r.finished_at,
            answer: read_answer(r.answer.as_deref(), r.error_cause)?,
            result: r.result,
        })
    });
    rows.collect()
}
