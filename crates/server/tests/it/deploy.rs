//! What `deploy/` holds is what the program reads.

use std::path::{Path, PathBuf};
use std::process::Command;

use acquaint_server::config::Config;

fn deploy(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy").join(path)
}

/// Only where PostgreSQL is configured.
const DATABASE: &str = "ACQUAINT_STORE__POSTGRES";

/// The secrets that the samples leave to the environment.
const SECRETS: [(&str, &str); 7] = [
    ("ACQUAINT_AUTH__API_KEY", "0123456789abcdef0123456789abcdef"),
    (DATABASE, "postgresql://acquaint:a-password@db.example/acquaint?sslmode=require"),
    ("ACQUAINT_TWILIO__SECRET", "0123456789abcdef0123456789abcdef"),
    ("ACQUAINT_PLIVO__AUTH_TOKEN", "0123456789abcdef0123456789abcdef"),
    ("ACQUAINT_SMTP__PASSWORD", "a password"),
    ("ACQUAINT_NOTIFICATIONS__APPVIEW_PASSWORD", "a password"),
    ("ACQUAINT_WEBHOOK__SECRET", "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="),
];

#[test]
fn every_sample_configuration_is_one() {
    let mut loaded = Vec::new();
    for entry in std::fs::read_dir(deploy("config")).unwrap() {
        let path = entry.unwrap().path();
        let several = path.file_name().is_some_and(|name| name == "postgres.toml");
        let secrets = SECRETS.into_iter().filter(|(name, _)| *name != DATABASE || several);
        let environment = secrets.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let config =
            Config::load(&path, environment).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let text = std::fs::read_to_string(&path).unwrap();
        for (name, _) in SECRETS {
            let key = name.rsplit("__").next().unwrap().to_lowercase();
            let written = text.lines().any(|line| line.starts_with(&format!("{key} =")));
            assert!(!written, "{}: a secret of everybody who copies it", path.display());
        }
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        assert_eq!(config.uses_outbox(), name == "development.toml", "{name}");
        loaded.push(name);
    }
    loaded.sort();
    assert_eq!(
        loaded,
        [
            "appview.toml",
            "development.toml",
            "postgres.toml",
            "proxy.toml",
            "smtp.toml",
            "tls.toml",
            "twilio.toml"
        ],
        "docs/operations/install.md names each"
    );
    let guide = std::fs::read_to_string(deploy("../docs/operations/install.md")).unwrap();
    for name in loaded {
        assert!(guide.contains(&name), "docs/operations/install.md does not name {name}");
    }
}

/// Every `KEY=value` of a unit's section.
fn unit(name: &str) -> Vec<(String, String)> {
    let text = std::fs::read_to_string(deploy(&format!("systemd/{name}"))).unwrap();
    let pairs = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once('='));
    pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

#[test]
fn the_units_are_hardened_and_systemd_reads_them() {
    for name in ["acquaint.service", "acquaint-custody.service"] {
        is_hardened(name);
    }
}

fn is_hardened(name: &str) {
    let unit = unit(name);
    for (key, value) in [
        ("NoNewPrivileges", "yes"),
        ("ProtectSystem", "strict"),
        ("ProtectHome", "yes"),
        ("MemorySwapMax", "0"),
        ("LimitCORE", "0"),
        ("CapabilityBoundingSet", ""),
        ("UMask", "0077"),
    ] {
        assert!(unit.contains(&(key.into(), value.into())), "{key}={value}");
    }
    // Not on every machine that builds this.
    let Ok(told) =
        Command::new("systemd-analyze").arg("verify").arg(deploy(&format!("systemd/{name}"))).output()
    else {
        return;
    };
    let told = String::from_utf8_lossy(&told.stderr).into_owned();
    // The program that it starts is not installed here.
    let complaints: Vec<_> = told.lines().filter(|line| !line.contains("is not executable")).collect();
    assert!(complaints.is_empty(), "{complaints:?}");
}

#[test]
fn the_image_runs_the_program_as_nobody_in_particular() {
    let text = std::fs::read_to_string(deploy("Dockerfile")).unwrap();
    let last = text.rsplit("\nFROM ").next().unwrap();
    let user = last.lines().find_map(|line| line.strip_prefix("USER ")).unwrap();
    assert!(user.split(':').next().unwrap().parse::<u32>().is_ok_and(|id| id > 0), "{user}");
    for line in ["HEALTHCHECK ", "ENTRYPOINT ", "VOLUME "] {
        assert!(last.lines().any(|found| found.starts_with(line)), "{line}");
    }
    let rust = text.lines().find_map(|line| line.strip_prefix("FROM rust:")).unwrap();
    let workspace = std::fs::read_to_string(deploy("../Cargo.toml")).unwrap();
    let version = workspace.lines().find_map(|line| line.strip_prefix("rust-version = ")).unwrap();
    assert!(rust.starts_with(version.trim_matches('"')), "{rust} is not {version}");
}
