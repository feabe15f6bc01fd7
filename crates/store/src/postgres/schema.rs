//! The schema and its numbered migrations.
//!
//! Two adjacent releases run side by side while servers are restarted one by one: a migration first only adds
//! (expands), and what it makes needless goes in a later release (contracts). The database says which programs may
//! still work on it, so that an older one beside an expanded schema goes on, and stops at a contracted one.

use tokio_postgres::Client;

use super::error::{DatabaseError, failure};
use super::open::OpenError;

/// One step from a version to the next. A released one never changes.
struct Migration {
    sql: &'static str,
    /// The oldest version of the schema whose programs may work on the result.
    usable_from: i32,
}

/// Migration n takes version n to n + 1.
const MIGRATIONS: [Migration; 5] = [
    Migration { sql: include_str!("v1.sql"), usable_from: 1 },
    // What a program of version 1 finds is not told to a request that waits at another server; it is a match all the same.
    Migration { sql: include_str!("v2.sql"), usable_from: 1 },
    // A program of version 2 goes by the newest key that it has, which is the current one until keys are rotated.
    Migration { sql: include_str!("v3.sql"), usable_from: 1 },
    // A removal by a program of version 3 leaves what is new here of the account: it goes within a day, by the sweep.
    Migration { sql: include_str!("v4.sql"), usable_from: 1 },
    // A program of version 4 takes any token for an import, and a removal by one leaves listings: the directory is turned on
    // when all servers run this release.
    Migration { sql: include_str!("v5.sql"), usable_from: 1 },
];

/// The newest version that this program knows.
pub(super) const KNOWN: i32 = MIGRATIONS.len() as i32;

/// Serialises servers that start at once: "Acquaint" as a number.
const LOCK: i64 = 0x4163_7175_6169_6e74;

/// Brings the database to the newest version, all in one transaction, or refuses it before anything is written.
pub(super) async fn migrate(client: &mut Client) -> Result<(), OpenError> {
    let at = version(client).await?;
    check(at)?;
    if at.is_some_and(|at| at.version >= KNOWN) {
        return Ok(());
    }
    let transaction = client.transaction().await.map_err(failed)?;
    transaction.execute("SELECT pg_advisory_xact_lock($1)", &[&LOCK]).await.map_err(failed)?;
    // Another server may have been faster.
    let at = version(transaction.client()).await?;
    check(at)?;
    let from = at.map_or(0, |at| at.version);
    if at.is_none() {
        transaction
            .batch_execute(
                "CREATE TABLE acquaint_schema (
                     one boolean NOT NULL PRIMARY KEY DEFAULT true CHECK (one),
                     version integer NOT NULL,
                     usable_from integer NOT NULL
                 );
                 INSERT INTO acquaint_schema (version, usable_from) VALUES (0, 0)",
            )
            .await
            .map_err(failed)?;
    }
    for (to, migration) in (1_i32..).zip(&MIGRATIONS) {
        if to <= from {
            continue;
        }
        transaction.batch_execute(migration.sql).await.map_err(failed)?;
        transaction
            .execute(
                "UPDATE acquaint_schema SET version = $1, usable_from = $2",
                &[&to, &migration.usable_from],
            )
            .await
            .map_err(failed)?;
    }
    transaction.commit().await.map_err(failed)
}

#[derive(Clone, Copy)]
pub(super) struct Version {
    pub(super) version: i32,
    usable_from: i32,
}

pub(super) async fn version(client: &Client) -> Result<Option<Version>, OpenError> {
    let row =
        client.query_one("SELECT to_regclass('acquaint_schema') IS NOT NULL", &[]).await.map_err(failed)?;
    if !row.try_get::<_, bool>(0).map_err(failed)? {
        return Ok(None);
    }
    let row =
        client.query_one("SELECT version, usable_from FROM acquaint_schema", &[]).await.map_err(failed)?;
    Ok(Some(Version {
        version: row.try_get(0).map_err(failed)?,
        usable_from: row.try_get(1).map_err(failed)?,
    }))
}

pub(super) fn check(at: Option<Version>) -> Result<(), OpenError> {
    match at {
        Some(at) if at.usable_from > KNOWN => {
            Err(OpenError::Newer { found: at.version, usable_from: at.usable_from, known: KNOWN })
        }
        _ => Ok(()),
    }
}

pub(super) fn failed(error: tokio_postgres::Error) -> OpenError {
    let error: DatabaseError = failure(&error);
    // 42P07: a table of one of our names is there already.
    if error.code() == Some("42P07") { OpenError::Foreign } else { OpenError::Database(error) }
}
