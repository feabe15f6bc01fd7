//! Private lookup in the directory.

use std::path::PathBuf;
use std::time::Duration;

use acquaint_protocol::lookup::most_account_bytes;
use acquaint_service::directory::{PrivatePolicy, ShardRange};
use serde::{Deserialize, Serialize};

use super::check::bad;
use super::{Config, ConfigError};

/// Private lookup: identifiers are resolved to accounts, and the service learns neither.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct PrivateLookup {
    /// Answer private set membership: who looks up learns of the identifier that they ask for, and of no other.
    pub psm: bool,
    /// Answer private information retrieval: who looks up can read some records of others beside.
    pub pir: bool,
    /// Answer a back end in the clear, which tells this service who is asked for.
    pub plain: bool,
    /// How many records a shard has at the most, about.
    pub shard_records: u32,
    /// Have tables for whole address books too: faster for those, and 3.6 times the memory.
    pub batches: bool,
    /// The shards that this server holds, as `0-15`; empty for all.
    pub shards: String,
    /// Which server has which shards, as `0-15 https://a.contacts.example`; empty if each has all.
    pub servers: Vec<String>,
    /// A folder for files of shards, so that a start does not build them anew; empty for none. Relative to the
    /// configuration file's folder.
    pub files: PathBuf,
    /// Queries in one request.
    pub max_queries: u32,
    /// Memory for evaluation keys; a session's take 3.6 MiB.
    pub keys_memory_mib: u32,
    /// How long evaluation keys are kept.
    pub keys_hours: u32,
    /// How long a pass over a shard waits for further queries.
    pub gather_ms: u32,
}

impl Default for PrivateLookup {
    fn default() -> Self {
        Self {
            psm: false,
            pir: false,
            plain: false,
            shard_records: 1 << 20,
            batches: false,
            shards: String::new(),
            servers: Vec::new(),
            files: PathBuf::new(),
            max_queries: 64,
            keys_memory_mib: 1024,
            keys_hours: 24,
            gather_ms: 3,
        }
    }
}

/// What the service is told. What is out of range is refused by [`check`].
pub(super) fn policy(config: &Config) -> PrivatePolicy {
    let private = &config.private_lookup;
    PrivatePolicy {
        psm: private.psm,
        pir: private.pir,
        shard_records: private.shard_records,
        batches: private.batches,
        held: range(&private.shards),
        shard_bits: shard_bits(&private.servers),
        servers: private.servers.iter().filter_map(|entry| server(entry)).collect(),
        files: (!private.files.as_os_str().is_empty()).then(|| private.files.clone()),
        max_queries: u16::try_from(private.max_queries).unwrap_or(u16::MAX),
        keys_memory: u64::from(private.keys_memory_mib) << 20,
        keys_ttl: Duration::from_secs(3600) * private.keys_hours,
        gather: Duration::from_millis(private.gather_ms.into()),
        plain: private.plain,
    }
}

/// `0-15`.
fn range(text: &str) -> Option<(u32, u32)> {
    let (first, last) = text.split_once('-')?;
    let (first, last) = (first.parse().ok()?, last.parse().ok()?);
    (first <= last).then_some((first, last))
}

/// `0-15 https://a.contacts.example`.
fn server(entry: &str) -> Option<ShardRange> {
    let (shards, url) = entry.split_once(' ')?;
    let (first, last) = range(shards)?;
    let fits = url.len() <= 255 && url.bytes().all(|byte| byte.is_ascii_graphic());
    let is_http = url.starts_with("https://") || url.starts_with("http://");
    (fits && is_http).then(|| ShardRange { first, last, url: url.trim_end_matches('/').to_owned() })
}

/// The logarithm of how many shards the servers have together, if they have each of a power of two once.
fn shard_bits(servers: &[String]) -> Option<u8> {
    let mut ranges: Vec<_> = servers.iter().map(|entry| server(entry)).collect::<Option<_>>()?;
    ranges.sort_unstable_by_key(|range| range.first);
    let mut next = 0;
    for range in &ranges {
        if range.first != next {
            return None;
        }
        next = range.last.checked_add(1)?;
    }
    let bits = u8::try_from(next.checked_ilog2()?).ok()?;
    (next.is_power_of_two() && bits <= 16).then_some(bits)
}

