//! `bench load`: light calls while imports hash, idle connections, and the start with many rows. The server is a process
//! of its own (this program, started again); the clients share the machine with it.

mod calls;
mod rows;
mod server;

use std::time::Duration;

use acquaint_client::Client;
use acquaint_testkit::{did, number};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use tempfile::TempDir;

use crate::machine;
use calls::{Connection, KINDS};
use server::Child;

pub(crate) use server::serve;

pub(crate) type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Calls a second that are sent, whatever becomes of those before: a little more than is wanted.
const OFFERED: u32 = 2_100;
/// How long they are sent, after a time that is not counted.
const WARM_UP: Duration = Duration::from_secs(3);
const MEASURED: Duration = Duration::from_secs(15);
/// HTTP/2 connections that they share, as a few AppViews would have them.
const CONNECTIONS: usize = 8;
/// Imports that keep the pool busy meanwhile, and their contacts.
const IMPORTS: usize = 5;
const CONTACTS: usize = 1000;
/// Connections that stand and do nothing.
const IDLE: usize = 1000;

/// Keys as they are compared from run to run.
#[derive(Debug, Serialize)]
struct Results {
    /// Light calls answered in a second.
    rpc_per_s: f64,
    /// 95th percentile of the time from when a call was due to its answer, in ms.
    p95_ms: f64,
    /// Calls that were not answered with 200.
    errors: u64,
    /// The median of the same times.
    p50_ms: f64,
    /// Resident memory of a server with 1000 HTTP/2 connections that have each made a call, in MB; its pool has hashed.
    idle_connections_rss_mb: f64,
    /// From the start of the process to its listening, with 10 million rows in `pairs`, file cache dropped; median, in s.
    start_s_10m_rows: f64,
}

pub(crate) async fn run(json: bool) -> Result<()> {
    machine::allow_files(4 * IDLE as u64)?;
    let bar = ProgressBar::new_spinner().with_style(ProgressStyle::with_template("{spinner} {msg}")?);
    bar.enable_steady_tick(Duration::from_millis(200));
    let folder = TempDir::new()?;
    server::write_config(folder.path(), "standard")?;
    let child = Child::start(folder.path())?;
    bar.set_message("light calls while imports hash");
    let load = load(&child, folder.path()).await?;
    bar.set_message("idle connections");
    let idle = idle(&child).await?;
    child.stop()?;
    bar.finish_and_clear();
    let start = rows::start_seconds()?;
    let results = Results {
        rpc_per_s: load.rate,
        p95_ms: load.p95,
        errors: load.errors,
        p50_ms: load.p50,
        idle_connections_rss_mb: idle,
        start_s_10m_rows: start,
    };
    println!("{}", machine::describe());
    println!("{:<66} {:>9} {:>9}", "server and clients on one machine", "measured", "wanted");
    let row = |what: &str, value: f64, wanted: &str| println!("{what:<66} {value:>9.3} {wanted:>9}");
    row("light calls a second while imports hash on every core", results.rpc_per_s, ">= 2000");
    row("  p95 from when a call was due, ms", results.p95_ms, "< 20");
    for (kind, p95) in KINDS.into_iter().zip(load.p95_of_each) {
        row(&format!("    p95 of {kind}, ms"), p95, "");
    }
    row("  median, ms", results.p50_ms, "");
    row("  not answered with 200", results.errors as f64, "0");
    row("resident memory with 1000 idle connections, MB", results.idle_connections_rss_mb, "< 200");
    row("start with 10 million rows in `pairs`, s", results.start_s_10m_rows, "< 1");
    if json {
        println!("{}", serde_json::to_string(&results)?);
    }
    Ok(())
}

struct Load {
    rate: f64,
    p50: f64,
    p95: f64,
    p95_of_each: [f64; KINDS.len()],
    errors: u64,
}

fn at(millis: &mut [f64], share: usize) -> f64 {
    millis.sort_by(f64::total_cmp);
    millis.get(millis.len() * share / 100).copied().unwrap_or(f64::NAN)
}

async fn load(child: &Child, folder: &std::path::Path) -> Result<Load> {
    let client = Client::new(&child.url, server::API_KEY)?;
    // An account with matches, to be listed.
    let reader = 90;
    let friends: Vec<String> = (91..96).map(number).collect();
    import(&client, folder, reader, friends).await?;
    for friend in 91..96 {
        import(&client, folder, friend, vec![number(reader)]).await?;
    }
    while child.metric("acquaint_waiting_pairs").await? > 0.0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let mut imports = tokio::task::JoinSet::new();
    for account in 0..IMPORTS {
        let (client, folder) = (client.clone(), folder.to_owned());
        let contacts = (0..CONTACTS).map(|n| format!("+121220{n:05}")).collect();
        imports.spawn(async move { import(&client, &folder, account, contacts).await });
    }
    while child.metric("acquaint_waiting_pairs").await? < (IMPORTS * CONTACTS) as f64 * 0.8 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS {
        connections.push(Connection::open(&child.url).await?);
    }
    calls::send(&connections, OFFERED, WARM_UP, &did(reader)).await?;
    let hashes = child.metric("acquaint_pool_hashes_total").await?;
    let mut told = calls::send(&connections, OFFERED, MEASURED, &did(reader)).await?;
    let hashes = child.metric("acquaint_pool_hashes_total").await? - hashes;
    if child.metric("acquaint_waiting_pairs").await? == 0.0 {
        return Err("the imports ended before the calls did: the figures would mean nothing".into());
    }
    if hashes == 0.0 {
        return Err("the pool did not hash: the figures would mean nothing".into());
    }
    while let Some(import) = imports.join_next().await {
        import??;
    }
    let kinds = told.millis.each_mut().map(|millis| at(millis, 95));
    let mut all = told.millis.concat();
    let calls = all.len() as f64;
    Ok(Load {
        rate: calls / told.seconds,
        p50: at(&mut all, 50),
        p95: at(&mut all, 95),
        p95_of_each: kinds,
        errors: told.errors,
    })
}

/// Verifies and imports; returns with the answer, which may come before the work is done.
async fn import(
    client: &Client,
    folder: &std::path::Path,
    account: usize,
    contacts: Vec<String>,
) -> Result<()> {
    let (did, phone) = (did(account), number(account));
    client.start_verification(&did, &phone).await?;
    let outbox = tokio::fs::read_to_string(folder.join("outbox.txt")).await?;
    let line = outbox.lines().rev().find_map(|line| line.strip_prefix(&phone)).ok_or("no code was sent")?;
    let token = client.verify(&did, &phone, line.trim()).await?;
    client.import(&did, &token, contacts).await?;
    Ok(())
}

/// Resident MB with [`IDLE`] more connections.
async fn idle(child: &Child) -> Result<f64> {
    let mut held = Vec::new();
    for _ in 0..IDLE {
        let connection = Connection::open(&child.url).await?;
        if connection.call("Ping", "{}").await? != 200 {
            return Err("a call was refused".into());
        }
        held.push(connection);
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    let resident = child.metric("acquaint_process_resident_memory_bytes").await? / 1e6;
    let standing = child.metric("acquaint_connections").await?;
    if standing < IDLE as f64 {
        return Err(format!("only {standing} connections stand").into());
    }
    drop(held);
    Ok(resident)
}
