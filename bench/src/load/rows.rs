//! The start of a server whose `pairs` has 10 million rows.

use std::path::{Path, PathBuf};

use indicatif::{ProgressBar, ProgressStyle};
use rusqlite::Connection;
use rustix::fs::{Advice, fadvise};

use crate::server::{Child, write_config};
use crate::{Result, machine};

const ROWS: u64 = 10_000_000;
/// Rows of one transaction.
const BATCH: u64 = 100_000;
/// Pairs of one account.
const BOOK: u64 = 500;
/// Starts; the median counts.
const STARTS: usize = 5;

/// Seconds from the start of the process to its listening.
pub(super) fn start_seconds() -> Result<f64> {
    let folder = filled()?;
    let mut seconds = Vec::new();
    for _ in 0..STARTS {
        // As after a boot: nothing of the database is in memory.
        let file = std::fs::File::open(database(&folder))?;
        file.sync_all()?;
        fadvise(&file, 0, None, Advice::DontNeed)?;
        let child = Child::start(&folder)?;
        seconds.push(child.process.start_seconds);
        child.stop()?;
    }
    Ok(machine::median(&seconds))
}

fn database(folder: &Path) -> PathBuf {
    folder.join("data/acquaint.db")
}

/// A server's folder with all those rows: made once for each version of the schema, beside the build's other outputs.
fn filled() -> Result<PathBuf> {
    let outputs = machine::outputs()?;
    let new = tempfile::Builder::new().prefix("bench-rows-").tempdir_in(&outputs)?;
    write_config(new.path(), "standard", |_| {})?;
    // The server itself makes the database and the keys that belong to it.
    Child::start(new.path())?.stop()?;
    let connection = Connection::open(database(new.path()))?;
    let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let folder = outputs.join(format!("bench-rows-v{version}"));
    if folder.exists() {
        return Ok(folder);
    }
    fill(&connection)?;
    connection.close().map_err(|(_, error)| error)?;
    std::fs::rename(new.keep(), &folder)?;
    Ok(folder)
}

fn fill(connection: &Connection) -> Result<()> {
    let mut indexes = connection.prepare(
        "SELECT name, sql FROM sqlite_schema WHERE type = 'index' AND tbl_name = 'pairs' AND sql IS NOT NULL",
    )?;
    let indexes: Vec<(String, String)> =
        indexes.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<rusqlite::Result<_>>()?;
    let bar = ProgressBar::new(ROWS + ROWS / 2 * indexes.len() as u64)
        .with_style(ProgressStyle::with_template("{bar:30} {percent} % {msg}, left: {eta}")?);
    bar.set_message("10 million rows, once");
    connection.pragma_update(None, "synchronous", "OFF")?;
    // Sorting for an index goes through temporary files beside the database, not through memory.
    for (name, _) in &indexes {
        connection.execute(&format!("DROP INDEX {name}"), [])?;
    }
    for from in (0..ROWS).step_by(usize::try_from(BATCH)?) {
        // Hashes in order, so that each goes to the end of the table; the rest of them is random.
        connection.execute(
            "WITH RECURSIVE n(i) AS (SELECT ?1 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < ?1 + ?2)
             INSERT INTO pairs (epoch, hash, account, bit, verified_at, expires_at)
             SELECT 1, unhex(printf('%016x', i) || hex(randomblob(24))), unhex(printf('%032x', i / ?3)), i & 1,
                    unixepoch() * 1000, (unixepoch() + 31536000) * 1000 + i / ?3
             FROM n",
            [i64::try_from(from)?, i64::try_from(BATCH)?, i64::try_from(BOOK)?],
        )?;
        bar.inc(BATCH);
    }
    for (name, sql) in &indexes {
        bar.set_message(format!("index {name}"));
        connection.execute(sql, [])?;
        bar.inc(ROWS / 2);
    }
    connection.pragma_update_and_check(None, "wal_checkpoint", "TRUNCATE", |_| Ok(()))?;
    bar.finish_and_clear();
    Ok(())
}
