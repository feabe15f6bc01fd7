//! What the store for several servers promises beyond the contract.

use std::sync::Arc;

use super::private_server::PostgresServer;
use super::{Options, PostgresStore};
use crate::{Store, conformance};

/// A store in a database of its own.
pub(super) async fn fresh() -> (String, PostgresStore) {
    let server = PostgresServer::shared();
    let database = server.database(Some(template().await));
    let store = PostgresStore::open(&options(&database)).await.unwrap();
    (database, store)
}

pub(super) fn options(database: &str) -> Options {
    let connection = PostgresServer::shared().connection(database);
    Options { pool_size: 8, ..Options::new(connection) }
}

/// A database with the schema and nothing else.
async fn template() -> &'static str {
    static MADE: tokio::sync::OnceCell<String> = tokio::sync::OnceCell::const_new();
    MADE.get_or_init(|| async {
        let server = PostgresServer::shared();
        let database = server.database(None);
        drop(PostgresStore::open(&options(&database)).await.unwrap());
        // A database can be copied while nobody is connected to it.
        server.sql(
            "postgres",
            &format!(
                "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity WHERE datname = '{database}'"
            ),
        );
        database
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn keeps_the_contract() {
    conformance::run(|| async {
        let (_, store) = fresh().await;
        Arc::new(store) as Arc<dyn Store>
    })
    .await;
}
