//! The schema and its numbered migrations.

use rusqlite::{Connection, TransactionBehavior};

use super::open::OpenError;

/// "Acqt" in SQLite's header: tells our database from any other.
const APPLICATION_ID: i32 = 0x4163_7174;

/// Migration n takes version n to n + 1. A released one never changes.
const MIGRATIONS: [&str; 5] = [
    include_str!("v1.sql"),
    include_str!("v2.sql"),
    include_str!("v3.sql"),
    include_str!("v4.sql"),
    include_str!("v5.sql"),
];

/// The newest version that this program knows.
pub(super) const KNOWN: i64 = MIGRATIONS.len() as i64;

/// Refuses what is not ours before anything is written to it.
pub(super) fn check(connection: &Connection) -> Result<(), OpenError> {
    let application_id: i32 = pragma(connection, "application_id")?;
    let version = version(connection)?;
    let objects: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if application_id == 0 && version == 0 && objects == 0 {
        return Ok(());
    }
    if application_id != APPLICATION_ID {
        return Err(OpenError::Foreign { application_id });
    }
    match usize::try_from(version) {
        Ok(known) if known <= MIGRATIONS.len() => Ok(()),
        _ => Err(OpenError::Newer { found: version, known: MIGRATIONS.len() }),
    }
}

/// Brings a checked database to the newest version, one transaction a step.
pub(super) fn migrate(connection: &mut Connection) -> Result<(), OpenError> {
    let from = usize::try_from(version(connection)?).unwrap_or(MIGRATIONS.len());
    for (to, migration) in (1_i64..).zip(MIGRATIONS).skip(from) {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute_batch(migration)?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.pragma_update(None, "user_version", to)?;
        transaction.commit()?;
    }
    Ok(())
}

pub(super) fn version(connection: &Connection) -> rusqlite::Result<i64> {
    pragma(connection, "user_version")
}

fn pragma<T: rusqlite::types::FromSql>(connection: &Connection, name: &str) -> rusqlite::Result<T> {
    connection.pragma_query_value(None, name, |row| row.get(0))
}
