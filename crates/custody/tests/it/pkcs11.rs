use acquaint_custody::pkcs11::{KeyState, Pkcs11Custody, Pkcs11Error, Token};
use acquaint_custody::{CustodyError, KeyCustody, NewStretching, Purpose, conformance, epochs, newest};
use acquaint_protocol::pair::Suite;
use chacha20poly1305::XChaCha20Poly1305;
use chacha20poly1305::aead::{Aead, Payload};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeInfo, AttributeType, KeyType, ObjectClass};
use cryptoki::session::Session;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::softhsm::alone;
use crate::support::{NOW, assert_same, beside, checks, config, custody, key, log_in, objects};

#[test]
fn keeps_the_contract() {
    alone("pkcs11::keeps_the_contract", |hsm| {
        hsm.token("one", crate::support::PIN);
        hsm.token("other", crate::support::PIN);
        let one = Pkcs11Custody::create(config(hsm, "one"), Suite::STANDARD, NOW).unwrap();
        let other = Pkcs11Custody::create(config(hsm, "other"), Suite::STANDARD, NOW).unwrap();
        conformance::run(&one, &other);
        conformance::run(&other, &one);
    });
}

#[test]
fn the_token_alone_brings_everything_back() {
    alone("pkcs11::the_token_alone_brings_everything_back", |hsm| {
        let made = custody(hsm, "acquaint");
        let before = checks(&made);
        let pepper = |custody: &Pkcs11Custody, purpose| {
            *custody.stretching(key(purpose, 1)).unwrap().pepper.as_bytes()
        };
        let peppers = [pepper(&made, Purpose::Pair), pepper(&made, Purpose::Number)];
        assert_ne!(peppers[0], peppers[1]);
        drop(made);
        let opened = Pkcs11Custody::open(config(hsm, "acquaint")).unwrap();
        assert_eq!(opened.keys(), Purpose::needed().map(|purpose| key(purpose, 1)).collect::<Vec<_>>());
        assert_same(&opened, &before);
        assert_eq!([pepper(&opened, Purpose::Pair), pepper(&opened, Purpose::Number)], peppers);
        assert_eq!(epochs(&opened).unwrap()[0].suite, Suite::HARD);
        for entry in opened.token().list() {
            assert_eq!((entry.state, entry.made_at), (KeyState::Usable, Some(NOW)), "{}", entry.key);
            assert_eq!(entry.suite.is_some(), entry.key.purpose.stretches());
        }
        let again = Pkcs11Custody::create(config(hsm, "acquaint"), Suite::HARD, NOW);
        assert!(matches!(again, Err(Pkcs11Error::Exists(label)) if label == "acquaint"));
    });
}

#[test]
fn no_key_can_leave_the_token() {
    alone("pkcs11::no_key_can_leave_the_token", |hsm| {
        let _custody = custody(hsm, "acquaint");
        let (_module, session) = beside(hsm, "acquaint");
        for purpose in Purpose::needed() {
            let label = format!("acquaint:{}:1", purpose.name());
            let objects = objects(&session, &label);
            assert_eq!(objects.len(), 2, "{label}: a key and its record");
            let secret = objects["CKO_SECRET_KEY"];
            let expected = [
                Attribute::Sensitive(true),
                Attribute::Extractable(false),
                Attribute::AlwaysSensitive(true),
                Attribute::NeverExtractable(true),
                Attribute::Local(true),
                Attribute::Private(true),
                Attribute::Modifiable(false),
                Attribute::Sign(true),
                Attribute::Verify(false),
                Attribute::Encrypt(false),
                Attribute::Decrypt(false),
                Attribute::Wrap(false),
                Attribute::Unwrap(false),
                Attribute::Derive(false),
                Attribute::KeyType(KeyType::GENERIC_SECRET),
                Attribute::ValueLen(32.into()),
            ];
            let types: Vec<_> = expected.iter().map(Attribute::attribute_type).collect();
            assert_eq!(session.get_attributes(secret, &types).unwrap(), expected, "{label}");
            assert!(session.get_attributes(secret, &[AttributeType::Value]).unwrap().is_empty(), "{label}");
            let info = session.get_attribute_info(secret, &[AttributeType::Value]).unwrap();
            assert!(matches!(info[..], [AttributeInfo::Sensitive]), "{label}: {info:?}");
            assert!(session.update_attributes(secret, &[Attribute::Extractable(true)]).is_err(), "{label}");
            assert!(session.update_attributes(secret, &[Attribute::Sensitive(false)]).is_err(), "{label}");
            let copy = [Attribute::Token(false), Attribute::Extractable(true)];
            assert!(session.copy_object(secret, &copy).is_err(), "{label}");
        }
        // Who is not logged in sees neither keys nor peppers.
        session.logout().unwrap();
        assert!(session.find_objects(&[]).unwrap().is_empty());
    });
}

