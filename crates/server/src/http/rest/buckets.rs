//! `/v1/directory/parameters`, `/oprf` and `/buckets`: lookups in sealed buckets, as `docs/protocol/directory.md` has them.

use acquaint_protocol::bucket::parameters::Parameters;
use acquaint_protocol::oprf::{BlindedElement, ElementError};
use acquaint_service::Seeker;
use acquaint_service::directory::{BucketAnswer, DirectoryError, Evaluation, MAX_AGE};
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::request::Parts;
use http::{HeaderValue, header};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::answer;
use super::body::json;
use super::problem::Problem;
use crate::http::body::discard;
use crate::http::face::Public;

/// Bytes of the largest body: 10,000 elements, which is the most that the configuration allows.
const MOST: usize = 1024 * 1024;

/// What is to be evaluated.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Blinded {
    /// The epoch of the parameters.
    #[schema(example = 1)]
    epoch: u32,
    /// Blinded elements (RFC 9497): 32 bytes each, in base64url without padding.
    #[schema(min_items = 1, max_items = 10000)]
    elements: Vec<String>,
    /// 16 random bytes in base64url without padding: the same request again is free.
    #[schema(example = "AAECAwQFBgcICQoLDA0ODw")]
    request: Option<String>,
}

/// What became of it.
#[derive(Serialize, ToSchema)]
struct Evaluated {
    /// The epoch.
    epoch: u32,
    /// Evaluated elements, in the order of the blinded ones.
    elements: Vec<String>,
    /// One proof for all of them: 64 bytes.
    proof: String,
}

/// What buckets are wanted.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Wanted {
    /// The epoch of the parameters.
    #[schema(example = 1)]
    epoch: u32,
    /// The layout of the parameters.
    #[schema(example = 1)]
    layout: u32,
    /// Prefixes: whole numbers below 2^`prefix_bits`.
    #[schema(min_items = 1, max_items = 10000)]
    prefixes: Vec<u32>,
    /// 16 random bytes in base64url without padding: the same request again is free.
    #[schema(example = "AAECAwQFBgcICQoLDA0ODw")]
    request: Option<String>,
}

