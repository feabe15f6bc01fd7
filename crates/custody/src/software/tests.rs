use std::os::unix::fs::PermissionsExt;

use super::*;

fn generate() -> SoftwareCustody {
    SoftwareCustody::generate(Suite::STANDARD).unwrap()
}

#[test]
fn keeps_the_contract() {
    crate::conformance::run(&generate(), &generate());
}

#[test]
fn a_key_file_gives_the_same_keys_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keys.json");
    let created = SoftwareCustody::create(&path, Suite::HARD).unwrap();
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o7777, 0o600);
    let opened = SoftwareCustody::open(&path).unwrap();
    for key in created.keys() {
        let check = crate::key_check(&created, key).unwrap();
        assert!(crate::matches_check(&opened, key, &check).unwrap(), "{key}");
    }
    let pair = KeyId { purpose: Purpose::Pair, version: 1 };
    assert_eq!(
        created.stretching(pair).unwrap().pepper.as_bytes(),
        opened.stretching(pair).unwrap().pepper.as_bytes()
    );
    assert_eq!(crate::epochs(&opened).unwrap()[0].suite, Suite::HARD);
    crate::conformance::run(&opened, &generate());
    assert!(matches!(SoftwareCustody::create(&path, Suite::HARD), Err(KeyFileError::Exists(_))));
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1, "no draft is left behind");
}

#[test]
fn refuses_a_file_that_others_can_read() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keys.json");
    SoftwareCustody::create(&path, Suite::STANDARD).unwrap();
    for mode in [0o640, 0o604, 0o620, 0o666] {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        let error = SoftwareCustody::open(&path).unwrap_err();
        assert!(matches!(error, KeyFileError::Permissions { mode: found, .. } if found == mode));
        assert!(error.to_string().contains("chmod 600"), "{error}");
    }
}

#[test]
fn refuses_what_is_no_key_file_and_tells_nothing_of_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keys.json");
    assert!(matches!(SoftwareCustody::open(&path), Err(KeyFileError::Absent(_))));
    SoftwareCustody::create(&path, Suite::STANDARD).unwrap();
    let good = std::fs::read_to_string(&path).unwrap();
    let secret = good.split("\"secret\": \"").nth(1).unwrap()[..64].to_owned();
    let cases = [
        String::new(),
        good.replace("\"version\": 1,\n  \"keys\"", "\"version\": 2,\n  \"keys\""),
        good.replace("\"code\"", "\"pair\""),
        good.replace("\"code\"", "\"cheese\""),
        good.replace("standard", "soft"),
        good.replace(&secret, &secret[2..]),
        good.replace(&secret, "zz"),
        good.replace("\"secret\"", "\"secrets\""),
        good[..good.len() / 2].to_owned(),
    ];
    for case in cases {
        assert_ne!(case, good);
        std::fs::write(&path, &case).unwrap();
        let error = SoftwareCustody::open(&path).unwrap_err();
        assert!(matches!(error, KeyFileError::Malformed { .. }), "{error}");
        assert!(!format!("{error:?} {error}").contains(&secret[..16]));
    }
    assert!(!format!("{:?}", generate()).contains("secret"));
}

#[test]
fn audiences_get_two_keys_of_one_number_each_and_share_the_signing_one() {
    let directory = tempfile::tempdir().unwrap();
    let (ours, theirs) = (directory.path().join("ours.json"), directory.path().join("theirs.json"));
    SoftwareCustody::create(&ours, Suite::STANDARD).unwrap();
    SoftwareCustody::create(&theirs, Suite::STANDARD).unwrap();
    let key = |purpose, version| KeyId { purpose, version };
    let (user, auth) = (Purpose::CredentialUser, Purpose::CredentialAuth);
    assert_eq!([add_audience(&ours, None, None).unwrap(), add_audience(&ours, None, None).unwrap()], [1, 2]);
    let custody = SoftwareCustody::open(&ours).unwrap();
    let made = |key| custody.hmac(key, &[b"x"]).unwrap();
    let all = [key(user, 1), key(auth, 1), key(user, 2), key(auth, 2)].map(made);
    assert!(all.iter().enumerate().all(|(n, one)| all.iter().skip(n + 1).all(|other| one != other)));
    // Whoever checks takes up the signing key, under a number of its own, and not the one for usernames.
    add_audience(&theirs, None, None).unwrap();
    let number = add_audience(&theirs, None, Some(audience_key(&ours, None, 1).unwrap())).unwrap();
    assert_eq!(number, 2);
    let checker = SoftwareCustody::open(&theirs).unwrap();
    assert_eq!(checker.hmac(key(auth, 2), &[b"x"]).unwrap(), made(key(auth, 1)));
    assert!(matches!(checker.hmac(key(user, 2), &[b"x"]), Err(CustodyError::NoSuchKey(_))));
    // The next number is free for both, also where one key is missing.
    assert_eq!(add_audience(&theirs, None, None).unwrap(), 3);
    assert!(
        matches!(audience_key(&ours, None, 3), Err(KeyFileError::NoSuchKey(missing)) if missing == key(auth, 3))
    );
    // No data rests on them, so the last one may go.
    for gone in [key(user, 1), key(auth, 1), key(user, 2), key(auth, 2)] {
        destroy(&ours, None, gone).unwrap();
    }
    SoftwareCustody::open(&ours).unwrap();
}
