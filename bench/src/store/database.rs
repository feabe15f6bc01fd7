//! A private PostgreSQL, set as docs/operations/postgresql.md advises, and its rows.

use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};

use acquaint_store::postgres::{Options, PostgresStore};
use acquaint_testkit::postgres::PostgresServer;
use indicatif::ProgressBar;

use super::rows::{KEPT, row};
use crate::{Result, machine};

/// Rows that are copied together.
const BATCH: u64 = 500_000;
/// What makes the indexes of `pairs` that it has. Rows in no order fill a B-tree's pages to some 70 %.
const INDEXES: &str = "
    SELECT format('ALTER TABLE pairs ADD CONSTRAINT %I %s WITH (fillfactor = 70);', conname, pg_get_constraintdef(oid))
    FROM pg_constraint WHERE conrelid = 'pairs'::regclass AND contype = 'p'
    UNION ALL
    SELECT regexp_replace(replace(pg_get_indexdef(indexrelid), ' ON ONLY ', ' ON '), ' WITH .*', '')
           || ' WITH (fillfactor = 70);'
    FROM pg_index WHERE indrelid = 'pairs'::regclass AND NOT indisprimary";
const DROP_INDEXES: &str = "
    DO $$ DECLARE drop text; BEGIN
        FOR drop IN SELECT format('ALTER TABLE pairs DROP CONSTRAINT %I', conname)
                    FROM pg_constraint WHERE conrelid = 'pairs'::regclass AND contype = 'p'
                    UNION ALL SELECT format('DROP INDEX %s', indexrelid::regclass)
                    FROM pg_index WHERE indrelid = 'pairs'::regclass AND NOT indisprimary
        LOOP EXECUTE drop; END LOOP;
    END $$";
/// What a row takes with its indexes, in bytes, with some room.
const ROW_BYTES: u64 = 230;
/// What the log may take: `max_wal_size`, which PostgreSQL holds to only roughly, and a half of it.
const LOG_BYTES: u64 = 24 << 30;
/// What is left to others on the disk.
const SPARE_BYTES: u64 = 2 << 30;

/// A database that goes with this value.
pub(super) struct Database {
    server: PostgresServer,
    name: String,
    buffers_mib: u64,
    loaded: AtomicU64,
}

/// Mean sizes, in bytes of the files that hold them.
pub(super) struct Sizes {
    /// Of a row in the table.
    pub(super) row_bytes: f64,
    /// Of all its index entries.
    pub(super) index_bytes: f64,
}

impl Database {
    /// Starts PostgreSQL in a new folder in `folder`, if there is room for so many rows.
    pub(super) fn start(folder: &Path, rows: u64) -> Result<Self> {
        let disk = rustix::fs::statvfs(folder)?;
        let (free, needed) = (disk.f_bavail * disk.f_frsize, rows * ROW_BYTES + LOG_BYTES + SPARE_BYTES);
        if free < needed {
            let gib = |bytes: u64| bytes as f64 / f64::from(1 << 30);
            return Err(format!(
                "{rows} rows need {:.1} GiB of disk in {}, and {:.1} are free: make room, name another folder with \
                 --folder, or take fewer rows with --rows",
                gib(needed),
                folder.display(),
                gib(free)
            )
            .into());
        }
        let buffers_mib = machine::memory_mib()? / 4;
        let server = PostgresServer::start_in(
            folder,
            &format!(
                "fsync = on\nfull_page_writes = on\nsynchronous_commit = on\nshared_buffers = {buffers_mib}MB\n\
                 max_wal_size = 16GB\ncheckpoint_timeout = 15min\nwal_recycle = off\ndeadlock_timeout = 1s\n"
            ),
        );
        let name = server.database(None);
        Ok(Self { server, name, buffers_mib, loaded: AtomicU64::new(0) })
    }

    pub(super) fn describe(&self) -> String {
        format!(
            "{}: shared_buffers {} MB, max_wal_size 16 GB, checkpoint_timeout 15 min, wal_recycle off, otherwise its defaults (fsync, \
             full_page_writes, synchronous_commit on)",
            self.sql("SELECT split_part(version(), ' on ', 1)"),
            self.buffers_mib
        )
    }

    pub(super) async fn store(&self) -> Result<PostgresStore> {
        Ok(PostgresStore::open(&Options::new(self.server.connection(&self.name))).await?)
    }

    /// The connection string of another, empty database on the same server.
    pub(super) fn another(&self) -> String {
        self.server.connection(&self.server.database(None))
    }

