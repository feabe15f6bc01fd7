//! `GET /v1/lookup/quota`: what is left of an account's meters.

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::Response;
use http::request::Parts;
use serde::Serialize;
use utoipa::ToSchema;

use super::problem::Problem;
use super::{Whom, answer, whom};
use crate::http::face::Public;

/// One meter.
#[derive(Serialize, ToSchema)]
struct Meter {
    /// What it holds.
    capacity: u32,
    /// What comes back in a day, little by little.
    per_day: u32,
    /// What is left now.
    left: u32,
}

/// The meters of an account.
#[derive(Serialize, ToSchema)]
struct Quota {
    /// New identifiers that everybody may look up, whatever others do.
    guaranteed: Meter,
    /// New identifiers beyond; not for accounts without a verified number.
    #[serde(skip_serializing_if = "Option::is_none")]
    identifiers: Option<Meter>,
    /// Queries that are answered, whatever they ask for.
    queries: Meter,
}

/// Show what is left of the meters of lookups
///
/// For a session or for issued credentials. What was paid for once is free again, and costs nothing here.
#[utoipa::path(
    get,
    path = "/v1/lookup/quota",
    tag = "lookups",
    params(Whom),
    security(("session" = []), ("credentials" = [])),
    responses(
        (status = 200, description = "The meters", body = Quota),
        (status = 400, description = "The query is not as it should be", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "No valid session, or no good credentials", body = Problem, content_type = "application/problem+json"),
        (status = 429, description = "Too many calls", body = Problem, content_type = "application/problem+json",
            headers(("retry-after" = i64, description = "Seconds until another call is answered"))),
        (status = 503, description = "The session cannot be checked", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn quota(
    State(public): State<Public>,
    parts: Parts,
    query: Result<Query<Whom>, QueryRejection>,
) -> Result<Response, Problem> {
    let seeker = public.seeker(&parts, "getQuota", whom(query)).await?;
    let quota = public.discovery.lookup_quota(&seeker).await;
    let quota = quota.map_err(|error| public.problem(error))?;
    let meter = |meter: acquaint_service::Meter| Meter {
        capacity: meter.capacity,
        per_day: meter.per_day,
        left: meter.left,
    };
    Ok(answer(&Quota {
        guaranteed: meter(quota.guaranteed),
        identifiers: quota.identifiers.map(meter),
        queries: meter(quota.queries),
    }))
}
