//! Rocket.Chat's lookup by weak hashes, as its page has it (seed 003, `Optimized-Contact-Discovery`). Off by default: the
//! answer is a fast hash of a phone number, which is the number.

use acquaint_protocol::bucket::weak::{Candidate, ContactsFound, QueryContacts, Refused, Weak};
use acquaint_service::Seeker;
use acquaint_service::directory::{DirectoryError, Found};
use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use http::request::Parts;
use http::{HeaderName, HeaderValue, StatusCode, header};

use super::body::{self, BodyLimits, Unread, discard};
use super::face::{NoCaller, Public, single};
use crate::session::SessionError;

/// Bytes of the largest body: 10,000 weak hashes, which is the most that the configuration allows, and room to tell who sends
/// all prefixes there are that these are too many.
const MOST: usize = 1024 * 1024;
/// The path as its clients call it.
pub(super) const PATH: &str = "/api/v1/query.contacts";

const TOKEN: HeaderName = HeaderName::from_static("x-auth-token");
const USER: HeaderName = HeaderName::from_static("x-user-id");

/// Where it is switched off, it answers that there is no such thing.
pub(super) fn router(public: Public) -> Router {
    Router::new().route(PATH, post(query)).method_not_allowed_fallback(wrong_method).with_state(public)
}

async fn wrong_method(body: Body) -> Response {
    discard(body).await;
    failure(StatusCode::METHOD_NOT_ALLOWED, "this lookup takes POST")
}

async fn query(State(public): State<Public>, parts: Parts, body: Body) -> Response {
    match answer(&public, &parts, body).await {
        Ok(answer) => whole(StatusCode::OK, &answer, None),
        Err(refusal) => refusal.into_answer(),
    }
}

async fn answer(public: &Public, parts: &Parts, body: Body) -> Result<ContactsFound, Refusal> {
    let digits = match public.discovery.weak_digits() {
        Ok(digits) => digits,
        Err(_) => {
            discard(body).await;
            return Err(Refusal::new(StatusCode::NOT_FOUND, "this service does not answer this lookup"));
        }
    };
    let seeker = match seeker(public, parts).await {
        Ok(seeker) => seeker,
        Err(refusal) => {
            discard(body).await;
            return Err(refusal);
        }
    };
    let limits = BodyLimits { bytes: MOST.min(public.limits.bytes), time: public.limits.time };
    let body = body::read(body, limits).await.map_err(|unread| match unread {
        Unread::TooLarge => {
            Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "the body is larger than what may be asked takes")
        }
        Unread::TooSlow => Refusal::new(StatusCode::REQUEST_TIMEOUT, "the body came too slowly"),
        Unread::Broken => Refusal::new(StatusCode::BAD_REQUEST, "the body broke off"),
    })?;
    // The page's server reads nothing as an object without members.
    let asked = match body.trim_ascii() {
        [] => Ok(QueryContacts { weak_hashes: None }),
        body => serde_json::from_slice(body),
    };
    let QueryContacts { weak_hashes } = asked.map_err(|_| {
        Refusal::invalid("the body must be a JSON object with weakHashes, a list of texts".into())
    })?;
    let weak_hashes = weak_hashes.ok_or(Refusal {
        status: StatusCode::BAD_REQUEST,
        text: Text::NoHashes,
        retry_after: None,
    })?;
    // Who has no contacts knows nobody here; the page's server takes that as a list like others.
    if weak_hashes.is_empty() {
        return Ok(ContactsFound { strong_hashes: Vec::new(), success: true });
    }
    let hash = |(at, text): (usize, &String)| {
        Weak::parse(text, digits)
            .map_err(|error| Refusal::invalid(format!("weakHashes: entry {at}: {error}")))
    };
    // Before they are counted one by one.
    public.discovery.check_batch("weakHashes", weak_hashes.len()).map_err(|error| refused(public, error))?;
    let hashes = weak_hashes.iter().enumerate().map(hash).collect::<Result<_, _>>()?;
    let found = public.discovery.weak_lookup(&seeker, hashes).await;
    let found = found.map_err(|error| refused(public, error))?;
    let candidate =
        |Found { strong, account, username }| Candidate { h: strong.hex(), u: username, id: account };
    Ok(ContactsFound { strong_hashes: found.into_iter().map(candidate).collect(), success: true })
}

