//! How codes reach people.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::check::bad;
use super::{Config, ConfigError, Secret};

/// Which providers send codes, and what they send.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct Delivery {
    /// Who sends codes to phones, in the order that they are tried: `twilio`, `plivo`, `webhook`, or for development
    /// `outbox` (loopback only).
    pub sms: Vec<String>,
    /// Who sends codes to e-mail addresses, in the order that they are tried: `smtp`, `webhook` or `outbox`.
    pub email: Vec<String>,
    /// How long one attempt with one provider may take.
    pub attempt_timeout_s: u32,
    /// The message; `{code}` stands for the six digits.
    pub text: String,
    /// The subject of an e-mail message.
    pub subject: String,
    /// The file that `outbox` writes codes to; relative to the configuration file's folder, outside `data_dir`.
    pub outbox_file: PathBuf,
}

/// Twilio's Programmable Messaging.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct Twilio {
    /// Account SID, as `AC` and 32 hexadecimal digits.
    pub account_sid: String,
    /// API key SID (`SK…`), when `secret` is that key's; empty when `secret` is the account's auth token.
    pub api_key_sid: String,
    /// Auth token, or the API key's secret.
    pub secret: Secret,
    /// The sender: a number of yours in E.164, an alphanumeric sender id, or a messaging service (`MG…`).
    pub from: String,
    /// Where the API is.
    pub url: String,
}

/// Plivo's Messaging API.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct Plivo {
    /// Auth ID.
    pub auth_id: String,
    /// Auth token.
    pub auth_token: Secret,
    /// The sender: a number of yours or an alphanumeric sender id.
    pub from: String,
    /// Where the API is.
    pub url: String,
}

/// A webhook of your own that sends codes, signed.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Webhook {
    /// Where codes are posted to.
    pub url: String,
    /// Signs what is posted: `whsec_` and base64 of 24 to 64 bytes.
    pub secret: Secret,
}

/// A mail server.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct Smtp {
    /// The server's name.
    pub host: String,
    /// Its port; 0 takes the usual one for `security`.
    pub port: u32,
    /// `tls` (from the first byte, port 465), `starttls` (required, port 587) or `none` (a loopback relay only, port 25).
    pub security: String,
    /// Who logs in; empty for nobody.
    pub username: String,
    /// With this password.
    pub password: Secret,
    /// The sender, as `Example <codes@example.com>`.
    pub from: String,
}

impl Default for Delivery {
    fn default() -> Self {
        Self {
            sms: vec!["outbox".into()],
            email: vec!["outbox".into()],
            attempt_timeout_s: 3,
            text: "{code} is your code to find your contacts. Nobody will ask you for it.".into(),
            subject: "Your code".into(),
            outbox_file: "outbox.txt".into(),
        }
    }
}

impl Default for Twilio {
    fn default() -> Self {
        Self {
            account_sid: String::new(),
            api_key_sid: String::new(),
            secret: Secret::default(),
            from: String::new(),
            url: "https://api.twilio.com".into(),
        }
    }
}

impl Default for Plivo {
    fn default() -> Self {
        Self {
            auth_id: String::new(),
            auth_token: Secret::default(),
            from: String::new(),
            url: "https://api.plivo.com".into(),
        }
    }
}

impl Default for Smtp {
    fn default() -> Self {
        Self {
            host: String::new(),
            port: 0,
            security: "tls".into(),
            username: String::new(),
            password: Secret::default(),
            from: String::new(),
        }
    }
}

pub(super) fn check(config: &Config) -> Result<(), ConfigError> {
    let Delivery { sms, email, text, .. } = &config.delivery;
    let wanted = "a list of `twilio`, `plivo`, `webhook` or `outbox`, in the order that they are tried";
    if sms.is_empty() || !sms.iter().all(|name| ["twilio", "plivo", "webhook", "outbox"].contains(&&**name)) {
        return bad("delivery.sms", wanted);
    }
    let wanted = "a list of `smtp`, `webhook` or `outbox`, in the order that they are tried";
    if email.is_empty() || !email.iter().all(|name| ["smtp", "webhook", "outbox"].contains(&&**name)) {
        return bad("delivery.email", wanted);
    }
    if !text.contains("{code}") {
        return bad("delivery.text", "a text with `{code}` in it, where the six digits go");
    }
    if config.uses_outbox() && !config.is_loopback() {
        return bad("listen", "a loopback address while codes go to the `outbox`, which is for development");
    }
    Ok(())
}
