//! What an operator asks a server: the state of its notifications, and the retry of dead letters.

use std::time::Duration;

use connectrpc::{ConnectError, ErrorCode};
use http::{HeaderValue, Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use crate::client::{authorization, base};
use crate::transport::connector;
use crate::{ClientError, Reason, Settings};

/// Far more than a server answers here.
const MAX_ANSWER: usize = 1 << 20;

/// A connection to a server's operator endpoints, with the operator's key.
pub struct Operator {
    http: Client<HttpsConnector<HttpConnector>, Full<bytes::Bytes>>,
    url: Uri,
    authorization: Option<HeaderValue>,
    settings: Settings,
}

/// The state of a server's notifications.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Notifications {
    /// Waiting for their next attempt.
    pub waiting: u64,
    /// Dead letters: tried no more until they are retried.
    pub dead: u64,
    /// The dead letters, the oldest match first; at most 100.
    pub letters: Vec<DeadLetter>,
}

/// A notification that was given up.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct DeadLetter {
    /// The idempotency key that every attempt carried.
    pub id: String,
    /// When the match was found, in seconds since 1970-01-01T00:00:00Z.
    pub found_at: i64,
    /// How often it was tried.
    pub attempts: u32,
    /// Why the last attempt failed, in the server's words.
    pub reason: String,
}

/// The epochs of a service's pair keys.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Epochs {
    /// Servers that have given a sign of life in the last half minute.
    pub servers: usize,
    /// Each epoch, the newest first.
    pub epochs: Vec<Epoch>,
}

/// One epoch.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Epoch {
    /// Its number, which is its key's version.
    pub version: u32,
    /// `next`, `current`, `older`, `retired` or `cleared`.
    pub state: String,
    /// Argon2id's cost, if the server that was asked has the key.
    pub suite: Option<String>,
    /// How many servers hash for it.
    pub servers: usize,
    /// The store's check value of its key, in hexadecimal.
    pub check: String,
}

/// What stands under an epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct EpochRows {
    /// Unmatched halves.
    pub halves: u64,
    /// Matches.
    pub matches: u64,
}

/// What became of an epoch that was to be retired.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Retirement {
    /// Its rows are being deleted, or are.
    Retired,
    /// It never had a row, and its record is gone.
    Forgotten,
    /// It is the current one.
    IsCurrent,
    /// There is no such epoch.
    Unknown,
}

/// The keys of a service's directory.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct DirectoryKeys {
    /// The key that clients pin, in base64url; `None` where there is no directory, or not yet.
    pub signing_key: Option<String>,
    /// The epochs of each profile, the oldest first.
    pub epochs: Vec<DirectoryEpoch>,
}

/// An epoch of a profile of a directory.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct DirectoryEpoch {
    /// `sealed-buckets`, `psm` or `pir`.
    pub profile: String,
    /// Its number.
    pub epoch: u32,
    /// `filling`, `current` or `former`.
    pub stage: String,
    /// Listings in its index at the server that was asked.
    pub listings: u64,
    /// When its key was made, in milliseconds since 1970-01-01T00:00:00Z.
    pub made_at: i64,
}

/// What became of a new key that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case", tag = "outcome")]
pub enum DirectoryRotation {
    /// It is made, and published once all listings are placed under it.
    Made {
        /// Its number.
        epoch: u32,
    },
    /// There is one already to which that applies.
    Filling,
    /// There is no directory.
    NoDirectory,
}

/// A mapping to load into a server's directory: of which account an identifier is. Its `Debug` tells neither.
#[derive(Clone, PartialEq, Eq, Serialize)]
pub struct Mapping {
    /// A phone number in international form, or an e-mail address.
    pub identifier: String,
    /// The account.
    pub account: String,
    /// Which of the identifier's mappings it is; 0 for the one that every way of looking up knows.
    pub index: u8,
    /// How the account is called, for lookups that tell a name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
}

impl std::fmt::Debug for Mapping {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Mapping(redacted)")
    }
}

/// What became of mappings.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct LoadedMappings {
    /// How many the directory has, and had not before.
    pub loaded: u64,
    /// How many it had.
    pub unchanged: u64,
    /// Those that it does not take.
    pub refused: Vec<RefusedMapping>,
}

/// A mapping that a server does not take.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct RefusedMapping {
    /// Which of those that were given, from 0.
    pub at: usize,
    /// Why, in the server's words, which repeat nothing of it.
    pub reason: String,
}

/// The most mappings of a call.
pub const MAX_MAPPINGS: usize = 1000;

/// An event of the audit log.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct AuditEvent {
    /// Its place in the log; later ones are higher.
    pub id: i64,
    /// When, in milliseconds since 1970-01-01T00:00:00Z.
    pub at: i64,
    /// What happened.
    #[serde(rename = "type")]
    pub kind: String,
    /// To whose account: a pseudonym of this log, 32 hexadecimal digits; `None` for the operator's own doing.
    pub account_identifier: Option<String>,
    /// What more there is to say.
    #[serde(flatten)]
    pub details: serde_json::Map<String, serde_json::Value>,
}

#[derive(Deserialize)]
struct Events {
    events: Vec<AuditEvent>,
}

#[derive(Deserialize)]
struct Outcome {
    outcome: Retirement,
}

/// Why a server refused.
#[derive(Deserialize)]
struct Words {
    error: String,
}

#[derive(Deserialize)]
struct Retried {
    retried: u64,
}

