use super::site::{Page, Site};
use super::*;
use acquaint_testkit::provider::nobody;
use hmac::{Hmac, KeyInit, Mac};
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RSA_PSS_SHA256,
    RsaKeyPair, RsaPublicKeyComponents,
};
use sha2::Sha256;

const DISCOVERY: &str = "/realm/.well-known/openid-configuration";
const KEYS: &str = "/realm/keys";
const ACCOUNT: &str = "248289761001";

/// A provider, with the keys that it signs with.
struct Issuer {
    site: Site,
    url: String,
    /// Made for these tests and of no other use: ring makes no keys of this kind.
    rsa: RsaKeyPair,
    ec: EcdsaKeyPair,
    ed: Ed25519KeyPair,
}

type Sign<'a> = Box<dyn Fn(&[u8]) -> Vec<u8> + 'a>;

impl Issuer {
    async fn start() -> Self {
        let (site, random) = (Site::start().await, SystemRandom::new());
        let ec = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        let ed = Ed25519KeyPair::generate_pkcs8(&random).unwrap();
        let issuer = Self {
            url: format!("{}/realm", site.url),
            rsa: RsaKeyPair::from_pkcs8(include_bytes!("rsa_2048.p8")).unwrap(),
            ec: EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, ec.as_ref(), &random).unwrap(),
            ed: Ed25519KeyPair::from_pkcs8(ed.as_ref()).unwrap(),
            site,
        };
        issuer.publish(&issuer.url, &format!("{}{KEYS}", issuer.site.url));
        issuer.publish_keys(&issuer.keys());
        issuer
    }

    fn publish(&self, issuer: &str, keys: &str) {
        let configuration =
            json!({"issuer": issuer, "jwks_uri": keys, "id_token_signing_alg_values_supported": ["none"]});
        self.site.put(DISCOVERY, Page::Json(configuration.to_string()));
    }

    fn publish_keys(&self, keys: &[Value]) {
        self.site.put(KEYS, Page::Json(json!({"keys": keys}).to_string()));
    }

    /// Its keys, one for each algorithm, with the algorithm's name as id.
    fn keys(&self) -> Vec<Value> {
        let point = self.ec.public_key().as_ref();
        let rsa = self.rsa_jwk();
        vec![
            changed(&rsa, &json!({"kid": "RS256", "alg": "RS256", "use": "sig"})),
            // The same key twice would be a provider's mistake; here it saves another.
            changed(&rsa, &json!({"kid": "PS256", "alg": "PS256", "key_ops": ["verify"]})),
            json!({"kty": "EC", "crv": "P-256", "kid": "ES256", "x": encode(&point[1..33]), "y": encode(&point[33..])}),
            json!({"kty": "OKP", "crv": "Ed25519", "kid": "EdDSA", "alg": "EdDSA", "x": encode(self.ed.public_key())}),
        ]
    }

    fn rsa_public(&self) -> RsaPublicKeyComponents<Vec<u8>> {
        RsaPublicKeyComponents::from(self.rsa.public())
    }

    fn rsa_jwk(&self) -> Value {
        let RsaPublicKeyComponents { n, e } = self.rsa_public();
        json!({"kty": "RSA", "n": encode(n), "e": encode(e)})
    }

    fn sign(&self, algorithm: &str) -> Sign<'_> {
        let rsa = |padding: &'static dyn ring::signature::RsaEncoding| {
            move |message: &[u8]| {
                let mut signature = vec![0; self.rsa.public().modulus_len()];
                self.rsa.sign(padding, &SystemRandom::new(), message, &mut signature).unwrap();
                signature
            }
        };
        match algorithm {
            "RS256" => Box::new(rsa(&RSA_PKCS1_SHA256)),
            "PS256" => Box::new(rsa(&RSA_PSS_SHA256)),
            "ES256" => {
                Box::new(|message| self.ec.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec())
            }
            _ => Box::new(|message| self.ed.sign(message).as_ref().to_vec()),
        }
    }

    fn world(&self) -> World {
        World::new(|config| {
            config.account_format = AccountFormat::Opaque;
            config.oidc.issuer = self.url.clone();
            config.oidc.audience = "acquaint".into();
        })
    }

    fn claims(&self, world: &World) -> Value {
        let now = world.now();
        json!({"iss": self.url, "sub": ACCOUNT, "aud": "acquaint", "exp": now + 300, "iat": now, "jti": "1",
               "client_id": "app", "scope": "contacts"})
    }

    /// A token that is right in everything.
    fn token(&self, world: &World, algorithm: &str, id: &str) -> String {
        let header = json!({"alg": algorithm, "typ": "at+jwt", "kid": id});
        assemble(&header.to_string(), &self.claims(world).to_string(), self.sign(algorithm))
    }
}

