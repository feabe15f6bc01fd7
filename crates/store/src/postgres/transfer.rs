//! PostgreSQL as what rows are carried from, and into.

use async_trait::async_trait;
use tokio::task::JoinHandle;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Row as Found, Transaction};

use super::PostgresStore;
use super::error::{DatabaseError, failure};
use super::open::{self, OpenError, Options};
use super::schema;
use crate::transfer::{
    Column, Form, KINDS, Kind, Place, Row, SELF_MADE, Sink, Source, TransferError, Value, fits, part,
};
use crate::{Millis, StoreError};

/// Keeps a second transfer out: "AcquainT" as a number.
const LOCK: i64 = 0x4163_7175_6169_6e54;

/// Where a transfer's mark is while it is not finished.
const MARK: &str = "CREATE TABLE acquaint_transfer (
    one boolean NOT NULL PRIMARY KEY DEFAULT true CHECK (one), origin bytea NOT NULL, place bytea)";

/// Tables whose rows a transfer does not carry, and that must be empty before one begins.
const NOT_CARRIED: [&str; 3] = ["matches", "answers", "listing_changes"];

/// How many places are settled at once.
const SETTLED: u32 = 1000;

const HERE: &str = "PostgreSQL";

fn failed(error: &tokio_postgres::Error) -> TransferError {
    TransferError::Store(failure(error).into())
}

impl From<tokio_postgres::Error> for TransferError {
    fn from(error: tokio_postgres::Error) -> Self {
        failed(&error)
    }
}

/// Whether a transfer into this database was begun and not finished.
pub(super) async fn is_unfinished(client: &Client) -> Result<bool, OpenError> {
    let row = client.query_one("SELECT to_regclass('acquaint_transfer') IS NOT NULL", &[]).await;
    row.and_then(|row| row.try_get(0)).map_err(schema::failed)
}

/// Refuses where the heart-beat of a server is live.
async fn refuse_servers(client: &Client, now: Millis) -> Result<(), TransferError> {
    let sql = "SELECT count(*) FROM servers WHERE until > $1";
    match client.query_one(sql, &[&now]).await?.try_get(0)? {
        0_i64 => Ok(()),
        1 => Err(TransferError::ServersRun { servers: "1 server runs".into() }),
        several => Err(TransferError::ServersRun { servers: format!("{several} servers run") }),
    }
}

/// A connection that ends with the value.
struct Session {
    client: Client,
    task: JoinHandle<()>,
}

impl Session {
    async fn open(options: &Options) -> Result<Self, OpenError> {
        let (client, task) = open::connect_once(options).await?;
        Ok(Self { client, task })
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A PostgreSQL database, seen at one moment. No server may use it meanwhile.
pub struct PostgresSource {
    session: Session,
}

impl std::fmt::Debug for PostgresSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PostgresSource").finish_non_exhaustive()
    }
}

impl PostgresSource {
    /// Connects. What a crash left of matches is settled first, as a server does it; else nothing is written.
    ///
    /// # Errors
    /// [`TransferError::Nothing`], [`TransferError::OldSchema`], [`TransferError::SourceUnfinished`],
    /// [`TransferError::Postgres`] or [`TransferError::Store`].
    pub async fn open(options: &Options, now: Millis) -> Result<Self, TransferError> {
        let session = Session::open(options).await?;
        let client = &session.client;
        let at = schema::version(client).await?;
        schema::check(at)?;
        let Some(at) = at else { return Err(TransferError::Nothing(HERE.into())) };
        let (found, known) = (i64::from(at.version), i64::from(schema::KNOWN));
        if found < known {
            return Err(TransferError::OldSchema { place: HERE.into(), found, known });
        }
        if is_unfinished(client).await? {
            return Err(TransferError::SourceUnfinished(HERE.into()));
        }
        refuse_servers(client, now).await?;
        let unsettled = "SELECT EXISTS (SELECT 1 FROM links WHERE NOT settled)";
        if client.query_one(unsettled, &[]).await?.try_get(0)? {
            let store = PostgresStore::open(options).await?;
            while store.settle(SETTLED, now).await? > 0 {}
        }
        client
            .batch_execute(
                "SET idle_in_transaction_session_timeout = 0;
                 BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
            )
            .await?;
        Ok(Self { session })
    }
}

#[async_trait]
impl Source for PostgresSource {
    /// How many rows each table has, and which transactions wrote them: whoever writes changes one of the two. Reads all.
    async fn mark(&mut self) -> Result<Vec<u8>, TransferError> {
        let mut mark = Vec::new();
        for kind in &KINDS {
            let sql = format!(
                "SELECT count(*) || ',' || coalesce(sum(hashint8extended(xmin::text::bigint, 0)), 0) || ';' FROM {}",
                kind.postgres.from
            );
            let told: String = self.session.client.query_one(&sql, &[]).await?.try_get(0)?;
            mark.extend_from_slice(told.as_bytes());
        }
        Ok(mark)
    }

