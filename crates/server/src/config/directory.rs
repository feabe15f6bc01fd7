//! The directory of those who want to be found, and the faces over it that other programs know.

use std::time::Duration;

use acquaint_protocol::bucket::weak::WeakLength;
use acquaint_protocol::identifier::AccountFormat;
use acquaint_service::Bucket;
use acquaint_service::directory::{DirectoryPolicy, WeakPolicy};
use serde::{Deserialize, Serialize};

use super::check::bad;
use super::{Config, ConfigError, private};

/// The directory.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct Directory {
    /// The name that this provider's keys are bound to, as `contacts.example`; empty for no directory. It never changes.
    pub provider: String,
    /// How many listings a bucket has at the least, on the average.
    pub candidates: u32,
    /// Bytes of an account's name in an entry; a change takes effect with the next key.
    pub account_bytes: u32,
    /// How long a listing lives after its identifier was verified.
    pub listing_ttl_days: u32,
    /// Listings of one account.
    pub listings_of_account: u32,
    /// Elements, prefixes or hashes in one request.
    pub max_batch: u32,
    /// Identifiers that may be opened in bulk.
    pub unsealings: u32,
    /// How many of them come back a day.
    pub unsealings_per_day: u32,
    /// How long a key is answered once there is a newer one.
    pub former_epoch_hours: u32,
}

/// The lookup of Rocket.Chat's page, as it is written.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct Rocketchat {
    /// Answer it. Whoever asks can read the numbers of those who are found, and of others.
    pub enabled: bool,
    /// Hexadecimal digits of a weak hash: 4 as the page says, or 6 as its example has.
    pub digits: u32,
    /// Weak hashes of one account.
    pub weak_hashes: u32,
    /// How many of them come back a day.
    pub weak_hashes_per_day: u32,
}

/// The lookup of Matrix's identity servers.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct Matrix {
    /// Answer it. This service can read what is asked for.
    pub enabled: bool,
    /// How long a pepper lives.
    pub pepper_hours: u32,
    /// Whose accounts may ask, as `example.org`; `*` for those of every homeserver.
    pub homeservers: Vec<String>,
    /// Ask homeservers at private addresses too, and by `http`; only on loopback, for tests.
    pub allow_private_addresses: bool,
}

impl Default for Directory {
    fn default() -> Self {
        Self {
            provider: String::new(),
            candidates: 100,
            account_bytes: 40,
            listing_ttl_days: 180,
            listings_of_account: 10,
            max_batch: 1_000,
            unsealings: 1_000_000,
            unsealings_per_day: 1_000_000,
            former_epoch_hours: 48,
        }
    }
}

impl Default for Rocketchat {
    fn default() -> Self {
        Self { enabled: false, digits: 6, weak_hashes: 2_000, weak_hashes_per_day: 1_000 }
    }
}

impl Default for Matrix {
    fn default() -> Self {
        Self { enabled: false, pepper_hours: 24, homeservers: Vec::new(), allow_private_addresses: false }
    }
}

/// What the service is told; `None` for no directory. What is out of range is refused by [`check`].
pub(crate) fn policy(config: &Config) -> Option<DirectoryPolicy> {
    let (directory, rocketchat, matrix) = (&config.directory, &config.rocketchat, &config.matrix);
    if directory.provider.is_empty() {
        return None;
    }
    let hours = |hours: u32| Duration::from_secs(3600) * hours;
    let short = |value: u32| u16::try_from(value).unwrap_or(u16::MAX);
    let digits = digits(rocketchat.digits).filter(|_| rocketchat.enabled);
    Some(DirectoryPolicy {
        provider: directory.provider.clone(),
        candidates: short(directory.candidates),
        account_bytes: short(directory.account_bytes),
        listing_ttl: hours(24) * directory.listing_ttl_days,
        listings_of_account: directory.listings_of_account,
        max_batch: short(directory.max_batch),
        unsealings: Bucket { capacity: directory.unsealings, per_day: directory.unsealings_per_day },
        former_epoch: hours(directory.former_epoch_hours),
        weak: digits.map(|digits| WeakPolicy {
            digits,
            account: Bucket { capacity: rocketchat.weak_hashes, per_day: rocketchat.weak_hashes_per_day },
        }),
        matrix: matrix.enabled.then(|| hours(matrix.pepper_hours)),
        private: private::policy(config),
    })
}

fn digits(digits: u32) -> Option<WeakLength> {
    WeakLength::new(u8::try_from(digits).ok()?)
}

