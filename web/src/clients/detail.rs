//! One client: its device, its sessions, its story.

use askama::Template;
use axum::extract::{Path, State};
use axum::response::Response;
use domain::{Mac, OrgId, SessionId};
use store::views::clients::{ClientRow, CommandRow, DeviceView, TransitionRow};
use store::views::events::{EventFilter, EventRow};
use time::Duration;

use crate::app::App;
use crate::error::PageError;
use crate::shell::{Area, Shell, page};
use crate::ui;
use crate::visit::Member;

#[derive(Template)]
#[template(path = "clients/detail.html")]
struct Page {
    shell: Shell,
    base: String,
    events: String,
    sessions_path: String,
    simulate: String,
    identity_providers: String,
    title: String,
    latest: ClientRow,
    sessions: Vec<ClientRow>,
    device: Option<DeviceView>,
    transitions: Vec<TransitionRow>,
    commands: Vec<CommandRow>,
    story: Vec<EventRow>,
}

/// `GET /orgs/{org_id}/clients/{mac}`
pub(super) async fn by_mac(
    member: Member,
    State(app): State<App>,
    Path((_, mac)): Path<(OrgId, String)>,
) -> Result<Response, PageError> {
    let mac: Mac = mac.parse().map_err(|_| PageError::NotFound)?;
    let mut tx = member.tx(&app).await?;
    let sessions = store::views::clients::sessions(&mut tx, mac, 20).await?;
    tx.commit().await?;
    let filter = EventFilter { mac: Some(mac), ..EventFilter::default() };
    show(&member, &app, mac.to_string(), sessions, filter).await
}

/// `GET /orgs/{org_id}/sessions/{session_id}`: a client without a MAC address, or one session of it.
pub(super) async fn by_session(
    member: Member,
    State(app): State<App>,
    Path((_, id)): Path<(OrgId, SessionId)>,
) -> Result<Response, PageError> {
    let mut tx = member.tx(&app).await?;
    let session = store::views::clients::session(&mut tx, id).await?.ok_or(PageError::NotFound)?;
    tx.commit().await?;
    let title = session.mac.map_or_else(|| session.session_key.clone(), |mac| mac.to_string());
    let filter = EventFilter { session: Some(id), ..EventFilter::default() };
    show(&member, &app, title, vec![session], filter).await
}

async fn show(
    member: &Member,
    app: &App,
    title: String,
    sessions: Vec<ClientRow>,
    filter: EventFilter,
) -> Result<Response, PageError> {
    let now = member.now();
    let latest = sessions.first().cloned().ok_or(PageError::NotFound)?;
    let filter = EventFilter { from: Some(now - Duration::days(30)), ..filter };
    let ids: Vec<_> = sessions.iter().map(|row| row.session).collect();
    let mut tx = member.tx(app).await?;
    let story = store::views::events::list(&mut tx, &filter, None, 60).await?;
    let commands = store::views::clients::commands(&mut tx, &ids, 20).await?;
    // The session that goes on may not know its device; an earlier one may.
    let known = sessions.iter().find_map(|row| row.link.zip(row.device));
    let (device, transitions) = match known {
        Some((link, device)) => (
            store::views::clients::device(&mut tx, link, device).await?,
            store::views::clients::transitions(&mut tx, device, 20).await?,
        ),
        None => (None, Vec::new()),
    };
    tx.commit().await?;
    page(&Page {
        shell: member.shell(Area::Clients).await?,
        base: member.path("clients"),
        events: member.path("events"),
        sessions_path: member.path("sessions"),
        simulate: member.path("auth-policies/simulate"),
        identity_providers: member.path("identity-providers"),
        title,
        latest,
        sessions,
        device,
        transitions,
        commands,
        story,
    })
}
