//! A request to the router that the server answers with. The first byte is the method, the second how the body is
//! written, the rest is the body.

#![no_main]

use std::sync::{LazyLock, Mutex};

use acquaint_protocol::message::rolodex::{
    DismissMatchRequest, DismissMatchResponse, GetMatchesRequest, GetMatchesResponse, GetSyncStatusRequest,
    GetSyncStatusResponse, ImportContactsRequest, ImportContactsResponse, PingRequest, PingResponse,
    RemoveDataRequest, RemoveDataResponse, StartPhoneVerificationRequest, StartPhoneVerificationResponse,
    VerifyPhoneRequest, VerifyPhoneResponse,
};
use acquaint_server::config::Config;
use acquaint_server::{Ambient, Server};
use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use buffa::Message;
use http_body_util::BodyExt;
use libfuzzer_sys::fuzz_target;
use tokio::runtime::Runtime;
use tower::ServiceExt;

const API_KEY: &str = "a-fuzz-key-of-32-characters-here";

struct App {
    runtime: Runtime,
    router: Router,
    // Runs in the background, and its data goes with it.
    _server: Mutex<Server>,
    _folder: tempfile::TempDir,
}

static APP: LazyLock<App> = LazyLock::new(|| {
    acquaint_fuzz::let_caught_panics_pass();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut config = Config::default();
    config.listen.set_port(0);
    config.auth.api_key = API_KEY.into();
    config.data_dir = folder.path().join("data");
    config.keys.file = folder.path().join("keys.json");
    config.keys.suite = "development".into();
    config.delivery.outbox_file = folder.path().join("outbox.txt");
    let runtime = Runtime::new().expect("a runtime");
    let server = runtime.block_on(Server::start(config, Ambient::default())).expect("a server");
    App { runtime, router: server.router(), _server: Mutex::new(server), _folder: folder }
});

fuzz_target!(|bytes: &[u8]| {
    let [method, form, body @ ..] = bytes else { return };
    match method % 8 {
        0 => call::<PingRequest, PingResponse>("Ping", *form, body, true),
        1 => call::<StartPhoneVerificationRequest, StartPhoneVerificationResponse>(
            "StartPhoneVerification",
            *form,
            body,
            false,
        ),
        2 => call::<VerifyPhoneRequest, VerifyPhoneResponse>("VerifyPhone", *form, body, false),
        3 => call::<ImportContactsRequest, ImportContactsResponse>("ImportContacts", *form, body, false),
        4 => call::<GetMatchesRequest, GetMatchesResponse>("GetMatches", *form, body, true),
        5 => call::<DismissMatchRequest, DismissMatchResponse>("DismissMatch", *form, body, true),
        6 => call::<GetSyncStatusRequest, GetSyncStatusResponse>("GetSyncStatus", *form, body, true),
        _ => call::<RemoveDataRequest, RemoveDataResponse>("RemoveData", *form, body, true),
    }
});

/// `repeatable`: asking twice gives the same answer.
fn call<Q, A>(method: &str, form: u8, body: &[u8], repeatable: bool)
where
    Q: Message + serde::Serialize + serde::de::DeserializeOwned,
    A: Message + serde::de::DeserializeOwned,
{
    let json = form % 2 == 1;
    let (status, answer) = send(method, json, form & 2 != 0, body);
    assert_ne!(status, StatusCode::INTERNAL_SERVER_ERROR, "{method}: {}", String::from_utf8_lossy(&answer));
    if status == StatusCode::OK {
        if json {
            serde_json::from_slice::<A>(&answer).expect("the answer is the method's");
        } else {
            A::decode_from_slice(&answer).expect("the answer is the method's");
        }
    } else {
        let refusal: serde_json::Value = serde_json::from_slice(&answer).expect("a refusal is JSON");
        assert!(refusal["code"].is_string(), "{refusal}");
    }
    // The same message in the other form gets the same answer.
    if repeatable && form & 2 == 0 {
        let other = if json {
            serde_json::from_slice::<Q>(body).ok().map(|message| message.encode_to_vec())
        } else {
            Q::decode_from_slice(body).ok().and_then(|message| serde_json::to_vec(&message).ok())
        };
        if let Some(other) = other {
            let (again, _) = send(method, !json, false, &other);
            assert_eq!(again, status, "{method} answers otherwise to the other form");
        }
    }
}

fn send(method: &str, json: bool, gzip: bool, body: &[u8]) -> (StatusCode, Vec<u8>) {
    let mut request = Request::post(format!("/rolodex.RolodexService/{method}"))
        .header(header::AUTHORIZATION, format!("Bearer {API_KEY}"))
        .header("connect-protocol-version", "1")
        .header(header::CONTENT_TYPE, if json { "application/json" } else { "application/proto" });
    if gzip {
        request = request.header(header::CONTENT_ENCODING, "gzip");
    }
    let request = request.body(Body::from(body.to_vec())).expect("a request");
    let app = &*APP;
    app.runtime.block_on(async {
        let Ok(response) = app.router.clone().oneshot(request).await;
        let status = response.status();
        let body = response.into_body().collect().await.expect("a whole answer");
        (status, body.to_bytes().to_vec())
    })
}
