//! The reasons that the AppView understands, and the one mapping from our errors to them.
//!
//! The AppView reads only `details[0].debug.reason` of a Connect error; an error without it becomes an opaque 500
//! for the person (`packages/bsky/src/api/app/bsky/contact/util.ts` in bluesky-social/atproto).

use acquaint_custody::CustodyError;
use acquaint_service::{
    ImportError, Internal, MatchesError, Millis, RateLimited, StartVerificationError, VerifyError,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use connectrpc::{ConnectError, ErrorCode, ErrorDetail};
use http::{HeaderValue, header};

/// `reason` of a `google.rpc.ErrorInfo`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::http) enum Reason {
    InvalidDid,
    InvalidLimit,
    InvalidCursor,
    InvalidContacts,
    TooManyContacts,
    InvalidToken,
    RateLimitExceeded,
    InvalidPhone,
    InvalidCode,
    InternalError,
}

impl Reason {
    pub(super) const fn name(self) -> &'static str {
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
        }
    }

    const ALL: [Self; 10] = [
        Self::InvalidDid,
        Self::InvalidLimit,
        Self::InvalidCursor,
        Self::InvalidContacts,
        Self::TooManyContacts,
        Self::InvalidToken,
        Self::RateLimitExceeded,
        Self::InvalidPhone,
        Self::InvalidCode,
        Self::InternalError,
    ];

    /// The reason that an error carries.
    pub(in crate::http) fn of(error: &ConnectError) -> Option<Self> {
        let debug = error.details.first()?.debug.as_ref()?;
        let name = debug.get("reason")?.as_str()?;
        Self::ALL.into_iter().find(|reason| reason.name() == name)
    }

    /// Its name in the lexicons of `app.bsky.contact`.
    pub(in crate::http) const fn lexicon_name(self) -> &'static str {
        match self {
            Self::InvalidDid => "InvalidDid",
            Self::InvalidLimit => "InvalidLimit",
            Self::InvalidCursor => "InvalidCursor",
            Self::InvalidContacts => "InvalidContacts",
            Self::TooManyContacts => "TooManyContacts",
            Self::InvalidToken => "InvalidToken",
            Self::RateLimitExceeded => "RateLimitExceeded",
            Self::InvalidPhone => "InvalidPhone",
            Self::InvalidCode => "InvalidCode",
            Self::InternalError => "InternalError",
        }
    }

    /// The field that this reason is about, and what would be right.
    pub(in crate::http) const fn field(self) -> &'static str {
        match self {
            Self::InvalidDid => "actor, or subject, must be text: a DID",
            Self::InvalidLimit => "limit must be a whole number from 1 to 100",
            Self::InvalidCursor => "cursor must be text: one that this service gave",
            Self::InvalidContacts => "contacts must be a list of texts",
            Self::TooManyContacts => "contacts is too large: it takes 1 to 1000 numbers",
            Self::InvalidToken => "token must be text: one that VerifyPhone gave",
            Self::InvalidPhone => "phone must be text: a number in international form, like +12125550123",
            Self::InvalidCode => "verification_code must be text: six digits",
            Self::RateLimitExceeded | Self::InternalError => "no field is at fault",
        }
    }

    const fn code(self) -> ErrorCode {
        match self {
            Self::InvalidDid
            | Self::InvalidLimit
            | Self::InvalidCursor
            | Self::InvalidContacts
            | Self::TooManyContacts
            | Self::InvalidToken
            | Self::InvalidPhone
            | Self::InvalidCode => ErrorCode::InvalidArgument,
            Self::RateLimitExceeded => ErrorCode::ResourceExhausted,
            Self::InternalError => ErrorCode::Internal,
        }
    }

    /// The detail that carries this reason: `debug` for the AppView, `value` (the encoded message, base64 without
    /// padding) for everybody else.
    pub(super) fn detail(self) -> ErrorDetail {
        ErrorDetail {
            type_url: "google.rpc.ErrorInfo".into(),
            value: Some(STANDARD_NO_PAD.encode(self.error_info())),
            debug: Some(serde_json::json!({ "reason": self.name(), "domain": DOMAIN })),
        }
    }

    /// `google.rpc.ErrorInfo { reason = 1, domain = 2 }` (google/rpc/error_details.proto), both strings.
    fn error_info(self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (tag, text) in [(0x0a, self.name()), (0x12, DOMAIN)] {
            // Both are shorter than 128 bytes, so their length is one byte.
            bytes.extend_from_slice(&[tag, u8::try_from(text.len()).unwrap_or(0)]);
            bytes.extend_from_slice(text.as_bytes());
        }
        bytes
    }

    pub(in crate::http) fn error(self, message: impl Into<String>) -> ConnectError {
        self.error_with_code(self.code(), message)
    }

    fn error_with_code(self, code: ErrorCode, message: impl Into<String>) -> ConnectError {
        let mut error = ConnectError::new(code, message);
        error.details = vec![self.detail()];
        error
    }
}

