//! Testing an edge: does it call, with which token, do clocks agree, do commands get through, could it decide without
//! Gatehouse, and what would a client get. Nothing that is tried here touches a client.

use std::time::Duration as Wait;

use askama::Template;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use cache::BusMessage;
use domain::{EdgeId, OrgId};
use store::edge_status::{self, PROBE_FOR};
use store::edges;
use store::views::sites::{self as views, EdgeHeard};
use time::{Duration, OffsetDateTime};

use crate::app::App;
use crate::error::PageError;
use crate::form::Errors;
use crate::format;
use crate::live::{self, Pace, Part};
use crate::shell::{Area, Shell, page_as};
use crate::ui;
use crate::visit::Member;

use super::credentials::{self, Shown, Standing};
use super::health::{Tone, skew_words};
use super::tryout::{self, Tried, TryForm};

/// Who called within this calls now.
const NOW: Duration = Duration::minutes(5);

/// One step of the test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    pub tone: Tone,
    /// It is not over yet.
    pub waits: bool,
    /// It is said aloud where it changes.
    pub aloud: bool,
    pub title: &'static str,
    /// A sentence without its end, behind which stands how long ago `at` is.
    pub text: String,
    pub at: Option<OffsetDateTime>,
    /// How it was found out, or what to do.
    pub hint: String,
}

impl Step {
    fn new(tone: Tone, title: &'static str, text: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { tone, waits: false, aloud: false, title, text: text.into(), at: None, hint: hint.into() }
    }

    fn at(self, at: OffsetDateTime) -> Self {
        Self { at: Some(at), ..self }
    }
}

/// Whether an answer to a probe may still come.
fn is_waiting(edge: &EdgeHeard, now: OffsetDateTime) -> bool {
    edge.probe.as_ref().is_some_and(|probe| probe.answered_at.is_none() && now - probe.at < PROBE_FOR)
}

/// The steps, in the order in which things depend on each other.
fn steps(edge: &EdgeHeard, tokens: &[Shown], now: OffsetDateTime) -> Vec<Step> {
    let commands = Step { aloud: true, ..commands(edge, now) };
    vec![calls(edge, now), token(edge, tokens, now), clock(edge), commands, alone(edge, now)]
}

fn calls(edge: &EdgeHeard, now: OffsetDateTime) -> Step {
    const TITLE: &str = "It calls";
    if edge.disabled_at.is_some() {
        return Step::new(Tone::Bad, TITLE, "It is switched off, so it is refused", "Switch it on first.");
    }
    let Some(at) = edge.last_seen_at else {
        let hint = "Connect it. Who calls with a wrong token is not known to be this edge.";
        return Step::new(Tone::Bad, TITLE, "Nothing was heard of it yet", hint);
    };
    if now - at < NOW {
        let program = edge.caller.as_deref().map(|name| format!("By its User-Agent: {name}."));
        Step::new(Tone::Good, TITLE, "It last called", program.unwrap_or_default()).at(at)
    } else {
        let hint = "Let a client authenticate, or restart its agent.";
        Step::new(Tone::Warn, TITLE, "It last called", hint).at(at)
    }
}

fn token(edge: &EdgeHeard, tokens: &[Shown], now: OffsetDateTime) -> Step {
    const TITLE: &str = "Its token is good";
    let Some((used, at)) =
        tokens.iter().find(|token| token.latest).and_then(|token| Some((token, token.row.last_used_at?)))
    else {
        let (tone, text) = match edge.credentials {
            0 => (Tone::Bad, "It has no valid token"),
            _ => (Tone::Idle, "No token was used yet"),
        };
        return Step::new(tone, TITLE, text, "Tokens are made on the edge's page.");
    };
    let prefix = &used.row.prefix;
    let step = match used.standing {
        Standing::Good => Step::new(Tone::Good, TITLE, format!("{prefix} was used"), ""),
        Standing::Ends(end) => {
            let text = format!("{prefix} ends on {}, and was used", format::stamp(end, now));
            Step::new(Tone::Warn, TITLE, text, "Put the newer token into the edge before that.")
        }
        Standing::Ended(_) | Standing::Revoked(_) => {
            let text = format!("{prefix} is refused now, and was used");
            Step::new(Tone::Bad, TITLE, text, "Put a valid token into the edge.")
        }
    };
    step.at(at)
}

