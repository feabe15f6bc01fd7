//! `POST /v1/credentials/verify`: credentials checked for services in other languages.

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use http::request::Parts;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use zeroize::Zeroizing;

use super::answer;
use super::body::json;
use super::problem::Problem;
use crate::http::body::discard;
use crate::http::face::Public;

/// Credentials as somebody presented them.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Presented {
    /// The audience that they have to be for; the first that there is if it is left out.
    #[schema(example = "discovery")]
    audience: Option<String>,
    /// The username.
    #[schema(example = "88b8578c4870f3b089fb")]
    username: String,
    /// The password.
    #[schema(example = "1633738643:a15634294d48dfae69b9")]
    password: String,
}

/// Whether they are good.
#[derive(Serialize, ToSchema)]
struct Checked {
    /// Signed by this audience's key and not too old. If not, nothing says why.
    valid: bool,
    /// When they were issued, in Unix seconds; only if they are good.
    #[serde(skip_serializing_if = "Option::is_none")]
    issued_at: Option<u64>,
    /// The last second in which they are good, in Unix seconds; only if they are good.
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<u64>,
}

/// Bytes of the largest body.
const MOST: usize = 16 * 1024;

/// Check credentials
///
/// For services that do not hold the audience's key. The caller is a back end with an API key.
#[utoipa::path(
    post,
    path = "/v1/credentials/verify",
    tag = "credentials",
    security(("api_key" = [])),
    request_body(content = Presented, content_type = "application/json"),
    responses(
        (status = 200, description = "Whether they are good", body = Checked),
        (status = 400, description = "The body is not as it should be", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "No API key of a back end", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "This service has no such audience, or checks no credentials", body = Problem, content_type = "application/problem+json"),
        (status = 408, description = "The body came too slowly", body = Problem, content_type = "application/problem+json"),
        (status = 413, description = "The body is larger than 16 KiB", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn check(
    State(public): State<Public>,
    parts: Parts,
    body: Body,
) -> Result<Response, Problem> {
    if let Err(error) = public.back_end(&parts) {
        discard(body).await;
        return Err(error.into());
    }
    let wanted =
        "the body must be a JSON object with `username` and `password`, both text, and perhaps `audience`";
    let Presented { audience, username, password } = json(&public, body, MOST, wanted).await?;
    let password = Zeroizing::new(password);
    let checked = public.discovery.check_credentials(audience.as_deref(), &username, &password);
    let checked = checked.map_err(|error| public.problem(error))?;
    Ok(answer(&Checked {
        valid: checked.is_some(),
        issued_at: checked.as_ref().map(|checked| checked.issued_at),
        expires_at: checked.as_ref().map(|checked| checked.expires_at),
    }))
}
