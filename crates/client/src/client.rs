//! The calls.

use std::sync::Arc;
use std::time::Duration;

use acquaint_protocol::message::rolodex::{
    DismissMatchRequest, GetMatchesRequest, GetSyncStatusRequest, ImportContactsRequest, PingRequest,
    RemoveDataRequest, StartPhoneVerificationRequest, VerifyPhoneRequest,
};
use connectrpc::ConnectError;
use connectrpc::client::{CallOptions, ClientConfig};

use crate::retry::{Repeat, repeated};
use crate::rpc::RolodexServiceClient;
use crate::transport::{Transport, transport};
use crate::{ClientError, Settings};

const WRONG_URL: ClientError =
    ClientError::Config("the URL must begin with `http://` or `https://`, as `http://127.0.0.1:3200`");

/// A connection to a server, with its operator key. Cheap to clone; clones share their connections. To be used inside a
/// Tokio runtime.
#[derive(Clone)]
pub struct Client {
    rpc: RolodexServiceClient<Transport>,
    settings: Arc<Settings>,
}

/// A server's URL.
pub(crate) fn base(url: &str) -> Result<http::Uri, ClientError> {
    let uri: http::Uri = url.parse().map_err(|_| WRONG_URL)?;
    let is_http = matches!(uri.scheme_str(), Some("http" | "https"));
    if is_http && uri.host().is_some_and(|host| !host.is_empty()) { Ok(uri) } else { Err(WRONG_URL) }
}

/// The header that carries the operator's key; none for an empty one.
pub(crate) fn authorization(api_key: &str) -> Result<Option<http::HeaderValue>, ClientError> {
    if api_key.is_empty() {
        return Ok(None);
    }
    let mut value = http::HeaderValue::from_str(&format!("Bearer {api_key}"))
        .map_err(|_| ClientError::Config("the API key must be printable ASCII"))?;
    value.set_sensitive(true);
    Ok(Some(value))
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
    /// A client of the server at `url` (`https://host` or `http://host:port`) with the operator's key; an empty key sends
    /// none. All else is as in [`Settings::default`].
    ///
    /// # Errors
    /// [`ClientError::Config`].
    pub fn new(url: &str, api_key: &str) -> Result<Self, ClientError> {
        Self::with_settings(url, Settings { api_key: api_key.to_owned(), ..Settings::default() })
    }

    /// A client of the server at `url` with all settings chosen.
    ///
    /// # Errors
    /// [`ClientError::Config`].
    pub fn with_settings(url: &str, settings: Settings) -> Result<Self, ClientError> {
        let uri = base(url)?;
        let transport = transport(&uri, &settings.extra_ca)?;
        let mut config = ClientConfig::new(uri);
        if let Some(value) = authorization(&settings.api_key)? {
            config = config.with_default_header(http::header::AUTHORIZATION, value);
        }
        Ok(Self { rpc: RolodexServiceClient::new(transport, config), settings: Arc::new(settings) })
    }

    /// Whether the server answers.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn ping(&self) -> Result<(), ClientError> {
        self.idempotent(|options| self.rpc.ping_with_options(PingRequest::default(), options)).await?;
        Ok(())
    }

    /// Has a code sent to `phone`: a number in international form, or an e-mail address where the server takes them. Never
    /// repeated by itself: each call may send a code.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn start_verification(&self, actor: &str, phone: &str) -> Result<(), ClientError> {
        let request = StartPhoneVerificationRequest { actor: actor.into(), phone: phone.into() };
        self.call(Repeat::Never, self.settings.deadline, |options| {
            self.rpc.start_phone_verification_with_options(request.clone(), options)
        })
        .await?;
        Ok(())
    }

    /// Exchanges a code for a token that allows one import.
    ///
    /// # Errors
    /// [`ClientError`]. After [`Reason::InvalidCode`](crate::Reason::InvalidCode) another guess may be made.
    pub async fn verify(&self, actor: &str, phone: &str, code: &str) -> Result<String, ClientError> {
        let request =
            VerifyPhoneRequest { actor: actor.into(), phone: phone.into(), verification_code: code.into() };
        let answer = self.call(Repeat::Unconnected, self.settings.deadline, |options| {
            self.rpc.verify_phone_with_options(request.clone(), options)
        });
        Ok(answer.await?.into_owned().token)
    }

    /// Imports 1 to [`MAX_CONTACTS`](crate::MAX_CONTACTS) contacts, as [`prepare`](crate::prepare::prepare) makes them. The
    /// answer has what matched by the server's deadline; the rest comes with [`Client::matches`].
    ///
    /// # Errors
    /// [`ClientError`]. The token stays valid when the import was refused, unless it is the token that is refused.
    pub async fn import(
        &self,
        actor: &str,
        token: &str,
        contacts: Vec<String>,
    ) -> Result<Vec<Found>, ClientError> {
        let request = ImportContactsRequest { actor: actor.into(), token: token.into(), contacts };
        let answer = self.call(Repeat::Unconnected, self.settings.import_deadline, |options| {
            self.rpc.import_contacts_with_options(request.clone(), options)
        });
        let found = answer.await?.into_owned().matches.into_iter().map(|found| Found {
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
        let page = self.idempotent(|options| self.rpc.get_matches_with_options(request.clone(), options));
        let page = page.await?.into_owned();
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
        let left = self.idempotent(|options| self.rpc.dismiss_match_with_options(request.clone(), options));
        Ok(count(left.await?.into_owned().matches_count))
    }

    /// When the account imported last; `None` when it never did or removed everything.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn sync_status(&self, actor: &str) -> Result<Option<SyncStatus>, ClientError> {
        let request = GetSyncStatusRequest { actor: actor.into() };
        let answer =
            self.idempotent(|options| self.rpc.get_sync_status_with_options(request.clone(), options));
        let status = answer.await?.into_owned().status.into_option();
        Ok(status.map(|status| SyncStatus {
            synced_at: status.synced_at.into_option().map_or(0, |time| time.seconds),
            matches: count(status.matches_count),
        }))
    }

    /// Removes everything that is stored of the account. When the answer to a first attempt was lost and the call was
    /// repeated, the counts are those of the repetition: 0.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn remove_data(&self, actor: &str) -> Result<Removed, ClientError> {
        let request = RemoveDataRequest { actor: actor.into() };
        let removed = self.idempotent(|options| self.rpc.remove_data_with_options(request.clone(), options));
        let removed = removed.await?.into_owned();
        Ok(Removed { contacts: count(removed.contacts_count), matches: count(removed.matches_count) })
    }

    async fn idempotent<T, F>(&self, call: impl Fn(CallOptions) -> F) -> Result<T, ClientError>
    where
        F: Future<Output = Result<T, ConnectError>>,
    {
        self.call(Repeat::Idempotent, self.settings.deadline, call).await
    }

    async fn call<T, F>(
        &self,
        repeat: Repeat,
        deadline: Duration,
        call: impl Fn(CallOptions) -> F,
    ) -> Result<T, ClientError>
    where
        F: Future<Output = Result<T, ConnectError>>,
    {
        repeated(&self.settings, repeat, deadline, call).await
    }
}

fn count(number: i32) -> u32 {
    u32::try_from(number).unwrap_or_default()
}
