//! Problems (RFC 9457): the one form in which the REST face refuses.

use acquaint_custody::CustodyError;
use acquaint_service::directory::{DirectoryError, EnrolError};
use acquaint_service::{
    CredentialsError, Internal, InvalidIdentifier, LookupError, Millis, RateLimited, StartVerificationError,
    VerifyError,
};
use acquaint_store::StoreError;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use utoipa::ToSchema;

use crate::session::SessionError;

/// Why a request was refused (RFC 9457).
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Problem {
    /// What kind of problem it is, as a URN; the same for each `code`.
    #[serde(rename = "type")]
    #[schema(example = "urn:acquaint:problem:contact-discovery-rate-limited")]
    kind: String,
    /// The status in words.
    #[schema(example = "Too Many Requests")]
    title: &'static str,
    /// The HTTP status.
    #[schema(minimum = 400, maximum = 599, example = 429)]
    status: u16,
    /// What is wrong, and what would be right.
    #[schema(example = "Too many contact discovery requests. Please wait before trying again.")]
    detail: String,
    /// The error's lasting name.
    #[schema(example = "CONTACT_DISCOVERY_RATE_LIMITED")]
    code: &'static str,
    /// Seconds, as in `Retry-After`.
    #[serde(skip)]
    retry_after: Option<i64>,
    /// The scheme to authenticate by, as in `WWW-Authenticate`.
    #[serde(skip)]
    challenge: Option<&'static str>,
}

