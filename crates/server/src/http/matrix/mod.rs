//! The lookup of Matrix's identity servers, version 2 (`data/api/identity/*.yaml` in matrix-org/matrix-spec). Off by default:
//! this service can read what is asked for, whatever the pepper.

pub(crate) mod homeserver;

use std::sync::Arc;

use acquaint_protocol::identifier::{AccountFormat, AccountId};
use acquaint_service::directory::PeppersError;
use acquaint_service::{Caller, LookupError};
use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use http::request::Parts;
use http::{HeaderValue, Method, StatusCode, header};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::error::Category;
use serde_json::{Map, Value, json};
use tower_http::cors::{Any, CorsLayer};
use zeroize::Zeroizing;

use super::body::{self, BodyLimits, Unread, discard};
use super::face::{Public, single};
use super::rest::problem::{Problem, Refusal};
use homeserver::{Homeservers, Unproven};

/// Where all of it stands.
pub(super) const PREFIX: &str = "/_matrix/identity/";
/// Bytes of the largest body: 10,000 hashes, which is the most that the configuration allows.
const MOST: usize = 1024 * 1024;
/// The only algorithm: `none` would have addresses in clear.
const SHA256: &str = "sha256";

#[derive(Clone)]
struct Face {
    public: Public,
    homeservers: Arc<Homeservers>,
}

/// Everything under `/_matrix/identity`.
pub(super) fn router(public: Public, homeservers: Arc<Homeservers>) -> Router {
    Router::new()
        .route("/_matrix/identity/versions", get(versions))
        .route("/_matrix/identity/v2", get(ping))
        .route("/_matrix/identity/v2/account/register", post(register))
        .route("/_matrix/identity/v2/account", get(account))
        .route("/_matrix/identity/v2/terms", get(terms).post(accept_terms))
        .route("/_matrix/identity/v2/hash_details", get(hash_details))
        .route("/_matrix/identity/v2/lookup", post(lookup))
        .route("/_matrix/identity/{*rest}", any(unknown))
        .method_not_allowed_fallback(wrong_method)
        .layer(cors())
        .with_state(Face { public, homeservers })
}

/// The same where this face is switched off: there is nothing.
pub(super) fn off() -> Router {
    Router::new().route("/_matrix/identity/{*rest}", any(unknown)).layer(cors())
}

/// The specification lets every page call ("Web browser clients").
fn cors() -> CorsLayer {
    CorsLayer::new()
        .allow_origin(Any)
        .allow_methods([Method::GET, Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS])
        .allow_headers([
            header::HeaderName::from_static("x-requested-with"),
            header::CONTENT_TYPE,
            header::AUTHORIZATION,
        ])
}

/// An error in the form of Matrix ("Standard error response").
struct MatrixError {
    status: StatusCode,
    code: &'static str,
    text: String,
    more: Map<String, Value>,
}

impl MatrixError {
    fn new(status: StatusCode, code: &'static str, text: impl Into<String>) -> Self {
        Self { status, code, text: text.into(), more: Map::new() }
    }

    fn invalid(text: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "M_INVALID_PARAM", text)
    }

    fn unauthorised() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "M_UNAUTHORIZED", "the access token is missing or not good")
    }

    fn of(public: &Public, error: impl Into<Refusal>) -> Self {
        Self::of_problem(&public.problem(error))
    }

    fn of_problem(problem: &Problem) -> Self {
        let status = problem.status();
        let code = match status {
            StatusCode::BAD_REQUEST => "M_INVALID_PARAM",
            StatusCode::UNAUTHORIZED => "M_UNAUTHORIZED",
            StatusCode::NOT_FOUND => "M_UNRECOGNIZED",
            StatusCode::TOO_MANY_REQUESTS => "M_LIMIT_EXCEEDED",
            _ => "M_UNKNOWN",
        };
        let mut error = Self::new(status, code, problem.detail());
        if let Some(seconds) = problem.retry_after() {
            error.more.insert("retry_after_ms".into(), json!(seconds.saturating_mul(1000)));
        }
        error
    }
}

