use std::convert::Infallible;

use serde::Deserialize;

use super::*;

#[derive(Deserialize)]
struct Vectors {
    issued: Vec<Issued>,
    usernames: Vec<Name>,
    malformed_passwords: Vec<String>,
}

#[derive(Deserialize)]
struct Issued {
    auth_key: String,
    user_key: Option<String>,
    username_bytes: Option<usize>,
    prepend_username: bool,
    identifier: String,
    issued_at: u64,
    username: String,
    password: String,
}

#[derive(Deserialize)]
struct Name {
    user_key: String,
    username_bytes: usize,
    identifier: String,
    username: String,
}

fn vectors() -> Vectors {
    serde_json::from_str(include_str!("../../../../vectors/credential/signal.json")).unwrap()
}

fn keyed(user: &str, auth: &str) -> impl Fn(CredentialKey, &[u8]) -> Result<[u8; 32], Infallible> + use<> {
    let (user, auth) = (hex::decode(user).unwrap(), hex::decode(auth).unwrap());
    move |key, message| {
        let key = if key == CredentialKey::User { &user } else { &auth };
        let mac = Hmac::<Sha256>::new_from_slice(key).unwrap().chain_update(message);
        Ok(mac.finalize().into_bytes().into())
    }
}

fn format_of(vector: &Issued) -> CredentialFormat {
    let format = match vector.username_bytes {
        Some(bytes) => CredentialFormat::derived(bytes).unwrap(),
        None => CredentialFormat::default().with_identifiers(),
    };
    if vector.prepend_username { format.with_username_in_password() } else { format }
}

fn verified(
    format: CredentialFormat,
    (username, password): (&str, &str),
    now: u64,
    auth: &str,
) -> Option<u64> {
    format.verify(username, password, (now, 86_400), keyed("", auth)).unwrap()
}

#[test]
fn every_vector_is_issued_and_verified() {
    for vector in vectors().issued {
        let format = format_of(&vector);
        let hmac = keyed(vector.user_key.as_deref().unwrap_or(""), &vector.auth_key);
        let issued = format.issue(&vector.identifier, vector.issued_at, hmac).unwrap();
        assert_eq!((&issued.username, &*issued.password), (&vector.username, &vector.password));
        let pair = (vector.username.as_str(), vector.password.as_str());
        let at = vector.issued_at;
        // To the second, on both sides.
        for now in [at.saturating_sub(86_400), at, at + 86_400] {
            assert_eq!(verified(format, pair, now, &vector.auth_key), Some(at));
        }
        assert_eq!(verified(format, pair, at + 86_401, &vector.auth_key), None);
        if at > 86_400 {
            assert_eq!(verified(format, pair, at - 86_401, &vector.auth_key), None);
        }
        assert_eq!(verified(format, pair, at, &"77".repeat(32)), None, "another audience's key");
        assert!(!format!("{issued:?}").contains(&vector.password));
    }
    for Name { user_key, username_bytes, identifier, username } in vectors().usernames {
        let format = CredentialFormat::derived(username_bytes).unwrap();
        assert_eq!(format.issue(&identifier, 0, keyed(&user_key, "00")).unwrap().username, username);
    }
    assert_eq!(
        [9, 10, 32, 33].map(|bytes| CredentialFormat::derived(bytes).is_some()),
        [false, true, true, false]
    );
}

#[test]
fn what_was_not_issued_is_refused() {
    let keys = || keyed(&"02".repeat(32), &"01".repeat(32));
    let check = |format: CredentialFormat, username: &str, password: &str| {
        format.verify(username, password, (1_000, 10), keys()).unwrap()
    };
    let plain = CredentialFormat::default();
    for format in [
        plain,
        plain.with_whole_signatures(),
        plain.with_username_in_password(),
        plain.with_identifiers().with_username_in_password().with_whole_signatures(),
    ] {
        let issued = format.issue("somebody:else", 1_000, keys()).unwrap();
        let (username, password) = (issued.username.as_str(), issued.password.as_str());
        assert_eq!(check(format, username, password), Some(1_000));
        for malformed in vectors().malformed_passwords {
            assert_eq!(check(format, username, &malformed), None, "{malformed}");
            assert_eq!(check(format, username, &format!("{username}:{malformed}")), None, "{malformed}");
        }
        for at in 0..password.len() {
            let mut changed = password.as_bytes().to_vec();
            changed[at] ^= 1;
            assert_eq!(
                check(format, username, &String::from_utf8(changed).unwrap()),
                None,
                "changed at {at}"
            );
            assert_eq!(check(format, username, &password[..at]), None, "cut at {at}");
        }
        assert_eq!(check(format, username, &format!("{password}0")), None);
        assert_eq!(check(format, username, &password.to_uppercase()), None, "hex is lower case");
        assert_eq!(check(format, &format!("{username}0"), password), None);
        assert_eq!(check(format, "", password), None);
    }
    // A time that is written in another way, signed as it stands.
    for seconds in ["01000", "+1000", " 1000", "1e3", "-1000", "18446744073709551616"] {
        let tag = keys()(CredentialKey::Auth, format!("name:{seconds}").as_bytes()).unwrap();
        let password = plain.password("name", seconds, &tag);
        assert_eq!(check(plain, "name", &password), None, "{seconds}");
    }
    // Where usernames may hold a colon, a part of the time cannot pass as a part of the name.
    let format = plain.with_identifiers();
    let issued = format.issue("a:9", 1_000, keys()).unwrap();
    assert_eq!(check(format, "a", &format!("9:{}", &*issued.password)), None);
}

#[test]
fn what_hmac_fails_with_is_passed_on() {
    let fails = |_: CredentialKey, _: &[u8]| Err("no");
    assert_eq!(CredentialFormat::default().issue("a", 1, fails).unwrap_err(), "no");
    assert_eq!(CredentialFormat::default().verify("a", "b", (1, 1), fails).unwrap_err(), "no");
}

#[test]
fn a_service_with_the_key_at_hand_verifies_alike() {
    let (key, now) = ([1; 32], 1_633_738_643);
    let name = "88b8578c4870f3b089fb";
    let password = "1633738643:a15634294d48dfae69b9";
    let format = CredentialFormat::default();
    assert_eq!(format.verify_with(&key, name, password, (now + 86_400, 86_400)), Some(now));
    assert_eq!(format.verify_with(&key, name, password, (now + 86_401, 86_400)), None);
    assert_eq!(format.verify_with(&[2; 32], name, password, (now, 86_400)), None);
    assert_eq!(format.verify_with(&key, "88b8578c4870f3b089fc", password, (now, 86_400)), None);
}
