use acquaint_custody::pkcs11::{KeyState, Pkcs11Custody, Pkcs11Error, Token};
use acquaint_custody::{CustodyError, KeyCustody, NewStretching, Purpose};
use acquaint_protocol::pair::Suite;
use cryptoki::types::AuthPin;

use crate::softhsm::{SO_PIN, alone};
use crate::support::{
    NOW, PIN, beside, checks, config, config_with_pin, custody, key, log_in, objects, told,
};

const WRONG: &str = "wrong-battery-5521";

#[test]
fn a_missing_module_and_a_missing_token_are_told_apart() {
    alone("faults::a_missing_module_and_a_missing_token_are_told_apart", |hsm| {
        hsm.token("one", PIN);
        hsm.token("two", PIN);
        hsm.token("two", PIN);
        let mut absent = config(hsm, "one");
        absent.module = "/nowhere/libhsm.so".into();
        let error = Token::open(absent).unwrap_err();
        assert!(matches!(error, Pkcs11Error::Module { .. }));
        assert!(error.to_string().contains("/nowhere/libhsm.so"), "{error}");
        let mut no_module = config(hsm, "one");
        no_module.module = hsm.config().into();
        assert!(matches!(Token::open(no_module), Err(Pkcs11Error::Module { .. })));
        let error = Token::open(config(hsm, "three")).unwrap_err();
        assert!(matches!(error, Pkcs11Error::NoToken { .. }));
        assert!(error.to_string().contains("`three`") && error.to_string().contains("`one`"), "{error}");
        assert!(matches!(Token::open(config(hsm, "two")), Err(Pkcs11Error::SeveralTokens(_))));
        Token::open(config(hsm, "one")).unwrap();
        assert!(matches!(Pkcs11Custody::open(config(hsm, "one")), Err(Pkcs11Error::NoKeys(Purpose::Pair))));
    });
}

#[test]
fn a_wrong_pin_is_told_and_never_tried_again() {
    alone("faults::a_wrong_pin_is_told_and_never_tried_again", |hsm| {
        let custody = custody(hsm, "acquaint");
        let (_module, session) = beside(hsm, "acquaint");
        let (pin, wrong) = (AuthPin::new(PIN.into()), AuthPin::new(WRONG.into()));
        session.set_pin(&pin, &wrong).unwrap();
        session.logout().unwrap();
        let refused = |custody: &Pkcs11Custody| {
            let error = custody.hmac(key(Purpose::Code, 1), &[b"x"]).unwrap_err();
            assert!(matches!(error, CustodyError::Unavailable(_)));
            assert!(told(&error).contains("refuses the PIN"), "{}", told(&error));
            assert!(!told(&error).contains(PIN), "{}", told(&error));
        };
        refused(&custody);
        // Even when it would be right: nobody can know that without trying.
        log_in_with(&session, WRONG);
        session.set_pin(&wrong, &pin).unwrap();
        session.logout().unwrap();
        refused(&custody);
        refused(&custody);
        drop(session);
        let error = Pkcs11Custody::open(config_with_pin(hsm, "acquaint", WRONG)).unwrap_err();
        assert!(matches!(&error, Pkcs11Error::WrongPin(label) if label == "acquaint"));
        assert!(!told(&error).contains(WRONG));
        Pkcs11Custody::open(config(hsm, "acquaint")).unwrap();
    });
}

fn log_in_with(session: &cryptoki::session::Session, pin: &str) {
    session.login(cryptoki::session::UserType::User, Some(&AuthPin::new(pin.into()))).unwrap();
}

#[test]
fn a_token_without_a_user_pin_is_told() {
    alone("faults::a_token_without_a_user_pin_is_told", |hsm| {
        hsm.token("other", PIN);
        Token::open(config(hsm, "other")).unwrap();
        let module = cryptoki::context::Pkcs11::new(hsm.module()).unwrap();
        let slots = module.get_all_slots().unwrap();
        let free = slots.into_iter().find(|slot| !module.get_token_info(*slot).unwrap().token_initialized());
        module.init_token(free.unwrap(), &AuthPin::new(SO_PIN.into()), "acquaint").unwrap();
        let error = Token::open(config(hsm, "acquaint")).unwrap_err();
        assert!(matches!(&error, Pkcs11Error::PinNotSet(label) if label == "acquaint"), "{error}");
    });
}

