//! The page that a client is led to which a policy keeps apart: why, what to do, and “Check again”.
//!
//! It is for the person at the device, who has no account here. The token in the address says whose page it is and
//! is all that it takes; so the page shows what whoever holds the device may know, and nothing of other devices, of
//! people or of the policy. It works in the small browsers that open by themselves on a network with a sign-in page:
//! no script, no cookie, and no CSRF check, since without a cookie there is nothing to borrow, and with `no-referrer`
//! browsers would send `Origin: null`.
//!
//! “Check again” writes a wish for a look, which the sync fulfils; no request to Microsoft is made here.

mod language;
mod limits;
mod standing;
mod why;
mod words;

use std::time::Duration;

use askama::Template;
use axum::Router;
use axum::extract::rejection::PathRejection;
use axum::extract::{DefaultBodyLimit, Path, RawQuery, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::map_response;
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::get;
use cache::BusMessage;
use domain::event::{Event, EventKind};
use sealing::PageToken;
use store::StoreError;
use store::jobs::{self, JobKind};
use store::looks::{self, WishReason};
use time::OffsetDateTime;

use crate::app::App;
use crate::guard::is_https;
use crate::ui;

use language::Language;
use standing::{Asked, Check, Standing, State as Stands, Subject};
use why::Step;
use words::Words;

pub(crate) use limits::Limits;

/// Where the pages are: the token follows.
pub(crate) const PATH: &str = "/r/";

/// Nothing is sent here but an empty form.
const BODY_BYTES_MAX: usize = 4 * 1024;

/// The routes, with their own headers; the dashboard's layers must not go around them.
pub(crate) fn routes(app: &App) -> Router<App> {
    let transport = is_https(&app.config().public_url);
    Router::new()
        .route("/r/{token}", get(show).post(check))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(map_response(move |response: Response| async move { secured(response, transport) }))
}

/// No page of a client is kept, framed, indexed or told of; nothing is loaded but our own style and icons.
fn secured(mut response: Response, transport: bool) -> Response {
    const POLICY: &str = "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; \
                          frame-ancestors 'none'";
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (HeaderName::from_static("x-robots-tag"), "noindex, nofollow"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if transport {
        headers.insert(header::STRICT_TRANSPORT_SECURITY, HeaderValue::from_static("max-age=31536000"));
    }
    response
}

/// What the address says besides the token. Networks add words of their own to it, which do not matter.
struct Query {
    language: Language,
    asked: Asked,
}

impl Query {
    fn of(query: Option<&str>, headers: &HeaderMap) -> Self {
        let pairs = url::form_urlencoded::parse(query.unwrap_or_default().as_bytes());
        let (mut chosen, mut asked) = (None, Asked::default());
        for (name, value) in pairs {
            match &*name {
                "lang" => chosen = chosen.or_else(|| Language::coded(&value)),
                "asked" => asked = Asked::read(&value),
                _ => {}
            }
        }
        let accepted = headers.get(header::ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok());
        let language = chosen.unwrap_or_else(|| Language::accepted(accepted.unwrap_or_default()));
        Self { language, asked }
    }
}

/// A line above everything else.
struct Note {
    tone: &'static str,
    icon: &'static str,
    text: String,
}

#[derive(Template)]
#[template(path = "remediation/page.html")]
struct Page<'a> {
    words: &'static Words,
    language: Language,
    asked: Asked,
    now: OffsetDateTime,
    standing: &'a Standing,
    note: Option<Note>,
    /// The page renews itself after so many seconds.
    refresh: Option<u32>,
}

#[derive(Template)]
#[template(path = "remediation/other.html")]
struct Other {
    words: &'static Words,
    language: Language,
    asked: Asked,
    title: &'static str,
    text: &'static str,
    /// Whether to register the device may be what is missing.
    enroll: bool,
}

/// Why a page is not shown.
enum NotShown {
    /// Whatever the reason: who tries addresses learns nothing.
    Gone,
    /// It cannot be read now.
    Away(StoreError),
    Template(askama::Error),
}

impl From<StoreError> for NotShown {
    fn from(error: StoreError) -> Self {
        Self::Away(error)
    }
}

impl From<askama::Error> for NotShown {
    fn from(error: askama::Error) -> Self {
        Self::Template(error)
    }
}

/// `GET /r/{token}`
async fn show(
    State(app): State<App>,
    path: Result<Path<String>, PathRejection>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let query = Query::of(query.as_deref(), &headers);
    let shown = async {
        let token = token(&app, path)?;
        if let Some(wait) = app.page_limits().view(&app.cache, &token).await {
            return Ok(too_many(&query, wait));
        }
        let subject = subject(&app, &token, query.asked).await?;
        Ok(page(StatusCode::OK, &query, &subject.standing, None)?)
    };
    shown.await.unwrap_or_else(|not_shown| other(not_shown, &query))
}

/// `POST /r/{token}`: check again.
async fn check(
    State(app): State<App>,
    path: Result<Path<String>, PathRejection>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let query = Query::of(query.as_deref(), &headers);
    let checked = async {
        let token = token(&app, path.as_ref().map(|Path(text)| Path(text.clone())).map_err(|_| ()))?;
        if let Some(wait) = app.page_limits().check(&app.cache, &token).await {
            let subject = subject(&app, &token, query.asked).await?;
            return Ok(page(StatusCode::TOO_MANY_REQUESTS, &query, &subject.standing, Some(wait))?);
        }
        let subject = subject(&app, &token, Asked::default()).await?;
        let now = app.now();
        wish(&app, &token, &subject, now).await?;
        let text = path.map(|Path(text)| text).unwrap_or_default();
        let to = format!("{PATH}{text}?lang={}&asked={}", query.language.code(), now.unix_timestamp());
        Ok(Redirect::to(&to).into_response())
    };
    checked.await.unwrap_or_else(|not_shown| other(not_shown, &query))
}

/// Whose page an address is.
fn token<E>(app: &App, path: Result<Path<String>, E>) -> Result<PageToken, NotShown> {
    let Path(text) = path.map_err(|_| NotShown::Gone)?;
    let keys = app.config().page_keys.as_ref().ok_or(NotShown::Gone)?;
    keys.read(&text, app.now()).ok_or(NotShown::Gone)
}

async fn subject(app: &App, token: &PageToken, asked: Asked) -> Result<Subject, NotShown> {
    let mut tx = app.store.org(token.org).await?;
    let subject = standing::read(&mut tx, token, asked, app.now()).await?;
    tx.commit().await?;
    subject.ok_or(NotShown::Gone)
}

/// Asks the sync to look at the client's device now, and wakes it; the client's history tells that it was asked.
async fn wish(
    app: &App,
    token: &PageToken,
    subject: &Subject,
    now: OffsetDateTime,
) -> Result<(), StoreError> {
    let mut tx = app.store.org(token.org).await?;
    for link in &subject.links {
        looks::wish_all(&mut tx, *link, &subject.keys, WishReason::Client, now).await?;
        jobs::wake(&mut tx, *link, JobKind::Look, now).await?;
        if !subject.is_known {
            // A device that was registered just now is among those that Entra ID says have changed.
            jobs::wake(&mut tx, *link, JobKind::Delta, now).await?;
        }
    }
    store::events::append(&mut tx, &asked(app, token, subject, now)).await?;
    tx.commit().await?;
    // Who watches the events looks for itself where this is lost.
    let _ = app.cache.publish(&BusMessage::Events { org: token.org }).await;
    Ok(())
}

/// The line of history that a person asked.
fn asked(app: &App, token: &PageToken, subject: &Subject, now: OffsetDateTime) -> Event {
    let keys: Vec<String> = subject.keys.iter().map(ToString::to_string).collect();
    Event {
        org: token.org,
        id: app.ids.make(now),
        at: now,
        kind: EventKind::NacClientCheckAgain,
        mac: subject.standing.mac,
        session: Some(token.session),
        edge: Some(subject.edge),
        site: Some(subject.site),
        summary: "The person at the device asked to check it again".to_owned(),
        detail: serde_json::json!({ "asked_on": "remediation page", "looked_for": keys }),
    }
}

/// `wait`: the person asked too often, and may ask again after this.
fn page(
    status: StatusCode,
    query: &Query,
    standing: &Standing,
    wait: Option<Duration>,
) -> Result<Response, askama::Error> {
    let words = query.language.words();
    let note = |tone, icon, text: &str| Some(Note { tone, icon, text: text.to_owned() });
    let is_held = matches!(standing.state, Stands::Held(_));
    let note = match (wait, standing.check) {
        (Some(wait), _) => note("warn", "clock", &(words.too_soon)(seconds(wait))),
        (None, Check::Waiting) if is_held => note("", "refresh", words.checking),
        (None, Check::Late) if is_held => note("warn", "clock", words.late),
        (None, Check::Answered) if is_held => note("warn", "warn", words.no_change),
        _ => None,
    };
    let body = Page {
        words,
        language: query.language,
        asked: query.asked,
        now: standing.now,
        standing,
        note,
        refresh: standing.refresh().filter(|_| wait.is_none()),
    };
    let mut response = answer(status, query, body.render()?);
    if let Some(wait) = wait {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds(wait)));
    }
    Ok(response)
}

