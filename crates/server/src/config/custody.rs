//! Where the keys are, and how often each may be used.

use std::collections::BTreeMap;
use std::path::PathBuf;

use acquaint_custody::Purpose;
use acquaint_custody::budget::Budget as Bounds;
use acquaint_service::STEP_PAIRS;
use serde::{Deserialize, Serialize};

use super::check::bad;
use super::{Config, ConfigError, Secret};

/// Who holds the keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holder {
    /// This process, from a key file.
    File,
    /// A PKCS#11 token, used by this process.
    Pkcs11,
    /// A process of its own, which is asked over a Unix socket.
    Process,
}

/// The keys.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct Keys {
    /// Who holds them: `file`, `pkcs11` or `process`.
    pub custody: String,
    /// The key file; relative to the configuration file's folder. Keep it apart from the data directory's back-ups.
    pub file: PathBuf,
    /// Argon2id's cost for new keys: `standard` (19 MiB, t = 2), `hard` (64 MiB, t = 3), or `development` (loopback
    /// only).
    pub suite: String,
    /// Opens a key file that is sealed by a passphrase.
    pub passphrase: Secret,
    /// The same, from a file of mode 0600.
    pub passphrase_file: PathBuf,
    /// An age identity that opens a key file that is sealed by a key.
    pub identity_file: PathBuf,
    /// The custody process's Unix socket.
    pub socket: PathBuf,
    /// Which user id must serve at the socket; empty for any.
    pub socket_uid: String,
    /// Which user ids the custody process answers; empty for its own alone.
    pub allowed_uids: Vec<String>,
}

/// A PKCS#11 token.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct Pkcs11 {
    /// The HSM's PKCS#11 module, a shared library.
    pub module: PathBuf,
    /// The token's label.
    pub token: String,
    /// The user PIN.
    pub pin: Secret,
    /// The same, from a file of mode 0600.
    pub pin_file: PathBuf,
    /// The most sessions at once.
    pub sessions: u32,
    /// A command that prints how often the HSM counted a key being used; empty for none.
    pub audit_command: Vec<String>,
}

/// How often the keys of each purpose may be used, by whoever holds them. 0 is no bound.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Budget {
    /// Where it is kept what was used of a day.
    pub file: PathBuf,
    /// Pairs finished a second.
    pub pair_per_second: u32,
    /// Pairs finished a day.
    pub pair_per_day: u32,
    /// Of a day's, the most for one account.
    pub pair_per_account: u32,
    /// Single numbers finished a second.
    pub number_per_second: u32,
    /// Single numbers finished a day.
    pub number_per_day: u32,
    /// Verification codes hashed a second, two for each; health checks too.
    pub code_per_second: u32,
    /// Verification codes hashed a day.
    pub code_per_day: u32,
    /// Account names hashed a second, one for each request.
    pub account_per_second: u32,
    /// Account names hashed a day.
    pub account_per_day: u32,
    /// Tokens and cursors sealed and opened a second.
    pub token_per_second: u32,
    /// Tokens and cursors sealed and opened a day.
    pub token_per_day: u32,
    /// Stored names and lists sealed and opened a second.
    pub seal_per_second: u32,
    /// Stored names and lists sealed and opened a day.
    pub seal_per_day: u32,
    /// Credentials issued or checked a second, by each audience's key.
    pub credential_per_second: u32,
    /// Credentials issued or checked a day, by each audience's key.
    pub credential_per_day: u32,
}

impl Default for Keys {
    fn default() -> Self {
        Self {
            custody: "file".into(),
            file: "keys.json".into(),
            suite: "standard".into(),
            passphrase: Secret::default(),
            passphrase_file: PathBuf::new(),
            identity_file: PathBuf::new(),
            socket: PathBuf::new(),
            socket_uid: String::new(),
            allowed_uids: Vec::new(),
        }
    }
}

impl Default for Pkcs11 {
    fn default() -> Self {
        Self {
            module: PathBuf::new(),
            token: String::new(),
            pin: Secret::default(),
            pin_file: PathBuf::new(),
            sessions: 8,
            audit_command: Vec::new(),
        }
    }
}

impl Keys {
    /// Who holds the keys; `None` if `custody` is none of the words for it, which [`Config::load`] refuses.
    #[must_use]
    pub fn holder(&self) -> Option<Holder> {
        match self.custody.as_str() {
            "file" => Some(Holder::File),
            "pkcs11" => Some(Holder::Pkcs11),
            "process" => Some(Holder::Process),
            _ => None,
        }
    }
}

