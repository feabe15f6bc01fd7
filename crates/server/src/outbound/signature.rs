//! Signatures of webhooks by Standard Webhooks 1.0.0
//! (<https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>).

use std::sync::Arc;

use acquaint_service::Clock;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use reqwest::RequestBuilder;
use sha2::Sha256;
use zeroize::Zeroizing;

/// Signs webhooks with one key ("Signature scheme", symmetric).
pub(crate) struct Signer {
    key: Zeroizing<Vec<u8>>,
    clock: Arc<dyn Clock>,
}

/// The bytes of `whsec_` and base64 of 24 to 64 bytes; `None` if it is not that.
pub(crate) fn decode_secret(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let key = BASE64_STANDARD.decode(text.strip_prefix("whsec_")?).map(Zeroizing::new).ok()?;
    (24..=64).contains(&key.len()).then_some(key)
}

impl Signer {
    /// `None` if `secret` is not of the form that [`decode_secret`] takes.
    pub(crate) fn new(secret: &str, clock: Arc<dyn Clock>) -> Option<Self> {
        Some(Self { key: decode_secret(secret)?, clock })
    }

    /// Adds the three headers, an idempotency key that is `id` as well, and `body`, which is JSON. `id` is the same for
    /// every attempt; the time is that of the attempt.
    pub(crate) fn sign(&self, request: RequestBuilder, id: &str, body: Vec<u8>) -> RequestBuilder {
        let timestamp = self.clock.now().div_euclid(1000);
        request
            .header("content-type", "application/json")
            .header("idempotency-key", id)
            .header("webhook-id", id)
            .header("webhook-timestamp", timestamp)
            .header("webhook-signature", signature(&self.key, id, timestamp, &body))
            .body(body)
    }
}

/// `v1,` and base64 of HMAC-SHA-256(key, id ‖ "." ‖ timestamp ‖ "." ‖ body).
pub(super) fn signature(key: &[u8], id: &str, timestamp: i64, body: &[u8]) -> String {
    // HMAC takes a key of any length, so there is no error to come of it.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return String::new() };
    mac.update(format!("{id}.{timestamp}.").as_bytes());
    mac.update(body);
    format!("v1,{}", BASE64_STANDARD.encode(mac.finalize().into_bytes()))
}
