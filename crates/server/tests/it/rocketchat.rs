//! Rocket.Chat's lookup by weak hashes on each store: seed 003's page byte for byte, and the limits that it does not have.

use std::time::Duration;

use acquaint_server::config::Config;
use acquaint_testkit::{Answer, BACK_END_KEY, back_end, own_tokens};
use serde_json::{Value, json};

use super::App;

const PATH: &str = "/api/v1/query.contacts";
/// Ids as Rocket.Chat makes them.
const JOHNY: &str = "aobEdbYhXfu5hkeqG";
const JANE: &str = "rbAXPnMktTFbNpwtJ";
const SEEKER: &str = "BsNr28znDkG8aeo7W";

async fn app(change: impl FnOnce(&mut Config)) -> App {
    App::start_with(|config| {
        configure(config);
        change(config);
    })
    .await
}

fn configure(config: &mut Config) {
    back_end(config);
    config.account_format = acquaint_protocol::identifier::AccountFormat::Opaque;
    config.directory.provider = "contacts.example".into();
    config.verification.emails = true;
    config.rocketchat.enabled = true;
    own_tokens(config);
}

async fn query_as(app: &App, user: &str, body: &str) -> Answer {
    let headers = format!("x-auth-token: {}\r\nx-user-id: {user}\r\n", app.own_token(user));
    app.ask("POST", PATH, &headers, body).await
}

async fn query(app: &App, hashes: &[&str]) -> Answer {
    query_as(app, SEEKER, &json!({ "weakHashes": hashes }).to_string()).await
}

/// The strong hashes that are found.
async fn found(app: &App, hashes: &[&str]) -> Vec<String> {
    let mut answer = query(app, hashes).await;
    // After a long time without a look the index is made anew, in the background.
    for _ in 0..100 {
        if answer.status != 503 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        answer = query(app, hashes).await;
    }
    assert_eq!(answer.status, 200, "{answer:?}");
    let found = answer.json()["strongHashes"].as_array().unwrap().clone();
    found.iter().map(|candidate| candidate["h"].as_str().unwrap().to_owned()).collect()
}

/// Verifies an identifier for the directory and lists the account under it; the listing's id.
async fn enrol(app: &App, account: &str, identifier: &str, username: Option<&str>) -> String {
    let asked = json!({ "identifier": identifier }).to_string();
    let sent = app.as_account(account, "POST", "/v1/directory/verifications", &asked).await;
    assert_eq!(sent.status, 202, "{sent:?}");
    let guess = json!({ "identifier": identifier, "code": app.code(identifier) }).to_string();
    let confirmed = app.as_account(account, "POST", "/v1/directory/verifications/confirm", &guess).await;
    let listing = json!({ "token": confirmed.text("token"), "username": username }).to_string();
    let listed = app.as_account(account, "POST", "/v1/directory/listings", &listing).await;
    assert_eq!(listed.status, 201, "{listed:?}");
    listed.text("id")
}

/// An identifier of the page with its strong hash, and its weak ones of four and six digits.
struct Vector {
    identifier: String,
    strong: String,
    weak: [String; 2],
}