#[test]
fn hashes_as_everybody_does() {
    alone("pkcs11::hashes_as_everybody_does", |hsm| {
        let custody = custody(hsm, "acquaint");
        let (_module, session) = beside(hsm, "acquaint");
        let put = |value| put(&session, "acquaint:code:1", value);
        // RFC 4231, sections 4.7 and 4.8: SoftHSM takes no keys of less than 32 bytes.
        let long = "This is a test using a larger than block-size key and a larger than block-size data. The key \
            needs to be hashed before being used by the HMAC algorithm.";
        let cases = [
            (
                "Test Using Larger Than Block-Size Key - Hash Key First",
                "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
            ),
            (long, "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2"),
        ];
        put(&[0xaa; 131]);
        for (input, expected) in cases {
            let made = custody.hmac(key(Purpose::Code, 1), &[input.as_bytes()]).unwrap();
            assert_eq!(hex::encode(made[0]), expected);
        }
        put(&[0x5a; 32]);
        let inputs: Vec<Vec<u8>> = (0..200).map(|length| vec![length as u8; length * 7]).collect();
        let inputs: Vec<&[u8]> = inputs.iter().map(Vec::as_slice).collect();
        let made = custody.hmac(key(Purpose::Code, 1), &inputs).unwrap();
        for (input, made) in inputs.iter().zip(made) {
            let here = Hmac::<Sha256>::new_from_slice(&[0x5a; 32]).unwrap().chain_update(input);
            assert_eq!(made, <[u8; 32]>::from(here.finalize().into_bytes()));
        }
    });
}

/// Puts a key of known value in the place of the one that was made, whose record stays.
fn put(session: &Session, label: &str, value: &[u8]) {
    session.destroy_object(objects(session, label)["CKO_SECRET_KEY"]).unwrap();
    let template = [
        Attribute::Class(ObjectClass::SECRET_KEY),
        Attribute::KeyType(KeyType::GENERIC_SECRET),
        Attribute::Label(label.into()),
        Attribute::Token(true),
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Sign(true),
        Attribute::Value(value.into()),
    ];
    session.create_object(&template).unwrap();
}

#[test]
fn seals_as_it_is_documented() {
    alone("pkcs11::seals_as_it_is_documented", |hsm| {
        let custody = custody(hsm, "acquaint");
        put(&beside(hsm, "acquaint").1, "acquaint:seal:1", &[0x5a; 32]);
        let sealed = custody.seal(Purpose::Seal, b"table/row", b"a name").unwrap();
        let (header, ciphertext) = sealed.split_at(29);
        assert_eq!(header[..5], [2, 0, 0, 0, 1]);
        let nonce: [u8; 24] = header[5..].try_into().unwrap();
        let key = Hmac::<Sha256>::new_from_slice(&[0x5a; 32]).unwrap();
        let key = key.chain_update(b"acquaint message key\0").chain_update(nonce).finalize().into_bytes();
        let opened = XChaCha20Poly1305::new(&<[u8; 32]>::from(key).into())
            .decrypt(&nonce.into(), Payload { msg: ciphertext, aad: b"seal\0table/row" })
            .unwrap();
        assert_eq!(opened, b"a name");
    });
}

