//! How codes reach people.

use std::net::IpAddr;
use std::path::PathBuf;

use reqwest::Url;
use serde::{Deserialize, Serialize};

use super::check::bad;
use super::{Config, ConfigError, Secret};
use crate::delivery::{is_messaging_service, is_sid};
use crate::outbound::decode_secret;

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

/// How a mail server's connection is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SmtpSecurity {
    /// From the first byte.
    Tls,
    /// By STARTTLS, without which nothing is sent.
    StartTls,
    /// Not at all; to this machine only.
    None,
}

impl SmtpSecurity {
    /// The port that is usual for it: submissions and submission (RFC 8314, section 7.3), and SMTP.
    #[must_use]
    pub fn usual_port(self) -> u16 {
        match self {
            Self::Tls => 465,
            Self::StartTls => 587,
            Self::None => 25,
        }
    }
}

impl Smtp {
    /// `security`, if it is one that exists.
    #[must_use]
    pub fn kind(&self) -> Option<SmtpSecurity> {
        match self.security.as_str() {
            "tls" => Some(SmtpSecurity::Tls),
            "starttls" => Some(SmtpSecurity::StartTls),
            "none" => Some(SmtpSecurity::None),
            _ => None,
        }
    }
}

pub(super) fn check(config: &Config) -> Result<(), ConfigError> {
    let Delivery { sms, email, text, subject, .. } = &config.delivery;
    let is_list = |names: &[String], known: &[&str]| {
        let is_once = |name: &String| names.iter().filter(|other| *other == name).count() == 1;
        !names.is_empty() && names.iter().all(|name| known.contains(&&**name) && is_once(name))
    };
    if !is_list(sms, &["twilio", "plivo", "webhook", "outbox"]) {
        let wanted =
            "a list of `twilio`, `plivo`, `webhook` or `outbox`, each once, in the order that they are tried";
        return bad("delivery.sms", wanted);
    }
    if !is_list(email, &["smtp", "webhook", "outbox"]) {
        let wanted = "a list of `smtp`, `webhook` or `outbox`, each once, in the order that they are tried";
        return bad("delivery.email", wanted);
    }
    if !text.contains("{code}") {
        return bad("delivery.text", "a text with `{code}` in it, where the six digits go");
    }
    if subject.trim().is_empty() || subject.chars().any(char::is_control) {
        return bad("delivery.subject", "a text of one line");
    }
    if config.uses_outbox() && !config.is_loopback() {
        return bad("listen", "a loopback address while codes go to the `outbox`, which is for development");
    }
    // Who sends to e-mail addresses matters only where those are taken.
    for name in sms.iter().chain(email.iter().filter(|_| config.verification.emails)) {
        match name.as_str() {
            "twilio" => twilio(&config.twilio)?,
            "plivo" => plivo(&config.plivo)?,
            "webhook" => webhook(&config.webhook)?,
            "smtp" => smtp(&config.smtp)?,
            _ => {}
        }
    }
    Ok(())
}

fn twilio(twilio: &Twilio) -> Result<(), ConfigError> {
    if !is_sid(&twilio.account_sid, "AC") {
        return bad("twilio.account_sid", "the account's SID: `AC` and 32 hexadecimal digits");
    }
    if !twilio.api_key_sid.is_empty() && !is_sid(&twilio.api_key_sid, "SK") {
        return bad(
            "twilio.api_key_sid",
            "an API key's SID, `SK` and 32 hexadecimal digits, or empty for the auth token",
        );
    }
    if twilio.secret.is_empty() {
        return bad("twilio.secret", "set: the API key's secret, or the account's auth token");
    }
    if !is_messaging_service(&twilio.from) && !is_sender(&twilio.from) {
        return bad(
            "twilio.from",
            "a number of yours as `+12125550123`, a sender id of up to 11 letters and digits, or a messaging service \
             (`MG` and 32 hexadecimal digits)",
        );
    }
    base_url("twilio.url", &twilio.url)
}

