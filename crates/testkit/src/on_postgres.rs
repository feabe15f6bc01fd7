//! The application on PostgreSQL: a database of its own for each, on one server for all tests of a process.

use std::collections::BTreeMap;
use std::ops::Deref;

use acquaint_server::config::Config;

use crate::App;
use crate::postgres::PostgresServer;

/// An [`App`] whose store is PostgreSQL; else the same, so that one test can run over both.
pub struct PostgresApp(App);

impl PostgresApp {
    /// As [`App::start`].
    pub async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    /// As [`App::start_with`].
    pub async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        let database = PostgresServer::shared().database(None);
        Self(App::start_on(Some(database), change).await)
    }

    /// The connection string of its database.
    #[must_use]
    pub fn connection(&self) -> String {
        PostgresServer::shared().connection(self.0.database.as_deref().expect("it is on PostgreSQL"))
    }

    /// What SQL gives on its database, as [`PostgresServer::sql`] does.
    #[must_use]
    pub fn sql(&self, sql: &str) -> String {
        PostgresServer::shared().sql(self.0.database.as_deref().expect("it is on PostgreSQL"), sql)
    }

    /// Takes the database away, for good.
    pub fn lose_database(&self) {
        let database = self.0.database.as_deref().expect("it is on PostgreSQL");
        let _ = PostgresServer::shared().sql("postgres", &format!("DROP DATABASE {database} WITH (FORCE)"));
    }

    /// A second server on the same database and keys, with its own clock.
    pub async fn another(&self, change: impl FnOnce(&mut Config)) -> Self {
        let Self(first) = self;
        let keys = first.config.keys.file.clone();
        let outbox = first.config.delivery.outbox_file.clone();
        let started = App::start_on(first.database.clone(), |config| {
            config.keys.file = keys;
            config.delivery.outbox_file = outbox;
            change(config);
        });
        Self(started.await)
    }

    /// As [`App::restart_with`].
    pub async fn restart_with(self, change: impl FnOnce(&mut Config)) -> Self {
        Self(self.0.restart_with(change).await)
    }

    /// As [`App::stop`].
    pub async fn stop(self) {
        self.0.stop().await;
    }
}

impl Deref for PostgresApp {
    type Target = App;

    fn deref(&self) -> &App {
        &self.0
    }
}

/// Every value of every table, as bytes, by table.
pub(crate) fn rows(database: &str) -> BTreeMap<String, Vec<Vec<u8>>> {
    let server = PostgresServer::shared();
    let tables = server.sql(
        database,
        "SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') AND NOT relispartition
         AND relnamespace = 'public'::regnamespace",
    );
    let values = |table: &str| {
        let rows = server.sql(database, &format!("SELECT * FROM {table}"));
        rows.split(['\n', '|']).filter(|value| !value.is_empty()).map(bytes).collect()
    };
    tables.lines().map(|table| (table.to_owned(), values(table))).collect()
}

/// What PostgreSQL prints of a value: `\x` and hexadecimal for bytes.
fn bytes(text: &str) -> Vec<u8> {
    let Some(digits) = text.strip_prefix("\\x") else { return text.into() };
    let pairs = digits.as_bytes().chunks_exact(2);
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    pairs.map(|pair| byte(pair).expect("hexadecimal")).collect()
}
