//! The store that is configured: the embedded one, or PostgreSQL.

use std::sync::Arc;

use acquaint_store::Store;
use acquaint_store::postgres::PostgresStore;
use acquaint_store::sqlite::SqliteStore;

use crate::config::Config;

pub use acquaint_protocol::pair::EpochId;
pub use acquaint_store::postgres::{DatabaseError, Options, PoolState, Seen, look};
pub use acquaint_store::{Retirement, StoreError};

/// Why the database cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The embedded one.
    #[error(transparent)]
    Embedded(#[from] acquaint_store::sqlite::OpenError),
    /// PostgreSQL.
    #[error("PostgreSQL cannot be used")]
    Postgres(#[from] acquaint_store::postgres::OpenError),
}

/// An open database.
pub enum Database {
    /// In `data_dir`, held by this process.
    Embedded(Arc<SqliteStore>),
    /// Shared with other servers.
    Postgres(Arc<PostgresStore>),
}

impl Database {
    /// What the service works on.
    #[must_use]
    pub fn store(&self) -> Arc<dyn Store> {
        match self {
            Self::Embedded(store) => Arc::clone(store) as _,
            Self::Postgres(store) => Arc::clone(store) as _,
        }
    }

    /// PostgreSQL's connections, if it is PostgreSQL.
    #[must_use]
    pub fn connections(&self) -> Option<PoolState> {
        match self {
            Self::Embedded(_) => None,
            Self::Postgres(store) => Some(store.connections()),
        }
    }
}

/// Opens the configured store, and makes or migrates its tables.
///
/// # Errors
/// [`OpenError`]; no text holds anything of a connection string.
pub async fn open(config: &Config) -> Result<Database, OpenError> {
    Ok(match config.store.postgres() {
        None => Database::Embedded(Arc::new(SqliteStore::open(&config.data_dir)?)),
        Some(options) => Database::Postgres(Arc::new(PostgresStore::open(&options).await?)),
    })
}
