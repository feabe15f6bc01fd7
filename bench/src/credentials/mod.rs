//! `bench credentials`: credentials issued and checked in process, and over HTTP with limits and audit log in SQLite; the
//! limiter's front.

mod http;
pub(crate) mod in_process;

use std::time::Duration;

use acquaint_server::config::Config;
use acquaint_server::{Ambient, keys};
use acquaint_testkit::softhsm::SoftHsm;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::server::{Child, config_file, write_config};
use crate::{Result, machine};

/// The back end's key.
const KEY: &str = "aqk_a-bench-key-of-a-back-end";

/// Keys as they are compared from run to run.
#[derive(Debug, Serialize)]
struct Results {
    /// Credentials issued and then checked in a second, on one core, keys in software.
    issue_verify_per_s: f64,
    /// The same with keys in SoftHSM.
    issue_verify_softhsm_per_s: f64,
    /// Credentials issued over HTTP/1.1 keep-alive in a second, each charged and noted in SQLite.
    http_per_s: f64,
    /// 95th percentile of the time of one, in ms.
    http_p95_ms: f64,
    /// The median, in ms.
    http_p50_ms: f64,
    /// Answers other than 200.
    http_errors: u64,
    /// Decisions of the limiter's front in a second, on one core.
    limiter_per_s: f64,
}

pub(crate) async fn run(json: bool) -> Result<()> {
    let bar = ProgressBar::new_spinner().with_style(ProgressStyle::with_template("{spinner} {msg}")?);
    bar.enable_steady_tick(Duration::from_millis(200));
    let folder = TempDir::new()?;
    write_config(folder.path(), "standard", |config| {
        config.sessions.api_keys = vec![format!("bench:{}", hex::encode(Sha256::digest(KEY)))];
        config.credentials.audiences = vec!["discovery:1".into()];
    })?;
    let config = Config::load(&config_file(folder.path()), [])?;
    let clock = Ambient::default().clock;
    keys::init(&config, clock.now())?;
    keys::new_audience(&config, clock.now())?;
    bar.set_message("in process, keys in software");
    let software = in_process::issue_and_verify(&config)?;
    bar.set_message("in process, keys in SoftHSM");
    let token = in_process::with_softhsm(&SoftHsm::new())?;
    bar.set_message("the limiter's front");
    let limiter = in_process::limiter();
    bar.set_message("over HTTP");
    let child = Child::start(folder.path())?;
    let over = http::measure(&child.url).await?;
    child.stop()?;
    bar.finish_and_clear();
    let results = Results {
        issue_verify_per_s: software,
        issue_verify_softhsm_per_s: token,
        http_per_s: over.per_s,
        http_p95_ms: over.p95_ms,
        http_p50_ms: over.p50_ms,
        http_errors: over.errors,
        limiter_per_s: limiter,
    };
    println!("{}", machine::describe());
    println!("{:<68} {:>10} {:>9}", "medians; server and clients on one machine", "measured", "wanted");
    let row = |what: &str, value: f64, wanted: &str| println!("{what:<68} {value:>10.2} {wanted:>9}");
    row("issued and checked a second on one core, keys in software", results.issue_verify_per_s, ">= 200000");
    row("  keys in SoftHSM", results.issue_verify_softhsm_per_s, ">= 7000");
    row("issued a second over HTTP/1.1 keep-alive, SQLite", results.http_per_s, ">= 5000");
    row("  p95, ms", results.http_p95_ms, "< 10");
    row("  median, ms", results.http_p50_ms, "");
    row("  not answered with 200", results.http_errors as f64, "0");
    row("decisions of the limiter's front a second on one core", results.limiter_per_s, ">= 1e6");
    if json {
        println!("{}", serde_json::to_string(&results)?);
    }
    Ok(())
}
