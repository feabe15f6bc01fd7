//! `acquaint custody`.

use std::io::Write;

use acquaint_server::config::Config;
use acquaint_server::{Ambient, CustodyProcess, telemetry};

use crate::args::keys::{CustodyCommand, CustodyServe};
use crate::failure::Failure;
use crate::serve::stop_signal;

pub(crate) async fn run(command: CustodyCommand) -> Result<(), Failure> {
    match command {
        CustodyCommand::Serve(args) => serve(&args).await,
    }
}

async fn serve(args: &CustodyServe) -> Result<(), Failure> {
    let config = Config::load_keys_here(&args.config)?;
    if config.keys.socket.as_os_str().is_empty() {
        return Err("the configuration key `keys.socket` must be the place of the socket to answer at".into());
    }
    let traces = telemetry::start(&config.log, &config.telemetry)?;
    let stop = stop_signal()?;
    let socket = config.keys.socket.clone();
    let starting =
        tokio::task::spawn_blocking(move || CustodyProcess::start(&config, Ambient::default().clock));
    let process = starting.await??;
    // Whoever started it may be gone: that is no reason not to serve.
    let _unread = writeln!(std::io::stdout(), "serving keys at {}", socket.display());
    process.run(stop).await;
    tracing::info!("stopped");
    traces.stop().await;
    Ok(())
}
