use std::sync::Arc;

use acquaint_testkit::provider::{Provider, Reply, nobody};

use super::*;

#[test]
fn names_lead_to_hosts_and_to_nothing_else() {
    assert_eq!(parts("example.org"), Some(("example.org", None)));
    assert_eq!(parts("example.org:8448"), Some(("example.org", Some(8448))));
    for bad in [
        "",
        ":1",
        "example.org:",
        "example.org:x",
        "example.org:99999",
        "example.org/path",
        "a@b",
        "a?b",
        "a#b",
        "[::1]:1",
        "example.org:1:2",
        "exa mple.org",
        "example.org:+80",
    ] {
        assert_eq!(parts(bad), None, "{bad}");
    }
}

/// Homeservers whose every name leads to this machine, with `.well-known` at the port of `url`.
fn homeservers(url: &str) -> Homeservers {
    let local = Arc::new(|_: &str| Ok(vec![[127, 0, 0, 1].into()]));
    let http = PublicHttp::with_lookup(true, WITHIN, AT_ONCE, local).unwrap();
    Homeservers { http, known: vec!["*".into()], scheme: "http", web_port: port(url) }
}

fn port(url: &str) -> u16 {
    Url::parse(url).unwrap().port().unwrap()
}

#[tokio::test]
async fn a_name_without_a_port_leads_where_its_host_says() {
    let userinfo = Provider::start([Reply::Json(200, r#"{"sub":"@ada:example.org"}"#.into())]).await;
    let told = format!(r#"{{"m.server":"matrix.example.org:{}"}}"#, port(&userinfo.url));
    let web = Provider::start([Reply::Json(200, told)]).await;
    let homeservers = homeservers(&web.url);
    assert_eq!(homeservers.account("example.org", "a token").await, Ok("@ada:example.org".into()));
    let (asked, then) = (web.requests(), userinfo.requests());
    assert_eq!((asked.len(), asked[0].path.as_str()), (1, "/.well-known/matrix/server"));
    assert_eq!(asked[0].header("host"), format!("example.org:{}", port(&web.url)));
    assert_eq!(then[0].path, "/_matrix/federation/v1/openid/userinfo?access_token=a+token");
    assert_eq!(then[0].header("host"), format!("matrix.example.org:{}", port(&userinfo.url)));
    // The account stays one of the name that was given, whatever host speaks for it.
    let other = format!("matrix.example.org:{}", port(&userinfo.url));
    assert_eq!(homeservers.account(&other, "a token").await, Err(Unproven::Refused));
}

#[tokio::test]
async fn without_a_good_word_of_the_host_it_is_the_usual_port() {
    for reply in [
        Reply::Json(404, r#"{"m.server":"other.example:1"}"#.into()),
        Reply::Json(200, r#"{"m.server":7}"#.into()),
        Reply::Json(200, r#"{"m.server":"other.example:1/path"}"#.into()),
        Reply::Json(200, r#"{"m.server":"user@other.example"}"#.into()),
        Reply::Json(200, r#"{"m.server":"[::1]:1"}"#.into()),
        Reply::Json(200, "{}".into()),
        Reply::Page(200),
        Reply::Header(302, "location: http://other.example/"),
        Reply::Huge(200),
        Reply::Garbage,
        Reply::HangUp,
    ] {
        let shown = format!("{reply:?}");
        let web = Provider::start([reply]).await;
        assert_eq!(homeservers(&web.url).delegated("example.org").await, "example.org:8448", "{shown:.60}");
    }
    assert_eq!(homeservers(&nobody().await).delegated("example.org").await, "example.org:8448");
    let other = Provider::start([Reply::Json(200, r#"{"m.server":"other.example"}"#.into())]).await;
    assert_eq!(homeservers(&other.url).delegated("example.org").await, "other.example:8448");
}

#[tokio::test]
async fn no_host_can_send_this_server_to_its_own_network() {
    let inside = Provider::start([Reply::Json(200, r#"{"sub":"@ada:example.org"}"#.into())]).await;
    let local = Arc::new(|_: &str| Ok(vec![[127, 0, 0, 1].into()]));
    let http = PublicHttp::with_lookup(false, WITHIN, AT_ONCE, local).unwrap();
    let homeservers =
        Homeservers { http, known: vec!["*".into()], scheme: "https", web_port: port(&inside.url) };
    // A name that leads here is told from none by nothing.
    let named = format!("example.org:{}", port(&inside.url));
    assert_eq!(homeservers.account(&named, "any").await, Err(Unproven::Unavailable));
    assert_eq!(homeservers.account("example.org", "any").await, Err(Unproven::Unavailable));
    let address = format!("127.0.0.1:{}", port(&inside.url));
    assert_eq!(homeservers.account(&address, "any").await, Err(Unproven::Name));
    assert!(inside.requests().is_empty());
}
