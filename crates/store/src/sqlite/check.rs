//! A look at a database that changes nothing: is the file whole, and does its content keep our own rules?
//!
//! It works beside a server: every question is a read of its own, so that the server's log is held no longer than one
//! of them takes.

use std::fs::{File, TryLockError};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use acquaint_protocol::pair::EpochId;
use rusqlite::{Connection, OpenFlags};

use super::open::{self, DATABASE, LOCK, OpenError};
use super::{epochs, reads, schema, transfer};
use crate::{KeyRecord, Millis};

/// How closely to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// Whether the file can be read and its pages hang together: seconds for a large database.
    Quick,
    /// Also every index against its table, our own rules, and how many rows there are.
    Full,
}

/// What a look at a database showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// Whether a process holds the folder.
    pub held: bool,
    /// The schema's version; 0 before the first start.
    pub version: i64,
    /// The newest version that this program knows: what the next start makes of it.
    pub known_version: i64,
    /// Bytes of the database's file, and of its log.
    pub bytes: (u64, u64),
    /// Rows of each table, by name; empty after a quick look.
    pub tables: Vec<(String, u64)>,
    /// The newest moment that was written down; not later than now, unless a clock was or is wrong.
    pub newest: Option<Millis>,
    /// The keys that the data needs: those of epochs that are over, or have no rows yet, are left out.
    pub keys: Vec<KeyRecord>,
    /// What is wrong; empty when nothing is.
    pub findings: Vec<Finding>,
}

/// Something that is wrong with a database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What, without anything of the content.
    pub what: String,
    /// What to do about it.
    pub advice: &'static str,
}

const RESTORE: &str =
    "restore a back-up: `acquaint store restore FILE`; keep the damaged folder until that is done";
const REPORT: &str =
    "a defect of this program: please report it, and restore a back-up from before if matches are wrong";

/// Looks at the database in `directory`, whether or not a server uses it.
///
/// # Errors
/// [`OpenError`] when it cannot be opened at all: absent, foreign, newer or not a database.
pub fn check(directory: &Path, depth: Depth) -> Result<Health, OpenError> {
    let (lock, held) = hold(directory)?;
    let database = directory.join(DATABASE);
    let connection = open_to_look(&database, held)?;
    let health = look(&connection, &database, held, depth);
    drop(connection);
    drop(lock);
    health
}

/// The database's file in a store's directory.
#[must_use]
pub fn database_in(directory: &Path) -> PathBuf {
    directory.join(DATABASE)
}

/// Keeps a server from starting while the value lives, unless one runs already: then that is told.
pub(super) fn hold(directory: &Path) -> Result<(Option<File>, bool), OpenError> {
    let path = directory.join(LOCK);
    let files = |source| OpenError::Files { path: path.clone(), source };
    match File::open(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok((None, false)),
        Err(error) => Err(files(error)),
        // Shared, so that two looks do not disturb each other.
        Ok(lock) => match lock.try_lock_shared() {
            Ok(()) => Ok((Some(lock), false)),
            Err(TryLockError::WouldBlock) => Ok((None, true)),
            Err(TryLockError::Error(error)) => Err(files(error)),
        },
    }
}

/// Looks at a database that nobody uses, as a back-up.
///
/// # Errors
/// As [`check`].
pub fn check_file(file: &Path, depth: Depth) -> Result<Health, OpenError> {
    look(&open_to_look(file, false)?, file, false, depth)
}

/// A connection that changes nothing, not even by leaving a log: where no log is and nobody writes, none is made.
pub(super) fn open_to_look(database: &Path, in_use: bool) -> Result<Connection, OpenError> {
    size(database)?;
    if in_use || open::log_of(database).exists() {
        return Ok(open::open_reader(database)?);
    }
    let flags =
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
    let connection = Connection::open_with_flags(uri(database)? + "?immutable=1", flags)?;
    open::common_pragmas(&connection)?;
    Ok(connection)
}

/// A path as SQLite's URI, <https://www.sqlite.org/uri.html>.
pub(super) fn uri(path: &Path) -> Result<String, OpenError> {
    let path = absolute(path)?;
    let mut uri = String::from("file:");
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'_' | b'-' => {
                uri.push(char::from(*byte))
            }
            byte => uri.push_str(&format!("%{byte:02X}")),
        }
    }
    Ok(uri)
}

