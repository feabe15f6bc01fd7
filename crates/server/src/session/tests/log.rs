//! What is logged of all this: nothing of a token, an account or a host that one names.

use std::io::Write;

use acquaint_service::SystemEntropy;
use tracing_subscriber::fmt::MakeWriter;

use super::signing::{HEADER, k256_key, k256_multikey, k256_sign, own};
use super::site::{Page, Site};
use super::*;
use crate::config::{ApiKey, Log, Telemetry};

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn nothing_of_a_token_or_an_account_is_logged() {
    let lines = Lines::default();
    let log = Log { level: "trace".into(), format: "text".into() };
    let (subscriber, _sending) =
        crate::telemetry::subscriber(&log, &Telemetry::default(), lines.clone()).unwrap();
    let _here = tracing::subscriber::set_default(subscriber);
    let site = Site::start().await;
    let (key, entry) = ApiKey::generate("backend", &SystemEntropy).unwrap();
    let world = World::new(|config| {
        config.atproto.service_did = SERVICE.into();
        config.atproto.plc_url = site.url.clone();
        config.oidc.issuer = format!("{}/realm", site.url);
        config.oidc.audience = "acquaint".into();
        config.tokens.introspection_url = format!("{}/introspect", site.url);
        config.tokens.introspection_client_id = "acquaint".into();
        config.tokens.introspection_client_secret = "introspection-secret".into();
        config.sessions.api_keys = vec![entry];
    });
    site.put(&format!("/{ALICE}"), own(ALICE, k256_multikey(&k256_key(1))));
    let sign = |claims: &Value, key| assemble(HEADER, &claims.to_string(), k256_sign(&k256_key(key)));
    let good = sign(&world.service_claims("jti-in-a-token"), 1);
    assert!(world.bearer(&good).await.is_ok());
    let from_elsewhere = changed(&world.service_claims("1"), &json!({"iss": "did:web:nowhere.invalid"}));
    let access = json!({"iss": format!("{}/realm", site.url), "sub": "subject-in-a-token", "aud": "acquaint",
                        "exp": world.now() + 60});
    site.put(
        "/introspect",
        Page::Json(json!({"active": true, "sub": "did:plc:zzz-of-an-answer"}).to_string()),
    );
    let refused = [
        good,
        sign(&world.service_claims("2"), 2),
        sign(&from_elsewhere, 1),
        assemble(r#"{"alg":"EdDSA","kid":"kid-in-a-token"}"#, &access.to_string(), |_| vec![1; 64]),
        "opaque-token".into(),
        "aqk_no_such_key".into(),
    ];
    for token in &refused {
        let _ = world.bearer(token).await;
        let _ = world.present(&format!("Bearer {token}"), Some(ALICE)).await;
    }
    assert!(world.present(&format!("Bearer {}", *key), Some(ALICE)).await.is_ok());
    let logged = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    // It is heard at all.
    assert!(logged.contains("the OpenID provider's keys cannot be fetched"), "{logged}");
    let parts = refused.iter().flat_map(|token| token.split('.')).map(str::to_owned);
    let others = ["did:", "nowhere.invalid", "in-a-token", "of-an-answer", "introspection-secret", "aqk_"];
    for text in parts.chain(others.map(str::to_owned)).chain([key[4..].to_owned(), site.url.clone()]) {
        assert!(!logged.contains(&text), "{text} is in the log:\n{logged}");
    }
}
