//! `/v1/directory/verifications` and `/v1/directory/listings`: what a person does with the directory.

use acquaint_service::directory::ListingView;
use acquaint_service::{Caller, Millis};
use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::Response;
use http::StatusCode;
use http::request::Parts;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use zeroize::Zeroizing;

use super::body::json;
use super::problem::Problem;
use super::{answer, answer_with};
use crate::http::body::discard;
use crate::http::face::Public;

/// Bytes of the largest body.
const MOST: usize = 16 * 1024;

/// An identifier to verify.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewVerification {
    /// A phone number in international form, or an e-mail address where this service takes those.
    #[schema(example = "+12125550123")]
    identifier: String,
}

/// A code that came.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Confirmation {
    /// What it was sent to.
    #[schema(example = "+12125550123")]
    identifier: String,
    /// The six digits that were sent last.
    #[schema(example = "123456")]
    code: String,
}

/// The account owns the identifier.
#[derive(Serialize, ToSchema)]
struct Confirmed {
    /// Good for one listing.
    token: String,
    /// Until when, in Unix seconds.
    expires_at: Millis,
}

/// A listing to put up.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewListing {
    /// The token of a verification for the directory.
    token: String,
    /// What the account is called, for lookups that tell a name: 1 to 64 bytes without spaces.
    #[schema(max_length = 64, example = "ada")]
    username: Option<String>,
    /// Which of the identifier's mappings to be: an identifier may have several, and buckets show that of index 0 alone.
    #[serde(default)]
    #[schema(default = 0)]
    index: u8,
}

/// A listing.
#[derive(Serialize, ToSchema)]
struct Listing {
    /// What to withdraw it by: 32 hexadecimal digits.
    #[schema(example = "0f1e2d3c4b5a69788796a5b4c3d2e1f0")]
    id: String,
    /// The identifier in canonical form.
    #[schema(example = "+12125550123")]
    identifier: String,
    /// What the account is called, if it gave a name.
    #[serde(skip_serializing_if = "Option::is_none")]
    username: Option<String>,
    /// Which of the identifier's mappings it is; left out if 0.
    #[serde(skip_serializing_if = "is_first")]
    #[schema(default = 0)]
    index: u8,
    /// When the identifier was verified, in Unix seconds.
    verified_at: Millis,
    /// When the listing ends unless it is verified again, in Unix seconds.
    expires_at: Millis,
}

/// All listings of the account.
#[derive(Serialize, ToSchema)]
struct Listings {
    /// The oldest verification first.
    listings: Vec<Listing>,
}

/// What was withdrawn.
#[derive(Serialize, ToSchema)]
struct Withdrawn {
    /// How many listings.
    withdrawn: u32,
}

