//! What an operator sees: logs on standard error, metrics, traces. None of them has an identifier in it.

pub(crate) mod metrics;
pub(crate) mod observed;
mod process;
pub(crate) mod traces;

use tracing::Subscriber;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};
use tracing_subscriber::{EnvFilter, Layer};

use crate::config::{Log, Telemetry};
pub use metrics::RecorderTaken;
use traces::Traces;
pub use traces::TracesError;

/// Why logging and traces do not start.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The level is none.
    #[error(
        "the configuration key `log.level` must be `error`, `warn`, `info`, `debug`, `trace` or filter directives"
    )]
    Level(#[from] ParseError),
    /// Traces cannot be sent.
    #[error(transparent)]
    Traces(#[from] TracesError),
    /// It was started before.
    #[error("logging was started before")]
    Again(#[from] TryInitError),
}

/// Traces on their way, if there are any. To be [stopped](Sending::stop) at the end, so that the last ones arrive.
#[must_use]
pub struct Sending(Option<Traces>);

impl Sending {
    /// Sends what is left, for at most five seconds.
    pub async fn stop(self) {
        if let Some(traces) = self.0 {
            traces.stop().await;
        }
    }
}

/// Starts logging to standard error and, if a collector is configured, traces, for the whole process. To be called
/// inside a Tokio runtime.
///
/// # Errors
/// [`TelemetryError`].
pub fn start(log: &Log, telemetry: &Telemetry) -> Result<Sending, TelemetryError> {
    let (subscriber, sending) = subscriber(log, telemetry, std::io::stderr)?;
    subscriber.try_init()?;
    Ok(sending)
}

/// What [`start`] starts, with the log going to `writer`.
///
/// # Errors
/// [`TelemetryError`].
pub fn subscriber<W>(
    log: &Log,
    telemetry: &Telemetry,
    writer: W,
) -> Result<(impl Subscriber + Send + Sync + use<W>, Sending), TelemetryError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let lines = tracing_subscriber::fmt::layer().with_writer(writer).with_ansi(false);
    // Where nobody reads the log, telling so on standard error would be a panic for each line.
    let lines = lines.log_internal_errors(false);
    let lines = if log.format == "json" {
        lines.json().flatten_event(true).with_span_list(false).boxed()
    } else {
        lines.boxed()
    };
    let traces = match telemetry.otlp_url.as_str() {
        "" => None,
        url => Some(Traces::begin(url)?),
    };
    let layer = traces.as_ref().map(Traces::layer);
    let subscriber = tracing_subscriber::registry().with(layer).with(lines.with_filter(filter(&log.level)?));
    Ok((subscriber, Sending(traces)))
}

fn filter(level: &str) -> Result<EnvFilter, ParseError> {
    // At `trace`, libraries tell of every frame that they read, with its content.
    let quiet =
        ["h2", "hyper", "hyper_util", "reqwest", "rustls", "tower"].map(|library| format!("{library}=warn"));
    // The PKCS#11 binding calls each mechanism of a token that it has no name for an error.
    let quiet = quiet.into_iter().chain([format!("{}=off", traces::TARGET), "cryptoki=off".into()]);
    quiet.into_iter().try_fold(EnvFilter::try_new(level)?, |filter, directive| {
        Ok(filter.add_directive(directive.parse()?))
    })
}