pub(super) fn check(config: &Config) -> Result<(), ConfigError> {
    let private = &config.private_lookup;
    let is_on = private.psm || private.pir;
    if is_on && config.directory.provider.is_empty() {
        return bad("directory.provider", "set where `private_lookup.psm` or `private_lookup.pir` is");
    }
    if private.plain && !is_on {
        return bad(
            "private_lookup.plain",
            "false unless `private_lookup.psm` or `private_lookup.pir` is true",
        );
    }
    let most = most_account_bytes(&config.directory.provider);
    if is_on && usize::try_from(config.directory.account_bytes).is_ok_and(|bytes| bytes > most) {
        return bad(
            "directory.account_bytes",
            &format!(
                "at most {most} where `private_lookup.psm` or `private_lookup.pir` is true: a record has 111 bytes for \
                 an account's name and `directory.provider`"
            ),
        );
    }
    if is_on && config.http.max_body_kib < 1024 {
        return bad(
            "http.max_body_kib",
            "at least 1024 where `private_lookup.psm` or `private_lookup.pir` is true: evaluation keys have 1,000 KiB",
        );
    }
    if !private.shards.is_empty() && range(&private.shards).is_none() {
        return bad("private_lookup.shards", "the first and the last shard, as `0-15`; empty for all");
    }
    if private.servers.iter().any(|entry| server(entry).is_none()) {
        return bad(
            "private_lookup.servers",
            "for each server its first and last shard and its URL, as `0-15 https://a.contacts.example`",
        );
    }
    if !private.servers.is_empty() && shard_bits(&private.servers).is_none() {
        return bad(
            "private_lookup.servers",
            "2, 4, 8 … shards, each at one server: the first range begins at 0 and the others follow without gaps, as \
             `0-15 https://a.contacts.example`, `16-31 https://b.contacts.example`",
        );
    }
    let own = range(&private.shards);
    let are_told = own.is_none_or(|(first, last)| {
        let servers = private.servers.iter().filter_map(|entry| server(entry));
        servers.into_iter().any(|told| told.first >= first && told.last <= last)
    });
    if !private.servers.is_empty() && !are_told {
        return bad("private_lookup.shards", "those that one of `private_lookup.servers` is said to have");
    }
    if !private.shards.is_empty() && private.servers.is_empty() {
        return bad(
            "private_lookup.servers",
            "set where `private_lookup.shards` is: clients must know whom to ask",
        );
    }
    for (key, value, least, most) in [
        ("private_lookup.shard_records", private.shard_records, 10, 16_000_000),
        ("private_lookup.max_queries", private.max_queries, 1, 256),
        ("private_lookup.keys_memory_mib", private.keys_memory_mib, 16, u32::MAX),
        ("private_lookup.keys_hours", private.keys_hours, 1, 24),
        ("private_lookup.gather_ms", private.gather_ms, 0, 100),
    ] {
        if !(least..=most).contains(&value) {
            let wanted = match most {
                u32::MAX => format!("at least {least}"),
                _ => format!("{least} to {most}"),
            };
            return bad(key, &wanted);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(change: impl FnOnce(&mut Config)) -> String {
        let mut config = Config::default();
        config.directory.provider = "contacts.example".into();
        config.private_lookup.psm = true;
        change(&mut config);
        check(&config).map_or_else(|error| error.to_string(), |()| String::new())
    }

    #[test]
    fn what_is_wrong_is_told_by_its_key() {
        assert_eq!(refused(|_| {}), "");
        assert!(refused(|config| config.directory.provider.clear()).contains("`directory.provider`"));
        assert!(refused(|config| config.directory.provider = "p".repeat(72)).contains("at most 39"));
        assert!(refused(|config| config.directory.account_bytes = 96).contains("`directory.account_bytes`"));
        for gap in [vec!["0-1 https://a", "3-4 https://b"], vec!["0-2 https://a"], vec!["1-2 https://a"]] {
            let told =
                refused(|config| config.private_lookup.servers = gap.iter().map(|s| (*s).into()).collect());
            assert!(told.contains("without gaps"), "{gap:?}: {told}");
        }
        let strange = |config: &mut Config| {
            config.private_lookup.servers = vec!["0-1 https://a".into(), "2-3 https://b".into()];
            config.private_lookup.shards = "1-2".into();
        };
        assert!(refused(strange).contains("`private_lookup.shards`"));
        assert!(refused(|config| config.http.max_body_kib = 1023).contains("`http.max_body_kib`"));
        assert!(refused(|config| config.private_lookup.max_queries = 257).contains("1 to 256"));
        assert!(refused(|config| config.private_lookup.keys_hours = 25).contains("1 to 24"));
        assert!(
            refused(|config| config.private_lookup.shards = "3-1".into()).contains("`private_lookup.shards`")
        );
        for bad in ["0-1", "0-1 ftp://a", "1 https://a", "2-1 https://a", "0-1 https://a b"] {
            let told = refused(|config| config.private_lookup.servers = vec![bad.into()]);
            assert!(told.contains("`private_lookup.servers`"), "{bad}");
        }
        let alone = |config: &mut Config| config.private_lookup.shards = "0-1".into();
        assert!(refused(alone).contains("`private_lookup.servers`"));
        let plain = |config: &mut Config| {
            config.private_lookup.psm = false;
            config.private_lookup.plain = true;
        };
        assert!(refused(plain).contains("`private_lookup.plain`"));
    }

    #[test]
    fn servers_and_their_shards_are_read() {
        let mut config = Config::default();
        config.private_lookup.shards = "0-15".into();
        config.private_lookup.servers =
            vec!["0-15 https://a.example/".into(), "16-31 https://b.example".into()];
        let policy = policy(&config);
        assert_eq!((policy.held, policy.shard_bits), (Some((0, 15)), Some(5)));
        let range = |first, last, url: &str| ShardRange { first, last, url: url.into() };
        assert_eq!(policy.servers, [range(0, 15, "https://a.example"), range(16, 31, "https://b.example")]);
    }
}
