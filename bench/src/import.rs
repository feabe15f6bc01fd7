//! `bench import`: the whole server in this process, called over HTTP, real database, suite `standard`.

use std::time::{Duration, Instant};

use acquaint_stretch::Worker;
use acquaint_testkit::{App, did};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use crate::{Result, contact, hashing, machine};

/// Contacts of the import that the deadline is about.
const CONTACTS: usize = 1000;
/// Contacts of one run on one or two threads, and how often each is run, in turn.
const SPEEDUP_CONTACTS: usize = 400;
const SPEEDUP_ROUNDS: usize = 3;

/// Keys as they are compared from run to run.
#[derive(Debug, Serialize)]
struct Results {
    /// Argon2id's share of the process's CPU time during an import; HMAC's own microseconds are not counted in.
    argon2_hmac_cpu_share: f64,
    /// Seconds from the call to the last pair of an import of 1000 contacts.
    import_1000_s: f64,
    /// Time on one thread over time on two, median of the rounds.
    two_core_speedup: f64,
    /// The same for bare Argon2id without a server, in turn with the above: what this machine's memory allows.
    bare_two_core_speedup: f64,
    /// 95th percentile of GetMatches and GetSyncStatus, in ms over HTTP, while imports use every thread.
    reads_p95_ms_under_load: f64,
    /// Most resident memory ever, less the pool's Argon2id buffers, in MiB; this program's own included.
    rss_over_pool_mb: f64,
}

pub(crate) async fn run(json: bool) -> Result<()> {
    let bar = ProgressBar::new(u64::try_from(2 + 3 * SPEEDUP_ROUNDS)?)
        .with_style(ProgressStyle::with_template("{bar:30} {pos}/{len} {msg}")?);
    bar.set_message("one import of 1000 contacts");
    let alone = import_alone().await?;
    bar.inc(1);
    bar.set_message("reads while imports run");
    let reads_p95 = reads_under_load().await?;
    bar.inc(1);
    let (mut speedups, mut bare) = (Vec::new(), Vec::new());
    for round in 1..=SPEEDUP_ROUNDS {
        bar.set_message(format!("one thread against two, round {round}"));
        let one = seconds_with_threads(1).await?;
        bar.inc(1);
        let two = seconds_with_threads(2).await?;
        bar.inc(1);
        speedups.push(one / two);
        bare.push(hashing::seconds(1, SPEEDUP_CONTACTS)? / hashing::seconds(2, SPEEDUP_CONTACTS)?);
        bar.inc(1);
    }
    bar.finish_and_clear();
    let results = Results {
        argon2_hmac_cpu_share: alone.share,
        import_1000_s: alone.seconds,
        two_core_speedup: machine::median(&speedups),
        bare_two_core_speedup: machine::median(&bare),
        reads_p95_ms_under_load: reads_p95,
        rss_over_pool_mb: machine::peak_resident_mib()? - alone.buffers_mib,
    };
    println!("{}", machine::describe());
    println!("{:<58} {:>9} {:>9}", "suite `standard` (19 MiB, t = 2)", "measured", "wanted");
    let row = |what: &str, value: f64, wanted: &str| println!("{what:<58} {value:>9.3} {wanted:>9}");
    row("Argon2id's and HMAC's share of an import's CPU", results.argon2_hmac_cpu_share, ">= 0.95");
    row("an import of 1000 contacts, s", results.import_1000_s, "");
    row("one import on two threads, times as fast as on one", results.two_core_speedup, ">= 1.8");
    row("  the same for bare Argon2id: what the machine allows", results.bare_two_core_speedup, "");
    row("GetMatches and GetSyncStatus under load, p95, ms", results.reads_p95_ms_under_load, "< 20");
    row("resident memory over the pool's buffers, MiB", results.rss_over_pool_mb, "<= 150");
    if json {
        println!("{}", serde_json::to_string(&results)?);
    }
    Ok(())
}

/// A server at `standard`; `threads` = 0 takes every core.
async fn app(threads: u32) -> App {
    App::start_with(|config| {
        config.keys.suite = "standard".into();
        config.pool.threads = threads;
        config.import.account_pairs = 100_000;
        config.import.number_pairs = 100_000;
    })
    .await
}

async fn start_import(app: &App, account: usize, contacts: std::ops::Range<usize>) -> Result<()> {
    let token = app.verify(&did(account), &acquaint_testkit::number(account)).await;
    app.client.import(&did(account), &token, contacts.map(contact).collect()).await?;
    Ok(())
}

struct Alone {
    seconds: f64,
    share: f64,
    buffers_mib: f64,
}

async fn import_alone() -> Result<Alone> {
    let app = app(0).await;
    let (hashed_before, cpu_before) = (app.discovery().pool_stats(), machine::cpu_seconds());
    let began = Instant::now();
    start_import(&app, 0, 0..CONTACTS).await?;
    while app.discovery().waiting_pairs().await? > 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let seconds = began.elapsed().as_secs_f64();
    let hashing = app.discovery().pool_stats().cpu_nanos - hashed_before.cpu_nanos;
    let share = hashing as f64 / 1e9 / (machine::cpu_seconds() - cpu_before);
    let worker = hashing::worker()?;
    let each = Worker::memory_bytes(worker.cost(), worker.kernel(), worker.width());
    let buffers_mib = (each * app.discovery().pool_threads() as u64) as f64 / 1048576.0;
    app.stop().await;
    Ok(Alone { seconds, share, buffers_mib })
}

async fn seconds_with_threads(threads: u32) -> Result<f64> {
    let app = app(threads).await;
    let token = app.verify(&did(0), &acquaint_testkit::number(0)).await;
    let began = Instant::now();
    app.client.import(&did(0), &token, (0..SPEEDUP_CONTACTS).map(contact).collect()).await?;
    while app.discovery().waiting_pairs().await? > 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let seconds = began.elapsed().as_secs_f64();
    app.stop().await;
    Ok(seconds)
}

/// Reads of an account with matches, one after another, while four imports keep every thread busy.
async fn reads_under_load() -> Result<f64> {
    let app = app(0).await;
    let reader = did(90);
    let book: Vec<String> = (91..96).map(acquaint_testkit::number).collect();
    app.import(&reader, &acquaint_testkit::number(90), &book.iter().map(String::as_str).collect::<Vec<_>>())
        .await;
    for friend in 91..96 {
        app.import(&did(friend), &acquaint_testkit::number(friend), &[&acquaint_testkit::number(90)]).await;
    }
    let load = async {
        let imports = (0..4).map(|account| start_import(&app, account, 0..CONTACTS));
        for import in imports {
            // Answered at the deadline; the work goes on.
            let _ = tokio::time::timeout(Duration::from_millis(500), import).await;
        }
    };
    load.await;
    let mut millis = Vec::new();
    let until = Instant::now() + Duration::from_secs(10);
    while Instant::now() < until {
        let began = Instant::now();
        app.client.matches(&reader, 50, "").await?;
        millis.push(began.elapsed().as_secs_f64() * 1e3);
        let began = Instant::now();
        app.client.sync_status(&reader).await?;
        millis.push(began.elapsed().as_secs_f64() * 1e3);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    if app.discovery().waiting_pairs().await? == 0 {
        return Err("the load ended before the reads did: the figure would mean nothing".into());
    }
    app.stop().await;
    millis.sort_by(f64::total_cmp);
    Ok(millis.get(millis.len() * 95 / 100).copied().unwrap_or(f64::NAN))
}
