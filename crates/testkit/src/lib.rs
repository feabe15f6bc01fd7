//! The whole application in one struct, for tests: the real server on a real port over the real store and keys, with a
//! clock that is set by hand and randomness from a seed.

#![expect(clippy::expect_used, clippy::panic, reason = "a test's tools: a failure is a panic")]

mod ambient;
mod answer;
mod log_guard;
pub mod mail;
pub mod network;
mod on_postgres;
mod own_tokens;
pub mod postgres;
pub mod provider;
pub mod softhsm;
pub mod token_suite;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use acquaint_client::{Client, Found};
use acquaint_server::config::Config;
use acquaint_server::{Ambient, Discovery, Server, keys};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags};
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

pub use ambient::{HandClock, SeededEntropy};
pub use answer::Answer;
pub use on_postgres::PostgresApp;
pub use own_tokens::own_tokens;
use postgres::PostgresServer;

/// The operator's key of every test server.
pub const API_KEY: &str = "a-test-key-of-32-characters-here";

/// A running application.
pub struct App {
    /// Talks to it over HTTP.
    pub client: Client,
    /// Where it listens, as `http://127.0.0.1:port`.
    pub url: String,
    /// Its operator's port, if one is configured.
    pub operator: Option<SocketAddr>,
    /// Its clock; begins at 2026-01-01T00:00:00Z.
    pub clock: Arc<HandClock>,
    config: Config,
    folder: TempDir,
    discovery: Arc<Discovery>,
    stop: oneshot::Sender<()>,
    server: JoinHandle<()>,
    /// Its database on the tests' PostgreSQL; `None` for the embedded store.
    database: Option<String>,
    /// Database files that were looked into. Closing one would end the locks that the store, in this same process,
    /// holds on it (fcntl(2)).
    opened: Mutex<Vec<File>>,
}

impl App {
    /// Starts with the cheapest suite, and limits on codes out of the way.
    pub async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    /// Starts with a changed configuration.
    pub async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        Self::start_on(None, change).await
    }

    /// Starts on a database of the tests' PostgreSQL, or on the embedded store.
    async fn start_on(database: Option<String>, change: impl FnOnce(&mut Config)) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut config = Config::default();
        config.listen.set_port(0);
        config.auth.api_key = API_KEY.into();
        config.data_dir = folder.path().join("data");
        config.keys.file = folder.path().join("keys.json");
        config.keys.suite = "development".into();
        config.delivery.outbox_file = folder.path().join("outbox.txt");
        config.verification.resend_s = 0;
        config.verification.account_codes_per_day = 1000;
        config.verification.number_codes_per_day = 1000;
        if let Some(database) = &database {
            config.store.kind = "postgres".into();
            config.store.postgres = PostgresServer::shared().connection(database).as_str().into();
            // Many servers share the one PostgreSQL.
            config.store.pool_size = 4;
        }
        token_suite::configure(&mut config);
        change(&mut config);
        make_audiences(&config);
        Self::run(folder, config, Arc::new(HandClock::default()), database).await
    }

    /// Calls the REST or XRPC face with a session of the back end's; see [`BACK_END_KEY`].
    pub async fn as_account(&self, did: &str, method: &str, path: &str, body: impl AsRef<[u8]>) -> Answer {
        let session = format!("authorization: Bearer {BACK_END_KEY}\r\nacquaint-account: {did}\r\n");
        self.ask(method, path, &session, body).await
    }

    /// Asks with these headers, each with its line's end, on a connection of its own.
    pub async fn ask(&self, method: &str, path: &str, headers: &str, body: impl AsRef<[u8]>) -> Answer {
        let body = body.as_ref();
        let content = if body.is_empty() { "" } else { "content-type: application/json\r\n" };
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{headers}{content}content-length: {}\r\n\r\n",
            body.len()
        );
        Answer::of(&self.url, &[head.as_bytes(), body].concat()).await
    }

    async fn run(folder: TempDir, config: Config, clock: Arc<HandClock>, database: Option<String>) -> Self {
        log_guard::install();
        let ambient = Ambient {
            clock: Arc::clone(&clock) as _,
            // Another seed after each start: a restarted server must not draw the same ids again.
            entropy: Arc::new(SeededEntropy::new(clock.starts())),
        };
        let server =
            Server::start(config.clone(), ambient).await.unwrap_or_else(|error| panic!("no start: {error}"));
        let url = format!("http://{}", server.address().expect("an address"));
        let operator = server.operator_address();
        let discovery = server.discovery();
        let (stop, stopped) = oneshot::channel();
        let server = tokio::spawn(server.run(async {
            // A dropped App stops its server too.
            let _ = stopped.await;
        }));
        let client = Client::new(&url, API_KEY).expect("a client");
        Self {
            client,
            url,
            operator,
            clock,
            config,
            folder,
            discovery,
            stop,
            server,
            database,
            opened: Mutex::default(),
        }
    }

    /// Stops it in good order and starts it again on the same data, with a changed configuration.
    pub async fn restart_with(self, change: impl FnOnce(&mut Config)) -> Self {
        let database = self.database.clone();
        let (folder, mut config, clock) = self.end().await;
        change(&mut config);
        Self::run(folder, config, clock, database).await
    }

    /// Stops it in good order: when this returns, nothing of it runs.
    pub async fn stop(self) {
        self.end().await;
    }

    async fn end(self) -> (TempDir, Config, Arc<HandClock>) {
        let Self {
            client,
            url: _,
            operator: _,
            clock,
            config,
            folder,
            discovery,
            stop,
            server,
            database: _,
            opened,
        } = self;
        // The server waits for its connections, and the pool for its last owner.
        drop(client);
        drop(discovery);
        // It may have stopped already.
        let _ = stop.send(());
        server.await.expect("the server ends in good order");
        drop(opened);
        (folder, config, clock)
    }

    /// The use cases, past HTTP.
    #[must_use]
    pub fn discovery(&self) -> &Discovery {
        &self.discovery
    }

    /// Where the database is.
    #[must_use]
    pub fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// The code that was sent last to a number or an e-mail address.
    #[must_use]
    pub fn code(&self, to: &str) -> String {
        let to = to.to_lowercase();
        let outbox = std::fs::read_to_string(&self.config.delivery.outbox_file).expect("the outbox");
        let line = outbox.lines().rev().find_map(|line| line.strip_prefix(&to));
        line.expect("a code for the number").trim().to_owned()
    }

    /// Verifies a number and returns the token.
    pub async fn verify(&self, did: &str, phone: &str) -> String {
        self.client.start_verification(did, phone).await.expect("a code is sent");
        self.client.verify(did, phone, &self.code(phone)).await.expect("the code is right")
    }

    /// Verifies a number, imports contacts, and waits until the import is finished.
    pub async fn import(&self, did: &str, phone: &str, contacts: &[&str]) -> Vec<Found> {
        let token = self.verify(did, phone).await;
        let contacts = contacts.iter().map(|contact| (*contact).to_owned()).collect();
        let found = self.client.import(did, &token, contacts).await.expect("the import is accepted");
        self.settle().await;
        found
    }

    /// Waits until no accepted import is left to work on.
    pub async fn settle(&self) {
        for _ in 0..6000 {
            if self.discovery.waiting_pairs().await.expect("the store answers") == 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("imports are not finished after a minute");
    }

    /// Every match of an account, newest first.
    pub async fn matches(&self, did: &str) -> Vec<String> {
        self.client.all_matches(did).await.expect("matches are listed")
    }

    /// Every value of every table, as bytes, by table.
    #[must_use]
    pub fn rows(&self) -> BTreeMap<String, Vec<Vec<u8>>> {
        if let Some(database) = &self.database {
            return on_postgres::rows(database);
        }
        let path = self.data_dir().join("acquaint.db");
        let database =
            Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).expect("the database");
        let mut tables =
            database.prepare("SELECT name FROM sqlite_schema WHERE type = 'table'").expect("a schema");
        let tables = tables.query_map([], |row| row.get::<_, String>(0)).expect("tables");
        tables
            .map(|table| table.expect("a name"))
            .map(|table| (table.clone(), values(&database, &table)))
            .collect()
    }

    /// All bytes of the database's files; of PostgreSQL, which keeps more than this test's, all rows.
    #[must_use]
    pub fn database_bytes(&self) -> Vec<u8> {
        if self.database.is_some() {
            return self.rows().into_values().flatten().flatten().collect();
        }
        let folder = std::fs::read_dir(self.data_dir()).expect("the data");
        let mut bytes = Vec::new();
        for entry in folder {
            let mut file = File::open(entry.expect("an entry").path()).expect("a file of the data");
            file.read_to_end(&mut bytes).expect("its bytes");
            self.opened.lock().expect("no test panicked with it").push(file);
        }
        bytes
    }
}

