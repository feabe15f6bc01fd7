//! What Jetstream says (github.com/bluesky-social/jetstream, "Example events"): JSON, of which only a few fields matter
//! here.

use acquaint_protocol::identifier::{AccountFormat, AccountId};
use acquaint_service::NetworkEvent;
use serde::Deserialize;

/// The records that are asked for.
pub(super) const FOLLOW: &str = "app.bsky.graph.follow";

/// The longest key of a record (<https://atproto.com/specs/record-key>).
const MAX_KEY: usize = 512;

#[derive(Deserialize)]
struct Message {
    did: String,
    time_us: i64,
    commit: Option<Commit>,
    account: Option<Account>,
}

#[derive(Deserialize)]
struct Commit {
    operation: String,
    collection: String,
    rkey: String,
    record: Option<Record>,
}

#[derive(Deserialize)]
struct Record {
    /// Anybody may write what they like into a record.
    subject: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct Account {
    active: bool,
    status: Option<String>,
}

/// A message: its place in the stream, and what it says that matters; `None` if it is no message of the stream's.
pub(crate) fn read(text: &[u8]) -> Option<(i64, Option<NetworkEvent>)> {
    let message: Message = serde_json::from_str(std::str::from_utf8(text).ok()?).ok()?;
    let at = message.time_us;
    Some((at, event(message)))
}

fn event(message: Message) -> Option<NetworkEvent> {
    let did = |text: &str| AccountId::parse(text, AccountFormat::Did).ok();
    let account = did(&message.did)?;
    if let Some(Account { active, status }) = message.account {
        // What moderators took down may come back, with its data.
        let gone = !active && matches!(status.as_deref(), Some("deleted" | "deactivated"));
        return gone.then_some(NetworkEvent::Gone { account });
    }
    let Commit { operation, collection, rkey: record, record: content } = message.commit?;
    if collection != FOLLOW || record.is_empty() || record.len() > MAX_KEY {
        return None;
    }
    match operation.as_str() {
        "create" | "update" => {
            let subject = did(content?.subject?.as_str()?)?;
            Some(NetworkEvent::Follow { account, record, subject })
        }
        "delete" => Some(NetworkEvent::Unfollow { account, record }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn did(name: &str) -> AccountId {
        AccountId::parse(&format!("did:plc:{name}"), AccountFormat::Did).unwrap()
    }

    #[test]
    fn follows_unfollows_and_departures_are_read() {
        let follow =
            br#"{"did":"did:plc:ada","time_us":7,"kind":"commit","commit":{"rev":"3l","operation":"create",
            "collection":"app.bsky.graph.follow","rkey":"3lk","record":{"$type":"app.bsky.graph.follow",
            "createdAt":"2026-01-01T00:00:00Z","subject":"did:plc:bob"},"cid":"b"}}"#;
        let said = NetworkEvent::Follow { account: did("ada"), record: "3lk".into(), subject: did("bob") };
        assert_eq!(read(follow), Some((7, Some(said))));
        let unfollow = br#"{"did":"did:plc:ada","time_us":8,"kind":"commit","commit":{"rev":"3l",
            "operation":"delete","collection":"app.bsky.graph.follow","rkey":"3lk"}}"#;
        let said = NetworkEvent::Unfollow { account: did("ada"), record: "3lk".into() };
        assert_eq!(read(unfollow), Some((8, Some(said))));
        for (status, gone) in
            [("deleted", true), ("deactivated", true), ("takendown", false), ("suspended", false)]
        {
            let text = format!(
                r#"{{"did":"did:plc:ada","time_us":9,"kind":"account","account":{{"active":false,
                "did":"did:plc:ada","seq":1,"time":"2026-01-01T00:00:00Z","status":"{status}"}}}}"#
            );
            let said = gone.then(|| NetworkEvent::Gone { account: did("ada") });
            assert_eq!(read(text.as_bytes()), Some((9, said)), "{status}");
        }
        let back = br#"{"did":"did:plc:ada","time_us":9,"kind":"account","account":{"active":true}}"#;
        assert_eq!(read(back), Some((9, None)));
    }

    #[test]
    fn what_says_nothing_of_use_is_passed_over_and_moves_the_cursor() {
        for text in [
            r#"{"did":"did:plc:ada","time_us":5,"kind":"identity","identity":{"handle":"ada.example"}}"#,
            r#"{"did":"not a did","time_us":5,"kind":"account","account":{"active":false,"status":"deleted"}}"#,
            r#"{"did":"did:plc:ada","time_us":5,"commit":{"operation":"create","collection":"app.bsky.feed.like",
                "rkey":"a","record":{"subject":"did:plc:bob"}}}"#,
            r#"{"did":"did:plc:ada","time_us":5,"commit":{"operation":"create",
                "collection":"app.bsky.graph.follow","rkey":"a","record":{"subject":{"x":1}}}}"#,
            r#"{"did":"did:plc:ada","time_us":5,"commit":{"operation":"create",
                "collection":"app.bsky.graph.follow","rkey":"","record":{"subject":"did:plc:bob"}}}"#,
        ] {
            assert_eq!(read(text.as_bytes()), Some((5, None)), "{text}");
        }
        for text in ["", "[]", "{}", "\u{0}", r#"{"did":"did:plc:ada"}"#, r#"{"did":1,"time_us":5}"#] {
            assert_eq!(read(text.as_bytes()), None, "{text}");
        }
    }
}
