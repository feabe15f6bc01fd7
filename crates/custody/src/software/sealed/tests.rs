use std::io::{BufRead, Read};
use std::process::{Command, Stdio};

use super::*;
use crate::software::{add_version, destroy};
use crate::{KeyCustody, NewStretching, Purpose, key_check, matches_check};

fn passphrase(text: &str) -> SealingKey {
    SealingKey::Passphrase(Secret::new(text.into()))
}

fn identity(path: &Path) -> SealingKey {
    SealingKey::Identity(Identity::create(path).unwrap())
}

fn same(one: &SoftwareCustody, other: &SoftwareCustody) -> bool {
    one.keys().into_iter().all(|key| matches_check(other, key, &key_check(one, key).unwrap()).unwrap())
}

#[test]
fn keeps_the_contract() {
    let folder = tempfile::tempdir().unwrap();
    let key = identity(&folder.path().join("identity"));
    let path = folder.path().join("keys.age");
    SoftwareCustody::create_sealed(&path, Suite::STANDARD, &key).unwrap();
    let opened = SoftwareCustody::open_sealed(&path, &key).unwrap();
    crate::conformance::run(&opened, &SoftwareCustody::generate(Suite::STANDARD).unwrap());
}

#[test]
fn a_file_is_sealed_sealed_anew_and_opened_for_good() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.json");
    let keys = SoftwareCustody::create(&path, Suite::HARD).unwrap();
    let clear = std::fs::read(&path).unwrap();
    let (words, other) = (passphrase("six random words or more"), passphrase("another"));
    let file_key = identity(&folder.path().join("identity"));
    let mut old_bytes = std::fs::File::open(&path).unwrap();

    wrap(&path, &words).unwrap();
    let sealed = std::fs::read(&path).unwrap();
    assert!(sealed.starts_with(b"age-encryption.org/v1\n-> scrypt "));
    assert!(rest_of(&mut old_bytes).iter().all(|byte| *byte == 0), "the old bytes are overwritten");
    assert!(same(&keys, &SoftwareCustody::open_sealed(&path, &words).unwrap()));
    assert!(matches!(SoftwareCustody::open(&path), Err(KeyFileError::Sealed(_))));
    assert!(matches!(SoftwareCustody::open_sealed(&path, &other), Err(KeyFileError::WrongKey(_))));
    assert!(matches!(SoftwareCustody::open_sealed(&path, &file_key), Err(KeyFileError::WrongKey(_))));
    assert!(matches!(wrap(&path, &words), Err(KeyFileError::Sealed(_))), "it is not sealed twice");
    assert!(matches!(rewrap(&path, &other, &file_key), Err(KeyFileError::WrongKey(_))));
    assert_eq!(std::fs::read(&path).unwrap(), sealed, "what fails changes nothing");

    rewrap(&path, &words, &file_key).unwrap();
    assert!(same(&keys, &SoftwareCustody::open_sealed(&path, &file_key).unwrap()));
    assert!(matches!(SoftwareCustody::open_sealed(&path, &words), Err(KeyFileError::WrongKey(_))));
    let again = SealingKey::Identity(Identity::open(&folder.path().join("identity")).unwrap());
    unwrap(&path, &again).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), clear);
    assert!(matches!(unwrap(&path, &again), Err(KeyFileError::NotSealed(_))));
    assert!(matches!(SoftwareCustody::open_sealed(&path, &again), Err(KeyFileError::NotSealed(_))));
    for file in [&path, &folder.path().join("identity")] {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o7777, 0o600);
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2, "no draft is left behind");
}

#[test]
fn a_damaged_file_is_refused_and_tells_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let key = identity(&folder.path().join("identity"));
    let path = folder.path().join("keys.age");
    SoftwareCustody::create_sealed(&path, Suite::STANDARD, &key).unwrap();
    let good = std::fs::read(&path).unwrap();
    for index in 0..good.len() {
        let mut bad = good.clone();
        bad[index] ^= 1;
        std::fs::write(&path, &bad).unwrap();
        assert!(SoftwareCustody::open_sealed(&path, &key).is_err(), "a changed byte {index} is noticed");
    }
    for end in (0..good.len()).step_by(7) {
        std::fs::write(&path, &good[..end]).unwrap();
        assert!(SoftwareCustody::open_sealed(&path, &key).is_err(), "a cut at {end} is noticed");
    }
    // A file that would have the reader spend more memory than a machine may have.
    let costly = "age-encryption.org/v1\n-> scrypt AAAAAAAAAAAAAAAAAAAAAA 40\n\
        AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n--- AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n";
    std::fs::write(&path, [costly.as_bytes(), &[0; 48]].concat()).unwrap();
    let error = SoftwareCustody::open_sealed(&path, &passphrase("x")).unwrap_err();
    assert!(matches!(&error, KeyFileError::Malformed { .. }), "{error}");
}

