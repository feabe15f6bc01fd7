//! Why a call failed.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use connectrpc::{ConnectError, ErrorCode};

/// Longest text of a foreign answer that is kept, in characters.
const MAX_FOREIGN_TEXT: usize = 200;

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The server's address, the key or the certificate cannot be used. Nothing was called.
    #[error("{0}")]
    Config(&'static str),
    /// The server refused, and says why.
    #[error("{message}")]
    Refused {
        /// The contract's reason.
        reason: Reason,
        /// The server's words, for a person.
        message: String,
        /// How long to wait before trying again makes sense, if the server says so.
        retry_after: Option<Duration>,
    },
    /// The server refused the key.
    #[error("the server refuses the API key: it is the one in the server's configuration, under [auth]")]
    Unauthenticated,
    /// The server refused the person's session token, or the user's id with it.
    #[error(
        "the server refuses the session token or the user's id: sign in again there, and give the new ones"
    )]
    SessionRefused,
    /// No connection came about: nothing reached the server.
    #[error("the server cannot be reached: is it running at this address?")]
    NotConnected(#[source] Box<dyn Error + Send + Sync>),
    /// The server's certificate is not accepted. Nothing was sent.
    #[error(
        "the server's certificate is not accepted: use the name that it was made for, and trust who signed it (an extra CA)"
    )]
    Certificate(#[source] Box<dyn Error + Send + Sync>),
    /// The server, or what stands before it, takes no requests at present.
    #[error("the server is not available at present: try again later")]
    Unavailable {
        /// How long to wait, if it was said.
        retry_after: Option<Duration>,
    },
    /// The deadline passed. The server may have done what was asked, or may still do it.
    #[error("the server did not answer in time: what was asked may have been done all the same")]
    TimedOut,
    /// The connection broke, or the answer is not of this protocol. The server may have done what was asked.
    #[error("the server does not answer as expected: is it an Acquaint server at this address?")]
    Unreachable(#[source] Box<ConnectError>),
}

impl ClientError {
    /// Whether it is certain that the server did nothing for this call. When it is not, a code may have been sent, a token
    /// used, an import accepted.
    #[must_use]
    pub fn nothing_was_done(&self) -> bool {
        match self {
            // Behind an internal error, or one that is not known, something may have been done.
            Self::Refused { reason: Reason::InternalError | Reason::Unknown(_), .. } => false,
            Self::Config(_) | Self::Refused { .. } | Self::Unauthenticated | Self::SessionRefused => true,
            Self::NotConnected(_) | Self::Certificate(_) => true,
            Self::Unavailable { .. } | Self::TimedOut | Self::Unreachable(_) => false,
        }
    }

    /// How long to wait before trying again, if the server says so.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused { retry_after, .. } | Self::Unavailable { retry_after } => *retry_after,
            _ => None,
        }
    }
}

/// The contract's reasons.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// `actor` or `subject` is no account.
    InvalidDid,
    /// `limit` is not 1 to 100.
    InvalidLimit,
    /// `cursor` is none that the server gave.
    InvalidCursor,
    /// There are no contacts in the list.
    InvalidContacts,
    /// There are more than [`MAX_CONTACTS`](crate::MAX_CONTACTS).
    TooManyContacts,
    /// The token is used, expired or another account's: verify again.
    InvalidToken,
    /// A limit was reached, or an earlier import still runs: wait.
    RateLimitExceeded,
    /// The number (or e-mail address) cannot be verified here.
    InvalidPhone,
    /// The code is wrong or no longer valid.
    InvalidCode,
    /// A part of the server, or a provider behind it, failed.
    InternalError,
    /// The directory has another epoch by now: fetch its parameters again.
    EpochChanged,
    /// The directory is cut into other buckets by now: fetch its parameters again.
    LayoutChanged,
    /// The server does not have these evaluation keys of this caller: send them again.
    KeysUnknown,
    /// The server does not have the shard: fetch the directory's parameters again.
    ShardElsewhere,
    /// One that this client does not know.
    Unknown(String),
}

