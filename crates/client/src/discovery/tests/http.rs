//! The calls, against a server on a local port that answers by the protocol crate's server side.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ::http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes as Body, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use serde_json::json;
use tokio::net::TcpListener;

use super::*;
use crate::{ClientError, Reason, Settings};

/// What the server does in place of its answer.
#[derive(Clone, Copy)]
enum Fault {
    /// It does what was asked, and the answer is lost.
    Lost,
    /// It refuses.
    Refused(u16, &'static str),
    /// As Rocket.Chat, which knows no such session.
    SignedOut,
    /// It answers so many bytes of nothing.
    Zeros(usize),
    /// It answers in full.
    None,
}

struct State {
    provider: Provider,
    /// For each call, in order.
    faults: VecDeque<Fault>,
    seen: Vec<(String, HeaderMap, Vec<u8>)>,
}

#[derive(Clone)]
struct Server {
    url: String,
    state: Arc<Mutex<State>>,
}

impl Server {
    async fn start(provider: Provider) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let state = State { provider, faults: VecDeque::new(), seen: Vec::new() };
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = Self { url, state: Arc::new(Mutex::new(state)) };
        let state = Arc::clone(&server.state);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let state = Arc::clone(&state);
                let answer = service_fn(move |request| answer(Arc::clone(&state), request));
                tokio::spawn(async move {
                    let _ = auto::Builder::new(TokioExecutor::new())
                        .serve_connection(TokioIo::new(stream), answer)
                        .await;
                });
            }
        });
        server
    }

    fn directory(&self, caller: Caller) -> Directory {
        let settings =
            Settings { pause: Duration::from_millis(1), api_key: "key".into(), ..Settings::default() };
        Directory::new(&self.url, settings, caller).unwrap()
    }

    fn faults(&self, faults: impl IntoIterator<Item = Fault>) {
        self.state.lock().unwrap().faults.extend(faults);
    }

    /// The paths that were called since the last look, with what was sent.
    fn seen(&self) -> Vec<(String, HeaderMap, Vec<u8>)> {
        std::mem::take(&mut self.state.lock().unwrap().seen)
    }

    fn paths(&self) -> Vec<String> {
        self.seen().into_iter().map(|(path, ..)| path).collect()
    }
}

async fn answer(
    state: Arc<Mutex<State>>,
    request: Request<Incoming>,
) -> Result<Response<Full<Body>>, &'static str> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes().to_vec();
    let mut state = state.lock().unwrap();
    let path = parts.uri.path().rsplit('/').next().unwrap().to_owned();
    state.seen.push((format!("{} {path}", parts.method), parts.headers, body.clone()));
    let problem = |status: u16, code: &str| {
        let problem = json!({ "status": status, "code": code, "detail": format!("no: {code}") });
        (status, problem.to_string().into_bytes())
    };
    let provider = &state.provider;
    let terms = &provider.terms;
    let (status, bytes) = match path.as_str() {
        "parameters" => (200, serde_json::to_vec(&provider.parameters()).unwrap()),
        "oprf" => {
            let request: OprfRequest = serde_json::from_slice(&body).unwrap();
            match request.epoch == terms.epoch {
                true => (200, serde_json::to_vec(&provider.evaluate(&request)).unwrap()),
                false => problem(409, "EPOCH_CHANGED"),
            }
        }
        "buckets" => {
            let request: BucketsRequest = serde_json::from_slice(&body).unwrap();
            match (request.epoch, request.layout) == (terms.epoch, terms.layout) {
                true => (200, provider.buckets(&request)),
                false => problem(409, "LAYOUT_CHANGED"),
            }
        }
        "query.contacts" => {
            let found = provider.listings.iter().map(|(identifier, account)| Candidate {
                h: Strong::of(identifier).hex(),
                u: account.clone(),
                id: "id".into(),
            });
            let answer = ContactsFound { strong_hashes: found.collect(), success: true };
            (200, serde_json::to_vec(&answer).unwrap())
        }
        "listings" => (200, json!({ "listings": [] }).to_string().into_bytes()),
        _ => problem(404, "NOT_FOUND"),
    };
    let (status, bytes) = match state.faults.pop_front() {
        Some(Fault::Lost) => return Err("lost"),
        Some(Fault::Refused(status, code)) => problem(status, code),
        Some(Fault::SignedOut) => {
            let refusal = json!({ "status": "error", "message": "You must be logged in to do this." });
            (401, refusal.to_string().into_bytes())
        }
        Some(Fault::Zeros(length)) => (200, vec![0; length]),
        Some(Fault::None) | None => (status, bytes),
    };
    let response = Response::builder().status(status).header("retry-after", "7");
    Ok(response.body(Full::new(Body::from(bytes))).unwrap())
}

