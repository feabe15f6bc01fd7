//! The configuration: one TOML file, overridden by the environment.
//!
//! `ACQUAINT_LISTEN` overrides `listen`, `ACQUAINT_AUTH__API_KEY` overrides `api_key` in `[auth]`: two underscores
//! part a section from a key. A key that does not exist is refused with the nearest right name. Every key has a
//! default, so an empty file is a whole configuration but for the API key.

mod check;
mod custody;
mod delivery;
mod directory;
mod discovery;
mod operation;
mod private;
mod read;
mod secret;
mod sessions;
mod store;

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use acquaint_protocol::identifier::AccountFormat;
use serde::{Deserialize, Serialize};

pub use custody::{Budget, Holder, Keys, Pkcs11};
pub use delivery::{Delivery, Plivo, Smtp, SmtpSecurity, Twilio, Webhook};
pub(crate) use directory::policy as directory_policy;
pub use directory::{Directory, Matrix, Rocketchat};
pub use discovery::{Audit, Credentials, Lookups, Network};
pub use operation::{Notifications, Telemetry, Tls};
pub use private::PrivateLookup;
pub use read::{ConfigError, OWN_VARIABLES};
pub use secret::Secret;
pub use sessions::{API_KEY_PREFIX, ApiKey, Atproto, Oidc, Sessions, Tokens};
pub use store::Store;

/// Everything an operator can set.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct Config {
    /// Address and port to listen on, for HTTP/1.1 and h2c alike.
    pub listen: SocketAddr,
    /// Where the embedded database is kept; relative to the configuration file's folder.
    pub data_dir: PathBuf,
    /// Where state is kept, if not in `data_dir`.
    pub store: Store,
    /// What an account is called: `did` or `opaque`.
    pub account_format: AccountFormat,
    /// Who may call.
    pub auth: Auth,
    /// The keys.
    pub keys: Keys,
    /// The token that has them, if an HSM does.
    pub pkcs11: Pkcs11,
    /// How often they may be used.
    pub budget: Budget,
    /// The hashing pool.
    pub pool: Pool,
    /// Verification of numbers.
    pub verification: Verification,
    /// Imports.
    pub import: Import,
    /// How codes reach people.
    pub delivery: Delivery,
    /// Twilio, for codes to phones.
    pub twilio: Twilio,
    /// Plivo, for codes to phones.
    pub plivo: Plivo,
    /// A webhook of your own, for codes.
    pub webhook: Webhook,
    /// A mail server, for codes to e-mail addresses.
    pub smtp: Smtp,
    /// Who is told of matches.
    pub notifications: Notifications,
    /// Tokens that accounts of atproto sign.
    pub atproto: Atproto,
    /// Access tokens of an OpenID provider.
    pub oidc: Oidc,
    /// Tokens of the operator's own.
    pub tokens: Tokens,
    /// API keys, and what all kinds of tokens share.
    pub sessions: Sessions,
    /// Credentials for discovery services.
    pub credentials: Credentials,
    /// What lookups cost.
    pub lookups: Lookups,
    /// The directory of those who want to be found.
    pub directory: Directory,
    /// Private lookup in it.
    pub private_lookup: PrivateLookup,
    /// The lookup of Rocket.Chat's page.
    pub rocketchat: Rocketchat,
    /// The lookup of Matrix's identity servers.
    pub matrix: Matrix,
    /// The audit log.
    pub audit: Audit,
    /// What is read of the network.
    pub network: Network,
    /// HTTP limits.
    pub http: Http,
    /// Encryption of the port.
    pub tls: Tls,
    /// Logging.
    pub log: Log,
    /// Metrics and traces.
    pub telemetry: Telemetry,
}

/// Who may call.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Auth {
    /// The bearer key that the AppView sends (`BSKY_ROLODEX_API_KEY`), at least 16 characters.
    pub api_key: String,
    /// Serve without a key; only on loopback.
    pub allow_no_api_key: bool,
}

impl std::fmt::Debug for Auth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Auth").field("allow_no_api_key", &self.allow_no_api_key).finish_non_exhaustive()
    }
}

/// The hashing pool.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct Pool {
    /// Threads; 0 takes as many as there are cores.
    pub threads: u32,
    /// Memory for Argon2id over all threads, in MiB.
    pub memory_mib: u32,
}