fn clock(edge: &EdgeHeard) -> Step {
    const TITLE: &str = "Its clock agrees";
    let Some((skew, at)) = edge.skew else {
        let hint = "The FreeRADIUS package and the agent send their time with each request.";
        return Step::new(Tone::Idle, TITLE, "It does not tell its time", hint);
    };
    let tone = match skew.unsigned_abs() {
        0..=5_000 => Tone::Good,
        5_001..=300_000 => Tone::Warn,
        _ => Tone::Bad,
    };
    let hint = "What it says in the header Gatehouse-Clock, against our time as the request came.";
    Step::new(tone, TITLE, format!("It is {}, as seen", skew_words(skew)), hint).at(at)
}

/// By which way it asks for commands, in words.
pub(super) fn channel_words(edge: &EdgeHeard) -> &'static str {
    match (edge.streamed_at, edge.polled_at) {
        (Some(streamed), polled) if polled.is_none_or(|polled| polled <= streamed) => "a stream",
        _ => "a long poll",
    }
}

fn commands(edge: &EdgeHeard, now: OffsetDateTime) -> Step {
    const TITLE: &str = "Commands get through";
    let Some(probe) = &edge.probe else {
        let hint = "Press “Test now”: a command that does nothing goes out.";
        return match edge.listened_at() {
            Some(at) => {
                let text = format!("It asked for commands by {}", channel_words(edge));
                Step::new(Tone::Idle, TITLE, text, hint).at(at)
            }
            None => Step::new(Tone::Idle, TITLE, "Nobody asked for its commands yet", hint),
        };
    };
    if let Some(answered) = probe.answered_at {
        let took = ui::took(probe.at, answered);
        let text = format!("A command and its answer took {took} by {},", channel_words(edge));
        let said = if probe.result.is_empty() { "It said nothing more." } else { probe.result.as_str() };
        return Step::new(Tone::Good, TITLE, text, said).at(answered);
    }
    if now - probe.at < PROBE_FOR {
        let text = if probe.given_at.is_some() {
            "The edge has the command; its answer is awaited"
        } else {
            "The command waits for the edge to fetch it"
        };
        let hint = match edge.listened_at() {
            Some(_) => String::new(),
            None => "Nobody asked for this edge's commands yet: does its agent run?".to_owned(),
        };
        return Step { waits: true, ..Step::new(Tone::Idle, TITLE, text, hint) };
    }
    if probe.given_at.is_some() {
        let text = "The edge fetched the command, and never answered; that was";
        return Step::new(Tone::Bad, TITLE, text, "Look into the agent's log.").at(probe.at);
    }
    match edge.listened_at() {
        Some(at) => {
            let text = "Nobody fetched the command; commands were last asked for";
            Step::new(Tone::Bad, TITLE, text, "Does its agent still run?").at(at)
        }
        None => Step::new(
            Tone::Warn,
            TITLE,
            "No agent asks for this edge's commands",
            "Clients are moved only when they authenticate again. Run “gatehouse edge” beside it.",
        ),
    }
}

fn alone(edge: &EdgeHeard, now: OffsetDateTime) -> Step {
    const TITLE: &str = "It can decide without Gatehouse";
    let Some((report, at)) = &edge.report else {
        let hint = "Run “gatehouse edge” beside it: it decides from a bundle while Gatehouse is away.";
        return Step::new(Tone::Warn, TITLE, "No agent told how it stands", hint);
    };
    if now - *at > NOW {
        return Step::new(Tone::Bad, TITLE, "Its agent last told how it stands", "Does it still run?")
            .at(*at);
    }
    let Some(bundle) = report.bundle else {
        let hint = "Does its file name the bundle key, and does Gatehouse sign bundles?";
        return Step::new(Tone::Bad, TITLE, "Its agent holds no bundle", hint);
    };
    let tone = match now - bundle.issued_at {
        _ if bundle.over => Tone::Bad,
        age if age > Duration::HOUR => Tone::Warn,
        _ => Tone::Good,
    };
    let hint = match report.waiting {
        0 => format!("Agent {}; nothing waits on its disk.", report.version),
        n => format!("Agent {}; {n} messages wait on its disk.", report.version),
    };
    Step::new(tone, TITLE, format!("It holds bundle {}, signed", bundle.version), hint).at(bundle.issued_at)
}