pub(super) fn check(config: &Config) -> Result<(), ConfigError> {
    let (directory, rocketchat, matrix) = (&config.directory, &config.rocketchat, &config.matrix);
    let provider = directory.provider.as_bytes();
    if provider.len() > 255 || !provider.iter().all(|byte| byte.is_ascii_graphic()) {
        return bad("directory.provider", "at most 255 printable ASCII characters without spaces");
    }
    if provider.is_empty() && (rocketchat.enabled || matrix.enabled) {
        return bad("directory.provider", "set where `rocketchat.enabled` or `matrix.enabled` is");
    }
    if digits(rocketchat.digits).is_none() {
        return bad("rocketchat.digits", "4 or 6");
    }
    if matrix.enabled && config.account_format != AccountFormat::Opaque {
        return bad("matrix.enabled", "false unless `account_format` is `opaque`: Matrix ids are no DIDs");
    }
    if matrix.allow_private_addresses && !config.is_loopback() {
        return bad("matrix.allow_private_addresses", "false unless `listen` is a loopback address");
    }
    for (key, value, least, most) in [
        // A bucket's slots are counted in 16 bits, and it is to grow.
        ("directory.candidates", directory.candidates, 1, 10_000),
        ("directory.account_bytes", directory.account_bytes, 8, 2_048),
        ("directory.listing_ttl_days", directory.listing_ttl_days, 1, 3_650),
        ("directory.listings_of_account", directory.listings_of_account, 1, 1_000),
        ("directory.max_batch", directory.max_batch, 1, 10_000),
        ("directory.unsealings", directory.unsealings, 10_000, u32::MAX),
        ("directory.unsealings_per_day", directory.unsealings_per_day, 1, u32::MAX),
        ("directory.former_epoch_hours", directory.former_epoch_hours, 1, 8_760),
        ("rocketchat.weak_hashes", rocketchat.weak_hashes, 1, u32::MAX),
        ("rocketchat.weak_hashes_per_day", rocketchat.weak_hashes_per_day, 1, u32::MAX),
        ("matrix.pepper_hours", matrix.pepper_hours, 1, 8_760),
    ] {
        if !(least..=most).contains(&value) {
            let wanted = match most {
                u32::MAX => format!("at least {least}"),
                _ => format!("{least} to {most}"),
            };
            return bad(key, &wanted);
        }
    }
    // Of the largest bucket that so many candidates make (see `layout::choose`): more than a client takes.
    let slots = u64::from(directory.candidates) * 3 + 200;
    let bytes = u64::from(directory.max_batch) * slots * u64::from(directory.account_bytes + 16);
    if bytes > MOST_BYTES {
        return bad(
            "directory.max_batch",
            "lower: with these `directory.candidates` and `directory.account_bytes` an answer of so many buckets would \
             have more than 64 MiB",
        );
    }
    if matrix.enabled && matrix.homeservers.is_empty() {
        return bad(
            "matrix.homeservers",
            "the homeservers whose accounts may ask, as `example.org`; `*` for all, so that whoever has a domain has as \
             many accounts as they like",
        );
    }
    Ok(())
}

/// Bytes of an answer at most.
const MOST_BYTES: u64 = 64 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(change: impl FnOnce(&mut Config)) -> String {
        let mut config = Config::default();
        change(&mut config);
        check(&config).map_or_else(|error| error.to_string(), |()| String::new())
    }

    #[test]
    fn what_is_wrong_is_told_by_its_key() {
        assert_eq!(refused(|_| {}), "");
        assert!(refused(|config| config.directory.provider = "a b".into()).contains("`directory.provider`"));
        assert!(refused(|config| config.rocketchat.enabled = true).contains("`directory.provider`"));
        assert!(refused(|config| config.rocketchat.digits = 5).contains("`rocketchat.digits`"));
        let matrix = |config: &mut Config| {
            config.directory.provider = "contacts.example".into();
            config.matrix.enabled = true;
        };
        assert!(refused(matrix).contains("`matrix.enabled`"));
        assert!(refused(|config| config.directory.account_bytes = 7).contains("8 to 2048"));
        assert!(refused(|config| config.directory.unsealings = 9).contains("at least 10000"));
        let opaque = |config: &mut Config| {
            config.account_format = AccountFormat::Opaque;
            matrix(config);
        };
        assert!(refused(opaque).contains("`matrix.homeservers`"));
        let large = |config: &mut Config| config.directory.max_batch = 10_000;
        assert!(refused(large).contains("`directory.max_batch`"));
        let right = |config: &mut Config| {
            opaque(config);
            config.matrix.homeservers = vec!["*".into()];
            config.rocketchat.enabled = true;
        };
        assert_eq!(refused(right), "");
    }

    #[test]
    fn profiles_are_off_until_they_are_switched_on() {
        assert!(policy(&Config::default()).is_none());
        let mut config = Config::default();
        config.directory.provider = "contacts.example".into();
        let policy = policy(&config).unwrap();
        assert!(policy.weak.is_none() && policy.matrix.is_none());
    }
}
