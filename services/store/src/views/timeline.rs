//! What happened to one client, or in one session, newest first: decisions, accounting, changes of compliance, looks
//! and commands, merged from where each is stored. Every part is read by an index, in the order of the page.

use domain::command::{ErrorCauseEntry, NasAnswer};
use domain::event::EventKind;
use domain::{CommandId, DeviceId, HoldId, LinkId, Mac, SessionId};
use sqlx::{Postgres, QueryBuilder};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Cursor, address};
use crate::commands::read_answer;
use crate::{OrgTx, Result};

/// Whose timeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    Client(Mac),
    Session(SessionId),
}

/// A kind of entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Decisions,
    Sessions,
    Compliance,
    Commands,
}

impl Part {
    pub const ALL: [Self; 4] = [Self::Decisions, Self::Sessions, Self::Compliance, Self::Commands];

    /// Events of kinds that no other part has.
    const fn kinds(self) -> &'static [EventKind] {
        match self {
            Self::Decisions => &[
                EventKind::NacClientPermit,
                EventKind::NacClientDeny,
                EventKind::NacMdmLookupFailure,
                EventKind::NacMdmDeviceNotEnrolled,
                EventKind::NacClientCertExpired,
                EventKind::NacClientCertCheckFailure,
                EventKind::NacServerCertValidationFailure,
                EventKind::NacIdpAuthcFailure,
                EventKind::NacClientAuthFailure,
            ],
            Self::Sessions => {
                &[EventKind::NacSessionStarted, EventKind::NacSessionEnded, EventKind::NacClientIpAssigned]
            }
            // Looks that people asked for at the device itself.
            Self::Compliance => &[EventKind::NacClientCheckAgain],
            Self::Commands => &[],
        }
    }
}

/// What to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    pub whose: Whose,
    /// The devices that it was taken for: their compliance is told.
    pub devices: Vec<(LinkId, DeviceId)>,
    /// `None`: all that is kept.
    pub from: Option<OffsetDateTime>,
    /// The time of a session, for what is told of devices: from when, and until when where it ended.
    pub stay: Option<(OffsetDateTime, Option<OffsetDateTime>)>,
    pub parts: Vec<Part>,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    pub at: OffsetDateTime,
    pub id: Uuid,
    /// The session that it belongs to.
    pub session: Option<SessionId>,
    pub what: What,
}

impl Entry {
    /// Where the timeline stands at this entry.
    #[must_use]
    pub const fn cursor(&self) -> Cursor {
        Cursor { at: self.at, id: self.id }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub enum What {
    Decision(Box<Decision>),
    Began,
    Ended {
        seconds: Option<i64>,
        bytes_in: Option<i64>,
        bytes_out: Option<i64>,
        cause: Option<String>,
    },
    Address {
        ip: Option<String>,
    },
    /// Something else that an event tells.
    Noted {
        kind: String,
        summary: String,
    },
    Compliance(Compliance),
    Look {
        device: Option<(LinkId, DeviceId)>,
        device_name: String,
        asked_by: String,
    },
    Command(Box<Command>),
}

/// An answer to the edge.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    pub permit: bool,
    pub rule_name: Option<String>,
    pub reason: Option<String>,
    pub policy_version: Option<i32>,
    pub vlan: Option<String>,
    pub role: Option<String>,
    pub verdict: Option<String>,
    pub match_strength: Option<String>,
    pub match_key: Option<String>,
    pub device: Option<DeviceId>,
    /// The edge decided alone.
    pub offline: bool,
}

/// A change of a device's compliance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compliance {
    pub link: LinkId,
    pub device: DeviceId,
    pub device_name: Option<String>,
    /// `None`: the device was new.
    pub from: Option<String>,
    /// `None`: its record is gone.
    pub to: Option<String>,
    pub noticed_by: Option<String>,
}

/// A Change of Authorization.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    pub id: CommandId,
    pub kind: String,
    pub cause: String,
    pub state: String,
    pub hold: Option<HoldId>,
    pub not_before: Option<OffsetDateTime>,
    pub finished_at: Option<OffsetDateTime>,
    pub answer: Option<NasAnswer>,
    /// After how many answers it went out again.
    pub tried_again: i32,
    pub result: Option<String>,
    pub to_vlan: Option<String>,
    pub to_permit: bool,
}

impl Command {
    /// When the NAS's answer ended it; what was withdrawn meanwhile ended otherwise.
    #[must_use]
    pub fn answered_at(&self) -> Option<OffsetDateTime> {
        self.finished_at.filter(|_| matches!(self.state.as_str(), "acked" | "failed"))
    }

