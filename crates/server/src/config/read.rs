//! Reading and checking the configuration.

use std::path::{Component, Path, PathBuf};

use acquaint_protocol::identifier::{AccountFormat, Region};
use acquaint_protocol::pair::Suite;
use toml::{Table, Value};

use super::Config;

/// Prefix of the environment variables that override keys.
const PREFIX: &str = "ACQUAINT_";

/// Variables with that prefix that are options of the command line, not keys.
pub const OWN_VARIABLES: [&str; 4] =
    ["ACQUAINT_CONFIG", "ACQUAINT_URL", "ACQUAINT_API_KEY", "ACQUAINT_ACTOR"];

/// What is wrong with the configuration, and what would be right. Never quotes a value.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {}: `acquaint init` writes one", .path.display())]
    Io {
        /// Where it should be.
        path: PathBuf,
        /// The file system's reason.
        #[source]
        source: std::io::Error,
    },
    /// Not TOML.
    #[error("the configuration is not TOML at line {line}: {reason}")]
    Syntax {
        /// Which line, from 1.
        line: usize,
        /// What is wrong there.
        reason: String,
    },
    /// No such key.
    #[error("there is no configuration key `{key}`{}", nearest.as_ref().map(|name| format!(": did you mean `{name}`?")).unwrap_or_default())]
    UnknownKey {
        /// As written.
        key: String,
        /// The nearest right name.
        nearest: Option<String>,
    },
    /// A value of the wrong kind or out of range.
    #[error("the configuration key `{key}` must be {wanted}")]
    BadValue {
        /// Which key.
        key: String,
        /// What would be right.
        wanted: String,
    },
}

