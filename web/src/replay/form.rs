//! Which decisions to make again, with which policy and which facts.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use axum_extra::extract::Form;
use domain::policy::replay::Facts;
use domain::policy::{CompiledPolicy, FieldError};
use policy::replay::{Job, State as Stands};
use serde::Deserialize;
use time::{Duration, OffsetDateTime};

use crate::app::App;
use crate::error::PageError;
use crate::form::Errors;
use crate::shell::{Area, Shell, page_as};
use crate::ui;
use crate::visit::Member;

/// The windows to choose from: their word, their text, and their length in hours.
const WINDOWS: &[(&str, &str, i64)] = &[
    ("1h", "last hour", 1),
    ("6h", "last 6 hours", 6),
    ("24h", "last 24 hours", 24),
    ("3d", "last 3 days", 72),
    ("7d", "last 7 days", 168),
    ("30d", "last 30 days", 720),
];
/// Intune may be thought away for at most a year.
const HOURS_MAX: u32 = 8_760;

/// What is sent.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct ReplayForm {
    #[serde(default)]
    window: String,
    /// `draft` or `live`.
    #[serde(default)]
    against: String,
    /// `recorded`, `unreachable` or `stale`.
    #[serde(default)]
    facts: String,
    #[serde(default)]
    hours: String,
}

impl Default for ReplayForm {
    fn default() -> Self {
        Self {
            window: "24h".to_owned(),
            against: "draft".to_owned(),
            facts: "recorded".to_owned(),
            hours: "48".to_owned(),
        }
    }
}

/// An earlier replay.
struct Earlier {
    id: uuid::Uuid,
    name: String,
    window: String,
    facts: String,
    started_at: OffsetDateTime,
    started_by: String,
    stands: &'static str,
}

#[derive(Template)]
#[template(path = "replay/form.html")]
struct Page {
    shell: Shell,
    base: String,
    rules: String,
    form: ReplayForm,
    errors: Errors,
    refused: Option<String>,
    earlier: Vec<Earlier>,
    live: Option<i32>,
    stale_after: i64,
}

/// What facts are, in words.
pub(super) fn facts_words(facts: Facts) -> String {
    match facts {
        Facts::AsRecorded => "facts as recorded".to_owned(),
        Facts::IntuneUnreachable { seconds } => {
            let span = crate::format::exact_span(i64::from(seconds));
            format!("as if Intune had not been reached for {span} before each decision")
        }
        Facts::Stale => "as if every record were stale".to_owned(),
    }
}

/// `GET /orgs/{org_id}/auth-policies/replay`
pub(super) async fn get(member: Member, State(app): State<App>) -> Result<Response, PageError> {
    show(&member, &app, StatusCode::OK, ReplayForm::default(), Errors::default(), None).await
}

async fn show(
    member: &Member,
    app: &App,
    status: StatusCode,
    form: ReplayForm,
    errors: Errors,
    refused: Option<String>,
) -> Result<Response, PageError> {
    let mut tx = member.tx(app).await?;
    let org = store::orgs::get(&mut tx).await?.ok_or(PageError::NotFound)?;
    tx.commit().await?;
    let earlier = app.replays().list(member.org.id, member.now()).into_iter().map(|kept| Earlier {
        id: kept.id,
        name: kept.job.name.clone(),
        window: window_words(kept.job.to - kept.job.from),
        facts: facts_words(kept.job.facts),
        started_at: kept.started_at,
        started_by: kept.job.started_by.clone(),
        stands: match kept.progress().state {
            Stands::Running => "running",
            Stands::Done(_) => "done",
            Stands::Cancelled => "stopped",
            Stands::Failed => "failed",
        },
    });
    let template = Page {
        earlier: earlier.collect(),
        shell: member.shell(Area::AuthPolicies).await?,
        base: member.path("auth-policies/replay"),
        rules: member.path("auth-policies"),
        form,
        errors,
        refused,
        live: org.policy_version,
        stale_after: i64::from(org.settings.stale_after_seconds),
    };
    page_as(status, &template)
}

/// The length of a window, as it was chosen.
pub(super) fn window_words(length: Duration) -> String {
    let hours = length.whole_hours();
    let known = WINDOWS.iter().find(|(_, _, chosen)| *chosen == hours);
    known.map_or_else(|| crate::format::exact_span(length.whole_seconds()), |(_, text, _)| (*text).to_owned())
}

/// `POST /orgs/{org_id}/auth-policies/replay`
pub(super) async fn post(
    member: Member,
    State(app): State<App>,
    Form(form): Form<ReplayForm>,
) -> Result<Response, PageError> {
    let mut errors = Vec::new();
    let hours = WINDOWS.iter().find(|(word, _, _)| *word == form.window).map(|(_, _, hours)| *hours);
    if hours.is_none() {
        errors.push(FieldError::new("window", "bad_value", "Choose one of the windows."));
    }
    let facts = match form.facts.as_str() {
        "recorded" => Some(Facts::AsRecorded),
        "stale" => Some(Facts::Stale),
        "unreachable" => match form.hours.trim().parse::<u32>() {
            Ok(hours) if (1..=HOURS_MAX).contains(&hours) => {
                Some(Facts::IntuneUnreachable { seconds: hours * 3600 })
            }
            _ => {
                let message = format!("Write a whole number of hours, from 1 to {HOURS_MAX}.");
                errors.push(FieldError::new("hours", "bad_value", message));
                None
            }
        },
        _ => {
            errors.push(FieldError::new("facts", "bad_value", "Choose one of the three."));
            None
        }
    };
    let mut tx = member.tx(&app).await?;
    let org = store::orgs::get(&mut tx).await?.ok_or(PageError::NotFound)?;
    let against = crate::simulate::against(&mut tx, &form.against).await?;
    tx.commit().await?;
    if against.is_none() {
        let message = "Nothing is published yet: choose the draft.";
        errors.push(FieldError::new("against", "bad_value", message));
    }
    let (Some(hours), Some(facts), Some((name, version, doc))) = (hours, facts, against) else {
        let status = StatusCode::UNPROCESSABLE_ENTITY;
        return show(&member, &app, status, form, Errors(errors), None).await;
    };
    let now = member.now();
    let job = Job {
        org: member.org.id,
        from: now - Duration::hours(hours),
        to: now,
        facts,
        settings: org.settings,
        policy: Arc::new(CompiledPolicy::compile(version, &doc)),
        name,
        started_by: member.person.identity.name.clone(),
    };
    let id = app.ids.uuid(now);
    match app.replays().start(id, now, job) {
        Ok(()) => {
            let path = member.path(&format!("auth-policies/replay/{id}"));
            Ok(Redirect::to(&path).into_response())
        }
        Err(error) => {
            let refused = Some(format!("Nothing was started: {error}."));
            show(&member, &app, StatusCode::CONFLICT, form, Errors::default(), refused).await
        }
    }
}