impl Reason {
    /// The name on the wire, as `INVALID_PHONE`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::InvalidDid => "INVALID_DID",
            Self::InvalidLimit => "INVALID_LIMIT",
            Self::InvalidCursor => "INVALID_CURSOR",
            Self::InvalidContacts => "INVALID_CONTACTS",
            Self::TooManyContacts => "TOO_MANY_CONTACTS",
            Self::InvalidToken => "INVALID_TOKEN",
            Self::RateLimitExceeded => "RATE_LIMIT_EXCEEDED",
            Self::InvalidPhone => "INVALID_PHONE",
            Self::InvalidCode => "INVALID_CODE",
            Self::InternalError => "INTERNAL_ERROR",
            Self::EpochChanged => "EPOCH_CHANGED",
            Self::LayoutChanged => "LAYOUT_CHANGED",
            Self::KeysUnknown => "KEYS_UNKNOWN",
            Self::ShardElsewhere => "SHARD_ELSEWHERE",
            Self::Unknown(name) => name,
        }
    }
}

impl From<&str> for Reason {
    fn from(name: &str) -> Self {
        match name {
            "INVALID_DID" => Self::InvalidDid,
            "INVALID_LIMIT" => Self::InvalidLimit,
            "INVALID_CURSOR" => Self::InvalidCursor,
            "INVALID_CONTACTS" => Self::InvalidContacts,
            "TOO_MANY_CONTACTS" => Self::TooManyContacts,
            "INVALID_TOKEN" => Self::InvalidToken,
            "RATE_LIMIT_EXCEEDED" => Self::RateLimitExceeded,
            "INVALID_PHONE" => Self::InvalidPhone,
            "INVALID_CODE" => Self::InvalidCode,
            "INTERNAL_ERROR" => Self::InternalError,
            "EPOCH_CHANGED" => Self::EpochChanged,
            "LAYOUT_CHANGED" => Self::LayoutChanged,
            "KEYS_UNKNOWN" => Self::KeysUnknown,
            "SHARD_ELSEWHERE" => Self::ShardElsewhere,
            other => Self::Unknown(other.to_owned()),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl From<ConnectError> for ClientError {
    fn from(error: ConnectError) -> Self {
        let retry_after = retry_after(&error);
        let debug = error.details.first().and_then(|detail| detail.debug.as_ref());
        let reason = debug.and_then(|debug| debug.get("reason")).and_then(|reason| reason.as_str());
        if let Some(reason) = reason {
            let message = error.message.clone().filter(|message| !message.is_empty());
            let message = message.unwrap_or_else(|| format!("the server refuses: {reason}"));
            return Self::Refused { reason: reason.into(), message, retry_after };
        }
        if let Some(source) = not_connected(&error) {
            return source;
        }
        match error.code {
            ErrorCode::Unauthenticated => Self::Unauthenticated,
            ErrorCode::DeadlineExceeded => Self::TimedOut,
            // What has a source is the transport's own; without one it was said by a server.
            ErrorCode::Unavailable if error.source_arc().is_none() => Self::Unavailable { retry_after },
            _ => Self::Unreachable(Box::new(shortened(error))),
        }
    }
}

/// `Retry-After` in seconds (RFC 9110, section 10.2.3); its other form, a date, is not looked at.
fn retry_after(error: &ConnectError) -> Option<Duration> {
    let text = error.response_headers().get(http::header::RETRY_AFTER)?.to_str().ok()?;
    text.trim().parse().ok().map(Duration::from_secs)
}

/// What hyper says of a connection that did not come about.
fn not_connected(error: &ConnectError) -> Option<ClientError> {
    let transport = error.source_arc()?;
    let transport = transport.downcast_ref::<hyper_util::client::legacy::Error>()?;
    if !transport.is_connect() {
        return None;
    }
    // The innermost error says it best, and the ones around it repeat it or say nothing.
    let mut innermost: &(dyn Error + 'static) = transport;
    let mut is_certificate = false;
    loop {
        // An I/O error shows what it wraps only here, not as its source.
        let wrapped = innermost.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        let next = wrapped.map(|inner| inner as &(dyn Error + 'static)).or_else(|| innermost.source());
        is_certificate |= matches!(
            innermost.downcast_ref::<rustls::Error>(),
            Some(rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented)
        );
        match next {
            Some(next) => innermost = next,
            None => break,
        }
    }
    let cause = innermost.to_string().into();
    Some(if is_certificate { ClientError::Certificate(cause) } else { ClientError::NotConnected(cause) })
}

/// What another kind of server answered may be a whole page.
fn shortened(mut error: ConnectError) -> ConnectError {
    error.message = error.message.map(|message| {
        let line = message.lines().next().unwrap_or_default();
        line.chars().take(MAX_FOREIGN_TEXT).collect()
    });
    error
}