    /// What is known of the NAS's reason.
    #[must_use]
    pub fn explained(&self) -> Option<&'static ErrorCauseEntry> {
        self.answer?.error_cause?.entry()
    }
}

/// The newest entries behind `before`, and whether there are older ones.
pub async fn page(
    tx: &mut OrgTx,
    scope: &Scope,
    before: Option<Cursor>,
    limit: usize,
) -> Result<(Vec<Entry>, bool)> {
    let most = i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1);
    let kinds: Vec<EventKind> = scope.parts.iter().flat_map(|part| part.kinds()).copied().collect();
    let mut entries = Vec::new();
    if !kinds.is_empty() {
        entries.extend(events(tx, scope, &kinds, before, most).await?);
    }
    if scope.parts.contains(&Part::Commands) {
        entries.extend(commands(tx, scope, before, most).await?);
    }
    if scope.parts.contains(&Part::Compliance) && !scope.devices.is_empty() {
        entries.extend(transitions(tx, scope, before, most).await?);
        entries.extend(looks(tx, scope, before, most).await?);
    }
    entries.sort_by_key(|entry| std::cmp::Reverse((entry.at, entry.id)));
    let more = entries.len() > limit;
    entries.truncate(limit);
    Ok((entries, more))
}

/// The decision before a moment of the timeline, whatever the period.
pub async fn decision_before(tx: &mut OrgTx, whose: Whose, before: Cursor) -> Result<Option<Decision>> {
    let scope = Scope { whose, devices: Vec::new(), from: None, stay: None, parts: Vec::new() };
    let kinds = [EventKind::NacClientPermit, EventKind::NacClientDeny];
    let entry = events(tx, &scope, &kinds, Some(before), 1).await?.pop();
    Ok(entry.and_then(|entry| match entry.what {
        What::Decision(decision) => Some(*decision),
        _ => None,
    }))
}

/// Ends a statement: the period, and where the page begins. The columns are `at` and `id` of the one table.
fn narrow(sql: &mut QueryBuilder<Postgres>, at: &str, scope: &Scope, before: Option<Cursor>, limit: i64) {
    if let Some(from) = scope.from {
        sql.push(format!(" AND {at} >= ")).push_bind(from);
    }
    if let Some(Cursor { at: moment, id }) = before {
        // The first condition alone bounds the scan of an index, and prunes partitions.
        sql.push(format!(" AND {at} <= ")).push_bind(moment);
        sql.push(format!(" AND ({at}, id) < (")).push_bind(moment).push(", ").push_bind(id).push(")");
    }
    sql.push(format!(" ORDER BY {at} DESC, id DESC LIMIT ")).push_bind(limit);
}

fn of(sql: &mut QueryBuilder<Postgres>, whose: Whose) {
    match whose {
        Whose::Client(mac) => sql.push(" AND mac = ").push_bind(address(mac)),
        Whose::Session(session) => sql.push(" AND session_id = ").push_bind(session.uuid()),
    };
}

#[derive(sqlx::FromRow)]
struct EventRow {
    at: OffsetDateTime,
    id: Uuid,
    kind: String,
    session_id: Option<Uuid>,
    summary: String,
    permit: Option<bool>,
    reason: Option<String>,
    rule_name: Option<String>,
    policy_version: Option<i32>,
    vlan: Option<String>,
    role: Option<String>,
    verdict: Option<String>,
    match_strength: Option<String>,
    device_id: Option<Uuid>,
    match_key: Option<String>,
    offline: Option<bool>,
    framed_ip: Option<String>,
    session_seconds: Option<i64>,
    bytes_in: Option<i64>,
    bytes_out: Option<i64>,
    terminate_cause: Option<String>,
}