/// Verification of numbers.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct Verification {
    /// Regions whose numbers may be verified (ISO 3166-1, as `"US"`); empty for all.
    pub regions: Vec<String>,
    /// How long a code is valid.
    pub code_ttl_s: u32,
    /// Wrong guesses that end a code.
    pub guesses: u32,
    /// Pause between two codes for one account.
    pub resend_s: u32,
    /// How long a token is valid.
    pub token_ttl_s: u32,
    /// How long the delivery of a code may take.
    pub delivery_timeout_s: u32,
    /// Codes a day for an account.
    pub account_codes_per_day: u32,
    /// Codes a day to a number, whoever asks.
    pub number_codes_per_day: u32,
    /// Wrong guesses a day about one number's codes, whoever guesses.
    pub number_guesses_per_day: u32,
    /// Wrong guesses a day for an account, whatever it guesses at.
    pub account_guesses_per_day: u32,
    /// Wrong guesses a day about codes to the numbers of one region.
    pub region_guesses_per_day: u32,
    /// Wrong guesses a day in total.
    pub all_guesses_per_day: u32,
    /// Codes a day to the numbers of one region.
    pub region_codes_per_day: u32,
    /// Codes a day to phones in total: the budget for SMS.
    pub sms_codes_per_day: u32,
    /// Codes a day to e-mail addresses in total.
    pub email_codes_per_day: u32,
    /// Take e-mail addresses too: as what is verified, and in address books.
    pub emails: bool,
}

/// Imports.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct Import {
    /// When an import's answer goes out at the latest. The AppView's caller gives up after 10 s.
    pub deadline_ms: u32,
    /// An import is refused while what waits would take longer than this.
    pub max_queue_wait_s: u32,
    /// How long stored pairs and matches live without a new import.
    pub pair_ttl_days: u32,
    /// Distinct pairs for an account.
    pub account_pairs: u32,
    /// How many of them come back a day.
    pub account_pairs_per_day: u32,
    /// Distinct pairs for a verified number, across accounts.
    pub number_pairs: u32,
    /// How many of them come back a day.
    pub number_pairs_per_day: u32,
}

/// HTTP limits.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct Http {
    /// Largest request body, as sent and decompressed.
    pub max_body_kib: u32,
    /// How long a request's headers may take.
    pub header_timeout_s: u32,
    /// How long a request may take as a whole.
    pub request_timeout_s: u32,
    /// Connections at once.
    pub max_connections: u32,
    /// How long a shutdown waits for requests that run.
    pub drain_s: u32,
    /// Calls of one account to `/xrpc/` and `/v1/lookup/` at once; 0 is no limit.
    pub account_calls: u32,
    /// How many of them come back a day.
    pub account_calls_per_day: u32,
    /// The same for one address prefix; 0 is no limit.
    pub prefix_calls: u32,
    /// How many of them come back a day.
    pub prefix_calls_per_day: u32,
    /// Refused tokens of one address prefix, after which its tokens are not looked into; 0 is no limit.
    pub prefix_failures: u32,
    /// How many of them come back a day.
    pub prefix_failures_per_day: u32,
    /// The header in which a proxy says where a call comes from; empty where there is no proxy.
    pub client_address_header: String,
    /// Origins of web pages that may call the faces for people (CORS).
    pub cors_origins: Vec<String>,
}

/// Logging.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct Log {
    /// `error`, `warn`, `info`, `debug` or `trace`, or filter directives as `warn,acquaint_server=debug`.
    pub level: String,
    /// `text`, or `json` for one object a line.
    pub format: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 3200)),
            data_dir: "data".into(),
            store: Store::default(),
            account_format: AccountFormat::Did,
            auth: Auth::default(),
            keys: Keys::default(),
            pkcs11: Pkcs11::default(),
            budget: Budget::default(),
            pool: Pool::default(),
            verification: Verification::default(),
            import: Import::default(),
            delivery: Delivery::default(),
            twilio: Twilio::default(),
            plivo: Plivo::default(),
            webhook: Webhook::default(),
            smtp: Smtp::default(),
            notifications: Notifications::default(),
            atproto: Atproto::default(),
            oidc: Oidc::default(),
            tokens: Tokens::default(),
            sessions: Sessions::default(),
            credentials: Credentials::default(),
            lookups: Lookups::default(),
            directory: Directory::default(),
            private_lookup: PrivateLookup::default(),
            rocketchat: Rocketchat::default(),
            matrix: Matrix::default(),
            audit: Audit::default(),
            network: Network::default(),
            http: Http::default(),
            tls: Tls::default(),
            log: Log::default(),
            telemetry: Telemetry::default(),
        }
    }
}

