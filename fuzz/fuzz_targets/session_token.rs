//! Tokens and keys, through every verifier of sessions. The first byte says what the rest is: a header `authorization` and,
//! after a byte 0x00, a header `acquaint-account`; or a token's header and, after a byte 0x00, its claims, which are then
//! signed rightly by one of the three kinds of keys.

#![no_main]

use std::sync::LazyLock;

use acquaint_server::fuzzing::{API_KEY, DID, FuzzSessions, ISSUER, Key, sign};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

static SESSIONS: LazyLock<FuzzSessions> = LazyLock::new(|| FuzzSessions::new().expect("certificates"));

fuzz_target!(|bytes: &[u8]| {
    let [form, rest @ ..] = bytes else { return };
    let mut parts = rest.splitn(2, |byte| *byte == 0);
    let (first, second) = (parts.next().unwrap_or_default(), parts.next());
    let key = match form % 4 {
        0 => return as_it_stands(first, second),
        1 => Key::Atproto,
        2 => Key::Oidc,
        _ => Key::Hmac,
    };
    signed(key, first, second.unwrap_or_default());
});

fn as_it_stands(authorization: &[u8], account: Option<&[u8]>) {
    SESSIONS.forget();
    let Some((whose, provider)) = SESSIONS.verify(authorization, account) else { return };
    match account {
        // Nobody guesses a key or a signature, but the seeds hold some.
        Some(account) => {
            assert_eq!(provider, "key:fuzz");
            assert_eq!(whose.as_bytes(), account);
            assert_eq!(&authorization[7..], API_KEY.as_bytes());
        }
        None => one_spelling(authorization),
    }
}

fn signed(key: Key, header: &[u8], claims: &[u8]) {
    SESSIONS.forget();
    let header = format!("Bearer {}", sign(key, header, claims)).into_bytes();
    let Some((whose, provider)) = SESSIONS.verify(&header, None) else { return };
    // Another reader of the same claims finds the same account in them, and the kind of key decides who vouches.
    let claims: Value = serde_json::from_slice(claims).expect("what was taken is JSON");
    match key {
        Key::Atproto => {
            assert_eq!(
                (whose.as_str(), provider.as_str(), &claims["iss"]),
                (DID, "atproto", &Value::from(DID))
            );
            assert!(SESSIONS.verify(&header, None).is_none(), "it was used before");
        }
        Key::Oidc => {
            assert_eq!((provider.as_str(), &claims["sub"]), (ISSUER, &Value::from(whose)));
        }
        Key::Hmac => assert_eq!((provider.as_str(), &claims["sub"]), ("token", &Value::from(whose))),
    }
    one_spelling(&header);
}

/// No other letter at the end of a token means the same.
fn one_spelling(authorization: &[u8]) {
    let mut other = authorization.to_vec();
    let last = other.len() - 1;
    for letter in
        [b"ABCDEFGHIJKLMNOPQRSTUVWXYZ".as_slice(), b"abcdefghijklmnopqrstuvwxyz", b"0123456789-_="].concat()
    {
        if letter != authorization[last] {
            other[last] = letter;
            SESSIONS.forget();
            assert!(SESSIONS.verify(&other, None).is_none(), "another spelling");
        }
    }
}
