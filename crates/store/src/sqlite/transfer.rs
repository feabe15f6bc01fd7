//! The embedded store as what rows are carried from, and into.

use std::fs::{File, TryLockError};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, OptionalExtension, Statement, ToSql, params};

use super::checkpoint::Log;
use super::open::{self, DATABASE, LOCK, OpenError};
use super::scrub::Scrubber;
use super::{check, failed, schema};
use crate::transfer::{Kind, Row, SELF_MADE, Sink, Source, TransferError, Value, fits, part};

/// Where a transfer's mark is while it is not finished.
const MARK: &str = "CREATE TABLE transfer (
    one INTEGER NOT NULL PRIMARY KEY CHECK (one = 1), origin BLOB NOT NULL, place BLOB
) STRICT";

impl From<rusqlite::Error> for TransferError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Store(failed(error))
    }
}

/// Whether a transfer into this database was begun and not finished.
pub(super) fn is_unfinished(connection: &Connection) -> rusqlite::Result<bool> {
    let sql = "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'transfer'";
    Ok(connection.query_row(sql, [], |_| Ok(())).optional()?.is_some())
}

/// The embedded store in a folder, held and only read.
pub struct SqliteSource {
    connection: Connection,
    database: PathBuf,
    // Dropped last.
    _lock: File,
}

impl std::fmt::Debug for SqliteSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SqliteSource").field("database", &self.database).finish_non_exhaustive()
    }
}

impl SqliteSource {
    /// Takes the store in `directory`, which no server may use.
    ///
    /// # Errors
    /// [`TransferError::InUse`], [`TransferError::Nothing`], [`TransferError::OldSchema`],
    /// [`TransferError::SourceUnfinished`] or [`TransferError::Embedded`].
    pub fn open(directory: &Path) -> Result<Self, TransferError> {
        let database = directory.join(DATABASE);
        let place = directory.display().to_string();
        // No lock's file is made in a folder that is not a store's.
        if !database.exists() {
            return Err(TransferError::Nothing(place));
        }
        let path = directory.join(LOCK);
        let files = |source| OpenError::Files { path: path.clone(), source };
        let lock = open::private_file(&path).map_err(files)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(TransferError::InUse(directory.into())),
            Err(TryLockError::Error(source)) => return Err(files(source).into()),
        }
        let connection = check::open_to_look(&database, false)?;
        schema::check(&connection)?;
        let (found, known) = (schema::version(&connection)?, schema::KNOWN);
        if found == 0 {
            return Err(TransferError::Nothing(place));
        }
        if is_unfinished(&connection)? {
            return Err(TransferError::SourceUnfinished(place));
        }
        if found < known {
            return Err(TransferError::OldSchema { place, found, known });
        }
        Ok(Self { connection, database, _lock: lock })
    }
}

#[async_trait]
impl Source for SqliteSource {
    /// The database's header, and size and time of its files: whoever writes changes one of them.
    async fn mark(&mut self) -> Result<Vec<u8>, TransferError> {
        let files = |path: &Path| {
            let path = path.to_owned();
            move |source| TransferError::from(OpenError::Files { path, source })
        };
        let mut mark = Vec::new();
        let header = File::open(&self.database).map_err(files(&self.database))?;
        header.take(100).read_to_end(&mut mark).map_err(files(&self.database))?;
        for file in [self.database.clone(), open::log_of(&self.database)] {
            match std::fs::metadata(&file) {
                // An empty log is none.
                Ok(file) if file.len() > 0 => {
                    for number in
                        [file.size(), file.mtime().cast_unsigned(), file.mtime_nsec().cast_unsigned()]
                    {
                        mark.extend_from_slice(&number.to_be_bytes());
                    }
                }
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(files(&file)(error));
                }
                _ => mark.extend_from_slice(&[0; 24]),
            }
        }
        Ok(mark)
    }

    async fn count(&mut self, kind: usize) -> Result<u64, TransferError> {
        count(&self.connection, Kind::at(kind)?)
    }

    async fn rows(&mut self, kind: usize, after: Option<&[Value]>) -> Result<Vec<Row>, TransferError> {
        let kind = Kind::at(kind)?;
        let mut select = self.connection.prepare_cached(&select(kind, after.is_some()))?;
        for (number, value) in (1..).zip(after.unwrap_or_default()) {
            select.raw_bind_parameter(number, value)?;
        }
        let mut found = select.raw_query();
        let mut rows = Vec::new();
        while let Some(found) = found.next()? {
            let mut row = Row::with_capacity(kind.columns.len());
            for (at, column) in kind.columns.iter().enumerate() {
                let value = match found.get_ref(at)? {
                    ValueRef::Null => Value::Null,
                    ValueRef::Integer(number) => Value::Whole(number),
                    ValueRef::Blob(bytes) => Value::Bytes(bytes.to_vec()),
                    other => Value::Text(other.as_str().map_err(rusqlite::Error::from)?.to_owned()),
                };
                if !fits(column, &value) {
                    return Err(TransferError::Unreadable("a value is not of its column's form"));
                }
                row.push(value);
            }
            rows.push(row);
        }
        Ok(rows)
    }

    fn key(&self, kind: usize, row: &[Value]) -> Result<Vec<Value>, TransferError> {
        let kind = Kind::at(kind)?;
        part(row, &kind.key(&kind.embedded))
    }
}

fn select(kind: &Kind, behind: bool) -> String {
    let (names, from, batch) = (kind.names(), kind.embedded.from, kind.batch);
    let key: Vec<String> = kind.embedded.key.iter().map(|name| format!("\"{name}\"")).collect();
    let key = key.join(", ");
    let wanted: Vec<String> = (1..=kind.embedded.key.len()).map(|number| format!("?{number}")).collect();
    let behind = if behind { format!("WHERE ({key}) > ({})", wanted.join(", ")) } else { String::new() };
    format!("SELECT {names} FROM {from} {behind} ORDER BY {key} LIMIT {batch}")
}