impl Default for Pool {
    fn default() -> Self {
        Self { threads: 0, memory_mib: 1024 }
    }
}

impl Default for Verification {
    fn default() -> Self {
        Self {
            regions: Vec::new(),
            code_ttl_s: 600,
            guesses: 5,
            resend_s: 30,
            token_ttl_s: 600,
            delivery_timeout_s: 7,
            account_codes_per_day: 10,
            number_codes_per_day: 10,
            number_guesses_per_day: 15,
            account_guesses_per_day: 15,
            region_guesses_per_day: 2_000,
            all_guesses_per_day: 10_000,
            region_codes_per_day: 1_000,
            sms_codes_per_day: 5_000,
            email_codes_per_day: 5_000,
            emails: false,
        }
    }
}

impl Default for Import {
    fn default() -> Self {
        Self {
            deadline_ms: 8_000,
            max_queue_wait_s: 600,
            pair_ttl_days: 365,
            account_pairs: 5_000,
            account_pairs_per_day: 100,
            number_pairs: 5_000,
            number_pairs_per_day: 100,
        }
    }
}

impl Default for Http {
    fn default() -> Self {
        Self {
            max_body_kib: 1024,
            header_timeout_s: 10,
            request_timeout_s: 30,
            max_connections: 2048,
            drain_s: 15,
            account_calls: 300,
            account_calls_per_day: 86_400,
            prefix_calls: 3_000,
            prefix_calls_per_day: 1_728_000,
            prefix_failures: 3_000,
            prefix_failures_per_day: 86_400,
            client_address_header: String::new(),
            cors_origins: Vec::new(),
        }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self { level: "info".into(), format: "text".into() }
    }
}

impl Config {
    /// As [`Config::load`], with this process's environment. A variable that is no UTF-8 text is passed over.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn load_here(path: &Path) -> Result<Self, ConfigError> {
        let texts = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        Self::load(path, texts)
    }

    /// Reads the file at `path` and the environment variables in `environment`, checks every value, and makes its
    /// paths absolute by the file's folder.
    ///
    /// # Errors
    /// [`ConfigError`] names the key and what would be right.
    pub fn load(
        path: &Path,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        read::load(path, environment, check::values)
    }

    /// As [`Config::load_here`], for what uses the keys without serving people, as the custody process: only what the keys
    /// need is checked, so there need be no API key.
    ///
    /// # Errors
    /// [`ConfigError`] names the key and what would be right.
    pub fn load_keys_here(path: &Path) -> Result<Self, ConfigError> {
        let texts = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        read::load(path, texts, check::keys)
    }

    /// Checks what the keys need again, after a change.
    ///
    /// # Errors
    /// [`ConfigError`] names the key and what would be right.
    pub fn check_keys(&self) -> Result<(), ConfigError> {
        check::keys(self)
    }

    /// The defaults as the text of a configuration file.
    ///
    /// # Errors
    /// Never for the defaults; kept so that no panic is needed.
    pub fn to_toml(&self) -> Result<String, ConfigError> {
        toml::to_string(self).map_err(|error| ConfigError::Syntax { line: 0, reason: error.to_string() })
    }

    /// Whether codes are written to a file instead of being sent.
    #[must_use]
    pub fn uses_outbox(&self) -> bool {
        let email = self.delivery.email.iter().filter(|_| self.verification.emails);
        self.delivery.sms.iter().chain(email).any(|provider| provider == "outbox")
    }

    /// Whether only this machine can reach the server.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        match self.listen.ip() {
            IpAddr::V4(address) => address.is_loopback(),
            IpAddr::V6(address) => {
                address.is_loopback() || address.to_ipv4_mapped().is_some_and(|mapped| mapped.is_loopback())
            }
        }
    }
}

#[cfg(test)]
mod tests;
