//! `acquaint serve`.

use std::io::Write;

use acquaint_server::config::Config;
use acquaint_server::{Ambient, Server, telemetry};
use tokio::signal::unix::{SignalKind, signal};

use crate::args;
use crate::failure::Failure;

pub(crate) async fn run(args: &args::Serve) -> Result<(), Failure> {
    let config = Config::load_here(&args.config)?;
    let traces = telemetry::start(&config.log, &config.telemetry)?;
    if config.auth.api_key.is_empty() {
        warn("NO API KEY: every program on this machine may call this server");
    }
    if config.uses_outbox() {
        let file = config.delivery.outbox_file.display();
        warn(&format!("DEVELOPMENT OUTBOX: codes are not sent, they are written to {file}"));
    }
    if config.keys.suite == "development" {
        warn("DEVELOPMENT SUITE: hashes are cheap to attack; never use it for real numbers");
    }
    // From here on: a stop that comes during the start is a stop too, and nobody is told to connect before it works.
    let stop = stop_signal()?;
    let server = Server::start(config, Ambient::default()).await?;
    // The exact address, for whoever configured port 0.
    // Whoever started it may be gone: that is no reason not to serve.
    let _unread = writeln!(std::io::stdout(), "listening on {}", server.url()?);
    if let Some(address) = server.operator_address() {
        let _unread = writeln!(std::io::stdout(), "metrics on http://{address}/metrics");
    }
    server.run(stop).await;
    tracing::info!("stopped");
    traces.stop().await;
    Ok(())
}

fn warn(what: &str) {
    let _unread = writeln!(std::io::stderr(), "!!! {what} !!!");
}

/// Resolves at the first SIGTERM or SIGINT.
pub(crate) fn stop_signal() -> Result<impl Future<Output = ()>, Failure> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