#[test]
fn an_identity_file_is_private_and_holds_one_key() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("identity");
    assert!(matches!(Identity::open(&path), Err(KeyFileError::Absent(_))));
    Identity::create(&path).unwrap();
    assert!(matches!(Identity::create(&path), Err(KeyFileError::Exists(_))));
    let line = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, format!("# created: today\n# public key: age1x\n{line}")).unwrap();
    let read = Identity::open(&path).unwrap();
    assert!(
        !format!("{read:?} {:?}", SealingKey::Identity(Identity::open(&path).unwrap()))
            .contains("AGE-SECRET")
    );
    for bad in
        [String::new(), "# nothing\n".into(), line.repeat(2), line.replace('1', "2"), "\u{fffd}".into()]
    {
        std::fs::write(&path, bad).unwrap();
        let error = Identity::open(&path).unwrap_err();
        assert!(matches!(error, KeyFileError::NoIdentity(_)));
        assert!(!format!("{error:?} {error}").contains(&line[17..30]));
    }
    std::fs::write(&path, &line).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
    assert!(matches!(Identity::open(&path), Err(KeyFileError::Permissions { .. })));
}

/// What the next test's child does: seals and opens the file until it is killed.
#[test]
#[ignore = "run by whenever_it_is_killed_the_file_is_whole"]
fn turns_the_file_for_ever() {
    let Some(folder) = std::env::var_os("ACQUAINT_TEST_FOLDER").map(std::path::PathBuf::from) else { return };
    let key = SealingKey::Identity(Identity::open(&folder.join("identity")).unwrap());
    println!("begun");
    loop {
        let path = folder.join("keys");
        if SoftwareCustody::open(&path).is_ok() { wrap(&path, &key) } else { unwrap(&path, &key) }.unwrap();
    }
}

#[test]
fn whenever_it_is_killed_the_file_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    let key = identity(&folder.path().join("identity"));
    let path = folder.path().join("keys");
    let keys = SoftwareCustody::create(&path, Suite::STANDARD).unwrap();
    let mut found = [0, 0];
    for round in 0..24 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "software::sealed::tests::turns_the_file_for_ever", "--ignored", "--nocapture"])
            .env("ACQUAINT_TEST_FOLDER", folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = std::io::BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.map_while(Result::ok).any(|line| line.contains("begun")), "the child works");
        // The kill falls on another moment each time.
        for _ in 0..round * 20_000 {
            std::hint::spin_loop();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let opened = match SoftwareCustody::open(&path) {
            Ok(opened) => opened,
            Err(KeyFileError::Sealed(_)) => SoftwareCustody::open_sealed(&path, &key).unwrap(),
            Err(error) => panic!("{error}"),
        };
        found[usize::from(SoftwareCustody::open(&path).is_ok())] += 1;
        assert!(same(&keys, &opened));
    }
    assert_eq!(found[0] + found[1], 24, "sealed and clear: {found:?}");
}

fn rest_of(file: &mut std::fs::File) -> Vec<u8> {
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).unwrap();
    assert!(!bytes.is_empty());
    bytes
}

#[test]
fn other_names_of_the_file_are_left_whole() {
    let folder = tempfile::tempdir().unwrap();
    let (real, link, backup) =
        (folder.path().join("real"), folder.path().join("link"), folder.path().join("backup"));
    SoftwareCustody::create(&real, Suite::STANDARD).unwrap();
    std::os::unix::fs::symlink("real", &link).unwrap();
    std::fs::hard_link(&real, &backup).unwrap();
    let before = std::fs::read(&real).unwrap();
    let made = add_version(&link, None, Purpose::Pair, NewStretching::Kept).unwrap();
    assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
    assert!(SoftwareCustody::open(&real).unwrap().keys().contains(&made), "the link leads to the new file");
    assert_eq!(std::fs::read(&backup).unwrap(), before);
    std::fs::remove_file(&backup).unwrap();
    std::fs::hard_link(&real, &backup).unwrap();
    destroy(&link, None, crate::KeyId { version: 1, ..made }).unwrap();
    assert!(SoftwareCustody::open(&backup).unwrap().keys().contains(&made), "a copy of hard links is whole");
    assert_eq!(SoftwareCustody::open(&link).unwrap().keys().len(), 6);
    // Where root runs it, the service keeps its file.
    use std::os::unix::fs::MetadataExt;
    let owner =
        if rustix::process::geteuid().is_root() { 65_534 } else { std::fs::metadata(&real).unwrap().uid() };
    std::os::unix::fs::chown(&real, Some(owner), None).unwrap();
    add_version(&link, None, Purpose::Pair, NewStretching::Kept).unwrap();
    assert_eq!(std::fs::metadata(&real).unwrap().uid(), owner);
}