    async fn count(&mut self, kind: usize) -> Result<u64, TransferError> {
        count(&self.session.client, Kind::at(kind)?).await
    }

    async fn rows(&mut self, kind: usize, after: Option<&[Value]>) -> Result<Vec<Row>, TransferError> {
        let kind = Kind::at(kind)?;
        let client = &self.session.client;
        let after: Vec<&(dyn ToSql + Sync)> = after.unwrap_or_default().iter().map(parameter).collect();
        let found = client.query(&select(kind, !after.is_empty()), &after).await?;
        found.iter().map(|found| row(kind, found)).collect()
    }

    fn key(&self, kind: usize, row: &[Value]) -> Result<Vec<Value>, TransferError> {
        let kind = Kind::at(kind)?;
        part(row, &kind.key(&kind.postgres))
    }
}

/// A key's column, which is never null.
fn parameter(value: &Value) -> &(dyn ToSql + Sync) {
    match value {
        Value::Whole(number) => number,
        Value::Bytes(bytes) => bytes,
        Value::Text(text) => text,
        Value::Null => &None::<i64>,
    }
}

/// The type as which a form goes over the wire.
const fn carried(form: Form) -> &'static str {
    match form {
        Form::Whole | Form::Narrow(_) | Form::Epoch | Form::Bit => "bigint",
        Form::Exactly(_) | Form::Bytes => "bytea",
        Form::Text => "text",
    }
}

/// A stored column as it goes over the wire.
fn outward(column: &Column) -> String {
    let name = column.name;
    match column.form {
        Form::Narrow(_) => format!("\"{name}\"::bigint"),
        Form::Epoch => format!("\"{name}\"::bigint & 4294967295"),
        Form::Bit => format!("\"{name}\"::integer::bigint"),
        Form::Whole | Form::Exactly(_) | Form::Bytes | Form::Text => format!("\"{name}\""),
    }
}

/// What came over the wire as it is stored.
fn inward(column: &Column, value: &str) -> String {
    match column.form {
        Form::Narrow(name) => format!("({value})::{name}"),
        // The bits are kept.
        Form::Epoch => {
            format!("(CASE WHEN {value} > 2147483647 THEN {value} - 4294967296 ELSE {value} END)::integer")
        }
        Form::Bit => format!("({value} <> 0)"),
        Form::Whole | Form::Exactly(_) | Form::Bytes | Form::Text => value.to_owned(),
    }
}

fn select(kind: &Kind, behind: bool) -> String {
    let Place { from, key, .. } = &kind.postgres;
    let names: Vec<String> = kind.columns.iter().map(outward).collect();
    let columns = kind.key(&kind.postgres).into_iter().filter_map(|at| kind.columns.get(at));
    let wanted: Vec<String> = (1..)
        .zip(columns)
        .map(|(number, column)| inward(column, &format!("${number}::{}", carried(column.form))))
        .collect();
    let key = key.join(", ");
    let behind = if behind { format!("WHERE ({key}) > ({})", wanted.join(", ")) } else { String::new() };
    format!("SELECT {} FROM {from} {behind} ORDER BY {key} LIMIT {}", names.join(", "), kind.batch)
}

fn row(kind: &Kind, found: &Found) -> Result<Row, TransferError> {
    let mut row = Row::with_capacity(kind.columns.len());
    for (at, column) in kind.columns.iter().enumerate() {
        let value = match carried(column.form) {
            "bigint" => found.try_get::<_, Option<i64>>(at)?.map(Value::Whole),
            "bytea" => found.try_get::<_, Option<Vec<u8>>>(at)?.map(Value::Bytes),
            _ => found.try_get::<_, Option<String>>(at)?.map(Value::Text),
        };
        let value = value.unwrap_or(Value::Null);
        if !fits(column, &value) {
            return Err(TransferError::Unreadable("a value is not of its column's form"));
        }
        row.push(value);
    }
    Ok(row)
}

async fn count(client: &Client, kind: &Kind) -> Result<u64, TransferError> {
    let plain = format!("SELECT count(*) FROM {}", kind.postgres.from);
    let rows: i64 = client.query_one(kind.postgres.counted.unwrap_or(&plain), &[]).await?.try_get(0)?;
    Ok(u64::try_from(rows).unwrap_or(0))
}

/// A PostgreSQL database that rows are carried into.
pub struct PostgresSink {
    session: Session,
    opened_at: Millis,
}

impl std::fmt::Debug for PostgresSink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PostgresSink").finish_non_exhaustive()
    }
}

impl PostgresSink {
    /// Connects, and makes the tables if there are none. The role must own them, or be allowed to make them.
    ///
    /// # Errors
    /// [`TransferError::Busy`], [`TransferError::ServersRun`], [`TransferError::Postgres`] or [`TransferError::Store`].
    pub async fn open(options: &Options, now: Millis) -> Result<Self, TransferError> {
        let mut session = Session::open(options).await?;
        schema::migrate(&mut session.client).await?;
        let locked = session.client.query_one("SELECT pg_try_advisory_lock($1)", &[&LOCK]).await?;
        if !locked.try_get::<_, bool>(0)? {
            return Err(TransferError::Busy);
        }
        refuse_servers(&session.client, now).await?;
        Ok(Self { session, opened_at: now })
    }
}

