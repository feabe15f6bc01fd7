use super::signature::{decode_secret, signature};

/// The example that the libraries of Standard Webhooks are tested with (`javascript/src/index.test.ts`, "sign function
/// works").
#[test]
fn the_signature_is_that_of_the_published_example() {
    let key = decode_secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
    let made = signature(&key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, b"{\"test\": 2432232314}");
    assert_eq!(made, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
}

#[test]
fn a_secret_has_its_prefix_and_24_to_64_bytes() {
    use base64::Engine;
    let secret = |length| format!("whsec_{}", base64::prelude::BASE64_STANDARD.encode(vec![7; length]));
    for length in [24, 32, 64] {
        assert_eq!(decode_secret(&secret(length)).unwrap().len(), length);
    }
    for bad in [secret(23), secret(65), String::new(), "whsec_".into(), "whsec_!!!".into()] {
        assert!(decode_secret(&bad).is_none(), "{bad}");
    }
    assert!(decode_secret(secret(24).trim_start_matches("whsec_")).is_none());
}
