//! One device: what is known, what a decision makes of it, what happened, and who it may be taken for.

use askama::Template;
use axum::extract::{Path, Query, State};
use axum::response::Response;
use domain::compliance::Compliance;
use domain::device::DeviceFacts;
use domain::resolver::{LookupKey, keys_of};
use domain::{DeviceId, LinkId, OrgId};
use serde::Deserialize;
use serde_json::Value;
use store::OrgTx;
use store::views::devices::{self, DetailRow, DeviceCommand, HistoryRow, MatchedSession, WaitingLook};
use time::{Duration, OffsetDateTime};

use crate::app::App;
use crate::error::PageError;
use crate::shell::{Area, Shell, page};
use crate::ui;
use crate::visit::Member;

use super::explain;

/// A look that was asked for longer ago than this is not told about any more.
const ASKED_LATELY: Duration = Duration::hours(1);

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Asked {
    /// When "Check now" was pressed, in seconds since 1970.
    asked: Option<i64>,
}

impl Asked {
    pub(super) const fn at(at: OffsetDateTime) -> Self {
        Self { asked: Some(at.unix_timestamp()) }
    }

    fn when(self, now: OffsetDateTime) -> Option<OffsetDateTime> {
        let at = OffsetDateTime::from_unix_timestamp(self.asked?).ok()?;
        (at <= now && now - at < ASKED_LATELY).then_some(at)
    }

    /// As an address has it.
    pub(super) fn query(self) -> String {
        self.asked.map_or_else(String::new, |seconds| format!("?asked={seconds}"))
    }
}

/// Where a look that somebody asked for stands.
pub(crate) enum Check {
    None,
    Waiting(WaitingLook),
    /// The record was read since then.
    Answered(OffsetDateTime),
    /// It is not waited for any more, and the record was not read.
    Unanswered(OffsetDateTime),
}

/// What a page of the device shows first, and what changes while it is looked at.
pub(super) struct Standing {
    pub device: DetailRow,
    pub compliance: Compliance,
    pub confirmed_at: OffsetDateTime,
    pub why: Vec<String>,
    pub check: Check,
    pub stale_after: String,
}

impl Standing {
    pub(super) fn is_waiting(&self) -> bool {
        matches!(self.check, Check::Waiting(_))
    }
}

pub(super) async fn standing(
    tx: &mut OrgTx,
    link: LinkId,
    id: DeviceId,
    asked: Asked,
    now: OffsetDateTime,
) -> Result<Option<Standing>, PageError> {
    let Some(device) = devices::one(tx, link, id).await? else { return Ok(None) };
    let snapshot = store::orgs::snapshot(tx).await?.ok_or(PageError::NotFound)?;
    let waiting = devices::waiting(tx, link, &keys_of(&device.facts)).await?;
    let compliance = explain::seen(&device.facts, &snapshot.links, &snapshot.settings, now);
    let why = explain::why(&device.facts, &compliance, &snapshot.links, &snapshot.settings, now);
    let confirmed_at = compliance.fetched_at.unwrap_or(device.facts.fetched_at);
    let check = match (waiting, asked.when(now)) {
        (Some(look), _) => Check::Waiting(look),
        (None, Some(asked)) if confirmed_at >= asked => Check::Answered(confirmed_at),
        (None, Some(asked)) => Check::Unanswered(asked),
        (None, None) => Check::None,
    };
    let stale_after = crate::format::exact_span(snapshot.settings.stale_after_seconds.into());
    Ok(Some(Standing { device, compliance, confirmed_at, why, check, stale_after }))
}

/// The part of the page that a look changes.
#[derive(Template)]
#[template(path = "devices/standing.html")]
pub(super) struct StandingPart<'a> {
    pub standing: &'a Standing,
    pub identity_providers: &'a str,
    pub now: OffsetDateTime,
}

/// A key that other devices bear as well.
struct Shared {
    kind: &'static str,
    value: String,
    effect: &'static str,
    others: Vec<DeviceFacts>,
}