#[async_trait]
impl Sink for PostgresSink {
    async fn begin(&mut self, origin: &[u8]) -> Result<Option<Vec<u8>>, TransferError> {
        let client = &mut self.session.client;
        if is_unfinished(client).await? {
            let row = client.query_one("SELECT origin, place FROM acquaint_transfer", &[]).await?;
            if row.try_get::<_, &[u8]>(0)? != origin {
                return Err(TransferError::OtherSource(HERE.into()));
            }
            return Ok(row.try_get(1)?);
        }
        let marking = client.transaction().await?;
        refuse_rows(&marking).await?;
        // All that a server leaves that has served nobody.
        for table in SELF_MADE {
            marking.execute(&format!("DELETE FROM {table}"), &[]).await?;
        }
        marking.batch_execute(MARK).await?;
        marking.execute("INSERT INTO acquaint_transfer (origin) VALUES ($1)", &[&origin]).await?;
        marking.commit().await.map_err(|error| uncertain(&error))?;
        Ok(None)
    }

    async fn put(&mut self, kind: usize, rows: &[Row], place: &[u8]) -> Result<(), TransferError> {
        let kind = Kind::at(kind)?;
        let putting = self.session.client.transaction().await?;
        let columns: Vec<Box<dyn ToSql + Sync + Send + '_>> =
            (0..kind.columns.len()).map(|at| values(kind, rows, at)).collect();
        let parameters: Vec<&(dyn ToSql + Sync)> = columns.iter().map(|column| &**column as _).collect();
        putting.execute(&insert(kind), &parameters).await?;
        putting.execute("UPDATE acquaint_transfer SET place = $1", &[&place]).await?;
        putting.commit().await.map_err(|error| uncertain(&error))
    }

    async fn count(&mut self, kind: usize) -> Result<u64, TransferError> {
        count(&self.session.client, Kind::at(kind)?).await
    }

    async fn finish(&mut self) -> Result<(), TransferError> {
        // One that started just before the mark was there.
        refuse_servers(&self.session.client, self.opened_at).await?;
        self.session.client.batch_execute("DROP TABLE acquaint_transfer").await?;
        Ok(())
    }
}

/// A connection that is lost while committing leaves open whether it did; the next run finds out.
fn uncertain(error: &tokio_postgres::Error) -> TransferError {
    let error = match failure(error) {
        DatabaseError::Lost => DatabaseError::Unknown,
        error => error,
    };
    TransferError::Store(StoreError::from(error))
}

async fn refuse_rows(client: &Transaction<'_>) -> Result<(), TransferError> {
    let carried = KINDS.iter().map(|kind| kind.postgres.from).filter(|table| !SELF_MADE.contains(table));
    for table in carried.chain(NOT_CARRIED) {
        let sql = format!("SELECT EXISTS (SELECT 1 FROM {table})");
        if client.query_one(&sql, &[]).await?.try_get(0)? {
            return Err(TransferError::NotEmpty { place: HERE.into(), table: table.into() });
        }
    }
    Ok(())
}

/// One column of many rows.
fn values<'a>(kind: &Kind, rows: &'a [Row], at: usize) -> Box<dyn ToSql + Sync + Send + 'a> {
    let form = kind.columns.get(at).map_or(Form::Whole, |column| column.form);
    let values = rows.iter().map(move |row| row.get(at));
    match carried(form) {
        "bigint" => Box::new(values.map(|value| value.and_then(Value::whole)).collect::<Vec<_>>()),
        "bytea" => Box::new(values.map(|value| value.and_then(Value::bytes)).collect::<Vec<_>>()),
        _ => Box::new(values.map(|value| value.and_then(Value::text)).collect::<Vec<_>>()),
    }
}

/// All rows by one statement.
fn insert(kind: &Kind) -> String {
    let names = kind.names();
    let stored: Vec<String> = kind
        .columns
        .iter()
        .map(|column| format!("{} AS \"{}\"", inward(column, &format!("\"{}\"", column.name)), column.name))
        .collect();
    let given: Vec<String> = (1..)
        .zip(kind.columns)
        .map(|(number, column)| format!("${number}::{}[]", carried(column.form)))
        .collect();
    let put = match kind.postgres.put.first() {
        Some(put) => (*put).to_owned(),
        None => format!("INSERT INTO {} ({names}) SELECT {names} FROM moved", kind.postgres.from),
    };
    let (stored, given) = (stored.join(", "), given.join(", "));
    format!("WITH moved AS MATERIALIZED (SELECT {stored} FROM unnest({given}) AS given ({names})) {put}")
}
