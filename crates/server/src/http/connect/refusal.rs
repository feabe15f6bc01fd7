//! Reasons for what the RPC library refuses by itself: messages that cannot be decoded or are too large.
//!
//! The library answers those without a detail, which the AppView would show as an opaque 500. Here the field at fault is
//! found, and the contract's reason put in.

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use connectrpc::{ConnectError, ErrorCode};
use http::{HeaderValue, Method, StatusCode, header};
use http_body_util::{BodyExt, Limited};

use super::reason::Reason;
use crate::http::body::{self, BodyLimits, Unread, discard};

/// Where the RPC's methods stand.
const PREFIX: &str = "/rolodex.RolodexService/";

/// The methods of the RPC.
pub(crate) const METHODS: [&str; 8] = [
    "Ping",
    "GetSyncStatus",
    "StartPhoneVerification",
    "VerifyPhone",
    "ImportContacts",
    "GetMatches",
    "DismissMatch",
    "RemoveData",
];

/// The method that a path names, if it is one of ours.
pub(in crate::http) fn method_of(path: &str) -> Option<&'static str> {
    let name = path.strip_prefix(PREFIX)?;
    METHODS.into_iter().find(|method| *method == name)
}

/// Largest answer of the library that is looked into; its errors are far smaller.
const MAX_ERROR_BYTES: usize = 64 * 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Texts,
    Int,
}

struct Field {
    number: u64,
    name: &'static str,
    kind: Kind,
    invalid: Reason,
}

const fn field(number: u64, name: &'static str, kind: Kind, invalid: Reason) -> Field {
    Field { number, name, kind, invalid }
}

const ACTOR: Field = field(1, "actor", Kind::Text, Reason::InvalidDid);
const PHONE: Field = field(2, "phone", Kind::Text, Reason::InvalidPhone);

/// The fields of a method's request, as in `rolodex.proto`.
fn fields(method: &str) -> &'static [Field] {
    match method {
        "StartPhoneVerification" => &[ACTOR, PHONE],
        "VerifyPhone" => {
            &[ACTOR, PHONE, const { field(3, "verificationCode", Kind::Text, Reason::InvalidCode) }]
        }
        "ImportContacts" => &[
            ACTOR,
            const { field(2, "token", Kind::Text, Reason::InvalidToken) },
            const { field(3, "contacts", Kind::Texts, Reason::InvalidContacts) },
        ],
        "GetMatches" => &[
            ACTOR,
            const { field(2, "limit", Kind::Int, Reason::InvalidLimit) },
            const { field(3, "cursor", Kind::Text, Reason::InvalidCursor) },
        ],
        "DismissMatch" => &[ACTOR, const { field(2, "subject", Kind::Text, Reason::InvalidDid) }],
        _ => &[ACTOR],
    }
}

/// The reason for a message that is too large: the field that can grow.
fn too_large(method: &str) -> Reason {
    match method {
        "ImportContacts" => Reason::TooManyContacts,
        "GetMatches" => Reason::InvalidCursor,
        _ => fields(method).last().map_or(Reason::InvalidDid, |field| field.invalid),
    }
}

/// Reads the body within its limits, passes it on, and puts the contract's reason into errors that have none.
pub(in crate::http) async fn give_reasons(
    State(limits): State<BodyLimits>,
    request: Request,
    next: Next,
) -> Response {
    let Some(method) = method_of(request.uri().path()) else {
        // Answered here: the library would repeat the path, which could hold anything.
        discard(request.into_body()).await;
        return answer(
            &ConnectError::new(ErrorCode::Unimplemented, "there is no such method"),
            StatusCode::NOT_FOUND,
        );
    };
    if request.method() != Method::POST {
        let error = ConnectError::new(ErrorCode::Unimplemented, "methods are called with POST");
        return answer(&error, StatusCode::METHOD_NOT_ALLOWED);
    }
    let (parts, body) = request.into_parts();
    let body = match body::read(body, limits).await {
        Ok(body) => body,
        Err(Unread::TooLarge) => {
            let message = format!("the request is larger than {} KiB", limits.bytes / 1024);
            return answer(&too_large(method).error(message), StatusCode::PAYLOAD_TOO_LARGE);
        }
        Err(Unread::TooSlow) => {
            return failure(
                ErrorCode::DeadlineExceeded,
                StatusCode::REQUEST_TIMEOUT,
                "the request came too slowly",
            );
        }
        Err(Unread::Broken) => {
            return failure(ErrorCode::InvalidArgument, StatusCode::BAD_REQUEST, "the request broke off");
        }
    };
    let plain = !parts.headers.contains_key(header::CONTENT_ENCODING);
    let json = is_json(parts.headers.get(header::CONTENT_TYPE));
    // A reference-counted handle, not a copy.
    let kept = body.clone();
    let response = next.run(Request::from_parts(parts, Body::from(body))).await;
    if response.status().is_success() || !is_json(response.headers().get(header::CONTENT_TYPE)) {
        return response;
    }
    let kept = if plain { kept } else { Bytes::new() };
    with_reason(response, |code| match code {
        ErrorCode::InvalidArgument if json => Some(blame_json(method, &kept)),
        ErrorCode::InvalidArgument => Some(blame_proto(method, &kept)),
        ErrorCode::ResourceExhausted => Some(too_large(method)),
        // Not about a field, and nothing that a person could mend.
        ErrorCode::Unauthenticated | ErrorCode::Unimplemented | ErrorCode::NotFound => None,
        _ => Some(Reason::InternalError),
    })
    .await
}

