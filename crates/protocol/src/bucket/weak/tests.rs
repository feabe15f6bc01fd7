use super::*;

#[test]
fn the_vectors_of_the_contract_hold() {
    #[derive(Deserialize)]
    struct Vector {
        identifier: String,
        strong: String,
        weak_4: String,
        weak_6: String,
    }

    #[derive(Deserialize)]
    struct File {
        vectors: Vec<Vector>,
    }

    let file: File =
        serde_json::from_str(include_str!("../../../../../vectors/bucket/rocketchat.json")).unwrap();
    assert_eq!(file.vectors.len(), 3);
    for Vector { identifier, strong, weak_4, weak_6 } in file.vectors {
        let computed = Strong::of(&Sii::parse(&identifier).unwrap());
        assert_eq!(computed.hex(), strong);
        assert_eq!(Strong::parse(&strong), Some(computed));
        assert_eq!(Strong::parse(&strong.to_uppercase()), Some(computed));
        for (length, weak) in [(WeakLength::Four, weak_4), (WeakLength::Six, weak_6)] {
            assert_eq!(computed.weak(length).to_string(), weak);
            assert_eq!(Weak::parse(&weak, length), Ok(computed.weak(length)));
            assert_eq!(computed.weak(length).value(), u32::from_str_radix(&weak, 16).unwrap());
        }
    }
}

#[test]
fn what_is_no_weak_hash_is_refused_by_its_name() {
    let (four, six) = (WeakLength::Four, WeakLength::Six);
    for text in ["", "2d1", "2d1c0", "2d1ce7", "constructor", "__proto__", "Ä1"] {
        assert_eq!(Weak::parse(text, four), Err(WeakError::Length(4)), "{text}");
    }
    assert_eq!(Weak::parse("2d1c", six), Err(WeakError::Length(6)));
    for text in ["2d1g", "2d1G", "+d1c", "-d1c", " d1c", "2d1\0", "0x1c", "éé", "D1G-"] {
        assert_eq!(Weak::parse(text, four), Err(WeakError::NotHex), "{text}");
    }
    for text in ["2D1C", "2d1C"] {
        assert_eq!(Weak::parse(text, four), Err(WeakError::UpperCase), "{text}");
    }
    assert_eq!(Weak::parse("0000", four).unwrap().to_string(), "0000");
    assert_eq!(Weak::parse("00000f", six).unwrap().to_string(), "00000f");
    assert_eq!([3, 4, 5, 6, 7].map(WeakLength::new), [None, Some(four), None, Some(six), None]);
    for text in ["", "b612", &"g".repeat(40), &"b".repeat(41), &"é".repeat(20)] {
        assert_eq!(Strong::parse(text), None, "{text}");
    }
}

#[test]
fn messages_are_those_of_the_page() {
    let query: QueryContacts = serde_json::from_str(r#"{"weakHashes":["2d1ce7"]}"#).unwrap();
    assert_eq!(query.weak_hashes, Some(vec!["2d1ce7".to_owned()]));
    for text in ["{}", r#"{"weakHashes":null}"#, r#"{"weakhashes":["2d1ce7"]}"#] {
        assert_eq!(serde_json::from_str::<QueryContacts>(text).unwrap().weak_hashes, None, "{text}");
    }
    for text in [r#"{"weakHashes":"2d1ce7"}"#, r#"{"weakHashes":[1]}"#, r#"{"weakHashes":{"length":1}}"#] {
        assert!(serde_json::from_str::<QueryContacts>(text).is_err(), "{text}");
    }
    let candidate = Candidate { h: "b6".into(), u: "jhn".into(), id: "id1".into() };
    let answer = ContactsFound { strong_hashes: vec![candidate], success: true };
    let text = r#"{"strongHashes":[{"h":"b6","u":"jhn","_id":"id1"}],"success":true}"#;
    assert_eq!(serde_json::to_string(&answer).unwrap(), text);
    let refused = serde_json::to_string(&Refused::no_weak_hashes()).unwrap();
    assert_eq!(refused, r#"{"success":false,"error":"weakHashes param not present."}"#);
}

#[test]
fn hashes_are_not_printed() {
    let strong = Strong::of(&Sii::parse("tel:+918888888888").unwrap());
    let text = format!("{strong:?} {:?}", strong.weak(WeakLength::Six));
    assert_eq!(text, "Strong(redacted) Weak(redacted)");
}