impl Operator {
    /// As [`Client::with_settings`](crate::Client::with_settings).
    ///
    /// # Errors
    /// [`ClientError::Config`].
    pub fn new(url: &str, settings: Settings) -> Result<Self, ClientError> {
        let url = base(url)?;
        let http = Client::builder(TokioExecutor::new()).build(connector(&url, &settings.extra_ca)?);
        Ok(Self { http, url, authorization: authorization(&settings.api_key)?, settings })
    }

    /// How many notifications wait, and which are dead letters.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn notifications(&self) -> Result<Notifications, ClientError> {
        self.call(Method::GET, "/operator/notifications").await
    }

    /// Has every dead letter tried again from the start. Returns how many.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn retry_dead_letters(&self) -> Result<u64, ClientError> {
        let Retried { retried } = self.call(Method::POST, "/operator/notifications/retry").await?;
        Ok(retried)
    }

    /// What stands under an epoch. The server counts it, which takes its time where there are many rows.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn epoch_rows(&self, version: u32) -> Result<EpochRows, ClientError> {
        self.call(Method::GET, &format!("/operator/epochs/{version}/rows")).await
    }

    /// The epochs.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn epochs(&self) -> Result<Epochs, ClientError> {
        self.call(Method::GET, "/operator/epochs").await
    }

    /// The directory's keys.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn directory(&self) -> Result<DirectoryKeys, ClientError> {
        self.call(Method::GET, "/operator/directory").await
    }

    /// Has a new key made for a profile of the directory: `sealed-buckets`, `psm` or `pir`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn rotate_directory(&self, profile: &str) -> Result<DirectoryRotation, ClientError> {
        self.call(Method::POST, &format!("/operator/directory/rotate?profile={profile}")).await
    }

    /// Loads mappings into the directory, at most [`MAX_MAPPINGS`]. Mappings of the same identifiers and indexes give way. May
    /// be repeated: what is there already is told as unchanged.
    ///
    /// # Errors
    /// [`ClientError`]; [`ClientError::Refused`] with the server's words where it takes none of them.
    pub async fn load_mappings(&self, mappings: &[Mapping]) -> Result<LoadedMappings, ClientError> {
        #[derive(Serialize)]
        struct Mappings<'a> {
            mappings: &'a [Mapping],
        }
        let body = serde_json::to_vec(&Mappings { mappings }).map_err(unreadable)?;
        let deadline = self.settings.import_deadline;
        self.send((Method::POST, "/operator/directory/mappings"), body, deadline).await
    }

    /// The audit log's next events after the one with the id `after`, in order, at most 1000; none at the end.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn audit_events(&self, after: Option<i64>) -> Result<Vec<AuditEvent>, ClientError> {
        let query = after.map(|after| format!("?after={after}")).unwrap_or_default();
        let Events { events } = self.call(Method::GET, &format!("/operator/audit{query}")).await?;
        Ok(events)
    }

    /// Ends an epoch, and has its rows deleted.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn retire_epoch(&self, version: u32) -> Result<Retirement, ClientError> {
        let Outcome { outcome } =
            self.call(Method::POST, &format!("/operator/epochs/{version}/retire")).await?;
        Ok(outcome)
    }

    async fn call<T: DeserializeOwned>(&self, method: Method, path: &str) -> Result<T, ClientError> {
        self.send((method, path), Vec::new(), self.settings.deadline).await
    }

    async fn send<T: DeserializeOwned>(
        &self,
        (method, path): (Method, &str),
        body: Vec<u8>,
        deadline: Duration,
    ) -> Result<T, ClientError> {
        let answer = async {
            let url = format!("{}{path}", self.url.to_string().trim_end_matches('/'));
            let mut request = Request::builder().method(method).uri(url);
            if let Some(authorization) = &self.authorization {
                request = request.header(header::AUTHORIZATION, authorization);
            }
            if !body.is_empty() {
                request = request.header(header::CONTENT_TYPE, "application/json");
            }
            let request = request.body(Full::from(body)).map_err(unreadable)?;
            let response = self.http.request(request).await.map_err(|error| {
                if error.is_connect() { ClientError::NotConnected(error.into()) } else { unreadable(error) }
            })?;
            let status = response.status();
            match status {
                // Refused in words.
                StatusCode::OK | StatusCode::BAD_REQUEST | StatusCode::NOT_FOUND => {}
                StatusCode::UNAUTHORIZED => return Err(ClientError::Unauthenticated),
                StatusCode::SERVICE_UNAVAILABLE => {
                    return Err(ClientError::Unavailable { retry_after: None });
                }
                status => return Err(unreadable(status)),
            }
            let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
            let body = body.map_err(unreadable)?.to_bytes();
            if status == StatusCode::OK {
                return serde_json::from_slice(&body).map_err(unreadable);
            }
            match serde_json::from_slice(&body) {
                Ok(Words { error: message }) => {
                    let reason = Reason::Unknown(status.as_str().to_owned());
                    Err(ClientError::Refused { reason, message, retry_after: None })
                }
                Err(_) => Err(unreadable(status)),
            }
        };
        timeout(deadline, answer).await.map_err(|_| ClientError::TimedOut)?
    }
}

fn unreadable(why: impl std::fmt::Display) -> ClientError {
    ClientError::Unreachable(Box::new(ConnectError::new(ErrorCode::Unknown, why.to_string())))
}
