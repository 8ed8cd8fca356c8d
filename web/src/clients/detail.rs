//! One client, or one session of it: what is known now, and all that happened.

use askama::Template;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Redirect, Response};
use domain::{DeviceId, LinkId, Mac, OrgId, SessionId};
use store::views::clients::{ClientRow, DeviceView};
use store::views::events::EventFilter;
use store::views::timeline::{What, Whose};
use store::{OrgTx, StoreError};
use time::{Duration, OffsetDateTime};

use crate::app::App;
use crate::error::PageError;
use crate::shell::{Area, Shell, page};
use crate::ui;
use crate::visit::Member;

use super::timeline::{self, About, Asked, Timeline};

/// The sessions that tell which devices a client was taken for.
const SESSIONS_MAX: i64 = 20;
/// The first decision on a session comes before its first accounting.
const BEFORE_ACCOUNTING: Duration = Duration::minutes(1);

#[derive(Template)]
#[template(path = "clients/detail.html")]
struct Page {
    shell: Shell,
    base: String,
    events: String,
    devices: String,
    holds: String,
    sessions_path: String,
    simulate: String,
    identity_providers: String,
    title: String,
    latest: ClientRow,
    /// Of one session: the page of its client.
    whole: Option<String>,
    device: Option<DeviceView>,
    timeline: Timeline,
}

/// `GET /orgs/{org_id}/clients/{mac}`
pub(super) async fn by_mac(
    member: Member,
    State(app): State<App>,
    Path((_, mac)): Path<(OrgId, String)>,
    Query(asked): Query<Asked>,
) -> Result<Response, PageError> {
    let mac: Mac = mac.parse().map_err(|_| PageError::NotFound)?;
    let mut tx = member.tx(&app).await?;
    let sessions = store::views::clients::sessions(&mut tx, mac, SESSIONS_MAX).await?;
    // Of a client that its edge refused before it asked nothing was decided: it has a history, and no session.
    let is_refused = sessions.is_empty() && has_history(&mut tx, mac, member.now()).await?;
    tx.commit().await?;
    if is_refused {
        return Ok(Redirect::to(&member.path(&format!("events?mac={mac}&window=30d"))).into_response());
    }
    let about = About {
        whose: Whose::Client(mac),
        devices: devices(&sessions),
        stay: None,
        mac: Some(mac),
        path: member.path(&format!("clients/{mac}")),
    };
    show(&member, &app, mac.to_string(), sessions, None, about, &asked).await
}

/// `GET /orgs/{org_id}/sessions/{session_id}`: a client without a MAC address, or one session of it.
pub(super) async fn by_session(
    member: Member,
    State(app): State<App>,
    Path((_, id)): Path<(OrgId, SessionId)>,
    Query(asked): Query<Asked>,
) -> Result<Response, PageError> {
    let mut tx = member.tx(&app).await?;
    let session = store::views::clients::session(&mut tx, id).await?.ok_or(PageError::NotFound)?;
    tx.commit().await?;
    let title = session.mac.map_or_else(|| session.session_key.clone(), |mac| mac.to_string());
    let began = session.decided_at.map_or(session.started_at, |decided| decided.min(session.started_at));
    let about = About {
        whose: Whose::Session(id),
        devices: devices(std::slice::from_ref(&session)),
        stay: Some((began - BEFORE_ACCOUNTING, session.ended_at)),
        mac: session.mac,
        path: member.path(&format!("sessions/{id}")),
    };
    let whole = session.mac.map(|mac| member.path(&format!("clients/{mac}")));
    show(&member, &app, title, vec![session], whole, about, &asked).await
}

async fn has_history(tx: &mut OrgTx, mac: Mac, now: OffsetDateTime) -> Result<bool, StoreError> {
    let filter =
        EventFilter { mac: Some(mac), from: Some(now - Duration::days(30)), ..EventFilter::default() };
    Ok(!store::views::events::list(tx, &filter, None, 1).await?.rows.is_empty())
}

/// The devices that some sessions' clients were taken for, in the order of the sessions.
fn devices(sessions: &[ClientRow]) -> Vec<(LinkId, DeviceId)> {
    let mut devices = Vec::new();
    for device in sessions.iter().filter_map(|row| row.link.zip(row.device)) {
        if !devices.contains(&device) {
            devices.push(device);
        }
    }
    devices
}

async fn show(
    member: &Member,
    app: &App,
    title: String,
    sessions: Vec<ClientRow>,
    whole: Option<String>,
    about: About,
    asked: &Asked,
) -> Result<Response, PageError> {
    let latest = sessions.into_iter().next().ok_or(PageError::NotFound)?;
    let mut tx = member.tx(app).await?;
    // The session that goes on may not know its device; an earlier one may.
    let device = match about.devices.first() {
        Some((link, device)) => store::views::clients::device(&mut tx, *link, *device).await?,
        None => None,
    };
    let timeline = timeline::read(&mut tx, about, asked, member.now()).await?;
    tx.commit().await?;
    page(&Page {
        shell: member.shell(Area::Clients).await?,
        base: member.path("clients"),
        events: member.path("events"),
        devices: member.path("devices"),
        holds: member.path("holds"),
        sessions_path: member.path("sessions"),
        simulate: member.path("auth-policies/simulate"),
        identity_providers: member.path("identity-providers"),
        title,
        latest,
        whole,
        device,
        timeline,
    })
}