impl Problem {
    fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self {
            kind: format!("urn:acquaint:problem:{}", code.to_ascii_lowercase().replace('_', "-")),
            title: status.canonical_reason().unwrap_or("Error"),
            status: status.as_u16(),
            detail: detail.into(),
            code,
            retry_after: None,
            challenge: None,
        }
    }

    /// No valid session (seed 001). The same for all that is wrong with one.
    pub(super) fn unauthenticated() -> Self {
        let detail = "Authentication required to access contact discovery.";
        let problem = Self::new(StatusCode::UNAUTHORIZED, "CONTACT_DISCOVERY_UNAUTHENTICATED", detail);
        Self { challenge: Some("Bearer"), ..problem }
    }

    /// No good credentials. The same for all that is wrong with them.
    pub(in crate::http) fn bad_credentials() -> Self {
        Self { challenge: Some("Basic realm=\"contact discovery\""), ..Self::unauthenticated() }
    }

    /// A part of the request is not as it should be.
    pub(super) fn invalid(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "INVALID_REQUEST", detail)
    }

    /// A failure that is about no field.
    pub(in crate::http) fn failure(status: StatusCode, detail: &'static str) -> Self {
        let code = match status {
            StatusCode::NOT_FOUND => "NOT_FOUND",
            StatusCode::METHOD_NOT_ALLOWED => "METHOD_NOT_ALLOWED",
            StatusCode::BAD_REQUEST => "INVALID_REQUEST",
            StatusCode::REQUEST_TIMEOUT => "REQUEST_TOO_SLOW",
            StatusCode::PAYLOAD_TOO_LARGE => "REQUEST_TOO_LARGE",
            StatusCode::GATEWAY_TIMEOUT => "OUT_OF_TIME",
            _ => "INTERNAL_ERROR",
        };
        Self::new(status, code, detail)
    }

    fn unavailable(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "CONTACT_DISCOVERY_UNAVAILABLE", detail)
    }

    /// Too many.
    pub(in crate::http) fn rate_limited(limited: RateLimited, now: Millis) -> Self {
        let problem =
            Self::new(StatusCode::TOO_MANY_REQUESTS, "CONTACT_DISCOVERY_RATE_LIMITED", limited.what);
        let wait = |at: Millis| at.saturating_sub(now).max(0).saturating_add(999) / 1000;
        // Rounded up, and never at once.
        Self { retry_after: limited.retry_at.map(|at| wait(at).max(1)), ..problem }
    }

    /// An error of a use case, with the time that Retry-After counts from.
    pub(in crate::http) fn of(error: impl Into<Refusal>, now: Millis) -> Self {
        match error.into() {
            Refusal::Credentials(error) => Self::of_credentials(error, now),
            Refusal::Lookup(error) => Self::of_lookup(error, now),
            Refusal::Directory(error) => Self::of_directory(error, now),
            Refusal::Enrol(error) => Self::of_enrol(error, now),
            Refusal::Start(error) => Self::of_start(error, now),
            Refusal::Verify(error) => Self::of_verify(error, now),
            Refusal::Internal(error) => Self::of_internal(&error, now),
        }
    }

    fn of_credentials(error: CredentialsError, now: Millis) -> Self {
        let text = error.to_string();
        match error {
            CredentialsError::NotConfigured => {
                Self::new(StatusCode::NOT_FOUND, "CONTACT_DISCOVERY_NOT_OFFERED", text)
            }
            CredentialsError::UnknownAudience => {
                Self::new(StatusCode::NOT_FOUND, "CONTACT_DISCOVERY_UNKNOWN_AUDIENCE", text)
            }
            CredentialsError::NoIdentifier => {
                Self::new(StatusCode::FORBIDDEN, "CONTACT_DISCOVERY_NUMBER_REQUIRED", text)
            }
            CredentialsError::RateLimited(limited) => Self::rate_limited(limited, now),
            CredentialsError::LimiterUnavailable(ref source) => {
                tracing::error!(error = source as &dyn std::error::Error, "the limits cannot be looked at");
                Self::unavailable(text)
            }
            CredentialsError::Internal(error) => Self::of_internal(&error, now),
        }
    }

    fn of_lookup(error: LookupError, now: Millis) -> Self {
        let text = error.to_string();
        match error {
            LookupError::OtherRequest | LookupError::InvalidReceipt => Self::invalid(text),
            LookupError::RateLimited(limited) => Self::rate_limited(limited, now),
            LookupError::LimiterUnavailable(ref source) => {
                tracing::error!(error = source as &dyn std::error::Error, "the limits cannot be looked at");
                Self::unavailable(text)
            }
            LookupError::Internal(error) => Self::of_internal(&error, now),
        }
    }

    fn of_directory(error: DirectoryError, now: Millis) -> Self {
        let text = error.to_string();
        match error {
            DirectoryError::NotConfigured => {
                Self::new(StatusCode::NOT_FOUND, "CONTACT_DISCOVERY_NOT_OFFERED", text)
            }
            DirectoryError::Unavailable => Self::unavailable(text),
            DirectoryError::Busy => Self {
                retry_after: Some(1),
                ..Self::unavailable(
                    "other queries of this account are being answered: try again when they are",
                )
            },
            DirectoryError::NoRoom(pause) => Self {
                retry_after: Some((pause + 999) / 1000),
                ..Self::unavailable("there is no room for further evaluation keys: try again later")
            },
            DirectoryError::Batch { .. }
            | DirectoryError::UnknownPrefix { .. }
            | DirectoryError::UnknownShard(_)
            | DirectoryError::KeysLength(_)
            | DirectoryError::Keys(_)
            | DirectoryError::QueriesLength(_)
            | DirectoryError::BatchCount(_) => Self::invalid(text),
            // Of another epoch or layout than the request says.
            DirectoryError::Query { .. } => Self::invalid(text),
            DirectoryError::ShardElsewhere => {
                Self::new(StatusCode::MISDIRECTED_REQUEST, "SHARD_ELSEWHERE", text)
            }
            DirectoryError::KeysUnknown => Self::new(StatusCode::CONFLICT, "KEYS_UNKNOWN", text),
            DirectoryError::EpochChanged => Self::new(StatusCode::CONFLICT, "EPOCH_CHANGED", text),
            DirectoryError::LayoutChanged => Self::new(StatusCode::CONFLICT, "LAYOUT_CHANGED", text),
            DirectoryError::Lookup(error) => Self::of_lookup(error, now),
            DirectoryError::Internal(error) => Self::of_internal(&error, now),
        }
    }

    fn of_enrol(error: EnrolError, now: Millis) -> Self {
        let text = error.to_string();
        match error {
            EnrolError::Directory(error) => Self::of_directory(error, now),
            EnrolError::InvalidToken | EnrolError::InvalidUsername | EnrolError::AccountTooLong(_) => {
                Self::invalid(text)
            }
            EnrolError::NewerOwner => Self::new(StatusCode::CONFLICT, "NEWER_OWNER", text),
            EnrolError::TooMany(_) => Self::new(StatusCode::CONFLICT, "TOO_MANY_LISTINGS", text),
            EnrolError::Internal(error) => Self::of_internal(&error, now),
        }
    }

    fn of_start(error: StartVerificationError, now: Millis) -> Self {
        match error {
            StartVerificationError::InvalidIdentifier(error) => Self::invalid(identifier(error)),
            StartVerificationError::RateLimited(limited) => Self::rate_limited(limited, now),
            StartVerificationError::NotSent(ref source) => {
                tracing::warn!(error = source as &dyn std::error::Error, "a code could not be sent");
                match source.recipient_refused {
                    true => Self::invalid("identifier cannot be reached: no message can be sent to it"),
                    false => Self::unavailable("the code could not be sent: try again later"),
                }
            }
            StartVerificationError::Internal(error) => Self::of_internal(&error, now),
        }
    }

    fn of_verify(error: VerifyError, now: Millis) -> Self {
        match error {
            VerifyError::InvalidIdentifier(error) => Self::invalid(identifier(error)),
            VerifyError::InvalidCode => {
                let detail = "code is wrong or no longer valid: it is the six digits that were sent last";
                Self::new(StatusCode::BAD_REQUEST, "INVALID_CODE", detail)
            }
            VerifyError::RateLimited(limited) => Self::rate_limited(limited, now),
            VerifyError::Internal(error) => Self::of_internal(&error, now),
        }
    }

    fn of_internal(error: &Internal, now: Millis) -> Self {
        tracing::error!(error = error as &dyn std::error::Error, "a part of the service failed");
        match error {
            Internal::Custody(CustodyError::OverBudget { key: _, retry_after }) => {
                let what = "the service has more to do than it may: try again later";
                let pause = Millis::try_from(retry_after.as_millis()).unwrap_or(Millis::MAX);
                let limited = RateLimited { what, retry_at: Some(now.saturating_add(pause)) };
                Self { code: "CONTACT_DISCOVERY_RATE_LIMITED", ..Self::rate_limited(limited, now) }
            }
            Internal::Custody(CustodyError::Unavailable(_)) => {
                Self::unavailable("the service cannot reach its keys: try again later")
            }
            // Where the limits are, too.
            Internal::Store(StoreError::Unavailable(_)) => {
                Self::unavailable("the limits cannot be looked at, so nothing is granted: try again later")
            }
            _ => {
                let detail = "internal error: the service's log says more";
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL_ERROR", detail)
            }
        }
    }

    /// The HTTP status.
    pub(in crate::http) fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// What is wrong.
    pub(in crate::http) fn detail(&self) -> &str {
        &self.detail
    }

    /// Seconds until another try makes sense, if that is known.
    pub(in crate::http) fn retry_after(&self) -> Option<i64> {
        self.retry_after
    }

    /// The answer.
    pub(in crate::http) fn into_answer(self) -> Response {
        let status = self.status();
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Some(challenge) = self.challenge {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        response
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        self.into_answer()
    }
}

