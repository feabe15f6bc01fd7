//! What a configuration must keep to beyond the kinds of its values.

use std::path::{Component, Path, PathBuf};

use acquaint_protocol::identifier::Region;
use acquaint_protocol::pair::Suite;

use super::{
    Config, ConfigError, custody, delivery, directory, discovery, operation, private, sessions, store,
};

/// Where a path leads, links and `..` followed as far as it exists.
fn resolved(path: &Path) -> PathBuf {
    let mut missing = Vec::new();
    let mut existing = path;
    loop {
        if let Ok(mut found) = existing.canonicalize() {
            for part in missing.into_iter().rev() {
                match part {
                    Component::ParentDir => {
                        found.pop();
                    }
                    part => found.push(part),
                }
            }
            return found;
        }
        match (existing.parent(), existing.components().next_back()) {
            (Some(parent), Some(last)) => {
                missing.push(last);
                existing = parent;
            }
            _ => return path.to_owned(),
        }
    }
}

pub(super) fn values(config: &Config) -> Result<(), ConfigError> {
    access(config)?;
    keys(config)?;
    places(config)?;
    store::check(config)?;
    delivery::check(config)?;
    operation::check(config)?;
    sessions::check(config)?;
    discovery::check(config)?;
    directory::check(config)?;
    private::check(config)?;
    numbers(config)
}

/// What opening and making keys needs.
pub(super) fn keys(config: &Config) -> Result<(), ConfigError> {
    if Suite::by_name(&config.keys.suite).is_none() {
        return bad("keys.suite", "`standard`, `hard` or `development`");
    }
    custody::check(config)
}

pub(super) fn bad(key: &str, wanted: &str) -> Result<(), ConfigError> {
    Err(ConfigError::BadValue { key: key.into(), wanted: wanted.into() })
}

fn access(config: &Config) -> Result<(), ConfigError> {
    let loopback = config.is_loopback();
    let key = config.auth.api_key.as_str();
    match (key.is_empty(), config.auth.allow_no_api_key) {
        (true, false) => return bad("auth.api_key", "set: `acquaint init` makes one"),
        (true, true) if !loopback => {
            return bad("auth.allow_no_api_key", "false unless `listen` is a loopback address");
        }
        (false, _) if key.len() < 16 || !key.bytes().all(|byte| byte.is_ascii_graphic()) => {
            return bad("auth.api_key", "at least 16 printable ASCII characters without spaces");
        }
        _ => {}
    }
    if Suite::by_name(&config.keys.suite) == Some(Suite::DEVELOPMENT) && !loopback {
        return bad("keys.suite", "`standard` or `hard` unless `listen` is a loopback address");
    }
    Ok(())
}

fn places(config: &Config) -> Result<(), ConfigError> {
    let data = resolved(&config.data_dir);
    if resolved(&config.delivery.outbox_file).starts_with(&data) {
        return bad("delivery.outbox_file", "outside `data_dir`: codes are never kept beside the data");
    }
    for (key, file) in [
        ("keys.file", &config.keys.file),
        ("keys.passphrase_file", &config.keys.passphrase_file),
        ("keys.identity_file", &config.keys.identity_file),
        ("pkcs11.pin_file", &config.pkcs11.pin_file),
    ] {
        if !file.as_os_str().is_empty() && resolved(file).starts_with(&data) {
            return bad(key, "outside `data_dir`: a copy of the data must be useless on its own");
        }
    }
    Ok(())
}

fn numbers(config: &Config) -> Result<(), ConfigError> {
    for region in &config.verification.regions {
        if Region::parse(region).is_err() {
            return bad("verification.regions", "a list of ISO 3166-1 codes of two letters, as `US`");
        }
    }
    let at_least_one = [
        ("pool.memory_mib", config.pool.memory_mib),
        ("verification.code_ttl_s", config.verification.code_ttl_s),
        ("verification.guesses", config.verification.guesses),
        ("verification.token_ttl_s", config.verification.token_ttl_s),
        ("verification.delivery_timeout_s", config.verification.delivery_timeout_s),
        ("import.pair_ttl_days", config.import.pair_ttl_days),
        ("delivery.attempt_timeout_s", config.delivery.attempt_timeout_s),
        ("notifications.timeout_s", config.notifications.timeout_s),
        ("notifications.attempts", config.notifications.attempts),
        ("http.max_body_kib", config.http.max_body_kib),
        ("http.header_timeout_s", config.http.header_timeout_s),
        ("http.request_timeout_s", config.http.request_timeout_s),
        ("http.max_connections", config.http.max_connections),
    ];
    if let Some((key, _)) = at_least_one.into_iter().find(|(_, value)| *value == 0) {
        return bad(key, "at least 1");
    }
    if config.verification.delivery_timeout_s >= config.http.request_timeout_s {
        return bad("verification.delivery_timeout_s", "less than `http.request_timeout_s`");
    }
    if u64::from(config.import.deadline_ms) >= u64::from(config.http.request_timeout_s) * 1000 {
        return bad("import.deadline_ms", "less than `http.request_timeout_s`");
    }
    Ok(())
}