impl IntoResponse for MatrixError {
    fn into_response(self) -> Response {
        let Self { status, code, text, mut more } = self;
        let seconds = more.get("retry_after_ms").and_then(Value::as_i64).map(|millis| millis / 1000);
        more.insert("errcode".into(), json!(code));
        more.insert("error".into(), json!(text));
        let mut response = whole(status, &more);
        if let Some(seconds) = seconds {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

type Answered = Result<Response, MatrixError>;

async fn versions() -> Response {
    whole(StatusCode::OK, &json!({ "versions": ["v1.1", "v1.2", "v1.3", "v1.4", "v1.5", "v1.6"] }))
}

async fn ping() -> Response {
    whole(StatusCode::OK, &json!({}))
}

async fn unknown(body: Body) -> MatrixError {
    discard(body).await;
    MatrixError::new(StatusCode::NOT_FOUND, "M_UNRECOGNIZED", "this identity server does lookups only")
}

async fn wrong_method(body: Body) -> MatrixError {
    discard(body).await;
    let text = "this endpoint does not take this method";
    MatrixError::new(StatusCode::METHOD_NOT_ALLOWED, "M_UNRECOGNIZED", text)
}

/// An OpenID token, as a homeserver gave it to its account.
#[derive(Deserialize)]
struct OpenIdToken {
    access_token: String,
    matrix_server_name: String,
}

async fn register(State(face): State<Face>, parts: Parts, body: Body) -> Answered {
    let Face { public, homeservers } = &face;
    // Strangers have this server ask others.
    let stranger = match public.discovery.count_stranger(public.address(&parts)) {
        Ok(stranger) => stranger,
        Err(limited) => {
            discard(body).await;
            return Err(MatrixError::of(public, LookupError::from(limited)));
        }
    };
    let wanted =
        "the body must be an OpenID token: a JSON object with `access_token` and `matrix_server_name`";
    let OpenIdToken { access_token, matrix_server_name } = json_body(public, body, wanted).await?;
    let access_token = Zeroizing::new(access_token);
    let account =
        homeservers.account(&matrix_server_name, &access_token).await.map_err(|error| match error {
            Unproven::Name => MatrixError::invalid(
                "matrix_server_name must be the name of a homeserver whose accounts may ask here",
            ),
            Unproven::Refused => MatrixError::new(
                StatusCode::UNAUTHORIZED,
                "M_UNAUTHORIZED",
                "the homeserver does not say that the OpenID token is good",
            ),
            Unproven::Unavailable => MatrixError::new(
                StatusCode::BAD_GATEWAY,
                "M_UNKNOWN",
                "the homeserver cannot be asked at the moment: try again later",
            ),
        })?;
    let account = AccountId::parse(&account, AccountFormat::Opaque)
        .map_err(|_| MatrixError::invalid("the homeserver names no account"))?;
    // Not given back: whoever runs a homeserver has as many accounts as they like.
    drop(stranger);
    let token = public.discovery.matrix_token(&account).map_err(|error| MatrixError::of(public, error))?;
    Ok(whole(StatusCode::OK, &json!({ "token": token })))
}

async fn account(State(face): State<Face>, parts: Parts) -> Answered {
    let caller = caller(&face, &parts)?;
    Ok(whole(StatusCode::OK, &json!({ "user_id": caller.account.as_str() })))
}

async fn terms() -> Response {
    whole(StatusCode::OK, &json!({ "policies": {} }))
}

async fn accept_terms(State(face): State<Face>, parts: Parts, body: Body) -> Answered {
    let caller = caller(&face, &parts);
    discard(body).await;
    caller?;
    Ok(whole(StatusCode::OK, &json!({})))
}

async fn hash_details(State(face): State<Face>, parts: Parts) -> Answered {
    caller(&face, &parts)?;
    let pepper = face.public.discovery.matrix_pepper().await;
    let pepper = pepper.map_err(|error| MatrixError::of(&face.public, error))?;
    Ok(whole(StatusCode::OK, &json!({ "lookup_pepper": pepper, "algorithms": [SHA256] })))
}

/// Hashes to look up.
#[derive(Deserialize)]
struct Lookup {
    addresses: Vec<String>,
    algorithm: String,
    pepper: String,
}

async fn lookup(State(face): State<Face>, parts: Parts, body: Body) -> Answered {
    let public = &face.public;
    let caller = match caller(&face, &parts) {
        Ok(caller) => caller,
        Err(error) => {
            discard(body).await;
            return Err(error);
        }
    };
    let wanted = "the body must be a JSON object with `addresses`, a list of texts, `algorithm` and `pepper`";
    let Lookup { addresses, algorithm, pepper } = json_body(public, body, wanted).await?;
    if algorithm != SHA256 {
        return Err(MatrixError::invalid("algorithm must be `sha256`: addresses in clear are not taken"));
    }
    public
        .discovery
        .check_batch("addresses", addresses.len().max(1))
        .map_err(|error| MatrixError::of(public, error))?;
    if let Some(at) = addresses.iter().position(|text| !is_hash(text)) {
        let text = format!("addresses: entry {at} must be a SHA-256 in URL-safe base64 without padding");
        return Err(MatrixError::invalid(text));
    }
    let seeker = public.discovery.seeker(&caller).await.map_err(|error| MatrixError::of(public, error))?;
    let found = public.discovery.matrix_lookup(&seeker, &pepper, addresses).await;
    let mappings = found.map_err(|error| match error {
        PeppersError::OtherPepper { pepper } => {
            let text = "pepper is not the present one: it is `lookup_pepper` now";
            let mut error = MatrixError::new(StatusCode::BAD_REQUEST, "M_INVALID_PEPPER", text);
            error.more.insert("algorithm".into(), json!(SHA256));
            error.more.insert("lookup_pepper".into(), json!(pepper));
            error
        }
        PeppersError::Directory(error) => MatrixError::of(public, error),
    })?;
    Ok(whole(StatusCode::OK, &json!({ "mappings": mappings })))
}

/// 32 bytes take 43 digits of base64.
fn is_hash(text: &str) -> bool {
    let is_digit = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    text.len() == 43 && text.bytes().all(is_digit)
}

/// Whose token the request has; counted.
fn caller(Face { public, homeservers }: &Face, parts: &Parts) -> Result<Caller, MatrixError> {
    let in_header = single(parts, header::AUTHORIZATION).map_err(|_| MatrixError::unauthorised())?;
    let in_header =
        in_header.and_then(|value| value.to_str().ok()?.strip_prefix("Bearer ").map(str::to_owned));
    let in_query = || {
        let query = parts.uri.query().unwrap_or_default();
        let pair = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "access_token");
        pair.map(|(_, token)| token.into_owned())
    };
    let token = in_header.or_else(in_query).map(Zeroizing::new).ok_or_else(MatrixError::unauthorised)?;
    let account = public.discovery.matrix_account(&token).map_err(|error| MatrixError::of(public, error))?;
    let account = account.ok_or_else(MatrixError::unauthorised)?;
    let server = account.as_str().split_once(':').map_or("", |(_, server)| server).to_owned();
    // It may have been taken out since.
    if !homeservers.is_known(&server) {
        return Err(MatrixError::unauthorised());
    }
    let provider = format!("matrix:{server}");
    let caller = Caller { account, provider, address: Some(public.address(parts)) };
    let counted = public.discovery.count_call(&caller);
    counted.map_err(|limited| MatrixError::of(public, LookupError::from(limited)))?;
    Ok(caller)
}

async fn json_body<T: DeserializeOwned>(
    public: &Public,
    body: Body,
    wanted: &'static str,
) -> Result<T, MatrixError> {
    let limits = BodyLimits { bytes: MOST.min(public.limits.bytes), time: public.limits.time };
    let body = body::read(body, limits).await.map_err(|unread| match unread {
        Unread::TooLarge => {
            let text = "the body is larger than what may be asked takes";
            MatrixError::new(StatusCode::PAYLOAD_TOO_LARGE, "M_TOO_LARGE", text)
        }
        Unread::TooSlow => {
            MatrixError::new(StatusCode::REQUEST_TIMEOUT, "M_UNKNOWN", "the body came too slowly")
        }
        Unread::Broken => MatrixError::new(StatusCode::BAD_REQUEST, "M_NOT_JSON", "the body broke off"),
    })?;
    serde_json::from_slice(&body).map_err(|error| {
        let code = match error.classify() {
            Category::Data => "M_BAD_JSON",
            Category::Io | Category::Syntax | Category::Eof => "M_NOT_JSON",
        };
        MatrixError::new(StatusCode::BAD_REQUEST, code, wanted)
    })
}

fn whole(status: StatusCode, body: &impl Serialize) -> Response {
    let body = serde_json::to_vec(body).unwrap_or_default();
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
    (status, headers, body).into_response()
}

/// A failure that is about no field.
pub(super) fn failure(status: StatusCode, message: &'static str) -> Response {
    let mut response = MatrixError::new(status, "M_UNKNOWN", message).into_response();
    // It is made where the router does not see it, and pages are to read it all the same.
    response.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    response
}

/// What the metrics call a path under [`PREFIX`].
pub(super) fn label(path: &str) -> &'static str {
    match path.strip_prefix(PREFIX) {
        Some("v2/account/register") => "matrix_register",
        Some("v2/account") => "matrix_account",
        Some("v2/terms") => "matrix_terms",
        Some("v2/hash_details") => "matrix_hash_details",
        Some("v2/lookup") => "matrix_lookup",
        Some("versions" | "v2") => "matrix_versions",
        _ => "unknown",
    }
}
