//! Clients: one row per MAC address, and all that is known of one of them.
//!
//! What stands for a client is the latest of its sessions that go on; the latest of all where none does. So a client
//! that is on the network is not hidden by a session that began later and is over: a denial elsewhere, or the end of a
//! stay that nobody told of before.

use domain::compliance::Verdict;
use domain::decision::Outcome;
use domain::{DeviceId, EdgeId, LinkId, Mac, SessionId, SiteId};
use ipnetwork::IpNetwork;
use mac_address::MacAddress;
use sqlx::{Postgres, QueryBuilder};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Cursor, address, mac};
use crate::{OrgTx, Result, StoreError};

/// What to look for. Everything given must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientFilter {
    /// Clients that are on the network (`true`), or those that are not. Each of the two has an order and cursors of its
    /// own.
    pub active: bool,
    pub mac: Option<Mac>,
    /// The whole user name or device name, in any case.
    pub name: Option<String>,
    pub ssid: Option<String>,
    pub verdict: Option<Verdict>,
    pub edge: Option<EdgeId>,
    pub site: Option<SiteId>,
}

/// A client's session.
#[derive(Clone, Debug, PartialEq)]
pub struct ClientRow {
    pub session: SessionId,
    pub session_key: String,
    pub mac: Option<Mac>,
    pub user_name: Option<String>,
    pub ssid: Option<String>,
    pub auth_type: Option<String>,
    pub edge: EdgeId,
    pub edge_name: Option<String>,
    pub site: SiteId,
    pub site_name: Option<String>,
    pub decision: Option<Uuid>,
    pub decided_at: Option<OffsetDateTime>,
    pub outcome: Option<Outcome>,
    pub rule_name: Option<String>,
    pub verdict: Option<String>,
    pub match_strength: Option<String>,
    pub link: Option<LinkId>,
    pub device: Option<DeviceId>,
    pub device_name: Option<String>,
    pub started_at: OffsetDateTime,
    pub accounted_at: Option<OffsetDateTime>,
    pub ended_at: Option<OffsetDateTime>,
    pub framed_ip: Option<String>,
    pub bytes_in: Option<i64>,
    pub bytes_out: Option<i64>,
    pub terminate_cause: Option<String>,
}

impl ClientRow {
    /// Where the list stands at this row.
    #[must_use]
    pub const fn cursor(&self) -> Cursor {
        Cursor { at: self.started_at, id: self.session.uuid() }
    }

    /// Whether the session goes on.
    #[must_use]
    pub const fn is_active(&self) -> bool {
        self.ended_at.is_none()
    }
}

#[derive(sqlx::FromRow)]
struct Row {
    id: Uuid,
    session_key: String,
    mac: Option<MacAddress>,
    user_name: Option<String>,
    ssid: Option<String>,
    auth_type: Option<String>,
    edge_id: Uuid,
    edge_name: Option<String>,
    site_id: Uuid,
    site_name: Option<String>,
    decision_id: Option<Uuid>,
    decided_at: Option<OffsetDateTime>,
    outcome: Option<serde_json::Value>,
    rule_name: Option<String>,
    verdict: Option<String>,
    match_strength: Option<String>,
    link_id: Option<Uuid>,
    device_id: Option<Uuid>,
    device_name: Option<String>,
    started_at: OffsetDateTime,
    accounted_at: Option<OffsetDateTime>,
    ended_at: Option<OffsetDateTime>,
    framed_ip: Option<IpNetwork>,
    bytes_in: Option<i64>,
    bytes_out: Option<i64>,
    terminate_cause: Option<String>,
}

impl TryFrom<Row> for ClientRow {
    type Error = StoreError;