/// Send a code for a listing
///
/// The code is good for the directory alone: it starts no import of contacts.
#[utoipa::path(
    post,
    path = "/v1/directory/verifications",
    tag = "directory",
    security(("session" = [])),
    request_body(content = NewVerification, content_type = "application/json"),
    responses(
        (status = 202, description = "A code was sent"),
        (status = 400, description = "The body or the identifier is not as it should be", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "No valid session", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "This service has no directory", body = Problem, content_type = "application/problem+json"),
        (status = 429, description = "Too many codes or guesses", body = Problem, content_type = "application/problem+json",
            headers(("retry-after" = i64, description = "Seconds until another is sent"))),
        (status = 503, description = "The code could not be sent, or the session not be checked", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn start(
    State(public): State<Public>,
    parts: Parts,
    body: Body,
) -> Result<Response, Problem> {
    let (caller, body) = caller(&public, &parts, body, "startListing").await?;
    let wanted = "the body must be a JSON object with `identifier`, a phone number or an e-mail address";
    let NewVerification { identifier } = json(&public, body, MOST, wanted).await?;
    let identifier = Zeroizing::new(identifier);
    let started = public.discovery.start_listing(&caller.account, &identifier).await;
    started.map_err(|error| public.problem(error))?;
    Ok(answer_with(StatusCode::ACCEPTED, &serde_json::json!({})))
}

/// Exchange a code for a token
///
/// The token is good for one listing. What is wrong with a code is not told: it is the six digits that were sent last.
#[utoipa::path(
    post,
    path = "/v1/directory/verifications/confirm",
    tag = "directory",
    security(("session" = [])),
    request_body(content = Confirmation, content_type = "application/json"),
    responses(
        (status = 200, description = "The account owns the identifier", body = Confirmed),
        (status = 400, description = "The body, the identifier or the code is not as it should be", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "No valid session", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "This service has no directory", body = Problem, content_type = "application/problem+json"),
        (status = 429, description = "Too many guesses", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The session cannot be checked", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn confirm(
    State(public): State<Public>,
    parts: Parts,
    body: Body,
) -> Result<Response, Problem> {
    let (caller, body) = caller(&public, &parts, body, "confirmListing").await?;
    let wanted = "the body must be a JSON object with `identifier` and `code`, both text";
    let Confirmation { identifier, code } = json(&public, body, MOST, wanted).await?;
    let (identifier, code) = (Zeroizing::new(identifier), Zeroizing::new(code));
    let confirmed = public.discovery.confirm_listing(&caller.account, &identifier, &code).await;
    let (token, expires_at) = confirmed.map_err(|error| public.problem(error))?;
    Ok(answer(&Confirmed { token, expires_at: expires_at / 1000 }))
}

/// List the account under a verified identifier
///
/// From then on whoever knows the identifier finds the account. Another account's listing of it, which was verified earlier,
/// is gone.
#[utoipa::path(
    post,
    path = "/v1/directory/listings",
    tag = "directory",
    security(("session" = [])),
    request_body(content = NewListing, content_type = "application/json"),
    responses(
        (status = 201, description = "It stands", body = Listing),
        (status = 400, description = "The body or the token is not as it should be", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "No valid session", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "This service has no directory", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "Another account has verified the identifier since, or there are too many listings", body = Problem, content_type = "application/problem+json"),
        (status = 429, description = "Too many calls", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The directory or the session cannot be used now", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn enrol(
    State(public): State<Public>,
    parts: Parts,
    body: Body,
) -> Result<Response, Problem> {
    let (caller, body) = caller(&public, &parts, body, "enrol").await?;
    let wanted = "the body must be a JSON object with `token`, and perhaps `username`, both text, and `index`, 0 to 255";
    let NewListing { token, username, index } = json(&public, body, MOST, wanted).await?;
    let enrolled = public.discovery.enrol(&caller.account, &token, username.as_deref(), index).await;
    let view = enrolled.map_err(|error| public.problem(error))?;
    Ok(answer_with(StatusCode::CREATED, &listing(view)))
}

/// Show the account's own listings
#[utoipa::path(
    get,
    path = "/v1/directory/listings",
    tag = "directory",
    security(("session" = [])),
    responses(
        (status = 200, description = "All of them", body = Listings),
        (status = 401, description = "No valid session", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "This service has no directory", body = Problem, content_type = "application/problem+json"),
        (status = 429, description = "Too many calls", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The directory or the session cannot be used now", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn list(State(public): State<Public>, parts: Parts) -> Result<Response, Problem> {
    let (caller, _) = caller(&public, &parts, Body::empty(), "getListings").await?;
    let views = public.discovery.listings(&caller.account).await;
    let views = views.map_err(|error| public.problem(error))?;
    Ok(answer(&Listings { listings: views.into_iter().map(listing).collect() }))
}

/// Withdraw all listings of the account
///
/// They are gone here when this answers, and everywhere within a minute.
#[utoipa::path(
    delete,
    path = "/v1/directory/listings",
    tag = "directory",
    security(("session" = [])),
    responses(
        (status = 200, description = "How many there were", body = Withdrawn),
        (status = 401, description = "No valid session", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "This service has no directory", body = Problem, content_type = "application/problem+json"),
        (status = 429, description = "Too many calls", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The directory or the session cannot be used now", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn withdraw_all(State(public): State<Public>, parts: Parts) -> Result<Response, Problem> {
    let (caller, _) = caller(&public, &parts, Body::empty(), "withdraw").await?;
    let withdrawn = public.discovery.withdraw(&caller.account, None).await;
    Ok(answer(&Withdrawn { withdrawn: withdrawn.map_err(|error| public.problem(error))? }))
}

/// Withdraw a listing
///
/// It is gone here when this answers, and everywhere within a minute. None of that id is withdrawn already.
#[utoipa::path(
    delete,
    path = "/v1/directory/listings/{id}",
    tag = "directory",
    params(("id" = String, Path, description = "The listing's id", pattern = "^[0-9a-f]{32}$")),
    security(("session" = [])),
    responses(
        (status = 200, description = "How many there were: 1 or 0", body = Withdrawn),
        (status = 400, description = "The id is not as it should be", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "No valid session", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "This service has no directory", body = Problem, content_type = "application/problem+json"),
        (status = 429, description = "Too many calls", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The directory or the session cannot be used now", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn withdraw(
    State(public): State<Public>,
    Path(id): Path<String>,
    parts: Parts,
) -> Result<Response, Problem> {
    let (caller, _) = caller(&public, &parts, Body::empty(), "withdraw").await?;
    let mut bytes = [0; 16];
    let is_lower = !id.bytes().any(|byte| byte.is_ascii_uppercase());
    if hex::decode_to_slice(&id, &mut bytes).is_err() || !is_lower {
        return Err(Problem::invalid("id must be 32 hexadecimal digits in lower case, as a listing has it"));
    }
    let withdrawn = public.discovery.withdraw(&caller.account, Some(bytes)).await;
    Ok(answer(&Withdrawn { withdrawn: withdrawn.map_err(|error| public.problem(error))? }))
}

/// Who calls for themselves; counted. Gives the body back, which is thrown away if nobody is known.
async fn caller(public: &Public, parts: &Parts, body: Body, method: &str) -> Result<(Caller, Body), Problem> {
    let known = async {
        public.discovery.has_directory().map_err(|error| public.problem(error))?;
        let caller = public.caller(parts, &format!("{}.{method}", public.lxm_prefix)).await;
        let caller = caller.map_err(|error| public.no_caller(error))?;
        let counted = public.discovery.count_call(&caller);
        counted.map_err(|limited| Problem::rate_limited(limited, public.discovery.now()))?;
        Ok(caller)
    };
    match known.await {
        Ok(caller) => Ok((caller, body)),
        Err(problem) => {
            discard(body).await;
            Err(problem)
        }
    }
}

fn listing(view: ListingView) -> Listing {
    let ListingView { id, identifier, username, index, verified_at, expires_at } = view;
    // `tel:` and `mailto:` are ours: a person knows the identifier without.
    let (_, bare) = identifier.as_str().split_once(':').unwrap_or_default();
    Listing {
        id: hex::encode(id),
        identifier: bare.to_owned(),
        username,
        index,
        verified_at: verified_at / 1000,
        expires_at: expires_at / 1000,
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "what serde calls it with")]
fn is_first(index: &u8) -> bool {
    *index == 0
}