impl From<SessionError> for Problem {
    fn from(error: SessionError) -> Self {
        match error {
            SessionError::Refused => Self::unauthenticated(),
            SessionError::Unavailable => {
                Self::unavailable("the session cannot be checked at the moment: try again later")
            }
        }
    }
}

/// What the use cases behind this face fail with.
pub(in crate::http) enum Refusal {
    Credentials(CredentialsError),
    Lookup(LookupError),
    Directory(DirectoryError),
    Enrol(EnrolError),
    Start(StartVerificationError),
    Verify(VerifyError),
    Internal(Internal),
}

/// What is wrong with an identifier. The use case calls the field by the RPC's name of it.
fn identifier(error: InvalidIdentifier) -> &'static str {
    match error {
        InvalidIdentifier::Unreadable(_) => {
            "identifier must be a phone number in international form, as +12125550123, or an e-mail address"
        }
        InvalidIdentifier::NoEmails => {
            "identifier must be a phone number: this service takes no e-mail addresses"
        }
        InvalidIdentifier::NotMobile => {
            "identifier must be a mobile number: no message can be sent to this kind of number"
        }
        InvalidIdentifier::RegionNotServed => {
            "identifier is of a country or region that this service does not serve"
        }
    }
}

impl From<CredentialsError> for Refusal {
    fn from(error: CredentialsError) -> Self {
        Self::Credentials(error)
    }
}

impl From<LookupError> for Refusal {
    fn from(error: LookupError) -> Self {
        Self::Lookup(error)
    }
}

impl From<DirectoryError> for Refusal {
    fn from(error: DirectoryError) -> Self {
        Self::Directory(error)
    }
}

impl From<EnrolError> for Refusal {
    fn from(error: EnrolError) -> Self {
        Self::Enrol(error)
    }
}

impl From<StartVerificationError> for Refusal {
    fn from(error: StartVerificationError) -> Self {
        Self::Start(error)
    }
}

impl From<VerifyError> for Refusal {
    fn from(error: VerifyError) -> Self {
        Self::Verify(error)
    }
}

impl From<Internal> for Refusal {
    fn from(error: Internal) -> Self {
        Self::Internal(error)
    }
}
