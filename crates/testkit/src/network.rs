//! A small AT network on loopback, for tests: a directory of did:plc, a server of accounts (PDS), and a Jetstream, all on
//! one port. The stream is a real WebSocket's.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use futures::{SinkExt, StreamExt};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_tungstenite::accept_hdr_async;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};

/// How often a connection looks for new messages.
const LOOK: Duration = Duration::from_millis(10);

/// The running network.
pub struct Network {
    /// Where the directory and the server of accounts are, as `http://127.0.0.1:port`.
    pub url: String,
    /// Where the stream is, as `ws://127.0.0.1:port/subscribe`.
    pub jetstream: String,
    state: Arc<Mutex<State>>,
    server: JoinHandle<()>,
}

#[derive(Default)]
struct State {
    /// What the stream has said, by its time.
    messages: Vec<(i64, String)>,
    /// What each account's server says of it; who is not there has no DID document.
    accounts: BTreeMap<String, Status>,
    /// The URI of each subscription.
    subscriptions: Vec<String>,
    /// How often connections of the stream were cut.
    cuts: u64,
    /// How often each account's server was asked.
    asked: BTreeMap<String, usize>,
}

/// What an account's server says of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// It is there.
    Active,
    /// It is not, with this word.
    Inactive(&'static str),
    /// The server has no such repository.
    NotFound,
    /// The server fails.
    Failing,
    /// The directory has a tombstone.
    Tombstone,
    /// The directory does not know it.
    Unknown,
}

impl Drop for Network {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Network {
    /// Without any account or message.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let state = Arc::<Mutex<State>>::default();
        let shared = Arc::clone(&state);
        let url = format!("http://{address}");
        let own = url.clone();
        let server = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(connection(stream, Arc::clone(&shared), own.clone()));
            }
        });
        Self { url, jetstream: format!("ws://{address}/subscribe"), state, server }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no test panicked with it")
    }

    /// Has an account be so from now on.
    pub fn account(&self, did: &str, status: Status) {
        self.state().accounts.insert(did.to_owned(), status);
    }

    /// How often the account's server was asked about it.
    #[must_use]
    pub fn asked(&self, did: &str) -> usize {
        self.state().asked.get(did).copied().unwrap_or(0)
    }

    /// Has the stream say that `did` follows `subject`, or no more.
    pub fn follow(&self, at: i64, did: &str, record: &str, subject: Option<&str>) {
        let collection = "app.bsky.graph.follow";
        let commit = match subject {
            Some(subject) => {
                json!({ "rev": "3l", "operation": "create", "collection": collection, "rkey": record,
                "record": { "$type": collection, "createdAt": "2026-01-01T00:00:00Z", "subject": subject }, "cid": "b" })
            }
            None => json!({ "rev": "3l", "operation": "delete", "collection": collection, "rkey": record }),
        };
        self.say(at, &json!({ "did": did, "time_us": at, "kind": "commit", "commit": commit }).to_string());
    }

    /// Has the stream say that `did` is not active, with this word.
    pub fn gone(&self, at: i64, did: &str, status: &str) {
        let account = json!({ "active": false, "did": did, "seq": at, "time": "2026-01-01T00:00:00Z", "status": status });
        self.say(
            at,
            &json!({ "did": did, "time_us": at, "kind": "account", "account": account }).to_string(),
        );
    }

    /// Has the stream say just this.
    pub fn say(&self, at: i64, message: &str) {
        self.state().messages.push((at, message.to_owned()));
    }

    /// Cuts every connection of the stream.
    pub fn cut(&self) {
        self.state().cuts += 1;
    }

    /// The URI of each subscription so far.
    #[must_use]
    pub fn subscriptions(&self) -> Vec<String> {
        self.state().subscriptions.clone()
    }
}

async fn connection(stream: TcpStream, state: Arc<Mutex<State>>, url: String) {
    let mut first = [0; 14];
    while stream.peek(&mut first).await.is_ok_and(|length| length > 0 && length < first.len()) {
        tokio::time::sleep(LOOK).await;
    }
    if first.starts_with(b"GET /subscribe") {
        let _ended = subscription(stream, &state).await;
    } else {
        let _ended = question(stream, &state, &url).await;
    }
}