/// The page was looked at too often.
fn too_many(query: &Query, wait: Duration) -> Response {
    let words = query.language.words();
    let page = Other {
        words,
        language: query.language,
        asked: query.asked,
        title: words.busy_title,
        text: words.away_text,
        enroll: false,
    };
    let body = page.render().unwrap_or_default();
    let mut response = answer(StatusCode::TOO_MANY_REQUESTS, query, body);
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds(wait)));
    response
}

fn other(not_shown: NotShown, query: &Query) -> Response {
    let words = query.language.words();
    let (status, title, text) = match not_shown {
        NotShown::Gone => (StatusCode::NOT_FOUND, words.gone_title, words.gone_text),
        NotShown::Away(error) => {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "a remediation page could not reach its data"
            );
            (StatusCode::SERVICE_UNAVAILABLE, words.busy_title, words.away_text)
        }
        NotShown::Template(error) => {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "a remediation page could not be rendered"
            );
            (StatusCode::INTERNAL_SERVER_ERROR, words.busy_title, words.away_text)
        }
    };
    let enroll = status == StatusCode::NOT_FOUND;
    let page = Other { words, language: query.language, asked: Asked::default(), title, text, enroll };
    let mut response = answer(status, query, page.render().unwrap_or_default());
    if status == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("30"));
    }
    response
}

fn answer(status: StatusCode, query: &Query, body: String) -> Response {
    let headers = [
        (header::CONTENT_LANGUAGE, HeaderValue::from_static(query.language.code())),
        (header::VARY, HeaderValue::from_static("accept-language")),
    ];
    (status, headers, Html(body)).into_response()
}

/// Whole ones, rounded up.
fn seconds(wait: Duration) -> u64 {
    wait.as_millis().div_ceil(1_000).max(1).try_into().unwrap_or(u64::MAX)
}
