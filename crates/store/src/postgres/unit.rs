//! Lent connections, and transactions on them that end one way or the other.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::Duration;

use deadpool_postgres::{Object, Pool, PoolError, TimeoutType};
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::error::{DatabaseError, failure, unreachable};

pub(super) type Result<T> = std::result::Result<T, DatabaseError>;

/// Parameters of a statement.
pub(super) type Params<'a> = &'a [&'a (dyn ToSql + Sync)];

/// How often a verb is done over.
const ATTEMPTS: u32 = 10;

/// The pool, with what its errors tell.
pub(super) struct Connections {
    pub(super) pool: Pool,
    pub(super) wait: Duration,
}

impl Connections {
    /// A connection outside a transaction: each statement stands for itself.
    pub(super) async fn lend(&self) -> Result<Unit> {
        let object = self.pool.get().await.map_err(|error| match error {
            PoolError::Timeout(TimeoutType::Wait) => {
                DatabaseError::PoolExhausted { waited: self.wait, size: self.pool.status().max_size }
            }
            PoolError::Backend(error) => unreachable(&error),
            _ => DatabaseError::Unreachable { reason: "the pool is closed" },
        })?;
        Ok(Unit { object: Some(object), state: AtomicU8::new(PLAIN), undo: AtomicBool::new(false) })
    }

    /// A connection for a transaction, which begins with the first statement and in the same round trip.
    ///
    /// It is at READ COMMITTED: every statement sees what was committed before it began, so a row that was waited for
    /// and locked is then read as it is.
    pub(super) async fn begin(&self) -> Result<Unit> {
        let unit = self.lend().await?;
        unit.state.store(TO_BEGIN, Ordering::Relaxed);
        Ok(unit)
    }
}

/// Outside a transaction.
const PLAIN: u8 = 0;
/// Before the first statement of a transaction.
const TO_BEGIN: u8 = 1;
/// In a transaction.
const OPEN: u8 = 2;

/// A lent connection. Dropped in the middle of a transaction, it is closed, which undoes the transaction.
pub(super) struct Unit {
    object: Option<Object>,
    state: AtomicU8,
    undo: AtomicBool,
}

impl Unit {
    fn object(&self) -> Result<&Object> {
        self.object.as_ref().ok_or(DatabaseError::Lost)
    }

    pub(super) async fn query(&self, sql: &str, params: Params<'_>) -> Result<Vec<Row>> {
        let object = self.object()?;
        let statement = object.prepare_cached(sql).await?;
        self.run(object, object.query(&statement, params)).await
    }

    /// Sees to it that the statement can be sent at once.
    pub(super) async fn prepare(&self, sql: &str) -> Result<()> {
        self.object()?.prepare_cached(sql).await?;
        Ok(())
    }

    /// The first row.
    pub(super) async fn row(&self, sql: &str, params: Params<'_>) -> Result<Option<Row>> {
        Ok(self.query(sql, params).await?.into_iter().next())
    }

    /// How many rows it wrote.
    pub(super) async fn execute(&self, sql: &str, params: Params<'_>) -> Result<u64> {
        let object = self.object()?;
        let statement = object.prepare_cached(sql).await?;
        self.run(object, object.execute(&statement, params)).await
    }

    /// Runs what may be in no transaction.
    pub(super) async fn run_alone(&self, sql: &str) -> Result<()> {
        Ok(self.object()?.batch_execute(sql).await?)
    }

    async fn run<T>(
        &self,
        object: &Object,
        statement: impl Future<Output = std::result::Result<T, tokio_postgres::Error>>,
    ) -> Result<T> {
        if self.state.compare_exchange(TO_BEGIN, OPEN, Ordering::Relaxed, Ordering::Relaxed).is_err() {
            return Ok(statement.await?);
        }
        // Polled, and so sent, in this order.
        let begin = object.batch_execute("BEGIN ISOLATION LEVEL READ COMMITTED");
        let (begun, outcome) = futures::join!(begin, statement);
        begun?;
        Ok(outcome?)
    }

    /// The transaction is to be undone at its end: the verb refused, and what it locked was for nothing.
    pub(super) fn undo(&self) {
        self.undo.store(true, Ordering::Relaxed);
    }

    /// Commits what succeeded, and undoes what did not.
    pub(super) async fn end<T>(mut self, outcome: Result<T>) -> Result<T> {
        let value = outcome?;
        if *self.state.get_mut() != OPEN {
            return Ok(value);
        }
        let undo = self.undo.load(Ordering::Relaxed);
        let statement = if undo { "ROLLBACK" } else { "COMMIT" };
        self.object()?.batch_execute(statement).await.map_err(|error| match failure(&error) {
            DatabaseError::Lost if !undo => DatabaseError::Unknown,
            error => error,
        })?;
        *self.state.get_mut() = PLAIN;
        Ok(value)
    }
}

impl Drop for Unit {
    fn drop(&mut self) {
        if *self.state.get_mut() == OPEN
            && let Some(object) = self.object.take()
        {
            drop(Object::take(object));
        }
    }
}

/// Counts how often a verb has been done over.
pub(super) struct Attempts(u32);

impl Attempts {
    pub(super) const fn new() -> Self {
        Self(0)
    }

    /// Lets the same be tried again if that can help, and gives the error back if not.
    pub(super) fn again(&mut self, error: DatabaseError) -> Result<()> {
        self.0 += 1;
        if error.is_transient() && self.0 < ATTEMPTS { Ok(()) } else { Err(error) }
    }
}
