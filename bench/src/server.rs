//! Servers and custody processes of their own: this program, started again with one of its hidden commands.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use acquaint_client::Client;
use acquaint_server::config::Config;
use acquaint_server::{Ambient, CustodyProcess, Server};
use acquaint_testkit::{did, number};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{Result, machine};

/// The operator's key of the measured server.
pub(crate) const API_KEY: &str = "a-bench-key-of-32-characters-here";

/// A configuration in `folder`, with the limits on people out of the way, and then changed.
pub(crate) fn write_config(folder: &Path, suite: &str, change: impl FnOnce(&mut Config)) -> Result<()> {
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
    change(&mut config);
    Ok(std::fs::write(config_file(folder), config.to_toml()?)?)
}

pub(crate) fn config_file(folder: &Path) -> PathBuf {
    folder.join("acquaint.toml")
}

/// Serves until standard input ends.
pub(crate) async fn serve(folder: &Path) -> Result<()> {
    let config = Config::load(&config_file(folder), [])?;
    let traces = acquaint_server::telemetry::start(&config.log, &config.telemetry)?;
    let server = Server::start(config, Ambient::default()).await?;
    let operator = server.operator_address().ok_or("no operator's port")?;
    println!("{} {operator}", server.url()?);
    server.run(input_ends()).await;
    traces.stop().await;
    Ok(())
}

/// Makes keys, and serves a custody socket until standard input ends.
pub(crate) async fn serve_custody(folder: &Path) -> Result<()> {
    let config = Config::load(&config_file(folder), [])?;
    let ambient = Ambient::default();
    acquaint_server::keys::init(&config, ambient.clock.now())?;
    let custody = CustodyProcess::start(&config, ambient.clock)?;
    println!("ready");
    custody.run(input_ends()).await;
    Ok(())
}

/// The end, or an error: the parent is gone either way.
async fn input_ends() {
    let _ = tokio::io::stdin().read_to_end(&mut Vec::new()).await;
}

/// A process that this program has started; killed when dropped.
pub(crate) struct Process {
    process: std::process::Child,
    /// Open while the process lives, or it could not print.
    _out: BufReader<ChildStdout>,
    /// What it printed when it was ready.
    pub(crate) ready: String,
    /// From its start to that.
    pub(crate) start_seconds: f64,
}

impl Process {
    /// Starts this program with a hidden command and a folder, and waits for its first line. It has only the variables of
    /// the environment that `change` gives it.
    pub(crate) fn start(name: &str, folder: &Path, change: impl FnOnce(&mut Command)) -> Result<Self> {
        let began = Instant::now();
        let log = folder.join(format!("{name}-log.txt"));
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(name).arg(folder).env_clear();
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(std::fs::File::create(&log)?);
        change(&mut command);
        let mut process = command.spawn()?;
        let mut out = BufReader::new(process.stdout.take().ok_or("no standard output")?);
        let mut line = String::new();
        out.read_line(&mut line)?;
        let start_seconds = began.elapsed().as_secs_f64();
        let started = Self { process, _out: out, ready: line.trim().into(), start_seconds };
        if started.ready.is_empty() {
            let log = std::fs::read_to_string(log)?;
            return Err(format!("`{name}` does not start: {log}").into());
        }
        Ok(started)
    }

    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// CPU time that it has used, all threads, in seconds, to a hundredth.
    pub(crate) fn cpu_seconds(&self) -> Result<f64> {
        Ok(machine::cpu_seconds_of(self.process.id())?)
    }

    /// In good order.
    pub(crate) fn stop(mut self) -> Result<()> {
        drop(self.process.stdin.take());
        let status = self.process.wait()?;
        if status.success() { Ok(()) } else { Err(format!("a process ended with {status}").into()) }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // After a failure of the bench; it has ended in good order otherwise.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A running server.
pub(crate) struct Child {
    pub(crate) process: Process,
    pub(crate) url: String,
    operator: String,
    folder: PathBuf,
}

impl Child {
    pub(crate) fn start(folder: &Path) -> Result<Self> {
        Self::start_with(folder, |_| {})
    }

    /// With a changed command, as for a variable of its environment.
    pub(crate) fn start_with(folder: &Path, change: impl FnOnce(&mut Command)) -> Result<Self> {
        let process = Process::start("serve", folder, change)?;
        let (url, operator) = process.ready.split_once(' ').ok_or("no address")?;
        Ok(Self { url: url.into(), operator: operator.into(), folder: folder.into(), process })
    }

    pub(crate) fn client(&self) -> Result<Client> {
        Ok(Client::new(&self.url, API_KEY)?)
    }

    /// Verifies the `account`th number of the `account`th account; the token.
    pub(crate) async fn verify(&self, client: &Client, account: usize) -> Result<String> {
        let (did, phone) = (did(account), number(account));
        client.start_verification(&did, &phone).await?;
        let outbox = tokio::fs::read_to_string(self.folder.join("outbox.txt")).await?;
        let code =
            outbox.lines().rev().find_map(|line| line.strip_prefix(&phone)).ok_or("no code was sent")?;
        Ok(client.verify(&did, &phone, code.trim()).await?)
    }

    /// The sum of a metric's series.
    pub(crate) async fn metric(&self, name: &str) -> Result<f64> {
        let mut stream = tokio::net::TcpStream::connect(&self.operator).await?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: bench\r\nconnection: close\r\n\r\n").await?;
        let mut text = String::new();
        stream.read_to_string(&mut text).await?;
        let series =
            text.lines().filter_map(|line| line.split_once([' ', '{']).filter(|(found, _)| *found == name));
        let values: Vec<f64> = series.filter_map(|(_, rest)| rest.rsplit(' ').next()?.parse().ok()).collect();
        if values.is_empty() { Err(format!("there is no {name}").into()) } else { Ok(values.iter().sum()) }
    }

    /// Waits until no accepted import is left to work on.
    pub(crate) async fn settle(&self) -> Result<()> {
        while self.metric("acquaint_waiting_pairs").await? > 0.0 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    }

    /// In good order.
    pub(crate) fn stop(self) -> Result<()> {
        self.process.stop()
    }
}