fn contacts() -> Vec<Sii> {
    (90..110).map(sii).collect()
}

#[tokio::test]
async fn a_refresh_is_one_round_trip_of_each() {
    let server = Server::start(Provider::new(1, 3, 0..100)).await;
    let mut directory = server.directory(Caller::BackEnd("did:plc:me".into()));
    let mut book = Book::new(Profile::Sealed);
    let trust = Trust::default();
    let done = directory.refresh(&mut book, &contacts(), &trust, NOW).await.unwrap();
    assert_eq!((done.asked, done.fresh, done.evaluated, done.round_trips), (20, 0, 20, 2));
    assert!(done.first_use.is_some());
    let seen = server.seen();
    let paths: Vec<&str> = seen.iter().map(|(path, ..)| path.as_str()).collect();
    assert_eq!(paths, ["GET parameters", "POST oprf", "POST buckets"]);
    for (_, headers, _) in &seen {
        assert_eq!(
            (&headers["authorization"], &headers["acquaint-account"]),
            (&"Bearer key".parse().unwrap(), &"did:plc:me".parse().unwrap())
        );
    }
    assert_eq!(done.sent, seen.iter().map(|(.., body)| u64::try_from(body.len()).unwrap()).sum::<u64>());
    assert_eq!(book.found(&sii(95)), Some("did:plc:95"));

    // What is fresh costs nothing at all, not even the parameters.
    let done = directory.refresh(&mut book, &contacts(), &trust, NOW + 1).await.unwrap();
    assert_eq!((done.asked, done.fresh, done.sent, done.received), (0, 20, 0, 0));
    assert!(server.paths().is_empty());
    let mut session = server.directory(Caller::Session("token".into()));
    session.refresh(&mut book, &[sii(1)], &trust, NOW + 1).await.unwrap();
    let (_, headers, _) = server.seen().pop().unwrap();
    assert_eq!(headers["authorization"], "Bearer token");
    assert!(!headers.contains_key("acquaint-account"));
}

#[tokio::test]
async fn a_lost_answer_is_asked_for_with_the_same_bytes() {
    let server = Server::start(Provider::new(1, 3, 0..100)).await;
    server.faults([Fault::None, Fault::Lost, Fault::None, Fault::Lost]);
    let mut book = Book::new(Profile::Sealed);
    let mut directory = server.directory(Caller::Session("token".into()));
    directory.refresh(&mut book, &contacts(), &Trust::default(), NOW).await.unwrap();
    let seen = server.seen();
    let paths: Vec<&str> = seen.iter().map(|(path, ..)| path.as_str()).collect();
    assert_eq!(paths, ["GET parameters", "POST oprf", "POST oprf", "POST buckets", "POST buckets"]);
    assert_eq!((&seen[1].2, &seen[3].2), (&seen[2].2, &seen[4].2));
    let request: OprfRequest = serde_json::from_slice(&seen[1].2).unwrap();
    let buckets: BucketsRequest = serde_json::from_slice(&seen[3].2).unwrap();
    assert!(request.request.is_some() && buckets.request.is_some() && request.request != buckets.request);
}

