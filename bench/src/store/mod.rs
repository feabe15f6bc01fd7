//! `bench store`: the store on a private PostgreSQL with millions of rows, and two servers on one store. PostgreSQL and
//! who asks it share the machine.

mod database;
mod embedded;
mod rows;
mod steps;
mod two;

use std::path::PathBuf;

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use crate::{Result, hashing, machine};
use database::Database;
use steps::{Importers, Spent};

/// Connections, and accounts that import, at once.
const CONNECTIONS: usize = 4;
/// Pairs of a step where speed is asked for, and steps of each connection in a round.
const STEP: u32 = 1000;
const STEPS: u32 = 25;
/// Enough to get past the time after a checkpoint in which most pages go into the log once more.
const ROUNDS: usize = 15;
/// Pairs of a step of the service, and steps of a round.
const SERVICE_STEP: u32 = 32;
const SERVICE_STEPS: u32 = 400;
const SERVICE_ROUNDS: usize = 5;
/// A tenth of all halves of the rounds meet a row that no other has met.
const LEAST_ROWS: u64 = 1_000_000;
/// Hashes between two rounds of the service's steps.
const HASHES: usize = 96;

/// How much is measured.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// Rows in `pairs` at the two measurements
    #[arg(long, num_args = 2, value_names = ["FEW", "MANY"], default_values_t = [10_000_000, 50_000_000])]
    rows: Vec<u64>,
    /// A short trial with 200,000 and 1 million rows, whose figures say little
    #[arg(long)]
    quick: bool,
    /// Where PostgreSQL's data is put, and removed from at the end; the build's outputs if not given. If this program runs
    /// as root, every user must be able to enter it
    #[arg(long)]
    folder: Option<PathBuf>,
    /// Leave the two servers out
    #[arg(long)]
    no_servers: bool,
}

/// Keys as they are compared from run to run. `null` is what was not measured, or with other numbers of rows.
#[derive(Debug, Serialize)]
struct Results {
    /// Pairs a second of `match_or_insert` in steps of 1000 on four connections, a tenth of them matches; median.
    pg_pairs_per_s_10m: Option<f64>,
    pg_pairs_per_s_50m: Option<f64>,
    /// CPU time of a pair in steps of 32, of PostgreSQL's processes and this one together, over that of one Argon2id hash
    /// in turn with it: what an import pays for the store, in units of its hashing.
    store_share_at_10m: Option<f64>,
    /// The same with the time that a step takes from its call to its end, during which the pool hashes other pairs.
    store_wall_share_at_10m: Option<f64>,
    /// Time to empty a queue of imports with one server over that with two, each on a core of its own; median.
    two_server_speedup: Option<f64>,
    /// The same of bare Argon2id on one thread and two, in turn with the above: what this machine's memory allows.
    bare_two_core_speedup: Option<f64>,
    /// Bytes of a row of `pairs` and of its three indexes, at the larger number of rows.
    row_bytes: f64,
    index_bytes: f64,
    /// Log written for a pair in steps of 32, at the smaller and at the larger number of rows.
    wal_bytes_few: f64,
    wal_bytes_many: f64,
    /// Bytes of a pair in the embedded store, indexes included.
    sqlite_row_bytes: f64,
}

/// What was measured at a number of rows.
struct At {
    rows: u64,
    /// Of each round, the first one right after a checkpoint.
    speeds: Vec<f64>,
    step: Step,
    sizes: database::Sizes,
}

/// Steps as the service makes them.
struct Step {
    milliseconds: f64,
    cpu_share: f64,
    wall_share: f64,
    wal_bytes: f64,
}

pub(crate) async fn run(options: &Options, json: bool) -> Result<()> {
    let rows: &[u64] = if options.quick { &[200_000, 1_000_000] } else { &options.rows };
    if !options.quick && rows.iter().any(|rows| *rows < LEAST_ROWS) {
        return Err(
            format!("--rows must be {LEAST_ROWS} at least: with fewer the halves to be met run out").into()
        );
    }
    let outputs = machine::outputs()?;
    let folder = options.folder.as_ref().unwrap_or(&outputs);
    let bar = ProgressBar::new(0).with_style(ProgressStyle::with_template("{bar:30} {percent} % {msg}")?);
    bar.enable_steady_tick(std::time::Duration::from_millis(500));
    let database = Database::start(folder, *rows.iter().max().ok_or("no rows are asked for")?)?;
    let importers = Importers::new(database.store().await?, CONNECTIONS as u64).await?;
    let mut at = Vec::new();
    for rows in rows {
        database.load(*rows, &bar)?;
        at.push(measure(&database, &importers, *rows, options.quick, &bar).await?);
    }
    drop(importers);
    bar.set_message("the embedded store");
    let sqlite_row_bytes = embedded::row_bytes(options.quick)?;
    let two =
        if options.no_servers { None } else { Some(two::speedup(&database, options.quick, &bar).await?) };
    bar.finish_and_clear();
    let [few, many] = &*at else { return Err("two numbers of rows are needed".into()) };
    let only = |at: &At, rows: u64, value: f64| (at.rows == rows).then_some(value);
    let results = Results {
        pg_pairs_per_s_10m: only(few, 10_000_000, machine::median(&few.speeds)),
        pg_pairs_per_s_50m: only(many, 50_000_000, machine::median(&many.speeds)),
        store_share_at_10m: only(few, 10_000_000, few.step.cpu_share),
        store_wall_share_at_10m: only(few, 10_000_000, few.step.wall_share),
        two_server_speedup: two.as_ref().map(|two| two.servers),
        bare_two_core_speedup: two.as_ref().map(|two| two.bare),
        row_bytes: many.sizes.row_bytes,
        index_bytes: many.sizes.index_bytes,
        wal_bytes_few: few.step.wal_bytes,
        wal_bytes_many: many.step.wal_bytes,
        sqlite_row_bytes,
    };
    print(&database, few, many, two.as_ref(), sqlite_row_bytes);
    if json {
        println!("{}", serde_json::to_string(&results)?);
    }
    Ok(())
}

