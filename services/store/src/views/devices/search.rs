//! The list. Its order is `device.list_key`, and each filter has an index in that order (migration 0042), so that a
//! page costs what it shows, however many devices there are. A filter that means several things at once (a literal
//! that several states yield, a text that may be a name or a serial) is asked for in branches, each along its own
//! index, and the first rows of all of them are merged.

use domain::compliance::Literal;
use domain::device::{ComplianceState, DeviceFacts};
use domain::snapshot::{LinkFacts, OrgSettings};
use domain::{DeviceId, LinkId, Mac};
use mac_address::MacAddress;
use sqlx::{Postgres, QueryBuilder};
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use super::super::{address, mac};
use crate::{OrgTx, Result};

/// What somebody typed to find a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeviceText {
    /// Intune's or Entra's id of it.
    Id(Uuid),
    Mac(Mac),
    /// The start of its name, its whole serial number, or its user (the whole name, or what stands before the @).
    Words(String),
}

/// What to look for. Everything given must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceFilter {
    pub text: Option<DeviceText>,
    /// A literal that decisions would see of it.
    pub literal: Option<Literal>,
    /// The whole name of its operating system, as Microsoft Graph spells it.
    pub os: Option<String>,
    pub owner: Option<String>,
    pub link: Option<LinkId>,
    /// The last sweep did not show it.
    pub missing: bool,
    /// A session of it waits for an admin to release or discard its move.
    pub held: bool,
    /// It is looked at by itself, between sweeps.
    pub hot: bool,
}

/// With whose eyes compliance is seen: what the literals depend on besides the device.
#[derive(Clone, Copy, Debug)]
pub struct Eyes<'a> {
    pub settings: &'a OrgSettings,
    pub links: &'a [LinkFacts],
    pub now: OffsetDateTime,
}

/// Where a page ended: the next one begins behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceCursor {
    /// Its place in the order of names.
    pub list_key: String,
    pub link: LinkId,
    pub id: DeviceId,
}

/// One line of the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceRow {
    pub facts: DeviceFacts,
    pub list_key: String,
    /// When it deserves a look of its own; `None`: sweeps are enough.
    pub next_look_at: Option<OffsetDateTime>,
    /// Active sessions whose last decision matched it.
    pub sessions: i64,
    pub held: bool,
}

impl DeviceRow {
    /// Where the list stands at this row.
    #[must_use]
    pub fn cursor(&self) -> DeviceCursor {
        DeviceCursor { list_key: self.list_key.clone(), link: self.facts.link, id: self.facts.id }
    }
}

#[derive(sqlx::FromRow)]
struct Row {
    link_id: Uuid,
    id: Uuid,
    list_key: String,
    name: Option<String>,
    serial: Option<String>,
    entra_id: Option<Uuid>,
    wifi_mac: Option<MacAddress>,
    ethernet_mac: Option<MacAddress>,
    compliance: String,
    grace_expires_at: Option<OffsetDateTime>,
    last_check_in: Option<OffsetDateTime>,
    fetched_at: OffsetDateTime,
    missing_since: Option<OffsetDateTime>,
    os: Option<String>,
    os_version: Option<String>,
    owner: Option<String>,
    user_principal_name: Option<String>,
    next_look_at: Option<OffsetDateTime>,
    sessions: i64,
    held: bool,
}

impl From<Row> for DeviceRow {
    fn from(row: Row) -> Self {
        let state = ComplianceState::from(row.compliance);
        let bare = DeviceFacts::bare(LinkId(row.link_id), DeviceId(row.id), state, row.fetched_at);
        Self {
            facts: DeviceFacts {
                name: row.name,
                serial: row.serial,
                entra_id: row.entra_id,
                wifi_mac: row.wifi_mac.map(mac),
                ethernet_mac: row.ethernet_mac.map(mac),
                grace_expires_at: row.grace_expires_at,
                last_check_in: row.last_check_in,
                missing_since: row.missing_since,
                os: row.os,
                os_version: row.os_version,
                owner: row.owner,
                user_principal_name: row.user_principal_name,
                ..bare
            },
            list_key: row.list_key,
            next_look_at: row.next_look_at,
            sessions: row.sessions,
            held: row.held,
        }
    }
}