#[tokio::test]
async fn a_new_epoch_or_layout_is_met_by_one_look_at_the_parameters() {
    let server = Server::start(Provider::new(1, 3, 0..100)).await;
    let mut book = Book::new(Profile::Sealed);
    let mut directory = server.directory(Caller::Session("token".into()));
    let trust = Trust { min_epoch_age_s: FRESH_S, ..Trust::default() };
    directory.refresh(&mut book, &contacts(), &trust, NOW).await.unwrap();
    server.paths();
    server.state.lock().unwrap().provider = Provider::new(2, 3, 0..100);
    let later = NOW + FRESH_S;
    // Whose prefixes went out under the old key is left for another time; who has none yet is not.
    let both: Vec<Sii> = contacts().into_iter().chain([sii(1)]).collect();
    let outcome = directory.refresh(&mut book, &both, &trust, later).await;
    let done = outcome.unwrap();
    assert_eq!((done.asked, done.evaluated, done.postponed), (21, 21, 0));
    let expected = ["POST oprf", "GET parameters", "POST oprf", "POST buckets"];
    assert_eq!(server.paths(), expected);
    server.state.lock().unwrap().provider = Provider::new(3, 3, 0..100);
    let later = later + FRESH_S;
    let done = directory.refresh(&mut book, &contacts(), &trust, later).await.unwrap();
    assert_eq!((done.asked, done.postponed), (0, 20));
    assert_eq!(server.paths(), ["POST buckets", "GET parameters"]);
    directory.refresh(&mut book, &contacts(), &trust, later).await.unwrap();
    assert_eq!(server.paths(), ["POST oprf", "POST buckets"]);
    server.state.lock().unwrap().provider.terms.layout += 1;
    directory.refresh(&mut book, &contacts(), &trust, later + FRESH_S).await.unwrap();
    assert_eq!(server.paths(), ["POST buckets", "GET parameters", "POST buckets"]);

    // A server that says so each time is not followed for ever.
    let again = Fault::Refused(409, "LAYOUT_CHANGED");
    server.faults([again, Fault::None, again]);
    let outcome = directory.refresh(&mut book, &contacts(), &trust, later + 2 * FRESH_S).await;
    assert!(matches!(outcome, Err(DiscoveryError::KeepsChanging)), "{outcome:?}");
    assert_eq!(server.paths(), ["POST buckets", "GET parameters", "POST buckets"]);
}

#[tokio::test]
async fn a_provider_that_is_not_trusted_is_asked_for_nothing() {
    let server = Server::start(Provider::new(1, 3, 0..100)).await;
    let mut book = Book::new(Profile::Sealed);
    let mut directory = server.directory(Caller::Session("token".into()));
    let pinned = Trust { signing_key: Some([7; 32]), ..Trust::default() };
    let outcome = directory.refresh(&mut book, &contacts(), &pinned, NOW).await;
    assert!(matches!(outcome, Err(DiscoveryError::Trust(_))), "{outcome:?}");
    assert_eq!(server.paths(), ["GET parameters"]);
    // Parameters that one caller trusted are looked at again for another.
    directory.refresh(&mut book, &contacts(), &Trust::default(), NOW).await.unwrap();
    let outcome = directory.refresh(&mut book, &[sii(1)], &pinned, NOW).await;
    assert!(matches!(outcome, Err(DiscoveryError::Trust(TrustError::OtherBook))), "{outcome:?}");
}

