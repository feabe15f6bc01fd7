//! The write-ahead log: copied back into the database in quiet moments, and cut when data must be gone.
//!
//! `secure_delete` zeroes what is deleted where it stands. But when SQLite moves rows to another page, it leaves their
//! old bytes in the page's unallocated gap, and a later deletion does not find them there. So after every checkpoint
//! the gaps of the pages that it copied are zeroed ([`super::scrub`]).

use std::cell::Cell;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rusqlite::{Connection, Result};

use super::scrub::Scrubber;

/// From here on a checkpoint is worth a quiet moment: 4 MiB.
const WORTHWHILE: u32 = 1024;
/// From here on it does not wait for one.
const OVERDUE: u32 = 16 * WORTHWHILE;

/// How long what was deleted may stay in the log of a store that has quiet moments.
const CUT_EVERY: Duration = Duration::from_secs(10);

thread_local! {
    /// How many frames the log had after the last commit of this thread's writer.
    static FRAMES: Cell<u32> = const { Cell::new(0) };
}

/// The writer's view of the log.
pub(super) struct Log {
    path: PathBuf,
    scrubber: Scrubber,
    /// The frames of the log that were copied back and scrubbed by the last checkpoint.
    copied: u32,
    last_cut: Instant,
}

struct Checkpoint {
    busy: bool,
    frames: u32,
    copied: u32,
}

impl Log {
    pub(super) fn new(path: PathBuf, scrubber: Scrubber) -> Self {
        Self { path, scrubber, copied: 0, last_cut: Instant::now() }
    }

    /// Lets `connection` count the log's frames, in place of SQLite's own checkpoints within a commit. On the writer's
    /// thread.
    pub(super) fn watch(connection: &Connection) {
        connection.wal_hook(Some(|_, frames| {
            FRAMES.set(u32::try_from(frames).unwrap_or(0));
            Ok(())
        }));
    }

    /// Between two batches.
    pub(super) fn tend(&mut self, connection: &Connection, idle: bool) {
        let frames = FRAMES.get();
        if idle && frames > 0 && self.last_cut.elapsed() >= CUT_EVERY {
            // Finished lists and taken tokens are still in the log. Readers are not waited for: the next quiet moment
            // tries again.
            self.last_cut = Instant::now();
            let cut = connection.busy_timeout(Duration::ZERO).and_then(|()| self.try_cut(connection));
            let restored = connection.busy_timeout(super::open::BUSY);
            if let Err(error) = cut.and(restored) {
                tracing::warn!(%error, "the store's log could not be cut in a quiet moment");
            }
            return;
        }
        // A log that SQLite has begun anew is shorter than what was copied.
        let grown = if frames < self.copied { frames } else { frames - self.copied };
        if grown < WORTHWHILE || !(idle || grown >= OVERDUE) {
            return;
        }
        let copied = run(connection, "PASSIVE").and_then(|checkpoint| {
            let pages = self.scrubber.pages_in(&self.path, checkpoint.copied).map_err(io)?;
            self.scrubber.scrub(&pages).map_err(io)?;
            self.copied = checkpoint.copied;
            Ok(())
        });
        if let Err(error) = copied {
            tracing::warn!(%error, "a checkpoint of the store failed");
        }
    }

    /// Copies everything back and truncates the log; whether that was done.
    pub(super) fn cut(&mut self, connection: &Connection) -> bool {
        match self.try_cut(connection) {
            Ok(cut) => cut,
            Err(error) => {
                tracing::error!(%error, "the store's log could not be cut");
                false
            }
        }
    }

    fn try_cut(&mut self, connection: &Connection) -> Result<bool> {
        // Which pages the log holds must be read before it is cut.
        let frames = run(connection, "PASSIVE")?.frames;
        let pages: BTreeSet<u32> = self.scrubber.pages_in(&self.path, frames).map_err(io)?;
        let cut = truncate(connection)?;
        self.scrubber.scrub(&pages).map_err(io)?;
        if cut {
            self.copied = 0;
            FRAMES.set(0);
        }
        Ok(cut && std::fs::metadata(&self.path).map_or(0, |log| log.len()) == 0)
    }

    /// Before the connection closes: nothing is left for SQLite's own last checkpoint.
    pub(super) fn close(&mut self, connection: &Connection) {
        if !self.cut(connection) {
            tracing::warn!("the store closes with a log: the next start takes longer");
        }
    }

    /// After an unclean end, nobody knows which pages were copied back and not scrubbed.
    pub(super) fn recover(&mut self, connection: &Connection) -> Result<()> {
        truncate(connection)?;
        self.scrubber.scrub_all().map_err(io)
    }
}

/// Waits for readers as long as the connection's busy timeout says.
fn truncate(connection: &Connection) -> Result<bool> {
    run(connection, "TRUNCATE").map(|checkpoint| !checkpoint.busy)
}

fn run(connection: &Connection, mode: &str) -> Result<Checkpoint> {
    connection.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |row| {
        Ok(Checkpoint { busy: row.get(0)?, frames: row.get(1)?, copied: row.get(2)? })
    })
}

fn io(error: std::io::Error) -> rusqlite::Error {
    rusqlite::Error::ToSqlConversionFailure(Box::new(error))
}
