//! Signatures and keys of atproto, and how keys are replaced.

use super::signing::*;
use super::site::Page;
use super::*;

/// The order of each curve (SEC 2, sections 2.4.1 and 2.4.2).
const K256_ORDER: &str = "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141";
const P256_ORDER: &str = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";

/// order − s, big-endian.
fn mirrored(order: &str, s: &[u8]) -> Vec<u8> {
    let (order, mut borrow) = (hex::decode(order).unwrap(), 0);
    let mut result = vec![0; 32];
    for place in (0..32).rev() {
        let difference = i32::from(order[place]) - i32::from(s[place]) - borrow;
        borrow = i32::from(difference < 0);
        result[place] = difference.rem_euclid(256) as u8;
    }
    result
}

/// A signature in DER (SEC 1, appendix C.5).
fn der(signature: &[u8]) -> Vec<u8> {
    let number = |bytes: &[u8]| {
        let zero = if bytes[0] >= 0x80 { &[0][..] } else { &[] };
        [&[2, (bytes.len() + zero.len()) as u8], zero, bytes].concat()
    };
    let body = [number(&signature[..32]), number(&signature[32..])].concat();
    [&[0x30, body.len() as u8], &*body].concat()
}

#[tokio::test]
async fn signatures_of_another_form_are_refused() {
    let (world, site) = world().await;
    let bob = "did:plc:bbbbbbbbbbbbbbbbbbbbbbbb";
    site.put(&format!("/{bob}"), own(bob, p256_multikey(&p256_key(2))));
    type Sign = Box<dyn Fn(&[u8]) -> Vec<u8>>;
    let (k256, p256): (Sign, Sign) = (Box::new(k256_sign(&k256_key(1))), Box::new(p256_sign(&p256_key(2))));
    for (did, algorithm, order, sign) in
        [(ALICE, "ES256K", K256_ORDER, k256), (bob, "ES256", P256_ORDER, p256)]
    {
        let header = json!({"alg": algorithm}).to_string();
        let claims = changed(&world.service_claims("1"), &json!({"iss": did})).to_string();
        let zeros = [0; 32];
        let order_bytes = hex::decode(order).unwrap();
        let forms: [(&str, Sign); 10] = [
            ("a high s", Box::new(|good: &[u8]| [&good[..32], &mirrored(order, &good[32..])].concat())),
            ("DER", Box::new(der)),
            ("r is zero", Box::new(move |good: &[u8]| [&zeros, &good[32..]].concat())),
            ("s is zero", Box::new(move |good: &[u8]| [&good[..32], &zeros].concat())),
            ("both are zero", Box::new(|_: &[u8]| vec![0; 64])),
            ("r is the order", Box::new(move |good: &[u8]| [&*order_bytes, &good[32..]].concat())),
            ("s is too large", Box::new(|good: &[u8]| [&good[..32], &[0xff; 32]].concat())),
            ("a byte more", Box::new(|good: &[u8]| [good, &[0]].concat())),
            ("nothing", Box::new(|_: &[u8]| Vec::new())),
            ("the other way around", Box::new(|good: &[u8]| [&good[32..], &good[..32]].concat())),
        ];
        for (name, form) in &forms {
            let token = assemble(&header, &claims, |message| form(&sign(message)));
            assert_eq!(whose(world.bearer(&token).await), Err(SessionError::Refused), "{algorithm}, {name}");
        }
        // Mirrored twice it is good again.
        let token = assemble(&header, &claims, |message| {
            let good = sign(message);
            [&good[..32], &mirrored(order, &mirrored(order, &good[32..]))].concat()
        });
        assert_eq!(whose(world.bearer(&token).await).as_deref(), Ok(did));
    }
}

