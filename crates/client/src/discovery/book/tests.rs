use std::os::unix::fs::PermissionsExt;

use super::*;

fn sii(text: &str) -> Sii {
    Sii::parse(text).unwrap()
}

fn book() -> Book {
    let mut book = Book::new(Profile::Sealed);
    book.provider = Some("contacts.example".into());
    book.signing_key = Some(Bytes([1; 32]));
    book.epoch = Some(Epoch {
        number: 7,
        key: Bytes([2; 32]),
        accepted_at: 1_789_000_000,
        layout: 3,
        prefix_bits: 9,
        slots: 300,
        account_bytes: 40,
    });
    book.learn(&sii("tel:+12125550101"), Some("did:plc:bob".into()), 1_790_000_000);
    book.learn(&sii("mailto:carol@example.com"), None, 1_790_000_001);
    let keys = Keys::from_parts(0x0123_4567_89ab_cdef, [3; 32]);
    book.people.entry(sii("tel:+12125550102")).or_default().keys = Some(keys);
    book
}

#[test]
fn a_book_is_read_as_it_was_written_and_for_its_owner_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.book");
    assert_eq!(Book::open(&path, Profile::Sealed).unwrap(), Book::new(Profile::Sealed));
    assert!(!path.exists(), "reading makes nothing");
    book().save(&path).unwrap();
    assert!(Book::open(&path, Profile::Sealed).unwrap() == book());
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);

    // Another time over a file that others can read.
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    Book::new(Profile::Sealed).save(&path).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(Book::open(&path, Profile::Sealed).unwrap().is_empty());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
}

#[test]
fn a_book_that_cannot_be_written_leaves_the_old_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sub/a.book");
    let error = book().save(&path).unwrap_err();
    assert!(matches!(error, BookError::Io { what: "write", .. }), "{error}");
    fs::create_dir(folder.path().join("sub")).unwrap();
    fs::create_dir(&path).unwrap();
    assert!(matches!(book().save(&path), Err(BookError::Io { .. })));
    assert_eq!(fs::read_dir(folder.path().join("sub")).unwrap().count(), 1, "nothing is left beside it");
    assert!(matches!(Book::open(&path, Profile::Sealed), Err(BookError::Io { what: "read", .. })));
}

#[test]
fn what_is_no_book_of_ours_is_refused_by_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.book");
    book().save(&path).unwrap();
    let good = fs::read_to_string(&path).unwrap();
    let open = |text: &str| {
        fs::write(&path, text).unwrap();
        Book::open(&path, Profile::Sealed).unwrap_err()
    };
    for text in [" ", "BEGIN:VCARD", "[]", "{}", "{\"format\": \"another\", \"version\": 1}", "\0\0"] {
        assert!(matches!(open(text), BookError::Foreign(_)), "{text}");
    }
    let newer = good.replace("\"version\": 1,", "\"version\": 2,");
    assert!(matches!(open(&newer), BookError::OtherVersion { version: 2, .. }));
    for (from, to) in [
        ("tel:+12125550101", "tel:12125550101"),
        ("tel:+12125550101", "secret"),
        ("\"entry_key\"", "\"entry\""),
        ("\"looked_up_at\": 1790000000", "\"looked_up_at\": -1"),
        ("\"format\"", "\"more\": 1, \"format\""),
        ("\"sealed-buckets\"", "\"other\""),
    ] {
        let broken = good.replacen(from, to, 1);
        assert_ne!(broken, good, "{from}");
        let error = open(&broken);
        assert!(matches!(error, BookError::Damaged(_)), "{from}: {error}");
        assert!(!error.to_string().contains("secret") && !error.to_string().contains("555"));
    }
    // Keys of which one half is there.
    let at = good.find("\"entry_key\"").unwrap();
    let end = at + good[at..].find('\n').unwrap();
    let half = format!("{}{}", good[..at].trim_end().trim_end_matches(','), &good[end..]);
    assert!(matches!(open(&half), BookError::Damaged(_)));
    for length in [100, good.len() / 2, good.len() - 2] {
        assert!(matches!(open(&good[..length]), BookError::Damaged(_)), "{length}");
    }
    let error = {
        fs::write(&path, &good).unwrap();
        Book::open(&path, Profile::Weak)
    };
    assert!(matches!(error, Err(BookError::OtherProfile(_))));
}

#[test]
fn only_what_is_new_or_a_day_old_is_due() {
    let book = book();
    let known = sii("tel:+12125550101");
    let due = |now| !book.due(std::slice::from_ref(&known), now).is_empty();
    assert!(!due(1_790_000_000));
    assert!(!due(1_790_000_000 + FRESH_S - 1));
    assert!(due(1_790_000_000 + FRESH_S));
    assert!(due(1_789_999_999), "learnt in the future");
    let asked = [sii("tel:+12125550102"), known, sii("mailto:z@example.com"), sii("tel:+12125550102")];
    assert_eq!(book.due(&asked, 1_790_000_002), [sii("mailto:z@example.com"), sii("tel:+12125550102")]);
}

#[test]
fn an_empty_file_is_no_book_yet() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.book");
    fs::write(&path, "").unwrap();
    assert!(Book::open(&path, Profile::Weak).unwrap() == Book::new(Profile::Weak));
}

#[test]
fn whom_nobody_asked_for_in_90_days_is_forgotten() {
    let asked = [sii("mailto:carol@example.com")];
    for (now, left) in [(1_790_000_000 + KEPT_S, 3), (1_790_000_001 + KEPT_S, 2), (1_790_000_002 + KEPT_S, 2)]
    {
        let mut book = book();
        book.forget(&asked, now);
        assert_eq!(book.len(), left, "{now}");
        assert!(book.looked_up_at(&asked[0]).is_some(), "who is asked for stays");
    }
    let mut book = book();
    book.begin_epoch();
    assert_eq!(book.len(), 2, "of whom only outputs were known");
}

#[test]
fn a_book_tells_nothing_of_whom_it_holds() {
    assert_eq!(format!("{:?}", book()), "Book { profile: Sealed, len: 3, .. }");
}

#[test]
fn books_of_private_lookups_are_of_a_version_that_older_programs_do_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.book");
    for (profile, version) in [(Profile::Sealed, 1), (Profile::Weak, 1), (Profile::Psm, 2), (Profile::Pir, 2)]
    {
        Book::new(profile).save(&path).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(&format!("\"version\": {version},")), "{text}");
        assert!(Book::open(&path, profile).is_ok());
        for other in [0, 3] {
            let other = text.replace(&format!("\"version\": {version},"), &format!("\"version\": {other},"));
            fs::write(&path, other).unwrap();
            assert!(matches!(Book::open(&path, profile), Err(BookError::OtherVersion { .. })));
        }
    }
}
