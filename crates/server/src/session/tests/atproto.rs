//! Claims, headers and spellings of tokens of atproto.

use super::signing::*;
use super::*;

#[tokio::test]
async fn the_accounts_key_speaks_for_it_once() {
    let (world, site) = world().await;
    let token = assemble(HEADER, &world.service_claims("1").to_string(), k256_sign(&k256_key(1)));
    let session = world.bearer(&token).await.unwrap();
    assert_eq!(session.account.as_str(), ALICE);
    assert_eq!((session.provider.as_str(), session.through), ("atproto", Through::Atproto));
    assert_eq!(whose(world.bearer(&token).await), Err(SessionError::Refused), "used twice");
    // The document is kept.
    for id in ["2", "3"] {
        let token = assemble(HEADER, &world.service_claims(id).to_string(), k256_sign(&k256_key(1)));
        assert_eq!(whose(world.bearer(&token).await).as_deref(), Ok(ALICE));
    }
    assert_eq!(site.asked(&format!("/{ALICE}")).len(), 1);
}

#[tokio::test]
async fn both_curves_and_the_older_forms_of_keys_are_taken() {
    let (world, site) = world().await;
    let (k256, p256) = (k256_key(7), p256_key(7));
    let point = |bytes: &[u8]| format!("z{}", bs58::encode(bytes).into_string());
    let (k_long, p_long) =
        (k256.verifying_key().to_sec1_point(false), p256.verifying_key().to_sec1_point(false));
    let p_short = p256.verifying_key().to_sec1_point(true);
    let cases = [
        ("Multikey", k256_multikey(&k256), true),
        ("Multikey", p256_multikey(&p256), false),
        ("EcdsaSecp256k1VerificationKey2019", point(k_long.as_bytes()), true),
        ("EcdsaSecp256r1VerificationKey2019", point(p_long.as_bytes()), false),
        ("EcdsaSecp256r1VerificationKey2019", point(p_short.as_bytes()), false),
    ];
    for (place, (kind, key, is_k256)) in cases.into_iter().enumerate() {
        let did = format!("did:plc:{}", char::from(b'b' + place as u8).to_string().repeat(24));
        // The id of the key with and without the DID before it.
        let id = if place % 2 == 0 { "#atproto".to_owned() } else { format!("{did}#atproto") };
        site.put(
            &format!("/{did}"),
            document(&did, &[("#other", "Multikey", "z1".into()), (&id, kind, key)]),
        );
        let claims = changed(&world.service_claims("1"), &json!({"iss": did})).to_string();
        let token = match is_k256 {
            true => assemble(HEADER, &claims, k256_sign(&k256)),
            false => assemble(r#"{"alg":"ES256"}"#, &claims, p256_sign(&p256)),
        };
        assert_eq!(whose(world.bearer(&token).await).as_deref(), Ok(did.as_str()), "case {place}");
    }
}

#[tokio::test]
async fn claims_that_are_not_right_are_refused() {
    let (world, site) = world().await;
    let now = world.now();
    let refused = [
        // For somebody else.
        json!({"aud": "did:web:other.example.com"}),
        json!({"aud": format!("{SERVICE}#acquaint")}),
        json!({"aud": format!("{SERVICE}.")}),
        json!({"aud": [SERVICE]}),
        json!({"aud": null}),
        // For another method, or for any.
        json!({"lxm": "app.acquaint.discovery.removeData"}),
        json!({"lxm": "APP.acquaint.discovery.getMatches"}),
        json!({"lxm": format!("{LXM}.")}),
        json!({"lxm": [LXM]}),
        json!({"lxm": "*"}),
        json!({"lxm": ""}),
        json!({"lxm": null}),
        // Too late, too early, for too long, for ever.
        json!({"exp": now - 5}),
        json!({"exp": now + 5 * 60 + 6}),
        json!({"exp": (now + 60).to_string()}),
        json!({"exp": -1}),
        json!({"exp": 1e300}),
        json!({"exp": null}),
        json!({"iat": now + 6}),
        json!({"iat": (now).to_string()}),
        json!({"iat": null}),
        json!({"nbf": now + 6}),
        json!({"nbf": "tomorrow"}),
        // Without an id that tells it from others.
        json!({"jti": null}),
        json!({"jti": ""}),
        json!({"jti": 1}),
        json!({"jti": "1".repeat(257)}),
        // Of somebody else, or of nobody.
        json!({"iss": "did:plc:zzzzzzzzzzzzzzzzzzzzzzzz"}),
        json!({"iss": format!("{ALICE}#atproto_labeler")}),
        json!({"iss": format!("{ALICE}#atproto")}),
        json!({"iss": format!("{ALICE}#")}),
        json!({"iss": format!("{ALICE} ")}),
        json!({"iss": format!("{ALICE}/../{ALICE}")}),
        json!({"iss": "did:plc:..%2f..%2fadmin"}),
        json!({"iss": "did:key:zQ3shokFTS3brHcDQrn82RUDfCZESWL1ZdCEJwekUDPQiYBme"}),
        json!({"iss": [ALICE]}),
        json!({"iss": null}),
    ];
    for changes in refused {
        let claims = changed(&world.service_claims("1"), &changes);
        let token = assemble(HEADER, &claims.to_string(), k256_sign(&k256_key(1)));
        assert_eq!(whose(world.bearer(&token).await), Err(SessionError::Refused), "{changes}");
    }
    // None of them has used up the id, and the latest that is right is.
    let claims = changed(&world.service_claims("1"), &json!({"exp": now + 5 * 60 + 5, "iat": now + 5}));
    let token = assemble(HEADER, &claims.to_string(), k256_sign(&k256_key(1)));
    assert_eq!(whose(world.bearer(&token).await).as_deref(), Ok(ALICE));
    let claims = changed(&world.service_claims("2"), &json!({"exp": now - 4, "iat": now - 64}));
    let token = assemble(HEADER, &claims.to_string(), k256_sign(&k256_key(1)));
    assert_eq!(whose(world.bearer(&token).await).as_deref(), Ok(ALICE), "within the leeway");
    assert_eq!(site.all(), 2, "Alice's document, and that of the one who has none");
}

#[tokio::test]
async fn a_method_that_has_no_name_is_not_to_be_called_with_a_token() {
    let (world, _site) = world().await;
    for changes in [json!({}), json!({"lxm": null})] {
        let claims = changed(&world.service_claims("1"), &changes).to_string();
        let token = format!("Bearer {}", assemble(HEADER, &claims, k256_sign(&k256_key(1))));
        let token = HeaderValue::from_str(&token).unwrap();
        let presented = Presented { authorization: Some(&token), account: None, lxm: None };
        assert_eq!(whose(world.sessions.verify(presented).await), Err(SessionError::Refused));
    }
}

#[tokio::test]
async fn a_service_with_a_name_takes_tokens_for_it_and_for_its_did() {
    let (_, site) = world().await;
    let world = World::new(|config| {
        config.atproto.service_did = format!("{SERVICE}#acquaint");
        config.atproto.plc_url = format!("{}/", site.url);
    });
    for (audience, is_own) in [
        (SERVICE.to_owned(), true),
        (format!("{SERVICE}#acquaint"), true),
        (format!("{SERVICE}#other"), false),
        (format!("{SERVICE}#"), false),
        ("#acquaint".to_owned(), false),
    ] {
        let claims = changed(&world.service_claims(&audience), &json!({"aud": audience})).to_string();
        let token = assemble(HEADER, &claims, k256_sign(&k256_key(1)));
        assert_eq!(world.bearer(&token).await.is_ok(), is_own, "{audience}");
    }
}

#[tokio::test]
async fn headers_that_are_not_right_are_refused() {
    let (world, site) = world().await;
    let point = k256_key(9).verifying_key().to_sec1_point(false);
    let (x, y) = (encode(&point.as_bytes()[1..33]), encode(&point.as_bytes()[33..]));
    let jwk = json!({"kty": "EC", "crv": "secp256k1", "x": x, "y": y});
    let mut refused: Vec<Value> =
        ["none", "None", "NONE", "nOnE", "", "HS256", "es256k", "ES256K ", "ES384", "EdDSA"]
            .map(|algorithm| json!({"alg": algorithm}))
            .into();
    refused.extend([
        json!({"typ": "JWT"}),
        json!({"alg": ["ES256K"]}),
        json!({"alg": null}),
        json!({"alg": "ES256K", "typ": "at+jwt"}),
        json!({"alg": "ES256K", "typ": "refresh+jwt"}),
        json!({"alg": "ES256K", "typ": "dpop+jwt"}),
        json!({"alg": "ES256K", "typ": "application/AT+JWT"}),
        json!({"alg": "ES256K", "typ": ["JWT"]}),
        json!({"alg": "ES256K", "jwk": jwk}),
        json!({"alg": "ES256K", "jku": format!("{}/keys", site.url)}),
        json!({"alg": "ES256K", "x5u": format!("{}/keys", site.url)}),
        json!({"alg": "ES256K", "x5c": ["MIIB"]}),
        json!({"alg": "ES256K", "crit": []}),
        json!({"alg": "ES256K", "crit": ["b64"], "b64": false}),
        json!({"alg": "ES256K", "b64": false}),
        json!({"alg": "ES256K", "b64": true}),
        json!({"alg": "ES256K", "zip": "DEF"}),
        json!({"alg": "ES256K", "kid": "atproto_label"}),
        json!({"alg": "ES256K", "kid": "#atproto"}),
        json!({"alg": "ES256K", "kid": "../../../../dev/null"}),
        json!({"alg": "ES256K", "kid": "' OR 1=1 --"}),
        json!({"alg": "ES256K", "kid": "k".repeat(1500)}),
        json!({"alg": "ES256K", "kid": 1}),
        json!({"alg": "ES256K", "padding": "p".repeat(2048)}),
    ]);
    let claims = world.service_claims("1").to_string();
    for header in &refused {
        // By the account's own key, and by that of the header.
        for key in [1, 9] {
            let token = assemble(&header.to_string(), &claims, k256_sign(&k256_key(key)));
            assert_eq!(whose(world.bearer(&token).await), Err(SessionError::Refused), "{header}");
        }
        // Without a signature, and with the public key as the secret of one.
        let unsigned = assemble(&header.to_string(), &claims, |_| Vec::new());
        assert_eq!(whose(world.bearer(&unsigned).await), Err(SessionError::Refused), "{header}");
    }
    assert!(site.asked("/keys").is_empty());
    let named = json!({"alg": "ES256K", "typ": "jwt", "kid": "atproto", "other": {"crit": 1}}).to_string();
    let token = assemble(&named, &claims, k256_sign(&k256_key(1)));
    assert_eq!(whose(world.bearer(&token).await).as_deref(), Ok(ALICE));
}

#[tokio::test]
async fn a_token_has_one_spelling() {
    let (world, _site) = world().await;
    let (key, claims) = (k256_key(1), world.service_claims("1").to_string());
    let good = assemble(HEADER, &claims, k256_sign(&key));
    let [header, body, signature] = [0, 1, 2].map(|part| good.split('.').nth(part).unwrap().to_owned());
    // The last letter of 64 bytes holds four bits that say nothing; the alphabet's next letter differs in these alone.
    let last = signature.as_bytes()[85];
    let trailing = format!("{}{}", &signature[..85], char::from(last + 1));
    assert!("AQgw".contains(char::from(last)));
    let twice = claims.replacen("{", r#"{"iss":"did:plc:bbbbbbbbbbbbbbbbbbbbbbbb","#, 1);
    let nested = claims.replacen("{", r#"{"x":{"a":1,"a":1},"#, 1);
    let escaped = claims.replacen("{", r#"{"\u0069ss":"did:plc:bbbbbbbbbbbbbbbbbbbbbbbb","#, 1);
    let list = format!("[{claims}]");
    let header_twice = r#"{"alg":"none","alg":"ES256K"}"#;
    let sign = || k256_sign(&key);
    let refused = [
        format!("{header}.{body}.{trailing}"),
        format!("{header}.{body}.{signature}=="),
        format!("{header}=.{body}.{signature}"),
        format!("{header}.{body}.{signature}\u{20}"),
        format!("{header}.{body}"),
        format!("{header}.{body}."),
        format!("{header}..{signature}"),
        format!(".{body}.{signature}"),
        format!("{header}.{body}.{signature}."),
        format!("{header}.{body}.{signature}.{signature}"),
        format!("{header}.{body}.+{}", &signature[1..]),
        format!("{header}.{body}.{}", &signature[..84]),
        "..".to_owned(),
        assemble(HEADER, &twice, sign()),
        assemble(HEADER, &nested, sign()),
        assemble(HEADER, &escaped, sign()),
        assemble(HEADER, &list, sign()),
        assemble(HEADER, &format!("{claims} {{}}"), sign()),
        assemble(HEADER, &format!("\u{feff}{claims}"), sign()),
        assemble(HEADER, &claims.replace("\"jti\"", "jti"), sign()),
        assemble(HEADER, &format!("{}{claims}", "[".repeat(4000)), sign()),
        assemble(header_twice, &claims, sign()),
        assemble("[]", &claims, sign()),
        assemble("", &claims, sign()),
        // Signed all right, and too long.
        assemble(HEADER, &claims.replacen("{", &format!("{{\"x\":\"{}\",", "x".repeat(13_000)), 1), sign()),
    ];
    for (place, token) in refused.iter().enumerate() {
        assert_eq!(whose(world.bearer(token).await), Err(SessionError::Refused), "case {place}");
    }
    assert_eq!(whose(world.bearer(&good).await).as_deref(), Ok(ALICE));
    // A name that is there once may be escaped.
    let claims = world.service_claims("2").to_string().replace("\"iss\"", "\"\\u0069ss\"");
    let token = assemble(HEADER, &claims, k256_sign(&key));
    assert_eq!(whose(world.bearer(&token).await).as_deref(), Ok(ALICE));
}

#[tokio::test]
async fn documents_without_a_key_that_can_be_used_are_refused() {
    let (world, site) = world().await;
    let key = k256_multikey(&k256_key(1));
    let point = k256_key(1).verifying_key().to_sec1_point(false);
    let methods: [(&str, &str, String); 10] = [
        ("#other", "Multikey", key.clone()),
        ("#atproto", "JsonWebKey2020", key.clone()),
        ("#atproto", "EcdsaSecp256k1VerificationKey2019", key.clone()),
        ("#atproto", "Multikey", key[1..].to_owned()),
        ("#atproto", "Multikey", format!("f{}", hex::encode(point.as_bytes()))),
        ("#atproto", "Multikey", multikey([0xe7, 0x01], point.as_bytes())),
        ("#atproto", "Multikey", multikey([0xed, 0x01], &[1; 32])),
        ("#atproto", "Multikey", multikey([0xe7, 0x01], &[0; 33])),
        ("#atproto", "Multikey", multikey([0x80, 0x24], &point.as_bytes()[..33])),
        ("#atproto", "Multikey", format!("z{}", "1".repeat(40_000))),
    ];
    for (place, method) in methods.into_iter().enumerate() {
        let did = format!("did:plc:{}", char::from(b'b' + place as u8).to_string().repeat(24));
        site.put(&format!("/{did}"), document(&did, &[method]));
        let claims = changed(&world.service_claims("1"), &json!({"iss": did})).to_string();
        let token = assemble(HEADER, &claims, k256_sign(&k256_key(1)));
        assert_eq!(whose(world.bearer(&token).await), Err(SessionError::Refused), "case {place}");
    }
}

#[tokio::test]
async fn a_store_that_does_not_answer_takes_no_token() {
    let (world, _site) = world().await;
    *world.replays.broken.lock().unwrap() = true;
    let token = |key| assemble(HEADER, &world.service_claims("1").to_string(), k256_sign(&k256_key(key)));
    assert_eq!(whose(world.bearer(&token(1)).await), Err(SessionError::Unavailable));
    assert_eq!(
        whose(world.bearer(&token(2)).await),
        Err(SessionError::Refused),
        "nothing is noted of a forgery"
    );
    *world.replays.broken.lock().unwrap() = false;
    assert_eq!(whose(world.bearer(&token(2)).await), Err(SessionError::Refused));
    assert_eq!(whose(world.bearer(&token(1)).await).as_deref(), Ok(ALICE));
}
