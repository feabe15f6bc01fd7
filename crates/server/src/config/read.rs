//! Reading and checking the configuration.

use std::path::{Path, PathBuf};

use acquaint_protocol::identifier::AccountFormat;
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
    checked: impl FnOnce(&Config) -> Result<(), ConfigError>,
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
    let (keys, pkcs11) = (&mut config.keys, &mut config.pkcs11);
    let optional = [
        &mut config.tls.certificate,
        &mut config.tls.key,
        &mut config.store.ca_file,
        &mut keys.passphrase_file,
        &mut keys.identity_file,
        &mut keys.socket,
        &mut pkcs11.module,
        &mut pkcs11.pin_file,
        &mut config.budget.file,
        &mut config.private_lookup.files,
    ];
    let named = optional.into_iter().filter(|path| !path.as_os_str().is_empty());
    let paths = [&mut config.data_dir, &mut keys.file, &mut config.delivery.outbox_file];
    for relative in paths.into_iter().chain(named) {
        *relative = folder.join(&*relative).components().collect();
    }
    checked(&config)?;
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
    // The whole name decides between keys whose last part is the same.
    let likeness = |candidate: &String| {
        let whole = strsim::jaro_winkler(candidate, key);
        (whole.max(strsim::jaro_winkler(&last(candidate), &last(key))), whole)
    };
    keys.map(|candidate| (likeness(&candidate), candidate))
        .filter(|((likeness, _), _)| *likeness > 0.8)
        .max_by(|((a, whole_a), _), ((b, whole_b), _)| a.total_cmp(b).then(whole_a.total_cmp(whole_b)))
        .map(|(_, candidate)| candidate)
}