#[expect(clippy::result_large_err, reason = "the library's callback has it so")]
async fn subscription(stream: TcpStream, state: &Mutex<State>) -> Option<()> {
    let mut uri = String::new();
    let note = |request: &Request, response: Response| {
        uri = request.uri().to_string();
        Ok(response)
    };
    let mut stream = accept_hdr_async(stream, note).await.ok()?;
    let cursor = uri.split(['?', '&']).find_map(|part| part.strip_prefix("cursor=")?.parse::<i64>().ok());
    let (mut sent, cuts) = {
        let mut state = state.lock().expect("no test panicked with it");
        state.subscriptions.push(uri);
        // Without a cursor it begins with what comes from now on.
        let sent = match cursor {
            Some(cursor) => {
                state.messages.iter().position(|(at, _)| *at >= cursor).unwrap_or(state.messages.len())
            }
            None => state.messages.len(),
        };
        (sent, state.cuts)
    };
    loop {
        let (next, cut) = {
            let state = state.lock().expect("no test panicked with it");
            (state.messages.get(sent).map(|(_, message)| message.clone()), state.cuts != cuts)
        };
        if cut {
            return None;
        }
        match next {
            Some(message) => {
                sent += 1;
                stream.send(Message::text(message)).await.ok()?;
            }
            None => {
                let heard = tokio::time::timeout(LOOK, stream.next()).await;
                if let Ok(None | Some(Err(_))) = heard {
                    return None;
                }
            }
        }
    }
}

async fn question(mut stream: TcpStream, state: &Mutex<State>, url: &str) -> Option<()> {
    let mut bytes = Vec::new();
    while !bytes.windows(4).any(|window| window == b"\r\n\r\n") {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
    let text = String::from_utf8_lossy(&bytes).replace("%3A", ":");
    let path = text.split(' ').nth(1)?;
    let (status, body) = match path.split_once("?did=") {
        Some(("/xrpc/com.atproto.sync.getRepoStatus", did)) => repository(did, state),
        _ => document(path.trim_start_matches('/'), state, url),
    };
    let body = body.to_string();
    let answer = format!(
        "HTTP/1.1 {status} Any\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(answer.as_bytes()).await.ok()?;
    stream.shutdown().await.ok()
}

fn repository(did: &str, state: &Mutex<State>) -> (u16, serde_json::Value) {
    let mut state = state.lock().expect("no test panicked with it");
    *state.asked.entry(did.to_owned()).or_default() += 1;
    match state.accounts.get(did) {
        Some(Status::Active) => (200, json!({ "did": did, "active": true, "rev": "3l" })),
        Some(Status::Inactive(status)) => (200, json!({ "did": did, "active": false, "status": status })),
        Some(Status::Failing) => (502, json!({ "error": "UpstreamFailure" })),
        Some(Status::NotFound | Status::Tombstone | Status::Unknown) | None => {
            (400, json!({ "error": "RepoNotFound" }))
        }
    }
}

/// Any good key does: nobody signs here. This one is of `vectors` in atproto's `interop-test-files/crypto`.
const KEY: &str = "zQ3shqwJEJyMBsBXCWyCBpUBMqxcon9oHB7mCvx4sSpMdLJwc";

fn document(did: &str, state: &Mutex<State>, url: &str) -> (u16, serde_json::Value) {
    let state = state.lock().expect("no test panicked with it");
    match state.accounts.get(did) {
        None | Some(Status::Unknown) => (404, json!({ "message": "not registered" })),
        Some(Status::Tombstone) => (410, json!({ "message": "not available" })),
        Some(_) => {
            let method = json!({ "id": format!("{did}#atproto"), "type": "Multikey", "controller": did,
                "publicKeyMultibase": KEY });
            let service =
                json!({ "id": "#atproto_pds", "type": "AtprotoPersonalDataServer", "serviceEndpoint": url });
            (200, json!({ "id": did, "verificationMethod": [method], "service": [service] }))
        }
    }
}
