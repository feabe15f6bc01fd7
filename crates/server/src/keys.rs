//! The keys, wherever the configuration says they are: opened, made, listed, sealed.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use acquaint_custody::budget::{BudgetFileError, Budgeted};
use acquaint_custody::pkcs11::{AuditCounter, KeyState, Pkcs11Custody, Token, TokenConfig};
use acquaint_custody::remote::{RemoteCustody, RemoteOptions};
use acquaint_custody::secret::SecretError;
use acquaint_custody::software::{SoftwareCustody, add_audience, add_version, audience_key, destroy};
use acquaint_custody::{CustodyError, KeyCustody, NewStretching, Purpose, matches_check};
use acquaint_protocol::pair::{Canonicalisation, Suite};
use acquaint_service::{Clock, Millis};
use zeroize::Zeroizing;

pub use acquaint_custody::KeyId;
pub use acquaint_custody::budget::KeyUsage;
pub use acquaint_custody::pkcs11::Pkcs11Error;
pub use acquaint_custody::remote::RemoteError;
pub use acquaint_custody::secret::{MAX_BYTES as MAX_SECRET, Secret};
pub use acquaint_custody::software::KeyFileError;
pub use acquaint_custody::software::sealed::{Identity, SealingKey, unwrap, wrap};

use crate::config::{Config, Holder};

/// How long the command that reads the HSM's counter may take, in steps.
const AUDIT_STEPS: u32 = 500;
const AUDIT_STEP: Duration = Duration::from_millis(10);

/// Why keys cannot be used or made. No variant carries a PIN, a passphrase or any part of a key.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The key file.
    #[error(transparent)]
    File(#[from] KeyFileError),
    /// The HSM.
    #[error(transparent)]
    Pkcs11(#[from] Pkcs11Error),
    /// The custody process.
    #[error(transparent)]
    Process(#[from] RemoteError),
    /// The PIN or the passphrase.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// What is kept of a day's budget.
    #[error(transparent)]
    Budget(#[from] BudgetFileError),
    /// The keys were opened, and then failed.
    #[error("the keys cannot be used")]
    Custody(#[from] CustodyError),
    /// The token has a key that an interruption or a loss has left in pieces.
    #[error(
        "the token has a {key} that {state}: bring it back, or destroy it with the HSM's own tools, before new ones are made"
    )]
    NotWhole {
        /// Which key.
        key: KeyId,
        /// What is the matter.
        state: &'static str,
    },
    /// Another process makes them.
    #[error(
        "`keys.custody` is `process`: make and destroy keys with the custody process's own configuration, as its user"
    )]
    NotHere,
    /// Keys neither leave an HSM nor come into it.
    #[error(
        "keys neither leave `keys.custody = \"pkcs11\"` or `\"process\"` nor come into it: have credentials checked by `POST /v1/credentials/verify`, or keep this audience in a key file"
    )]
    Stays,
}

/// A key as `acquaint keys list` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Which key.
    pub key: KeyId,
    /// When it was made, in milliseconds since 1970, where that is known.
    pub made_at: Option<Millis>,
    /// What stretching costs under it, if it stretches.
    pub suite: Option<&'static str>,
    /// `usable`, or what is the matter.
    pub state: &'static str,
}

/// What opens and seals the key file; `None` if it is in clear.
///
/// # Errors
/// [`KeysError`] when the passphrase's file or the identity's cannot be used.
pub fn sealing_key(config: &Config) -> Result<Option<SealingKey>, KeysError> {
    let keys = &config.keys;
    if !keys.passphrase.is_empty() {
        return Ok(Some(SealingKey::Passphrase(Secret::new(keys.passphrase.expose().to_owned()))));
    }
    if !keys.passphrase_file.as_os_str().is_empty() {
        return Ok(Some(SealingKey::Passphrase(Secret::from_file(&keys.passphrase_file)?)));
    }
    if !keys.identity_file.as_os_str().is_empty() {
        return Ok(Some(SealingKey::Identity(Identity::open(&keys.identity_file)?)));
    }
    Ok(None)
}

