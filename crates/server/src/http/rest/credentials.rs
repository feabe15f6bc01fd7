//! `GET /v1/contact-discovery/credentials` (seed 001).

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::Response;
use http::request::Parts;
use http::{Method, StatusCode};
use serde::Serialize;
use utoipa::ToSchema;

use super::problem::Problem;
use super::{Whom, answer, whom};
use crate::http::face::Public;

/// Credentials for a discovery service.
#[derive(Serialize, ToSchema)]
struct Credentials<'a> {
    /// The account's lasting pseudonym at this audience.
    #[schema(example = "88b8578c4870f3b089fb")]
    username: &'a str,
    /// Good for the time that the operator has set, 24 hours as a rule.
    #[schema(example = "1633738643:a15634294d48dfae69b9")]
    password: &'a str,
}

/// Issue credentials for a discovery service
///
/// Username and password, bound to the account and good for a time that the server decides. Signal's format.
#[utoipa::path(
    get,
    path = "/v1/contact-discovery/credentials",
    tag = "credentials",
    params(Whom),
    security(("session" = [])),
    responses(
        (status = 200, description = "Credentials", body = Credentials),
        (status = 400, description = "The query is not as it should be", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "No valid session: CONTACT_DISCOVERY_UNAUTHENTICATED", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "Only accounts with a verified number get credentials here", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "This service has no such audience, or issues no credentials", body = Problem, content_type = "application/problem+json"),
        (status = 429, description = "Too many: CONTACT_DISCOVERY_RATE_LIMITED", body = Problem, content_type = "application/problem+json",
            headers(("retry-after" = i64, description = "Seconds until one will be issued again"))),
        (status = 503, description = "Sessions or limits cannot be checked, so nothing is granted", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn issue(
    State(public): State<Public>,
    parts: Parts,
    query: Result<Query<Whom>, QueryRejection>,
) -> Result<Response, Problem> {
    // HEAD would charge, and lose what it is charged for.
    if parts.method != Method::GET {
        return Err(Problem::failure(StatusCode::METHOD_NOT_ALLOWED, "credentials are had by GET"));
    }
    let caller = public.caller(&parts, &format!("{}.getCredentials", public.lxm_prefix)).await;
    let caller = caller.map_err(|error| public.no_caller(error))?;
    let audience = whom(query)?;
    let issued = public.discovery.issue_credentials(&caller, audience.as_deref()).await;
    let issued = issued.map_err(|error| public.problem(error))?;
    let (username, password) = (&issued.credentials.username, &issued.credentials.password);
    Ok(answer(&Credentials { username, password }))
}