/// The key of a back end that may call for every account, once [`back_end`] is configured.
pub const BACK_END_KEY: &str = "aqk_a-back-end-of-the-tests-and-its-key";

/// Lets [`BACK_END_KEY`] in.
pub fn back_end(config: &mut Config) {
    let digest = Sha256::digest(BACK_END_KEY.as_bytes());
    config.sessions.api_keys = vec![format!("tests:{}", hex::encode(digest))];
}

/// Makes the keys of the audiences that are configured, where there are no keys yet.
fn make_audiences(config: &Config) {
    let most = config.credentials.all_audiences().iter().map(|audience| audience.number).max();
    let Some(most) = most else { return };
    // A second server has those of the first.
    if keys::init(config, 0).is_err() {
        return;
    }
    for _ in 0..most {
        keys::new_audience(config, 0).expect("an audience's keys");
    }
}

fn values(database: &Connection, table: &str) -> Vec<Vec<u8>> {
    let mut statement = database.prepare(&format!("SELECT * FROM {table}")).expect("a table");
    let columns = statement.column_count();
    let mut rows = statement.query([]).expect("rows");
    let mut values = Vec::new();
    while let Some(row) = rows.next().expect("a row") {
        values.extend((0..columns).map(|column| match row.get_ref(column).expect("a value") {
            ValueRef::Blob(bytes) | ValueRef::Text(bytes) => bytes.to_vec(),
            other => format!("{other:?}").into_bytes(),
        }));
    }
    values
}

/// Whether `bytes` holds `part` anywhere.
#[must_use]
pub fn holds(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// The `n`th of a thousand valid numbers that North America keeps for fiction (ATIS-0300115).
#[must_use]
pub fn number(n: usize) -> String {
    const AREAS: [u16; 10] = [212, 312, 415, 646, 718, 206, 305, 512, 617, 702];
    let area = AREAS.get(n / 100).expect("there are a thousand");
    format!("+1{area}55501{:02}", n % 100)
}

/// The `n`th account's name.
#[must_use]
pub fn did(n: usize) -> String {
    format!("did:plc:account{n}")
}