fn plivo(plivo: &Plivo) -> Result<(), ConfigError> {
    if plivo.auth_id.is_empty() || !plivo.auth_id.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return bad("plivo.auth_id", "the account's Auth ID, letters and digits as `MA…`");
    }
    if plivo.auth_token.is_empty() {
        return bad("plivo.auth_token", "set: the account's Auth Token");
    }
    if !is_sender(&plivo.from) {
        return bad(
            "plivo.from",
            "a number of yours as `+12125550123`, or a sender id of up to 11 letters and digits",
        );
    }
    base_url("plivo.url", &plivo.url)
}

fn webhook(webhook: &Webhook) -> Result<(), ConfigError> {
    endpoint("webhook.url", &webhook.url)?;
    signing_secret("webhook.secret", &webhook.secret)
}

fn smtp(smtp: &Smtp) -> Result<(), ConfigError> {
    if smtp.host.is_empty() || smtp.host.contains(|part: char| part.is_whitespace() || "/@".contains(part)) {
        return bad("smtp.host", "the mail server's name, as `mail.example.com`");
    }
    match smtp.kind() {
        None => return bad("smtp.security", "`tls`, `starttls` or `none`"),
        Some(SmtpSecurity::None) if !is_loopback_name(&smtp.host) => {
            return bad("smtp.security", "`tls` or `starttls` unless `smtp.host` is this machine (loopback)");
        }
        Some(_) => {}
    }
    if u16::try_from(smtp.port).is_err() {
        return bad("smtp.port", "a port from 1 to 65535, or 0 for the usual one");
    }
    if smtp.username.is_empty() && !smtp.password.is_empty() {
        return bad("smtp.username", "set when there is a password");
    }
    if !smtp.username.is_empty() && smtp.password.is_empty() {
        return bad("smtp.password", "set when there is a user name");
    }
    if smtp.from.parse::<lettre::message::Mailbox>().is_err() {
        return bad("smtp.from", "the sender's address, as `Example <codes@example.com>`");
    }
    Ok(())
}

/// A number in E.164, a short code, or an alphanumeric sender id
/// (<https://www.twilio.com/docs/glossary/what-alphanumeric-sender-id>).
fn is_sender(from: &str) -> bool {
    let digits = from.strip_prefix('+').unwrap_or(from);
    if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return (3..=15).contains(&digits.len());
    }
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b" +-_&".contains(&byte);
    (1..=11).contains(&from.len())
        && from.bytes().all(is_part)
        && from.bytes().any(|byte| byte.is_ascii_alphabetic())
}

fn is_loopback_name(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// A signing secret of Standard Webhooks.
pub(super) fn signing_secret(key: &str, secret: &Secret) -> Result<(), ConfigError> {
    if decode_secret(secret.expose()).is_none() {
        return bad(
            key,
            "`whsec_` and base64 of 24 to 64 random bytes: `echo \"whsec_$(openssl rand -base64 32)\"` makes one",
        );
    }
    Ok(())
}

/// A URL that is posted to as it stands.
pub(super) fn endpoint(key: &str, text: &str) -> Result<(), ConfigError> {
    match text.parse().ok().filter(is_safe) {
        Some(_) => Ok(()),
        None => bad(key, "an `https` URL without a user name; `http` only to this machine (loopback)"),
    }
}

/// A URL that paths are added to.
pub(super) fn base_url(key: &str, text: &str) -> Result<(), ConfigError> {
    let is_base = |url: &Url| url.query().is_none() && url.fragment().is_none();
    match text.parse().ok().filter(is_safe).filter(is_base) {
        Some(_) => Ok(()),
        None => {
            bad(key, "an `https` URL without a user name or a query; `http` only to this machine (loopback)")
        }
    }
}

/// Encrypted, or to this machine. User names in URLs end in logs.
fn is_safe(url: &Url) -> bool {
    let is_encrypted = match url.scheme() {
        "https" => true,
        "http" => url.host_str().is_some_and(is_loopback_name),
        _ => false,
    };
    is_encrypted && url.has_host() && url.username().is_empty() && url.password().is_none()
}
