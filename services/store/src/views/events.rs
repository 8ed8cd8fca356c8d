//! NAC Events: searched newest first, read one by one.

use domain::compliance::Verdict;
use domain::decision::Reason;
use domain::event::EventKind;
use domain::{EdgeId, EventId, Mac, RuleId, SessionId, SiteId};
use mac_address::MacAddress;
use sqlx::{Postgres, QueryBuilder};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Cursor, address, mac};
use crate::{OrgTx, Result};

/// Events that one search looks through at most, where what is asked for has no index.
pub const STRETCH: i64 = 100_000;

/// What to look for. Everything given must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventFilter {
    pub from: Option<OffsetDateTime>,
    pub to: Option<OffsetDateTime>,
    pub kind: Option<EventKind>,
    pub mac: Option<Mac>,
    /// The whole user name, in any case.
    pub user: Option<String>,
    /// The whole SSID.
    pub ssid: Option<String>,
    pub rule: Option<RuleId>,
    pub permit: Option<bool>,
    pub reason: Option<Reason>,
    pub verdict: Option<Verdict>,
    pub edge: Option<EdgeId>,
    pub site: Option<SiteId>,
    pub session: Option<SessionId>,
}

/// One line of the list.
#[derive(Clone, Debug, PartialEq)]
pub struct EventRow {
    pub id: EventId,
    pub at: OffsetDateTime,
    pub kind: String,
    pub mac: Option<Mac>,
    pub session: Option<SessionId>,
    pub edge_name: Option<String>,
    pub site_name: Option<String>,
    pub summary: String,
    pub auth_type: Option<String>,
    pub ssid: Option<String>,
    pub user_name: Option<String>,
    pub permit: Option<bool>,
    pub reason: Option<String>,
    pub rule: Option<RuleId>,
    pub rule_name: Option<String>,
    pub policy_version: Option<i32>,
    pub vlan: Option<String>,
    pub role: Option<String>,
    pub verdict: Option<String>,
    pub match_strength: Option<String>,
}

impl EventRow {
    /// Where the list stands at this row.
    #[must_use]
    pub const fn cursor(&self) -> Cursor {
        Cursor { at: self.at, id: self.id.uuid() }
    }
}

#[derive(sqlx::FromRow)]
struct Row {
    id: Uuid,
    at: OffsetDateTime,
    kind: String,
    mac: Option<MacAddress>,
    session_id: Option<Uuid>,
    edge_name: Option<String>,
    site_name: Option<String>,
    summary: String,
    auth_type: Option<String>,
    ssid: Option<String>,
    user_name: Option<String>,
    permit: Option<bool>,
    reason: Option<String>,
    rule_id: Option<Uuid>,
    rule_name: Option<String>,
    policy_version: Option<i32>,
    vlan: Option<String>,
    role: Option<String>,
    verdict: Option<String>,
    match_strength: Option<String>,
}

impl From<Row> for EventRow {
    fn from(r: Row) -> Self {
        Self {
            id: EventId(r.id),
            at: r.at,
            kind: r.kind,
            mac: r.mac.map(mac),
            session: r.session_id.map(SessionId),
            edge_name: r.edge_name,
            site_name: r.site_name,
            summary: r.summary,
            auth_type: r.auth_type,
            ssid: r.ssid,
            user_name: r.user_name,
            permit: r.permit,
            reason: r.reason,
            rule: r.rule_id.map(RuleId),
            rule_name: r.rule_name,
            policy_version: r.policy_version,
            vlan: r.vlan,
            role: r.role,
            verdict: r.verdict,
            match_strength: r.match_strength,
        }
    }
}

/// Reasons that no permitted client is told.
const fn is_denial(reason: Reason) -> bool {
    match reason {
        Reason::RuleBlock
        | Reason::ImplicitDeny
        | Reason::NoPolicy
        | Reason::CertificateMissing
        | Reason::CertificateExpired
        | Reason::FactsUnavailable => true,
        Reason::RuleAllow | Reason::SiteFallback => false,
    }
}