const ALGORITHMS: [&str; 4] = ["RS256", "PS256", "ES256", "EdDSA"];

#[tokio::test]
async fn access_tokens_of_the_provider_are_taken_by_its_published_keys() {
    let issuer = Issuer::start().await;
    let world = issuer.world();
    for algorithm in ALGORITHMS {
        for header in [
            json!({"alg": algorithm, "typ": "at+jwt", "kid": algorithm}),
            json!({"alg": algorithm, "typ": "application/at+jwt", "kid": algorithm, "x5t": "abc"}),
            json!({"alg": algorithm, "typ": "JWT"}),
            json!({"alg": algorithm}),
        ] {
            for changes in [json!({}), json!({"aud": ["other", "acquaint"]}), json!({"iat": null})] {
                let claims = changed(&issuer.claims(&world), &changes).to_string();
                let token = assemble(&header.to_string(), &claims, issuer.sign(algorithm));
                let session = world.bearer(&token).await.unwrap();
                assert_eq!((session.account.as_str(), session.through), (ACCOUNT, Through::Oidc));
                assert_eq!(session.provider, issuer.url);
            }
        }
    }
    assert_eq!((issuer.site.asked(DISCOVERY).len(), issuer.site.asked(KEYS).len()), (1, 1));
}

#[tokio::test]
async fn the_account_may_be_another_claim() {
    let issuer = Issuer::start().await;
    let world = World::new(|config| {
        config.oidc.issuer = issuer.url.clone();
        config.oidc.audience = "acquaint".into();
        config.oidc.account_claim = "did".into();
    });
    let with = |changes: Value| {
        let claims = changed(&issuer.claims(&world), &changes).to_string();
        assemble(r#"{"alg":"EdDSA"}"#, &claims, issuer.sign("EdDSA"))
    };
    assert_eq!(whose(world.bearer(&with(json!({"did": ALICE}))).await).as_deref(), Ok(ALICE));
    for changes in [json!({}), json!({"did": "alice"}), json!({"did": [ALICE]}), json!({"did": ""})] {
        assert_eq!(
            whose(world.bearer(&with(changes.clone())).await),
            Err(SessionError::Refused),
            "{changes}"
        );
    }
}

#[tokio::test]
async fn claims_that_are_not_right_are_refused_without_asking_the_provider() {
    let issuer = Issuer::start().await;
    let world = issuer.world();
    let now = world.now();
    for changes in [
        json!({"iss": format!("{}/", issuer.url)}),
        json!({"iss": issuer.url.to_uppercase()}),
        json!({"iss": "https://issuer.example"}),
        json!({"iss": ALICE}),
        json!({"iss": [issuer.url]}),
        json!({"iss": null}),
        json!({"aud": "other"}),
        json!({"aud": "acquaint "}),
        json!({"aud": []}),
        json!({"aud": null}),
        json!({"exp": now - 5}),
        json!({"exp": null}),
        json!({"exp": "2099"}),
        json!({"nbf": now + 6}),
        json!({"iat": now + 6}),
        json!({"sub": null}),
        json!({"sub": 248_289_761_001_u64}),
        json!({"cnf": {"jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}}),
    ] {
        let claims = changed(&issuer.claims(&world), &changes).to_string();
        let token = assemble(r#"{"alg":"EdDSA","kid":"EdDSA"}"#, &claims, issuer.sign("EdDSA"));
        assert_eq!(whose(world.bearer(&token).await), Err(SessionError::Refused), "{changes}");
    }
    assert_eq!(issuer.site.all(), 0);
}

#[tokio::test]
async fn headers_that_are_not_right_are_refused() {
    let issuer = Issuer::start().await;
    let world = issuer.world();
    let claims = issuer.claims(&world).to_string();
    let mut refused: Vec<Value> = ["none", "None", "NONE", "eddsa", "EDDSA", "RS512", "ES384", "HS256", ""]
        .map(|name| json!({"alg": name}))
        .into();
    for extra in [
        json!({"kid": "../../../../dev/null"}),
        json!({"kid": "EdDSA' UNION SELECT 'key"}),
        json!({"kid": "EdDSA\u{0}"}),
        json!({"kid": ""}),
        json!({"kid": "k".repeat(1000)}),
        json!({"kid": ["EdDSA"]}),
        json!({"kid": "RS256"}),
        json!({"kid": null, "typ": "dpop+jwt"}),
        json!({"typ": "logout+jwt"}),
        json!({"typ": "id_token"}),
        json!({"jwk": {"kty": "OKP", "crv": "Ed25519", "x": encode(issuer.ed.public_key())}}),
        json!({"jku": format!("{}{KEYS}", issuer.site.url)}),
        json!({"x5u": format!("{}{KEYS}", issuer.site.url)}),
        json!({"x5c": [encode(issuer.ed.public_key())]}),
        json!({"crit": ["exp"]}),
        json!({"b64": false, "crit": ["b64"]}),
        json!({"padding": "p".repeat(1600)}),
    ] {
        refused.push(changed(&json!({"alg": "EdDSA", "kid": "EdDSA"}), &extra));
    }
    for header in refused {
        let token = assemble(&header.to_string(), &claims, issuer.sign("EdDSA"));
        assert_eq!(whose(world.bearer(&token).await), Err(SessionError::Refused), "{header}");
    }
    assert!(world.bearer(&issuer.token(&world, "EdDSA", "EdDSA")).await.is_ok());
}

#[tokio::test]
async fn a_key_serves_its_own_algorithm_only() {
    let issuer = Issuer::start().await;
    // The operator's own tokens are taken too: the same secret for all would let a public key be one.
    let world = World::new(|config| {
        config.account_format = AccountFormat::Opaque;
        config.oidc.issuer = issuer.url.clone();
        config.oidc.audience = "acquaint".into();
        config.tokens.hmac_secret = "0123456789abcdef0123456789abcdef".into();
        config.tokens.audience = "acquaint".into();
    });
    let claims = issuer.claims(&world).to_string();
    for signed in ALGORITHMS {
        for said in ALGORITHMS {
            for id in ALGORITHMS {
                let header = json!({"alg": said, "kid": id}).to_string();
                let token = assemble(&header, &claims, issuer.sign(signed));
                let is_right = signed == said && said == id;
                assert_eq!(world.bearer(&token).await.is_ok(), is_right, "{signed}, said {said}, key {id}");
            }
        }
    }
    let public = [
        issuer.rsa.public().as_ref(),
        issuer.rsa_jwk()["n"].as_str().unwrap().as_bytes(),
        issuer.ec.public_key().as_ref(),
        issuer.ed.public_key().as_ref(),
        &json!({"keys": issuer.keys()}).to_string().into_bytes(),
    ]
    .map(<[u8]>::to_vec);
    for key in public {
        for id in ALGORITHMS {
            let header = json!({"alg": "HS256", "kid": id}).to_string();
            let token = assemble(&header, &claims, |message| {
                Hmac::<Sha256>::new_from_slice(&key)
                    .unwrap()
                    .chain_update(message)
                    .finalize()
                    .into_bytes()
                    .to_vec()
            });
            assert_eq!(whose(world.bearer(&token).await), Err(SessionError::Refused));
        }
    }
}

#[tokio::test]
async fn keys_that_are_not_for_this_are_not_used() {
    let issuer = Issuer::start().await;
    let (ed, rsa) = (issuer.keys().remove(3), issuer.rsa_jwk());
    let secret = encode([7; 32]);
    let cases = [
        ("EdDSA", vec![changed(&ed, &json!({"use": "enc"}))]),
        ("EdDSA", vec![changed(&ed, &json!({"key_ops": ["sign"]}))]),
        ("EdDSA", vec![changed(&ed, &json!({"alg": "ES256"}))]),
        ("EdDSA", vec![changed(&ed, &json!({"alg": "none"}))]),
        ("EdDSA", vec![changed(&ed, &json!({"crv": "X25519"}))]),
        ("EdDSA", vec![changed(&ed, &json!({"d": secret}))]),
        ("EdDSA", vec![changed(&ed, &json!({"x": encode([1; 31])}))]),
        ("EdDSA", vec![changed(&ed, &json!({"kty": "oct", "k": ed["x"]}))]),
        ("EdDSA", vec![changed(&ed, &json!({"kid": "other"}))]),
        // Which of the two is meant?
        ("EdDSA", vec![ed.clone(), ed.clone()]),
        // A key of RSA that does not say so is not for PSS.
        ("PS256", vec![changed(&rsa, &json!({"kid": "PS256"}))]),
        ("RS256", vec![changed(&rsa, &json!({"kid": "RS256", "alg": "PS256"}))]),
        ("RS256", vec![changed(&rsa, &json!({"kid": "RS256", "alg": "RS512"}))]),
        ("RS256", vec![changed(&rsa, &json!({"kid": "RS256", "e": ""}))]),
        ("RS256", vec![changed(&rsa, &json!({"kid": "RS256", "e": "AQ"}))]),
        ("HS256", vec![json!({"kty": "oct", "kid": "HS256", "alg": "HS256", "k": secret})]),
        ("EdDSA", vec![]),
    ];
    for (algorithm, keys) in cases {
        issuer.publish_keys(&keys);
        let world = issuer.world();
        let token = match algorithm {
            "HS256" => {
                let claims = issuer.claims(&world).to_string();
                let mac = |message: &[u8]| {
                    Hmac::<Sha256>::new_from_slice(&[7; 32])
                        .unwrap()
                        .chain_update(message)
                        .finalize()
                        .into_bytes()
                        .to_vec()
                };
                assemble(r#"{"alg":"HS256","kid":"HS256"}"#, &claims, mac)
            }
            algorithm => issuer.token(&world, algorithm, algorithm),
        };
        assert_eq!(whose(world.bearer(&token).await), Err(SessionError::Refused), "{keys:?}");
    }
    // What is not understood spoils nothing, and a zero byte before the number neither.
    let padded = [&[0], &*issuer.rsa_public().n].concat();
    let keys =
        [json!({"kty": 1}), json!("key"), changed(&rsa, &json!({"kid": "RS256", "n": encode(padded)}))];
    issuer.publish_keys(&keys);
    let world = issuer.world();
    assert!(world.bearer(&issuer.token(&world, "RS256", "RS256")).await.is_ok());
}

#[test]
fn keys_of_rsa_have_2048_bits_at_least() {
    use crate::session::oidc::jwk::KeySet;
    let find = |modulus: &[u8]| {
        let keys = json!({"keys": [{"kty": "RSA", "n": encode(modulus), "e": "AQAB"}]}).to_string();
        KeySet::parse(keys.as_bytes()).unwrap().find(jws::Algorithm::Rs256, None).is_some()
    };
    assert!(find(&[0xff; 256]) && find(&[&[0x80], &[1; 255][..]].concat()));
    assert!(!find(&[0xff; 128]), "1024 bits");
    assert!(!find(&[&[0x7f], &[0xff; 255][..]].concat()), "2047 bits");
    assert!(!find(&[&[0; 128], &[0xff; 255][..]].concat()), "zeros are no bits");
    assert!(!find(&[]));
}

#[tokio::test]
async fn a_new_key_is_found_and_unknown_ones_are_not_looked_for_often() {
    let issuer = Issuer::start().await;
    let world = issuer.world();
    assert!(world.bearer(&issuer.token(&world, "EdDSA", "EdDSA")).await.is_ok());
    for place in 0..50 {
        let token = issuer.token(&world, "EdDSA", &format!("unknown {place}"));
        assert_eq!(whose(world.bearer(&token).await), Err(SessionError::Refused));
    }
    assert_eq!(issuer.site.asked(KEYS).len(), 1);
    world.clock.advance(Duration::from_secs(30));
    for place in 0..50 {
        let token = issuer.token(&world, "EdDSA", &format!("unknown {place}"));
        assert_eq!(whose(world.bearer(&token).await), Err(SessionError::Refused));
    }
    assert_eq!(issuer.site.asked(KEYS).len(), 2);
    // The provider has changed its key.
    let renamed = changed(&issuer.keys()[3], &json!({"kid": "new"}));
    issuer.publish_keys(&[renamed]);
    world.clock.advance(Duration::from_secs(30));
    assert!(world.bearer(&issuer.token(&world, "EdDSA", "new")).await.is_ok());
    let former = issuer.token(&world, "EdDSA", "EdDSA");
    assert_eq!(whose(world.bearer(&former).await), Err(SessionError::Refused));
    assert_eq!(issuer.site.asked(KEYS).len(), 3);
}

#[tokio::test]
async fn the_last_good_keys_serve_for_a_day_while_the_provider_does_not_answer() {
    let issuer = Issuer::start().await;
    let world = issuer.world();
    assert!(world.bearer(&issuer.token(&world, "EdDSA", "EdDSA")).await.is_ok());
    issuer.site.put(KEYS, Page::Status(503));
    for _ in 0..3 {
        world.clock.advance(Duration::from_secs(601));
        for _ in 0..10 {
            assert!(world.bearer(&issuer.token(&world, "EdDSA", "EdDSA")).await.is_ok());
        }
        let unknown = issuer.token(&world, "EdDSA", "new");
        assert_eq!(whose(world.bearer(&unknown).await), Err(SessionError::Unavailable));
    }
    assert_eq!(issuer.site.asked(KEYS).len(), 4);
    world.clock.advance(Duration::from_secs(24 * 60 * 60));
    let token = issuer.token(&world, "EdDSA", "EdDSA");
    assert_eq!(whose(world.bearer(&token).await), Err(SessionError::Unavailable));
    issuer.publish_keys(&issuer.keys());
    world.clock.advance(Duration::from_secs(30));
    assert!(world.bearer(&issuer.token(&world, "EdDSA", "EdDSA")).await.is_ok());
}

#[tokio::test]
async fn a_provider_that_is_not_the_configured_one_is_not_believed() {
    let issuer = Issuer::start().await;
    let keys = format!("{}{KEYS}", issuer.site.url);
    let documents = [
        json!({"issuer": format!("{}/", issuer.url), "jwks_uri": keys}).to_string(),
        json!({"issuer": "https://issuer.example", "jwks_uri": keys}).to_string(),
        json!({"issuer": issuer.url, "jwks_uri": "http://issuer.example/keys"}).to_string(),
        json!({"issuer": issuer.url, "jwks_uri": "file:///etc/passwd"}).to_string(),
        json!({"issuer": issuer.url, "jwks_uri": "keys"}).to_string(),
        json!({"issuer": issuer.url}).to_string(),
        json!({"issuer": issuer.url, "jwks_uri": keys}).to_string().replacen('{', r#"{"issuer":"x","#, 1),
        "[]".to_owned(),
    ];
    for document in documents {
        issuer.site.put(DISCOVERY, Page::Json(document.clone()));
        let world = issuer.world();
        let token = issuer.token(&world, "EdDSA", "EdDSA");
        for _ in 0..3 {
            assert_eq!(whose(world.bearer(&token).await), Err(SessionError::Unavailable), "{document}");
        }
    }
    assert_eq!(issuer.site.asked(DISCOVERY).len(), 8, "once each");
    for page in [Page::Status(404), Page::Redirect(KEYS.into()), Page::Long(65_537)] {
        issuer.site.put(DISCOVERY, page);
        let world = issuer.world();
        let token = issuer.token(&world, "EdDSA", "EdDSA");
        assert_eq!(whose(world.bearer(&token).await), Err(SessionError::Unavailable));
    }
    assert!(issuer.site.asked(KEYS).is_empty());
    let url = nobody().await;
    let world = World::new(|config| {
        config.oidc.issuer = url.clone();
        config.oidc.audience = "acquaint".into();
    });
    let claims = changed(&issuer.claims(&world), &json!({"iss": url})).to_string();
    let token = assemble(r#"{"alg":"EdDSA"}"#, &claims, issuer.sign("EdDSA"));
    assert_eq!(whose(world.bearer(&token).await), Err(SessionError::Unavailable));
}

#[test]
fn keys_come_encrypted_but_from_a_provider_on_this_machine() {
    use crate::session::oidc::provider::Provider;
    let may = |issuer: &str, url: &str| {
        let provider = Provider::new(issuer, Arc::new(HandClock::default())).unwrap();
        provider.may_have_keys(&url.parse().unwrap())
    };
    let (far, here) = ("https://id.example.com", "http://localhost:8080/realm");
    assert!(may(far, "https://keys.example.com/") && may(here, "https://keys.example.com/"));
    for url in ["http://localhost:8080/keys", "http://127.0.0.1/keys", "http://[::1]/keys"] {
        assert!(may(here, url) && !may(far, url), "{url}");
    }
    for url in ["http://keys.example.com/", "http://10.0.0.1/", "file:///keys", "data:,keys"] {
        assert!(!may(here, url) && !may(far, url), "{url}");
    }
}