#[derive(Template)]
#[template(path = "devices/detail.html")]
struct Page {
    shell: Shell,
    base: String,
    clients: String,
    sessions_path: String,
    events: String,
    holds: String,
    identity_providers: String,
    asked: Asked,
    now: OffsetDateTime,
    title: String,
    standing: Standing,
    sessions: Vec<MatchedSession>,
    commands: Vec<DeviceCommand>,
    history: Vec<HistoryRow>,
    shared: Vec<Shared>,
    fields: Vec<(String, String)>,
    raw: Option<String>,
}

#[derive(Template)]
#[template(path = "devices/gone.html")]
struct Gone {
    shell: Shell,
    base: String,
    id: DeviceId,
    now: OffsetDateTime,
    history: Vec<HistoryRow>,
}

/// `GET /orgs/{org_id}/devices/{link_id}/{device_id}`
pub(super) async fn get(
    member: Member,
    State(app): State<App>,
    Path((_, link, id)): Path<(OrgId, LinkId, DeviceId)>,
    Query(asked): Query<Asked>,
) -> Result<Response, PageError> {
    let now = member.now();
    let mut tx = member.tx(&app).await?;
    let history = devices::history(&mut tx, link, id, 50).await?;
    let Some(standing) = standing(&mut tx, link, id, asked, now).await? else {
        tx.commit().await?;
        if history.is_empty() {
            return Err(PageError::NotFound);
        }
        let shell = member.shell(Area::Devices).await?;
        return page(&Gone { shell, base: member.path("devices"), id, now, history });
    };
    let facts = &standing.device.facts;
    let sessions = devices::sessions(&mut tx, link, id, 20).await?;
    let ids: Vec<_> = sessions.iter().map(|session| session.id).collect();
    let commands = devices::commands(&mut tx, &ids, 20).await?;
    let shared = devices::twins(&mut tx, facts).await?;
    tx.commit().await?;

    let shared = shared.into_iter().map(|twin| {
        let (kind, value) = explain::key_words(&twin.key);
        Shared { kind, value, effect: effect(&twin.key), others: twin.others }
    });
    page(&Page {
        shell: member.shell(Area::Devices).await?,
        base: member.path("devices"),
        clients: member.path("clients"),
        sessions_path: member.path("sessions"),
        events: member.path("events"),
        holds: member.path("holds"),
        identity_providers: member.path("identity-providers"),
        asked,
        now,
        title: facts.name.clone().unwrap_or_else(|| format!("Device {id}")),
        shared: shared.collect(),
        fields: standing.device.raw.as_ref().map(fields).unwrap_or_default(),
        raw: standing.device.raw.as_ref().and_then(|raw| serde_json::to_string_pretty(raw).ok()),
        sessions,
        commands,
        history,
        standing,
    })
}

/// What it means for clients that several devices bear a key.
const fn effect(key: &LookupKey) -> &'static str {
    match key {
        LookupKey::Mac(_) => {
            "Docks and adapters are passed around, and two records of one device share its address. A client that \
             shows nothing but this address matches none of them: its compliance is ambiguous, and so unknown."
        }
        LookupKey::Name(_) => {
            "A client whose certificate carries only this name matches none of them: its compliance is ambiguous, and \
             so unknown."
        }
        LookupKey::Serial(_) => {
            "Often a device that was enrolled again, or a serial number that its maker did not set. A client that is \
             known by it alone is ambiguous, and so unknown."
        }
        LookupKey::IntuneId(_) | LookupKey::EntraId(_) => {
            "Often two records of one device. A client that is known by this id alone is ambiguous, and so unknown."
        }
    }
}

/// The record's own fields, by name.
fn fields(raw: &Value) -> Vec<(String, String)> {
    let Value::Object(raw) = raw else { return Vec::new() };
    let mut fields: Vec<_> = raw
        .iter()
        .map(|(name, value)| {
            let text = match value {
                Value::String(text) => text.clone(),
                Value::Null => String::new(),
                other => other.to_string(),
            };
            (name.clone(), text)
        })
        .collect();
    fields.sort();
    fields
}