const COLUMNS: &str = "e.id, e.at, e.kind, e.mac, e.session_id, g.name AS edge_name, s.name AS site_name, e.summary,
    e.auth_type, e.ssid, e.user_name, e.permit, e.reason, e.rule_id, e.rule_name, e.policy_version, e.vlan, e.role,
    e.verdict, e.match_strength";
const NAMES: &str = " LEFT JOIN edge g ON g.org_id = e.org_id AND g.id = e.edge_id
    LEFT JOIN site s ON s.org_id = e.org_id AND s.id = e.site_id";

/// Conditions that an index in the order of time serves. The statement grows with the filter, so that PostgreSQL plans
/// for the conditions that are there.
fn push_indexed(sql: &mut QueryBuilder<Postgres>, org: Uuid, filter: &EventFilter) {
    sql.push(" WHERE e.org_id = ").push_bind(org);
    if let Some(from) = filter.from {
        sql.push(" AND e.at >= ").push_bind(from);
    }
    if let Some(to) = filter.to {
        sql.push(" AND e.at < ").push_bind(to);
    }
    if let Some(kind) = filter.kind {
        sql.push(" AND e.kind = ").push_bind(kind.as_str());
    }
    if let Some(mac) = filter.mac {
        sql.push(" AND e.mac = ").push_bind(address(mac));
    }
    if let Some(user) = &filter.user {
        sql.push(" AND e.user_key = ").push_bind(user.to_lowercase());
    }
    if let Some(rule) = filter.rule {
        sql.push(" AND e.rule_id = ").push_bind(rule.uuid());
    }
    if let Some(permit) = filter.permit {
        let kind = if permit { EventKind::NacClientPermit } else { EventKind::NacClientDeny };
        sql.push(" AND e.kind = ").push_bind(kind.as_str());
    }
    // Said in the words of the partial index on reasons, which serves nobody else.
    if filter.permit == Some(false) || filter.reason.is_some_and(is_denial) {
        sql.push(" AND e.permit = false");
    }
    if let Some(reason) = filter.reason {
        sql.push(" AND e.reason = ").push_bind(reason.as_str());
    }
    if let Some(session) = filter.session {
        sql.push(" AND e.session_id = ").push_bind(session.uuid());
    }
}

/// Conditions that every event is held against which the others let through.
fn push_others(sql: &mut QueryBuilder<Postgres>, filter: &EventFilter) {
    if let Some(ssid) = &filter.ssid {
        sql.push(" AND e.ssid = ").push_bind(ssid.clone());
    }
    if let Some(verdict) = filter.verdict {
        sql.push(" AND e.verdict = ").push_bind(verdict.as_str());
    }
    if let Some(edge) = filter.edge {
        sql.push(" AND e.edge_id = ").push_bind(edge.uuid());
    }
    if let Some(site) = filter.site {
        sql.push(" AND e.site_id = ").push_bind(site.uuid());
    }
}

impl EventFilter {
    /// Whether something is asked for that no index is in the order of: events are then looked through one by one.
    /// Such an index would be paid for by every decision, and these filters are asked by people.
    const fn is_looked_through(&self) -> bool {
        self.ssid.is_some() || self.verdict.is_some() || self.edge.is_some() || self.site.is_some()
    }
}

fn select(org: Uuid, filter: &EventFilter) -> QueryBuilder<Postgres> {
    let mut sql: QueryBuilder<Postgres> = QueryBuilder::new("SELECT ");
    sql.push(COLUMNS).push(" FROM event e").push(NAMES);
    push_indexed(&mut sql, org, filter);
    push_others(&mut sql, filter);
    sql
}

fn push_before(sql: &mut QueryBuilder<Postgres>, before: Option<Cursor>) {
    if let Some(Cursor { at, id }) = before {
        // The first condition alone prunes partitions.
        sql.push(" AND e.at <= ").push_bind(at);
        sql.push(" AND (e.at, e.id) < (").push_bind(at).push(", ").push_bind(id).push(")");
    }
}

/// What a search found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Found {
    pub rows: Vec<EventRow>,
    /// Where the search stopped with fewer rows than were asked for, because it had looked through [`STRETCH`] events:
    /// there may be more that fit behind it.
    pub stopped_at: Option<Cursor>,
}