/// Opens the keys and holds them to their budget. A key file that is not there is made if `make` says so; keys in a
/// token, or in another process, never are. `clock` is what the budget's seconds and days go by. Blocks.
///
/// # Errors
/// [`KeysError`] says what is wrong and what to do.
pub fn open(config: &Config, make: bool, clock: Arc<dyn Clock>) -> Result<Arc<dyn KeyCustody>, KeysError> {
    match config.keys.holder().unwrap_or(Holder::File) {
        Holder::File => {
            let custody = match open_file(config) {
                Err(KeysError::File(KeyFileError::Absent(_))) if make => make_file(config)?,
                outcome => outcome?,
            };
            budgeted(custody, config, clock)
        }
        Holder::Pkcs11 => {
            let custody = Pkcs11Custody::open(token(config)?)?;
            match audit_counter(&config.pkcs11.audit_command) {
                Some(counter) => budgeted(custody.with_audit(counter), config, clock),
                None => budgeted(custody, config, clock),
            }
        }
        Holder::Process => Ok(Arc::new(RemoteCustody::connect(process(config))?)),
    }
}

/// As [`open`], to look at the keys only: nothing is made, and no budget is charged but a custody process's.
///
/// # Errors
/// As [`open`].
pub fn look(config: &Config) -> Result<Arc<dyn KeyCustody>, KeysError> {
    let mut config = config.clone();
    config.budget = crate::config::Budget::default();
    open(&config, false, Arc::new(acquaint_service::SystemClock))
}

/// Makes a key of every purpose, in the key file or in the token. `now` is in milliseconds since 1970. In a token it goes
/// on where an interrupted call has ended. The keys that it made.
///
/// # Errors
/// [`KeyFileError::Exists`] or [`Pkcs11Error::Exists`] where there are keys; otherwise [`KeysError`] says what is wrong.
pub fn init(config: &Config, now: Millis) -> Result<Vec<KeyId>, KeysError> {
    match config.keys.holder().unwrap_or(Holder::File) {
        Holder::File => Ok(make_file(config)?.keys()),
        Holder::Pkcs11 => {
            let token = Token::open(token(config)?)?;
            for entry in token.list() {
                // What an interruption left of a key was never used, and its number is passed over.
                if !matches!(entry.state, KeyState::Usable | KeyState::WithoutRecord) {
                    return Err(KeysError::NotWhole { key: entry.key, state: state(entry.state) });
                }
            }
            Ok(token.create_keys(suite(config), now)?)
        }
        Holder::Process => Err(KeysError::NotHere),
    }
}

/// A pair key that was just made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rotated {
    /// Which.
    pub key: KeyId,
    /// What stretching costs under it.
    pub suite: &'static str,
    /// Whether a pair has to be stretched for it apart from the one before.
    pub stretches_anew: bool,
}

/// Makes the next pair key where the keys are. It stretches as the one before, with the same pepper, unless `new_pepper`
/// says otherwise or the configured suite is another. `now` is in milliseconds since 1970.
///
/// # Errors
/// [`KeysError`] says what is wrong; [`KeysError::NotHere`] where another process holds the keys.
pub fn rotate(config: &Config, new_pepper: bool, now: Millis) -> Result<Rotated, KeysError> {
    let suite = suite(config);
    let how = |custody: &dyn KeyCustody| -> Result<NewStretching, KeysError> {
        let newest = acquaint_custody::epochs(custody)?.into_iter().next();
        let same = newest
            .is_some_and(|epoch| epoch.suite == suite && epoch.canonicalisation == Canonicalisation::CURRENT);
        Ok(if same && !new_pepper { NewStretching::Kept } else { NewStretching::New(suite) })
    };
    let (key, how) = match config.keys.holder().unwrap_or(Holder::File) {
        Holder::File => {
            let how = how(&open_file(config)?)?;
            let sealing = sealing_key(config)?;
            (add_version(&config.keys.file, sealing.as_ref(), Purpose::Pair, how)?, how)
        }
        Holder::Pkcs11 => {
            let custody = Pkcs11Custody::open(token(config)?)?;
            let how = how(&custody)?;
            (custody.token().add_version(Purpose::Pair, how, now)?, how)
        }
        Holder::Process => return Err(KeysError::NotHere),
    };
    Ok(Rotated { key, suite: suite.name, stretches_anew: how != NewStretching::Kept })
}

