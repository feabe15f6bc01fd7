use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::*;

#[tokio::test]
async fn the_request_is_signed_and_says_what_to_send_to_whom() {
    let provider = Provider::start([Reply::Page(200)]).await;
    for (to, kind) in [(NUMBER, "phone"), (ADDRESS, "email")] {
        send("webhook", &config(&provider.url), to).await.unwrap();
        let request = provider.requests().pop().unwrap();
        assert_eq!((request.method.as_str(), request.path.as_str()), ("POST", "/codes?of=acquaint"));
        assert_eq!(request.header("content-type"), "application/json");
        assert_eq!(request.header("idempotency-key"), ID);
        assert_eq!(request.header("webhook-id"), ID);
        // The clock of the test: 2026-01-01T00:00:00Z.
        assert_eq!(request.header("webhook-timestamp"), "1767225600");
        let key = BASE64_STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let mut mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
        mac.update(&[format!("{ID}.1767225600.").as_bytes(), &request.body].concat());
        let signature = BASE64_STANDARD.encode(mac.finalize().into_bytes());
        assert_eq!(request.header("webhook-signature"), format!("v1,{signature}"));
        let body: serde_json::Value = serde_json::from_slice(&request.body).unwrap();
        let text = "041627 is your code & <nothing> else: 1+1=2";
        let wanted =
            serde_json::json!({ "type": "code", "to": { kind: to }, "code": CODE, "text": text, "id": ID });
        assert_eq!(body, wanted);
    }
}

#[tokio::test]
async fn every_fault_is_told_apart() {
    http_faults("webhook", true).await;
    let provider = Provider::start([Reply::Json(422, "{}".into())]).await;
    let failure = send("webhook", &config(&provider.url), NUMBER).await.unwrap_err();
    assert_eq!((failure.fate, failure.reason.contains("422")), (Fate::Recipient, true));
}

#[tokio::test]
async fn the_probe_is_a_signed_ping() {
    let provider = Provider::start([Reply::Json(204, String::new()), Reply::Json(403, "{}".into())]).await;
    probe("webhook", &config(&provider.url)).await.unwrap();
    assert!(probe("webhook", &config(&provider.url)).await.unwrap_err().reason.contains("credentials"));
    let [request, _] = provider.requests().try_into().unwrap();
    assert_eq!(request.body, br#"{"type":"ping"}"#);
    assert!(request.header("webhook-signature").starts_with("v1,"));
}