#[test]
fn versions_are_added_and_destroyed() {
    alone("pkcs11::versions_are_added_and_destroyed", |hsm| {
        let custody = custody(hsm, "acquaint");
        let token = custody.token();
        let before = checks(&custody);
        let sealed = custody.seal(Purpose::Seal, b"row", b"text").unwrap();
        let pair = token.add_version(Purpose::Pair, NewStretching::New(Suite::STANDARD), NOW + 1).unwrap();
        let seal = token.add_version(Purpose::Seal, NewStretching::New(Suite::STANDARD), NOW + 2).unwrap();
        assert_eq!((pair, seal), (key(Purpose::Pair, 2), key(Purpose::Seal, 2)));
        assert_eq!(newest(&custody, Purpose::Seal).unwrap(), seal);
        let suites: Vec<_> = epochs(&custody).unwrap().iter().map(|epoch| epoch.suite).collect();
        assert_eq!(suites, [Suite::STANDARD, Suite::HARD]);
        assert_same(&custody, &before);
        assert_ne!(
            custody.hmac(pair, &[b"x"]).unwrap(),
            custody.hmac(key(Purpose::Pair, 1), &[b"x"]).unwrap()
        );
        assert_eq!(custody.open(Purpose::Seal, b"row", &sealed).unwrap().as_slice(), b"text");
        let newer = custody.seal(Purpose::Seal, b"row", b"text").unwrap();
        assert_eq!((&sealed[..5], &newer[..5]), (&[2, 0, 0, 0, 1][..], &[2, 0, 0, 0, 2][..]));

        token.destroy(key(Purpose::Seal, 1)).unwrap();
        token.destroy(key(Purpose::Pair, 1)).unwrap();
        assert!(matches!(custody.open(Purpose::Seal, b"row", &sealed), Err(CustodyError::NotOurs)));
        assert_eq!(custody.open(Purpose::Seal, b"row", &newer).unwrap().as_slice(), b"text");
        let gone = key(Purpose::Pair, 1);
        assert!(matches!(custody.hmac(gone, &[b"x"]), Err(CustodyError::NoSuchKey(key)) if key == gone));
        assert!(matches!(token.destroy(gone), Err(Pkcs11Error::NoSuchKey(key)) if key == gone));
        assert!(matches!(token.destroy(pair), Err(Pkcs11Error::Only(key)) if key == pair));
        let (_module, session) = beside(hsm, "acquaint");
        assert!(objects(&session, "acquaint:pair:1").is_empty(), "nothing of it is left in the token");
        drop(session);
        // A number is not given twice while a higher one is there. Another process's key shows once it is looked for.
        let elsewhere = Token::open(config(hsm, "acquaint")).unwrap();
        let third = elsewhere.add_version(Purpose::Pair, NewStretching::Kept, NOW).unwrap();
        assert_eq!(third, key(Purpose::Pair, 3));
        assert!(matches!(custody.hmac(third, &[b"x"]), Err(CustodyError::NoSuchKey(_))));
        custody.refresh().unwrap();
        assert_ne!(custody.hmac(third, &[b"x"]).unwrap(), custody.hmac(pair, &[b"x"]).unwrap());
        let pepper = |key| *custody.stretching(key).unwrap().pepper.as_bytes();
        assert_eq!(pepper(third), pepper(pair));
        let fourth = elsewhere.add_version(Purpose::Pair, NewStretching::New(Suite::HARD), NOW).unwrap();
        custody.refresh().unwrap();
        assert_ne!(pepper(fourth), pepper(third));
        assert_eq!(custody.stretching(fourth).unwrap().suite, Suite::HARD);
    });
}

