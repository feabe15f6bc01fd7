//! Opening: the connection string, TLS, the pool.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::{Connect, Manager, ManagerConfig, Pool, RecyclingMethod};
use futures::future::BoxFuture;
use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use rustls_platform_verifier::BuilderVerifierExt;
use tokio::task::JoinHandle;
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres::{Client, Config};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::error::{DatabaseError, failure, unreachable};
use super::{schema, transfer};

/// Where the database is, and how many connections to it are kept.
#[derive(Clone)]
pub struct Options {
    /// As libpq has it: `postgresql://user:password@host:5432/database?sslmode=require`, or `host=/run/postgresql
    /// user=acquaint dbname=acquaint`. With `sslmode=require` the server's certificate must be valid for the host's
    /// name (as libpq's `verify-full`).
    pub connection: String,
    /// The most connections that are open at once; at least 2. Each running import uses one while it writes.
    pub pool_size: usize,
    /// How long a verb waits for a free connection.
    pub wait: Duration,
    /// Certificate authorities in PEM to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// Allows to speak in clear with a host that is not this one, as over a network that encrypts by itself.
    pub allow_cleartext: bool,
}

impl Options {
    /// 16 connections, 5 s, the system's certificate authorities, nothing in clear over a network.
    #[must_use]
    pub fn new(connection: impl Into<String>) -> Self {
        Self {
            connection: connection.into(),
            pool_size: 16,
            wait: Duration::from_secs(5),
            ca_file: None,
            allow_cleartext: false,
        }
    }

    /// Whether they can be used, as far as that shows without a connection and without reading a file.
    ///
    /// # Errors
    /// [`OpenError::Connection`], [`OpenError::PoolSize`] or [`OpenError::Cleartext`].
    pub fn check(&self) -> Result<(), OpenError> {
        read(self).map(drop)
    }
}

/// Without the connection string, which can hold a password.
impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("pool_size", &self.pool_size)
            .field("wait", &self.wait)
            .field("ca_file", &self.ca_file)
            .field("allow_cleartext", &self.allow_cleartext)
            .finish_non_exhaustive()
    }
}

/// Why a store could not be opened. No text holds anything of the connection string.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The connection string cannot be read.
    #[error(
        "the connection string cannot be read: it must be as \
         postgresql://user:password@host:5432/database?sslmode=require, or as host=/run/postgresql user=… dbname=…, \
         with sslmode disable, prefer or require"
    )]
    Connection,
    /// The pool is too small.
    #[error("the pool needs at least 2 connections")]
    PoolSize,
    /// Keys and rows would go over a network in clear.
    #[error(
        "the connection string allows to speak in clear with a host that is not this one: add sslmode=require, or allow \
         clear text if the network encrypts by itself"
    )]
    Cleartext,
    /// The file of certificate authorities cannot be used.
    #[error("{} must hold one or more certificates in PEM", path.display())]
    Certificates {
        /// The file.
        path: PathBuf,
    },
    /// There is no TLS here.
    #[error("TLS cannot be set up")]
    Tls(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Tables of the same names, but not ours.
    #[error(
        "the database's schema holds tables of another program: give this one a database or a schema of its own"
    )]
    Foreign,
    /// A newer version of this program has changed the schema so that this one cannot work on it.
    #[error(
        "the database has schema version {found}, for programs that know version {usable_from} or later, and this \
         program knows only up to {known}: use a newer program"
    )]
    Newer {
        /// The database's schema version.
        found: i32,
        /// What a program must know to work on it.
        usable_from: i32,
        /// The newest one that is known.
        known: i32,
    },
    /// An import into it has begun and not ended.
    #[error(
        "an import into this database was not finished: run it again and it goes on, or start with an empty one"
    )]
    Unfinished,
    /// The database could not be reached, or refused.
    #[error(transparent)]
    Database(DatabaseError),
}

/// Reads the options, connects, and brings the schema up to date.
pub(super) async fn open(options: &Options) -> Result<Pool, OpenError> {
    let (config, tls) = prepare(options)?;
    let connect = Connector { tls };
    let (mut client, connection) = connect.one(config.clone()).await.map_err(OpenError::Database)?;
    let usable = usable(&mut client).await;
    drop(client);
    connection.abort();
    usable?;
    let manager = ManagerConfig { recycling_method: RecyclingMethod::Fast };
    Pool::builder(Manager::from_connect(config, connect, manager))
        .max_size(options.pool_size)
        .wait_timeout(Some(options.wait))
        .runtime(deadpool_postgres::Runtime::Tokio1)
        .build()
        .map_err(|error| OpenError::Tls(Box::new(error)))
}

