//! One layer in front of a service's routes, instead of a stack of them: request id, log line, panic catcher,
//! timeout, security headers. Every layer of a stack costs each request; this one costs one allocation.

use std::any::Any;
use std::convert::Infallible;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use domain::time::{Ids, SharedClock};
use domain::{EdgeId, OrgId};
use futures::FutureExt;
use tower::{Layer, Service};

use crate::Problem;

static REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Longest request id that is taken from a caller.
const REQUEST_ID_CHARS_MAX: usize = 128;

/// What is known of a request while it is served. Cheap to clone; in the request's extensions.
#[derive(Clone, Debug)]
pub struct RequestContext(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    id: String,
    org: OnceLock<OrgId>,
    edge: OnceLock<EdgeId>,
    answer_by: tokio::time::Instant,
}

impl RequestContext {
    /// The request id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.0.id
    }

    /// When the request is cut off. Who gives up by then can say so in a form of its own; a problem is told otherwise.
    #[must_use]
    pub fn answer_by(&self) -> tokio::time::Instant {
        self.0.answer_by
    }

    /// The organization in whose name the caller acts, for the log line.
    pub fn set_org(&self, org: OrgId) {
        let _ = self.0.org.set(org);
    }

    /// The edge that calls, for the log line.
    pub fn set_edge(&self, edge: EdgeId) {
        let _ = self.0.edge.set(edge);
    }
}

/// Makes [`Front`].
#[derive(Clone)]
pub struct FrontLayer {
    clock: SharedClock,
    ids: Ids,
    timeout: Duration,
}

impl FrontLayer {
    /// `timeout`: an answer that takes longer is cut off with a 503 problem.
    #[must_use]
    pub const fn new(clock: SharedClock, ids: Ids, timeout: Duration) -> Self {
        Self { clock, ids, timeout }
    }
}

impl<S> Layer<S> for FrontLayer {
    type Service = Front<S>;

    fn layer(&self, inner: S) -> Front<S> {
        Front { inner, with: self.clone() }
    }
}

/// The layer's service.
#[derive(Clone)]
pub struct Front<S> {
    inner: S,
    with: FrontLayer,
}

impl<S> Service<Request> for Front<S>
where
    S: Service<Request, Error = Infallible> + Send,
    S::Response: IntoResponse,
    S::Future: Send + 'static,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        let id = inbound_id(request.headers())
            .unwrap_or_else(|| self.with.ids.uuid(self.with.clock.now()).to_string());
        let answer_by = tokio::time::Instant::now() + self.with.timeout;
        let context =
            RequestContext(Arc::new(Inner { id, org: OnceLock::new(), edge: OnceLock::new(), answer_by }));
        let line = Line {
            method: request.method().clone(),
            route: request.extensions().get::<MatchedPath>().cloned(),
            started: Instant::now(),
            context: context.clone(),
            status: None,
        };
        request.extensions_mut().insert(context.clone());
        // A handler may panic before its first await, too.
        let inner = std::panic::catch_unwind(AssertUnwindSafe(|| self.inner.call(request)));
        Box::pin(async move {
            // Whole, not only its field: it must live until the answer is there.
            let mut line = line;
            let answered = match inner {
                Err(panic) => Ok(Err(panic)),
                // Polls the future first: an answer of its own at the same moment wins.
                Ok(future) => {
                    tokio::time::timeout_at(answer_by, AssertUnwindSafe(future).catch_unwind()).await
                }
            };
            let mut response = match answered {
                Ok(Ok(Ok(response))) => response.into_response(),
                Ok(Err(panic)) => {
                    tracing::error!(
                        request_id = context.id(),
                        panic = message(&*panic),
                        "a handler panicked"
                    );
                    Problem::internal().into_response()
                }
                Err(_) => {
                    Problem::unavailable("timed_out", "It took too long; try again.", 1).into_response()
                }
            };
            if let Some(mut problem) = response.extensions_mut().remove::<Problem>() {
                problem.request_id = Some(context.id().to_owned());
                *response.body_mut() = Body::from(problem.body());
                response.headers_mut().remove(header::CONTENT_LENGTH);
            }
            let headers = response.headers_mut();
            if let Ok(id) = HeaderValue::from_str(context.id()) {
                headers.insert(REQUEST_ID.clone(), id);
            }
            secure(headers);
            line.status = Some(response.status());
            Ok(response)
        })
    }
}

/// What the caller calls the request, where that is harmless to repeat in logs and headers.
fn inbound_id(headers: &HeaderMap) -> Option<String> {
    let id = headers.get(&REQUEST_ID)?.to_str().ok()?;
    let harmless = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    (!id.is_empty() && id.len() <= REQUEST_ID_CHARS_MAX && id.chars().all(harmless)).then(|| id.to_owned())
}

/// For answers that say nothing else of it: not to be framed, sniffed, stored or leaked.
fn secure(headers: &mut HeaderMap) {
    let mut set = |name: HeaderName, value: &'static str| {
        headers.entry(name).or_insert_with(|| HeaderValue::from_static(value));
    };
    set(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(header::X_FRAME_OPTIONS, "DENY");
    set(header::REFERRER_POLICY, "no-referrer");
    set(header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'");
    set(header::CACHE_CONTROL, "no-store");
}

fn message(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("(not a text)")
}

/// The log line of a request. Written when it is dropped, so that a caller who hung up leaves one, too.
struct Line {
    method: Method,
    route: Option<MatchedPath>,
    started: Instant,
    context: RequestContext,
    status: Option<StatusCode>,
}

impl Drop for Line {
    fn drop(&mut self) {
        // 499, after nginx: the caller went away before the answer.
        let status = self.status.map_or(499, |status| status.as_u16());
        // The path itself may hold what nobody should log.
        let route = self.route.as_ref().map_or("(none)", MatchedPath::as_str);
        let duration_us = u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX);
        let org = self.context.0.org.get().map(tracing::field::display);
        let edge = self.context.0.edge.get().map(tracing::field::display);
        let (method, request_id) = (self.method.as_str(), self.context.id());
        if (500..600).contains(&status) {
            tracing::warn!(target: "http", method, route, status, duration_us, request_id, org, edge, "request");
        } else {
            tracing::info!(target: "http", method, route, status, duration_us, request_id, org, edge, "request");
        }
    }
}
