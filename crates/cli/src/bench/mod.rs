//! `acquaint bench`: what this machine does, measured here and now.

mod chart;

use acquaint_client::discovery::measure::engine::{Directory, Error, Memory, Round, median};
use rustix::time::{ClockId, clock_gettime};
use serde_json::json;

use crate::args::bench::{Bench, BenchCommand, Pir};
use crate::failure::Failure;
use crate::output;
use crate::payload::plot::{self, Format};

/// Lookups that are measured, every third of somebody who is not there.
const ROUNDS: usize = 9;
/// Records that are changed.
const UPDATES: usize = 200;

pub(crate) fn run(args: &Bench) -> Result<(), Failure> {
    match &args.command {
        BenchCommand::Pir(args) => pir(args),
    }
}

/// One line of the draft's tables, in bytes or seconds.
struct Row {
    table: u8,
    what: &'static str,
    /// As the draft writes it, and the number: of a range the smaller one.
    draft: (&'static str, f64),
    here: f64,
    in_seconds: bool,
}

/// Medians of what was measured.
struct Figures {
    round: Round,
    key_bytes: usize,
    key_memory_bytes: usize,
    client_bytes: usize,
    preprocess_s: f64,
    update_s: f64,
    memory_ratio: f64,
}

fn pir(args: &Pir) -> Result<(), Failure> {
    // Before anything is measured, which takes a while.
    let plot = args.plot.as_deref().map(|file| Ok::<_, Failure>((file, Format::of(file)?))).transpose()?;
    output::note(&format!("Measuring with {} records …", args.records));
    let records = usize::try_from(args.records)?;
    let memory: Memory = |words| Ok(Box::new(vec![0; words]));
    let figures = measure(records, memory).map_err(|error| format!("nothing was measured: {error}"))?;
    let rows = rows(&figures);
    if let Some((file, format)) = plot {
        plot::write(file, format, &chart::shapes(args.records, &rows))?;
        output::note(&format!("Drawn: {}.", file.display()));
    }
    if args.json {
        return output::json(&as_json(args.records, &figures));
    }
    for line in lines(args.records, &rows, &figures) {
        output::line(&line)?;
    }
    Ok(())
}

fn measure(records: usize, memory: Memory) -> Result<Figures, Error> {
    let mut directory = Directory::with_table(records, cpu_seconds, memory)?;
    let rounds = (0..ROUNDS)
        .map(|round| {
            let listed = directory.listed().max(1);
            directory.look_up(if round % 3 == 2 { listed + round } else { round % listed })
        })
        .collect::<Result<Vec<_>, _>>()?;
    let updates = (0..UPDATES)
        .map(|number| directory.update(number % directory.listed().max(1)))
        .collect::<Result<Vec<_>, _>>()?;
    let last = rounds.last().copied().unwrap_or_default();
    Ok(Figures {
        round: Round {
            client_s: median(rounds.iter().map(|round| round.client_s).collect()),
            server_s: median(rounds.iter().map(|round| round.server_s).collect()),
            ..last
        },
        key_bytes: directory.key_bytes,
        key_memory_bytes: directory.key_memory_bytes(),
        client_bytes: directory.client_storage_bytes(),
        preprocess_s: directory.preprocess_s,
        update_s: median(updates),
        memory_ratio: directory.memory_ratio(),
    })
}

/// CPU time of this thread.
fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// The draft's estimates (seed 002, sections 7.1.1 and 7.2.1) beside what was measured.
fn rows(figures: &Figures) -> [Row; 9] {
    let Figures { round, key_memory_bytes, client_bytes, .. } = figures;
    let (upload, download) = (round.upload as f64, round.download as f64);
    let row = |table, what, draft, here, in_seconds| Row { table, what, draft, here, in_seconds };
    [
        row(2, "Server storage per device", ("14 MB", 14e6), *key_memory_bytes as f64, false),
        row(2, "Client storage", ("5 MB", 5e6), *client_bytes as f64, false),
        row(2, "Upload per query", ("14 KB", 14e3), upload, false),
        row(2, "Download per query", ("21 KB", 21e3), download, false),
        row(2, "Client time per query", ("0.1s", 0.1), round.client_s, true),
        row(2, "Server time per query", ("0.8-1s", 0.8), round.server_s, true),
        row(3, "Communication", ("2.8 MB", 2.8e6), upload + download, false),
        row(3, "Client time per query", ("0.1s", 0.1), round.client_s, true),
        row(3, "Server time per query", ("1-2s", 1.0), round.server_s, true),
    ]
}

/// The records that a table of the draft is of.
fn drafts_records(table: u8) -> u32 {
    if table == 2 { 1_000_000 } else { 10_000_000 }
}

/// A title for each table.
fn title(table: u8) -> String {
    format!("Table {table}, a shard of {} million", drafts_records(table) / 1_000_000)
}

/// Whether what was measured is of as many records as the table, or one in twenty more or less.
fn is_of(table: u8, records: u32) -> bool {
    drafts_records(table).abs_diff(records) <= drafts_records(table) / 20
}

fn lines(records: u32, rows: &[Row], figures: &Figures) -> Vec<String> {
    let mut lines = Vec::new();
    let mut table = 0;
    for row in rows {
        if row.table != table {
            table = row.table;
            let draft = format!("draft, {}", drafts_records(table));
            let here = format!("here, {records}");
            lines.push(format!("{:<34}{draft:>17}{here:>17}", title(table)));
        }
        let other = if is_of(table, records) { "" } else { "  (another size)" };
        let here = amount(row.here, row.in_seconds);
        lines.push(format!("  {:<32}{:>17}{here:>17}{other}", row.what, row.draft.0));
    }
    lines.push(format!(
        "Measured: {records} records of 128 bytes by keyword with the OPRF, one thread, CPU time; medians of {ROUNDS} lookups. \
         Nothing is scaled to another size."
    ));
    lines.push(format!(
        "Server storage is what the evaluation keys of a session take in the server's memory, for 24 hours at most; the message \
         has {}. Client storage is the shape and an id, {} bytes by definition; a book (`--book`) keeps some 230 bytes a contact beside.",
        amount(figures.key_bytes as f64, false),
        figures.client_bytes,
    ));
    lines.push("A client pads a lookup to 10 elements and 10 queries at the least: uploads and downloads here are of one.".to_owned());
    lines.push(format!(
        "The table took {} to make, and with the records' owners {:.1} times the records' bytes; a changed record takes {}.",
        amount(figures.preprocess_s, true),
        figures.memory_ratio,
        amount(figures.update_s, true),
    ));
    lines
}

fn as_json(records: u32, figures: &Figures) -> serde_json::Value {
    let Figures { round, key_bytes, key_memory_bytes, client_bytes, preprocess_s, update_s, memory_ratio } =
        figures;
    json!({
        "records": records,
        "upload_bytes": round.upload,
        "download_bytes": round.download,
        "client_ms": 1e3 * round.client_s,
        "server_ms": 1e3 * round.server_s,
        "key_bytes": key_bytes,
        "key_memory_bytes": key_memory_bytes,
        "client_storage_bytes": client_bytes,
        "preprocess_s": preprocess_s,
        "update_us": 1e6 * update_s,
        "memory_ratio": memory_ratio,
    })
}

/// A number of bytes or seconds for people.
fn amount(value: f64, in_seconds: bool) -> String {
    let units: &[(f64, &str)] = if in_seconds {
        &[(1.0, "s"), (1e-3, "ms"), (1e-6, "us")]
    } else {
        &[(1e6, "MB"), (1e3, "KB"), (1.0, "bytes")]
    };
    let fitting = units.iter().find(|(unit, _)| value >= *unit).or(units.last());
    fitting.map_or_else(String::new, |(unit, name)| {
        let value = value / unit;
        // Bytes are whole.
        if *unit == 1.0 && !in_seconds { format!("{value:.0} {name}") } else { format!("{value:.2} {name}") }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_written_for_people() {
        for (value, in_seconds, text) in [
            (32.0, false, "32 bytes"),
            (1_691.0, false, "1.69 KB"),
            (1_023_537.0, false, "1.02 MB"),
            (1.5, true, "1.50 s"),
            (0.08, true, "80.00 ms"),
            (2e-5, true, "20.00 us"),
            (0.0, true, "0.00 us"),
        ] {
            assert_eq!(amount(value, in_seconds), text);
        }
    }
}