#[test]
fn several_who_make_keys_at_once_make_one_each() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys");
    SoftwareCustody::create(&path, Suite::STANDARD).unwrap();
    let mut made: Vec<_> = std::thread::scope(|scope| {
        let add = || add_version(&path, None, Purpose::Pair, NewStretching::Kept).unwrap().version;
        let adding: Vec<_> = (0..8).map(|_| scope.spawn(add)).collect();
        adding.into_iter().map(|adding| adding.join().unwrap()).collect()
    });
    made.sort_unstable();
    assert_eq!(made, (2..=9).collect::<Vec<_>>());
    assert_eq!(SoftwareCustody::open(&path).unwrap().keys().len(), 14);
}

/// As a server that has the file open sees what a command does to it.
#[test]
fn versions_are_made_and_destroyed_under_an_open_file() {
    let folder = tempfile::tempdir().unwrap();
    let pair = |version| crate::KeyId { purpose: Purpose::Pair, version };
    let passphrase = passphrase("six random words or more");
    for sealing in [None, Some(&passphrase)] {
        let path = folder.path().join(if sealing.is_some() { "sealed" } else { "clear" });
        let open = match sealing {
            None => SoftwareCustody::create(&path, Suite::STANDARD).unwrap(),
            Some(key) => SoftwareCustody::create_sealed(&path, Suite::STANDARD, key).unwrap(),
        };
        let stretching = |version| open.stretching(pair(version)).unwrap();
        let pepper = |version| *stretching(version).pepper.as_bytes();
        let first = open.hmac(pair(1), &[b"a"]).unwrap();

        assert_eq!(add_version(&path, sealing, Purpose::Pair, NewStretching::Kept).unwrap(), pair(2));
        assert!(open.hmac(pair(2), &[b"a"]).is_err(), "not before it looks again");
        open.refresh().unwrap();
        assert_ne!(open.hmac(pair(2), &[b"a"]).unwrap(), first);
        assert_eq!((pepper(2), stretching(2).suite), (pepper(1), Suite::STANDARD));
        let new = NewStretching::New(Suite::HARD);
        assert_eq!(add_version(&path, sealing, Purpose::Pair, new).unwrap(), pair(3));
        open.refresh().unwrap();
        assert_ne!(pepper(3), pepper(2));
        assert_eq!(stretching(3).suite, Suite::HARD);
        assert_eq!(file::is_sealed(&std::fs::read(&path).unwrap()), sealing.is_some());

        let mut old_bytes = std::fs::File::open(&path).unwrap();
        destroy(&path, sealing, pair(2)).unwrap();
        assert!(rest_of(&mut old_bytes).iter().all(|byte| *byte == 0), "overwritten");
        open.refresh().unwrap();
        assert!(matches!(open.hmac(pair(2), &[b"a"]), Err(crate::CustodyError::NoSuchKey(_))));
        assert_eq!(open.hmac(pair(1), &[b"a"]).unwrap(), first);
        let error = destroy(&path, sealing, pair(2)).unwrap_err();
        assert!(matches!(error, KeyFileError::NoSuchKey(key) if key == pair(2)), "{error}");
        destroy(&path, sealing, pair(1)).unwrap();
        let error = destroy(&path, sealing, pair(3)).unwrap_err();
        assert!(matches!(error, KeyFileError::Only(_)), "{error}");

        // A file that cannot be read, or has other keys, changes nothing.
        open.refresh().unwrap();
        let last = open.hmac(pair(3), &[b"a"]).unwrap();
        let good = std::fs::read(&path).unwrap();
        std::fs::write(&path, b"{").unwrap();
        for _ in 0..2 {
            assert!(open.refresh().is_err());
        }
        std::fs::remove_file(&path).unwrap();
        assert!(open.refresh().is_err());
        let strangers = folder.path().join("strangers");
        match sealing {
            None => SoftwareCustody::create(&strangers, Suite::STANDARD).unwrap(),
            Some(key) => SoftwareCustody::create_sealed(&strangers, Suite::STANDARD, key).unwrap(),
        };
        std::fs::rename(&strangers, &path).unwrap();
        for _ in 0..2 {
            let error = open.refresh().unwrap_err();
            let told = std::error::Error::source(&error).unwrap().to_string();
            assert!(told.contains("has other keys than before"), "{told}");
        }
        assert_eq!(open.hmac(pair(3), &[b"a"]).unwrap(), last);
        crate::replace::replace(&path, &good).unwrap();
        open.refresh().unwrap();
        assert_eq!(open.keys().len(), 6);
    }
}
