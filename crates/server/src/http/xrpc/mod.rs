//! The public API `app.bsky.contact.*` over atproto's HTTP API (<https://atproto.com/specs/xrpc>), for clients that do not
//! send their address books through PDS and AppView. Accounts come back as DIDs; their profiles are the caller's to fetch.

mod methods;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use connectrpc::{ConnectError, ErrorCode};
use http::{HeaderValue, Method, StatusCode, header};
use serde_json::{Value, json};

use super::body::{self, Unread, discard};
use super::connect::reason::{Failed, Reason};
use super::face::{NoCaller, Public};
use crate::session::SessionError;

/// Before each method's name.
const PREFIX: &str = "/xrpc/app.bsky.contact.";

/// The methods, by their names behind `app.bsky.contact.`, and whether they are queries.
pub(super) const METHODS: [(&str, &str, bool); 7] = [
    ("startPhoneVerification", "app.bsky.contact.startPhoneVerification", false),
    ("verifyPhone", "app.bsky.contact.verifyPhone", false),
    ("importContacts", "app.bsky.contact.importContacts", false),
    ("getMatches", "app.bsky.contact.getMatches", true),
    ("dismissMatch", "app.bsky.contact.dismissMatch", false),
    ("removeData", "app.bsky.contact.removeData", false),
    ("getSyncStatus", "app.bsky.contact.getSyncStatus", true),
];

/// The method that a path names: its NSID, and whether it is a query.
pub(super) fn method_of(path: &str) -> Option<(&'static str, bool)> {
    let name = path.strip_prefix(PREFIX)?;
    METHODS.into_iter().find(|(method, _, _)| *method == name).map(|(_, nsid, query)| (nsid, query))
}

/// Everything under `/xrpc`.
pub(super) fn router(public: Public) -> Router {
    Router::new().route("/xrpc/{*method}", any(call)).with_state(public)
}

async fn call(State(public): State<Public>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    match answered(&public, &parts, body).await {
        Ok(value) => {
            let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
            (headers, value.to_string()).into_response()
        }
        Err(error) => error.into_response(),
    }
}

async fn answered(public: &Public, parts: &http::request::Parts, body: Body) -> Result<Value, XrpcError> {
    let Some((nsid, is_query)) = method_of(parts.uri.path()) else {
        discard(body).await;
        return Err(XrpcError::new(
            StatusCode::NOT_IMPLEMENTED,
            "MethodNotImplemented",
            "there is no such method",
        ));
    };
    let wanted = if is_query { Method::GET } else { Method::POST };
    if parts.method != wanted {
        discard(body).await;
        let message =
            if is_query { "queries are called with GET" } else { "procedures are called with POST" };
        return Err(XrpcError::new(StatusCode::METHOD_NOT_ALLOWED, "InvalidRequest", message));
    }
    let caller = match public.caller(parts, nsid).await {
        Ok(caller) => caller,
        Err(error) => {
            discard(body).await;
            return Err(match error {
                NoCaller::Session(error) => error.into(),
                NoCaller::TooMany(limited) => {
                    ConnectError::from(Failed(limited, public.discovery.now())).into()
                }
            });
        }
    };
    if let Err(limited) = public.discovery.count_call(&caller) {
        discard(body).await;
        return Err(ConnectError::from(Failed(limited, public.discovery.now())).into());
    }
    if is_query {
        discard(body).await;
        return methods::query(public, &caller, nsid, parts.uri.query().unwrap_or_default()).await;
    }
    let body = body::read(body, public.limits).await.map_err(|unread| match unread {
        Unread::TooLarge if nsid == "app.bsky.contact.importContacts" => XrpcError::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "TooManyContacts",
            "contacts is too large: it takes 1 to 1000 numbers",
        ),
        Unread::TooLarge => {
            XrpcError::new(StatusCode::PAYLOAD_TOO_LARGE, "InvalidRequest", "the request is too large")
        }
        Unread::TooSlow => {
            XrpcError::new(StatusCode::REQUEST_TIMEOUT, "InvalidRequest", "the request came too slowly")
        }
        Unread::Broken => XrpcError::new(StatusCode::BAD_REQUEST, "InvalidRequest", "the request broke off"),
    })?;
    let input = input(parts, &body)?;
    methods::procedure(public, &caller, nsid, &input).await
}

/// A procedure's input: a JSON object. Nothing at all is an empty one.
fn input(parts: &http::request::Parts, body: &Bytes) -> Result<serde_json::Map<String, Value>, XrpcError> {
    if body.is_empty() {
        return Ok(serde_json::Map::new());
    }
    let is_json = parts
        .headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"));
    if !is_json {
        return Err(XrpcError::invalid("the input must be application/json"));
    }
    match serde_json::from_slice(body) {
        Ok(Value::Object(input)) => Ok(input),
        _ => Err(XrpcError::invalid("the input must be a JSON object")),
    }
}

/// An error of atproto's HTTP API: a status, and a JSON object with `error` and `message`.
#[derive(Debug)]
struct XrpcError {
    status: StatusCode,
    error: &'static str,
    message: String,
    retry_after: Option<HeaderValue>,
}

impl XrpcError {
    fn new(status: StatusCode, error: &'static str, message: impl Into<String>) -> Self {
        Self { status, error, message: message.into(), retry_after: None }
    }

    fn invalid(message: &'static str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "InvalidRequest", message)
    }
}

impl From<SessionError> for XrpcError {
    fn from(error: SessionError) -> Self {
        match error {
            SessionError::Refused => {
                let message =
                    "a valid session is needed: a service-auth token for this service and this method";
                Self::new(StatusCode::UNAUTHORIZED, "AuthenticationRequired", message)
            }
            SessionError::Unavailable => {
                let message = "the session cannot be checked at the moment: try again later";
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "NotAvailable", message)
            }
        }
    }
}

impl From<ConnectError> for XrpcError {
    /// The one mapping of errors is that of the RPC; here its reasons get the names of the lexicons.
    fn from(mut error: ConnectError) -> Self {
        let retry_after = error.response_headers_mut().remove(header::RETRY_AFTER);
        let reason = Reason::of(&error).unwrap_or(Reason::InternalError);
        let status = match error.code {
            ErrorCode::InvalidArgument => StatusCode::BAD_REQUEST,
            ErrorCode::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
            ErrorCode::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        // The lexicon's name for the field.
        let message = error.message.unwrap_or_default().replace("verification_code", "code");
        Self { status, error: reason.lexicon_name(), message, retry_after }
    }
}

impl IntoResponse for XrpcError {
    fn into_response(self) -> Response {
        let body = json!({ "error": self.error, "message": self.message }).to_string();
        let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
        let mut response = (self.status, headers, body).into_response();
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, seconds);
        }
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// A failure that is about no field.
pub(super) fn failure(status: StatusCode, message: &'static str) -> Response {
    let error = if status.is_client_error() { "InvalidRequest" } else { "InternalError" };
    XrpcError::new(status, error, message).into_response()
}
