use super::*;

#[tokio::test]
async fn the_request_is_the_documented_one() {
    let queued = r#"{"api_id":"a","message":"message(s) queued","message_uuid":["db3ce55a-7f1d-11e1-8ea7-1231380bc196"]}"#;
    let provider = Provider::start([Reply::Json(202, queued.into())]).await;
    send("plivo", &config(&provider.url), NUMBER).await.unwrap();
    let [request] = provider.requests().try_into().unwrap();
    assert_eq!(request.method, "POST");
    assert_eq!(request.path, "/v1/Account/MA2025RK4E639VJFZAGV/Message/");
    assert_eq!(request.header("authorization"), basic("MA2025RK4E639VJFZAGV", "plivo's token"));
    assert_eq!(request.header("content-type"), "application/json");
    let body: serde_json::Value = serde_json::from_slice(&request.body).unwrap();
    let text = "041627 is your code & <nothing> else: 1+1=2";
    assert_eq!(body, serde_json::json!({ "src": "Example", "dst": NUMBER, "text": text, "log": false }));
}

#[tokio::test]
async fn refusals_are_told_apart() {
    let cases = [
        (202, r#"{"message_uuid":[],"invalid_number":["12125550123"]}"#, Fate::Recipient, "invalid"),
        (400, r#"{"api_id":"a","error":"12125550123 is not valid"}"#, Fate::Refused, "plivo.from"),
        (401, "Could not verify your access level", Fate::Refused, "credentials"),
        (402, "{}", Fate::Refused, "balance"),
    ];
    for (status, body, fate, reason) in cases {
        let provider = Provider::start([Reply::Json(status, body.into())]).await;
        let failure = send("plivo", &config(&provider.url), NUMBER).await.unwrap_err();
        assert_eq!(failure.fate, fate, "{status} {body}");
        assert!(failure.reason.contains(reason), "{status} {body}: {}", failure.reason);
    }
}

#[tokio::test]
async fn every_fault_is_told_apart() {
    http_faults("plivo", false).await;
    let provider = Provider::start([Reply::Page(400)]).await;
    let failure = send("plivo", &config(&provider.url), NUMBER).await.unwrap_err();
    assert_eq!((failure.fate, failure.reason.contains("web page")), (Fate::Refused, true));
}

#[tokio::test]
async fn the_probe_reads_the_account_and_sends_nothing() {
    let account = |kind: &str, id: &str| {
        Reply::Json(200, format!(r#"{{"account_type":"{kind}","auth_id":"{id}","cash_credits":"1.8"}}"#))
    };
    let own = "MA2025RK4E639VJFZAGV";
    let replies = [account("standard", own), account("developer", own), account("standard", "MAOTHER")];
    let provider = Provider::start(replies).await;
    assert_eq!(probe("plivo", &config(&provider.url)).await.unwrap(), "the account is known");
    assert!(probe("plivo", &config(&provider.url)).await.unwrap().contains("trial"));
    let failure = probe("plivo", &config(&provider.url)).await.unwrap_err();
    assert!(failure.reason.contains("another account"), "{}", failure.reason);
    let [request, _, _] = provider.requests().try_into().unwrap();
    assert_eq!(
        (request.method.as_str(), request.path.as_str()),
        ("GET", "/v1/Account/MA2025RK4E639VJFZAGV/")
    );
    assert_eq!(request.header("authorization"), basic(own, "plivo's token"));
}