/// Who asks: the session of the token, which has to be the user's that is named.
async fn seeker(public: &Public, parts: &Parts) -> Result<Seeker, Refusal> {
    let unauthorised =
        || Refusal { status: StatusCode::UNAUTHORIZED, text: Text::NotLoggedIn, retry_after: None };
    let header = |name| single(parts, name).ok().flatten().ok_or_else(unauthorised);
    let (token, user) = (header(TOKEN)?, header(USER)?);
    let bearer = [b"Bearer ", token.as_bytes()].concat();
    let mut bearer = HeaderValue::from_bytes(&bearer).map_err(|_| unauthorised())?;
    bearer.set_sensitive(true);
    let caller = public.caller_of(parts, Some(&bearer), None, &format!("{}.query", public.lxm_prefix)).await;
    let caller = caller.map_err(|error| match error {
        NoCaller::Session(SessionError::Refused) => unauthorised(),
        NoCaller::Session(SessionError::Unavailable) => {
            Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "the token cannot be checked at the moment")
        }
        NoCaller::TooMany(limited) => limited_by(public, &limited),
    })?;
    if caller.account.as_str().as_bytes() != user.as_bytes() {
        return Err(unauthorised());
    }
    public.discovery.count_call(&caller).map_err(|limited| limited_by(public, &limited))?;
    public.discovery.seeker(&caller).await.map_err(|error| {
        tracing::error!(error = &error as &dyn std::error::Error, "a part of the service failed");
        Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "internal error")
    })
}

fn limited_by(public: &Public, limited: &acquaint_service::RateLimited) -> Refusal {
    let problem = public.problem(acquaint_service::LookupError::from(*limited));
    Refusal {
        status: StatusCode::TOO_MANY_REQUESTS,
        text: Text::Told(limited.to_string()),
        retry_after: problem.retry_after(),
    }
}

fn refused(public: &Public, error: DirectoryError) -> Refusal {
    let text = error.to_string();
    let problem = public.problem(error);
    Refusal { status: problem.status(), text: Text::Told(text), retry_after: problem.retry_after() }
}

/// Why there is no answer, in the form that clients of this API know.
struct Refusal {
    status: StatusCode,
    text: Text,
    retry_after: Option<i64>,
}

enum Text {
    /// What Rocket.Chat says to those who are not logged in.
    NotLoggedIn,
    /// The parameter is missing.
    NoHashes,
    Told(String),
}

/// What Rocket.Chat's API says to whoever has no good session, in its order.
#[derive(serde::Serialize)]
struct NotLoggedIn {
    status: &'static str,
    message: &'static str,
}

impl NotLoggedIn {
    const DEFAULT: Self = Self { status: "error", message: "You must be logged in to do this." };
}

impl Refusal {
    fn new(status: StatusCode, text: &str) -> Self {
        Self { status, text: Text::Told(text.into()), retry_after: None }
    }

    fn invalid(text: String) -> Self {
        Self { status: StatusCode::BAD_REQUEST, text: Text::Told(text), retry_after: None }
    }

    fn into_answer(self) -> Response {
        let (status, retry_after) = (self.status, self.retry_after);
        match self.text {
            Text::NotLoggedIn => whole(status, &NotLoggedIn::DEFAULT, retry_after),
            Text::NoHashes => whole(status, &Refused::no_weak_hashes(), retry_after),
            Text::Told(error) => whole(status, &Refused::because(error), retry_after),
        }
    }
}

fn whole(status: StatusCode, body: &impl serde::Serialize, retry_after: Option<i64>) -> Response {
    let body = serde_json::to_vec(body).unwrap_or_default();
    let kind = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "private, max-age=30")];
    let mut response = (status, kind, body).into_response();
    let headers = response.headers_mut();
    if !status.is_success() {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    if let Some(seconds) = retry_after {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// A failure that is about no field.
pub(super) fn failure(status: StatusCode, message: &'static str) -> Response {
    Refusal::new(status, message).into_answer()
}