/// +918888888888, +919999999999 and j@ex.com.
fn vectors() -> [Vector; 3] {
    let file: Value =
        serde_json::from_str(include_str!("../../../../vectors/bucket/rocketchat.json")).unwrap();
    let vectors: Vec<Vector> = file["vectors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|vector| {
            let text = |field: &str| vector[field].as_str().unwrap().to_owned();
            let (_, identifier) = vector["identifier"].as_str().unwrap().split_once(':').unwrap();
            let (identifier, weak) = (identifier.to_owned(), [text("weak_4"), text("weak_6")]);
            Vector { identifier, strong: text("strong"), weak }
        })
        .collect();
    vectors.try_into().unwrap_or_else(|_| panic!("three vectors"))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_is_answered_byte_for_byte_with_four_digits_and_with_six() {
    let [johny, jane, mail] = vectors();
    for (digits, at) in [(4, 0), (6, 1)] {
        let app = app(|config| config.rocketchat.digits = digits).await;
        enrol(&app, JOHNY, &johny.identifier, Some("jhn")).await;
        // Who gives no name is known by the id.
        enrol(&app, JANE, &jane.identifier, None).await;
        enrol(&app, JOHNY, &mail.identifier, Some("johny")).await;
        for (vector, username, id) in [(&johny, "jhn", JOHNY), (&jane, JANE, JANE), (&mail, "johny", JOHNY)] {
            let body = format!(r#"{{"weakHashes":["{}"]}}"#, vector.weak[at]);
            let answer = query_as(&app, SEEKER, &body).await;
            let candidate = format!(r#"{{"h":"{}","u":"{username}","_id":"{id}"}}"#, vector.strong);
            let wanted = format!(r#"{{"strongHashes":[{candidate}],"success":true}}"#);
            assert_eq!((answer.status, String::from_utf8_lossy(&answer.body)), (200, wanted.into()));
            assert_eq!(answer.header("content-type"), Some("application/json"));
            assert_eq!(answer.header("cache-control"), Some("private, max-age=30"));
        }
        // By the hash alone that the page's client has computed; those of the other length are none.
        let weak = [&*johny.weak[at], &*jane.weak[at], &*mail.weak[at]];
        let mut all = found(&app, &weak).await;
        all.sort_unstable();
        let mut wanted = [johny.strong.clone(), jane.strong.clone(), mail.strong.clone()];
        wanted.sort_unstable();
        assert_eq!(all, wanted);
        assert_eq!(query(&app, &[&johny.weak[1 - at]]).await.status, 400);
        // Nobody is there.
        let nobody = "0".repeat(johny.weak[at].len());
        for hashes in [&[nobody.as_str()][..], &[]] {
            let answer = query(&app, hashes).await;
            assert_eq!(answer.status, 200, "{answer:?}");
            assert_eq!(answer.body, br#"{"strongHashes":[],"success":true}"#);
        }
        for body in ["{}", r#"{"weakHashes":null}"#, r#"{"weak":["2d1c"]}"#, ""] {
            let answer = query_as(&app, SEEKER, body).await;
            let wanted = br#"{"success":false,"error":"weakHashes param not present."}"#;
            assert_eq!((answer.status, &*answer.body), (400, &wanted[..]), "{body}");
            assert_eq!(answer.header("cache-control"), Some("no-store"));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_that_is_no_session_gets_one_answer() {
    let app = app(|_| {}).await;
    let (good, other) = (app.own_token(SEEKER), app.own_token(JANE));
    let over = {
        let past = app.own_token(SEEKER);
        app.clock.advance(Duration::from_secs(600));
        past
    };
    let good_now = app.own_token(SEEKER);
    assert_ne!(good, good_now);
    let auth = |token: &str| format!("x-auth-token: {token}\r\n");
    let user = |user: &str| format!("x-user-id: {user}\r\n");
    let body = json!({ "weakHashes": ["2d1ce7"] }).to_string();
    let fresh = [auth(&good_now), user(SEEKER)].concat();
    assert_eq!(app.ask("POST", PATH, &fresh, &body).await.status, 200);
    let of_others = format!("authorization: Bearer {good_now}\r\n");
    let with_key = format!("authorization: Bearer {BACK_END_KEY}\r\nacquaint-account: {SEEKER}\r\n");
    for headers in [
        String::new(),
        auth(&good_now),
        user(SEEKER),
        [auth(&good_now), user(JANE)].concat(),
        [auth(&good_now), user("")].concat(),
        [auth(&good_now), user(&SEEKER.to_lowercase())].concat(),
        [auth(&other), user(SEEKER)].concat(),
        [auth(&over), user(SEEKER)].concat(),
        [auth(""), user(SEEKER)].concat(),
        [auth("wrong"), user(SEEKER)].concat(),
        [auth("a b"), user(SEEKER)].concat(),
        [auth("caf\u{e9}"), user(SEEKER)].concat(),
        [auth(&format!("Bearer {good_now}")), user(SEEKER)].concat(),
        [auth(&format!("{good_now}A")), user(SEEKER)].concat(),
        [auth(&good_now[..good_now.len() - 1]), user(SEEKER)].concat(),
        [auth(&good_now), auth(&good_now), user(SEEKER)].concat(),
        [auth(&good_now), user(SEEKER), user(SEEKER)].concat(),
        [auth(&good_now), user(SEEKER), user(JANE)].concat(),
        // A back end's key acts for anybody whom it names elsewhere, and not here.
        [auth(BACK_END_KEY), user(SEEKER)].concat(),
        [auth(BACK_END_KEY), user(SEEKER), format!("acquaint-account: {SEEKER}\r\n")].concat(),
        [auth(&"a".repeat(20_000)), user(SEEKER)].concat(),
        [auth(&"a.".repeat(8_200)), user(SEEKER)].concat(),
        of_others,
        with_key,
    ] {
        let answer = app.ask("POST", PATH, &headers, &body).await;
        let told = br#"{"status":"error","message":"You must be logged in to do this."}"#;
        let shown = headers.get(..80).unwrap_or(&headers);
        assert_eq!((answer.status, &*answer.body), (401, &told[..]), "{shown}");
        let mut names: Vec<&str> = answer.head.lines().filter_map(|line| line.split(':').next()).collect();
        names.sort_unstable();
        let wanted = [
            "",
            "cache-control",
            "connection",
            "content-length",
            "content-type",
            "date",
            "http/1.1 401 unauthorized",
            "x-request-id",
        ];
        assert_eq!(names, wanted, "{shown}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn opaque_tokens_are_asked_about() {
    use acquaint_testkit::provider::{Provider, Reply};
    let active = json!({ "active": true, "sub": SEEKER }).to_string();
    let known =
        [Reply::Json(200, active), Reply::Json(200, json!({ "active": false }).to_string()), Reply::HangUp];
    let operator = Provider::start(known).await;
    let app = app(|config| {
        config.tokens.introspection_url = operator.url.clone();
        config.tokens.introspection_client_id = "acquaint".into();
        config.tokens.introspection_client_secret = "a secret of the tests".into();
    })
    .await;
    // As Rocket.Chat's login answers them.
    let ask = async |token: &str| {
        let headers = format!("x-auth-token: {token}\r\nx-user-id: {SEEKER}\r\n");
        let answer = app.ask("POST", PATH, &headers, r#"{"weakHashes":["2d1ce7"]}"#).await;
        (answer.status, String::from_utf8(answer.body).unwrap())
    };
    let nobody = r#"{"strongHashes":[],"success":true}"#.to_owned();
    assert_eq!(ask("jZ8vsoTFMI8XD-gYqlZ3cgdIkX6aNcWVDzbfqk_SOqr").await, (200, nobody));
    assert_eq!(ask("withdrawn").await.0, 401);
    let unavailable = r#"{"success":false,"error":"the token cannot be checked at the moment"}"#.to_owned();
    assert_eq!(ask("another").await, (503, unavailable));
    let body = String::from_utf8(operator.requests()[0].body.clone()).unwrap();
    assert!(body.contains("token=jZ8vsoTFMI8XD-gYqlZ3cgdIkX6aNcWVDzbfqk_SOqr&"), "{body}");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_off_until_it_is_switched_on() {
    let app = app(|config| config.rocketchat.enabled = false).await;
    enrol(&app, JOHNY, "+918888888888", None).await;
    let off = query(&app, &["2d1ce7"]).await;
    let told = r#"{"success":false,"error":"this service does not answer this lookup"}"#;
    assert_eq!((off.status, String::from_utf8_lossy(&off.body)), (404, told.into()));
    let app = app.restart_with(|config| config.rocketchat.enabled = true).await;
    assert_eq!(found(&app, &["2d1ce7"]).await.len(), 1);
    for method in ["GET", "PUT", "DELETE", "OPTIONS"] {
        let answer = app.ask(method, PATH, "", "").await;
        assert_eq!((answer.status, answer.json()["success"].clone()), (405, json!(false)), "{method}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_told_and_costs_nothing() {
    let app = app(|config| {
        config.rocketchat.weak_hashes = 7;
        config.directory.max_batch = 100;
    })
    .await;
    let many: Vec<String> = (0..65_536).map(|prefix| format!("{prefix:06x}")).collect();
    let long: Vec<String> = (0..200_000).map(|prefix| format!("{prefix:06x}")).collect();
    let list = |hashes: Value| json!({ "weakHashes": hashes }).to_string();
    let shape = "the body must be a JSON object with weakHashes, a list of texts";
    for (body, status, error) in [
        (list(json!(many)), 400, "weakHashes must have 1 to 100 entries"),
        (list(json!(vec!["2d1ce7"; 101])), 400, "weakHashes must have 1 to 100 entries"),
        (list(json!(long)), 413, "the body is larger than what may be asked takes"),
        (list(json!(["2d1ce7", "constructor"])), 400, "weakHashes: entry 1: a weak hash has 6 digits here"),
        (list(json!(["__proto__"])), 400, "weakHashes: entry 0: a weak hash has 6 digits here"),
        (list(json!(["$where"])), 400, "weakHashes: entry 0: a weak hash is written in hexadecimal"),
        (list(json!(["valueO"])), 400, "weakHashes: entry 0: a weak hash is written in hexadecimal"),
        (list(json!(["2D1CE7"])), 400, "weakHashes: entry 0: a weak hash is written in lower case"),
        (list(json!(["2d1c"])), 400, "weakHashes: entry 0: a weak hash has 6 digits here"),
        (list(json!(["2d1ce7a"])), 400, "weakHashes: entry 0: a weak hash has 6 digits here"),
        (list(json!([""])), 400, "weakHashes: entry 0: a weak hash has 6 digits here"),
        (list(json!(["2d1c\u{e9}"])), 400, "weakHashes: entry 0: a weak hash is written in hexadecimal"),
        (list(json!([" 2d1ce"])), 400, "weakHashes: entry 0: a weak hash is written in hexadecimal"),
        (list(json!(["+2d1ce"])), 400, "weakHashes: entry 0: a weak hash is written in hexadecimal"),
        (list(json!([123_456])), 400, shape),
        (list(json!([["2d1ce7"]])), 400, shape),
        (list(json!([null])), 400, shape),
        (list(json!([{ "$gt": "" }])), 400, shape),
        (list(json!({ "$gt": "" })), 400, shape),
        (list(json!("2d1ce7")), 400, shape),
        (list(json!(true)), 400, shape),
        (r#"{"weakHashes":["2d1ce7"],"weakHashes":["2d1ce7"]}"#.into(), 400, shape),
        (r#"{"weakHashes":["2d1ce7"]"#.into(), 400, shape),
        ("[".repeat(10_000), 400, shape),
        ("weakHashes=2d1ce7".into(), 400, shape),
    ] {
        let answer = query_as(&app, SEEKER, &body).await;
        let shown = body.get(..60).unwrap_or(&body);
        assert_eq!(answer.status, status, "{shown}: {answer:?}");
        assert_eq!(answer.json(), json!({ "success": false, "error": error }), "{shown}");
    }
    // Odd members beside the list change nothing, and neither do odd names.
    let odd = r#"{"__proto__":{"weakHashes":[]},"constructor":1,"weakHashes":["2d1ce7"]}"#;
    assert_eq!(query_as(&app, SEEKER, odd).await.status, 200);
    // Six are left of seven: nothing above was charged.
    assert_eq!(query(&app, &["000001", "000002", "000003", "000004", "000005", "000006"]).await.status, 200);
    assert_eq!(query(&app, &["000007"]).await.status, 429);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_different_weak_hash_that_is_answered_is_charged() {
    let app = app(|config| {
        config.rocketchat.weak_hashes = 5;
        config.rocketchat.weak_hashes_per_day = 24;
    })
    .await;
    enrol(&app, JOHNY, "+918888888888", Some("jhn")).await;
    // Three different ones, and one candidate for the two that are the same.
    let twice = found(&app, &["2d1ce7", "000001", "2d1ce7", "000002", "000001"]).await;
    assert_eq!(twice, ["b612d1ce7aba6afa3c4ad8234a6cb0813c79885a"]);
    let refused = query(&app, &["000003", "000004", "000005"]).await;
    assert_eq!(refused.status, 429, "{refused:?}");
    // One an hour comes back.
    assert_eq!(refused.header("retry-after"), Some("3600"));
    assert_eq!(refused.json()["success"], false);
    assert!(refused.text("error").contains("lookups"), "{refused:?}");
    // All or nothing, and the two that are left are left.
    assert_eq!(found(&app, &["2d1ce7", "000003"]).await.len(), 1);
    assert_eq!(query(&app, &["2d1ce7"]).await.status, 429);
    // Another account has its own, and other lookups have theirs.
    let others = query_as(&app, JANE, r#"{"weakHashes":["2d1ce7"]}"#).await;
    assert_eq!(others.status, 200, "{others:?}");
    let quota = app.as_account(SEEKER, "GET", "/v1/lookup/quota", "").await.json();
    assert_eq!(quota["queries"]["left"], 4_096);
    app.clock.advance(Duration::from_secs(3600));
    assert_eq!(found(&app, &["2d1ce7"]).await.len(), 1);
    assert_eq!(query(&app, &["2d1ce7"]).await.status, 429);
    let events = app.discovery().audit_events(None, 100).await.unwrap();
    let refused: Vec<_> = events.iter().filter(|event| event.kind == "lookup.refused").collect();
    assert!(!refused.is_empty());
    assert_eq!(refused[0].details["weak_hashes"], 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_withdrew_or_did_not_verify_again_is_not_found() {
    let app = app(|config| config.directory.listing_ttl_days = 1).await;
    let id = enrol(&app, JOHNY, "+918888888888", Some("jhn")).await;
    enrol(&app, JANE, "+919999999999", None).await;
    let both = ["2d1ce7", "ac85e3"];
    assert_eq!(found(&app, &both).await.len(), 2);
    let withdrawn = app.as_account(JOHNY, "DELETE", &format!("/v1/directory/listings/{id}"), "").await;
    assert_eq!(withdrawn.json(), json!({ "withdrawn": 1 }));
    assert_eq!(found(&app, &both).await, ["7a6ac85e3ed0e9bcf961dc3f9107ca9b04184a08"]);
    // The next owner of a number is found, and the one before is not.
    app.clock.advance(Duration::from_secs(1));
    enrol(&app, JOHNY, "+919999999999", Some("jhn")).await;
    let answer = query(&app, &both).await.json();
    assert_eq!(answer["strongHashes"].as_array().unwrap().len(), 1);
    assert_eq!(answer["strongHashes"][0]["_id"], JOHNY);
    // To the second: the sweep, which takes the row, may come a minute later.
    app.clock.advance(Duration::from_secs(24 * 60 * 60 - 1));
    assert_eq!(found(&app, &both).await.len(), 1);
    app.clock.advance(Duration::from_secs(1));
    assert_eq!(found(&app, &both).await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_opens_all_listings_again_within_a_budget_that_is_audited() {
    let app = app(|config| {
        config.directory.unsealings = 5;
        config.directory.unsealings_per_day = 1;
    })
    .await;
    enrol(&app, JOHNY, "+918888888888", Some("jhn")).await;
    enrol(&app, JANE, "+919999999999", None).await;
    let unsealed = async |app: &App| {
        let events = app.discovery().audit_events(None, 100).await.unwrap();
        let events = events.into_iter().filter(|event| event.kind == "directory.identifiers_unsealed");
        events.map(|event| event.details).collect::<Vec<_>>()
    };
    // Enrolment opens nothing.
    assert!(unsealed(&app).await.is_empty());
    let event = json!({ "identifiers": 2, "for": "an index of hashes" });
    let app = app.restart_with(|_| {}).await;
    assert_eq!(found(&app, &["2d1ce7", "ac85e3"]).await.len(), 2);
    assert_eq!(unsealed(&app).await, std::slice::from_ref(&event));
    // Another length is another index.
    let app = app.restart_with(|config| config.rocketchat.digits = 4).await;
    assert_eq!(found(&app, &["2d1c", "ac85"]).await.len(), 2);
    assert_eq!(unsealed(&app).await, [event.clone(), event.clone()]);
    // One of five is left, for two listings: none is opened.
    let app = app.restart_with(|_| {}).await;
    let spent = query(&app, &["2d1c"]).await;
    let told =
        json!({ "success": false, "error": "the directory cannot be used at the moment: try again later" });
    assert_eq!((spent.status, spent.json()), (503, told));
    assert_eq!(unsealed(&app).await.len(), 2);
    // The rest goes on, even with new listings.
    assert_eq!(app.ask("GET", "/v1/directory/parameters", "", "").await.status, 200);
    let listed = app.as_account(JANE, "GET", "/v1/directory/listings", "").await.json();
    assert_eq!(listed["listings"].as_array().unwrap().len(), 1);
    app.as_account(JANE, "DELETE", "/v1/directory/listings", "").await;
    // Now one is enough.
    assert_eq!(found(&app, &["2d1c", "ac85"]).await.len(), 1);
    assert_eq!(unsealed(&app).await.len(), 3);
}
