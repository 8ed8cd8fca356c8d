//! What every HTTP listener measures, and the trace that a request continues (W3C traceparent).

use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::http::HeaderMap;
use axum::middleware::Next;
use axum::response::Response;
use opentelemetry::metrics::{Histogram, UpDownCounter};
use opentelemetry::propagation::Extractor;
use opentelemetry::{KeyValue, global};
use tracing::{Instrument as _, Span};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use crate::telemetry;

/// Instruments of one listener.
#[derive(Clone, Debug)]
pub struct Observer {
    role: &'static str,
    /// OpenTelemetry's HTTP semantic conventions.
    duration: Histogram<f64>,
    active: UpDownCounter<i64>,
    /// Whether anybody gets the spans.
    traced: bool,
}

impl Observer {
    #[must_use]
    pub fn new(role: &'static str) -> Self {
        let meter = global::meter("gatehouse");
        let duration = meter
            .f64_histogram("http.server.request.duration")
            .with_unit("s")
            .with_description("How long requests took")
            .with_boundaries(vec![
                0.000_5, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0,
            ])
            .build();
        let active = meter
            .i64_up_down_counter("http.server.active_requests")
            .with_description("Requests under way")
            .build();
        Self { role, duration, active, traced: telemetry::pushes() }
    }
}

/// A middleware that measures every request and runs it in a span that continues the caller's trace.
pub async fn observe(State(observer): State<Observer>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let role = KeyValue::new("gatehouse.role", observer.role);
    let method = request.method().to_string();
    // Never the path itself: it would make a time series of every id.
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or_else(|| "-".to_owned(), |path| path.as_str().to_owned());
    let span = if observer.traced { span(request.headers(), &method, &route) } else { Span::none() };

    let active = Active::enter(observer.active.clone(), role.clone());
    let response = next.run(request).instrument(span.clone()).await;
    drop(active);
    let status = response.status().as_u16();
    span.record("http.response.status_code", status);
    observer.duration.record(
        started.elapsed().as_secs_f64(),
        &[
            role,
            KeyValue::new("http.request.method", method),
            KeyValue::new("http.route", route),
            KeyValue::new("http.response.status_code", i64::from(status)),
        ],
    );
    response
}

/// A span that continues the caller's trace.
fn span(headers: &HeaderMap, method: &str, route: &str) -> Span {
    let span = tracing::info_span!(
        "http",
        otel.kind = "server",
        otel.name = format!("{method} {route}"),
        http.request.method = method,
        http.route = route,
        http.response.status_code = tracing::field::Empty,
    );
    let parent = global::get_text_map_propagator(|propagator| propagator.extract(&Headers(headers)));
    // An Err says that the span is filtered out.
    let _ = span.set_parent(parent);
    span
}

/// Counts down also where the client went away and the future was dropped.
struct Active(UpDownCounter<i64>, KeyValue);

impl Active {
    fn enter(counter: UpDownCounter<i64>, role: KeyValue) -> Self {
        counter.add(1, std::slice::from_ref(&role));
        Self(counter, role)
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.0.add(-1, std::slice::from_ref(&self.1));
    }
}

struct Headers<'a>(&'a HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(axum::http::HeaderName::as_str).collect()
    }
}