pub(super) fn load(
    path: &Path,
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<Config, ConfigError> {
    let text =
        std::fs::read_to_string(path).map_err(|source| ConfigError::Io { path: path.into(), source })?;
    let mut table = parse(&text)?;
    let schema = Table::try_from(Config::default())
        .map_err(|error| ConfigError::Syntax { line: 0, reason: error.to_string() })?;
    overlay(&mut table, &schema, environment)?;
    check_keys("", &table, &schema, &schema)?;
    check_texts(&table)?;
    let mut config: Config = table.try_into().map_err(|error: toml::de::Error| ConfigError::Syntax {
        line: 0,
        reason: error.message().to_owned(),
    })?;
    let folder = path.parent().unwrap_or_else(|| Path::new(""));
    let folder = std::path::absolute(folder.join("."))
        .map_err(|source| ConfigError::Io { path: path.into(), source })?;
    for relative in [&mut config.data_dir, &mut config.keys.file, &mut config.verification.outbox_file] {
        *relative = folder.join(&*relative).components().collect();
    }
    check_values(&config)?;
    Ok(config)
}

fn parse(text: &str) -> Result<Table, ConfigError> {
    text.parse::<Table>().map_err(|error| {
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        ConfigError::Syntax { line: before.matches('\n').count() + 1, reason: error.message().to_owned() }
    })
}

/// Lays environment variables over the file's table.
fn overlay(
    table: &mut Table,
    schema: &Table,
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<(), ConfigError> {
    for (name, text) in environment {
        let Some(rest) = name.strip_prefix(PREFIX) else { continue };
        if OWN_VARIABLES.contains(&name.as_str()) {
            continue;
        }
        let rest = rest.to_lowercase();
        let (section, key) = match rest.split_once("__") {
            Some((section, key)) => (Some(section), key),
            None => (None, rest.as_str()),
        };
        let wanted = match section {
            Some(section) => schema.get(section).and_then(|section| section.get(key)),
            None => schema.get(key).filter(|value| !value.is_table()),
        };
        let Some(wanted) = wanted else {
            let key = rest.replace("__", ".");
            return Err(ConfigError::UnknownKey {
                nearest: nearest(&key, schema).map(|near| variable(&near)),
                key: name,
            });
        };
        let value = read_value(&text, wanted)
            .ok_or_else(|| ConfigError::BadValue { key: name.clone(), wanted: kind(wanted).into() })?;
        let place = match section {
            Some(section) => match table.entry(section).or_insert_with(|| Value::Table(Table::new())) {
                Value::Table(inner) => inner,
                _ => return Err(ConfigError::BadValue { key: section.into(), wanted: "a section".into() }),
            },
            None => &mut *table,
        };
        place.insert(key.to_owned(), value);
    }
    Ok(())
}

fn variable(key: &str) -> String {
    format!("{PREFIX}{}", key.replace('.', "__").to_uppercase())
}

/// Text from the environment as a value of the same kind as `wanted`.
fn read_value(text: &str, wanted: &Value) -> Option<Value> {
    match wanted {
        Value::String(_) => Some(Value::String(text.to_owned())),
        Value::Integer(_) => text.trim().parse().ok().map(Value::Integer),
        Value::Boolean(_) => text.trim().parse().ok().map(Value::Boolean),
        Value::Array(_) => {
            let entries = text.split(',').map(str::trim).filter(|entry| !entry.is_empty());
            Some(Value::Array(entries.map(|entry| Value::String(entry.to_owned())).collect()))
        }
        Value::Float(_) | Value::Datetime(_) | Value::Table(_) => None,
    }
}

/// Refuses unknown keys and values of the wrong kind, before anything looks at them.
fn check_keys(prefix: &str, table: &Table, schema: &Table, root: &Table) -> Result<(), ConfigError> {
    for (name, value) in table {
        let key = format!("{prefix}{name}");
        let Some(wanted) = schema.get(name) else {
            return Err(ConfigError::UnknownKey { nearest: nearest(&key, root), key });
        };
        let bad = || ConfigError::BadValue { key: key.clone(), wanted: kind(wanted).into() };
        match (value, wanted) {
            (Value::Table(inner), Value::Table(schema)) => {
                check_keys(&format!("{key}."), inner, schema, root)?
            }
            (Value::Integer(number), Value::Integer(_)) if u32::try_from(*number).is_err() => {
                return Err(bad());
            }
            (Value::Array(entries), Value::Array(_)) if !entries.iter().all(Value::is_str) => {
                return Err(bad());
            }
            (value, wanted) if value.type_str() != wanted.type_str() => return Err(bad()),
            _ => {}
        }
    }
    Ok(())
}

/// The two texts that have a form of their own.
fn check_texts(table: &Table) -> Result<(), ConfigError> {
    let good =
        |key: &str, is_good: fn(&str) -> bool| table.get(key).and_then(Value::as_str).is_none_or(is_good);
    let bad = |key: &str, wanted: &str| Err(ConfigError::BadValue { key: key.into(), wanted: wanted.into() });
    if !good("listen", |text| text.parse::<std::net::SocketAddr>().is_ok()) {
        return bad("listen", "an address with a port, as `127.0.0.1:3200` or `[::1]:3200`");
    }
    if !good("account_format", |text| text.parse::<AccountFormat>().is_ok()) {
        return bad("account_format", "`did` or `opaque`");
    }
    Ok(())
}

fn kind(wanted: &Value) -> &'static str {
    match wanted {
        Value::String(_) => "text",
        Value::Integer(_) => "a whole number from 0 to 4294967295",
        Value::Boolean(_) => "true or false",
        Value::Array(_) => "a list of texts",
        Value::Table(_) => "a section",
        Value::Float(_) => "a number",
        Value::Datetime(_) => "a time",
    }
}

/// The key that looks most like `key`, if one looks like it at all; a right name in the wrong section counts.
fn nearest(key: &str, schema: &Table) -> Option<String> {
    let last = |key: &str| key.rsplit('.').next().unwrap_or_default().to_owned();
    let keys = schema.iter().flat_map(|(name, value)| match value {
        Value::Table(inner) => {
            inner.keys().map(|key| format!("{name}.{key}")).chain([name.clone()]).collect()
        }
        _ => vec![name.clone()],
    });
    let likeness = |candidate: &String| {
        strsim::jaro_winkler(candidate, key).max(strsim::jaro_winkler(&last(candidate), &last(key)))
    };
    keys.map(|candidate| (likeness(&candidate), candidate))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

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

fn check_values(config: &Config) -> Result<(), ConfigError> {
    let bad = |key: &str, wanted: &str| Err(ConfigError::BadValue { key: key.into(), wanted: wanted.into() });
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
    match Suite::by_name(&config.keys.suite) {
        None => return bad("keys.suite", "`standard`, `hard` or `development`"),
        Some(Suite::DEVELOPMENT) if !loopback => {
            return bad("keys.suite", "`standard` or `hard` unless `listen` is a loopback address");
        }
        Some(_) => {}
    }
    if config.verification.delivery != "outbox" {
        return bad("verification.delivery", "`outbox`");
    }
    if !loopback {
        return bad(
            "listen",
            "a loopback address while `verification.delivery` is `outbox`, which is for development",
        );
    }
    let data = resolved(&config.data_dir);
    if resolved(&config.verification.outbox_file).starts_with(&data) {
        return bad("verification.outbox_file", "outside `data_dir`: codes are never kept beside the data");
    }
    if resolved(&config.keys.file).starts_with(&data) {
        return bad("keys.file", "outside `data_dir`: a copy of the data must be useless on its own");
    }
    for region in &config.verification.regions {
        if Region::parse(region).is_err() {
            return bad("verification.regions", "a list of ISO 3166-1 codes of two letters, as `US`");
        }
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
    let at_least_one = [
        ("pool.memory_mib", config.pool.memory_mib),
        ("verification.code_ttl_s", config.verification.code_ttl_s),
        ("verification.guesses", config.verification.guesses),
        ("verification.token_ttl_s", config.verification.token_ttl_s),
        ("verification.delivery_timeout_s", config.verification.delivery_timeout_s),
        ("import.pair_ttl_days", config.import.pair_ttl_days),
        ("http.max_body_kib", config.http.max_body_kib),
        ("http.header_timeout_s", config.http.header_timeout_s),
        ("http.request_timeout_s", config.http.request_timeout_s),
        ("http.max_connections", config.http.max_connections),
    ];
    if let Some((key, _)) = at_least_one.into_iter().find(|(_, value)| *value == 0) {
        return bad(key, "at least 1");
    }
    if u64::from(config.import.deadline_ms) >= u64::from(config.http.request_timeout_s) * 1000 {
        return bad("import.deadline_ms", "less than `http.request_timeout_s`");
    }
    Ok(())
}