    fn try_from(r: Row) -> Result<Self> {
        let outcome = r.outcome.map(serde_json::from_value).transpose();
        Ok(Self {
            session: SessionId(r.id),
            session_key: r.session_key,
            mac: r.mac.map(mac),
            user_name: r.user_name,
            ssid: r.ssid,
            auth_type: r.auth_type,
            edge: EdgeId(r.edge_id),
            edge_name: r.edge_name,
            site: SiteId(r.site_id),
            site_name: r.site_name,
            decision: r.decision_id,
            decided_at: r.decided_at,
            outcome: outcome.map_err(|e| StoreError::corrupt("session.outcome", e))?,
            rule_name: r.rule_name,
            verdict: r.verdict,
            match_strength: r.match_strength,
            link: r.link_id.map(LinkId),
            device: r.device_id.map(DeviceId),
            device_name: r.device_name,
            started_at: r.started_at,
            accounted_at: r.accounted_at,
            ended_at: r.ended_at,
            framed_ip: r.framed_ip.map(|ip| ip.ip().to_string()),
            bytes_in: r.bytes_in,
            bytes_out: r.bytes_out,
            terminate_cause: r.terminate_cause,
        })
    }
}

/// The sessions of the organization that is bound next.
const SELECT: &str =
    "SELECT s.id, s.session_key, s.mac, s.user_name, s.ssid, s.auth_type, s.edge_id, g.name AS edge_name,
            s.site_id, t.name AS site_name, s.decision_id, s.decided_at, s.outcome, s.rule_name, s.verdict,
            s.match_strength, s.link_id, s.device_id, s.device_name, s.started_at, s.accounted_at, s.ended_at,
            s.framed_ip, s.bytes_in, s.bytes_out, s.terminate_cause
     FROM session s
     LEFT JOIN edge g ON g.org_id = s.org_id AND g.id = s.edge_id
     LEFT JOIN site t ON t.org_id = s.org_id AND t.id = s.site_id
     WHERE s.org_id = ";

/// Sessions that go on, unless a later one of their client does, too.
const ACTIVE: &str = " AND s.ended_at IS NULL
     AND NOT EXISTS (SELECT FROM session n WHERE n.org_id = s.org_id AND n.mac = s.mac AND n.ended_at IS NULL
                     AND (n.started_at, n.id) > (s.started_at, s.id))";

/// The latest sessions of clients of whom none goes on. `OFFSET 0` keeps the second question one to an index, session
/// by session: as a join, PostgreSQL may expect it to leave nothing over, and read all sessions to find the first.
const ENDED: &str = " AND s.ended_at IS NOT NULL
     AND NOT EXISTS (SELECT FROM session n WHERE n.org_id = s.org_id AND n.mac = s.mac
                     AND (n.started_at, n.id) > (s.started_at, s.id))
     AND NOT EXISTS (SELECT FROM session n WHERE n.org_id = s.org_id AND n.mac = s.mac AND n.ended_at IS NULL
                     OFFSET 0)";

fn select(org: Uuid) -> QueryBuilder<Postgres> {
    let mut sql = QueryBuilder::new(SELECT);
    sql.push_bind(org);
    sql
}

fn narrow(sql: &mut QueryBuilder<Postgres>, filter: &ClientFilter) {
    sql.push(if filter.active { ACTIVE } else { ENDED });
    if let Some(mac) = filter.mac {
        sql.push(" AND s.mac = ").push_bind(address(mac));
    }
    if let Some(name) = &filter.name {
        let name = name.to_lowercase();
        sql.push(" AND (s.user_key = ").push_bind(name.clone());
        sql.push(" OR s.device_key = ").push_bind(name).push(")");
    }
    if let Some(ssid) = &filter.ssid {
        sql.push(" AND s.ssid = ").push_bind(ssid.clone());
    }
    if let Some(verdict) = filter.verdict {
        sql.push(" AND s.verdict = ").push_bind(verdict.as_str());
    }
    if let Some(edge) = filter.edge {
        sql.push(" AND s.edge_id = ").push_bind(edge.uuid());
    }
    if let Some(site) = filter.site {
        sql.push(" AND s.site_id = ").push_bind(site.uuid());
    }
}

