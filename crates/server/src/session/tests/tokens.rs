//! The operator's own tokens: by HMAC, and by introspection.

use super::site::{Page, Site};
use super::*;
use acquaint_testkit::provider::{Provider, Reply, nobody};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

const SECRET: &str = "0123456789abcdef0123456789abcdef";
const HEADER: &str = r#"{"typ":"JWT","alg":"HS256"}"#;
const INTROSPECT: &str = "/oauth/introspect";

fn mac(key: &[u8]) -> impl Fn(&[u8]) -> Vec<u8> + use<> {
    let key = key.to_owned();
    move |message| {
        Hmac::<Sha256>::new_from_slice(&key).unwrap().chain_update(message).finalize().into_bytes().to_vec()
    }
}

fn hmac_world() -> World {
    World::new(|config| {
        config.tokens.hmac_secret = SECRET.into();
        config.tokens.audience = "acquaint".into();
    })
}

impl World {
    fn own_claims(&self) -> Value {
        json!({"sub": ALICE, "aud": "acquaint", "exp": self.now() + 3600})
    }
}

#[tokio::test]
async fn the_operators_own_tokens_are_taken() {
    let world = hmac_world();
    let now = world.now();
    for changes in [
        json!({}),
        json!({"aud": ["other", "acquaint"]}),
        json!({"iat": now, "nbf": now, "iss": "anybody"}),
        json!({"exp": now - 4}),
        json!({"exp": now as f64 + 0.5}),
    ] {
        let claims = changed(&world.own_claims(), &changes).to_string();
        // They may be used again.
        for _ in 0..2 {
            let session = world.bearer(&assemble(HEADER, &claims, mac(SECRET.as_bytes()))).await.unwrap();
            assert_eq!(session.account.as_str(), ALICE);
            assert_eq!((session.provider.as_str(), session.through), ("token", Through::Token));
        }
    }
}