#[derive(Template)]
#[template(path = "sites/steps.html")]
struct StepsPart<'a> {
    steps: &'a [Step],
    now: OffsetDateTime,
}

#[derive(Template)]
#[template(path = "sites/test.html")]
struct Page {
    shell: Shell,
    base: String,
    simulate: String,
    edge: EdgeHeard,
    steps: Vec<Step>,
    waits: bool,
    form: TryForm,
    is_sample: bool,
    tried: Option<Tried>,
    errors: Errors,
}

/// `GET /orgs/{org_id}/sites/edges/{edge_id}/test?mac=&auth_type=&port_type=&vendor=&ssid=`
pub(super) async fn get(
    member: Member,
    State(app): State<App>,
    Path((_, id)): Path<(OrgId, EdgeId)>,
    Query(typed): Query<TryForm>,
) -> Result<Response, PageError> {
    let now = member.now();
    let mut tx = member.tx(&app).await?;
    let edge = views::heard(&mut tx, id, now).await?.ok_or(PageError::NotFound)?;
    let (tokens, _) = credentials::shown(edges::credentials_of(&mut tx, id).await?, now);
    let tryout = tryout::run(&mut tx, &member, &edge, typed, now).await?;
    tx.commit().await?;
    let (tried, errors) = match tryout.outcome {
        Ok(tried) => (tried, Vec::new()),
        Err(errors) => (None, errors),
    };
    let status = if errors.is_empty() { StatusCode::OK } else { StatusCode::UNPROCESSABLE_ENTITY };
    let view = Page {
        shell: member.shell(Area::Sites).await?,
        base: member.path("sites"),
        simulate: member.path("auth-policies/simulate"),
        steps: steps(&edge, &tokens, now),
        waits: is_waiting(&edge, now),
        form: tryout.form,
        is_sample: tryout.is_sample,
        tried,
        errors: Errors(errors),
        edge,
    };
    page_as(status, &view)
}

/// `POST /orgs/{org_id}/sites/edges/{edge_id}/test`: a command that does nothing goes to the edge.
pub(super) async fn post(
    member: Member,
    State(app): State<App>,
    Path((_, id)): Path<(OrgId, EdgeId)>,
) -> Result<Response, PageError> {
    let mut tx = member.tx(&app).await?;
    let probe = edge_status::ask_probe(&mut tx, &app.ids, member.now(), &member.actor(), id).await?;
    probe.ok_or(PageError::NotFound)?;
    tx.commit().await?;
    Ok(Redirect::to(&member.path(&format!("sites/edges/{id}/test"))).into_response())
}

/// `GET /orgs/{org_id}/sites/edges/{edge_id}/test/live`: each message is the steps, where they changed.
pub(super) async fn live(
    member: Member,
    State(app): State<App>,
    Path((_, id)): Path<(OrgId, EdgeId)>,
) -> Result<Response, PageError> {
    live::part(app, member, Steps(id)).await
}

struct Steps(EdgeId);

impl Part for Steps {
    const PACE: Pace = Pace { look_every: Wait::from_secs(2), gather: Wait::from_millis(250) };

    /// What is heard of an edge is told by no signal: it is looked for often enough.
    fn is_concerned(&self, _: OrgId, _: &BusMessage) -> bool {
        false
    }

    async fn render(&self, app: &App, member: &Member) -> Result<Option<String>, PageError> {
        let now = app.now();
        let mut tx = member.tx(app).await?;
        let Some(edge) = views::heard(&mut tx, self.0, now).await? else { return Ok(None) };
        let (tokens, _) = credentials::shown(edges::credentials_of(&mut tx, self.0).await?, now);
        tx.commit().await?;
        let steps = steps(&edge, &tokens, now);
        Ok(Some(StepsPart { steps: &steps, now }.render()?))
    }
}