fn count(connection: &Connection, kind: &Kind) -> Result<u64, TransferError> {
    let plain = format!("SELECT count(*) FROM {}", kind.embedded.from);
    let rows: i64 = connection.query_row(kind.embedded.counted.unwrap_or(&plain), [], |row| row.get(0))?;
    Ok(u64::try_from(rows).unwrap_or(0))
}

impl ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Null => ValueRef::Null,
            Self::Whole(number) => ValueRef::Integer(*number),
            Self::Bytes(bytes) => ValueRef::Blob(bytes),
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
        }))
    }
}

/// An embedded store that rows are carried into.
pub struct SqliteSink {
    // In this order, as the store's writer has it: the log's file handle outlives SQLite's, and the lock both.
    connection: Connection,
    log: Log,
    place: String,
    _lock: File,
}

impl std::fmt::Debug for SqliteSink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SqliteSink").field("place", &self.place).finish_non_exhaustive()
    }
}

impl SqliteSink {
    /// Takes the folder, which no server may use, and makes the database if there is none.
    ///
    /// # Errors
    /// [`TransferError::InUse`] or [`TransferError::Embedded`].
    pub fn open(directory: &Path) -> Result<Self, TransferError> {
        let opened = match open::open_for_transfer(directory) {
            Err(OpenError::Locked { .. }) => return Err(TransferError::InUse(directory.into())),
            opened => opened?,
        };
        let open::Opened { lock, database, writer, unclean } = opened;
        let page_size: u32 = writer.pragma_query_value(None, "page_size", |row| row.get(0))?;
        let files = |source| OpenError::Files { path: database.clone(), source };
        let mut log = Log::new(open::log_of(&database), Scrubber::open(&database, page_size).map_err(files)?);
        if unclean {
            log.recover(&writer)?;
        }
        Log::watch(&writer);
        Ok(Self { connection: writer, log, place: directory.display().to_string(), _lock: lock })
    }

    fn refuse_rows(&self) -> Result<(), TransferError> {
        let tables: Vec<String> = self
            .connection
            .prepare(
                "SELECT name FROM sqlite_schema WHERE type = 'table' AND name <> 'transfer'
                 AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name",
            )?
            .query_map([], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        for table in tables.into_iter().filter(|table| !SELF_MADE.contains(&table.as_str())) {
            let sql = format!("SELECT EXISTS (SELECT 1 FROM \"{table}\")");
            if self.connection.query_row(&sql, [], |row| row.get(0))? {
                return Err(TransferError::NotEmpty { place: self.place.clone(), table });
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Sink for SqliteSink {
    async fn begin(&mut self, origin: &[u8]) -> Result<Option<Vec<u8>>, TransferError> {
        if is_unfinished(&self.connection)? {
            let (from, place): (Vec<u8>, Option<Vec<u8>>) =
                self.connection.query_row("SELECT origin, place FROM transfer", [], |row| {
                    Ok((row.get(0)?, row.get(1)?))
                })?;
            if from != origin {
                return Err(TransferError::OtherSource(self.place.clone()));
            }
            return Ok(place);
        }
        self.refuse_rows()?;
        let marking = self.connection.transaction()?;
        // All that a server leaves that has served nobody.
        for table in SELF_MADE {
            marking.execute(&format!("DELETE FROM {table}"), [])?;
        }
        marking.execute_batch(MARK)?;
        marking.execute("INSERT INTO transfer (one, origin) VALUES (1, ?1)", params![origin])?;
        marking.commit()?;
        Ok(None)
    }

    async fn put(&mut self, kind: usize, rows: &[Row], place: &[u8]) -> Result<(), TransferError> {
        let kind = Kind::at(kind)?;
        let putting = self.connection.transaction()?;
        for sql in statements(kind) {
            let mut put = putting.prepare_cached(&sql)?;
            let parameters = parameters(kind, &put)?;
            for row in rows {
                for (at, number) in &parameters {
                    put.raw_bind_parameter(*number, row.get(*at).unwrap_or(&Value::Null))?;
                }
                put.raw_execute()?;
            }
        }
        putting.prepare_cached("UPDATE transfer SET place = ?1")?.execute(params![place])?;
        putting.commit()?;
        self.log.tend(&self.connection, true);
        Ok(())
    }

    async fn count(&mut self, kind: usize) -> Result<u64, TransferError> {
        count(&self.connection, Kind::at(kind)?)
    }

    async fn finish(&mut self) -> Result<(), TransferError> {
        self.connection.execute_batch("DROP TABLE transfer")?;
        self.log.close(&self.connection);
        Ok(())
    }
}

fn statements(kind: &Kind) -> Vec<String> {
    if !kind.embedded.put.is_empty() {
        return kind.embedded.put.iter().map(ToString::to_string).collect();
    }
    let wanted: Vec<String> = kind.columns.iter().map(|column| format!(":{}", column.name)).collect();
    vec![format!("INSERT INTO {} ({}) VALUES ({})", kind.embedded.from, kind.names(), wanted.join(", "))]
}

/// Which column goes to which parameter.
fn parameters(kind: &Kind, statement: &Statement<'_>) -> Result<Vec<(usize, usize)>, TransferError> {
    let mut parameters = Vec::new();
    for (at, column) in kind.columns.iter().enumerate() {
        if let Some(number) = statement.parameter_index(&format!(":{}", column.name))? {
            parameters.push((at, number));
        }
    }
    Ok(parameters)
}

/// What [`check`](super::check()) says of a database that is half full.
pub(super) const UNFINISHED: &str = "run the import again until it ends, or begin with an empty folder";
