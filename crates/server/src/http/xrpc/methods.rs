//! The seven methods that people call (`lexicons/app/bsky/contact/*.json` in bluesky-social/atproto).

use acquaint_protocol::identifier::{AccountFormat, AccountId};
use acquaint_service::Caller;
use connectrpc::ConnectError;
use serde_json::{Map, Value, json};

use super::XrpcError;
use crate::http::connect::reason::{Failed, Reason};
use crate::http::connect::timestamp;
use crate::http::face::Public;

/// The lexicon's default.
const PAGE: i32 = 50;

/// A query, with its parameters.
pub(super) async fn query(
    public: &Public,
    caller: &Caller,
    nsid: &str,
    parameters: &str,
) -> Result<Value, XrpcError> {
    match nsid {
        "app.bsky.contact.getMatches" => get_matches(public, caller, parameters).await,
        _ => get_sync_status(public, caller).await,
    }
}

/// A procedure, with its input.
pub(super) async fn procedure(
    public: &Public,
    caller: &Caller,
    nsid: &str,
    input: &Map<String, Value>,
) -> Result<Value, XrpcError> {
    let (discovery, account) = (&public.discovery, &caller.account);
    match nsid {
        "app.bsky.contact.startPhoneVerification" => {
            let phone = text(input, "phone", Reason::InvalidPhone)?;
            let started = discovery.start_verification(account, phone).await;
            started.map_err(|error| failed(public, error))?;
            Ok(json!({}))
        }
        "app.bsky.contact.verifyPhone" => {
            let phone = text(input, "phone", Reason::InvalidPhone)?;
            let code = text(input, "code", Reason::InvalidCode)?;
            let token = discovery.verify(account, phone, code).await;
            Ok(json!({ "token": token.map_err(|error| failed(public, error))? }))
        }
        "app.bsky.contact.importContacts" => {
            let token = text(input, "token", Reason::InvalidToken)?;
            let contacts = texts(input, "contacts")?;
            let found = discovery.import(account, token, contacts).await;
            let found = found.map_err(|error| failed(public, error))?;
            let found: Vec<_> = found
                .iter()
                .map(|found| json!({ "match": profile(&found.subject), "contactIndex": found.input_index }))
                .collect();
            Ok(json!({ "matchesAndContactIndexes": found }))
        }
        "app.bsky.contact.dismissMatch" => {
            let subject = text(input, "subject", Reason::InvalidDid)?;
            let subject = AccountId::parse(subject, AccountFormat::Did)
                .map_err(|error| Reason::InvalidDid.error(format!("subject: {error}")))?;
            discovery.dismiss(account, &subject).await.map_err(|error| failed(public, error))?;
            Ok(json!({}))
        }
        _ => {
            discovery.remove_data(account).await.map_err(|error| failed(public, error))?;
            Ok(json!({}))
        }
    }
}

async fn get_matches(public: &Public, caller: &Caller, parameters: &str) -> Result<Value, XrpcError> {
    let (mut limit, mut cursor) = (None, None);
    for (name, value) in form_urlencoded::parse(parameters.as_bytes()) {
        match &*name {
            "limit" if limit.is_none() => limit = Some(value),
            "cursor" if cursor.is_none() => cursor = Some(value),
            "limit" | "cursor" => return Err(XrpcError::invalid("a parameter may stand there once")),
            // Lexicons grow: what is not known is passed over.
            _ => {}
        }
    }
    let limit = match limit {
        None => PAGE,
        // 0 is no limit that there could be.
        Some(limit) => limit.parse().unwrap_or(0),
    };
    let page = public.discovery.matches(&caller.account, limit, &cursor.unwrap_or_default()).await;
    let page = page.map_err(|error| failed(public, error))?;
    let matches: Vec<_> = page.subjects.iter().map(profile).collect();
    Ok(match page.cursor {
        Some(cursor) => json!({ "matches": matches, "cursor": cursor }),
        None => json!({ "matches": matches }),
    })
}

async fn get_sync_status(public: &Public, caller: &Caller) -> Result<Value, XrpcError> {
    let status = public.discovery.sync_status(&caller.account).await;
    let Some(status) = status.map_err(|error| failed(public, error))? else { return Ok(json!({})) };
    // In JSON a timestamp is RFC 3339 text (protobuf.dev, "ProtoJSON Format").
    let synced_at = serde_json::to_value(timestamp(status.synced_at)).unwrap_or_default();
    Ok(json!({ "syncStatus": { "syncedAt": synced_at, "matchesCount": status.matches } }))
}

/// The least that a profile has to have (`app.bsky.actor.defs#profileView`): the DID, and a handle, for which there is a
/// word where it is not known (<https://atproto.com/specs/handle>).
fn profile(account: &AccountId) -> Value {
    json!({ "did": account.as_str(), "handle": "handle.invalid" })
}

fn text<'a>(input: &'a Map<String, Value>, field: &str, invalid: Reason) -> Result<&'a str, XrpcError> {
    input.get(field).and_then(Value::as_str).ok_or_else(|| invalid.error(invalid.field()).into())
}

fn texts(input: &Map<String, Value>, field: &str) -> Result<Vec<String>, XrpcError> {
    let invalid = || Reason::InvalidContacts.error(Reason::InvalidContacts.field());
    let entries = input.get(field).and_then(Value::as_array).ok_or_else(invalid)?;
    let text = |entry: &Value| entry.as_str().map(str::to_owned).ok_or_else(invalid);
    Ok(entries.iter().map(text).collect::<Result<_, _>>()?)
}

fn failed<E>(public: &Public, error: E) -> XrpcError
where
    ConnectError: From<Failed<E>>,
{
    ConnectError::from(Failed(error, public.discovery.now())).into()
}