#[tokio::test]
async fn refusals_are_told_and_what_was_learnt_is_kept() {
    let mut provider = Provider::new(1, 16, 0..100);
    provider.terms.max_batch = 10;
    let server = Server::start(provider).await;
    let mut book = Book::new(Profile::Sealed);
    let mut directory = server.directory(Caller::Session("token".into()));
    let limited = Fault::Refused(429, "CONTACT_DISCOVERY_RATE_LIMITED");
    server.faults([Fault::None, Fault::None, Fault::None, Fault::None, limited]);
    let outcome = directory.refresh(&mut book, &contacts(), &Trust::default(), NOW).await;
    let Err(DiscoveryError::Call(error @ ClientError::Refused { .. })) = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(error.retry_after(), Some(Duration::from_secs(7)));
    assert_eq!(error.to_string(), "no: CONTACT_DISCOVERY_RATE_LIMITED");
    assert_eq!(book.due(&contacts(), NOW).len(), 10);
    let done = directory.refresh(&mut book, &contacts(), &Trust::default(), NOW).await.unwrap();
    assert_eq!((done.asked, done.fresh, done.evaluated), (10, 10, 0));
    server.paths();

    // A quota of outputs that is nearly used up is used up, and who has keys is asked for all the same.
    server.state.lock().unwrap().provider.terms.max_batch = 100;
    server.state.lock().unwrap().provider.terms.layout += 1;
    let many: Vec<Sii> = (200..300).map(sii).collect();
    let mut fresh = server.directory(Caller::Session("token".into()));
    server.faults([Fault::None, limited, Fault::None, limited, limited]);
    let outcome = fresh.refresh(&mut book, &many, &Trust::default(), NOW).await;
    let Err(DiscoveryError::Call(ClientError::Refused { reason, .. })) = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(reason, Reason::RateLimitExceeded);
    assert_eq!(book.due(&many, NOW).len(), 50);
    let asked: Vec<(String, usize)> = server
        .seen()
        .into_iter()
        .filter(|(path, ..)| path == "POST oprf")
        .map(|(path, _, body)| (path, serde_json::from_slice::<OprfRequest>(&body).unwrap().elements.len()))
        .collect();
    let counts: Vec<usize> = asked.into_iter().map(|(_, count)| count).collect();
    assert_eq!(counts, [100, 50, 50, 25]);

    // An answer that is longer than can be is not read to its end.
    server.faults([Fault::None, Fault::Zeros(1 << 20)]);
    let outcome = directory.refresh(&mut book, &[sii(1)], &Trust::default(), NOW).await;
    let Err(DiscoveryError::Call(ClientError::Unreachable(cause))) = outcome else { panic!("{outcome:?}") };
    assert_eq!(cause.message.as_deref(), Some("length limit exceeded"));
    server.faults([Fault::Refused(404, "NOT_FOUND")]);
    let outcome = directory.listings().await;
    let Err(ClientError::Refused { reason, .. }) = outcome else { panic!("{outcome:?}") };
    assert_eq!(reason, Reason::Unknown("NOT_FOUND".into()));
    assert_eq!(directory.listings().await.unwrap(), []);
    assert!(matches!(directory.withdraw("a/b").await, Err(ClientError::Config(_))));
}

#[tokio::test]
async fn weak_hashes_go_as_rocket_chats_clients_send_them() {
    let server = Server::start(Provider::new(1, 3, [95])).await;
    let caller = Caller::RocketChat { token: "token".into(), user: "me".into() };
    let mut directory = server.directory(caller.clone());
    let mut book = Book::new(Profile::Weak);
    let done = directory.refresh_weak(&mut book, &contacts(), WeakLength::Four, NOW).await.unwrap();
    assert_eq!((done.asked, done.round_trips, book.found(&sii(95))), (20, 1, Some("did:plc:95")));
    let (path, headers, body) = server.seen().pop().unwrap();
    assert_eq!(path, "POST query.contacts");
    assert_eq!(
        (&headers["x-auth-token"], &headers["x-user-id"]),
        (&"token".parse().unwrap(), &"me".parse().unwrap())
    );
    assert!(String::from_utf8(body).unwrap().starts_with("{\"weakHashes\":[\""));
    // A request may have been charged before its answer was lost: it is not sent again.
    server.faults([Fault::Lost]);
    let outcome = directory.refresh_weak(&mut book, &[sii(1)], WeakLength::Four, NOW).await;
    assert!(matches!(outcome, Err(DiscoveryError::Call(ClientError::Unreachable(_)))), "{outcome:?}");
    assert_eq!(server.paths(), ["POST query.contacts"]);
    server.faults([Fault::SignedOut]);
    let outcome = directory.refresh_weak(&mut book, &[sii(1)], WeakLength::Four, NOW).await;
    assert!(matches!(outcome, Err(DiscoveryError::Call(ClientError::SessionRefused))), "{outcome:?}");
    // Another server's book, and another profile's.
    let other = Server::start(Provider::new(1, 3, [])).await;
    let outcome = other.directory(caller).refresh_weak(&mut book, &contacts(), WeakLength::Four, NOW).await;
    assert!(matches!(outcome, Err(DiscoveryError::Trust(TrustError::OtherProvider))), "{outcome:?}");
    let outcome = directory.refresh(&mut book, &contacts(), &Trust::default(), NOW).await;
    assert!(matches!(outcome, Err(DiscoveryError::OtherProfile)), "{outcome:?}");
    assert!(other.seen().is_empty());
}