/// The newest events that fit, older than `before` where it is given; at most `limit`.
pub async fn list(tx: &mut OrgTx, filter: &EventFilter, before: Option<Cursor>, limit: i64) -> Result<Found> {
    let org = tx.org().uuid();
    if !filter.is_looked_through() {
        let mut sql = select(org, filter);
        push_before(&mut sql, before);
        sql.push(" ORDER BY e.at DESC, e.id DESC LIMIT ").push_bind(limit);
        let rows = sql.build_query_as::<Row>().fetch_all(tx.conn()).await?;
        return Ok(Found { rows: rows.into_iter().map(EventRow::from).collect(), stopped_at: None });
    }
    let mut sql: QueryBuilder<Postgres> = QueryBuilder::new("SELECT ");
    sql.push(COLUMNS).push(" FROM (SELECT e.* FROM event e");
    push_indexed(&mut sql, org, filter);
    push_before(&mut sql, before);
    sql.push(" ORDER BY e.at DESC, e.id DESC LIMIT ").push_bind(STRETCH).push(") e").push(NAMES);
    sql.push(" WHERE true");
    push_others(&mut sql, filter);
    sql.push(" ORDER BY e.at DESC, e.id DESC LIMIT ").push_bind(limit);
    let rows = sql.build_query_as::<Row>().fetch_all(tx.conn()).await?;
    let rows: Vec<_> = rows.into_iter().map(EventRow::from).collect();
    let is_full = i64::try_from(rows.len()).unwrap_or(i64::MAX) >= limit;
    let stopped_at = if is_full { None } else { end_of_stretch(tx, filter, before).await? };
    Ok(Found { rows, stopped_at })
}

/// The last of the events that were looked through; `None` where there are no more of them than that.
async fn end_of_stretch(
    tx: &mut OrgTx,
    filter: &EventFilter,
    before: Option<Cursor>,
) -> Result<Option<Cursor>> {
    let mut sql: QueryBuilder<Postgres> = QueryBuilder::new("SELECT e.at, e.id FROM event e");
    push_indexed(&mut sql, tx.org().uuid(), filter);
    push_before(&mut sql, before);
    sql.push(" ORDER BY e.at DESC, e.id DESC LIMIT 1 OFFSET ").push_bind(STRETCH - 1);
    let row: Option<(OffsetDateTime, Uuid)> = sql.build_query_as().fetch_optional(tx.conn()).await?;
    Ok(row.map(|(at, id)| Cursor { at, id }))
}

/// Events that fit and came behind `after`, the oldest first.
pub async fn newer(tx: &mut OrgTx, filter: &EventFilter, after: Cursor, limit: i64) -> Result<Vec<EventRow>> {
    let mut sql = select(tx.org().uuid(), filter);
    sql.push(" AND e.at >= ").push_bind(after.at);
    sql.push(" AND (e.at, e.id) > (").push_bind(after.at).push(", ").push_bind(after.id).push(")");
    sql.push(" ORDER BY e.at, e.id LIMIT ").push_bind(limit);
    let rows = sql.build_query_as::<Row>().fetch_all(tx.conn()).await?;
    Ok(rows.into_iter().map(EventRow::from).collect())
}

/// One event with all that was recorded of it: a [`domain::event::DecisionRecord`] where it is a decision.
pub async fn one(tx: &mut OrgTx, id: EventId) -> Result<Option<(EventRow, serde_json::Value)>> {
    // The id's own time says where to look.
    let Some((from, to)) = crate::events::about(id) else { return Ok(None) };
    let filter = EventFilter { from: Some(from), to: Some(to), ..Default::default() };
    let mut sql = select(tx.org().uuid(), &filter);
    sql.push(" AND e.id = ").push_bind(id.uuid());
    let row = sql.build_query_as::<Row>().fetch_optional(tx.conn()).await?;
    let Some(row) = row else { return Ok(None) };
    let detail = sqlx::query_scalar!(
        "SELECT detail FROM event WHERE org_id = $1 AND at = $2 AND id = $3",
        tx.org().uuid(),
        row.at,
        row.id,
    )
    .fetch_one(tx.conn())
    .await?;
    Ok(Some((row.into(), detail)))
}
