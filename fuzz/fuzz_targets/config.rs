//! The configuration: the file's text, and after a line `---` one `NAME=VALUE` a line as the environment.

#![no_main]

use std::path::PathBuf;
use std::sync::LazyLock;

use acquaint_server::config::Config;
use libfuzzer_sys::fuzz_target;

static FILE: LazyLock<(tempfile::TempDir, PathBuf)> = LazyLock::new(|| {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("acquaint.toml");
    (folder, file)
});

/// Stands for a secret value.
const CANARY: &str = "xq7-canary-value-77";

fuzz_target!(|text: &str| {
    let (file, rest) = text.split_once("\n---\n").unwrap_or((text, ""));
    let environment: Vec<(String, String)> = rest
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let path = &FILE.1;
    std::fs::write(path, file).expect("the file can be written");
    match Config::load(path, environment.clone()) {
        Ok(config) => {
            // What was understood is written so that it is understood the same.
            let written = config.to_toml().expect("a configuration can be written");
            std::fs::write(path, &written).expect("the file can be written");
            let again = Config::load(path, []).expect("what was written can be read");
            assert_eq!(again.to_toml().expect("a configuration can be written"), written);
            let secrets = [&config.auth.api_key];
            let shown = format!("{config:?}");
            assert!(secrets.iter().all(|secret| secret.len() < 16 || !shown.contains(secret.as_str())));
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    // A value from the environment is never quoted.
    if let Some((name, _)) = environment.first()
        && !text.contains(CANARY)
    {
        std::fs::write(path, file).expect("the file can be written");
        if let Err(error) = Config::load(path, [(name.clone(), CANARY.to_owned())]) {
            assert!(!error.to_string().contains(CANARY), "{error}");
        }
    }
});