impl Budget {
    /// A second's and a day's bound by purpose, with their names without what follows the purpose's.
    fn by_purpose(&self) -> [(Purpose, u32, u32, u32); 8] {
        Purpose::ALL.map(|purpose| match purpose {
            Purpose::Pair => (purpose, self.pair_per_second, self.pair_per_day, self.pair_per_account),
            Purpose::Number => (purpose, self.number_per_second, self.number_per_day, 0),
            Purpose::Code => (purpose, self.code_per_second, self.code_per_day, 0),
            Purpose::Account => (purpose, self.account_per_second, self.account_per_day, 0),
            Purpose::Token => (purpose, self.token_per_second, self.token_per_day, 0),
            Purpose::Seal => (purpose, self.seal_per_second, self.seal_per_day, 0),
            Purpose::CredentialUser | Purpose::CredentialAuth => {
                (purpose, self.credential_per_second, self.credential_per_day, 0)
            }
        })
    }

    /// The purposes that have a bound, with it.
    #[must_use]
    pub fn bounds(&self) -> BTreeMap<Purpose, Bounds> {
        let bounded =
            self.by_purpose().into_iter().filter(|(_, second, day, share)| (second | day | share) > 0);
        let bounds = bounded.map(|(purpose, second, day, share)| {
            let bounds = Bounds {
                per_second: if second == 0 { u32::MAX } else { second },
                per_day: if day == 0 { u64::MAX } else { day.into() },
                per_account_and_day: (share > 0).then_some(share.into()),
            };
            (purpose, bounds)
        });
        bounds.collect()
    }
}

/// What opening the keys needs.
pub(super) fn check(config: &Config) -> Result<(), ConfigError> {
    let keys = &config.keys;
    let Some(holder) = keys.holder() else {
        return bad("keys.custody", "`file`, `pkcs11` or `process`");
    };
    let is_set = |path: &PathBuf| !path.as_os_str().is_empty();
    let openers = [
        ("keys.passphrase_file", is_set(&keys.passphrase_file)),
        ("keys.identity_file", is_set(&keys.identity_file)),
        ("keys.passphrase", !keys.passphrase.is_empty()),
    ];
    if openers.iter().filter(|(_, set)| *set).count() > 1 {
        let (key, _) = openers.into_iter().find(|(_, set)| *set).unwrap_or(openers[0]);
        return bad(
            key,
            "the only one of `keys.passphrase`, `keys.passphrase_file` and `keys.identity_file`",
        );
    }
    match holder {
        Holder::File => {}
        Holder::Pkcs11 => token(config)?,
        Holder::Process if !is_set(&keys.socket) => {
            return bad("keys.socket", "the place of the custody process's socket");
        }
        Holder::Process => {}
    }
    if !keys.socket_uid.is_empty() && keys.socket_uid.parse::<u32>().is_err() {
        return bad("keys.socket_uid", "a user id as `id -u NAME` prints it, or empty");
    }
    if keys.allowed_uids.iter().any(|uid| uid.parse::<u32>().is_err()) {
        return bad("keys.allowed_uids", "a list of user ids as `id -u NAME` prints them, each in quotes");
    }
    budget(config, holder)
}

fn token(config: &Config) -> Result<(), ConfigError> {
    let Pkcs11 { module, token, pin, pin_file, sessions, audit_command: _ } = &config.pkcs11;
    if module.as_os_str().is_empty() {
        return bad("pkcs11.module", "the shared library that came with the HSM");
    }
    if token.is_empty() {
        return bad("pkcs11.token", "the token's label");
    }
    match (pin.is_empty(), pin_file.as_os_str().is_empty()) {
        (true, true) => bad("pkcs11.pin_file", "a file of mode 0600 with the PIN"),
        (false, false) => bad("pkcs11.pin_file", "empty when `pkcs11.pin` is set"),
        _ if *sessions == 0 => bad("pkcs11.sessions", "at least 1"),
        _ => Ok(()),
    }
}

