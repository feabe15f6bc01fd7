//! A private SoftHSM for a test: its own configuration and tokens in a temporary folder.
//!
//! SoftHSM reads `SOFTHSM2_CONF` when a process first uses it, and a process cannot safely set its own environment. So
//! a test that uses the module itself runs [`alone`], in a process of its own; a program under test is given
//! [`SoftHsm::config`] in that variable.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// Where Debian, Fedora, Alpine, Homebrew and a build from source put the module.
const PLACES: [&str; 9] = [
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib64/softhsm/libsofthsm2.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
    "/usr/lib/pkcs11/libsofthsm2.so",
    "/usr/local/lib/softhsm/libsofthsm2.so",
    "/opt/homebrew/lib/softhsm/libsofthsm2.so",
    "/usr/local/opt/softhsm/lib/softhsm/libsofthsm2.so",
];

/// In the process that [`alone`] starts: the test that it is for.
const ALONE: &str = "ACQUAINT_TEST_ALONE";

/// The security officer's PIN of every token.
pub const SO_PIN: &str = "security-officer";

/// Tokens of nobody else.
pub struct SoftHsm {
    /// Dropped with this, unless another process owns it.
    _folder: Option<TempDir>,
    config: PathBuf,
}

impl SoftHsm {
    /// Without any token yet.
    ///
    /// # Panics
    /// When SoftHSM is not installed.
    #[must_use]
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let tokens = folder.path().join("tokens");
        std::fs::create_dir(&tokens).expect("a folder for tokens");
        let config = folder.path().join("softhsm2.conf");
        let text = format!(
            "directories.tokendir = {}\nobjectstore.backend = file\nlog.level = ERROR\n",
            tokens.display()
        );
        std::fs::write(&config, text).expect("a configuration");
        Self { _folder: Some(folder), config }
    }

    /// What `SOFTHSM2_CONF` has to be.
    #[must_use]
    pub fn config(&self) -> &Path {
        &self.config
    }

    /// The folder with a folder for each token.
    #[must_use]
    pub fn tokens(&self) -> PathBuf {
        self.config.with_file_name("tokens")
    }

    /// The PKCS#11 module.
    ///
    /// # Panics
    /// When SoftHSM is not installed.
    #[must_use]
    pub fn module(&self) -> PathBuf {
        let place = PLACES.iter().map(PathBuf::from).find(|place| place.exists());
        place.expect("SoftHSM is missing: install it (on Debian: apt-get install softhsm2)")
    }

    /// Makes a token. A process that uses the module already does not see it.
    ///
    /// # Panics
    /// When SoftHSM is not installed or refuses.
    pub fn token(&self, label: &str, pin: &str) {
        let made = Command::new("softhsm2-util")
            .args(["--init-token", "--free", "--label", label, "--so-pin", SO_PIN, "--pin", pin])
            .env("SOFTHSM2_CONF", &self.config)
            .output()
            .expect("SoftHSM is missing: install it (on Debian: apt-get install softhsm2)");
        assert!(made.status.success(), "softhsm2-util: {}", String::from_utf8_lossy(&made.stderr));
    }
}

impl Default for SoftHsm {
    fn default() -> Self {
        Self::new()
    }
}

/// Runs `body` in a process of its own, in which the module sees no tokens but those of the [`SoftHsm`] that it is
/// given. `test` is the calling test's name, as the test program lists it.
///
/// # Panics
/// When it fails, or no test is called so.
pub fn alone(test: &str, body: impl FnOnce(&SoftHsm)) {
    if std::env::var_os(ALONE).is_some_and(|name| name == test) {
        let config = std::env::var_os("SOFTHSM2_CONF").expect("the variable that was set beside it");
        return body(&SoftHsm { _folder: None, config: config.into() });
    }
    let hsm = SoftHsm::new();
    let program = std::env::current_exe().expect("the test program");
    let run = Command::new(program)
        .args([test, "--exact", "--include-ignored", "--nocapture", "--test-threads=1"])
        .env(ALONE, test)
        .env("SOFTHSM2_CONF", hsm.config())
        .output()
        .expect("the test program starts");
    let (out, err) = (String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
    assert!(run.status.success(), "{test} failed in its own process:\n{out}\n{err}");
    assert!(out.contains("1 passed"), "there is no test {test}:\n{out}");
    print!("{out}");
}
