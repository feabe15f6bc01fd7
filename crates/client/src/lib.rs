//! A client of an Acquaint server: calls, and reading address books.
//!
//! ```no_run
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! use acquaint_client::{Client, address_book};
//!
//! let client = Client::new("http://127.0.0.1:3200", "the API key")?;
//! let book = address_book::read_vcards(&std::fs::read_to_string("contacts.vcf")?)?;
//! let me = "did:plc:me";
//! client.start_verification(me, "+12125550123").await?;
//! let token = client.verify(me, "+12125550123", "123456").await?;
//! let numbers = book.contacts.iter().flat_map(|contact| contact.phones.clone()).collect();
//! for found in client.import(me, &token, numbers).await? {
//!     println!("entry {} is {}", found.input_index, found.subject);
//! }
//! # Ok(())
//! # }
//! ```

pub mod address_book;
mod rpc;

use std::time::Duration;

pub use acquaint_protocol::identifier;

use acquaint_protocol::message::rolodex::{
    DismissMatchRequest, GetMatchesRequest, GetSyncStatusRequest, ImportContactsRequest, PingRequest,
    RemoveDataRequest, StartPhoneVerificationRequest, VerifyPhoneRequest,
};
use connectrpc::ConnectError;
use connectrpc::client::{ClientConfig, HttpClient};
use rpc::RolodexServiceClient;

/// Longer than the server's own deadline for an import.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A connection to a server, with its operator key.
#[derive(Clone)]
pub struct Client(RolodexServiceClient<HttpClient>);

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The server's address or the key cannot be used.
    #[error("{0}")]
    Config(&'static str),
    /// The server refused, with the contract's reason (`INVALID_PHONE`, `RATE_LIMIT_EXCEEDED`, …).
    #[error("{message}")]
    Refused {
        /// The contract's reason.
        reason: String,
        /// The server's words, for a person.
        message: String,
    },
    /// The server refused the key.
    #[error("the server refuses the API key: it is the one in the server's configuration, under [auth]")]
    Unauthenticated,
    /// The server could not be reached, or did not answer as this protocol has it.
    #[error("the server does not answer as expected: is it running at this address?")]
    Unreachable(#[source] Box<ConnectError>),
}

/// A contact that is matched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Position in the list as sent.
    pub input_index: usize,
    /// The account.
    pub subject: String,
}

/// A page of matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The accounts, newest match first.
    pub subjects: Vec<String>,
    /// Leads to the next page; empty on the last.
    pub cursor: String,
}

/// State of an account's import.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SyncStatus {
    /// When it imported last, in seconds since 1970-01-01T00:00:00Z.
    pub synced_at: i64,
    /// How many matches it has.
    pub matches: u32,
}

/// What a removal took away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Removed {
    /// Stored contacts.
    pub contacts: u32,
    /// Matches.
    pub matches: u32,
}

impl Client {
    /// A client of the server at `url` (`http://host:port`) with the operator's key; an empty key sends none.
    ///
    /// # Errors
    /// [`ClientError::Config`].
    pub fn new(url: &str, api_key: &str) -> Result<Self, ClientError> {
        let uri: http::Uri =
            url.parse().map_err(|_| ClientError::Config("the URL must be as `http://127.0.0.1:3200`"))?;
        if uri.scheme_str() != Some("http") || uri.host().is_none() {
            return Err(ClientError::Config("the URL must begin with `http://`, as `http://127.0.0.1:3200`"));
        }
        let mut config = ClientConfig::new(uri).with_default_timeout(TIMEOUT);
        if !api_key.is_empty() {
            let value = http::HeaderValue::from_str(&format!("Bearer {api_key}"))
                .map_err(|_| ClientError::Config("the API key must be printable ASCII"))?;
            config = config.with_default_header(http::header::AUTHORIZATION, value);
        }
        Ok(Self(RolodexServiceClient::new(HttpClient::plaintext(), config)))
    }

