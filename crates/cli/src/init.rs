//! `acquaint init`.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use acquaint_server::config::Config;
use acquaint_server::ensure_key_file;

use crate::args;
use crate::failure::Failure;
use crate::output::tell;

pub(crate) fn run(args: &args::Init) -> Result<(), Failure> {
    let args::Init { folder, suite } = args;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(|error| format!("cannot make the folder {}: {error}", folder.display()))?;
    let path = folder.join("acquaint.toml");
    let mut config = Config::default();
    config.auth.api_key = api_key()?;
    if path.exists() {
        return Err(already(&path));
    }
    let keys = folder.join(&config.keys.file);
    // Keys without a configuration are what an interrupted `init` leaves, or an operator's own: they are kept.
    let key_file = ensure_key_file(&keys, suite)?;
    config.keys.suite = key_file.suite.into();
    write_private(&path, &annotated(&config)?)?;
    if key_file.made {
        tell!("Wrote {} and {}.", path.display(), keys.display());
    } else {
        tell!(
            "Wrote {}, and kept the keys in {} (suite `{}`).",
            path.display(),
            keys.display(),
            key_file.suite
        );
    }
    tell!("Back the key file up, apart from the data: without it, stored data can never be matched again.");
    tell!();
    tell!("Run the server:");
    tell!("  acquaint serve --config {}", path.display());
    tell!();
    tell!("Point a Bluesky AppView at it, with these lines in its environment:");
    for line in appview_lines(&format!("http://{}", config.listen), &config.auth.api_key) {
        tell!("  {line}");
    }
    Ok(())
}

/// What an AppView reads (npm `@atproto/bsky`, dist/config.js).
pub(crate) fn appview_lines(url: &str, api_key: &str) -> [String; 3] {
    [
        format!("BSKY_ROLODEX_URL={url}"),
        format!("BSKY_ROLODEX_API_KEY={api_key}"),
        "BSKY_ROLODEX_HTTP_VERSION=2".to_owned(),
    ]
}

/// 32 random bytes in hexadecimal.
#[expect(
    clippy::disallowed_methods,
    reason = "the command has no service, and so no Entropy, to take it from"
)]
pub(crate) fn api_key() -> Result<String, Failure> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes)?;
    Ok(hex::encode(bytes))
}

fn annotated(config: &Config) -> Result<String, Failure> {
    Ok(format!(
        "# Acquaint's configuration. Every key has its default, so what you do not change can be deleted.\n\
         # The environment overrides it: ACQUAINT_LISTEN, ACQUAINT_IMPORT__DEADLINE_MS, …\n\
         # `sms = [\"outbox\"]` in [delivery] is for development: codes are written to a file, not sent, and only a\n\
         # loopback address may be listened on.\n\n{}",
        config.to_toml()?
    ))
}

fn write_private(path: &Path, text: &str) -> Result<(), Failure> {
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    match file.and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all())) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Err(already(path)),
        Err(error) => Err(format!("cannot write {}: {error}", path.display()).into()),
        Ok(()) => Ok(()),
    }
}

fn already(path: &Path) -> Failure {
    format!("{} is there already: edit it, or choose another folder", path.display()).into()
}
