//! One edge: how it stands, its credentials, and what can be changed.

use askama::Template;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use axum_extra::extract::Form;
use domain::policy::FieldError;
use domain::{EdgeId, OrgId};
use serde::Deserialize;
use store::edges::{self, change};
use store::views::sites::{self as views, EdgeView, FailedCommand};
use time::{Duration, OffsetDateTime};

use crate::app::App;
use crate::chart::{self, Column};
use crate::error::PageError;
use crate::form::Errors;
use crate::session::Flash;
use crate::shell::{Area, Shell, page_as};
use crate::ui;
use crate::visit::Member;

use super::check_name;
use super::credentials::{self, ChangeOver, OVERLAPS, Shown, Standing};
use super::health::{self, Finding};
use super::list::rate;

/// Minutes in the chart.
const MINUTES: i32 = 60;
const FAILED_MAX: i64 = 10;

#[derive(Template)]
#[template(path = "sites/edge.html")]
struct Page {
    shell: Shell,
    base: String,
    here: String,
    events: String,
    sessions: String,
    clients: String,
    edge: EdgeView,
    findings: Vec<Finding>,
    credentials: Vec<Shown>,
    change_over: Option<ChangeOver>,
    callers: Vec<(String, OffsetDateTime)>,
    rate: String,
    chart: String,
    columns: Vec<Column>,
    failed: Vec<FailedCommand>,
    /// What was typed.
    name: String,
    errors: Errors,
}

async fn show(
    member: &Member,
    app: &App,
    id: EdgeId,
    typed: Option<String>,
    errors: Vec<FieldError>,
) -> Result<Response, PageError> {
    let now = member.now();
    let from = now.truncate_to_minute() - Duration::minutes(i64::from(MINUTES) - 1);
    let mut tx = member.tx(app).await?;
    let edge = views::edge(&mut tx, id, now).await?.ok_or(PageError::NotFound)?;
    let rows = edges::credentials_of(&mut tx, id).await?;
    let callers = views::callers(&mut tx, id).await?;
    let counts = views::minutes(&mut tx, id, from).await?;
    let failed = views::failed(&mut tx, id, now, FAILED_MAX).await?;
    tx.commit().await?;
    let (credentials, change_over) = credentials::shown(rows, now);
    let columns = chart::columns(&counts, from, Duration::MINUTE, MINUTES);
    let status = if errors.is_empty() { StatusCode::OK } else { StatusCode::UNPROCESSABLE_ENTITY };
    let view = Page {
        shell: member.shell(Area::Sites).await?,
        base: member.path("sites"),
        here: member.path(&format!("sites/edges/{id}")),
        events: member.path("events"),
        sessions: member.path("sessions"),
        clients: member.path("clients"),
        findings: health::findings(&edge, now),
        credentials,
        change_over,
        callers,
        rate: rate(edge.decisions),
        chart: chart::svg(&columns, Duration::MINUTE),
        columns,
        failed,
        name: typed.unwrap_or_else(|| edge.name.clone()),
        errors: Errors(errors),
        edge,
    };
    page_as(status, &view)
}

/// The page again, with what is wrong with a form of it.
pub(super) async fn refused(
    member: &Member,
    app: &App,
    id: EdgeId,
    typed: Option<String>,
    errors: Vec<FieldError>,
) -> Result<Response, PageError> {
    show(member, app, id, typed, errors).await
}

/// `GET /orgs/{org_id}/sites/edges/{edge_id}`
pub(super) async fn get(
    member: Member,
    State(app): State<App>,
    Path((_, id)): Path<(OrgId, EdgeId)>,
) -> Result<Response, PageError> {
    show(&member, &app, id, None, Vec::new()).await
}

#[derive(Deserialize)]
pub(super) struct RenameForm {
    #[serde(default)]
    name: String,
}

/// `POST /orgs/{org_id}/sites/edges/{edge_id}`
pub(super) async fn rename(
    member: Member,
    State(app): State<App>,
    Path((_, id)): Path<(OrgId, EdgeId)>,
    Form(form): Form<RenameForm>,
) -> Result<Response, PageError> {
    let name = form.name.trim();
    if let Some(error) = check_name(name) {
        return refused(&member, &app, id, Some(form.name), vec![error]).await;
    }
    let mut tx = member.tx(&app).await?;
    match change::rename(&mut tx, &app.ids, member.now(), &member.actor(), id, name).await {
        Ok(true) => {
            tx.commit().await?;
            member.flash(Flash::good(format!("The edge is called “{name}” now."))).await?;
            Ok(Redirect::to(&member.path(&format!("sites/edges/{id}"))).into_response())
        }
        Ok(false) => Err(PageError::NotFound),
        Err(error) if error.unique_violation() == Some("edge_name") => {
            drop(tx);
            let error =
                FieldError::new("name", "taken", "Another edge has this name: choose one of its own.");
            refused(&member, &app, id, Some(form.name), vec![error]).await
        }
        Err(error) => Err(error.into()),
    }
}

#[derive(Deserialize)]
pub(super) struct SwitchForm {
    /// `on` or `off`.
    #[serde(default)]
    to: String,
}

/// `POST /orgs/{org_id}/sites/edges/{edge_id}/switch`
pub(super) async fn switch(
    member: Member,
    State(app): State<App>,
    Path((_, id)): Path<(OrgId, EdgeId)>,
    Form(form): Form<SwitchForm>,
) -> Result<Response, PageError> {
    let on = match form.to.as_str() {
        "on" => true,
        "off" => false,
        _ => {
            let error = FieldError::new("to", "unknown", "Choose whether the edge is switched on or off.");
            return refused(&member, &app, id, None, vec![error]).await;
        }
    };
    let mut tx = member.tx(&app).await?;
    let done = change::switch(&mut tx, &app.ids, member.now(), &member.actor(), id, on).await?;
    done.ok_or(PageError::NotFound)?;
    tx.commit().await?;
    let flash = if on {
        Flash::good("The edge is switched on: its valid tokens are good again.")
    } else {
        Flash::good("The edge is switched off: all of its tokens are refused from now on.")
    };
    member.flash(flash).await?;
    Ok(Redirect::to(&member.path(&format!("sites/edges/{id}"))).into_response())
}