fn absolute(path: &Path) -> Result<PathBuf, OpenError> {
    std::path::absolute(path).map_err(|source| OpenError::Files { path: path.into(), source })
}

fn size(database: &Path) -> Result<u64, OpenError> {
    let metadata = std::fs::metadata(database);
    let metadata = metadata.map_err(|source| OpenError::Files { path: database.into(), source })?;
    Ok(metadata.len())
}

fn look(connection: &Connection, database: &Path, held: bool, depth: Depth) -> Result<Health, OpenError> {
    schema::check(connection)?;
    let (model, known_version) = model()?;
    let mut health = Health {
        held,
        version: connection.pragma_query_value(None, "user_version", |row| row.get(0))?,
        known_version,
        bytes: (size(database)?, std::fs::metadata(open::log_of(database)).map_or(0, |log| log.len())),
        tables: Vec::new(),
        newest: None,
        keys: Vec::new(),
        findings: pages(connection, depth),
    };
    // What cannot be trusted is not read.
    if health.version == 0 || !health.findings.is_empty() {
        return Ok(health);
    }
    if health.version == known_version {
        health.findings.extend(other_schema(connection, &model)?);
        if !health.findings.is_empty() {
            return Ok(health);
        }
    }
    health.newest = newest(connection, health.version)?;
    health.keys = reads::key_records(connection)?;
    // Epochs have a state from this version on.
    if health.version >= 3 {
        let needed = crate::epochs::needed(&epochs::all(connection)?);
        health.keys.retain(|key| key.purpose != "pair" || needed.contains(&EpochId::new(key.version)));
    }
    if depth == Depth::Full {
        health.tables = rows(connection)?;
        health.findings.extend(broken_rules(connection, health.version)?);
    }
    Ok(health)
}

/// An empty database as this program makes it, with its version.
fn model() -> Result<(Connection, i64), OpenError> {
    let mut model = Connection::open_in_memory()?;
    schema::migrate(&mut model)?;
    let version = model.pragma_query_value(None, "user_version", |row| row.get(0))?;
    Ok((model, version))
}

/// SQLite's own checks. A page that cannot be read at all is a finding, too.
fn pages(connection: &Connection, depth: Depth) -> Vec<Finding> {
    let texts = |pragma: &str| -> rusqlite::Result<Vec<String>> {
        connection.prepare(pragma)?.query_map([], |row| row.get(0))?.collect()
    };
    let found = texts(match depth {
        Depth::Quick => "PRAGMA quick_check(10)",
        Depth::Full => "PRAGMA integrity_check(10)",
    });
    let problems = match found {
        Ok(told) => told.into_iter().filter(|line| line != "ok").collect(),
        Err(error) => vec![error.to_string()],
    };
    let damaged = |what: String| Finding { what: format!("the file is damaged: {what}"), advice: RESTORE };
    let mut findings: Vec<Finding> = problems.into_iter().map(damaged).collect();
    if depth == Depth::Full && findings.is_empty() {
        let count = "SELECT count(*) FROM pragma_foreign_key_check";
        match connection.query_row(count, [], |row| row.get::<_, i64>(0)) {
            Ok(0) => {}
            Ok(rows) => findings
                .push(Finding { what: format!("rows that refer to absent ones: {rows}"), advice: REPORT }),
            Err(error) => findings.push(damaged(error.to_string())),
        }
    }
    findings
}

/// Tables and indexes that are not as this version has them.
fn other_schema(connection: &Connection, model: &Connection) -> Result<Vec<Finding>, OpenError> {
    type Objects = std::collections::BTreeMap<String, Option<String>>;
    let objects = |connection: &Connection| -> rusqlite::Result<Objects> {
        // SQLite's own (`sqlite_stat1`, …) may come and go.
        let sql = "SELECT name, sql FROM sqlite_schema WHERE name NOT LIKE 'sqlite\\_%' ESCAPE '\\'";
        connection.prepare(sql)?.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
    };
    let (found, wanted) = (objects(connection)?, objects(model)?);
    let mut findings = Vec::new();
    for (name, sql) in &wanted {
        match found.get(name) {
            Some(other) if other == sql => {}
            Some(_) => findings.push(format!("`{name}` is not as this program made it")),
            None => findings.push(format!("`{name}` is missing")),
        }
    }
    if transfer::is_unfinished(connection)? {
        let what = "an import into it was not finished".to_owned();
        return Ok(vec![Finding { what, advice: transfer::UNFINISHED }]);
    }
    let foreign = found.keys().filter(|name| !wanted.contains_key(*name));
    findings.extend(foreign.map(|name| format!("`{name}` is not this program's")));
    let finding = |what| Finding { what, advice: "another program changed the database: restore a back-up" };
    Ok(findings.into_iter().map(finding).collect())
}

