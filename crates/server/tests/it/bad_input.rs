//! Every field of every method, wrong in every way: the contract's reason, no panic, and nothing stored.

use acquaint_testkit::{API_KEY, App, did, number};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};

use crate::raw::{call, exchange, json};

const METHODS: [&str; 8] = [
    "Ping",
    "GetSyncStatus",
    "StartPhoneVerification",
    "VerifyPhone",
    "ImportContacts",
    "GetMatches",
    "DismissMatch",
    "RemoveData",
];

/// A valid request of each method, by its fields.
fn valid(method: &str) -> Value {
    let actor = did(1);
    match method {
        "StartPhoneVerification" => json!({"actor": actor, "phone": number(1)}),
        "VerifyPhone" => json!({"actor": actor, "phone": number(1), "verificationCode": "123456"}),
        "ImportContacts" => json!({"actor": actor, "token": "AAAA", "contacts": [number(2)]}),
        "GetMatches" => json!({"actor": actor, "limit": 10, "cursor": ""}),
        "DismissMatch" => json!({"actor": actor, "subject": did(2)}),
        "Ping" => json!({}),
        _ => json!({"actor": actor}),
    }
}

fn with(method: &str, field: &str, value: Value) -> Value {
    let mut message = valid(method);
    message[field] = value;
    message
}

#[tokio::test(flavor = "multi_thread")]
async fn each_field_that_is_wrong_has_its_reason() {
    let app = App::start().await;
    let long = "x".repeat(5000);
    let dids = [
        json!(""),
        json!("alice"),
        json!("did:plc:"),
        json!("did:plc:a#frag"),
        json!("did:plc:a/path"),
        json!("did:plc:a?query"),
        json!("did:PLC:a"),
        json!(format!("did:plc:{long}")),
        json!("did:plc:\u{0}"),
        json!(5),
        json!({}),
        json!(["did:plc:a"]),
    ];
    let mut cases: Vec<(&str, &str, Value, &str)> = Vec::new();
    for method in METHODS.into_iter().filter(|method| *method != "Ping") {
        cases.extend(dids.iter().map(|value| (method, "actor", value.clone(), "INVALID_DID")));
    }
    cases.extend(dids.iter().map(|value| ("DismissMatch", "subject", value.clone(), "INVALID_DID")));
    for value in
        [json!(""), json!("+"), json!(long), json!("+1212555010\u{0}"), json!(5), json!(true), json!([])]
    {
        cases.push(("StartPhoneVerification", "phone", value.clone(), "INVALID_PHONE"));
        cases.push(("VerifyPhone", "phone", value, "INVALID_PHONE"));
    }
    for value in
        [json!(""), json!("12345"), json!("1234567"), json!("12345a"), json!("１２３４５６"), json!(123456)]
    {
        cases.push(("VerifyPhone", "verificationCode", value, "INVALID_CODE"));
    }
    for value in [json!(""), json!(long), json!("\u{0}"), json!(5), json!({})] {
        cases.push(("ImportContacts", "token", value, "INVALID_TOKEN"));
    }
    for value in [json!([]), json!("x"), json!([5]), json!([null]), json!({})] {
        cases.push(("ImportContacts", "contacts", value, "INVALID_CONTACTS"));
    }
    cases.push(("ImportContacts", "contacts", json!(vec![number(2); 1001]), "TOO_MANY_CONTACTS"));
    cases.push(("ImportContacts", "contacts", json!(vec!["x".repeat(5000); 500]), "TOO_MANY_CONTACTS"));
    for value in [json!(0), json!(-1), json!(101), json!("x"), json!(1e20), json!(1.5), json!([])] {
        cases.push(("GetMatches", "limit", value, "INVALID_LIMIT"));
    }
    for value in [json!("x"), json!(long), json!("\u{0}"), json!(5), json!({})] {
        cases.push(("GetMatches", "cursor", value, "INVALID_CURSOR"));
    }
    // Something to change: an account with a match, a code on its way, a waiting number.
    app.import(&did(3), &number(3), &[&number(4)]).await;
    app.import(&did(4), &number(4), &[&number(3)]).await;
    app.client.start_verification(&did(1), &number(1)).await.unwrap();
    let before = app.rows();
    for (method, field, value, reason) in cases {
        let answer = json(&app.url, method, &with(method, field, value.clone())).await;
        let told = format!("{method}.{field} = {value:.60}: {answer:?}");
        assert_eq!(answer.reason().as_deref(), Some(reason), "{told}");
        assert!((400..500).contains(&answer.status), "{told}");
        assert!(answer.head.contains("content-type: application/json"), "{told}");
        let error: Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(error["details"][0]["type"], "google.rpc.ErrorInfo", "{told}");
        assert!(error["details"][0]["value"].is_string() && error["message"].is_string(), "{told}");
        assert_eq!(app.rows(), before, "{told}");
    }
}

