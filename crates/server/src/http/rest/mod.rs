//! The REST face, `/v1/`: credentials for discovery services, and the meters of lookups. JSON; what is refused is a
//! problem (RFC 9457). [`openapi`] describes it, and `docs/openapi.json` is what it says.

mod body;
mod buckets;
mod check;
mod credentials;
mod listings;
mod private;
pub(super) mod problem;
mod quota;

use axum::Router;
use axum::extract::Query;
use axum::extract::rejection::QueryRejection;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post, put};
use http::{HeaderValue, StatusCode, header};
use serde::{Deserialize, Serialize};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{IntoParams, Modify, OpenApi};

use super::body::discard;
use super::face::Public;
use problem::Problem;

/// Everything under `/v1`.
pub(super) fn router(public: Public) -> Router {
    Router::new()
        .route("/v1/contact-discovery/credentials", get(credentials::issue))
        .route("/v1/credentials/verify", post(check::check))
        .route("/v1/lookup/quota", get(quota::quota))
        .route("/v1/directory/verifications", post(listings::start))
        .route("/v1/directory/verifications/confirm", post(listings::confirm))
        .route(
            "/v1/directory/listings",
            get(listings::list).post(listings::enrol).delete(listings::withdraw_all),
        )
        .route("/v1/directory/listings/{id}", delete(listings::withdraw))
        .route("/v1/directory/parameters", get(buckets::parameters))
        .route("/v1/directory/oprf", post(buckets::oprf))
        .route("/v1/directory/buckets", post(buckets::buckets))
        .route("/v1/discovery/parameters", get(private::parameters))
        .route("/v1/discovery/oprf", post(private::oprf))
        .route("/v1/discovery/keys", put(private::keys))
        .route("/v1/discovery/query", post(private::query))
        .route("/v1/discovery/lookup", post(private::lookup))
        .route("/v1/openapi.json", get(describe))
        .route("/v1/{*rest}", axum::routing::any(unknown))
        .method_not_allowed_fallback(wrong_method)
        .with_state(public)
}

async fn unknown(request: axum::extract::Request) -> Problem {
    discard(request.into_body()).await;
    Problem::failure(StatusCode::NOT_FOUND, "there is no such resource: /v1/openapi.json lists what there is")
}

async fn wrong_method(request: axum::extract::Request) -> Problem {
    discard(request.into_body()).await;
    Problem::failure(
        StatusCode::METHOD_NOT_ALLOWED,
        "this resource takes another method: see /v1/openapi.json",
    )
}

async fn describe() -> Response {
    answer(&openapi())
}

/// The description of this face in OpenAPI 3.1.
pub(crate) fn openapi() -> utoipa::openapi::OpenApi {
    Description::openapi()
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Acquaint",
        description = "Private contact discovery: the directory and its sealed buckets, credentials for discovery \
                       services, and quotas of lookups.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0"),
    ),
    paths(
        credentials::issue, check::check, quota::quota, listings::start, listings::confirm, listings::list,
        listings::enrol, listings::withdraw_all, listings::withdraw, buckets::parameters, buckets::oprf,
        buckets::buckets, private::parameters, private::oprf, private::keys, private::query, private::lookup
    ),
    components(schemas(Problem)),
    modifiers(&Security),
    tags(
        (name = "credentials", description = "Short-lived credentials, bound to an account and an audience"),
        (name = "lookups", description = "What lookups cost"),
        (name = "directory", description = "Who wants to be found, and lookups in sealed buckets"),
        (name = "private lookup", description = "Identifiers are resolved to accounts, and the service learns neither")
    )
)]
struct Description;

struct Security;

impl Modify for Security {
    fn modify(&self, description: &mut utoipa::openapi::OpenApi) {
        let Some(components) = &mut description.components else { return };
        let scheme = |scheme, text: &str| {
            SecurityScheme::Http(HttpBuilder::new().scheme(scheme).description(Some(text)).build())
        };
        let session = "A session of the account: an atproto service-auth token, an access token of the configured \
                       issuer, a token of the operator's own, or a back end's API key with the header \
                       `acquaint-account`";
        components.add_security_scheme("session", scheme(HttpAuthScheme::Bearer, session));
        let key = "A back end's API key";
        components.add_security_scheme("api_key", scheme(HttpAuthScheme::Bearer, key));
        let basic = "Username and password of issued credentials";
        components.add_security_scheme("credentials", scheme(HttpAuthScheme::Basic, basic));
    }
}

/// For which discovery service.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Whom {
    /// The audience, as the operator calls it; the first that there is if it is left out.
    #[param(min_length = 1, max_length = 64, example = "discovery")]
    audience: Option<String>,
}

/// The query of a request that takes an audience.
fn whom(query: Result<Query<Whom>, QueryRejection>) -> Result<Option<String>, Problem> {
    let Query(Whom { audience }) =
        query.map_err(|_| Problem::invalid("the query takes `audience` once, and nothing else"))?;
    match audience {
        Some(name) if !(1..=64).contains(&name.chars().count()) => {
            Err(Problem::invalid("audience must have 1 to 64 characters"))
        }
        audience => Ok(audience),
    }
}

/// A whole answer, which nobody may keep.
fn answer(body: &impl Serialize) -> Response {
    answer_with(StatusCode::OK, body)
}

fn answer_with(status: StatusCode, body: &impl Serialize) -> Response {
    let Ok(body) = serde_json::to_vec(body) else {
        return Problem::failure(StatusCode::INTERNAL_SERVER_ERROR, "internal error").into_answer();
    };
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    (status, headers, body).into_response()
}