#[tokio::test]
async fn what_is_not_the_operators_own_is_refused() {
    let world = hmac_world();
    let now = world.now();
    for changes in [
        json!({"aud": "other"}),
        json!({"aud": ["other"]}),
        json!({"aud": [["acquaint"]]}),
        json!({"aud": {"acquaint": true}}),
        json!({"aud": null}),
        json!({"exp": now - 5}),
        json!({"exp": null}),
        json!({"exp": "never"}),
        json!({"exp": [now + 60]}),
        json!({"nbf": now + 6}),
        json!({"iat": now + 6}),
        json!({"sub": null}),
        json!({"sub": ""}),
        json!({"sub": "alice"}),
        json!({"sub": [ALICE]}),
        json!({"cnf": {"jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}}),
    ] {
        let claims = changed(&world.own_claims(), &changes).to_string();
        let token = assemble(HEADER, &claims, mac(SECRET.as_bytes()));
        assert_eq!(whose(world.bearer(&token).await), Err(SessionError::Refused), "{changes}");
    }
    let claims = world.own_claims().to_string();
    let good = mac(SECRET.as_bytes());
    let refused = [
        assemble(HEADER, &claims, mac(b"another secret of 32 bytes at all")),
        assemble(HEADER, &claims, mac(b"")),
        assemble(HEADER, &claims, |_| Vec::new()),
        assemble(HEADER, &claims, |message| good(message)[..31].to_vec()),
        assemble(HEADER, &claims, |message| [good(message), vec![0]].concat()),
        assemble(r#"{"alg":"none"}"#, &claims, |_| Vec::new()),
        assemble(r#"{"alg":"hs256"}"#, &claims, &good),
        assemble(r#"{"alg":"HS512"}"#, &claims, &good),
        assemble(r#"{"alg":"HS256","typ":"refresh+jwt"}"#, &claims, &good),
        assemble(r#"{"alg":"HS256","jwk":{"kty":"oct","k":"AA"}}"#, &claims, &good),
        assemble(r#"{"alg":"HS256","alg":"HS256"}"#, &claims, &good),
        assemble(r#"{"alg":"HS256","crit":["exp"]}"#, &claims, &good),
        assemble(HEADER, &claims.replacen("{", r#"{"sub":"did:plc:bbbbbbbbbbbbbbbbbbbbbbbb","#, 1), &good),
    ];
    for (place, token) in refused.iter().enumerate() {
        assert_eq!(whose(world.bearer(token).await), Err(SessionError::Refused), "case {place}");
    }
}

/// Sessions by introspection, with a server that answers `answer`.
async fn asking(answer: Page) -> (World, Site) {
    let site = Site::start().await;
    site.put(INTROSPECT, answer);
    let world = World::new(|config| {
        config.tokens.introspection_url = format!("{}{INTROSPECT}", site.url);
        config.tokens.introspection_client_id = "acquaint server".into();
        config.tokens.introspection_client_secret = "s3:cr%t".into();
        config.tokens.introspection_audience = "acquaint".into();
    });
    (world, site)
}

fn active(changes: &Value) -> Page {
    let answer = json!({"active": true, "sub": ALICE, "aud": "acquaint", "token_type": "Bearer"});
    Page::Json(changed(&answer, changes).to_string())
}

#[tokio::test]
async fn an_opaque_token_is_asked_about_and_the_answer_kept_for_a_while() {
    let (world, site) = asking(active(&json!({}))).await;
    for _ in 0..3 {
        let session = world.bearer("opaque+token/with=").await.unwrap();
        assert_eq!(session.account.as_str(), ALICE);
        assert_eq!((session.provider.as_str(), session.through), ("introspection", Through::Introspection));
    }
    let asked = site.asked(INTROSPECT);
    assert_eq!(asked.len(), 1);
    assert_eq!(&*asked[0].body, b"token=opaque%2Btoken%2Fwith%3D&token_type_hint=access_token");
    let client = base64::prelude::BASE64_STANDARD.encode("acquaint+server:s3%3Acr%25t");
    assert_eq!(asked[0].headers["authorization"], format!("Basic {client}"));
    // Taken back meanwhile.
    site.put(INTROSPECT, Page::Json(r#"{"active":false}"#.into()));
    world.clock.advance(Duration::from_secs(29));
    assert!(world.bearer("opaque+token/with=").await.is_ok());
    world.clock.advance(Duration::from_secs(1));
    assert_eq!(whose(world.bearer("opaque+token/with=").await), Err(SessionError::Refused));
}

#[tokio::test]
async fn an_answer_is_not_kept_beyond_the_tokens_end() {
    let (world, site) = asking(Page::Status(500)).await;
    site.put(INTROSPECT, active(&json!({"exp": world.now() + 10})));
    assert!(world.bearer("opaque").await.is_ok());
    world.clock.advance(Duration::from_secs(9));
    assert!(world.bearer("opaque").await.is_ok());
    assert_eq!(site.all(), 1);
    world.clock.advance(Duration::from_secs(1));
    assert!(world.bearer("opaque").await.is_ok(), "within the leeway, and asked again");
    assert_eq!(site.all(), 2);
    world.clock.advance(Duration::from_secs(5));
    assert_eq!(whose(world.bearer("opaque").await), Err(SessionError::Refused));
}

#[tokio::test]
async fn answers_that_do_not_vouch_for_a_token_refuse_it() {
    let (world, site) = asking(Page::Status(500)).await;
    let now = world.now();
    let refused = [
        json!({"active": false}),
        json!({"active": "true"}),
        json!({"active": 1}),
        json!({"active": null}),
        json!({"sub": null}),
        json!({"sub": "alice"}),
        json!({"sub": 1}),
        json!({"aud": "other"}),
        json!({"aud": ["other", "another"]}),
        json!({"aud": null}),
        json!({"exp": now - 5}),
        json!({"exp": "never"}),
        json!({"nbf": now + 6}),
        json!({"nbf": "soon"}),
        json!({"token_type": "DPoP"}),
        json!({"token_type": 1}),
        json!({"cnf": {"jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}}),
    ];
    for (place, changes) in refused.into_iter().enumerate() {
        site.put(INTROSPECT, active(&changes));
        // A token each: an answer may be kept.
        let outcome = whose(world.bearer(&format!("opaque-{place}")).await);
        assert_eq!(outcome, Err(SessionError::Refused), "{changes}");
    }
    site.put(INTROSPECT, active(&json!({"aud": ["other", "acquaint"]})));
    assert_eq!(whose(world.bearer("opaque").await).as_deref(), Ok(ALICE));
}

#[tokio::test]
async fn a_server_that_judges_nothing_leaves_it_open() {
    for answer in [
        Page::Status(401),
        Page::Status(500),
        Page::Status(204),
        Page::Redirect("/elsewhere".into()),
        Page::Long(65_537),
        Page::Json("true".into()),
        Page::Json(r#"{"active":true,"sub":"a","sub":"b"}"#.into()),
    ] {
        let (world, site) = asking(answer).await;
        site.put("/elsewhere", active(&json!({})));
        assert_eq!(whose(world.bearer("opaque").await), Err(SessionError::Unavailable));
        assert!(site.asked("/elsewhere").is_empty());
    }
    for url in [nobody().await, Provider::start([Reply::HangUp]).await.url.clone()] {
        let world = World::new(|config| {
            config.tokens.introspection_url = url;
            config.tokens.introspection_client_id = "acquaint".into();
            config.tokens.introspection_client_secret = "secret".into();
        });
        assert_eq!(whose(world.bearer("opaque").await), Err(SessionError::Unavailable));
    }
}

#[tokio::test]
async fn signed_tokens_and_keys_are_not_asked_about() {
    let (world, site) = asking(active(&json!({}))).await;
    let claims = world.own_claims().to_string();
    for token in [
        assemble(HEADER, &claims, mac(SECRET.as_bytes())),
        assemble(r#"{"alg":"none"}"#, &claims, |_| Vec::new()),
        "a.b.c".into(),
        "..".into(),
        "aqk_0123456789".into(),
        "t".repeat(16 * 1024 + 1),
        "two words".into(),
    ] {
        assert_eq!(whose(world.bearer(&token).await), Err(SessionError::Refused));
    }
    assert_eq!(whose(world.present("Bearer opaque", Some(ALICE)).await), Err(SessionError::Refused));
    assert_eq!(site.all(), 0);
    assert!(world.bearer(&"t".repeat(16 * 1024)).await.is_ok());
}
