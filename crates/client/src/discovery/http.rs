//! HTTP below a directory's calls.

use std::time::Duration;

use connectrpc::{ConnectError, ErrorCode};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::time::{Instant, timeout_at};

use crate::client::{authorization, base};
use crate::retry::{Repeat, pause};
use crate::transport::connector;
use crate::{ClientError, Reason, Settings};

/// Far more than a problem, parameters or listings have.
pub(super) const SMALL: usize = 1 << 20;

/// Longest text of an answer that is shown, in characters.
const MAX_TEXT: usize = 200;

const ACCOUNT: HeaderName = HeaderName::from_static("acquaint-account");
const ROCKET_TOKEN: HeaderName = HeaderName::from_static("x-auth-token");
const ROCKET_USER: HeaderName = HeaderName::from_static("x-user-id");

/// Who looks up. Its `Debug` tells nothing.
#[derive(Clone)]
pub enum Caller {
    /// The person, with a session token of the provider's.
    Session(String),
    /// A back end that calls for this account, with the key of [`Settings::api_key`].
    BackEnd(String),
    /// The person, as Rocket.Chat's clients do (`X-Auth-Token` and `X-User-Id`).
    RocketChat {
        /// The session token.
        token: String,
        /// The user's id.
        user: String,
    },
    /// Nobody: enough for the parameters.
    Nobody,
}

impl std::fmt::Debug for Caller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Caller(..)")
    }
}

impl Caller {
    fn headers(&self, settings: &Settings) -> Result<HeaderMap, ClientError> {
        let mut headers = HeaderMap::new();
        match self {
            Self::Session(token) => {
                let value = secret(&format!("Bearer {token}"), "the session token must be printable ASCII")?;
                headers.insert(header::AUTHORIZATION, value);
            }
            Self::BackEnd(account) => {
                let key = authorization(&settings.api_key)?;
                headers.extend(key.map(|key| (header::AUTHORIZATION, key)));
                headers.insert(ACCOUNT, secret(account, "the account must be printable ASCII")?);
            }
            Self::RocketChat { token, user } => {
                headers.insert(ROCKET_TOKEN, secret(token, "the session token must be printable ASCII")?);
                headers.insert(ROCKET_USER, secret(user, "the user's id must be printable ASCII")?);
            }
            Self::Nobody => {}
        }
        Ok(headers)
    }
}

fn secret(text: &str, otherwise: &'static str) -> Result<HeaderValue, ClientError> {
    let mut value = HeaderValue::from_str(text).map_err(|_| ClientError::Config(otherwise))?;
    value.set_sensitive(true);
    Ok(value)
}

/// Connections to one server, for one caller.
pub(super) struct Http {
    client: Client<HttpsConnector<HttpConnector>, Full<bytes::Bytes>>,
    url: Uri,
    headers: HeaderMap,
    settings: Settings,
    /// What a refusal of the caller is.
    is_session: bool,
    /// Bytes of all requests' and answers' bodies.
    pub(super) sent: u64,
    pub(super) received: u64,
}

/// What is called.
pub(super) struct Call<'a> {
    pub(super) method: Method,
    pub(super) path: &'a str,
    pub(super) body: Option<Vec<u8>>,
    pub(super) content: Content,
    /// Bytes that an answer may have; a refusal may always have [`SMALL`].
    pub(super) limit: usize,
    pub(super) repeat: Repeat,
    pub(super) deadline: Duration,
}

/// What a body is.
#[derive(Clone, Copy)]
pub(super) enum Content {
    Json,
    Bytes,
}

impl Content {
    fn value(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Json => "application/json",
            Self::Bytes => "application/octet-stream",
        })
    }
}