#[tokio::test]
async fn a_key_is_good_for_its_own_curve_and_account() {
    let (world, site) = world().await;
    let bob = "did:plc:bbbbbbbbbbbbbbbbbbbbbbbb";
    site.put(&format!("/{bob}"), own(bob, k256_multikey(&k256_key(2))));
    let claims = world.service_claims("1").to_string();
    let es256 = r#"{"typ":"JWT","alg":"ES256"}"#;
    let refused = [
        ("another curve in the header", assemble(es256, &claims, k256_sign(&k256_key(1)))),
        ("another curve's key, of the same number", assemble(es256, &claims, p256_sign(&p256_key(1)))),
        ("another curve's signature", assemble(HEADER, &claims, p256_sign(&p256_key(1)))),
        ("another account's key", assemble(HEADER, &claims, k256_sign(&k256_key(2)))),
    ];
    for (name, token) in refused {
        assert_eq!(whose(world.bearer(&token).await), Err(SessionError::Refused), "{name}");
    }
    // The document's other keys do not speak for the account either.
    let carol = "did:plc:cccccccccccccccccccccccc";
    let methods = [
        ("#atproto_label", "Multikey", k256_multikey(&k256_key(3))),
        ("#atproto", "Multikey", k256_multikey(&k256_key(4))),
        ("#atproto", "Multikey", k256_multikey(&k256_key(5))),
        ("did:plc:dddddddddddddddddddddddd#atproto", "Multikey", k256_multikey(&k256_key(6))),
    ];
    site.put(&format!("/{carol}"), document(carol, &methods));
    for key in 3..=6 {
        let claims = changed(&world.service_claims("1"), &json!({"iss": carol})).to_string();
        let token = assemble(HEADER, &claims, k256_sign(&k256_key(key)));
        assert_eq!(world.bearer(&token).await.is_ok(), key == 4, "key {key}");
    }
}

#[tokio::test]
async fn a_key_that_was_replaced_is_found_and_nobody_can_have_it_looked_for_often() {
    let (world, site) = world().await;
    let path = format!("/{ALICE}");
    let token =
        |id: &str, key| assemble(HEADER, &world.service_claims(id).to_string(), k256_sign(&k256_key(key)));
    assert_eq!(whose(world.bearer(&token("1", 1)).await).as_deref(), Ok(ALICE));
    for _ in 0..50 {
        assert_eq!(whose(world.bearer(&token("2", 9)).await), Err(SessionError::Refused));
    }
    assert_eq!(site.asked(&path).len(), 1, "it was fetched a moment ago");
    world.clock.advance(Duration::from_secs(31));
    for _ in 0..50 {
        assert_eq!(whose(world.bearer(&token("2", 9)).await), Err(SessionError::Refused));
    }
    assert_eq!(site.asked(&path).len(), 2);
    site.put(&path, own(ALICE, k256_multikey(&k256_key(2))));
    world.clock.advance(Duration::from_secs(31));
    assert_eq!(whose(world.bearer(&token("3", 2)).await).as_deref(), Ok(ALICE));
    assert_eq!(whose(world.bearer(&token("4", 1)).await), Err(SessionError::Refused), "the former key");
    assert_eq!(site.asked(&path).len(), 3);
    // The directory does not answer: what is kept stays, and is asked for again as seldom.
    site.put(&path, Page::Status(503));
    world.clock.advance(Duration::from_secs(31));
    assert_eq!(whose(world.bearer(&token("5", 9)).await), Err(SessionError::Unavailable));
    assert_eq!(whose(world.bearer(&token("5", 9)).await), Err(SessionError::Refused));
    assert_eq!(whose(world.bearer(&token("5", 2)).await).as_deref(), Ok(ALICE));
    assert_eq!(site.asked(&path).len(), 4);
    // Once it is too old, it is of no use.
    world.clock.advance(Duration::from_secs(600));
    assert_eq!(whose(world.bearer(&token("6", 2)).await), Err(SessionError::Unavailable));
    site.put(&path, Page::Status(410));
    world.clock.advance(Duration::from_secs(6));
    assert_eq!(whose(world.bearer(&token("6", 2)).await), Err(SessionError::Refused), "a tombstone");
}

#[tokio::test]
async fn looking_for_replaced_keys_is_bounded_over_all_accounts() {
    let (world, site) = world().await;
    let dids: Vec<_> = (0..60_u8)
        .map(|n| {
            format!("did:plc:{}{}{}", "a".repeat(22), char::from(b'b' + n / 20), char::from(b'b' + n % 20))
        })
        .collect();
    let token = |did: &str, id: &str, key| {
        let claims = changed(&world.service_claims(id), &json!({"iss": did})).to_string();
        assemble(HEADER, &claims, k256_sign(&k256_key(key)))
    };
    for did in &dids {
        site.put(&format!("/{did}"), own(did, k256_multikey(&k256_key(1))));
        assert!(world.bearer(&token(did, "1", 1)).await.is_ok());
    }
    world.clock.advance(Duration::from_secs(31));
    let before = site.all();
    for did in &dids {
        assert_eq!(whose(world.bearer(&token(did, "2", 9)).await), Err(SessionError::Refused));
    }
    assert_eq!(site.all() - before, 20);
    world.clock.advance(Duration::from_secs(5));
    for did in &dids {
        assert_eq!(whose(world.bearer(&token(did, "2", 9)).await), Err(SessionError::Refused));
    }
    assert_eq!(site.all() - before, 30, "one more for each half second");
}