/// Refused in the middle of a transfer; else the schema is brought up to date.
async fn usable(client: &mut Client) -> Result<(), OpenError> {
    if transfer::is_unfinished(client).await? {
        return Err(OpenError::Unfinished);
    }
    schema::migrate(client).await
}

/// A connection that is not of a pool; what it runs in ends with the task.
pub(super) async fn connect_once(options: &Options) -> Result<(Client, JoinHandle<()>), OpenError> {
    let (config, tls) = prepare(options)?;
    Connector { tls }.one(config).await.map_err(OpenError::Database)
}

fn read(options: &Options) -> Result<Config, OpenError> {
    // Its error can repeat what it could not read.
    let config = Config::from_str(&options.connection).map_err(|_| OpenError::Connection)?;
    if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
        return Err(OpenError::Connection);
    }
    if options.pool_size < 2 {
        return Err(OpenError::PoolSize);
    }
    if config.get_ssl_mode() != SslMode::Require && !options.allow_cleartext && !is_here(&config) {
        return Err(OpenError::Cleartext);
    }
    Ok(config)
}

fn prepare(options: &Options) -> Result<(Config, MakeRustlsConnect), OpenError> {
    let mut config = read(options)?;
    if config.get_application_name().is_none() {
        config.application_name("acquaint");
    }
    // A server that has vanished from the network is noticed within a minute.
    if config.get_connect_timeout().is_none() {
        config.connect_timeout(Duration::from_secs(5));
    }
    if config.get_tcp_user_timeout().is_none() {
        config.tcp_user_timeout(Duration::from_secs(30));
    }
    config.keepalives_idle(Duration::from_secs(30));
    Ok((config, MakeRustlsConnect::new(tls(options)?)))
}

/// Whether every host is a Unix socket or loopback.
fn is_here(config: &Config) -> bool {
    let hosts = config.get_hosts().iter().all(|host| match host {
        #[cfg(unix)]
        Host::Unix(_) => true,
        Host::Tcp(name) => {
            name == "localhost" || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
        }
    });
    // An address, where given, is what is connected to.
    let addresses = config.get_hostaddrs();
    if addresses.is_empty() { hosts } else { addresses.iter().all(std::net::IpAddr::is_loopback) }
}

fn tls(options: &Options) -> Result<ClientConfig, OpenError> {
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| OpenError::Tls(Box::new(error)))?;
    let Some(path) = &options.ca_file else {
        return Ok(builder
            .with_platform_verifier()
            .map_err(|error| OpenError::Tls(Box::new(error)))?
            .with_no_client_auth());
    };
    let unusable = || OpenError::Certificates { path: path.clone() };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(|_| unusable())? {
        roots.add(certificate.map_err(|_| unusable())?).map_err(|_| unusable())?;
    }
    if roots.is_empty() {
        return Err(unusable());
    }
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

/// Connects, and logs no text of the server's when a connection ends.
struct Connector {
    tls: MakeRustlsConnect,
}

impl Connector {
    async fn one(&self, config: Config) -> Result<(Client, JoinHandle<()>), DatabaseError> {
        let (client, task) = self.connect(&config).await.map_err(|error| unreachable(&error))?;
        Ok((client, task))
    }
}

/// What every session is set to:
/// - the plans of the batches must not depend on what a table held when they were made: index lookups, row by row;
/// - a commit is durable when it is answered, whatever the role's default;
/// - what a vanished server holds is let go of.
const SESSION: &str = "SET jit = off; SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off; \
     SET enable_hashjoin = off; SET enable_mergejoin = off; SET enable_bitmapscan = off; \
     SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'; \
     SET lock_timeout = '30s'; SET idle_in_transaction_session_timeout = '60s'; \
     SET client_min_messages = error; SET bytea_output = hex; SET default_transaction_isolation = 'read committed'";

impl Connect for Connector {
    fn connect(
        &self,
        config: &Config,
    ) -> BoxFuture<'_, Result<(Client, JoinHandle<()>), tokio_postgres::Error>> {
        let (config, tls) = (config.clone(), self.tls.clone());
        Box::pin(async move {
            let (client, connection) = config.connect(tls).await?;
            let task = tokio::spawn(async move {
                if let Err(error) = connection.await {
                    tracing::warn!(error = %failure(&error), "a connection to the database ended");
                }
            });
            client.batch_execute(SESSION).await?;
            Ok((client, task))
        })
    }
}
