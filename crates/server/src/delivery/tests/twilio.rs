use super::*;

const MADE: &str = r#"{"sid":"SM0123456789abcdef0123456789abcdef","status":"queued","error_code":null}"#;

#[tokio::test]
async fn the_request_is_the_documented_one() {
    let provider = Provider::start([Reply::Json(201, MADE.into())]).await;
    send("twilio", &config(&provider.url), NUMBER).await.unwrap();
    let [request] = provider.requests().try_into().unwrap();
    assert_eq!(request.method, "POST");
    assert_eq!(request.path, format!("/2010-04-01/Accounts/{SID}/Messages.json"));
    assert_eq!(request.header("authorization"), basic(SID, "twilio's token"));
    assert_eq!(request.header("content-type"), "application/x-www-form-urlencoded");
    let body = String::from_utf8(request.body).unwrap();
    assert_eq!(
        body,
        "To=%2B12125550123&From=%2B12125550100&Body=041627+is+your+code+%26+%3Cnothing%3E+else%3A+1%2B1%3D2"
    );
}

#[tokio::test]
async fn a_messaging_service_and_an_api_key_take_the_place_of_number_and_account() {
    let provider = Provider::start([Reply::Json(201, MADE.into())]).await;
    let mut config = config(&provider.url);
    config.twilio.api_key_sid = "SK0123456789abcdef0123456789abcdef".into();
    config.twilio.from = "MG0123456789abcdef0123456789abcdef".into();
    config.twilio.url += "/";
    send("twilio", &config, NUMBER).await.unwrap();
    let [request] = provider.requests().try_into().unwrap();
    assert_eq!(request.path, format!("/2010-04-01/Accounts/{SID}/Messages.json"));
    assert_eq!(request.header("authorization"), basic(&config.twilio.api_key_sid, "twilio's token"));
    let body = String::from_utf8(request.body).unwrap();
    let wanted = "To=%2B12125550123&MessagingServiceSid=MG0123456789abcdef0123456789abcdef&Body=041627+";
    assert!(body.starts_with(wanted), "{body}");
}

#[tokio::test]
async fn documented_errors_have_their_own_reasons() {
    use Fate::{Recipient, Refused, Unavailable};
    let cases = [
        (400, 21211, Recipient, "invalid"),
        (400, 21610, Recipient, "unsubscribed"),
        (400, 21614, Recipient, "mobile"),
        (400, 21635, Recipient, "landline"),
        (403, 21408, Refused, "region"),
        (400, 21606, Refused, "twilio.from"),
        (400, 21608, Refused, "trial"),
        (401, 20003, Refused, "credentials"),
        (404, 20404, Refused, "20404"),
        (429, 20429, Unavailable, "429"),
        (400, 99999, Refused, "refuses the request"),
        // What a failing server says of the number is not believed.
        (500, 21211, Fate::Unknown, "error of its own"),
    ];
    for (status, code, fate, reason) in cases {
        let body = format!(
            r#"{{"code":{code},"message":"Invalid 'To' Phone Number: {NUMBER}","more_info":"https://www.twilio.com/docs/errors/{code}","status":{status}}}"#
        );
        let provider = Provider::start([Reply::Json(status, body)]).await;
        let failure = send("twilio", &config(&provider.url), NUMBER).await.unwrap_err();
        assert_eq!(failure.fate, fate, "{code}");
        assert!(failure.reason.contains(reason), "{code}: {}", failure.reason);
    }
}

#[tokio::test]
async fn a_message_that_failed_at_once_is_not_sent() {
    for (code, fate) in [("21610", Fate::Recipient), ("null", Fate::Refused)] {
        let body = format!(r#"{{"sid":"SM01","status":"failed","error_code":{code}}}"#);
        let provider = Provider::start([Reply::Json(201, body)]).await;
        let failure = send("twilio", &config(&provider.url), NUMBER).await.unwrap_err();
        assert_eq!(failure.fate, fate, "{code}");
    }
}

#[tokio::test]
async fn every_fault_is_told_apart() {
    http_faults("twilio", false).await;
    let provider = Provider::start([Reply::Page(403)]).await;
    let failure = send("twilio", &config(&provider.url), NUMBER).await.unwrap_err();
    assert_eq!((failure.fate, failure.reason.contains("web page")), (Fate::Refused, true));
}

#[tokio::test]
async fn the_probe_reads_the_account_and_sends_nothing() {
    let active = r#"{"status":"active","type":"Full","friendly_name":"x"}"#;
    let trial = r#"{"status":"active","type":"Trial"}"#;
    let provider = Provider::start([active, trial].map(|body| Reply::Json(200, body.into()))).await;
    assert_eq!(probe("twilio", &config(&provider.url)).await.unwrap(), "the account is active");
    assert!(probe("twilio", &config(&provider.url)).await.unwrap().contains("trial"));
    let [request, _] = provider.requests().try_into().unwrap();
    assert_eq!(
        (request.method.as_str(), request.path.clone()),
        ("GET", format!("/2010-04-01/Accounts/{SID}.json"))
    );
    assert_eq!(request.header("authorization"), basic(SID, "twilio's token"));

    let closed = r#"{"status":"suspended"}"#;
    let refused = r#"{"code":20003,"message":"Authenticate","status":401}"#;
    for (reply, reason) in [
        (Reply::Json(200, closed.into()), "suspended"),
        (Reply::Json(401, refused.into()), "20003"),
        (Reply::Page(200), "web page"),
    ] {
        let provider = Provider::start([reply]).await;
        let failure = probe("twilio", &config(&provider.url)).await.unwrap_err();
        assert!(failure.reason.contains(reason), "{}", failure.reason);
    }

    let provider = Provider::start([Reply::Json(200, r#"{"incoming_phone_numbers":[]}"#.into())]).await;
    let mut config = config(&provider.url);
    config.twilio.api_key_sid = "SK0123456789abcdef0123456789abcdef".into();
    probe("twilio", &config).await.unwrap();
    let [request] = provider.requests().try_into().unwrap();
    assert_eq!(request.path, format!("/2010-04-01/Accounts/{SID}/IncomingPhoneNumbers.json?PageSize=1"));
}
