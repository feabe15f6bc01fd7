//! `Host`, as HTTP/1.1 has it.

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use connectrpc::{ConnectError, ErrorCode};
use http::uri::Authority;
use http::{HeaderValue, StatusCode, Version, header};

use super::connect::refusal::answer;
use super::face::{Face, face_of};

/// Refuses an HTTP/1.1 request without exactly one good `Host` (RFC 9112, section 3.2): a proxy in front could have read
/// another one. The connection is closed, because what follows on it cannot be trusted either.
pub(super) async fn require_host(request: Request, next: Next) -> Response {
    if request.version() != Version::HTTP_11 || is_good(&request) {
        return next.run(request).await;
    }
    let message = "one `Host` header with a host's name is needed";
    let mut response = match face_of(&request) {
        Face::Connect => {
            let error = ConnectError::new(ErrorCode::InvalidArgument, message);
            answer(&error, StatusCode::BAD_REQUEST)
        }
        face => face.failure(ErrorCode::InvalidArgument, StatusCode::BAD_REQUEST, message),
    };
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

fn is_good(request: &Request) -> bool {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else { return false };
    // Empty is right for a target without an authority.
    host.is_empty() || host.to_str().is_ok_and(is_authority)
}

/// RFC 9110, section 7.2: a host and perhaps a port, nothing else.
fn is_authority(host: &str) -> bool {
    let Ok(authority) = host.parse::<Authority>() else { return false };
    let port = host.strip_prefix(authority.host()).and_then(|port| port.strip_prefix(':'));
    match port {
        Some(port) => port.bytes().all(|byte| byte.is_ascii_digit()),
        None => host == authority.host(),
    }
}
