use super::*;

fn refused(change: impl FnOnce(&mut Config)) -> String {
    let mut config = Config::default();
    change(&mut config);
    check(&config).map_or_else(|error| error.to_string(), |()| String::new())
}

fn entry(name: &str) -> String {
    format!("{name}:{}", hex::encode(Sha256::digest(name)))
}

#[test]
fn what_is_wrong_is_told_by_its_key() {
    assert_eq!(refused(|_| {}), "");
    type Change = fn(&mut Config);
    let cases: [(&str, Change); 26] = [
        ("atproto.service_did", |config| config.atproto.service_did = "contacts.example.com".into()),
        ("atproto.service_did", |config| config.atproto.service_did = "did:web:example.com#".into()),
        ("atproto.service_did", |config| config.atproto.service_did = "did:web:example.com#a#b".into()),
        ("atproto.plc_url", |config| config.atproto.plc_url = "http://plc.directory".into()),
        ("atproto.plc_url", |config| config.atproto.plc_url = String::new()),
        ("atproto.allow_private_addresses", |config| {
            config.listen = ([0, 0, 0, 0], 3200).into();
            config.atproto.allow_private_addresses = true;
        }),
        ("atproto.did_timeout_ms", |config| config.atproto.did_timeout_ms = 0),
        ("atproto.did_cache_entries", |config| config.atproto.did_cache_entries = 0),
        ("atproto.did_cache_s", |config| config.atproto.did_cache_s = 86_401),
        ("atproto.lxm_prefix", |config| config.atproto.lxm_prefix = "discovery".into()),
        ("atproto.lxm_prefix", |config| config.atproto.lxm_prefix = "app.acquaint.".into()),
        ("atproto.lxm_prefix", |config| config.atproto.lxm_prefix = "app.Acquaint".into()),
        ("oidc.issuer", |config| config.oidc.audience = "acquaint".into()),
        ("oidc.issuer", |config| config.oidc.issuer = "http://issuer.example".into()),
        ("oidc.issuer", |config| config.oidc.issuer = "https://issuer.example?tenant=1".into()),
        ("oidc.audience", |config| config.oidc.issuer = "https://issuer.example".into()),
        ("oidc.account_claim", |config| {
            config.oidc = Oidc {
                issuer: "https://issuer.example".into(),
                audience: "acquaint".into(),
                account_claim: String::new(),
            };
        }),
        ("tokens.hmac_secret", |config| config.tokens.hmac_secret = "31 bytes are not enough for it!".into()),
        ("tokens.hmac_secret", |config| config.tokens.audience = "acquaint".into()),
        ("tokens.audience", |config| config.tokens.hmac_secret = "32 bytes are just enough for it!".into()),
        ("tokens.introspection_url", |config| config.tokens.introspection_client_id = "acquaint".into()),
        ("tokens.introspection_url", |config| {
            config.tokens.introspection_url = "http://issuer.example/".into()
        }),
        ("tokens.introspection_client_id", |config| {
            config.tokens.introspection_url = "https://issuer.example/introspect".into();
        }),
        ("sessions.api_keys", |config| config.sessions.api_keys = vec!["backend:1234".into()]),
        ("sessions.api_keys", |config| config.sessions.api_keys = vec![entry("a"), entry("a")]),
        ("sessions.leeway_s", |config| config.sessions.leeway_s = 61),
    ];
    for (key, change) in cases {
        let told = refused(change);
        assert!(told.contains(&format!("`{key}`")), "{key}: {told}");
    }
    let whole = |config: &mut Config| {
        config.atproto.service_did = "did:web:contacts.example.com#acquaint".into();
        config.atproto.allow_private_addresses = true;
        config.oidc.issuer = "https://issuer.example/realm".into();
        config.oidc.audience = "acquaint".into();
        config.tokens.hmac_secret = "32 bytes are just enough for it!".into();
        config.tokens.audience = "acquaint".into();
        config.tokens.introspection_url = "https://issuer.example/introspect".into();
        config.tokens.introspection_client_id = "acquaint".into();
        config.tokens.introspection_client_secret = "secret".into();
        config.sessions.api_keys = vec![entry("backend"), entry("tool_2")];
        config.sessions.leeway_s = 60;
    };
    assert_eq!(refused(whole), "");
}

#[test]
fn an_api_key_is_known_by_its_digest_alone() {
    let (key, entry) = ApiKey::generate("backend", &acquaint_service::SystemEntropy).unwrap();
    assert!(key.starts_with(API_KEY_PREFIX) && key.len() == 47, "{}", key.len());
    let parsed = ApiKey::parse(&entry).unwrap();
    assert_eq!((parsed.name.as_str(), parsed.digest), ("backend", Sha256::digest(key.as_bytes()).into()));
    assert!(!entry.contains(&key[4..]));
    for bad in ["", "backend", ":00", "Backend:00", "back end:00", "backend:zz"] {
        assert!(ApiKey::parse(bad).is_none(), "{bad}");
    }
    assert!(ApiKey::parse(&format!("{}{}", "a".repeat(26), entry)).is_none(), "33 letters");
    assert!(ApiKey::parse(&format!("{entry}0")).is_none() && ApiKey::parse(&format!("{entry}00")).is_none());
}
