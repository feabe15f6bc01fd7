//! What an operator's surroundings need: encryption, notifications, telemetry.

use std::path::PathBuf;

use acquaint_protocol::identifier::AccountFormat;
use serde::{Deserialize, Serialize};

use super::check::bad;
use super::{Config, ConfigError, Secret, delivery};

/// Encryption of the port.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Tls {
    /// The certificate chain, PEM, the server's own first; empty for no TLS. Relative to the configuration file's folder.
    pub certificate: PathBuf,
    /// Its private key, PEM. Both are read again when they change.
    pub key: PathBuf,
}

/// Who is told of matches.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct Notifications {
    /// `none`, `appview` or `webhook`.
    pub to: String,
    /// The AppView's URL, for `appview`.
    pub appview_url: String,
    /// One of the AppView's admin passwords (`BSKY_ADMIN_PASSWORDS`).
    pub appview_password: Secret,
    /// Where notifications are posted to, for `webhook`.
    pub webhook_url: String,
    /// Signs what is posted: `whsec_` and base64 of 24 to 64 bytes.
    pub webhook_secret: Secret,
    /// How long one attempt may take.
    pub timeout_s: u32,
    /// Attempts until a notification is a dead letter.
    pub attempts: u32,
}

/// What is measured, and where it goes.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct Telemetry {
    /// Address and port that `/metrics`, `/healthz` and `/readyz` are served on, without a key: keep it inside. Empty
    /// for nowhere.
    pub listen: String,
    /// An OpenTelemetry collector that traces are sent to (OTLP over HTTP), as `http://127.0.0.1:4318`; empty for none.
    pub otlp_url: String,
}

impl Default for Notifications {
    fn default() -> Self {
        Self {
            to: "none".into(),
            appview_url: String::new(),
            appview_password: Secret::default(),
            webhook_url: String::new(),
            webhook_secret: Secret::default(),
            timeout_s: 10,
            attempts: 12,
        }
    }
}

impl Default for Telemetry {
    fn default() -> Self {
        Self { listen: String::new(), otlp_url: String::new() }
    }
}

pub(super) fn check(config: &Config) -> Result<(), ConfigError> {
    notifications(config)?;
    if !["text", "json"].contains(&config.log.format.as_str()) {
        return bad("log.format", "`text` or `json`");
    }
    // A level with a typing error would be taken for the name of a library.
    let level = |directive: &str| {
        let level = directive.rsplit('=').next().unwrap_or_default().trim();
        ["off", "error", "warn", "info", "debug", "trace"].contains(&level)
    };
    if !config.log.level.split(',').all(level) {
        return bad(
            "log.level",
            "`error`, `warn`, `info`, `debug`, `trace`, or directives as `warn,acquaint_server=debug`",
        );
    }
    Ok(())
}

fn notifications(config: &Config) -> Result<(), ConfigError> {
    let notifications = &config.notifications;
    match notifications.to.as_str() {
        "none" => Ok(()),
        "appview" if config.account_format != AccountFormat::Did => bad(
            "notifications.to",
            "`none` or `webhook` unless `account_format` is `did`: the AppView takes DIDs only",
        ),
        "appview" => {
            // The AppView cuts the credentials at every colon (`parseBasicAuth` in its `dist/auth-verifier.js`).
            let password = notifications.appview_password.expose();
            if password.is_empty() || password.contains(':') || password.chars().any(char::is_control) {
                return bad(
                    "notifications.appview_password",
                    "one of the AppView's admin passwords, without a colon",
                );
            }
            delivery::base_url("notifications.appview_url", &notifications.appview_url)
        }
        "webhook" => {
            delivery::endpoint("notifications.webhook_url", &notifications.webhook_url)?;
            delivery::signing_secret("notifications.webhook_secret", &notifications.webhook_secret)
        }
        _ => bad("notifications.to", "`none`, `appview` or `webhook`"),
    }
}