/// Makes both keys of the next audience of credentials, where the keys are. Its number.
///
/// # Errors
/// [`KeysError`] says what is wrong; [`KeysError::NotHere`] where another process holds the keys.
pub fn new_audience(config: &Config, now: Millis) -> Result<u32, KeysError> {
    match config.keys.holder().unwrap_or(Holder::File) {
        Holder::File => Ok(add_audience(&config.keys.file, sealing_key(config)?.as_ref(), None)?),
        Holder::Pkcs11 => Ok(Token::open(token(config)?)?.add_audience(now)?),
        Holder::Process => Err(KeysError::NotHere),
    }
}

/// Destroys both keys of an audience for good: credentials under it are no longer issued, nor good here. Whether there was
/// one.
///
/// # Errors
/// [`KeysError`] says what is wrong; [`KeysError::NotHere`] where another process holds the keys.
pub fn destroy_audience(config: &Config, number: u32) -> Result<bool, KeysError> {
    let mut any = false;
    // The signing one first: an interruption leaves nothing that is taken.
    for purpose in [Purpose::CredentialAuth, Purpose::CredentialUser] {
        any |= destroy_key(config, KeyId { purpose, version: number })?;
    }
    Ok(any)
}

/// The key that an audience signs with, to be carried to whoever else checks its credentials; from a key file only.
///
/// # Errors
/// [`KeysError`] says what is wrong; [`KeysError::Stays`] where the keys do not leave.
pub fn share_audience(config: &Config, number: u32) -> Result<Zeroizing<[u8; 32]>, KeysError> {
    match config.keys.holder().unwrap_or(Holder::File) {
        Holder::File => Ok(audience_key(&config.keys.file, sealing_key(config)?.as_ref(), number)?),
        Holder::Pkcs11 | Holder::Process => Err(KeysError::Stays),
    }
}

/// Takes up the key that somebody else's audience signs with. Its number here.
///
/// # Errors
/// As [`share_audience`].
pub fn take_audience(config: &Config, auth: Zeroizing<[u8; 32]>) -> Result<u32, KeysError> {
    match config.keys.holder().unwrap_or(Holder::File) {
        Holder::File => Ok(add_audience(&config.keys.file, sealing_key(config)?.as_ref(), Some(auth))?),
        Holder::Pkcs11 | Holder::Process => Err(KeysError::Stays),
    }
}

/// Whether the pair key of this version is the one that `check`, a store's check value, was made with; `None` if there is
/// no such key.
///
/// # Errors
/// As [`open`].
pub fn is_pair_key(config: &Config, version: u32, check: &[u8]) -> Result<Option<bool>, KeysError> {
    let custody = look(config)?;
    let key = KeyId { purpose: Purpose::Pair, version };
    if !custody.keys().contains(&key) {
        return Ok(None);
    }
    Ok(Some(matches_check(&*custody, key, check)?))
}

/// Destroys a pair key for good. Whether it was there.
///
/// # Errors
/// [`KeysError`] says what is wrong; [`KeysError::NotHere`] where another process holds the keys.
pub fn destroy_pair_key(config: &Config, version: u32) -> Result<bool, KeysError> {
    destroy_key(config, KeyId { purpose: Purpose::Pair, version })
}

fn destroy_key(config: &Config, key: KeyId) -> Result<bool, KeysError> {
    match config.keys.holder().unwrap_or(Holder::File) {
        Holder::File => match destroy(&config.keys.file, sealing_key(config)?.as_ref(), key) {
            Err(KeyFileError::NoSuchKey(_)) => Ok(false),
            outcome => Ok(outcome.map(|()| true)?),
        },
        Holder::Pkcs11 => match Token::open(token(config)?)?.destroy(key) {
            Err(Pkcs11Error::NoSuchKey(_)) => Ok(false),
            outcome => Ok(outcome.map(|()| true)?),
        },
        Holder::Process => Err(KeysError::NotHere),
    }
}

/// Every key that is there, also what cannot be used.
///
/// # Errors
/// As [`open`], except that a token need not be whole.
pub fn list(config: &Config) -> Result<Vec<Listed>, KeysError> {
    if config.keys.holder() == Some(Holder::Pkcs11) {
        let entries = Token::open(token(config)?)?.list().into_iter();
        let listed = entries.map(|entry| Listed {
            key: entry.key,
            made_at: entry.made_at,
            suite: entry.suite.map(|suite| suite.name),
            state: state(entry.state),
        });
        return Ok(listed.collect());
    }
    let custody = look(config)?;
    let listed = custody.keys().into_iter().map(|key| {
        let suite = if key.purpose.stretches() { Some(custody.stretching(key)?.suite.name) } else { None };
        Ok(Listed { key, made_at: None, suite, state: state(KeyState::Usable) })
    });
    listed.collect()
}