async fn measure(
    database: &Database,
    importers: &Importers,
    rows: u64,
    quick: bool,
    bar: &ProgressBar,
) -> Result<At> {
    let (rounds, steps) = if quick { (3, 5) } else { (ROUNDS, STEPS) };
    let mut speeds = Vec::new();
    for round in 1..=rounds {
        bar.set_message(format!("{rows} rows, steps of {STEP}, round {round} of {rounds}"));
        let Spent { seconds, pairs } = importers.round(CONNECTIONS, STEP, steps, rows).await?;
        speeds.push(pairs / seconds);
    }
    let (rounds, steps) = if quick { (3, 50) } else { (SERVICE_ROUNDS, SERVICE_STEPS) };
    let (mut milliseconds, mut cpu, mut wall, mut wal) = (vec![], vec![], vec![], vec![]);
    let (mut worker, hashed) = (hashing::worker()?, hashing::pairs(0..HASHES)?);
    for round in 1..=rounds {
        bar.set_message(format!("{rows} rows, steps of {SERVICE_STEP}, round {round} of {rounds}"));
        let hash = hashing::cpu_seconds_each(&mut worker, &hashed)?;
        let (written, used) = (database.written()?, database.cpu_seconds()?);
        let Spent { seconds, pairs } = importers.round(1, SERVICE_STEP, steps, rows).await?;
        milliseconds.push(seconds * 1e3 / f64::from(steps));
        cpu.push((database.cpu_seconds()? - used) / pairs / hash);
        wall.push(seconds / pairs / hash);
        wal.push((database.written()? - written) / pairs);
    }
    let step = Step {
        milliseconds: machine::median(&milliseconds),
        cpu_share: machine::median(&cpu),
        wall_share: machine::median(&wall),
        wal_bytes: machine::median(&wal),
    };
    Ok(At { rows, speeds, step, sizes: database.sizes()? })
}

fn print(database: &Database, few: &At, many: &At, two: Option<&two::Two>, sqlite: f64) {
    println!("{}", machine::describe());
    println!("{}", database.describe());
    println!("{:<72} {:>9} {:>9}", "suite `standard` (19 MiB, t = 2)", "measured", "wanted");
    let row = |what: &str, value: f64, wanted: &str| println!("{what:<72} {value:>9.3} {wanted:>9}");
    for (at, wanted) in [(few, ">= 20000"), (many, "")] {
        let millions = at.rows as f64 / 1e6;
        println!("with {millions} million rows:");
        row("  pairs a second, steps of 1000, 4 connections", machine::median(&at.speeds), wanted);
        let slowest = at.speeds.iter().copied().fold(f64::INFINITY, f64::min);
        row("    the slowest round; the first ones follow a checkpoint", slowest, "");
        row("  a step of 32 pairs, ms", at.step.milliseconds, "");
        let wanted = if at.rows == few.rows { "< 0.05" } else { "" };
        row(
            "  CPU of a pair in it, PostgreSQL's and the server's, over Argon2id's",
            at.step.cpu_share,
            wanted,
        );
        row("  the same with its time, in which other pairs are hashed", at.step.wall_share, "");
        row("  log written for a pair in it, bytes", at.step.wal_bytes, "");
        row("  a row in `pairs`, bytes", at.sizes.row_bytes, "");
        row("    its indexes, bytes", at.sizes.index_bytes, "");
    }
    let ratio = machine::median(&many.speeds) / machine::median(&few.speeds);
    row("speed with many rows over that with few", ratio, ">= 0.75");
    row("a pair in SQLite with its indexes, bytes", sqlite, "");
    if let Some(two) = two {
        row("a queue with one server on one core, s", two.one_seconds, "");
        row("  with one more server, on the other core, times as fast", two.servers, ">= 1.8");
        row("  the same for bare Argon2id: what the machine allows", two.bare, "");
    }
}
