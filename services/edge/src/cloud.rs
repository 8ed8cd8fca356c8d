//! The cloud, as the agent reaches it: with limits of time, and a breaker that spares clients the wait while it is
//! away.

use std::convert::Infallible;
use std::future::ready;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::body::Bytes;
use axum::http::{HeaderValue, StatusCode, header};
use domain::time::SharedClock;
use eventsource_stream::{Event, Eventsource};
use futures::{Stream, StreamExt};
use reqwest::{Client, RequestBuilder};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Notify;
use tokio::time::Instant;
use url::Url;
use uuid::Uuid;

use crate::config::{EdgeConfig, Limits};

/// Connections to the cloud that are kept open.
const IDLE_MAX: usize = 64;
/// Tells the cloud what the clock here says, in seconds since 1970.
const CLOCK: &str = "gatehouse-clock";

/// What came of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The cloud answered, and means it: an answer, or a refusal for good.
    Said(Said),
    /// The credential is wrong or revoked.
    Revoked(Said),
    /// Nobody answered in time, or whoever did cannot say.
    Away,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    pub status: StatusCode,
    pub content_type: Option<HeaderValue>,
    pub body: Bytes,
}

impl Said {
    /// Whether it is JSON: a proxy's sign-in page is not.
    fn is_json(&self) -> bool {
        let Some(kind) = self.content_type.as_ref().and_then(|kind| kind.to_str().ok()) else { return false };
        let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        kind == "application/json" || kind.ends_with("+json")
    }
}

pub struct Cloud {
    http: Client,
    base: Url,
    token: SecretString,
    clock: SharedClock,
    breaker: Breaker,
    revoked: AtomicBool,
    /// Rings when the cloud answers again.
    pub back: Notify,
    /// Rings when the credential is found to be revoked.
    pub disowned: Notify,
}

