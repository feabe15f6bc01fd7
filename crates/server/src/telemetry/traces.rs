//! Traces: spans to an OpenTelemetry collector, by OTLP over HTTP (protobuf).
//!
//! A span is made by this module or it is not sent, its attributes are those of [`ATTRIBUTES`], and none has room for an
//! identifier. Spans go through a bounded queue to a thread of their own, so a collector that is slow or gone costs spans
//! and nothing else.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use http::HeaderMap;
use opentelemetry::KeyValue;
use opentelemetry::propagation::{Extractor, TextMapPropagator};
use opentelemetry::trace::{Status, TraceContextExt, TracerProvider};
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{ExporterBuildError, Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{SdkTracerProvider, SpanData, SpanEvents, SpanLinks};
use rustls::crypto::ring;
use rustls_platform_verifier::BuilderVerifierExt;
use tracing::field::Empty;
use tracing::{Span, Subscriber};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::registry::LookupSpan;

/// What marks a span of this module; the log leaves them out.
pub(super) const TARGET: &str = "acquaint_trace";

/// How long sending a batch may take, retries included.
const SENDING: Duration = Duration::from_secs(5);
/// How long the end of the process waits for the last batch.
const FLUSHING: Duration = Duration::from_secs(5);

/// Everything that a span may say. The names are those of OpenTelemetry's semantic conventions for RPC and HTTP.
const ATTRIBUTES: [&str; 5] =
    ["rpc.system.name", "rpc.method", "rpc.response.status_code", "http.response.status_code", "request.id"];

/// The collector cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TracesError {
    /// The address is none.
    #[error("the configuration key `telemetry.otlp_url` must be an address, as `http://127.0.0.1:4318`")]
    Address(#[source] ExporterBuildError),
    /// The HTTP client cannot be made.
    #[error("traces cannot be sent from this machine: its root certificates cannot be used")]
    Client(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Spans on their way; to be stopped at the end of the process.
pub(super) struct Traces(SdkTracerProvider);

impl Traces {
    /// Begins to send spans to the collector at `url`. To be called inside a Tokio runtime.
    pub(super) fn begin(url: &str) -> Result<Self, TracesError> {
        let exporter = exporter(url)?;
        let resource = Resource::builder_empty()
            .with_attributes([
                KeyValue::new("service.name", "acquaint"),
                KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
            ])
            .build();
        Ok(Self(SdkTracerProvider::builder().with_resource(resource).with_batch_exporter(exporter).build()))
    }

    /// What takes this module's spans, and nothing else, out of `tracing`.
    pub(super) fn layer<S>(&self) -> impl Layer<S> + use<S>
    where
        S: Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
    {
        tracing_opentelemetry::layer()
            .with_tracer(self.0.tracer("acquaint"))
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_level(false)
            .with_tracked_inactivity(false)
            .with_filter(filter_fn(|metadata| metadata.is_span() && metadata.target() == TARGET))
    }

    /// Sends what is left, within a bound.
    pub(super) async fn stop(self) {
        let stopping = tokio::task::spawn_blocking(move || self.0.shutdown_with_timeout(FLUSHING));
        if !matches!(stopping.await, Ok(Ok(()))) {
            tracing::warn!("the last traces could not be sent");
        }
    }
}

fn exporter(url: &str) -> Result<Plain<SpanExporter>, TracesError> {
    let exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(Post::new()?)
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(format!("{}/v1/traces", url.trim_end_matches('/')))
        .with_timeout(SENDING)
        .build()
        .map_err(TracesError::Address)?;
    Ok(Plain { exporter, failing: AtomicBool::new(false) })
}

/// The span of one request. Only its place in a trace is taken from the headers: `tracestate` could hold anything
/// (W3C Trace Context, sections 3.2 and 3.3).
pub(crate) fn request(method: &'static str, headers: &HeaderMap) -> Span {
    let span = tracing::info_span!(
        target: TARGET,
        "request",
        otel.name = method,
        otel.kind = "server",
        otel.status_code = Empty,
        rpc.system.name = "connectrpc",
        rpc.method = method,
        rpc.response.status_code = Empty,
        http.response.status_code = Empty,
        request.id = Empty,
    );
    if !span.is_disabled() {
        let parent = TraceContextPropagator::new().extract(&OnlyParent(headers));
        if parent.span().span_context().is_valid() {
            // Without the layer there is nothing to set it on.
            let _ = span.set_parent(parent);
        }
    }
    span
}

/// How a request went.
pub(crate) fn answered(span: &Span, id: &str, status: u16, outcome: &'static str, failed: bool) {
    span.record("request.id", id);
    span.record("http.response.status_code", status);
    span.record("rpc.response.status_code", outcome);
    ended(span, failed);
}

/// The span of one step inside the service, named in words of this program.
pub(super) fn step(name: &'static str) -> Span {
    tracing::info_span!(target: TARGET, "step", otel.name = name, otel.status_code = Empty)
}

pub(super) fn ended(span: &Span, failed: bool) {
    if failed {
        span.record("otel.status_code", "ERROR");
    }
}

struct OnlyParent<'a>(&'a HeaderMap);

impl Extractor for OnlyParent<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        (key == "traceparent").then(|| self.0.get(key)?.to_str().ok()).flatten()
    }

    fn keys(&self) -> Vec<&str> {
        vec!["traceparent"]
    }
}

/// Sends spans with nothing but what they may say, and tells of a collector's absence once.
#[derive(Debug)]
struct Plain<E> {
    exporter: E,
    failing: AtomicBool,
}

impl<E: opentelemetry_sdk::trace::SpanExporter> opentelemetry_sdk::trace::SpanExporter for Plain<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let sent = self.exporter.export(batch.into_iter().map(plain).collect()).await;
        let failing = sent.is_err();
        if failing != self.failing.swap(failing, Ordering::Relaxed) {
            if failing {
                tracing::warn!(
                    "the collector of `telemetry.otlp_url` does not take traces: they are thrown away until it does"
                );
            } else {
                tracing::info!("the collector takes traces again");
            }
        }
        sent
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

fn plain(mut span: SpanData) -> SpanData {
    span.attributes.retain(|attribute| ATTRIBUTES.contains(&attribute.key.as_str()));
    span.events = SpanEvents::default();
    span.links = SpanLinks::default();
    if let Status::Error { description } = &mut span.status {
        *description = "".into();
    }
    span
}

/// Posts on the server's runtime: the thread that waits for the answer has none.
#[derive(Debug)]
struct Post {
    client: reqwest::Client,
    runtime: tokio::runtime::Handle,
}

impl Post {
    fn new() -> Result<Self, TracesError> {
        let tls = rustls::ClientConfig::builder_with_provider(ring::default_provider().into())
            .with_safe_default_protocol_versions()
            .and_then(BuilderVerifierExt::with_platform_verifier)
            .map_err(|error| TracesError::Client(error.into()))?
            .with_no_client_auth();
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .redirect(reqwest::redirect::Policy::none())
            .timeout(SENDING)
            .build()
            .map_err(|error| TracesError::Client(error.into()))?;
        Ok(Self { client, runtime: tokio::runtime::Handle::current() })
    }
}

#[async_trait]
impl HttpClient for Post {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (client, request) = (self.client.clone(), request.try_into()?);
        self.runtime
            .spawn(async move {
                let answer = client.execute(request).await?;
                let status = answer.status();
                // Its body tells of rejected spans, and nobody would mend them.
                let mut response = Response::new(Bytes::new());
                *response.status_mut() = status;
                Ok(response)
            })
            .await?
    }
}

#[cfg(test)]
mod tests;