/// Clients by the session that stands for them, those that began last first, behind `before` where it is given. A
/// session without a MAC address is a client of its own.
pub async fn list(
    tx: &mut OrgTx,
    filter: &ClientFilter,
    before: Option<Cursor>,
    limit: i64,
) -> Result<Vec<ClientRow>> {
    let mut sql = select(tx.org().uuid());
    narrow(&mut sql, filter);
    if let Some(Cursor { at, id }) = before {
        sql.push(" AND (s.started_at, s.id) < (").push_bind(at).push(", ").push_bind(id).push(")");
    }
    sql.push(" ORDER BY s.started_at DESC, s.id DESC LIMIT ").push_bind(limit);
    let rows = sql.build_query_as::<Row>().fetch_all(tx.conn()).await?;
    rows.into_iter().map(ClientRow::try_from).collect()
}

/// The sessions of a MAC address, the one that stands for it first: those that go on, then those that ended, the latest
/// of each first.
pub async fn sessions(tx: &mut OrgTx, of: Mac, limit: i64) -> Result<Vec<ClientRow>> {
    let org = tx.org().uuid();
    let mut sql = QueryBuilder::<Postgres>::new("SELECT * FROM (");
    // Each half comes in the order of an index; both at once would be read whole and sorted.
    for (joint, half) in [("(", "IS NULL"), (") UNION ALL (", "IS NOT NULL")] {
        sql.push(joint).push(SELECT).push_bind(org);
        sql.push(" AND s.mac = ").push_bind(address(of)).push(" AND s.ended_at ").push(half);
        sql.push(" ORDER BY s.started_at DESC, s.id DESC LIMIT ").push_bind(limit);
    }
    sql.push(")) h ORDER BY ended_at IS NOT NULL, started_at DESC, id DESC LIMIT ").push_bind(limit);
    let rows = sql.build_query_as::<Row>().fetch_all(tx.conn()).await?;
    rows.into_iter().map(ClientRow::try_from).collect()
}

/// One session.
pub async fn session(tx: &mut OrgTx, id: SessionId) -> Result<Option<ClientRow>> {
    let mut sql = select(tx.org().uuid());
    sql.push(" AND s.id = ").push_bind(id.uuid());
    let row = sql.build_query_as::<Row>().fetch_optional(tx.conn()).await?;
    row.map(ClientRow::try_from).transpose()
}

/// A device of the fleet, as its client's page shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceView {
    pub name: Option<String>,
    pub serial: Option<String>,
    pub compliance: String,
    pub os: Option<String>,
    pub os_version: Option<String>,
    pub owner: Option<String>,
    pub manufacturer: Option<String>,
    pub model: Option<String>,
    pub user_principal_name: Option<String>,
    pub last_check_in: Option<OffsetDateTime>,
    pub grace_expires_at: Option<OffsetDateTime>,
    pub missing_since: Option<OffsetDateTime>,
    pub enrolled_at: Option<OffsetDateTime>,
    /// When its record was last confirmed: by its own fetch, or by a whole sweep.
    pub confirmed_at: OffsetDateTime,
    pub tenant_name: String,
}

/// One device.
pub async fn device(tx: &mut OrgTx, link: LinkId, id: DeviceId) -> Result<Option<DeviceView>> {
    let org = tx.org().uuid();
    let row = sqlx::query_as!(
        DeviceView,
        r#"SELECT d.name, d.serial, d.compliance, d.os, d.os_version, d.owner, d.manufacturer, d.model,
                  d.user_principal_name, d.last_check_in, d.grace_expires_at, d.missing_since, d.enrolled_at,
                  CASE WHEN d.missing_since IS NULL THEN greatest(d.fetched_at, l.confirmed_at)
                       ELSE d.fetched_at END AS "confirmed_at!",
                  l.tenant_name
           FROM device d JOIN link l ON l.org_id = d.org_id AND l.id = d.link_id
           WHERE d.org_id = $1 AND d.link_id = $2 AND d.id = $3"#,
        org,
        link.uuid(),
        id.uuid(),
    )
    .fetch_optional(tx.conn())
    .await?;
    Ok(row)
}
