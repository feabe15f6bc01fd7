//! Opening: the directory, the lock, the pragmas.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::{schema, transfer};

pub(super) const DATABASE: &str = "acquaint.db";
pub(super) const LOCK: &str = "acquaint.lock";

/// How long a statement waits for a lock that another connection of this process holds.
pub(super) const BUSY: Duration = Duration::from_secs(5);

/// Why a store could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The directory or a file in it could not be made or opened.
    #[error("cannot use {}", path.display())]
    Files {
        /// What could not be used.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Another process, or another store in this one, has the directory.
    #[error("{} is held: another process uses this store", path.display())]
    Locked {
        /// The lock's file.
        path: PathBuf,
    },
    /// A database, but not one of ours.
    #[error("the database belongs to another program (application id {application_id:#010x})")]
    Foreign {
        /// What it says that it is; 0 for nothing.
        application_id: i32,
    },
    /// A newer version of this program wrote it.
    #[error(
        "the database has schema version {found}, and this program knows only up to {known}: use a newer program"
    )]
    Newer {
        /// The database's schema version.
        found: i64,
        /// The newest one that is known.
        known: usize,
    },
    /// An import into it has begun and not ended.
    #[error(
        "an import into {} was not finished: run it again and it goes on, or start with an empty folder", path.display()
    )]
    Unfinished {
        /// The database.
        path: PathBuf,
    },
    /// Not a database, or a damaged one.
    #[error("the file is damaged or is no SQLite database: restore it from a backup")]
    Damaged(#[source] rusqlite::Error),
    /// SQLite refused.
    #[error("SQLite could not open the database")]
    Database(#[source] rusqlite::Error),
}

impl From<rusqlite::Error> for OpenError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => Self::Damaged(error),
            _ => Self::Database(error),
        }
    }
}

/// An opened directory, whose lock nobody else holds while this value lives.
pub(super) struct Opened {
    pub(super) lock: File,
    pub(super) database: PathBuf,
    pub(super) writer: Connection,
    /// The last process ended without closing the database.
    pub(super) unclean: bool,
}

/// For a server, and refused in the middle of a transfer.
pub(super) fn open(directory: &Path) -> Result<Opened, OpenError> {
    take(directory, false)
}

/// For a transfer into it, also in the middle of one.
pub(super) fn open_for_transfer(directory: &Path) -> Result<Opened, OpenError> {
    take(directory, true)
}

fn take(directory: &Path, unfinished: bool) -> Result<Opened, OpenError> {
    let files = |path: &Path| {
        let path = path.to_owned();
        move |source| OpenError::Files { path, source }
    };
    DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(files(directory))?;

    let path = directory.join(LOCK);
    let lock = private_file(&path).map_err(files(&path))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(OpenError::Locked { path }),
        Err(TryLockError::Error(source)) => return Err(OpenError::Files { path, source }),
    }

    let database = directory.join(DATABASE);
    // SQLite gives its log the permissions that it finds here.
    drop(private_file(&database).map_err(files(&database))?);
    File::open(directory).and_then(|directory| directory.sync_all()).map_err(files(directory))?;
    // SQLite deletes the log when the last connection closes.
    let unclean = log_of(&database).exists();

    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut writer = Connection::open_with_flags(&database, flags)?;
    schema::check(&writer)?;
    if !unfinished && transfer::is_unfinished(&writer)? {
        return Err(OpenError::Unfinished { path: database });
    }
    writer.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    common_pragmas(&writer)?;
    writer.pragma_update(None, "synchronous", "FULL")?;
    writer.pragma_update_and_check(None, "secure_delete", "ON", |_| Ok(()))?;
    writer.pragma_update(None, "foreign_keys", "ON")?;
    schema::migrate(&mut writer)?;
    // The lock is ours, so whoever held a lease is dead.
    writer.execute("UPDATE imports SET leased_until = NULL WHERE leased_until IS NOT NULL", [])?;
    writer.execute("UPDATE streams SET server = NULL, leased_until = NULL WHERE server IS NOT NULL", [])?;
    Ok(Opened { lock, database, writer, unclean })
}

/// A connection that cannot write.
pub(super) fn open_reader(database: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let reader = Connection::open_with_flags(database, flags)?;
    common_pragmas(&reader)?;
    Ok(reader)
}

/// Where SQLite keeps the write-ahead log.
pub(super) fn log_of(database: &Path) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push("-wal");
    PathBuf::from(name)
}

pub(super) fn common_pragmas(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY)?;
    connection.set_prepared_statement_cache_capacity(160);
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.pragma_update(None, "trusted_schema", "OFF")?;
    connection.pragma_update(None, "cell_size_check", "ON")
}

pub(super) fn private_file(path: &Path) -> io::Result<File> {
    let file =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
    fs::set_permissions(path, Permissions::from_mode(0o600))?;
    Ok(file)
}