/// Where past moments are written down, and none is scanned for among many rows; with the version that has it first.
const MOMENTS: [(i64, &str, &str); 8] = [
    (1, "accounts", "synced_at"),
    (1, "codes", "sent_at"),
    (1, "imports", "accepted_at"),
    (1, "limits", "at"),
    (2, "notices", "found_at"),
    (4, "events", "at"),
    (5, "listing_changes", "at"),
    (5, "directory_records", "made_at"),
];

fn newest(connection: &Connection, version: i64) -> rusqlite::Result<Option<Millis>> {
    let mut newest = None;
    for (_, table, column) in MOMENTS.into_iter().filter(|(since, ..)| *since <= version) {
        let latest: Option<Millis> =
            connection.query_row(&format!("SELECT max({column}) FROM {table}"), [], |row| row.get(0))?;
        newest = newest.max(latest);
    }
    Ok(newest)
}

fn rows(connection: &Connection) -> rusqlite::Result<Vec<(String, u64)>> {
    let sql = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name";
    let names: Vec<String> =
        connection.prepare(sql)?.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    let count = |name: String| {
        let quoted = name.replace('"', "\"\"");
        let rows: i64 =
            connection.query_row(&format!("SELECT count(*) FROM \"{quoted}\""), [], |row| row.get(0))?;
        Ok((name, u64::try_from(rows).unwrap_or(0)))
    };
    names.into_iter().map(count).collect()
}

/// Rules that hold between any two transactions, each with the rows that break it.
const RULES: [(&str, &str); 11] = [
    (
        "matches without their other side",
        "SELECT count(*) FROM matches AS mine WHERE NOT EXISTS (SELECT 1 FROM matches AS theirs
         WHERE theirs.account = mine.other AND theirs.other = mine.account
         AND theirs.epoch = mine.epoch AND theirs.hash = mine.hash)",
    ),
    (
        "matches whose two sides tell different ends",
        "SELECT count(*) FROM matches AS mine JOIN matches AS theirs
         ON theirs.account = mine.other AND theirs.epoch = mine.epoch AND theirs.hash = mine.hash
         AND theirs.other = mine.account WHERE theirs.expires_at <> mine.other_expires_at",
    ),
    (
        "matches whose two sides claim the same number",
        "SELECT count(*) FROM matches AS mine JOIN matches AS theirs
         ON theirs.account = mine.other AND theirs.epoch = mine.epoch AND theirs.hash = mine.hash
         AND theirs.other = mine.account WHERE theirs.bit = mine.bit",
    ),
    ("accounts matched with themselves", "SELECT count(*) FROM matches WHERE account = other"),
    (
        "accounts that are to be told of themselves",
        "SELECT count(*) FROM notices WHERE account = other",
    ),
    (
        "imports without their list",
        "SELECT count(*) FROM imports WHERE id NOT IN (SELECT id FROM import_lists)",
    ),
    (
        "imports beyond their end",
        "SELECT count(*) FROM imports WHERE done < 0 OR done >= total",
    ),
    (
        "imports of another life of their account",
        "SELECT count(*) FROM imports JOIN accounts USING (account) WHERE imports.generation <> accounts.generation",
    ),
    (
        "rows of accounts that have no name",
        "SELECT (SELECT count(*) FROM pairs WHERE account NOT IN (SELECT account FROM accounts))
         + (SELECT count(*) FROM matches WHERE account NOT IN (SELECT account FROM accounts))
         + (SELECT count(*) FROM imports WHERE account NOT IN (SELECT account FROM accounts))
         + (SELECT count(*) FROM tokens WHERE account NOT IN (SELECT account FROM accounts))",
    ),
    (
        "values of the wrong form",
        "SELECT (SELECT count(*) FROM accounts WHERE length(account) <> 16)
         + (SELECT count(*) FROM pairs WHERE length(account) <> 16 OR length(hash) <> 32 OR bit NOT IN (0, 1))
         + (SELECT count(*) FROM matches WHERE length(account) <> 16 OR length(hash) <> 32 OR bit NOT IN (0, 1))
         + (SELECT count(*) FROM limits WHERE level < 0)
         + (SELECT count(*) FROM tokens WHERE length(token) <> 16 OR length(sealed) = 0)
         + (SELECT count(*) FROM notices WHERE length(account) <> 16 OR length(other) <> 16
            OR due_at < 0 OR attempts < 0)",
    ),
    (
        "accounts in a database that names no keys",
        "SELECT count(*) FROM accounts WHERE NOT EXISTS (SELECT 1 FROM keys)",
    ),
];

