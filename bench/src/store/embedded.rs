//! What a pair takes in the embedded store.

use acquaint_store::sqlite::SqliteStore;
use rusqlite::{Connection, params};

use super::rows::{KEPT, row};
use crate::Result;

/// Bytes of the database for each pair, indexes included, when pairs have come in no order, as hashes do.
pub(super) fn row_bytes(quick: bool) -> Result<f64> {
    let rows: u32 = if quick { 100_000 } else { 2_000_000 };
    let folder = tempfile::tempdir()?;
    drop(SqliteStore::open(folder.path())?);
    let mut connection = Connection::open(folder.path().join("acquaint.db"))?;
    connection.pragma_update(None, "synchronous", "OFF")?;
    connection.pragma_update(None, "cache_size", -1_000_000)?;
    let before = bytes(&connection)?;
    let transaction = connection.transaction()?;
    {
        let mut insert = transaction.prepare(
            "INSERT INTO pairs (epoch, hash, account, bit, verified_at, expires_at) VALUES (1, ?1, ?2, ?3, ?4, ?5)",
        )?;
        for number in 0..rows {
            let row = row(u64::from(number));
            insert.execute(params![
                row.hash,
                row.account,
                row.bit,
                row.verified_at,
                row.verified_at + KEPT
            ])?;
        }
    }
    transaction.commit()?;
    Ok((bytes(&connection)? - before) / f64::from(rows))
}

fn bytes(connection: &Connection) -> Result<f64> {
    let pragma = |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    Ok((pragma("page_count")? * pragma("page_size")?) as f64)
}
