//! Logs, traces and metrics of the process.
//!
//! Logs go to stderr: readable on a terminal, JSON elsewhere. Traces and metrics are pushed by OTLP only where
//! `OTEL_EXPORTER_OTLP_ENDPOINT` says whereto; metrics can be scraped from the admin listener in any case.

use std::io::IsTerminal as _;

use opentelemetry::global;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, fmt};

/// Names where OTLP goes: the standard variable, read by the exporters themselves too.
const OTLP_ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";

/// Whether traces and metrics are pushed.
#[must_use]
pub fn pushes() -> bool {
    std::env::var_os(OTLP_ENDPOINT).is_some_and(|endpoint| !endpoint.is_empty())
}

/// How lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// `Pretty` on a terminal, `Json` elsewhere.
    #[default]
    Auto,
    Pretty,
    Json,
}

impl std::fmt::Display for LogFormat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Pretty => "pretty",
            Self::Json => "json",
        })
    }
}

impl std::str::FromStr for LogFormat {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "auto" => Ok(Self::Auto),
            "pretty" => Ok(Self::Pretty),
            "json" => Ok(Self::Json),
            _ => Err("use auto, pretty or json"),
        }
    }
}

/// Keeps the exporters; flushes them when dropped.
#[derive(Debug, Default)]
pub struct Telemetry {
    traces: Option<SdkTracerProvider>,
    metrics: Option<SdkMeterProvider>,
}

impl Telemetry {
    /// Sets up the process, once. `filter` is in the form of RUST_LOG; `service` names the process in traces.
    pub fn start(
        format: LogFormat,
        filter: &str,
        service: &str,
        registry: &prometheus::Registry,
    ) -> anyhow::Result<Self> {
        let resource = Resource::builder().with_service_name(service.to_owned()).build();
        let pushes = pushes();

        global::set_text_map_propagator(TraceContextPropagator::new());
        let traces = if pushes {
            let exporter = opentelemetry_otlp::SpanExporter::builder().with_http().build()?;
            Some(
                SdkTracerProvider::builder()
                    .with_resource(resource.clone())
                    .with_batch_exporter(exporter)
                    .build(),
            )
        } else {
            None
        };
        let scraped = opentelemetry_prometheus::exporter().with_registry(registry.clone()).build()?;
        let mut metrics = SdkMeterProvider::builder().with_resource(resource).with_reader(scraped);
        if pushes {
            let exporter = opentelemetry_otlp::MetricExporter::builder().with_http().build()?;
            metrics = metrics.with_reader(PeriodicReader::builder(exporter).build());
        }
        let metrics = metrics.build();
        global::set_meter_provider(metrics.clone());

        let json = match format {
            LogFormat::Auto => !std::io::stderr().is_terminal(),
            LogFormat::Pretty => false,
            LogFormat::Json => true,
        };
        let lines = if json {
            fmt::layer().json().flatten_event(true).with_writer(std::io::stderr).boxed()
        } else {
            fmt::layer()
                .compact()
                .with_target(false)
                .with_ansi(std::io::stderr().is_terminal())
                .with_writer(std::io::stderr)
                .boxed()
        };
        let spans = traces
            .as_ref()
            .map(|traces| tracing_opentelemetry::layer().with_tracer(traces.tracer("gatehouse")));
        let filter = EnvFilter::try_new(filter)?;
        tracing_subscriber::registry().with(filter).with(spans).with(lines).try_init()?;
        Ok(Self { traces, metrics: Some(metrics) })
    }
}

impl Drop for Telemetry {
    fn drop(&mut self) {
        // The process is ending, and its exporters' own log lines tell of a failure.
        if let Some(traces) = self.traces.take() {
            let _ = traces.shutdown();
        }
        if let Some(metrics) = self.metrics.take() {
            let _ = metrics.shutdown();
        }
    }
}
