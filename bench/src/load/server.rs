//! The server as a process of its own: this program, started again with the hidden command `serve`.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use acquaint_server::config::Config;
use acquaint_server::{Ambient, Server};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::Result;

/// The operator's key of the measured server.
pub(super) const API_KEY: &str = "a-bench-key-of-32-characters-here";

/// A configuration in `folder`, with the limits on people out of the way.
pub(super) fn write_config(folder: &Path, suite: &str) -> Result<()> {
    let mut config = Config::default();
    config.listen.set_port(0);
    config.auth.api_key = API_KEY.into();
    config.keys.suite = suite.into();
    config.verification.resend_s = 0;
    config.import.account_pairs = 100_000;
    config.import.number_pairs = 100_000;
    // A line for each call would be measured too; operators have them, so they are written, but to nowhere.
    config.log.level = "info".into();
    config.telemetry.listen = "127.0.0.1:0".into();
    Ok(std::fs::write(folder.join("acquaint.toml"), config.to_toml()?)?)
}

/// What the started process does: serves until its standard input ends.
pub(crate) async fn serve(folder: &Path) -> Result<()> {
    let config = Config::load(&folder.join("acquaint.toml"), [])?;
    let traces = acquaint_server::telemetry::start(&config.log, &config.telemetry)?;
    let server = Server::start(config, Ambient::default()).await?;
    let operator = server.operator_address().ok_or("no operator's port")?;
    println!("{} {operator}", server.url()?);
    server
        .run(async {
            // The end, or an error: the parent is gone either way.
            let _ = tokio::io::stdin().read_to_end(&mut Vec::new()).await;
        })
        .await;
    traces.stop().await;
    Ok(())
}

/// A running server.
pub(super) struct Child {
    process: std::process::Child,
    pub(super) url: String,
    operator: String,
    /// From the start of the process to its listening.
    pub(super) start_seconds: f64,
}

impl Child {
    pub(super) fn start(folder: &Path) -> Result<Self> {
        let began = Instant::now();
        let mut process = Command::new(std::env::current_exe()?)
            .arg("serve")
            .arg(folder)
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(folder.join("log.txt"))?)
            .spawn()?;
        let mut line = String::new();
        let out = process.stdout.take().ok_or("no standard output")?;
        BufReader::new(out).read_line(&mut line)?;
        let start_seconds = began.elapsed().as_secs_f64();
        let Some((url, operator)) = line.trim().split_once(' ') else {
            let log = std::fs::read_to_string(folder.join("log.txt"))?;
            return Err(format!("the server does not start: {log}").into());
        };
        Ok(Self { url: url.into(), operator: operator.into(), process, start_seconds })
    }

    /// The sum of a metric's series.
    pub(super) async fn metric(&self, name: &str) -> Result<f64> {
        let mut stream = tokio::net::TcpStream::connect(&self.operator).await?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: bench\r\nconnection: close\r\n\r\n").await?;
        let mut text = String::new();
        stream.read_to_string(&mut text).await?;
        let series =
            text.lines().filter_map(|line| line.split_once([' ', '{']).filter(|(found, _)| *found == name));
        let values: Vec<f64> = series.filter_map(|(_, rest)| rest.rsplit(' ').next()?.parse().ok()).collect();
        if values.is_empty() { Err(format!("there is no {name}").into()) } else { Ok(values.iter().sum()) }
    }

    /// In good order.
    pub(super) fn stop(mut self) -> Result<()> {
        drop(self.process.stdin.take());
        let status = self.process.wait()?;
        if status.success() { Ok(()) } else { Err(format!("the server ended with {status}").into()) }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // After a failure of the bench; it has ended in good order otherwise.
        let _ = self.process.kill();
        let _ = self.process.wait();
        if let Some(mut out) = self.process.stdout.take() {
            let _ = out.read_to_end(&mut Vec::new());
        }
    }
}