/// Show the parameters of sealed buckets
///
/// Signed by the provider, whose key clients pin; the same for everybody.
#[utoipa::path(
    get,
    path = "/v1/directory/parameters",
    tag = "directory",
    responses(
        (status = 200, description = "The parameters, for a minute at most", body = serde_json::Value),
        (status = 404, description = "This service has no directory", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The directory cannot be used now", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn parameters(State(public): State<Public>) -> Result<Response, Problem> {
    let parameters = public.discovery.bucket_parameters().await;
    let parameters: Parameters = parameters.map_err(|error| public.problem(error))?;
    let mut response = answer(&parameters);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=30"));
    Ok(response)
}

/// Evaluate blinded identifiers
///
/// The service learns nothing of them; each counts as an identifier that is looked up.
#[utoipa::path(
    post,
    path = "/v1/directory/oprf",
    tag = "directory",
    security(("session" = []), ("credentials" = [])),
    request_body(content = Blinded, content_type = "application/json"),
    responses(
        (status = 200, description = "Evaluated, with a proof", body = Evaluated),
        (status = 400, description = "The body is not as it should be", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "No valid session, or no good credentials", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "This service has no directory", body = Problem, content_type = "application/problem+json"),
        (status = 408, description = "The body came too slowly", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "Another epoch: EPOCH_CHANGED", body = Problem, content_type = "application/problem+json"),
        (status = 413, description = "The body is larger than what may be asked takes", body = Problem, content_type = "application/problem+json"),
        (status = 429, description = "The quota is used up", body = Problem, content_type = "application/problem+json",
            headers(("retry-after" = i64, description = "Seconds until the same request fits"))),
        (status = 503, description = "Directory, session or limits cannot be used now", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn oprf(
    State(public): State<Public>,
    parts: Parts,
    body: Body,
) -> Result<Response, Problem> {
    let (seeker, body) =
        seeker(&public, &parts, body, ("evaluate", public.discovery.has_directory())).await?;
    let wanted =
        "the body must be a JSON object with `epoch`, a whole number, and `elements`, a list of texts";
    let Blinded { epoch, elements, request } = json(&public, body, MOST, wanted).await?;
    let request = request_id(request)?;
    public.discovery.check_batch("elements", elements.len()).map_err(|error| public.problem(error))?;
    let element = |(at, text): (usize, String)| {
        let bytes = URL_SAFE_NO_PAD.decode(&text).map_err(|_| bad_element(at, ElementError::Length))?;
        BlindedElement::from_bytes(&bytes).map_err(|error| bad_element(at, error))
    };
    let elements = elements.into_iter().enumerate().map(element).collect::<Result<Vec<_>, _>>()?;
    let evaluation = public.discovery.evaluate(&seeker, epoch, elements, request).await;
    let Evaluation { elements, proof } = evaluation.map_err(|error| public.problem(error))?;
    let elements = elements.iter().map(|element| URL_SAFE_NO_PAD.encode(element.0)).collect();
    Ok(answer(&Evaluated { epoch, elements, proof: URL_SAFE_NO_PAD.encode(proof.0) }))
}

/// Fetch buckets
///
/// As many as prefixes, in their order, all of one size whether anybody is found in them or not. Each counts as a query.
#[utoipa::path(
    post,
    path = "/v1/directory/buckets",
    tag = "directory",
    security(("session" = []), ("credentials" = [])),
    request_body(content = Wanted, content_type = "application/json"),
    responses(
        (status = 200, description = "The buckets, as docs/protocol/directory.md writes them; to be kept for max-age at most", body = Vec<u8>, content_type = "application/octet-stream"),
        (status = 400, description = "The body is not as it should be", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "No valid session, or no good credentials", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "This service has no directory", body = Problem, content_type = "application/problem+json"),
        (status = 408, description = "The body came too slowly", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "Another epoch or layout: EPOCH_CHANGED, LAYOUT_CHANGED", body = Problem, content_type = "application/problem+json"),
        (status = 413, description = "The body is larger than what may be asked takes", body = Problem, content_type = "application/problem+json"),
        (status = 429, description = "The quota is used up", body = Problem, content_type = "application/problem+json",
            headers(("retry-after" = i64, description = "Seconds until the same request fits"))),
        (status = 503, description = "Directory, session or limits cannot be used now", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn buckets(
    State(public): State<Public>,
    parts: Parts,
    body: Body,
) -> Result<Response, Problem> {
    let (seeker, body) =
        seeker(&public, &parts, body, ("getBuckets", public.discovery.has_directory())).await?;
    let wanted = "the body must be a JSON object with `epoch` and `layout`, and `prefixes`, a list of whole \
                  numbers below 2^prefix_bits";
    let Wanted { epoch, layout, prefixes, request } = json(&public, body, MOST, wanted).await?;
    let request = request_id(request)?;
    let answer = public.discovery.buckets(&seeker, (epoch, layout), prefixes, request).await;
    let BucketAnswer(bytes) = answer.map_err(|error| public.problem(error))?;
    let age = format!("private, max-age={}", MAX_AGE.as_secs());
    let headers = [(header::CONTENT_TYPE, "application/octet-stream"), (header::CACHE_CONTROL, age.as_str())];
    Ok((headers, bytes).into_response())
}

/// Who looks up, where there is what they ask for. Gives the body back, which is thrown away if nobody is known.
pub(super) async fn seeker(
    public: &Public,
    parts: &Parts,
    body: Body,
    (method, is_there): (&str, Result<(), DirectoryError>),
) -> Result<(Seeker, Body), Problem> {
    let known = match is_there {
        Ok(()) => public.seeker(parts, method, Ok(None)).await,
        Err(error) => Err(public.problem(error)),
    };
    match known {
        Ok(seeker) => Ok((seeker, body)),
        Err(problem) => {
            discard(body).await;
            Err(problem)
        }
    }
}

fn request_id(text: Option<String>) -> Result<Option<[u8; 16]>, Problem> {
    let Some(text) = text else { return Ok(None) };
    let bytes = URL_SAFE_NO_PAD.decode(text).ok().and_then(|bytes| bytes.try_into().ok());
    bytes
        .map(Some)
        .ok_or_else(|| Problem::invalid("request must be 16 random bytes in base64url without padding"))
}

fn bad_element(at: usize, error: ElementError) -> Problem {
    Problem::invalid(format!("elements: entry {at}: {error}; in base64url without padding"))
}