    /// Whether the server answers.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn ping(&self) -> Result<(), ClientError> {
        self.0.ping(PingRequest::default()).await?;
        Ok(())
    }

    /// Has a code sent to `phone`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn start_verification(&self, actor: &str, phone: &str) -> Result<(), ClientError> {
        let request = StartPhoneVerificationRequest { actor: actor.into(), phone: phone.into() };
        self.0.start_phone_verification(request).await?;
        Ok(())
    }

    /// Exchanges a code for a token that allows one import.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn verify(&self, actor: &str, phone: &str, code: &str) -> Result<String, ClientError> {
        let request =
            VerifyPhoneRequest { actor: actor.into(), phone: phone.into(), verification_code: code.into() };
        Ok(self.0.verify_phone(request).await?.into_owned().token)
    }

    /// Imports 1 to 1000 contacts. The answer has what matched by the server's deadline; the rest comes with
    /// [`Client::matches`].
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn import(
        &self,
        actor: &str,
        token: &str,
        contacts: Vec<String>,
    ) -> Result<Vec<Found>, ClientError> {
        let request = ImportContactsRequest { actor: actor.into(), token: token.into(), contacts };
        let matches = self.0.import_contacts(request).await?.into_owned().matches;
        let found = matches.into_iter().map(|found| Found {
            input_index: usize::try_from(found.input_index).unwrap_or_default(),
            subject: found.subject,
        });
        Ok(found.collect())
    }

    /// Lists up to `limit` (1 to 100) matches after `cursor`; an empty cursor begins.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn matches(&self, actor: &str, limit: i32, cursor: &str) -> Result<Page, ClientError> {
        let request = GetMatchesRequest { actor: actor.into(), limit, cursor: cursor.into() };
        let page = self.0.get_matches(request).await?.into_owned();
        Ok(Page { subjects: page.subjects, cursor: page.cursor })
    }

    /// Every match, page by page.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn all_matches(&self, actor: &str) -> Result<Vec<String>, ClientError> {
        let (mut all, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = self.matches(actor, 100, &cursor).await?;
            all.extend(page.subjects);
            if page.cursor.is_empty() {
                return Ok(all);
            }
            cursor = page.cursor;
        }
    }

    /// Hides a match for good. Returns how many are left.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn dismiss(&self, actor: &str, subject: &str) -> Result<u32, ClientError> {
        let request = DismissMatchRequest { actor: actor.into(), subject: subject.into() };
        Ok(count(self.0.dismiss_match(request).await?.into_owned().matches_count))
    }

    /// When the account imported last; `None` when it never did or removed everything.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn sync_status(&self, actor: &str) -> Result<Option<SyncStatus>, ClientError> {
        let request = GetSyncStatusRequest { actor: actor.into() };
        let status = self.0.get_sync_status(request).await?.into_owned().status.into_option();
        Ok(status.map(|status| SyncStatus {
            synced_at: status.synced_at.into_option().map_or(0, |time| time.seconds),
            matches: count(status.matches_count),
        }))
    }

    /// Removes everything that is stored of the account.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn remove_data(&self, actor: &str) -> Result<Removed, ClientError> {
        let request = RemoveDataRequest { actor: actor.into() };
        let removed = self.0.remove_data(request).await?.into_owned();
        Ok(Removed { contacts: count(removed.contacts_count), matches: count(removed.matches_count) })
    }
}

fn count(number: i32) -> u32 {
    u32::try_from(number).unwrap_or_default()
}

impl From<ConnectError> for ClientError {
    fn from(error: ConnectError) -> Self {
        if error.code == connectrpc::ErrorCode::Unauthenticated {
            return Self::Unauthenticated;
        }
        let debug = error.details.first().and_then(|detail| detail.debug.as_ref());
        let reason = debug.and_then(|debug| debug.get("reason")).and_then(|reason| reason.as_str());
        match (reason, &error.message) {
            (Some(reason), Some(message)) => {
                Self::Refused { reason: reason.into(), message: message.clone() }
            }
            _ => Self::Unreachable(Box::new(error)),
        }
    }
}