impl Http {
    pub(super) fn new(url: &str, settings: Settings, caller: &Caller) -> Result<Self, ClientError> {
        let url = base(url)?;
        let client = Client::builder(TokioExecutor::new()).build(connector(&url, &settings.extra_ca)?);
        let headers = caller.headers(&settings)?;
        let is_session = matches!(caller, Caller::Session(_) | Caller::RocketChat { .. });
        Ok(Self { client, url, headers, settings, is_session, sent: 0, received: 0 })
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Calls with a message and reads one.
    pub(super) async fn json<T: DeserializeOwned>(
        &mut self,
        method: Method,
        path: &str,
        message: Option<&impl serde::Serialize>,
        repeat: Repeat,
    ) -> Result<T, ClientError> {
        let deadline = self.settings.deadline;
        let body = message.map(serde_json::to_vec).transpose().map_err(unreadable)?;
        let call = Call { method, path, body, content: Content::Json, limit: SMALL, repeat, deadline };
        let bytes = self.call(&call).await?;
        serde_json::from_slice(&bytes).map_err(unreadable)
    }

    /// Calls until it succeeds, may not be repeated, was tried often enough, or the next pause would pass the deadline.
    pub(super) async fn call(&mut self, call: &Call<'_>) -> Result<bytes::Bytes, ClientError> {
        self.read(call, &mut |_| ()).await
    }

    /// As [`call`](Self::call), and tells how many bytes of the answer are there whenever some more are. It begins anew when
    /// the call is repeated.
    pub(super) async fn read(
        &mut self,
        call: &Call<'_>,
        progress: &mut (dyn FnMut(usize) + Send),
    ) -> Result<bytes::Bytes, ClientError> {
        let end = Instant::now() + call.deadline;
        let mut attempt = 1;
        loop {
            let answer = timeout_at(end, self.once(call, progress)).await;
            let error = match answer.map_err(|_| ClientError::TimedOut).flatten() {
                Ok(bytes) => return Ok(bytes),
                Err(error) => error,
            };
            let pause = error.retry_after().unwrap_or_else(|| pause(self.settings.pause, attempt));
            let in_time = Instant::now().checked_add(pause).is_some_and(|then| then < end);
            if attempt >= self.settings.attempts || !call.repeat.allows(&error) || !in_time {
                return Err(error);
            }
            tokio::time::sleep(pause).await;
            attempt += 1;
        }
    }

    async fn once(
        &mut self,
        call: &Call<'_>,
        progress: &mut (dyn FnMut(usize) + Send),
    ) -> Result<bytes::Bytes, ClientError> {
        let url = format!("{}{}", self.url.to_string().trim_end_matches('/'), call.path);
        let mut request = Request::builder().method(call.method.clone()).uri(url);
        if let Some(headers) = request.headers_mut() {
            headers.extend(self.headers.clone());
            if call.body.is_some() {
                headers.insert(header::CONTENT_TYPE, call.content.value());
            }
        }
        let body = bytes::Bytes::from(call.body.clone().unwrap_or_default());
        self.sent += u64::try_from(body.len()).unwrap_or_default();
        let request = request.body(Full::new(body)).map_err(unreadable)?;
        let response = self.client.request(request).await.map_err(|error| {
            let broke = || ConnectError::new(ErrorCode::Unavailable, error.to_string());
            match error.is_connect() {
                true => ClientError::NotConnected(error.into()),
                false => ClientError::Unreachable(Box::new(broke())),
            }
        })?;
        let (status, headers) = (response.status(), response.headers().clone());
        let limit = if status.is_success() { call.limit } else { SMALL };
        let mut received = bytes::BytesMut::new();
        let mut frames = Limited::new(response.into_body(), limit);
        // A body that breaks off is a connection that broke, and one that is too long will be so again.
        let broken = |error: Box<dyn std::error::Error + Send + Sync>| {
            let code = if error.is::<http_body_util::LengthLimitError>() {
                ErrorCode::Unknown
            } else {
                ErrorCode::Unavailable
            };
            ClientError::Unreachable(Box::new(ConnectError::new(code, error.to_string())))
        };
        while let Some(frame) = frames.frame().await {
            let Ok(data) = frame.map_err(broken)?.into_data() else { continue };
            received.extend_from_slice(&data);
            if status.is_success() {
                progress(received.len());
            }
        }
        let body = received.freeze();
        self.received += u64::try_from(body.len()).unwrap_or_default();
        if status.is_success() {
            return Ok(body);
        }
        // Problems of this server's say what it is; what Rocket.Chat says (`status` and `message`) is no more than the status.
        Err(match refusal(status, &headers, &body) {
            ClientError::Unauthenticated if self.is_session => ClientError::SessionRefused,
            error => error,
        })
    }
}

/// A problem (RFC 9457) as this server writes them, or what Rocket.Chat answers.
#[derive(Deserialize)]
struct Problem {
    code: Option<String>,
    detail: Option<String>,
    error: Option<String>,
}

fn refusal(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> ClientError {
    let retry_after = headers.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok());
    let retry_after = retry_after.and_then(|text| text.trim().parse().ok()).map(Duration::from_secs);
    let problem: Option<Problem> = serde_json::from_slice(body).ok();
    if status == StatusCode::SERVICE_UNAVAILABLE {
        return ClientError::Unavailable { retry_after };
    }
    let (code, words) = match problem {
        Some(Problem { code: Some(code), detail, .. }) => (code, detail),
        Some(Problem { error: Some(error), .. }) => (status.as_u16().to_string(), Some(error)),
        _ if status == StatusCode::UNAUTHORIZED => return ClientError::Unauthenticated,
        _ if status == StatusCode::TOO_MANY_REQUESTS => (status.as_u16().to_string(), None),
        _ => return unreadable(status),
    };
    let message =
        words.filter(|words| !words.is_empty()).unwrap_or_else(|| format!("the server refuses: {code}"));
    let message = message.chars().filter(|c| !c.is_control()).take(MAX_TEXT).collect();
    // Each surface has a name of its own for it.
    let reason = match status {
        StatusCode::TOO_MANY_REQUESTS => Reason::RateLimitExceeded,
        _ => Reason::from(code.as_str()),
    };
    ClientError::Refused { reason, message, retry_after }
}

pub(super) fn unreadable(why: impl std::fmt::Display) -> ClientError {
    ClientError::Unreachable(Box::new(ConnectError::new(ErrorCode::Unknown, why.to_string())))
}