#[test]
fn a_missing_key_of_a_live_epoch_is_named() {
    alone("faults::a_missing_key_of_a_live_epoch_is_named", |hsm| {
        let custody = custody(hsm, "acquaint");
        custody.token().add_version(Purpose::Pair, NewStretching::New(Suite::HARD), NOW).unwrap();
        let (_module, session) = beside(hsm, "acquaint");
        session.destroy_object(objects(&session, "acquaint:pair:1")["CKO_SECRET_KEY"]).unwrap();
        // Whoever serves with it is told that it is gone, not that there never was one.
        let error = custody.hmac(key(Purpose::Pair, 1), &[b"x"]).unwrap_err();
        assert!(matches!(error, CustodyError::Unavailable(_)), "{}", told(&error));
        assert!(told(&error).contains("pair key, version 1"), "{}", told(&error));
        // Whoever starts is as well.
        let opened = Pkcs11Custody::open(config(hsm, "acquaint"));
        assert!(matches!(opened, Err(Pkcs11Error::KeyMissing(missing)) if missing == key(Purpose::Pair, 1)));
        // Once it is given up for good, the rest can be used.
        let token = Token::open(config(hsm, "acquaint")).unwrap();
        let states: Vec<_> = token.list().into_iter().map(|entry| (entry.key, entry.state)).collect();
        assert!(states.contains(&(key(Purpose::Pair, 1), KeyState::WithoutKey)));
        token.destroy(key(Purpose::Pair, 1)).unwrap();
        let opened = Pkcs11Custody::open(config(hsm, "acquaint")).unwrap();
        assert_eq!(checks(&opened).len(), Purpose::needed().count());
    });
}

#[test]
fn a_damaged_record_is_told_without_its_content() {
    alone("faults::a_damaged_record_is_told_without_its_content", |hsm| {
        let made = custody(hsm, "acquaint");
        let pepper = *made.stretching(key(Purpose::Pair, 1)).unwrap().pepper.as_bytes();
        drop(made);
        let (_module, session) = beside(hsm, "acquaint");
        log_in(&session);
        session.destroy_object(objects(&session, "acquaint:pair:1")["CKO_DATA"]).unwrap();
        let mut record = vec![9, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1];
        record.extend_from_slice(&pepper);
        let template = [
            cryptoki::object::Attribute::Class(cryptoki::object::ObjectClass::DATA),
            cryptoki::object::Attribute::Token(true),
            cryptoki::object::Attribute::Private(true),
            cryptoki::object::Attribute::Label("acquaint:pair:1".into()),
            cryptoki::object::Attribute::Value(record),
        ];
        session.create_object(&template).unwrap();
        let error = Pkcs11Custody::open(config(hsm, "acquaint")).unwrap_err();
        assert!(matches!(error, Pkcs11Error::Record { key: of, .. } if of == key(Purpose::Pair, 1)));
        assert!(error.to_string().contains("pair key, version 1"), "{error}");
        assert!(!told(&error).contains(&hex::encode(pepper)[..12]), "{}", told(&error));
    });
}

/// Flags of a token (PKCS #11 2.40, `CK_TOKEN_INFO`), as SoftHSM keeps them in `token.object`.
const AS_MADE: u64 = 0x42d;
const FINAL_TRY: u64 = 0x0002_0000;
const LOCKED: u64 = 0x0004_0000;

#[test]
fn a_locked_token_is_not_tried() {
    alone("faults::a_locked_token_is_not_tried", |hsm| {
        for (label, flag) in [("locked", LOCKED), ("low", FINAL_TRY)] {
            let before: Vec<_> =
                std::fs::read_dir(hsm.tokens()).unwrap().map(|at| at.unwrap().path()).collect();
            hsm.token(label, PIN);
            let made = std::fs::read_dir(hsm.tokens()).unwrap().map(|at| at.unwrap().path());
            let file = made.into_iter().find(|path| !before.contains(path)).unwrap().join("token.object");
            // SoftHSM locks no PIN by itself, but it tells of what stands here.
            let mut bytes = std::fs::read(&file).unwrap();
            let as_made = AS_MADE.to_be_bytes();
            let places: Vec<_> = (0..bytes.len() - 8).filter(|at| bytes[*at..*at + 8] == as_made).collect();
            let [place] = places[..] else { panic!("the flags stand in one place: {places:?}") };
            bytes[place..place + 8].copy_from_slice(&(AS_MADE | flag).to_be_bytes());
            std::fs::write(&file, bytes).unwrap();
        }
        // Not even with a wrong PIN, which would show if it had been tried.
        for pin in [PIN, WRONG] {
            let error = Token::open(config_with_pin(hsm, "locked", pin)).unwrap_err();
            assert!(matches!(&error, Pkcs11Error::PinLocked(label) if label == "locked"), "{error:?}");
            let error = Token::open(config_with_pin(hsm, "low", pin)).unwrap_err();
            assert!(matches!(&error, Pkcs11Error::PinFinalTry(label) if label == "low"), "{error:?}");
        }
    });
}