    /// Adds rows until there are so many, and leaves the server as it is after a quiet hour: indexes as full as they get
    /// from rows that come singly, vacuumed, the primary key in memory, a checkpoint behind it.
    pub(super) fn load(&self, rows: u64, bar: &ProgressBar) -> Result<()> {
        let from = self.loaded.swap(rows, Ordering::Relaxed);
        bar.set_length(rows.saturating_sub(from));
        bar.set_position(0);
        bar.set_message(format!("rows up to {rows}"));
        let indexes = self.sql(INDEXES);
        self.sql(DROP_INDEXES);
        let next = AtomicU64::new(from);
        std::thread::scope(|scope| {
            let mut copying = [0, 1].map(|_| scope.spawn(|| self.copy_while(&next, rows, bar))).into_iter();
            copying.try_for_each(|thread| thread.join().unwrap_or_else(|_| Err("a thread panicked".into())))
        })?;
        bar.set_message("indexes, VACUUM and a checkpoint");
        self.sql(&format!("SET maintenance_work_mem = '1GB'; {indexes}"));
        self.sql("VACUUM (ANALYZE) pairs");
        self.sql("SET enable_seqscan = off; SELECT count(hash) FROM pairs");
        self.sql("CHECKPOINT");
        rustix::fs::sync();
        Ok(())
    }

    fn sql(&self, sql: &str) -> String {
        self.server.sql(&self.name, sql)
    }

    fn copy_while(&self, next: &AtomicU64, rows: u64, bar: &ProgressBar) -> Result<()> {
        loop {
            let from = next.fetch_add(BATCH, Ordering::Relaxed);
            if from >= rows {
                return Ok(());
            }
            let to = rows.min(from + BATCH);
            self.copy(from..to)?;
            bar.inc(to - from);
        }
    }

    /// Copies rows in PostgreSQL's binary format (COPY, "Binary Format").
    fn copy(&self, numbers: std::ops::Range<u64>) -> Result<()> {
        let copy =
            "COPY pairs (verified_at, expires_at, epoch, bit, hash, account) FROM STDIN (FORMAT binary)";
        let mut psql = self.server.psql(&self.name).args(["-c", copy]).stdin(Stdio::piped()).spawn()?;
        let mut out = BufWriter::new(psql.stdin.take().ok_or("no standard input")?);
        out.write_all(b"PGCOPY\n\xff\r\n\0")?;
        out.write_all(&[0; 8])?;
        for row in numbers.map(row) {
            out.write_all(&6_i16.to_be_bytes())?;
            for field in [
                &row.verified_at.to_be_bytes()[..],
                &(row.verified_at + KEPT).to_be_bytes(),
                &1_i32.to_be_bytes(),
                &[u8::from(row.bit)],
                &row.hash,
                &row.account,
            ] {
                out.write_all(&i32::try_from(field.len())?.to_be_bytes())?;
                out.write_all(field)?;
            }
        }
        out.write_all(&(-1_i16).to_be_bytes())?;
        out.flush()?;
        drop(out);
        if psql.wait()?.success() { Ok(()) } else { Err("rows could not be copied".into()) }
    }

    /// Bytes of log that were ever written.
    pub(super) fn written(&self) -> Result<f64> {
        Ok(self.sql("SELECT pg_current_wal_lsn() - '0/0'").parse()?)
    }

    /// CPU time of PostgreSQL's processes and of this one, in seconds.
    pub(super) fn cpu_seconds(&self) -> Result<f64> {
        let file = std::fs::read_to_string(self.server.data().join("postmaster.pid"))?;
        let postmaster = file.lines().next().ok_or("postmaster.pid is empty")?.trim().parse()?;
        Ok(machine::cpu_seconds_of_family(postmaster)? + machine::cpu_seconds())
    }

    pub(super) fn sizes(&self) -> Result<Sizes> {
        let sums = self.sql(
            "SELECT sum(pg_relation_size(relid)), sum(pg_indexes_size(relid)), (SELECT count(*) FROM pairs)
             FROM pg_partition_tree('pairs') WHERE isleaf",
        );
        let sums: Vec<f64> = sums.split('|').map(str::parse).collect::<std::result::Result<_, _>>()?;
        let [table, indexes, rows] = sums[..] else { return Err("no sizes were told".into()) };
        Ok(Sizes { row_bytes: table / rows, index_bytes: indexes / rows })
    }
}
