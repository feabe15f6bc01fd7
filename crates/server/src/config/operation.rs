//! What an operator's surroundings need: encryption, notifications, telemetry.

use std::net::SocketAddr;
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
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Telemetry {
    /// Address and port that `/metrics`, `/healthz` and `/readyz` are served on, without a key: keep it inside. Empty
    /// for nowhere.
    pub listen: String,
    /// An OpenTelemetry collector that traces are sent to (OTLP over HTTP), as `http://127.0.0.1:4318`; empty for none.
    pub otlp_url: String,
}

impl Telemetry {
    /// Where the operator's port is; `None` for nowhere.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        self.listen.parse().ok()
    }
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

pub(super) fn check(config: &Config) -> Result<(), ConfigError> {
    notifications(config)?;
    let Tls { certificate, key } = &config.tls;
    match (certificate.as_os_str().is_empty(), key.as_os_str().is_empty()) {
        (true, false) => {
            return bad("tls.certificate", "set where `tls.key` is: the PEM file of the certificate chain");
        }
        (false, true) => return bad("tls.key", "set where `tls.certificate` is: the PEM file of its key"),
        (true, true) | (false, false) => {}
    }
    let Telemetry { listen, otlp_url } = &config.telemetry;
    if !listen.is_empty() && listen.parse::<SocketAddr>().is_err() {
        return bad("telemetry.listen", "an address with a port, as `127.0.0.1:9464`, or empty");
    }
    if config.telemetry.address().is_some_and(|address| address == config.listen && address.port() != 0) {
        return bad("telemetry.listen", "another address than `listen`: metrics have no key");
    }
    let is_url = |url: &str| {
        url.parse::<http::Uri>().is_ok_and(|url| {
            matches!(url.scheme_str(), Some("http" | "https"))
                && url.host().is_some_and(|host| !host.is_empty())
        })
    };
    if !otlp_url.is_empty() && !is_url(otlp_url) {
        return bad("telemetry.otlp_url", "a URL of HTTP or HTTPS, as `http://127.0.0.1:4318`, or empty");
    }
    http_headers(config)?;
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

fn http_headers(config: &Config) -> Result<(), ConfigError> {
    let header = &config.http.client_address_header;
    if !header.is_empty() && header.parse::<http::HeaderName>().is_err() {
        return bad("http.client_address_header", "a header's name, as `x-forwarded-for`, or empty");
    }
    // `*` would let every page call with what its visitor's browser holds.
    let is_origin = |origin: &String| {
        let uri = origin.parse::<http::Uri>();
        uri.is_ok_and(|uri| {
            matches!(uri.scheme_str(), Some("http" | "https"))
                && uri.host().is_some_and(|host| !host.is_empty())
                && uri.path_and_query().is_none_or(|path| path == "/")
                && !origin.ends_with('/')
        })
    };
    if !config.http.cors_origins.iter().all(is_origin) {
        return bad("http.cors_origins", "a list of origins, as `https://app.example`, without a path");
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

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(change: impl FnOnce(&mut Config)) -> String {
        let mut config = Config::default();
        change(&mut config);
        check(&config).map_or_else(|error| error.to_string(), |()| String::new())
    }

    #[test]
    fn what_is_wrong_is_told_by_its_key() {
        assert_eq!(refused(|_| {}), "");
        assert!(refused(|config| config.tls.certificate = "chain.pem".into()).contains("`tls.key`"));
        assert!(refused(|config| config.tls.key = "key.pem".into()).contains("`tls.certificate`"));
        for listen in ["9464", "localhost:9464", "127.0.0.1", "http://127.0.0.1:9464"] {
            assert!(refused(|config| config.telemetry.listen = listen.into()).contains("`telemetry.listen`"));
        }
        assert!(
            refused(|config| config.telemetry.listen = config.listen.to_string()).contains("another address")
        );
        for url in ["127.0.0.1:4318", "http://", "grpc://127.0.0.1:4317", "collector"] {
            assert!(
                refused(|config| config.telemetry.otlp_url = url.into()).contains("`telemetry.otlp_url`")
            );
        }
        assert!(refused(|config| config.log.format = "xml".into()).contains("`log.format`"));
        let right = |config: &mut Config| {
            config.tls = Tls { certificate: "chain.pem".into(), key: "key.pem".into() };
            config.telemetry.listen = "[::1]:9464".into();
            config.telemetry.otlp_url = "https://collector.example:4318".into();
            config.log.format = "json".into();
        };
        assert_eq!(refused(right), "");
    }
}
