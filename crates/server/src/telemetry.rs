//! Logging: to standard error, without identifiers.

use tracing_subscriber::EnvFilter;

/// Starts logging at `level` (`info`, or filter directives as `warn,acquaint_server=debug`).
///
/// # Errors
/// When `level` is neither, or logging was started before.
pub fn init(level: &str) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    // Libraries below the threshold of interest stay quiet; their debug lines could hold request data.
    let filter = EnvFilter::try_new(level)?;
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false).try_init()
}