const DOMAIN: &str = "acquaint";

/// Our errors, with the time that Retry-After counts from.
pub(in crate::http) struct Failed<E>(pub(in crate::http) E, pub(in crate::http) Millis);

impl From<Failed<RateLimited>> for ConnectError {
    fn from(Failed(limited, now): Failed<RateLimited>) -> Self {
        let mut error = Reason::RateLimitExceeded.error(limited.what);
        if let Some(retry_at) = limited.retry_at {
            let seconds = retry_at.saturating_sub(now).max(0).saturating_add(999) / 1000;
            error.response_headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        error
    }
}

impl From<Failed<StartVerificationError>> for ConnectError {
    fn from(Failed(error, now): Failed<StartVerificationError>) -> Self {
        match error {
            StartVerificationError::InvalidIdentifier(error) => Reason::InvalidPhone.error(error.to_string()),
            StartVerificationError::RateLimited(limited) => Failed(limited, now).into(),
            StartVerificationError::NotSent(ref source) if source.recipient_refused => {
                tracing::info!(error = source as &dyn std::error::Error, "a code could not be sent");
                Reason::InvalidPhone.error("no code can be sent to it: give another one")
            }
            StartVerificationError::NotSent(ref source) => {
                tracing::error!(error = source as &dyn std::error::Error, "a code could not be sent");
                Reason::InternalError.error_with_code(ErrorCode::Unavailable, error.to_string())
            }
            StartVerificationError::Internal(internal) => Failed(internal, now).into(),
        }
    }
}

impl From<Failed<VerifyError>> for ConnectError {
    fn from(Failed(error, now): Failed<VerifyError>) -> Self {
        match error {
            VerifyError::InvalidIdentifier(error) => Reason::InvalidPhone.error(error.to_string()),
            VerifyError::InvalidCode => Reason::InvalidCode.error(error.to_string()),
            VerifyError::RateLimited(limited) => Failed(limited, now).into(),
            VerifyError::Internal(internal) => Failed(internal, now).into(),
        }
    }
}

impl From<Failed<ImportError>> for ConnectError {
    fn from(Failed(error, now): Failed<ImportError>) -> Self {
        match error {
            ImportError::NoContacts => Reason::InvalidContacts.error(error.to_string()),
            ImportError::TooManyContacts => Reason::TooManyContacts.error(error.to_string()),
            ImportError::InvalidToken => Reason::InvalidToken.error(error.to_string()),
            ImportError::RateLimited(limited) => Failed(limited, now).into(),
            ImportError::Internal(internal) => Failed(internal, now).into(),
        }
    }
}

impl From<Failed<MatchesError>> for ConnectError {
    fn from(Failed(error, now): Failed<MatchesError>) -> Self {
        match error {
            MatchesError::InvalidLimit => Reason::InvalidLimit.error(error.to_string()),
            MatchesError::InvalidCursor => Reason::InvalidCursor.error(error.to_string()),
            MatchesError::Internal(internal) => Failed(internal, now).into(),
        }
    }
}

impl From<Failed<Internal>> for ConnectError {
    fn from(Failed(internal, now): Failed<Internal>) -> Self {
        tracing::error!(error = &internal as &dyn std::error::Error, "a part of the service failed");
        match &internal {
            Internal::Custody(CustodyError::OverBudget { key: _, retry_after }) => {
                let pause = Millis::try_from(retry_after.as_millis()).unwrap_or(Millis::MAX);
                let what = "the service has more to do than it may: try again later";
                return Failed(RateLimited { what, retry_at: Some(now.saturating_add(pause)) }, now).into();
            }
            Internal::Custody(CustodyError::Unavailable(_)) => {
                let what = "the service cannot reach its keys: try again later";
                return Reason::InternalError.error_with_code(ErrorCode::Unavailable, what);
            }
            _ => {}
        }
        Reason::InternalError.error("internal error: the service's log says more")
    }
}
