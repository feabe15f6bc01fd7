use super::*;
use crate::config::ApiKey;
use acquaint_service::SystemEntropy;

#[tokio::test]
async fn a_key_acts_for_the_account_that_is_named() {
    let keys: Vec<_> =
        ["first", "second", "third"].map(|name| ApiKey::generate(name, &SystemEntropy).unwrap()).into();
    let entries: Vec<_> = keys.iter().map(|(_, entry)| entry.clone()).collect();
    let world = World::new(|config| config.sessions.api_keys = entries);
    for ((key, _), name) in keys.iter().zip(["first", "second", "third"]) {
        let session = world.present(&format!("bEARER {}", **key), Some(ALICE)).await.unwrap();
        assert_eq!(session.account.as_str(), ALICE);
        assert_eq!((session.provider, session.through), (format!("key:{name}"), Through::Key));
    }
    let (key, entry) = &keys[0];
    let refused = [
        // No account, or none that is a DID.
        (format!("Bearer {}", **key), None),
        (format!("Bearer {}", **key), Some("")),
        (format!("Bearer {}", **key), Some("alice")),
        // Another key, part of one, more than one, its digest, other letters, another scheme.
        (format!("Bearer {}", *ApiKey::generate("first", &SystemEntropy).unwrap().0), Some(ALICE)),
        (format!("Bearer {}", &key[..46]), Some(ALICE)),
        (format!("Bearer {}A", **key), Some(ALICE)),
        (format!("Bearer {}", &key[4..]), Some(ALICE)),
        (format!("Bearer aqk_{}", entry.split_once(':').unwrap().1), Some(ALICE)),
        (format!("Bearer AQK_{}", &key[4..]), Some(ALICE)),
        (format!("Bearer  {}", **key), Some(ALICE)),
        (format!("Bearer {} ", **key), Some(ALICE)),
        (format!("Bearer {}, Bearer {}", **key, **key), Some(ALICE)),
        (format!("Basic {}", **key), Some(ALICE)),
        ((**key).clone(), Some(ALICE)),
    ];
    for (place, (authorization, account)) in refused.into_iter().enumerate() {
        let outcome = whose(world.present(&authorization, account).await);
        assert_eq!(outcome, Err(SessionError::Refused), "case {place}");
    }
}

#[tokio::test]
async fn an_account_of_another_format_may_be_any_text() {
    let (key, entry) = ApiKey::generate("backend", &SystemEntropy).unwrap();
    let world = World::new(|config| {
        config.account_format = AccountFormat::Opaque;
        config.sessions.api_keys = vec![entry];
    });
    let key = format!("Bearer {}", *key);
    assert_eq!(whose(world.present(&key, Some("Zoë")).await).as_deref(), Ok("Zoë"));
    let latin = HeaderValue::from_bytes(b"Zo\xeb").unwrap();
    let key = HeaderValue::from_str(&key).unwrap();
    let presented = Presented { authorization: Some(&key), account: Some(&latin), lxm: None };
    assert_eq!(whose(world.sessions.verify(presented).await), Err(SessionError::Refused), "not UTF-8");
}
