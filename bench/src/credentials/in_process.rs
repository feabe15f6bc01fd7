//! One core, no network.

use std::hint::black_box;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use acquaint_custody::{KeyCustody, KeyId, Purpose};
use acquaint_protocol::credential::{CredentialFormat, CredentialKey};
use acquaint_server::config::Config;
use acquaint_server::{Ambient, keys};
use acquaint_service::Limiter;
use acquaint_store::{Exhausted, Limit, Permit};
use acquaint_testkit::did;
use acquaint_testkit::softhsm::SoftHsm;
use tempfile::TempDir;

use crate::server::{config_file, write_config};
use crate::{Result, machine};

/// How often each is measured; the median counts.
const ROUNDS: usize = 9;
/// Accounts in turn.
const ACCOUNTS: usize = 10_000;
/// Seconds that credentials are good for.
const TTL: u64 = 86_400;

const TOKEN: (&str, &str) = ("acquaint", "a-pin-of-the-bench");

/// Credentials issued and checked in a second with the keys that `config` names.
pub(super) fn issue_and_verify(config: &Config) -> Result<f64> {
    let custody = keys::open(config, false, Ambient::default().clock)?;
    let (format, names) = (CredentialFormat::default(), (0..ACCOUNTS).map(did).collect::<Vec<_>>());
    let hmac = |key, input: &[u8]| hmac(&*custody, key, input);
    // As many as take a tenth of a second or so.
    let began = Instant::now();
    let mut calls = 0_u32;
    while began.elapsed().as_millis() < 100 {
        issue_one(format, &names[0], hmac)?;
        calls += 1;
    }
    let mut rates = Vec::new();
    for _ in 0..ROUNDS {
        let began = Instant::now();
        for n in 0..calls {
            let name = &names[n as usize % ACCOUNTS];
            issue_one(format, name, hmac)?;
        }
        rates.push(f64::from(calls) / began.elapsed().as_secs_f64());
    }
    Ok(machine::median(&rates))
}

fn issue_one(
    format: CredentialFormat,
    name: &str,
    mut hmac: impl FnMut(CredentialKey, &[u8]) -> Result<[u8; 32]>,
) -> Result<()> {
    let now = 1_800_000_000;
    let made = format.issue(name, now, &mut hmac)?;
    match format.verify(&made.username, &made.password, (now + 1, TTL), hmac)? {
        Some(_) => Ok(()),
        None => Err("credentials that were just issued are not good".into()),
    }
}

fn hmac(custody: &dyn KeyCustody, key: CredentialKey, input: &[u8]) -> Result<[u8; 32]> {
    let purpose = match key {
        CredentialKey::User => Purpose::CredentialUser,
        CredentialKey::Auth => Purpose::CredentialAuth,
    };
    let made = custody.hmac(KeyId { purpose, version: 1 }, &[input])?;
    made.first().copied().ok_or_else(|| "no hash".into())
}

/// The same with keys in a token, in a process of its own: SoftHSM finds its tokens by a variable of the environment.
pub(super) fn with_softhsm(hsm: &SoftHsm) -> Result<f64> {
    let (label, pin) = TOKEN;
    hsm.token(label, pin);
    let folder = TempDir::new()?;
    write_config(folder.path(), "standard", |config| {
        config.keys.custody = "pkcs11".into();
        config.pkcs11.module = hsm.module();
        config.pkcs11.token = label.into();
        config.pkcs11.pin = pin.into();
    })?;
    let ran = Command::new(std::env::current_exe()?)
        .arg("token-credentials")
        .arg(folder.path())
        .env_clear()
        .env("SOFTHSM2_CONF", hsm.config())
        .output()?;
    if !ran.status.success() {
        return Err(format!("keys in SoftHSM: {}", String::from_utf8_lossy(&ran.stderr)).into());
    }
    Ok(String::from_utf8(ran.stdout)?.trim().parse()?)
}

/// Makes the keys, measures, and prints the rate.
pub(crate) fn token(folder: &Path) -> Result<()> {
    let config = Config::load(&config_file(folder), [])?;
    let now = Ambient::default().clock.now();
    keys::init(&config, now)?;
    keys::new_audience(&config, now)?;
    println!("{}", issue_and_verify(&config)?);
    Ok(())
}

/// Decisions a second, each of two parts: a permit of the account's bucket of calls, which is kept in memory, and whether
/// the account's and the prefix's buckets in the store are known to refuse. Of ten thousand accounts a tenth is refused.
pub(super) fn limiter() -> f64 {
    let limiter = Limiter::default();
    let (now, hour) = (1_800_000_000_000, 3_600_000);
    let permit =
        |limit, key: [u8; 16]| Permit { limit, key: key.to_vec(), amount: 1, capacity: 100_000, per_day: 96 };
    let calls: Vec<Vec<Permit>> = (0..ACCOUNTS as u128)
        .map(|n| {
            let account = permit(Limit::AccountCredentials, (n << 64).to_be_bytes());
            vec![account, permit(Limit::PrefixCredentials, (n / 16).to_be_bytes())]
        })
        .collect();
    for permits in calls.iter().step_by(10) {
        let exhausted = Exhausted { limit: Limit::AccountCredentials, retry_at: Some(now + hour) };
        limiter.remember(&permits[0], exhausted, now);
    }
    let mut rates = Vec::new();
    for _ in 0..ROUNDS {
        let began = Instant::now();
        let mut refused = 0_u32;
        for _ in 0..20 {
            for permits in &calls {
                refused += u32::from(black_box(limiter.look(black_box(&permits[0]), now)).is_err());
                if black_box(limiter.take(black_box(permits), now)).is_err() {
                    return f64::NAN;
                }
            }
        }
        let decisions = 20.0 * ACCOUNTS as f64;
        assert_eq!(f64::from(refused), decisions / 10.0, "a tenth is refused");
        rates.push(decisions / began.elapsed().as_secs_f64());
    }
    machine::median(&rates)
}