#[test]
fn an_interrupted_creation_is_finished_later() {
    alone("pkcs11::an_interrupted_creation_is_finished_later", |hsm| {
        hsm.token("acquaint", crate::support::PIN);
        let token = Token::open(config(hsm, "acquaint")).unwrap();
        token.create_keys(Suite::HARD, NOW).unwrap();
        let (_module, session) = beside(hsm, "acquaint");
        for label in ["acquaint:seal:1", "acquaint:token:1"] {
            session.destroy_object(objects(&session, label)["CKO_DATA"]).unwrap();
        }
        session.destroy_object(objects(&session, "acquaint:seal:1")["CKO_SECRET_KEY"]).unwrap();
        drop(session);
        let opened = Pkcs11Custody::open(config(hsm, "acquaint"));
        assert!(matches!(opened, Err(Pkcs11Error::NoKeys(Purpose::Token))), "{opened:?}");
        // What may have been in use is passed over, never destroyed.
        let made = token.create_keys(Suite::HARD, NOW).unwrap();
        assert_eq!(made, [key(Purpose::Token, 2), key(Purpose::Seal, 1)]);
        let states: Vec<_> = token.list().iter().map(|entry| (entry.key, entry.state)).collect();
        assert!(states.contains(&(key(Purpose::Token, 1), KeyState::WithoutRecord)));
        let opened = Pkcs11Custody::open(config(hsm, "acquaint")).unwrap();
        assert!(!opened.keys().contains(&key(Purpose::Token, 1)));
        token.destroy(key(Purpose::Token, 1)).unwrap();
        assert!(token.list().iter().all(|entry| entry.state == KeyState::Usable));
    });
}

#[test]
fn a_key_that_may_leave_is_refused() {
    alone("pkcs11::a_key_that_may_leave_is_refused", |hsm| {
        drop(custody(hsm, "acquaint"));
        let (_module, session) = beside(hsm, "acquaint");
        log_in(&session);
        session.destroy_object(objects(&session, "acquaint:code:1")["CKO_SECRET_KEY"]).unwrap();
        let put = |sensitive, extractable| {
            let template = [
                Attribute::Label("acquaint:code:1".into()),
                Attribute::ValueLen(32.into()),
                Attribute::Token(true),
                Attribute::Private(true),
                Attribute::Sensitive(sensitive),
                Attribute::Extractable(extractable),
                Attribute::Sign(true),
            ];
            session.generate_key(&Mechanism::GenericSecretKeyGen, &template).unwrap()
        };
        for (sensitive, extractable) in [(true, true), (false, false), (false, true)] {
            let handle = put(sensitive, extractable);
            let opened = Pkcs11Custody::open(config(hsm, "acquaint"));
            assert!(matches!(opened, Err(Pkcs11Error::Exposed(exposed)) if exposed == key(Purpose::Code, 1)));
            session.destroy_object(handle).unwrap();
        }
        let _first = put(true, false);
        Pkcs11Custody::open(config(hsm, "acquaint")).unwrap();
        let _second = put(true, false);
        let opened = Pkcs11Custody::open(config(hsm, "acquaint"));
        assert!(matches!(opened, Err(Pkcs11Error::Twice(twice)) if twice == key(Purpose::Code, 1)));
    });
}

#[test]
fn audiences_get_two_keys_of_one_number_each() {
    alone("pkcs11::audiences_get_two_keys_of_one_number_each", |hsm| {
        let custody = custody(hsm, "acquaint");
        let token = custody.token();
        assert_eq!([token.add_audience(NOW).unwrap(), token.add_audience(NOW).unwrap()], [1, 2]);
        let made = |purpose, number| custody.hmac(key(purpose, number), &[b"x"]).unwrap();
        let (user, auth) = (Purpose::CredentialUser, Purpose::CredentialAuth);
        let all = [made(user, 1), made(auth, 1), made(user, 2), made(auth, 2)];
        assert!(all.iter().enumerate().all(|(n, one)| all.iter().skip(n + 1).all(|other| one != other)));
        // What an interruption left of one is passed over.
        token.destroy(key(auth, 2)).unwrap();
        assert_eq!(token.add_audience(NOW).unwrap(), 3);
        for gone in [key(user, 1), key(auth, 1), key(user, 2), key(user, 3), key(auth, 3)] {
            token.destroy(gone).unwrap();
        }
        Pkcs11Custody::open(config(hsm, "acquaint")).unwrap();
    });
}
