//! Logging: to standard error, without identifiers.

use tracing_subscriber::EnvFilter;

/// Starts logging at `level` (`info`, or filter directives as `warn,acquaint_server=debug`).
///
/// # Errors
/// When `level` is neither, or logging was started before.
pub fn init(level: &str) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    // At `trace`, libraries tell of every frame that they read, with its content.
    let filter = ["h2", "hyper", "hyper_util", "tower"].into_iter().try_fold(
        EnvFilter::try_new(level)?,
        |filter, library| {
            Ok::<_, tracing_subscriber::filter::ParseError>(
                filter.add_directive(format!("{library}=warn").parse()?),
            )
        },
    )?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        // Where nobody reads the log, telling so on standard error would be a panic for each line.
        .log_internal_errors(false)
        .try_init()
}