async fn with_reason(response: Response, reason: impl FnOnce(ErrorCode) -> Option<Reason>) -> Response {
    let (mut parts, body) = response.into_parts();
    let Ok(body) = Limited::new(body, MAX_ERROR_BYTES).collect().await.map(|body| body.to_bytes()) else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let given = serde_json::from_slice::<ConnectError>(&body).ok().filter(|error| error.details.is_empty());
    let Some((mut error, reason)) = given.and_then(|error| reason(error.code).map(|reason| (error, reason)))
    else {
        return Response::from_parts(parts, Body::from(body));
    };
    error.details = vec![reason.detail()];
    // The library's words can quote what was sent.
    error.message = Some(match reason {
        Reason::InternalError => "internal error: the service's log says more".into(),
        reason => format!("the message cannot be read: {}", reason.field()),
    });
    parts.headers.remove(header::CONTENT_LENGTH);
    let body = serde_json::to_vec(&error).unwrap_or_default();
    Response::from_parts(parts, Body::from(body))
}

/// A failure that is not about a field.
pub(in crate::http) fn failure(code: ErrorCode, status: StatusCode, message: &str) -> Response {
    let mut error = ConnectError::new(code, message);
    error.details = vec![Reason::InternalError.detail()];
    answer(&error, status)
}

/// An error as the Connect protocol's JSON, outside the RPC library.
pub(in crate::http) fn answer(error: &ConnectError, status: StatusCode) -> Response {
    let body = serde_json::to_vec(error).unwrap_or_default();
    let mut response = (status, body).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn is_json(content_type: Option<&HeaderValue>) -> bool {
    content_type
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.starts_with("application/json"))
}

/// The first field of a JSON message that is not of its kind. Whatever is no JSON object names nobody: that is the
/// actor's fault.
fn blame_json(method: &str, body: &[u8]) -> Reason {
    // Bytes that are no UTF-8 become U+FFFD, which then shows in which field they are.
    let text = String::from_utf8_lossy(body);
    let Ok(serde_json::Value::Object(message)) = serde_json::from_str(&text) else {
        return Reason::InvalidDid;
    };
    let is_text = |value: &serde_json::Value| {
        value.as_str().is_some_and(|text| !text.contains(char::REPLACEMENT_CHARACTER))
    };
    let good = |field: &Field, value: &serde_json::Value| match field.kind {
        _ if value.is_null() => true,
        Kind::Text => is_text(value),
        Kind::Texts => value.as_array().is_some_and(|entries| entries.iter().all(is_text)),
        Kind::Int => {
            let number = value.as_i64().or_else(|| value.as_str()?.parse().ok());
            number.is_some_and(|number| i32::try_from(number).is_ok())
        }
    };
    let bad =
        fields(method).iter().find(|field| message.get(field.name).is_some_and(|value| !good(field, value)));
    // `verification_code` is as good a JSON name as `verificationCode`.
    let snake = message.get("verification_code").is_some_and(|value| !is_text(value));
    match bad {
        Some(field) => field.invalid,
        None if snake => Reason::InvalidCode,
        None => Reason::InvalidDid,
    }
}

/// The first field of a binary message that cannot be read.
fn blame_proto(method: &str, mut body: &[u8]) -> Reason {
    while !body.is_empty() {
        let Some(tag) = varint(&mut body) else { return Reason::InvalidDid };
        let known = fields(method).iter().find(|field| field.number == tag >> 3);
        let blamed = known.map_or(Reason::InvalidDid, |field| field.invalid);
        let read = match tag & 7 {
            0 => varint(&mut body).map(|_| known.is_none_or(|field| field.kind == Kind::Int)),
            2 => text(&mut body).map(|utf8| known.is_none_or(|field| field.kind != Kind::Int && utf8)),
            1 => body.split_off(..8).map(|_| known.is_none()),
            5 => body.split_off(..4).map(|_| known.is_none()),
            _ => None,
        };
        if read != Some(true) {
            return blamed;
        }
    }
    Reason::InvalidDid
}

/// A base-128 varint off the front (protobuf encoding); at most ten bytes.
fn varint(body: &mut &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    for shift in (0..70).step_by(7) {
        let byte = *body.split_off_first()?;
        number |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

/// Length-delimited bytes off the front: whether they are UTF-8.
fn text(body: &mut &[u8]) -> Option<bool> {
    let length = usize::try_from(varint(body)?).ok()?;
    let bytes = body.split_off(..length)?;
    Some(std::str::from_utf8(bytes).is_ok())
}

#[cfg(test)]
mod tests;
