//! What an operator wants to know of the database before a server starts on it. Changes nothing.

use std::time::Duration;

use tokio_postgres::Client;

use super::open::{self, OpenError, Options};
use super::{schema, transfer};
use crate::{KeyRecord, Millis};

/// How long the database is asked.
const PATIENCE: Duration = Duration::from_secs(10);

/// What was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// PostgreSQL's own version, as it tells it.
    pub server: String,
    /// The schema's version; 0 where there is none yet.
    pub version: i32,
    /// The newest that this program knows.
    pub known_version: i32,
    /// Which keys the data needs: those of epochs that are over, or have no rows yet, are left out.
    pub keys: Vec<KeyRecord>,
    /// The newest time of acceptance or verification in it.
    pub newest: Option<Millis>,
    /// What the role may not do, and a server must.
    pub lacks: Option<String>,
    /// Nothing can be written: a standby.
    pub read_only: bool,
    /// How many connections PostgreSQL allows in all.
    pub max_connections: i64,
    /// The size of the database in bytes.
    pub bytes: i64,
    /// A setting under which a power cut loses what was acknowledged.
    pub unsafe_setting: Option<String>,
}

/// Connects once and looks.
///
/// # Errors
/// As [`PostgresStore::open`](super::PostgresStore::open), without a schema being made or migrated.
pub async fn look(options: &Options) -> Result<Seen, OpenError> {
    let (client, connection) = open::connect_once(options).await?;
    let late =
        || OpenError::Database(super::DatabaseError::Unreachable { reason: "it did not answer in time" });
    let seen = tokio::time::timeout(PATIENCE, look_with(&client)).await.unwrap_or_else(|_| Err(late()));
    drop(client);
    connection.abort();
    seen
}

async fn look_with(client: &Client) -> Result<Seen, OpenError> {
    let failed = schema::failed;
    let row = client
        .query_one(
            "SELECT current_setting('server_version'), pg_is_in_recovery() OR current_setting('transaction_read_only') = 'on',
                    current_setting('max_connections')::bigint, pg_database_size(current_database()),
                    (SELECT string_agg(name || ' = off', ', ') FROM pg_settings
                     WHERE name IN ('fsync', 'full_page_writes') AND setting = 'off')",
            &[],
        )
        .await
        .map_err(failed)?;
    let at = schema::version(client).await?;
    schema::check(at)?;
    if transfer::is_unfinished(client).await? {
        return Err(OpenError::Unfinished);
    }
    let mut seen = Seen {
        server: row.try_get(0).map_err(failed)?,
        version: at.map_or(0, |at| at.version),
        known_version: schema::KNOWN,
        keys: Vec::new(),
        newest: None,
        lacks: lacks(client, at.is_none_or(|at| at.version < schema::KNOWN)).await?,
        read_only: row.try_get(1).map_err(failed)?,
        max_connections: row.try_get(2).map_err(failed)?,
        bytes: row.try_get(3).map_err(failed)?,
        unsafe_setting: row.try_get(4).map_err(failed)?,
    };
    let reads = "SELECT has_table_privilege('keys', 'SELECT') AND has_table_privilege('accounts', 'SELECT')
                        AND has_table_privilege('imports', 'SELECT')";
    if at.is_none() || !client.query_one(reads, &[]).await.and_then(|row| row.try_get(0)).map_err(failed)? {
        return Ok(seen);
    }
    // Epochs have a state from version 3 on. The key of one that is over, or that nothing stands under yet, is not needed.
    let keys = if seen.version >= 3 {
        "SELECT purpose, version, \"check\" FROM keys
         WHERE state NOT IN (2, 3) AND (purpose <> 'pair' OR version <= coalesce(
             (SELECT max(version) FROM keys WHERE purpose = 'pair' AND state = 1), version))"
    } else {
        "SELECT purpose, version, \"check\" FROM keys"
    };
    for row in client.query(keys, &[]).await.map_err(failed)? {
        let version: i64 = row.try_get(1).map_err(failed)?;
        seen.keys.push(KeyRecord {
            purpose: row.try_get(0).map_err(failed)?,
            version: u32::try_from(version).map_err(|_| OpenError::Database(super::DatabaseError::Answer))?,
            check: row.try_get(2).map_err(failed)?,
        });
    }
    let newest =
        "SELECT greatest((SELECT max(synced_at) FROM accounts), (SELECT max(accepted_at) FROM imports))";
    seen.newest = client.query_one(newest, &[]).await.and_then(|row| row.try_get(0)).map_err(failed)?;
    Ok(seen)
}

/// What the role may not do. To make or migrate tables takes their owner.
async fn lacks(client: &Client, migrates: bool) -> Result<Option<String>, OpenError> {
    let sql = if migrates {
        "SELECT 'CREATE on the schema: the first start, and one of a newer release, take the role that owns the tables'
         WHERE NOT coalesce(has_schema_privilege(current_schema(), 'CREATE'), false)"
    } else {
        // Nobody changes what the audit log holds.
        "SELECT 'INSERT, UPDATE or DELETE on ' || name
         FROM unnest(ARRAY['accounts', 'codes', 'tokens', 'limits', 'imports', 'pending_numbers', 'pairs', 'links',
                           'matches', 'dismissals', 'notices', 'answers', 'keys', 'gates', 'servers', 'paid', 'used',
                           'events', 'event_queue', 'follows', 'streams', 'departures', 'proofs', 'listings', 'placements',
                           'listing_changes', 'directory_records'])
              WITH ORDINALITY AS ours (name, place)
         WHERE to_regclass(name) IS NULL OR NOT (has_table_privilege(to_regclass(name), 'SELECT')
             AND has_table_privilege(to_regclass(name), 'INSERT')
             AND (name = 'events' OR has_table_privilege(to_regclass(name), 'UPDATE'))
             AND has_table_privilege(to_regclass(name), 'DELETE'))
         ORDER BY place LIMIT 1"
    };
    let row = client.query_opt(sql, &[]).await.map_err(schema::failed)?;
    row.map(|row| row.try_get(0)).transpose().map_err(schema::failed)
}