fn budget(config: &Config, holder: Holder) -> Result<(), ConfigError> {
    for (purpose, second, day, share) in config.budget.by_purpose() {
        let name = match purpose {
            Purpose::CredentialUser | Purpose::CredentialAuth => "credential",
            purpose => purpose.name(),
        };
        let set = [("second", second), ("day", day), ("account", share)];
        let Some((part, _)) = set.into_iter().find(|(_, bound)| *bound > 0) else { continue };
        if holder == Holder::Process {
            let wanted = "0 where `keys.custody` is `process`: the budget belongs to the custody process's configuration";
            return bad(&format!("budget.{name}_per_{part}"), wanted);
        }
        let least = u32::try_from(STEP_PAIRS).unwrap_or(u32::MAX);
        let pairs = [("day", day), ("account", share)];
        if purpose == Purpose::Pair
            && let Some((part, _)) = pairs.into_iter().find(|(_, bound)| (1..least).contains(bound))
        {
            let wanted =
                format!("at least {least}, which is what one step of an import needs, or 0 for no bound");
            return bad(&format!("budget.{name}_per_{part}"), &wanted);
        }
        if day > 0 && config.budget.file.as_os_str().is_empty() {
            return bad(
                "budget.file",
                "set where a day's budget is: without it a restart gives all of it back",
            );
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(change: impl FnOnce(&mut Config)) -> String {
        let mut config = Config::default();
        change(&mut config);
        check(&config).map_or_else(|error| error.to_string(), |()| String::new())
    }

    fn hsm(config: &mut Config) {
        config.keys.custody = "pkcs11".into();
        config.pkcs11.module = "/usr/lib/hsm.so".into();
        config.pkcs11.token = "acquaint".into();
        config.pkcs11.pin_file = "pin".into();
    }

    #[test]
    fn what_is_wrong_is_told_by_its_key() {
        assert_eq!(refused(|_| {}), "");
        assert_eq!(refused(hsm), "");
        let with = |key: &str, change: fn(&mut Config)| {
            let told = refused(change);
            assert!(told.contains(&format!("`{key}` must be")), "{key}: {told}");
        };
        with("keys.custody", |config| config.keys.custody = "cheese".into());
        with("keys.socket", |config| config.keys.custody = "process".into());
        with("keys.socket_uid", |config| config.keys.socket_uid = "acquaint".into());
        with("keys.allowed_uids", |config| config.keys.allowed_uids = vec!["1".into(), "-1".into()]);
        with("keys.passphrase_file", |config| {
            config.keys.passphrase_file = "a".into();
            config.keys.identity_file = "b".into();
        });
        with("keys.identity_file", |config| {
            config.keys.passphrase = "six words".into();
            config.keys.identity_file = "b".into();
        });
        with("pkcs11.module", |config| config.keys.custody = "pkcs11".into());
        let lacking = |key: &str, change: fn(&mut Config)| {
            let told = refused(|config| {
                hsm(config);
                change(config);
            });
            assert!(told.contains(&format!("`{key}` must be")), "{key}: {told}");
        };
        lacking("pkcs11.token", |config| config.pkcs11.token.clear());
        lacking("pkcs11.pin_file", |config| config.pkcs11.pin_file = PathBuf::new());
        lacking("pkcs11.pin_file", |config| config.pkcs11.pin = "4711".into());
        lacking("pkcs11.sessions", |config| config.pkcs11.sessions = 0);
        with("budget.file", |config| config.budget.seal_per_day = 1);
        with("budget.pair_per_account", |config| config.budget.pair_per_account = 31);
        with("budget.pair_per_day", |config| config.budget.pair_per_day = 1);
        assert_eq!(refused(|config| config.budget.pair_per_account = 32), "");
        with("budget.pair_per_account", |config| {
            config.keys.custody = "process".into();
            config.keys.socket = "socket".into();
            config.budget.pair_per_account = 1;
        });
    }

    #[test]
    fn a_part_of_a_budget_that_is_0_is_no_bound() {
        assert!(Budget::default().bounds().is_empty());
        let budget = Budget { pair_per_account: 7, seal_per_second: 3, code_per_day: 5, ..Budget::default() };
        let bounds = budget.bounds();
        assert_eq!(bounds.len(), 3);
        let all =
            |second, day, share| Bounds { per_second: second, per_day: day, per_account_and_day: share };
        assert_eq!(bounds[&Purpose::Pair], all(u32::MAX, u64::MAX, Some(7)));
        assert_eq!(bounds[&Purpose::Seal], all(3, u64::MAX, None));
        assert_eq!(bounds[&Purpose::Code], all(u32::MAX, 5, None));
    }
}
