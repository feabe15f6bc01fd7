//! Session tokens of the operator's own kind: JWTs by HMAC.

use acquaint_server::config::Config;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::App;

const SECRET: &str = "a secret of the tests that has 32 bytes or more";
const AUDIENCE: &str = "contacts";

/// Lets the tokens of [`App::own_token`] in.
pub fn own_tokens(config: &mut Config) {
    config.tokens.hmac_secret = SECRET.into();
    config.tokens.audience = AUDIENCE.into();
}

impl App {
    /// A token of the account's, good for five minutes by the application's clock.
    #[must_use]
    pub fn own_token(&self, account: &str) -> String {
        let part = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
        let ends = self.discovery().now() / 1000 + 300;
        let claims = json!({ "sub": account, "aud": AUDIENCE, "exp": ends });
        let signed = format!("{}.{}", part(&json!({ "alg": "HS256", "typ": "JWT" })), part(&claims));
        let mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).expect("any key is good");
        let tag = mac.chain_update(&signed).finalize().into_bytes();
        format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(tag))
    }
}