const COLUMNS: &str = "d.link_id, d.id, d.list_key, d.name, d.serial, d.entra_id, d.wifi_mac, d.ethernet_mac,
    d.compliance, d.grace_expires_at, d.last_check_in, d.fetched_at, d.missing_since, d.os, d.os_version, d.owner,
    d.user_principal_name, d.next_look_at";
/// As the partial index on other states has it.
const KNOWN_STATES: &str =
    "('compliant', 'inGracePeriod', 'noncompliant', 'unknown', 'error', 'conflict', 'configManager')";
/// Behind everything that begins with the same text, in the order of bytes.
const LAST: char = '\u{10FFFF}';

/// What one branch of the search asks for beside the filter's plain conditions.
#[derive(Clone, Debug)]
enum Branch {
    All,
    State(&'static str),
    OtherState,
    Id(Uuid),
    EntraId(Uuid),
    WifiMac(Mac),
    EthernetMac(Mac),
    NameStart(String),
    Serial(String),
    User(String),
    UserBeforeAt(String),
}

/// Whether the age and the grace of a record matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    Any,
    Fresh,
    Stale,
    FreshInGrace,
    StaleInGrace,
    GraceOver,
}

/// The states that yield a literal, as `domain::compliance::assess` has it.
fn states_of(literal: Literal, settings: &OrgSettings) -> Vec<(Branch, When)> {
    use Branch::{All, OtherState, State};
    let grace = State("inGracePeriod");
    match literal {
        Literal::Compliant if settings.grace_is_compliant => {
            vec![(State("compliant"), When::Fresh), (grace, When::FreshInGrace)]
        }
        Literal::Compliant => vec![(State("compliant"), When::Fresh)],
        Literal::NonCompliant if settings.grace_is_compliant => {
            vec![(State("noncompliant"), When::Any), (grace, When::GraceOver)]
        }
        Literal::NonCompliant => vec![(State("noncompliant"), When::Any), (grace, When::Any)],
        Literal::Unknown => {
            let mut states = vec![
                (State("unknown"), When::Any),
                (State("error"), When::Any),
                (State("conflict"), When::Any),
                (State("configManager"), When::Any),
                (OtherState, When::Any),
                (State("compliant"), When::Stale),
            ];
            if settings.grace_is_compliant {
                states.push((grace, When::StaleInGrace));
            }
            states
        }
        Literal::InGracePeriod => vec![(grace, When::FreshInGrace)],
        Literal::NotEvaluated => vec![(State("unknown"), When::Fresh)],
        Literal::Error => vec![(State("error"), When::Fresh)],
        Literal::Conflict => vec![(State("conflict"), When::Fresh)],
        Literal::ConfigManager => vec![(State("configManager"), When::Fresh)],
        Literal::Other => vec![(OtherState, When::Fresh)],
        Literal::Stale => vec![(All, When::Stale)],
        // Of clients without a device.
        Literal::NotEnrolled | Literal::Ambiguous | Literal::Unlinked => Vec::new(),
    }
}

fn texts_of(text: &DeviceText) -> Vec<Branch> {
    match text {
        DeviceText::Id(id) => vec![Branch::Id(*id), Branch::EntraId(*id)],
        DeviceText::Mac(mac) => vec![Branch::WifiMac(*mac), Branch::EthernetMac(*mac)],
        DeviceText::Words(words) => {
            let words = words.to_lowercase();
            let user = if words.contains('@') { Branch::User } else { Branch::UserBeforeAt };
            vec![Branch::NameStart(words.clone()), Branch::Serial(words.clone()), user(words)]
        }
    }
}