impl Cloud {
    /// Connects to nothing yet.
    pub fn new(config: &EdgeConfig, clock: SharedClock) -> Result<Self, reqwest::Error> {
        let mut builder = Client::builder()
            .user_agent(concat!("gatehouse-edge/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(Duration::from_millis(config.limits.connect_milliseconds))
            .pool_max_idle_per_host(IDLE_MAX)
            .tcp_nodelay(true)
            .redirect(reqwest::redirect::Policy::none());
        if let Some(pem) = &config.cloud.ca {
            builder = builder.tls_certs_merge(reqwest::Certificate::from_pem_bundle(pem)?);
        }
        Ok(Self {
            http: builder.build()?,
            base: config.cloud.url.clone(),
            token: config.cloud.token.clone(),
            clock,
            breaker: Breaker::new(&config.limits),
            revoked: AtomicBool::new(false),
            back: Notify::new(),
            disowned: Notify::new(),
        })
    }

    /// Whether the last that the cloud said of the credential was that it is revoked.
    pub fn is_revoked(&self) -> bool {
        self.revoked.load(Ordering::Relaxed)
    }

    /// Whether requests of clients are spared the wait at present.
    pub fn is_spared(&self) -> bool {
        self.breaker.is_open()
    }

    /// Posts what can wait: at once `Away` while the breaker is open.
    pub async fn ask(&self, path: &str, body: Bytes, within: Duration) -> Reply {
        if !self.breaker.lets_through() {
            return Reply::Away;
        }
        self.send(self.http.post(self.url(path)), Some(body), within, Doubt::Passes).await
    }

    /// Posts what is to be decided, under a name of its own. With the name, where the cloud may have heard it: what it
    /// then decides comes to nobody.
    pub async fn decide(
        &self,
        path: &str,
        ask: Uuid,
        body: Bytes,
        within: Duration,
    ) -> (Reply, Option<Uuid>) {
        if !self.breaker.lets_through() {
            return (Reply::Away, None);
        }
        let request = self.http.post(self.url(path)).header(wire::events::ASK, ask.to_string());
        (self.send(request, Some(body), within, Doubt::Counts).await, Some(ask))
    }

    /// Posts, whatever the breaker says.
    pub async fn post(&self, path: &str, body: Bytes, within: Duration) -> Reply {
        self.send(self.http.post(self.url(path)), Some(body), within, Doubt::Passes).await
    }

    /// Gets, whatever the breaker says.
    pub async fn get(&self, path: &str, within: Duration) -> Reply {
        self.send(self.http.get(self.url(path)), None, within, Doubt::Passes).await
    }

    /// Opens a stream of server-sent events, from behind the last one that came. `None`: there is none to be had.
    /// The stream ends where nothing is heard, not even a heartbeat, for `silence`.
    pub async fn events(
        &self,
        path: &str,
        last: Option<&str>,
        within: Duration,
        silence: Duration,
    ) -> Option<impl Stream<Item = Event> + use<>> {
        let mut request = self.signed(self.http.get(self.url(path)));
        request = request.header(header::ACCEPT, "text/event-stream");
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        let answer = tokio::time::timeout(within, request.send()).await.ok()?.ok()?;
        let kind = answer.headers().get(header::CONTENT_TYPE)?.to_str().ok()?;
        if answer.status() != StatusCode::OK || !kind.starts_with("text/event-stream") {
            return None;
        }
        self.note(true);
        let bytes = futures::stream::unfold(answer, move |mut answer| async move {
            let chunk = tokio::time::timeout(silence, answer.chunk()).await.ok()?.ok()??;
            Some((Ok::<_, Infallible>(chunk), answer))
        });
        // What is no event ends the stream, too.
        let events = bytes.boxed().eventsource().take_while(|event| ready(event.is_ok()));
        Some(events.filter_map(|event| ready(event.ok())))
    }

    fn url(&self, path: &str) -> Url {
        let mut url = self.base.clone();
        let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
        url.set_path(path);
        url.set_query(query);
        url
    }

    /// With the edge's credential, its own time, and the word that what the cloud cannot record is told again.
    fn signed(&self, request: RequestBuilder) -> RequestBuilder {
        let millis = self.clock.now().unix_timestamp_nanos() / 1_000_000;
        let clock = format!("{}.{:03}", millis / 1_000, millis % 1_000);
        request
            .bearer_auth(self.token.expose_secret())
            .header(CLOCK, clock)
            .header(wire::events::TELLS_LATER, "yes")
    }

    async fn send(
        &self,
        request: RequestBuilder,
        body: Option<Bytes>,
        within: Duration,
        doubt: Doubt,
    ) -> Reply {
        let mut request = self.signed(request);
        if let Some(body) = body {
            request = request.header(header::CONTENT_TYPE, "application/json").body(body);
        }
        let answered = tokio::time::timeout(within, async {
            let mut answer = request.send().await?;
            let status = answer.status();
            let content_type = answer.headers_mut().remove(header::CONTENT_TYPE);
            Ok::<_, reqwest::Error>(Said { status, content_type, body: answer.bytes().await? })
        });
        let mut asking = Asking { cloud: self, answered: Some(false) };
        let mut in_doubt = false;
        let reply = match answered.await {
            Ok(Ok(said)) => {
                // The cloud itself is there, and cannot do this.
                in_doubt = said.status.is_server_error() && said.is_json();
                self.judge(said)
            }
            Ok(Err(error)) => {
                tracing::debug!(error = %error.without_url(), "the cloud did not answer");
                Reply::Away
            }
            Err(_) => Reply::Away,
        };
        asking.answered = match (&reply, doubt) {
            (Reply::Away, Doubt::Passes) if in_doubt => None,
            (Reply::Away, _) => Some(false),
            _ => Some(true),
        };
        reply
    }

    fn note(&self, answered: bool) {
        if self.breaker.note(answered) {
            self.back.notify_one();
        }
    }

    fn judge(&self, said: Said) -> Reply {
        let code = said.status.as_u16();
        match code {
            // Only the cloud itself says so in JSON.
            401 | 403 if said.is_json() => {
                if !self.revoked.swap(true, Ordering::Relaxed) {
                    tracing::error!("the cloud does not know this edge's credential any more");
                    self.disowned.notify_one();
                }
                return Reply::Revoked(said);
            }
            204 => {}
            200..=299 if said.is_json() => {}
            400 | 404 | 405 | 409 | 410 | 413 | 415 | 422 if said.is_json() => {}
            _ => return Reply::Away,
        }
        if self.revoked.swap(false, Ordering::Relaxed) {
            tracing::info!("the cloud knows this edge's credential again");
        }
        Reply::Said(said)
    }
}

/// A request that is under way. Whoever asked may be gone before there is an answer: that is no answer, too, and the
/// next one must not have to find it out again.
struct Asking<'a> {
    cloud: &'a Cloud,
    /// `None`: it says nothing about whether clients will be answered.
    answered: Option<bool>,
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        if let Some(answered) = self.answered {
            self.cloud.note(answered);
        }
    }
}

/// What it says about the cloud that it answered, in its own words, that it cannot do something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Doubt {
    /// Clients get no answers.
    Counts,
    /// This cannot be done; it may decide all the same.
    Passes,
}

/// After some failures in a row nobody is made to wait for a while; then one request tries.
#[derive(Debug)]
struct Breaker {
    failures_max: u32,
    open_for: Duration,
    state: Mutex<BreakerState>,
}

#[derive(Debug, Default)]
struct BreakerState {
    failures: u32,
    open_until: Option<Instant>,
}

impl Breaker {
    fn new(limits: &Limits) -> Self {
        Self {
            failures_max: limits.breaker_failures,
            open_for: Duration::from_millis(limits.breaker_open_milliseconds),
            state: Mutex::default(),
        }
    }

    fn is_open(&self) -> bool {
        self.lock().open_until.is_some()
    }

    /// Whether a request may try. While it does, no other may.
    fn lets_through(&self) -> bool {
        let mut state = self.lock();
        match state.open_until {
            None => true,
            Some(until) if Instant::now() < until => false,
            Some(_) => {
                state.open_until = Some(Instant::now() + self.open_for);
                true
            }
        }
    }

    /// Whether this is the first answer after the breaker had opened.
    fn note(&self, answered: bool) -> bool {
        let mut state = self.lock();
        if answered {
            let back = state.open_until.is_some();
            if back {
                tracing::info!("the cloud answers again");
            }
            *state = BreakerState::default();
            return back;
        }
        state.failures = state.failures.saturating_add(1);
        if state.failures >= self.failures_max {
            if state.open_until.is_none() {
                tracing::warn!("the cloud does not answer: clients are answered from the bundle");
            }
            state.open_until = Some(Instant::now() + self.open_for);
        }
        false
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BreakerState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
