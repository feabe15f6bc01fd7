use std::collections::HashMap;
use std::time::Duration;

use ::http::{HeaderMap, Request, Response};
use acquaint_pir::EvaluationKeys;
use acquaint_protocol::lookup::wire::{
    ANSWER_HEADER_BYTES, AnswerHeader, KeysAnswer, OprfRequest, QueryHeader, keys_id,
};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes as Body, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use rand_core::Rng;
use serde_json::json;
use tokio::net::TcpListener;

use super::*;
use crate::Settings;

/// What a server does in place of its answer.
#[derive(Clone, Copy)]
pub(super) enum Fault {
    /// It answers in full.
    None,
    /// It does what was asked, and the answer is lost.
    Lost,
    /// It refuses, and does nothing.
    Refused(u16, &'static str),
    /// Answers have random bytes behind their versions.
    Noise,
    /// So many bytes of the answer are left.
    Cut(usize),
    /// A byte too many follows.
    More,
    /// This byte of the answer has another value.
    Changed(usize),
}

pub(super) struct State {
    pub(super) provider: Provider,
    /// For each call, in order.
    faults: VecDeque<Fault>,
    /// For each call to this path, whenever it comes.
    pub(super) always: Option<(&'static str, Fault)>,
    seen: Vec<Seen>,
    keys: HashMap<[u8; 16], EvaluationKeys>,
    /// Which shards it has.
    pub(super) shards: std::ops::Range<u32>,
}

/// A call.
pub(super) struct Seen {
    pub(super) path: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

#[derive(Clone)]
pub(super) struct TestServer {
    pub(super) url: String,
    pub(super) state: Arc<Mutex<State>>,
}

impl TestServer {
    pub(super) async fn start(provider: Provider) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let shards = 0..provider.terms.shards();
        let (faults, seen, keys) = (VecDeque::new(), Vec::new(), HashMap::new());
        let state = State { provider, faults, always: None, seen, keys, shards };
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

    pub(super) fn directory(&self) -> Directory {
        let settings = Settings { pause: Duration::from_millis(1), ..Settings::default() };
        let mode = self.state.lock().unwrap().provider.mode;
        Directory::new(&self.url, settings, Caller::Session("token".into()), mode).unwrap()
    }

    pub(super) fn faults(&self, faults: impl IntoIterator<Item = Fault>) {
        self.state.lock().unwrap().faults.extend(faults);
    }

    pub(super) fn always(&self, path: &'static str, fault: Fault) {
        self.state.lock().unwrap().always = Some((path, fault));
    }

    pub(super) fn provide(&self, provider: Provider) {
        let mut state = self.state.lock().unwrap();
        state.shards = 0..provider.terms.shards();
        state.provider = provider;
    }

    /// The calls since the last look.
    pub(super) fn seen(&self) -> Vec<Seen> {
        std::mem::take(&mut self.state.lock().unwrap().seen)
    }

    pub(super) fn paths(&self) -> Vec<String> {
        self.seen().into_iter().map(|seen| seen.path).collect()
    }

    /// What can be seen of calls without looking into elements, keys and queries.
    pub(super) fn shapes(&self) -> Vec<(String, usize, Vec<u8>)> {
        let shape = |Seen { path, body, .. }: Seen| {
            // Ids are random.
            let head = match path.as_str() {
                "POST query" => [&body[..15], &body[47..49]].concat(),
                "POST oprf" => [&body[..5], &body[21..23]].concat(),
                _ => Vec::new(),
            };
            (path, body.len(), head)
        };
        self.seen().into_iter().map(shape).collect()
    }
}

impl State {
    fn answer(&mut self, path: &str, body: &[u8]) -> (u16, Vec<u8>) {
        let terms = &self.provider.terms;
        match path {
            "parameters" => {
                let published = Published { modes: vec![self.provider.parameters()] };
                (200, serde_json::to_vec(&published).unwrap())
            }
            "oprf" => {
                let request = OprfRequest::decode(body).unwrap();
                match request.epoch == terms.epoch {
                    true => (200, self.provider.evaluate(&request)),
                    false => problem(409, "EPOCH_CHANGED"),
                }
            }
            "keys" => {
                let id = keys_id(body);
                self.keys.insert(id, self.provider.read_keys(body));
                let expires_at = NOW + u64::from(terms.keys_ttl_s);
                (200, KeysAnswer { id, expires_at }.encode())
            }
            "query" => {
                let (header, _) = QueryHeader::decode(body).unwrap();
                if header.epoch != terms.epoch {
                    return problem(409, "EPOCH_CHANGED");
                }
                if header.layout != terms.layout {
                    return problem(409, "LAYOUT_CHANGED");
                }
                if !self.shards.contains(&header.shard) {
                    return problem(421, "SHARD_ELSEWHERE");
                }
                match self.keys.get(&header.keys) {
                    Some(keys) => (200, self.provider.answer(body, keys)),
                    None => problem(409, "KEYS_UNKNOWN"),
                }
            }
            _ => problem(404, "NOT_FOUND"),
        }
    }
}

fn problem(status: u16, code: &str) -> (u16, Vec<u8>) {
    let problem = json!({ "status": status, "code": code, "detail": format!("no: {code}") });
    (status, problem.to_string().into_bytes())
}

async fn answer(
    state: Arc<Mutex<State>>,
    request: Request<Incoming>,
) -> Result<Response<Full<Body>>, &'static str> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes().to_vec();
    let mut state = state.lock().unwrap();
    let path = parts.uri.path().rsplit('/').next().unwrap().to_owned();
    assert!(parts.uri.path().starts_with("/v1/discovery/"));
    let seen = Seen { path: format!("{} {path}", parts.method), headers: parts.headers, body: body.clone() };
    state.seen.push(seen);
    let fault = match state.always {
        Some((always, fault)) if always == path => fault,
        _ => state.faults.pop_front().unwrap_or(Fault::None),
    };
    let (status, mut bytes) = match fault {
        Fault::Refused(status, code) => problem(status, code),
        _ => state.answer(&path, &body),
    };
    match fault {
        Fault::None | Fault::Refused(..) => {}
        Fault::Lost => return Err("lost"),
        Fault::Noise => {
            let (header, answers) = bytes.split_at_mut(ANSWER_HEADER_BYTES);
            let each = answers.len() / usize::from(AnswerHeader::decode(header).unwrap().count);
            let mut random = random(5);
            answers.chunks_mut(each).for_each(|answer| random.fill_bytes(&mut answer[1..]));
        }
        Fault::Cut(left) => bytes.truncate(left),
        Fault::More => bytes.push(0),
        Fault::Changed(at) => bytes[at] ^= 1,
    }
    let mut response = Response::builder().status(status);
    // A pause that nobody waits for in a test.
    if status == 503 {
        response = response.header("retry-after", "0");
    }
    Ok(response.body(Full::new(Body::from(bytes))).unwrap())
}