/// Those of tables that version 4 has first.
const RULES_SINCE_4: [(&str, &str); 3] = [
    (
        "values of the wrong form",
        "SELECT (SELECT count(*) FROM paid WHERE length(account) <> 16 OR length(request) <> 16 OR length(digest) <> 32)
         + (SELECT count(*) FROM used WHERE length(id) <> 32)
         + (SELECT count(*) FROM events WHERE length(account) <> 16 OR NOT json_valid(details))
         + (SELECT count(*) FROM event_queue WHERE due_at < 0 OR attempts < 0)
         + (SELECT count(*) FROM follows WHERE length(account) <> 16 OR length(record) <> 16 OR length(other) <> 16)
         + (SELECT count(*) FROM streams WHERE length(server) <> 16 OR (server IS NULL) <> (leased_until IS NULL))
         + (SELECT count(*) FROM departures WHERE length(account) <> 16 OR due_at < 0 OR attempts < 0)
         + (SELECT count(*) FROM proofs WHERE length(account) <> 16)",
    ),
    (
        "events that the webhook is to be told of and that are not there",
        "SELECT count(*) FROM event_queue WHERE event NOT IN (SELECT id FROM events)",
    ),
    ("accounts that follow themselves", "SELECT count(*) FROM follows WHERE account = other"),
];

/// Those of tables and columns that version 5 has first.
const RULES_SINCE_5: [(&str, &str); 4] = [
    (
        "values of the wrong form",
        "SELECT (SELECT count(*) FROM tokens WHERE token_use NOT IN (0, 1))
         + (SELECT count(*) FROM listings WHERE length(listing) <> 16 OR length(account) <> 16 OR length(sealed) = 0)
         + (SELECT count(*) FROM placements WHERE length(sealed) = 0 OR profile NOT BETWEEN 0 AND 255
            OR epoch NOT BETWEEN 0 AND 4294967295)
         + (SELECT count(*) FROM listing_changes WHERE length(listing) <> 16)
         + (SELECT count(*) FROM directory_records WHERE version NOT BETWEEN 1 AND 4294967295
            OR state NOT BETWEEN 0 AND 255 OR length(CAST(name AS BLOB)) > 64)",
    ),
    (
        "placements of listings that are not there",
        "SELECT count(*) FROM placements WHERE NOT EXISTS
         (SELECT 1 FROM listings WHERE listings.listing = placements.listing)",
    ),
    (
        "listings of accounts that have no name",
        "SELECT count(*) FROM listings WHERE account NOT IN (SELECT account FROM accounts)",
    ),
    // Else a number comes again, and a placement of an old state could pass for one of the new.
    (
        "listings with the number of a change to come",
        "SELECT count(*) FROM listings WHERE revision >
         coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'listing_changes'), 0)",
    ),
];

fn broken_rules(connection: &Connection, version: i64) -> rusqlite::Result<Vec<Finding>> {
    let mut findings = Vec::new();
    let since_4 = if version >= 4 { RULES_SINCE_4.as_slice() } else { &[] };
    let since_5 = if version >= 5 { RULES_SINCE_5.as_slice() } else { &[] };
    for (what, sql) in RULES.iter().chain(since_4).chain(since_5) {
        let rows: i64 = connection.query_row(sql, [], |row| row.get(0))?;
        if rows > 0 {
            findings.push(Finding { what: format!("{what}: {rows}"), advice: REPORT });
        }
    }
    Ok(findings)
}
