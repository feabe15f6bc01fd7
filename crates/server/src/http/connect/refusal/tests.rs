use super::*;

#[test]
fn json_blames_the_field_of_the_wrong_kind() {
    let cases: [(&str, &[u8], Reason); 12] = [
        ("StartPhoneVerification", br#"{"actor":5}"#, Reason::InvalidDid),
        ("StartPhoneVerification", br#"{"actor":"did:plc:a","phone":5}"#, Reason::InvalidPhone),
        ("StartPhoneVerification", b"{\"actor\":\"did:plc:a\",\"phone\":\"\xff\"}", Reason::InvalidPhone),
        ("VerifyPhone", br#"{"verificationCode":123456}"#, Reason::InvalidCode),
        ("VerifyPhone", br#"{"verification_code":123456}"#, Reason::InvalidCode),
        ("ImportContacts", br#"{"token":[]}"#, Reason::InvalidToken),
        ("ImportContacts", br#"{"contacts":"+1"}"#, Reason::InvalidContacts),
        ("ImportContacts", br#"{"contacts":["+1",2]}"#, Reason::InvalidContacts),
        ("GetMatches", br#"{"limit":"many"}"#, Reason::InvalidLimit),
        ("GetMatches", br#"{"limit":99999999999}"#, Reason::InvalidLimit),
        ("DismissMatch", br#"{"subject":{}}"#, Reason::InvalidDid),
        ("RemoveData", b"\x00\x01", Reason::InvalidDid),
    ];
    for (method, body, reason) in cases {
        assert_eq!(blame_json(method, body), reason, "{method} {}", String::from_utf8_lossy(body));
    }
}

#[test]
fn binary_blames_the_field_that_cannot_be_read() {
    let cases: [(&str, &[u8], Reason); 8] = [
        ("StartPhoneVerification", b"\x0a\x01a\x12\x01\xff", Reason::InvalidPhone),
        ("StartPhoneVerification", b"\x0a\x01\xff", Reason::InvalidDid),
        ("VerifyPhone", b"\x0a\x01a\x12\x01b\x1a\x09c", Reason::InvalidCode),
        ("ImportContacts", b"\x12\x02\xc3\x28", Reason::InvalidToken),
        ("ImportContacts", b"\x1a\x01a\x1a\x01\xff", Reason::InvalidContacts),
        ("GetMatches", b"\x12\x01a", Reason::InvalidLimit),
        ("GetMatches", b"\x18\x05", Reason::InvalidCursor),
        ("GetMatches", b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", Reason::InvalidDid),
    ];
    for (method, body, reason) in cases {
        assert_eq!(blame_proto(method, body), reason, "{method} {body:?}");
    }
}
