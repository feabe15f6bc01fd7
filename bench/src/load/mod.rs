//! `bench load`: light calls while imports hash, idle connections, and the start with many rows. The server is a process
//! of its own (this program, started again); the clients share the machine with it.

mod calls;
mod rows;

use std::time::Duration;

use acquaint_testkit::{did, number};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use tempfile::TempDir;

use crate::server::Child;
use crate::{Result, contact, machine, server};
use calls::{Connection, KINDS};

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
    server::write_config(folder.path(), "standard", |_| {})?;
    let child = Child::start(folder.path())?;
    bar.set_message("light calls while imports hash");
    let load = load(&child).await?;
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

async fn load(child: &Child) -> Result<Load> {
    let client = child.client()?;
    // An account with matches, to be listed.
    let reader = 90;
    let friends: Vec<String> = (91..96).map(number).collect();
    let token = child.verify(&client, reader).await?;
    client.import(&did(reader), &token, friends).await?;
    for friend in 91..96 {
        let token = child.verify(&client, friend).await?;
        client.import(&did(friend), &token, vec![number(reader)]).await?;
    }
    child.settle().await?;
    let mut imports = tokio::task::JoinSet::new();
    for account in 0..IMPORTS {
        let token = child.verify(&client, account).await?;
        let client = client.clone();
        let contacts = (0..CONTACTS).map(contact).collect();
        // Returns with the answer, which may come before the work is done.
        imports.spawn(async move { client.import(&did(account), &token, contacts).await });
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
