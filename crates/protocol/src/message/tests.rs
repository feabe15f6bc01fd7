use std::fs;
use std::path::Path;

use buffa::{Message, MessageView};
use buffa_types::google::protobuf::Timestamp;

use super::rolodex::__buffa::view::{ImportContactsRequestOwnedView, ImportContactsRequestView};
use super::rolodex::*;

#[test]
fn descriptor_set_is_the_one_of_the_proto_files() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("proto");
    let set = protox::Compiler::new([&root])
        .unwrap()
        .include_imports(true)
        .include_source_info(true)
        .open_file("rolodex/rolodex.proto")
        .unwrap()
        .encode_file_descriptor_set();
    let checked_in = root.join("rolodex.binpb");
    if std::env::var_os("ACQUAINT_REFRESH").is_some() {
        fs::write(&checked_in, &set).unwrap();
    }
    assert!(
        fs::read(&checked_in).unwrap() == set,
        "proto/rolodex.binpb is out of date: ACQUAINT_REFRESH=1 cargo test -p acquaint-protocol descriptor_set"
    );
}

/// Bytes by hand from the contract's table: field numbers and types, `tag = number << 3 | wire type`.
#[test]
fn messages_are_encoded_as_the_appview_expects() {
    let (actor, token) = ("a".to_owned(), "t".to_owned());
    let synced_at = Timestamp::from_unix(7, 0).into();
    let status = SyncStatus { synced_at, matches_count: 3 }.into();
    let matches = vec![ImportContactsMatch { input_index: 300, subject: "s".into() }];
    let contacts = vec!["+1".to_owned(), String::new()];

    assert_eq!(PingRequest::default().encode_to_vec(), b"");
    assert_eq!(PingResponse::default().encode_to_vec(), b"");
    assert_eq!(GetSyncStatusRequest { actor: actor.clone() }.encode_to_vec(), b"\x0a\x01a");
    assert_eq!(GetSyncStatusResponse { status }.encode_to_vec(), b"\x0a\x06\x0a\x02\x08\x07\x10\x03");
    assert_eq!(GetSyncStatusResponse::default().encode_to_vec(), b"");
    let start = StartPhoneVerificationRequest { actor: actor.clone(), phone: "p".into() };
    assert_eq!(start.encode_to_vec(), b"\x0a\x01a\x12\x01p");
    let verify =
        VerifyPhoneRequest { actor: actor.clone(), phone: "p".into(), verification_code: "c".into() };
    assert_eq!(verify.encode_to_vec(), b"\x0a\x01a\x12\x01p\x1a\x01c");
    assert_eq!(VerifyPhoneResponse { token: token.clone() }.encode_to_vec(), b"\x0a\x01t");
    let import = ImportContactsRequest { actor: actor.clone(), token, contacts };
    assert_eq!(import.encode_to_vec(), b"\x0a\x01a\x12\x01t\x1a\x02+1\x1a\x00");
    assert_eq!(ImportContactsResponse { matches }.encode_to_vec(), b"\x0a\x06\x08\xac\x02\x12\x01s");
    let get = GetMatchesRequest { actor: actor.clone(), limit: 50, cursor: "c".into() };
    assert_eq!(get.encode_to_vec(), b"\x0a\x01a\x10\x32\x1a\x01c");
    let page = GetMatchesResponse { subjects: vec!["s".into(), "u".into()], cursor: "c".into() };
    assert_eq!(page.encode_to_vec(), b"\x0a\x01s\x0a\x01u\x12\x01c");
    let dismiss = DismissMatchRequest { actor: actor.clone(), subject: "s".into() };
    assert_eq!(dismiss.encode_to_vec(), b"\x0a\x01a\x12\x01s");
    assert_eq!(DismissMatchResponse { matches_count: 1 }.encode_to_vec(), b"\x08\x01");
    assert_eq!(RemoveDataRequest { actor }.encode_to_vec(), b"\x0a\x01a");
    let removed = RemoveDataResponse { contacts_count: 1, matches_count: 2 };
    assert_eq!(removed.encode_to_vec(), b"\x08\x01\x10\x02");
}

#[test]
fn json_has_lower_camel_case_and_rfc_3339_times() {
    let synced_at = Timestamp::from_unix(1_700_000_000, 0).into();
    let answer = GetSyncStatusResponse { status: SyncStatus { synced_at, matches_count: 3 }.into() };
    let json = r#"{"status":{"syncedAt":"2023-11-14T22:13:20Z","matchesCount":3}}"#;
    assert_eq!(serde_json::to_string(&answer).unwrap(), json);
    assert_eq!(serde_json::from_str::<GetSyncStatusResponse>(json).unwrap(), answer);
    assert_eq!(serde_json::to_string(&GetSyncStatusResponse::default()).unwrap(), "{}");
}

#[test]
fn unknown_fields_are_skipped() {
    let decoded = GetSyncStatusRequest::decode_from_slice(b"\x0a\x01a\x7a\x03xyz").unwrap();
    assert_eq!(decoded.encode_to_vec(), b"\x0a\x01a");
}

#[test]
fn no_message_prints_its_strings() {
    let secret = || "0199".to_owned();
    let import = ImportContactsRequest { actor: secret(), token: secret(), contacts: vec![secret()] };
    let encoded = import.encode_to_vec();
    let view = ImportContactsRequestView::decode_view(&encoded).unwrap();
    let owned_view = ImportContactsRequestOwnedView::decode(encoded.clone().into()).unwrap();
    let verify = VerifyPhoneRequest { actor: secret(), phone: secret(), verification_code: secret() };
    let found = ImportContactsMatch { input_index: 0, subject: secret() };
    let printed = [
        format!("{import:?}{view:?}{owned_view:?}"),
        format!("{verify:?}{:?}", VerifyPhoneResponse { token: secret() }),
        format!("{:?}", ImportContactsResponse { matches: vec![found] }),
        format!("{:?}", StartPhoneVerificationRequest { actor: secret(), phone: secret() }),
        format!("{:?}", GetMatchesRequest { actor: secret(), limit: 1, cursor: secret() }),
        format!("{:?}", GetMatchesResponse { subjects: vec![secret()], cursor: secret() }),
        format!("{:?}", DismissMatchRequest { actor: secret(), subject: secret() }),
        format!("{:?}{:?}", GetSyncStatusRequest { actor: secret() }, RemoveDataRequest { actor: secret() }),
    ];
    for text in printed {
        assert!(!text.contains("0199"), "{text}");
    }
}