/// What is used of the budgets, as the custody process tells; empty where the budget is not another process's.
///
/// # Errors
/// As [`open`].
pub fn usage(config: &Config) -> Result<Vec<KeyUsage>, KeysError> {
    match config.keys.holder() {
        Some(Holder::Process) => Ok(RemoteCustody::connect(process(config))?.usage()?),
        _ => Ok(Vec::new()),
    }
}

fn open_file(config: &Config) -> Result<SoftwareCustody, KeysError> {
    let path = &config.keys.file;
    Ok(match sealing_key(config)? {
        Some(key) => SoftwareCustody::open_sealed(path, &key)?,
        None => SoftwareCustody::open(path)?,
    })
}

fn make_file(config: &Config) -> Result<SoftwareCustody, KeysError> {
    let path = &config.keys.file;
    Ok(match sealing_key(config)? {
        Some(key) => SoftwareCustody::create_sealed(path, suite(config), &key)?,
        None => SoftwareCustody::create(path, suite(config))?,
    })
}

/// The suite for new keys. The configuration was checked to have one.
pub(crate) fn suite(config: &Config) -> Suite {
    Suite::by_name(&config.keys.suite).unwrap_or(Suite::STANDARD)
}

fn token(config: &Config) -> Result<TokenConfig, KeysError> {
    let pkcs11 = &config.pkcs11;
    let pin = if pkcs11.pin.is_empty() {
        Secret::from_file(&pkcs11.pin_file)?
    } else {
        Secret::new(pkcs11.pin.expose().to_owned())
    };
    let mut token = TokenConfig::new(pkcs11.module.clone(), pkcs11.token.clone(), pin);
    let sessions = usize::try_from(pkcs11.sessions).ok().and_then(NonZeroUsize::new);
    token.sessions = sessions.unwrap_or(token.sessions);
    Ok(token)
}

fn process(config: &Config) -> RemoteOptions {
    let mut options = RemoteOptions::new(config.keys.socket.clone());
    options.server_uid = config.keys.socket_uid.parse().ok();
    options
}

fn budgeted<C: KeyCustody + 'static>(
    custody: C,
    config: &Config,
    clock: Arc<dyn Clock>,
) -> Result<Arc<dyn KeyCustody>, KeysError> {
    let bounds = config.budget.bounds();
    if bounds.is_empty() {
        return Ok(Arc::new(custody));
    }
    let file = Some(config.budget.file.clone()).filter(|file: &PathBuf| !file.as_os_str().is_empty());
    Ok(Arc::new(Budgeted::new(custody, bounds, file, Arc::new(move || clock.now()))?))
}

const fn state(state: KeyState) -> &'static str {
    match state {
        KeyState::Usable => "usable",
        KeyState::WithoutRecord => "was left by an interruption and is never used",
        KeyState::WithoutKey => "is lost: its record is there and the key is not",
        KeyState::Unreadable => "has a record that cannot be read",
        KeyState::Exposed => "may leave the token, so it was not made by this program",
        KeyState::Twice => "is there twice",
    }
}

/// Runs `command` with a purpose and a version behind its own words; what it prints is the count, and nothing is no count.
fn audit_counter(command: &[String]) -> Option<AuditCounter> {
    let (program, words) = command.split_first()?;
    let (program, words) = (program.clone(), words.to_vec());
    Some(Arc::new(move |key: KeyId| {
        let mut child = Command::new(&program)
            .args(&words)
            .args([key.purpose.name(), &key.version.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let mut waited = 0;
        // Before its output is read: what is longer than a pipe holds is no count.
        let status = loop {
            match child.try_wait()? {
                Some(status) => break status,
                None if waited < AUDIT_STEPS => waited += 1,
                None => {
                    child.kill()?;
                    child.wait()?;
                    return Err(std::io::ErrorKind::TimedOut.into());
                }
            }
            std::thread::sleep(AUDIT_STEP);
        };
        let output = child.wait_with_output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        let count = text.trim();
        match count.parse() {
            Ok(count) if status.success() => Ok(Some(count)),
            _ if status.success() && count.is_empty() => Ok(None),
            _ => Err(std::io::Error::other("`pkcs11.audit_command` failed, or printed no number")),
        }
    }))
}
