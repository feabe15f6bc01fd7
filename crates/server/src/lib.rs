//! The server: configuration, adapters, and HTTP around the use cases of `acquaint-service`.

pub mod config;
mod custody_process;
pub mod database;
pub mod delivery;
mod files;
mod http;
pub mod keys;
mod notify;
mod outbound;
mod replays;
mod rpc;
mod session;
pub mod shard;
mod stream;
pub mod telemetry;
pub mod transfer;
pub mod upkeep;

use std::future::Future;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use acquaint_custody::KeyCustody;
use acquaint_protocol::identifier::Region;
use acquaint_service::{
    Bucket, CredentialPolicy, DepartureCheck, LookupPolicy, Parts, Policy, PoolSize, Running, StartError,
    SystemClock, SystemEntropy,
};
use acquaint_store::{Store, StoreError};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

pub use custody_process::CustodyProcess;
pub use http::tls::TlsError;
pub use session::SessionsError;
#[cfg(feature = "fuzzing")]
pub use session::fuzzing;

/// Reads a message of the network's stream; for the fuzz target.
#[cfg(feature = "fuzzing")]
pub fn read_stream_message(bytes: &[u8]) -> Option<(i64, Option<acquaint_service::NetworkEvent>)> {
    stream::message::read(bytes)
}

pub use acquaint_service::{Clock, Discovery, Entropy, EntropyError, Millis, PoolStats};

use config::{Config, Holder, Http};
use database::Database;
use http::Port;
use http::matrix::homeserver::Homeservers;
use http::tls::Tls;
use keys::{KeyFileError, KeysError};
use replays::StoredReplays;
use session::Sessions;
use session::did::Resolver;
use stream::Departures;

