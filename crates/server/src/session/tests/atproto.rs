use super::site::{Page, Site};
use super::*;
use k256::ecdsa::signature::Signer as _;

type K256 = k256::ecdsa::SigningKey;
type P256 = p256::ecdsa::SigningKey;

const HEADER: &str = r#"{"typ":"JWT","alg":"ES256K"}"#;

fn k256_key(seed: u8) -> K256 {
    K256::from_slice(&[seed; 32]).unwrap()
}

fn p256_key(seed: u8) -> P256 {
    P256::from_slice(&[seed; 32]).unwrap()
}

/// r ‖ s with a low s.
fn k256_sign(key: &K256) -> impl Fn(&[u8]) -> Vec<u8> {
    let key = key.clone();
    move |message| {
        let signature: k256::ecdsa::Signature = key.sign(message);
        signature.normalize_s().to_bytes().to_vec()
    }
}

fn p256_sign(key: &P256) -> impl Fn(&[u8]) -> Vec<u8> {
    let key = key.clone();
    move |message| {
        let signature: p256::ecdsa::Signature = key.sign(message);
        signature.normalize_s().to_bytes().to_vec()
    }
}

fn multikey(prefix: [u8; 2], point: &[u8]) -> String {
    format!("z{}", bs58::encode([&prefix, point].concat()).into_string())
}

fn k256_multikey(key: &K256) -> String {
    multikey([0xe7, 0x01], key.verifying_key().to_sec1_point(true).as_bytes())
}

fn p256_multikey(key: &P256) -> String {
    multikey([0x80, 0x24], key.verifying_key().to_sec1_point(true).as_bytes())
}

/// A document as the directory has them, with `methods` of id, type and key.
fn document(did: &str, methods: &[(&str, &str, String)]) -> Page {
    let methods: Vec<_> = methods
        .iter()
        .map(|(id, kind, key)| json!({"id": id, "type": kind, "controller": did, "publicKeyMultibase": key}))
        .collect();
    let document = json!({
        "@context": ["https://www.w3.org/ns/did/v1", "https://w3id.org/security/multikey/v1"],
        "id": did,
        "alsoKnownAs": ["at://alice.example.com"],
        "verificationMethod": methods,
        "service": [{
            "id": "#atproto_pds",
            "type": "AtprotoPersonalDataServer",
            "serviceEndpoint": "https://pds.example.com",
        }],
    });
    Page::Json(document.to_string())
}

fn own(did: &str, key: String) -> Page {
    document(did, &[(&format!("{did}#atproto"), "Multikey", key)])
}

/// Sessions of atproto, with a directory in which Alice has the first key of secp256k1.
async fn world() -> (World, Site) {
    let site = Site::start().await;
    site.put(&format!("/{ALICE}"), own(ALICE, k256_multikey(&k256_key(1))));
    let world = World::new(|config| {
        config.atproto.service_did = SERVICE.into();
        config.atproto.plc_url = site.url.clone();
    });
    (world, site)
}

impl World {
    /// What `createServiceJwt` of `@atproto/xrpc-server` says, with an id of its own.
    fn service_claims(&self, id: &str) -> Value {
        let now = self.now();
        json!({"iat": now, "iss": ALICE, "aud": SERVICE, "exp": now + 60, "lxm": LXM, "jti": id})
    }
}

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
