//! Sessions against real servers on private ports: a directory of DIDs, hosts of DIDs, an OpenID provider, and a server
//! that knows tokens.

mod api_keys;
mod atproto;
mod hosts;
mod keys;
mod log;
mod oidc;
mod signing;
mod site;
mod tokens;
mod vectors;

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use acquaint_service::{Clock, Millis};
use acquaint_store::StoreError;
use acquaint_testkit::HandClock;
use async_trait::async_trait;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use http::HeaderValue;
use serde_json::{Value, json};

use super::*;

/// The method that is called.
const LXM: &str = "app.acquaint.discovery.getMatches";
const SERVICE: &str = "did:web:contacts.example.com";
const ALICE: &str = "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa";

/// Sessions with everything around them.
struct World {
    clock: Arc<HandClock>,
    replays: Arc<Memory>,
    sessions: Sessions,
}

/// The ids of used tokens, in memory; with `broken`, a store that does not answer.
#[derive(Default)]
struct Memory {
    seen: Mutex<HashSet<[u8; 32]>>,
    broken: Mutex<bool>,
}

#[async_trait]
impl Replays for Memory {
    async fn first_use(&self, id: [u8; 32], _: Millis) -> Result<bool, StoreError> {
        match *self.broken.lock().unwrap() {
            true => Err(StoreError::Unavailable("broken".into())),
            false => Ok(self.seen.lock().unwrap().insert(id)),
        }
    }
}

impl World {
    fn new(change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::default();
        change(&mut config);
        let (clock, replays) = (Arc::new(HandClock::default()), Arc::new(Memory::default()));
        let sessions = Sessions::new(&config, clock.clone(), replays.clone()).unwrap();
        Self { clock, replays, sessions }
    }

    /// In seconds since 1970.
    fn now(&self) -> i64 {
        self.clock.now() / 1000
    }

    async fn bearer(&self, token: &str) -> Result<Session, SessionError> {
        self.present(&format!("Bearer {token}"), None).await
    }

    async fn present(&self, authorization: &str, account: Option<&str>) -> Result<Session, SessionError> {
        let authorization = HeaderValue::from_str(authorization).unwrap();
        let account = account.map(|account| HeaderValue::from_bytes(account.as_bytes()).unwrap());
        let presented =
            Presented { authorization: Some(&authorization), account: account.as_ref(), lxm: Some(LXM) };
        self.sessions.verify(presented).await
    }
}

/// Whose session it is, or why it is none.
fn whose(outcome: Result<Session, SessionError>) -> Result<String, SessionError> {
    outcome.map(|session| session.account.as_str().to_owned())
}

fn encode(bytes: impl AsRef<[u8]>) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

/// A token of these parts as they stand, signed by `sign`.
fn assemble(header: &str, claims: &str, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> String {
    let signed = format!("{}.{}", encode(header), encode(claims));
    let signature = encode(sign(signed.as_bytes()));
    format!("{signed}.{signature}")
}

/// `claims` with `changes` laid over; null takes a claim away.
fn changed(claims: &Value, changes: &Value) -> Value {
    let mut claims = claims.clone();
    let members = claims.as_object_mut().unwrap();
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => members.remove(name),
            value => members.insert(name.clone(), value.clone()),
        };
    }
    claims
}

#[tokio::test]
async fn without_a_configuration_everything_is_refused() {
    let world = World::new(|_| {});
    for authorization in
        ["Bearer aqk_key", "Bearer opaque", "Bearer a.b.c", "Basic YTpi", "Bearer ", "Bearer", ""]
    {
        for account in [None, Some(ALICE)] {
            let outcome = whose(world.present(authorization, account).await);
            assert_eq!(outcome, Err(SessionError::Refused), "{authorization}");
        }
    }
    let nothing = Presented { authorization: None, account: None, lxm: None };
    assert_eq!(whose(world.sessions.verify(nothing).await), Err(SessionError::Refused));
}

#[test]
fn a_session_tells_of_no_account() {
    let account = AccountId::parse(ALICE, AccountFormat::Did).unwrap();
    let session = Session { account, provider: "atproto".into(), through: Through::Atproto };
    assert!(!format!("{session:?}").contains("did:"), "{session:?}");
}