async fn nothing_is_stored(app: &App) {
    assert!(app.client.sync_status(&did(1)).await.unwrap().is_none());
    assert_eq!(app.discovery().waiting_pairs().await.unwrap(), 0);
    assert_eq!(app.client.remove_data(&did(1)).await.unwrap().contacts, 0);
    app.client.ping().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_over_the_limit_is_refused_by_its_method() {
    let app = App::start_with(|config| config.http.max_body_kib = 64).await;
    let huge = vec![b'x'; 100_000];
    for (method, reason) in [("ImportContacts", "TOO_MANY_CONTACTS"), ("VerifyPhone", "INVALID_CODE")] {
        for content_type in ["application/proto", "application/json"] {
            let answer = call(&app.url, method, content_type, &huge).await;
            assert_eq!((answer.status, answer.reason().as_deref()), (413, Some(reason)));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_key_nothing_is_answered() {
    let app = App::start().await;
    for authorization in
        ["", "authorization: Bearer \r\n", "authorization: Bearer wrong\r\n", "authorization: Basic x\r\n"]
    {
        let request = format!(
            "POST /rolodex.RolodexService/Ping HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{authorization}\
             content-type: application/json\r\ncontent-length: 2\r\n\r\n{{}}"
        );
        let answer = exchange(&app.url, request.as_bytes()).await;
        assert_eq!(answer.status, 401);
        let error: Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(error["code"], "unauthenticated");
        assert!(error.get("details").is_none());
    }
    for path in ["/healthz", "/readyz"] {
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        assert_eq!(exchange(&app.url, request.as_bytes()).await.status, 200);
    }
}

/// Text that is sometimes nearly right.
fn text() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<String>().prop_map(Value::String),
        Just(json!(did(1))),
        Just(json!(number(1))),
        "[+0-9 ()-]{0,20}".prop_map(Value::String),
        "did:[a-z]{0,4}:[a-zA-Z0-9#/%.]{0,12}".prop_map(Value::String),
        "[0-9]{6}".prop_map(Value::String),
        "[A-Za-z0-9_-]{0,300}".prop_map(Value::String),
        any::<i64>().prop_map(|number| json!(number)),
        Just(Value::Null),
        proptest::collection::vec(any::<String>(), 0..4).prop_map(|list| json!(list)),
    ]
}

fn message() -> impl Strategy<Value = (usize, Value)> {
    // One field that may be anything; the rest is valid, so that the method gets as far as that field.
    (0..METHODS.len(), any::<proptest::sample::Index>(), text()).prop_map(|(method, field, value)| {
        let mut message = valid(METHODS[method]);
        let names: Vec<String> = message.as_object().unwrap().keys().cloned().collect();
        if !names.is_empty() {
            message[&names[field.index(names.len())]] = value;
        }
        (method, message)
    })
}

/// Runs a property against a running server; the runtime drives both.
fn property<T: std::fmt::Debug>(
    cases: u32,
    strategy: impl Strategy<Value = T>,
    check: impl AsyncFn(&App, T) -> Result<(), TestCaseError>,
) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let app = runtime.block_on(App::start());
    let mut runner = TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() });
    runner.run(&strategy, |value| runtime.block_on(check(&app, value))).unwrap();
    runtime.block_on(async {
        nothing_is_stored(&app).await;
    });
}

/// Success, or a refusal that the AppView understands; never a fault of ours.
fn is_in_order(answer: &crate::raw::Answer) -> Result<(), TestCaseError> {
    let reason = answer.reason();
    prop_assert!(
        answer.status == 200
            || (400..500).contains(&answer.status) && reason.as_deref() != Some("INTERNAL_ERROR"),
        "{answer:?}"
    );
    prop_assert!(answer.status == 200 || reason.is_some(), "{answer:?}");
    Ok(())
}

#[test]
fn any_json_message_is_answered_in_order() {
    property(400, message(), async |app, (method, message)| {
        is_in_order(&json(&app.url, METHODS[method], &message).await)
    });
}

#[test]
fn any_bytes_are_answered_in_order() {
    let bytes = proptest::collection::vec(any::<u8>(), 0..200);
    let started = proptest::collection::vec(any::<u8>(), 0..60)
        .prop_map(|rest| [b"\x0a\x0edid:plc:anyone".as_slice(), &rest].concat());
    let body = prop_oneof![bytes, started];
    property(400, (0..METHODS.len(), body, any::<bool>()), async |app, (method, body, json)| {
        let content_type = if json { "application/json" } else { "application/proto" };
        is_in_order(&call(&app.url, METHODS[method], content_type, &body).await)
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_and_broken_requests_do_not_hold_the_server() {
    let app = App::start_with(|config| config.http.header_timeout_s = 1).await;
    let slow = exchange(&app.url, b"POST /rolodex.RolodexService/Ping HTTP/1.1\r\nhost: x\r\n");
    let huge_header = format!("GET /healthz HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n", "y".repeat(1_000_000));
    let huge = exchange(&app.url, huge_header.as_bytes());
    let garbage = exchange(&app.url, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03garbage\r\n\r\n");
    let key = format!("Bearer {API_KEY}");
    let cut = format!(
        "POST /rolodex.RolodexService/Ping HTTP/1.1\r\nhost: x\r\nauthorization: {key}\r\ntransfer-encoding: chunked\r\n\
         content-type: application/proto\r\nconnection: close\r\n\r\nzz\r\n"
    );
    let cut = exchange(&app.url, cut.as_bytes());
    // A connection that says nothing, or begins like HTTP/2 and stops, is closed as well.
    let silent = exchange(&app.url, b"");
    let preface = exchange(&app.url, b"PRI * HTTP/2.0\r\n\r\nSM");
    let all = async { tokio::join!(slow, huge, garbage, cut, silent, preface) };
    let (slow, huge, garbage, cut, silent, preface) =
        tokio::time::timeout(std::time::Duration::from_secs(30), all)
            .await
            .expect("every connection is closed");
    assert_eq!((silent.status, preface.status), (0, 0));
    assert!(slow.status == 0 || slow.status == 408, "{slow:?}");
    assert!(huge.status == 431 || huge.status == 0, "{huge:?}");
    assert!(garbage.status == 400 || garbage.status == 0, "{garbage:?}");
    assert!(cut.status == 400 || cut.status == 0, "{cut:?}");
    app.client.ping().await.unwrap();
}