async fn events(
    tx: &mut OrgTx,
    scope: &Scope,
    kinds: &[EventKind],
    before: Option<Cursor>,
    limit: i64,
) -> Result<Vec<Entry>> {
    let mut sql = QueryBuilder::new(
        // What lies in the record is taken out of the rows of the page alone.
        "SELECT at, id, kind, session_id, summary, permit, reason, rule_name, policy_version, vlan, role, verdict,
                match_strength, device_id, detail -> 'answer' -> 'found' ->> 'key' AS match_key,
                (detail ->> 'decided_offline')::boolean AS offline, detail ->> 'framed_ip' AS framed_ip,
                (detail ->> 'session_seconds')::bigint AS session_seconds,
                (detail ->> 'bytes_in')::bigint AS bytes_in, (detail ->> 'bytes_out')::bigint AS bytes_out,
                detail ->> 'terminate_cause' AS terminate_cause
         FROM (SELECT * FROM event WHERE org_id = ",
    );
    sql.push_bind(tx.org().uuid());
    of(&mut sql, scope.whose);
    let kinds: Vec<String> = kinds.iter().map(|kind| kind.as_str().to_owned()).collect();
    sql.push(" AND kind = ANY(").push_bind(kinds).push(")");
    narrow(&mut sql, "at", scope, before, limit);
    sql.push(") e ORDER BY at DESC, id DESC");
    let rows = sql.build_query_as::<EventRow>().fetch_all(tx.conn()).await?;
    Ok(rows.into_iter().map(entry).collect())
}

fn entry(row: EventRow) -> Entry {
    let what = match row.kind.parse() {
        Ok(EventKind::NacClientPermit | EventKind::NacClientDeny) => What::Decision(Box::new(Decision {
            permit: row.permit.unwrap_or_default(),
            rule_name: row.rule_name,
            reason: row.reason,
            policy_version: row.policy_version,
            vlan: row.vlan,
            role: row.role,
            verdict: row.verdict,
            match_strength: row.match_strength,
            match_key: row.match_key,
            device: row.device_id.map(DeviceId),
            offline: row.offline.unwrap_or_default(),
        })),
        Ok(EventKind::NacSessionStarted) => What::Began,
        Ok(EventKind::NacSessionEnded) => What::Ended {
            seconds: row.session_seconds,
            bytes_in: row.bytes_in,
            bytes_out: row.bytes_out,
            cause: row.terminate_cause,
        },
        Ok(EventKind::NacClientIpAssigned) => What::Address { ip: row.framed_ip },
        _ => What::Noted { kind: row.kind, summary: row.summary },
    };
    Entry { at: row.at, id: row.id, session: row.session_id.map(SessionId), what }
}

#[derive(sqlx::FromRow)]
struct CommandRow {
    id: Uuid,
    session_id: Uuid,
    kind: String,
    cause: String,
    state: String,
    hold_id: Option<Uuid>,
    created_at: OffsetDateTime,
    not_before: Option<OffsetDateTime>,
    finished_at: Option<OffsetDateTime>,
    answer: Option<String>,
    error_cause: Option<i64>,
    answers: i32,
    result: Option<String>,
    to_vlan: Option<String>,
    to_permit: Option<bool>,
}

async fn commands(tx: &mut OrgTx, scope: &Scope, before: Option<Cursor>, limit: i64) -> Result<Vec<Entry>> {
    let mut sql = QueryBuilder::new(
        "SELECT id, session_id, kind, cause, state, hold_id, created_at, not_before, finished_at, answer, error_cause,
                answers, result, to_outcome ->> 'vlan' AS to_vlan, (to_outcome ->> 'permit')::boolean AS to_permit
         FROM command WHERE org_id = ",
    );
    sql.push_bind(tx.org().uuid());
    of(&mut sql, scope.whose);
    narrow(&mut sql, "created_at", scope, before, limit);
    let rows = sql.build_query_as::<CommandRow>().fetch_all(tx.conn()).await?;
    let entries = rows.into_iter().map(|row| {
        let command = Command {
            id: CommandId(row.id),
            kind: row.kind,
            cause: row.cause,
            state: row.state,
            hold: row.hold_id.map(HoldId),
            not_before: row.not_before,
            finished_at: row.finished_at,
            answer: read_answer(row.answer.as_deref(), row.error_cause)?,
            tried_again: row.answers,
            result: row.result,
            to_vlan: row.to_vlan,
            to_permit: row.to_permit.unwrap_or_default(),
        };
        Ok(Entry {
            at: row.created_at,
            id: row.id,
            session: Some(SessionId(row.session_id)),
            what: What::Command(Box::new(command)),
        })
    });
    entries.collect()
}

#[derive(sqlx::FromRow)]
struct TransitionRow {
    id: Uuid,
    at: OffsetDateTime,
    link_id: Uuid,
    device_id: Uuid,
    device_name: Option<String>,
    from_state: Option<String>,
    to_state: Option<String>,
    noticed_by: Option<String>,
}

fn within_stay(sql: &mut QueryBuilder<Postgres>, scope: &Scope) {
    let Some((from, until)) = scope.stay else { return };
    sql.push(" AND at >= ").push_bind(from);
    if let Some(until) = until {
        sql.push(" AND at <= ").push_bind(until);
    }
}

async fn transitions(
    tx: &mut OrgTx,
    scope: &Scope,
    before: Option<Cursor>,
    limit: i64,
) -> Result<Vec<Entry>> {
    let mut sql = QueryBuilder::new(
        "SELECT t.*, d.name AS device_name FROM (
             SELECT org_id, id, at, link_id, device_id, from_state, to_state, noticed_by FROM device_transition
             WHERE org_id = ",
    );
    sql.push_bind(tx.org().uuid());
    let devices: Vec<Uuid> = scope.devices.iter().map(|(_, id)| id.uuid()).collect();
    let links: Vec<Uuid> = scope.devices.iter().map(|(link, _)| link.uuid()).collect();
    sql.push(" AND device_id = ANY(")
        .push_bind(devices)
        .push(") AND link_id = ANY(")
        .push_bind(links)
        .push(")");
    within_stay(&mut sql, scope);
    narrow(&mut sql, "at", scope, before, limit);
    sql.push(
        ") t LEFT JOIN device d ON d.org_id = t.org_id AND d.link_id = t.link_id AND d.id = t.device_id
         ORDER BY t.at DESC, t.id DESC",
    );
    let rows = sql.build_query_as::<TransitionRow>().fetch_all(tx.conn()).await?;
    let entries = rows.into_iter().map(|row| Entry {
        at: row.at,
        id: row.id,
        session: None,
        what: What::Compliance(Compliance {
            link: LinkId(row.link_id),
            device: DeviceId(row.device_id),
            device_name: row.device_name,
            from: row.from_state,
            to: row.to_state,
            noticed_by: row.noticed_by,
        }),
    });
    Ok(entries.collect())
}

#[derive(sqlx::FromRow)]
struct LookRow {
    id: Uuid,
    at: OffsetDateTime,
    actor: String,
    target: String,
    link: Option<String>,
    device: Option<String>,
}

/// Looks that people asked for; those that Gatehouse takes by itself show in what they changed.
async fn looks(tx: &mut OrgTx, scope: &Scope, before: Option<Cursor>, limit: i64) -> Result<Vec<Entry>> {
    let devices: Vec<String> = scope.devices.iter().map(|(_, id)| id.to_string()).collect();
    let mut sql = QueryBuilder::new(
        "SELECT id, at, actor, target, detail ->> 'link' AS link, checked_device AS device FROM audit
         WHERE org_id = ",
    );
    sql.push_bind(tx.org().uuid());
    sql.push(" AND checked_device = ANY(").push_bind(devices).push(")");
    within_stay(&mut sql, scope);
    narrow(&mut sql, "at", scope, before, limit);
    let rows = sql.build_query_as::<LookRow>().fetch_all(tx.conn()).await?;
    let entries = rows.into_iter().map(|row| Entry {
        at: row.at,
        id: row.id,
        session: None,
        what: What::Look {
            device: row.link.and_then(|id| id.parse().ok()).zip(row.device.and_then(|id| id.parse().ok())),
            device_name: row.target,
            asked_by: row.actor,
        },
    });
    Ok(entries.collect())
}

/// The other MAC addresses under which some devices came lately, the latest first.
pub async fn other_macs(
    tx: &mut OrgTx,
    devices: &[(LinkId, DeviceId)],
    besides: Option<Mac>,
    limit: i64,
) -> Result<Vec<Mac>> {
    let ids: Vec<Uuid> = devices.iter().map(|(_, id)| id.uuid()).collect();
    let links: Vec<Uuid> = devices.iter().map(|(link, _)| link.uuid()).collect();
    let org = tx.org().uuid();
    let besides = besides.map(address);
    let rows = sqlx::query_scalar!(
        r#"SELECT mac AS "mac!" FROM (
               SELECT mac, started_at FROM session
               WHERE org_id = $1 AND device_id = ANY($2) AND link_id = ANY($3)
                 AND mac IS NOT NULL AND mac IS DISTINCT FROM $4
               ORDER BY started_at DESC LIMIT 500) s
           GROUP BY mac ORDER BY max(started_at) DESC LIMIT $5"#,
        org,
        &ids,
        &links,
        besides,
        limit,
    )
    .fetch_all(tx.conn())
    .await?;
    Ok(rows.into_iter().map(super::mac).collect())
}

/// When some sessions began.
pub async fn begins(tx: &mut OrgTx, sessions: &[SessionId]) -> Result<Vec<(SessionId, OffsetDateTime)>> {
    let org = tx.org().uuid();
    let ids: Vec<Uuid> = sessions.iter().map(|id| id.uuid()).collect();
    let rows =
        sqlx::query!("SELECT id, started_at FROM session WHERE org_id = $1 AND id = ANY($2)", org, &ids)
            .fetch_all(tx.conn())
            .await?;
    Ok(rows.into_iter().map(|row| (SessionId(row.id), row.started_at)).collect())
}