/// Devices in the order of their names, behind `after` where it is given.
pub async fn list(
    tx: &mut OrgTx,
    filter: &DeviceFilter,
    eyes: &Eyes<'_>,
    after: Option<&DeviceCursor>,
    limit: i64,
) -> Result<Vec<DeviceRow>> {
    let org = tx.org().uuid();
    let search = Search { org, filter, eyes, after, limit };
    let branches = search.branches();
    if branches.is_empty() {
        return Ok(Vec::new());
    }
    let mut sql = QueryBuilder::new(
        "SELECT h.*,
                (SELECT count(*) FROM session s WHERE s.org_id = h.org AND s.device_id = h.id
                     AND s.link_id = h.link_id AND s.ended_at IS NULL) AS sessions,
                EXISTS (SELECT FROM command c WHERE c.org_id = h.org AND c.device_id = h.id
                            AND c.link_id = h.link_id AND c.state = 'held') AS held
         FROM (SELECT ",
    );
    sql.push_bind(org).push("::uuid AS org, b.* FROM (");
    for (n, branch) in branches.iter().enumerate() {
        // Texts may hit one device twice.
        sql.push(if n == 0 { "(" } else { " UNION (" });
        search.push(&mut sql, branch);
        sql.push(")");
    }
    sql.push(") b ORDER BY b.list_key, b.link_id, b.id LIMIT ").push_bind(limit);
    sql.push(") h ORDER BY h.list_key, h.link_id, h.id");
    let rows = sql.build_query_as::<Row>().fetch_all(tx.conn()).await?;
    Ok(rows.into_iter().map(DeviceRow::from).collect())
}

struct Search<'a> {
    org: Uuid,
    filter: &'a DeviceFilter,
    eyes: &'a Eyes<'a>,
    after: Option<&'a DeviceCursor>,
    limit: i64,
}

