//! A test suite once more, with the keys in a SoftHSM token.

use std::process::Command;
use std::sync::OnceLock;

use acquaint_server::config::Config;

use crate::softhsm::SoftHsm;

/// In the process that [`suite`] starts: the module.
const SUITE: &str = "ACQUAINT_TEST_MODULE";

/// The token of [`suite`], and its PIN.
const TOKEN: (&str, &str) = ("acquaint", "user-pin-of-the-suite");

/// Runs the tests whose names hold `tests` once more, with the keys of every [`App`](crate::App) in a token.
///
/// # Panics
/// When one of them fails, or fewer than `least` are there.
pub fn suite(tests: &str, least: usize) {
    let hsm = SoftHsm::new();
    let (label, pin) = TOKEN;
    hsm.token(label, pin);
    let program = std::env::current_exe().expect("the test program");
    let run = Command::new(program)
        .args([tests, "--test-threads=2"])
        .env(SUITE, hsm.module())
        .env("SOFTHSM2_CONF", hsm.config())
        .output()
        .expect("the test program starts");
    let (out, err) = (String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
    assert!(run.status.success(), "{tests} with keys in a token:\n{out}\n{err}");
    let passed = out.lines().filter(|line| line.starts_with("test ") && line.ends_with(" ... ok")).count();
    assert!(passed >= least, "only {passed} tests of {tests} ran:\n{out}");
}

/// In a process of [`suite`], puts the keys into its token.
pub(crate) fn configure(config: &mut Config) {
    static KEYS: OnceLock<()> = OnceLock::new();
    let Some(module) = std::env::var_os(SUITE) else { return };
    let (label, pin) = TOKEN;
    config.keys.custody = "pkcs11".into();
    config.pkcs11.module = module.into();
    config.pkcs11.token = label.into();
    config.pkcs11.pin = pin.into();
    // One token for all: a process does not see those that are made while it runs.
    KEYS.get_or_init(|| {
        acquaint_server::keys::init(config, 0).expect("keys are made in the token");
    });
}
