use std::path::PathBuf;

use super::*;

mod providers;

const KEY: &str = "listen = \"127.0.0.1:0\"\n[auth]\napi_key = \"0123456789abcdef\"\n";

fn load(text: &str, environment: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("acquaint.toml");
    std::fs::write(&path, text).unwrap();
    Config::load(&path, environment.iter().map(|(name, value)| ((*name).into(), (*value).into())))
}

#[test]
fn an_api_key_alone_is_a_whole_configuration() {
    let config = load("[auth]\napi_key = \"0123456789abcdef\"", &[]).unwrap();
    assert_eq!(config.import.deadline_ms, 8_000);
    assert!(config.data_dir.is_absolute() && config.data_dir.ends_with("data"));
    assert!(!format!("{config:?}").contains("0123456789abcdef"));
}

#[test]
fn the_environment_overrides_the_file() {
    let environment = [
        ("ACQUAINT_LISTEN", "127.0.0.1:99"),
        ("ACQUAINT_AUTH__API_KEY", "1234567890123456789"),
        ("ACQUAINT_IMPORT__DEADLINE_MS", "500"),
        ("ACQUAINT_VERIFICATION__REGIONS", "US, DE"),
        ("ACQUAINT_CONFIG", "elsewhere.toml"),
        ("HOME", "/"),
    ];
    let config = load(KEY, &environment).unwrap();
    assert_eq!(config.listen.port(), 99);
    assert_eq!(config.auth.api_key, "1234567890123456789", "digits stay text");
    assert_eq!(config.import.deadline_ms, 500);
    assert_eq!(config.verification.regions, ["US", "DE"]);
}

#[test]
fn an_unknown_key_is_refused_with_the_nearest_right_name() {
    let cases = [
        ("lisen = \"127.0.0.1:1\"", &[][..], "`lisen`: did you mean `listen`?"),
        ("[import]\ndeadline = 8", &[], "`import.deadline`: did you mean `import.deadline_ms`?"),
        ("[imports]\ndeadline_ms = 8", &[], "`imports`: did you mean `import`?"),
        ("deadline_ms = 8", &[], "`deadline_ms`: did you mean `import.deadline_ms`?"),
        (
            "",
            &[("ACQUAINT_AUTH__APIKEY", "x")],
            "`ACQUAINT_AUTH__APIKEY`: did you mean `ACQUAINT_AUTH__API_KEY`?",
        ),
    ];
    for (text, environment, wanted) in cases {
        let error = load(text, environment).unwrap_err().to_string();
        assert!(error.contains(wanted), "{error}");
    }
    let error = load("zzzzqq = 1", &[]).unwrap_err().to_string();
    assert!(!error.contains("did you mean"), "{error}");
}

#[test]
fn a_wrong_value_is_refused_by_its_key_and_never_quoted() {
    let secret = "s3cret";
    let cases = [
        (format!("[auth]\napi_key = \"{secret}\""), "auth.api_key"),
        ("[auth]\nallow_no_api_key = \"yes\"".into(), "auth.allow_no_api_key"),
        (String::new(), "auth.api_key"),
        (format!("{KEY}[import]\ndeadline_ms = -1"), "import.deadline_ms"),
        (format!("{KEY}[import]\ndeadline_ms = 31000"), "import.deadline_ms"),
        (format!("{KEY}[keys]\nsuite = \"{secret}\""), "keys.suite"),
        (format!("{KEY}[keys]\nfile = \"data/keys.json\""), "keys.file"),
        (format!("{KEY}[delivery]\noutbox_file = \"data/outbox.txt\""), "delivery.outbox_file"),
        (format!("{KEY}[verification]\nregions = [\"{secret}\"]"), "verification.regions"),
        (format!("{KEY}[verification]\nregions = [1]"), "verification.regions"),
        (format!("{KEY}[verification]\nguesses = 0"), "verification.guesses"),
        (KEY.replace("127.0.0.1", "0.0.0.0"), "listen"),
        (format!("account_format = \"{secret}\"\n{KEY}"), "account_format"),
        (KEY.replace("127.0.0.1:0", secret), "listen"),
        (format!("{KEY}[log]\nlevel = 3"), "log.level"),
        (format!("{KEY}[log]\nlevel = \"inof\""), "log.level"),
        (format!("{KEY}[log]\nlevel = \"warn,acquaint=dbug\""), "log.level"),
    ];
    for (text, key) in cases {
        let error = load(&text, &[]).unwrap_err();
        assert!(error.to_string().contains(key), "{text}: {error}");
        assert!(!format!("{error} {error:?}").contains(secret), "{error}");
    }
    let error = load(&format!("[auth]\napi_key = \"{secret}\n"), &[]).unwrap_err();
    assert!(matches!(error, ConfigError::Syntax { line: 2, .. }), "{error:?}");
    assert!(!format!("{error} {error:?}").contains(secret), "{error}");
}

#[test]
fn an_absent_file_says_how_to_get_one() {
    let error = Config::load(&PathBuf::from("/nowhere/acquaint.toml"), []).unwrap_err();
    assert!(error.to_string().contains("acquaint init"), "{error}");
}

#[test]
fn the_defaults_can_be_written_and_read_again() {
    let mut config = Config::default();
    config.auth.api_key = "0123456789abcdef".into();
    let again = load(&config.to_toml().unwrap(), &[]).unwrap();
    assert_eq!(again.import.account_pairs, config.import.account_pairs);
}

/// Every default, as the documentation writes it, by its key.
fn defaults() -> std::collections::BTreeMap<String, String> {
    let table: toml::Table = Config::default().to_toml().unwrap().parse().unwrap();
    let shown = |value: &toml::Value| match value {
        toml::Value::String(text) => text.clone(),
        value => value.to_string(),
    };
    let mut defaults = std::collections::BTreeMap::new();
    for (name, value) in &table {
        match value {
            toml::Value::Table(section) => {
                defaults.extend(section.iter().map(|(key, value)| (format!("{name}.{key}"), shown(value))));
            }
            value => {
                defaults.insert(name.clone(), shown(value));
            }
        }
    }
    defaults
}

#[test]
fn the_documented_limits_are_the_programs() {
    let text = include_str!("../../../../docs/operations/limits.md");
    let defaults = defaults();
    let mut compared = 0;
    for cell in text.lines().filter(|line| line.starts_with('|')).flat_map(|line| line.split('|')) {
        let Some((key, value)) = cell.trim().split_once("` = ") else { continue };
        let key = key.trim_start_matches('`');
        assert_eq!(defaults.get(key).map(String::as_str), Some(value), "`{key}` in limits.md");
        compared += 1;
    }
    assert!(compared == 63, "only {compared} defaults were found in limits.md");
}

#[test]
fn every_key_is_documented_with_its_default() {
    let text = include_str!("../../../../docs/operations/configuration.md");
    let rows: std::collections::BTreeMap<&str, &str> = text
        .lines()
        .filter_map(|line| {
            let mut cells = line.strip_prefix("| `")?.split(" | ");
            Some((cells.next()?.trim_end_matches('`'), cells.next()?.trim().trim_matches('`')))
        })
        .collect();
    for (key, default) in defaults() {
        let shown = rows.get(key.as_str()).copied();
        let expected = if default.is_empty() { "none" } else { default.as_str() };
        assert_eq!(shown, Some(expected), "`{key}` in configuration.md");
    }
}
