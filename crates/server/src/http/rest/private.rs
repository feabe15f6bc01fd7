//! `/v1/discovery/`: private lookup, as `docs/protocol/lookup.md` has it. Bodies are bytes.

use acquaint_protocol::identifier::Sii;
use acquaint_protocol::lookup::parameters::Published;
use acquaint_protocol::lookup::wire::{
    ANSWER_HEADER_BYTES, AnswerHeader, KeysAnswer, OprfAnswer, OprfRequest, QueryHeader, WireError,
};
use acquaint_protocol::oprf::{BlindedElement, ElementError};
use acquaint_service::directory::{Answers, Evaluation};
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use futures::{StreamExt, stream};
use http::request::Parts;
use http::{HeaderValue, StatusCode, header};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::answer;
use super::body::{json, raw};
use super::buckets::seeker;
use super::problem::Problem;
use crate::http::body::discard;
use crate::http::face::Public;

/// Bytes of the largest body: evaluation keys, 10,000 elements, or 256 queries.
const MOST: usize = 1024 * 1024;

/// Show the parameters of private lookup
///
/// One for each mode that is switched on, signed by the provider, whose key clients pin; the same for everybody.
#[utoipa::path(
    get,
    path = "/v1/discovery/parameters",
    tag = "private lookup",
    responses(
        (status = 200, description = "The parameters, for a minute at most", body = serde_json::Value),
        (status = 404, description = "This service has no private lookup", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "Shards are being made", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn parameters(State(public): State<Public>) -> Result<Response, Problem> {
    let modes = public.discovery.private_parameters().await.map_err(|error| public.problem(error))?;
    let mut response = answer(&Published { modes });
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=30"));
    Ok(response)
}

/// Evaluate blinded identifiers for private set membership
///
/// The service learns nothing of them; each counts as an identifier that is looked up. Bytes as in docs/protocol/lookup.md.
#[utoipa::path(
    post,
    path = "/v1/discovery/oprf",
    tag = "private lookup",
    security(("session" = []), ("credentials" = [])),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses(
        (status = 200, description = "Evaluated elements and a proof", body = Vec<u8>, content_type = "application/octet-stream"),
        (status = 400, description = "The body is not as it should be", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "No valid session, or no good credentials", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "This service has no private set membership", body = Problem, content_type = "application/problem+json"),
        (status = 408, description = "The body came too slowly", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "Another epoch: EPOCH_CHANGED", body = Problem, content_type = "application/problem+json"),
        (status = 413, description = "The body is larger than what may be asked takes", body = Problem, content_type = "application/problem+json"),
        (status = 429, description = "The quota is used up", body = Problem, content_type = "application/problem+json",
            headers(("retry-after" = i64, description = "Seconds until the same request fits"))),
        (status = 503, description = "Shards, session or limits cannot be used now", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn oprf(
    State(public): State<Public>,
    parts: Parts,
    body: Body,
) -> Result<Response, Problem> {
    let (seeker, body) =
        seeker(&public, &parts, body, ("evaluatePrivate", public.discovery.has_private_lookup())).await?;
    let body = raw(&public, body, MOST).await?;
    let OprfRequest { epoch, request, elements } = OprfRequest::decode(&body).map_err(unreadable)?;
    let count = elements.len();
    public.discovery.check_batch("elements", count).map_err(|error| public.problem(error))?;
    let element = |(at, bytes): (usize, &[u8; 32])| {
        BlindedElement::from_bytes(bytes)
            .map_err(|error: ElementError| Problem::invalid(format!("elements: entry {at}: {error}")))
    };
    let elements = elements.iter().enumerate().map(element).collect::<Result<Vec<_>, _>>()?;
    let evaluation = public.discovery.evaluate_private(&seeker, epoch, elements, request).await;
    let Evaluation { elements, proof } = evaluation.map_err(|error| public.problem(error))?;
    let elements = elements.iter().map(|element| element.0).collect();
    let encoded = OprfAnswer { epoch, elements, proof: proof.0 }.encode();
    Ok(bytes(encoded.map_err(unreadable)?))
}

/// Send a session's evaluation keys
///
/// They are kept in memory for a day at most, beside three others of the account, and count as a query.
#[utoipa::path(
    put,
    path = "/v1/discovery/keys",
    tag = "private lookup",
    security(("session" = []), ("credentials" = [])),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses(
        (status = 200, description = "What queries name them by, and until when", body = Vec<u8>, content_type = "application/octet-stream"),
        (status = 400, description = "These are no evaluation keys", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "No valid session, or no good credentials", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "This service has no private lookup", body = Problem, content_type = "application/problem+json"),
        (status = 408, description = "The body came too slowly", body = Problem, content_type = "application/problem+json"),
        (status = 413, description = "The body is larger than evaluation keys are", body = Problem, content_type = "application/problem+json"),
        (status = 429, description = "The quota is used up", body = Problem, content_type = "application/problem+json",
            headers(("retry-after" = i64, description = "Seconds until the same request fits"))),
        (status = 503, description = "There is no room, or shards, session or limits cannot be used now", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn keys(
    State(public): State<Public>,
    parts: Parts,
    body: Body,
) -> Result<Response, Problem> {
    let (seeker, body) =
        seeker(&public, &parts, body, ("putKeys", public.discovery.has_private_lookup())).await?;
    let body = raw(&public, body, MOST).await?;
    let kept = public.discovery.keep_keys(&seeker, body.into()).await;
    let kept = kept.map_err(|error| public.problem(error))?;
    Ok(bytes(KeysAnswer { id: kept.id, expires_at: kept.expires_at }.encode()))
}

/// Query a shard
///
/// Each query counts as work, and in mode pir as an identifier. Answers are sent as they are computed, all of one size.
#[utoipa::path(
    post,
    path = "/v1/discovery/query",
    tag = "private lookup",
    security(("session" = []), ("credentials" = [])),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses(
        (status = 200, description = "The answers, in the order of the queries", body = Vec<u8>, content_type = "application/octet-stream"),
        (status = 400, description = "The body is not as it should be", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "No valid session, or no good credentials", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "This service has no such mode", body = Problem, content_type = "application/problem+json"),
        (status = 408, description = "The body came too slowly", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "EPOCH_CHANGED, LAYOUT_CHANGED or KEYS_UNKNOWN", body = Problem, content_type = "application/problem+json"),
        (status = 413, description = "The body is larger than what may be asked takes", body = Problem, content_type = "application/problem+json"),
        (status = 421, description = "Another server has the shard: SHARD_ELSEWHERE", body = Problem, content_type = "application/problem+json"),
        (status = 429, description = "The quota is used up", body = Problem, content_type = "application/problem+json",
            headers(("retry-after" = i64, description = "Seconds until the same request fits"))),
        (status = 503, description = "Shards, session or limits cannot be used now", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn query(
    State(public): State<Public>,
    parts: Parts,
    body: Body,
) -> Result<Response, Problem> {
    let (seeker, body) =
        seeker(&public, &parts, body, ("queryShard", public.discovery.has_private_lookup())).await?;
    let body = raw(&public, body, MOST).await?;
    let (header, queries) = QueryHeader::decode(&body).map_err(unreadable)?;
    let count = header.count;
    let answers = public.discovery.answer_queries(&seeker, header, queries.to_vec()).await;
    let Answers { each, answers } = answers.map_err(|error| public.problem(error))?;
    let length = ANSWER_HEADER_BYTES + usize::from(count) * each;
    let header = stream::once(async move { Ok(Bytes::from(AnswerHeader { count }.encode().to_vec())) });
    // What fails in the middle breaks off: the status has gone out.
    let answers = header.chain(answers.map(|answer| answer.map(Bytes::from)));
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (header::CONTENT_LENGTH, HeaderValue::from(length)),
    ];
    Ok((headers, Body::from_stream(answers)).into_response())
}

/// What a back end wants to know.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct AskedInClear {
    /// Phone numbers in international form and e-mail addresses.
    #[schema(min_items = 1, max_items = 10000)]
    identifiers: Vec<String>,
    /// Which of an identifier's accounts; the first without it.
    #[schema(example = 0)]
    index: Option<u8>,
}

/// Who was found.
#[derive(Serialize, ToSchema)]
struct FoundInClear {
    /// In the order of the request.
    found: Vec<KnownAccount>,
}

/// An account.
#[derive(Serialize, ToSchema)]
struct KnownAccount {
    /// The identifier in canonical form.
    identifier: String,
    /// Its account.
    account: String,
}

/// Look identifiers up in the clear
///
/// For a back end of the sender's own platform, where the operator has switched it on: this service learns who is asked for.
#[utoipa::path(
    post,
    path = "/v1/discovery/lookup",
    tag = "private lookup",
    security(("session" = [])),
    request_body(content = AskedInClear, content_type = "application/json"),
    responses(
        (status = 200, description = "Who was found", body = FoundInClear),
        (status = 400, description = "The body is not as it should be", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "No back end's API key with an account", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "This service does not answer in the clear", body = Problem, content_type = "application/problem+json"),
        (status = 408, description = "The body came too slowly", body = Problem, content_type = "application/problem+json"),
        (status = 413, description = "The body is larger than what may be asked takes", body = Problem, content_type = "application/problem+json"),
        (status = 421, description = "Another server has a shard: SHARD_ELSEWHERE", body = Problem, content_type = "application/problem+json"),
        (status = 429, description = "The quota is used up", body = Problem, content_type = "application/problem+json",
            headers(("retry-after" = i64, description = "Seconds until the same request fits"))),
        (status = 503, description = "Shards, session or limits cannot be used now", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn lookup(
    State(public): State<Public>,
    parts: Parts,
    body: Body,
) -> Result<Response, Problem> {
    let known = match public.discovery.has_plain_lookup() {
        Err(error) => Err(public.problem(error)),
        Ok(()) => match public.back_end(&parts) {
            Err(error) => Err(error.into()),
            Ok(()) => public.seeker(&parts, "lookUp", Ok(None)).await,
        },
    };
    let seeker = match known {
        Ok(seeker) => seeker,
        Err(problem) => {
            discard(body).await;
            return Err(problem);
        }
    };
    let wanted = "the body must be a JSON object with `identifiers`, a list of texts";
    let AskedInClear { identifiers, index } = json(&public, body, MOST, wanted).await?;
    public.discovery.check_batch("identifiers", identifiers.len()).map_err(|error| public.problem(error))?;
    let parsed = identifiers.iter().enumerate().map(|(at, text)| {
        let sii = public.discovery.canonical(text);
        sii.ok_or_else(|| {
            Problem::invalid(format!(
                "identifiers: entry {at}: must be a phone number in international form, as +12125550123, or an e-mail \
                 address"
            ))
        })
    });
    let asked: Vec<Sii> = parsed.collect::<Result<_, _>>()?;
    let index = index.unwrap_or(0);
    let wanted = asked.iter().map(|sii| (sii.clone(), index)).collect();
    let found = public.discovery.plain_lookup(&seeker, wanted).await;
    let found = found.map_err(|error| public.problem(error))?.into_iter().filter_map(|found| {
        let identifier = asked.get(found.at)?.as_str().to_owned();
        Some(KnownAccount { identifier, account: found.account })
    });
    Ok(answer(&FoundInClear { found: found.collect() }))
}

fn unreadable(error: WireError) -> Problem {
    Problem::invalid(error.to_string())
}

fn bytes(body: Vec<u8>) -> Response {
    let headers = [(header::CONTENT_TYPE, "application/octet-stream"), (header::CACHE_CONTROL, "no-store")];
    (StatusCode::OK, headers, body).into_response()
}