/// Why the server does not start.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The keys cannot be used.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// The database cannot be opened.
    #[error(transparent)]
    Open(#[from] database::OpenError),
    /// The database cannot be read.
    #[error("the database cannot be read")]
    Store(#[from] StoreError),
    /// Keys and data do not fit, or the pool cannot be started.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The configured suite is not the one of the keys.
    #[error(
        "`keys.suite` is `{configured}`, but the keys were made for `{found}`: set it back; another suite takes new keys"
    )]
    OtherSuite {
        /// In the configuration.
        configured: String,
        /// With the keys.
        found: &'static str,
    },
    /// The database has data, but there is no key file.
    #[error("the database has data but the key file {} is missing: put it back; new keys cannot read the data", .0.display())]
    KeysGone(std::path::PathBuf),
    /// Codes or notifications cannot be sent as configured.
    #[error(transparent)]
    Provider(#[from] delivery::ProviderError),
    /// The certificate or its key cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Metrics cannot be served.
    #[error(transparent)]
    Metrics(#[from] telemetry::RecorderTaken),
    /// Sessions cannot be checked as configured.
    #[error(transparent)]
    Sessions(#[from] SessionsError),
    /// The port cannot be had.
    #[error("cannot listen on {address}")]
    Listen {
        /// Which one.
        address: SocketAddr,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
}

/// Where time and randomness come from; the operating system unless a test brings its own.
#[derive(Clone)]
pub struct Ambient {
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Gives randomness.
    pub entropy: Arc<dyn Entropy>,
}

impl Default for Ambient {
    fn default() -> Self {
        Self { clock: Arc::new(SystemClock), entropy: Arc::new(SystemEntropy) }
    }
}

/// A server that is ready to take requests.
pub struct Server {
    listener: TcpListener,
    /// The operator's port, if there is one.
    operator: Option<TcpListener>,
    tls: Option<Tls>,
    database: Database,
    running: Running,
    sessions: Arc<Sessions>,
    /// Who vouches for accounts of Matrix, where that face is on.
    homeservers: Option<Arc<Homeservers>>,
    /// What reads the network's stream, and what ends it.
    stream: Option<(watch::Sender<bool>, JoinHandle<()>)>,
    config: Config,
}

impl Server {
    /// Opens keys and database as configured (creating them on the first run), starts the background work, and takes
    /// the port. Accepted imports of a former run are resumed from here on.
    ///
    /// # Errors
    /// [`ServerError`] says what is wrong and what to do.
    pub async fn start(config: Config, ambient: Ambient) -> Result<Self, ServerError> {
        // Before anything counts.
        let address = config.telemetry.address();
        if address.is_some() {
            telemetry::metrics::begin(&config)?;
        }
        let tls = match config.tls.certificate.as_os_str().is_empty() {
            true => None,
            false => Some(Tls::open(&config.tls)?),
        };
        let homeservers = match config.matrix.enabled {
            true => Some(Arc::new(Homeservers::new(&config).map_err(SessionsError::from)?)),
            false => None,
        };
        warn_of_profiles(&config);
        let listener = bind(config.listen).await?;
        let operator = match address {
            Some(address) => Some(bind(address).await?),
            None => None,
        };
        files::allow(config.http.max_connections);
        let database = database::open(&config).await?;
        let store = database.store();
        let custody = open_keys(&config, &*store, &ambient.clock).await?;
        let parts = Parts {
            store,
            custody,
            sender: delivery::sender(&config, &ambient)?,
            notifier: notify::notifier(&config, &ambient)?,
            events: notify::event_sink(&config, &ambient)?,
            departures: departures(&config, &ambient)?,
            clock: ambient.clock,
            entropy: ambient.entropy,
            policy: policy(&config),
            pool: pool_size(&config),
        };
        let clock = Arc::clone(&parts.clock);
        let jetstream = config.network.jetstream_url.parse().ok();
        let waits = config.keys.holder() != Some(Holder::File);
        let running = Running::start(telemetry::observed::observed(parts, waits)).await?;
        let replays = Arc::new(StoredReplays(Arc::clone(&running.discovery)));
        let sessions = match Sessions::new(&config, Arc::clone(&clock), replays) {
            Ok(sessions) => Arc::new(sessions),
            Err(error) => {
                running.stop().await;
                return Err(error.into());
            }
        };
        let stream = jetstream.map(|url| {
            let (stop, stopped) = watch::channel(false);
            let reading = stream::follow(Arc::clone(&running.discovery), clock, url, stopped);
            (stop, tokio::spawn(reading))
        });
        Ok(Self { listener, operator, tls, database, running, sessions, homeservers, stream, config })
    }

    /// The use cases, for a caller in the same process.
    #[must_use]
    pub fn discovery(&self) -> Arc<Discovery> {
        Arc::clone(&self.running.discovery)
    }

    /// The address that it listens on; tells the port when 0 was configured.
    ///
    /// # Errors
    /// When the system does not tell.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// What the port answers, without the port; for the fuzz targets.
    #[cfg(feature = "fuzzing")]
    pub fn router(&self) -> axum::Router {
        let (discovery, sessions) = (Arc::clone(&self.running.discovery), Arc::clone(&self.sessions));
        http::router(discovery, sessions, self.homeservers.clone(), &self.config)
    }

    /// The same as a URL, `http://` or `https://`.
    ///
    /// # Errors
    /// When the system does not tell.
    pub fn url(&self) -> std::io::Result<String> {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        Ok(format!("{scheme}://{}", self.address()?))
    }

    /// The address of the operator's port, with `/metrics`; `None` if none is configured.
    #[must_use]
    pub fn operator_address(&self) -> Option<SocketAddr> {
        self.operator.as_ref()?.local_addr().ok()
    }

    /// Answers requests until `stop`, then lets those that run finish and ends the background work after its step.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let Self { listener, operator, tls, database, running, sessions, homeservers, stream, config } = self;
        let mut background = JoinSet::new();
        let tls = tls.map(|Tls { acceptor, watch }| {
            background.spawn(watch);
            acceptor
        });
        // The operator sees the end of the main port's requests too.
        if let Some(listener) = operator {
            let time = Duration::from_secs(u64::from(config.http.request_timeout_s));
            let router = http::operator(Arc::clone(&running.discovery), time);
            let http = Http { max_connections: http::OPERATOR_CONNECTIONS, ..config.http.clone() };
            background.spawn(async move {
                let port = Port { listener, tls: None, counted: false };
                http::serve(port, router, &http, std::future::pending()).await;
            });
            background.spawn(telemetry::metrics::keep_up());
            background.spawn(watch_connections(database));
        }
        let router = http::router(Arc::clone(&running.discovery), sessions, homeservers, &config);
        http::serve(Port { listener, tls, counted: true }, router, &config.http, stop).await;
        if let Some((stop, reading)) = stream {
            stop.send_replace(true);
            // It gives the stream back; whether it came to that shows in its log.
            let _ = reading.await;
        }
        running.stop().await;
        background.shutdown().await;
    }
}

/// Says what profiles leak that are there for other programs' sake.
fn warn_of_profiles(config: &Config) {
    if config.rocketchat.enabled {
        tracing::warn!(
            "`rocketchat.enabled`: whoever may ask can read the phone numbers and e-mail addresses of all who are \
             listed, a bucket at a time, and this service learns {} bits of each contact that is asked for; \
             see docs/threat-model.md",
            4 * config.rocketchat.digits
        );
    }
    if config.matrix.enabled {
        tracing::warn!(
            "`matrix.enabled`: this service can read every phone number that is asked for, and whoever may ask learns \
             which numbers are listed; see docs/threat-model.md"
        );
    }
}

/// Who confirms what the network's stream says of departures.
fn departures(config: &Config, ambient: &Ambient) -> Result<Option<Arc<dyn DepartureCheck>>, ServerError> {
    if config.network.jetstream_url.is_empty() {
        return Ok(None);
    }
    let resolver = Resolver::new(config, Arc::clone(&ambient.clock)).map_err(SessionsError::from)?;
    Ok(Some(Arc::new(Departures { resolver: Arc::new(resolver) })))
}

/// Keeps the gauges of the pool of connections.
async fn watch_connections(database: Database) {
    while let Some(connections) = database.connections() {
        telemetry::metrics::connected(connections);
        tokio::time::sleep(telemetry::metrics::UPKEEP).await;
    }
}

async fn bind(address: SocketAddr) -> Result<TcpListener, ServerError> {
    TcpListener::bind(address).await.map_err(|source| ServerError::Listen { address, source })
}

/// Opens the keys. A key file is made on the very first run: never beside data that other keys have sealed.
async fn open_keys(
    config: &Config,
    store: &dyn Store,
    clock: &Arc<dyn Clock>,
) -> Result<Arc<dyn KeyCustody>, ServerError> {
    let is_new = store.key_records().await?.is_empty();
    let (opening, clock) = (config.clone(), Arc::clone(clock));
    // A passphrase takes tenths of a second, and an HSM or another process as long as it likes.
    let opened = tokio::task::spawn_blocking(move || keys::open(&opening, is_new, clock)).await;
    let custody = match opened.map_err(|_| StartError::Interrupted)? {
        Err(KeysError::File(KeyFileError::Absent(path))) if !is_new => {
            return Err(ServerError::KeysGone(path));
        }
        outcome => outcome?,
    };
    same_suite(config, &*custody)?;
    Ok(custody)
}

/// Whether the newest epoch's suite is the configured one.
pub(crate) fn same_suite(config: &Config, custody: &dyn KeyCustody) -> Result<(), ServerError> {
    let newest = acquaint_custody::epochs(custody).map_err(StartError::from)?.into_iter().next();
    match newest {
        Some(epoch) if epoch.suite != keys::suite(config) => {
            Err(ServerError::OtherSuite { configured: config.keys.suite.clone(), found: epoch.suite.name })
        }
        _ => Ok(()),
    }
}

/// A key file that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyFile {
    /// Whether it was made just now.
    pub made: bool,
    /// The name of its newest suite.
    pub suite: &'static str,
}

/// Makes a key of every purpose and writes the key file, mode 0600, unless there is one: that is kept.
///
/// # Errors
/// [`KeyFileError`]; an unknown suite is told as a malformed file.
pub fn ensure_key_file(path: &std::path::Path, suite: &str) -> Result<KeyFile, KeyFileError> {
    use acquaint_custody::software::SoftwareCustody;
    let malformed = |reason: &str| KeyFileError::Malformed { path: path.into(), reason: reason.into() };
    let wanted =
        acquaint_protocol::pair::Suite::by_name(suite).ok_or_else(|| malformed("its suite is not known"))?;
    let (made, custody) = match SoftwareCustody::open(path) {
        Err(KeyFileError::Absent(_)) => (true, SoftwareCustody::create(path, wanted)?),
        outcome => (false, outcome?),
    };
    let newest = acquaint_custody::epochs(&custody).ok().and_then(|epochs| epochs.into_iter().next());
    let suite = newest.ok_or_else(|| malformed("it has no pair key"))?.suite.name;
    Ok(KeyFile { made, suite })
}

fn pool_size(config: &Config) -> PoolSize {
    let cores = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let wanted = usize::try_from(config.pool.threads).ok().and_then(NonZeroUsize::new);
    PoolSize {
        threads: wanted.map_or(cores, |wanted| wanted.min(cores)),
        memory_bytes: u64::from(config.pool.memory_mib) * 1024 * 1024,
    }
}

fn policy(config: &Config) -> Policy {
    let seconds = |seconds: u32| Duration::from_secs(u64::from(seconds));
    let daily = |count: u32| Bucket { capacity: count, per_day: count };
    let (verification, import) = (&config.verification, &config.import);
    Policy {
        regions: verification.regions.iter().filter_map(|region| Region::parse(region).ok()).collect(),
        emails: verification.emails,
        code_ttl: seconds(verification.code_ttl_s),
        code_guesses: verification.guesses,
        code_resend: seconds(verification.resend_s),
        account_codes: daily(verification.account_codes_per_day),
        number_codes: daily(verification.number_codes_per_day),
        number_guesses: daily(verification.number_guesses_per_day),
        region_codes: daily(verification.region_codes_per_day),
        sms_codes: daily(verification.sms_codes_per_day),
        email_codes: daily(verification.email_codes_per_day),
        account_guesses: daily(verification.account_guesses_per_day),
        region_guesses: daily(verification.region_guesses_per_day),
        all_guesses: daily(verification.all_guesses_per_day),
        delivery_timeout: seconds(verification.delivery_timeout_s),
        token_ttl: seconds(verification.token_ttl_s),
        account_pairs: Bucket { capacity: import.account_pairs, per_day: import.account_pairs_per_day },
        number_pairs: Bucket { capacity: import.number_pairs, per_day: import.number_pairs_per_day },
        import_deadline: Duration::from_millis(u64::from(import.deadline_ms)),
        notice_timeout: seconds(config.notifications.timeout_s),
        notice_attempts: config.notifications.attempts,
        max_queue_wait: seconds(import.max_queue_wait_s),
        pair_ttl: seconds(24 * 60 * 60) * import.pair_ttl_days,
        account_calls: Bucket {
            capacity: config.http.account_calls,
            per_day: config.http.account_calls_per_day,
        },
        prefix_calls: Bucket {
            capacity: config.http.prefix_calls,
            per_day: config.http.prefix_calls_per_day,
        },
        prefix_failures: Bucket {
            capacity: config.http.prefix_failures,
            per_day: config.http.prefix_failures_per_day,
        },
        keep_events: seconds(24 * 60 * 60) * config.audit.keep_days,
        credentials: credentials(&config.credentials),
        lookups: lookups(config),
        directory: config::directory_policy(config),
    }
}

fn credentials(config: &config::Credentials) -> CredentialPolicy {
    CredentialPolicy {
        audiences: config.all_audiences(),
        format: config.format().unwrap_or_default(),
        ttl: Duration::from_secs(config.ttl_s.into()),
        needs_identifier: config.need_verified_number,
        account: Bucket { capacity: config.account, per_day: config.account_per_day },
        prefix: Bucket { capacity: config.prefix, per_day: config.prefix_per_day },
        provider: Bucket { capacity: config.provider, per_day: config.provider_per_day },
        all: Bucket { capacity: config.all, per_day: config.all_per_day },
    }
}

fn lookups(config: &Config) -> LookupPolicy {
    // Kept only where somebody asks for it.
    let asked = !config.credentials.all_audiences().is_empty() || !config.directory.provider.is_empty();
    let config = &config.lookups;
    LookupPolicy {
        guaranteed: Bucket { capacity: config.guaranteed, per_day: config.guaranteed_per_day },
        account: Bucket { capacity: config.account, per_day: config.account_per_day },
        prefix: Bucket { capacity: config.prefix, per_day: config.prefix_per_day },
        provider: Bucket { capacity: config.provider, per_day: config.provider_per_day },
        all: Bucket { capacity: config.all, per_day: config.all_per_day },
        queries: Bucket { capacity: config.queries, per_day: config.queries_per_day },
        credentials_prove_identifier: config.credentials_prove_number,
        repeat: Duration::from_secs(config.repeat_s.into()),
        proof: match asked {
            true => Duration::from_secs(24 * 60 * 60) * config.number_days,
            false => Duration::ZERO,
        },
        accounts_of_number: config.accounts_of_number,
    }
}