impl Search<'_> {
    /// Every way to fit, each with its own index to walk along.
    fn branches(&self) -> Vec<Vec<(Branch, When)>> {
        let states = match self.filter.literal {
            Some(literal) => states_of(literal, self.eyes.settings),
            None => vec![(Branch::All, When::Any)],
        };
        let texts = self.filter.text.as_ref().map_or_else(|| vec![Branch::All], texts_of);
        let pairs = texts
            .iter()
            .flat_map(|text| states.iter().map(move |state| vec![(text.clone(), When::Any), state.clone()]));
        pairs.collect()
    }

    fn push(&self, sql: &mut QueryBuilder<Postgres>, branch: &[(Branch, When)]) {
        sql.push("SELECT ").push(COLUMNS).push(" FROM device d WHERE d.org_id = ").push_bind(self.org);
        for (what, when) in branch {
            self.push_branch(sql, what);
            self.push_when(sql, *when);
        }
        self.push_filter(sql);
        match self.after {
            None => {}
            // With the link given, its own index is in the order of what is left.
            Some(after) if self.filter.link == Some(after.link) => {
                sql.push(" AND (d.list_key, d.id) > (").push_bind(after.list_key.clone());
                sql.push(", ").push_bind(after.id.uuid()).push(")");
            }
            Some(DeviceCursor { list_key, link, id }) => {
                sql.push(" AND (d.list_key, d.link_id, d.id) > (").push_bind(list_key.clone());
                sql.push(", ").push_bind(link.uuid()).push(", ").push_bind(id.uuid()).push(")");
            }
        }
        sql.push(" ORDER BY d.list_key, d.link_id, d.id LIMIT ").push_bind(self.limit);
    }

    fn push_branch(&self, sql: &mut QueryBuilder<Postgres>, branch: &Branch) {
        match branch {
            Branch::All => {}
            // Words of our own, so that partial indexes and statistics of the value serve.
            Branch::State(state) => {
                sql.push(" AND d.compliance = '").push(state).push("'");
            }
            Branch::OtherState => {
                sql.push(" AND d.compliance NOT IN ").push(KNOWN_STATES);
            }
            Branch::Id(id) => {
                sql.push(" AND d.id = ").push_bind(*id);
            }
            Branch::EntraId(id) => {
                sql.push(" AND d.entra_id = ").push_bind(*id);
            }
            Branch::WifiMac(mac) => {
                sql.push(" AND d.wifi_mac = ").push_bind(address(*mac));
            }
            Branch::EthernetMac(mac) => {
                sql.push(" AND d.ethernet_mac = ").push_bind(address(*mac));
            }
            Branch::NameStart(start) => {
                sql.push(" AND d.list_key >= ").push_bind(start.clone());
                sql.push(" AND d.list_key < ").push_bind(format!("{start}{LAST}"));
                // Those without a name stand behind all others, not behind this text.
                sql.push(" AND d.name_key IS NOT NULL");
            }
            Branch::Serial(serial) => {
                sql.push(" AND d.serial_key = ").push_bind(serial.clone());
            }
            Branch::User(user) => {
                sql.push(" AND d.user_key = ").push_bind(user.clone());
            }
            Branch::UserBeforeAt(user) => {
                sql.push(" AND d.user_key >= ").push_bind(format!("{user}@"));
                sql.push(" AND d.user_key < ").push_bind(format!("{user}@{LAST}"));
            }
        }
    }

    fn push_when(&self, sql: &mut QueryBuilder<Postgres>, when: When) {
        match when {
            When::Any => {}
            When::Fresh => self.push_stale(sql, false),
            When::Stale => self.push_stale(sql, true),
            When::FreshInGrace => {
                self.push_stale(sql, false);
                self.push_grace_over(sql, false);
            }
            When::StaleInGrace => {
                self.push_stale(sql, true);
                self.push_grace_over(sql, false);
            }
            When::GraceOver => self.push_grace_over(sql, true),
        }
    }

    /// A record is confirmed by its own fetch, or by its link's last sweep where it is not missing. Which links swept
    /// in time is known here, so that the condition names no other table.
    fn push_stale(&self, sql: &mut QueryBuilder<Postgres>, stale: bool) {
        let cutoff = self.eyes.now - Duration::seconds(self.eyes.settings.stale_after_seconds.into());
        let lapsed: Vec<Uuid> = (self.eyes.links.iter())
            .filter(|link| link.confirmed_at.is_none_or(|at| at < cutoff))
            .map(|link| link.id.uuid())
            .collect();
        sql.push(if stale { " AND " } else { " AND NOT " });
        sql.push("(d.fetched_at < ").push_bind(cutoff);
        if lapsed.is_empty() {
            // Alone, it lets the index of the missing serve.
            sql.push(" AND d.missing_since IS NOT NULL)");
        } else {
            sql.push(" AND (d.missing_since IS NOT NULL OR d.link_id = ANY(").push_bind(lapsed).push(")))");
        }
    }

    fn push_grace_over(&self, sql: &mut QueryBuilder<Postgres>, over: bool) {
        sql.push(if over { " AND " } else { " AND NOT " });
        sql.push("coalesce(d.grace_expires_at <= ").push_bind(self.eyes.now).push(", false)");
    }

    fn push_filter(&self, sql: &mut QueryBuilder<Postgres>) {
        if let Some(os) = &self.filter.os {
            sql.push(" AND d.os = ").push_bind(os.clone());
        }
        if let Some(owner) = &self.filter.owner {
            sql.push(" AND d.owner = ").push_bind(owner.clone());
        }
        if let Some(link) = self.filter.link {
            sql.push(" AND d.link_id = ").push_bind(link.uuid());
        }
        if self.filter.missing {
            sql.push(" AND d.missing_since IS NOT NULL");
        }
        if self.filter.hot {
            sql.push(" AND d.next_look_at IS NOT NULL");
        }
        if self.filter.held {
            sql.push(
                " AND EXISTS (SELECT FROM command c WHERE c.org_id = d.org_id AND c.device_id = d.id
                              AND c.link_id = d.link_id AND c.state = 'held')",
            );
        }
    }
}

/// The operating systems of the fleet, for a filter: one index probe each, at most `limit`.
pub async fn systems(tx: &mut OrgTx, limit: i64) -> Result<Vec<String>> {
    let org = tx.org().uuid();
    let rows = sqlx::query_scalar!(
        r#"WITH RECURSIVE found AS (
               SELECT (SELECT os FROM device WHERE org_id = $1 AND os IS NOT NULL ORDER BY os LIMIT 1) AS os, 1 AS n
               UNION ALL
               SELECT (SELECT d.os FROM device d WHERE d.org_id = $1 AND d.os > found.os ORDER BY d.os LIMIT 1), n + 1
               FROM found WHERE found.os IS NOT NULL AND n < $2
           )
           SELECT os AS "os!" FROM found WHERE os IS NOT NULL"#,
        org,
        i32::try_from(limit).unwrap_or(i32::MAX),
    )
    .fetch_all(tx.conn())
    .await?;
    Ok(rows)
}
