//! Credentials for discovery services, what lookups cost, and the audit log.

use acquaint_protocol::credential::CredentialFormat;
use acquaint_protocol::identifier::AccountFormat;
use acquaint_service::Audience;
use serde::{Deserialize, Serialize};

use super::check::bad;
use super::{Config, ConfigError, Secret, delivery};

/// Credentials for discovery services.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct Credentials {
    /// For whom credentials are issued and checked: `NAME:NUMBER`, the number of the audience's keys.
    pub audiences: Vec<String>,
    /// For whom credentials are only checked: `NAME:NUMBER`.
    pub accepted: Vec<String>,
    /// How long credentials are good for.
    pub ttl_s: u32,
    /// Bytes of a username.
    pub username_bytes: u32,
    /// Repeat the username in the password.
    pub username_in_password: bool,
    /// Sign with all 32 bytes in place of 10.
    pub whole_signatures: bool,
    /// Issue to accounts only that have verified a number here.
    pub need_verified_number: bool,
    /// Credentials for one account.
    pub account: u32,
    /// How many of them come back a day.
    pub account_per_day: u32,
    /// Credentials for one address prefix; 0 is no limit.
    pub prefix: u32,
    /// How many of them come back a day.
    pub prefix_per_day: u32,
    /// Credentials for the accounts of one provider of sessions; 0 is no limit.
    pub provider: u32,
    /// How many of them come back a day.
    pub provider_per_day: u32,
    /// Credentials in total; 0 is no limit.
    pub all: u32,
    /// How many of them come back a day.
    pub all_per_day: u32,
}

/// What lookups cost.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct Lookups {
    /// New identifiers that everybody may look up, exempt from all limits but this.
    pub guaranteed: u32,
    /// How many of them come back a day.
    pub guaranteed_per_day: u32,
    /// New identifiers beyond, for an account with a verified number.
    pub account: u32,
    /// How many of them come back a day.
    pub account_per_day: u32,
    /// The same for one address prefix; 0 is no limit.
    pub prefix: u32,
    /// How many of them come back a day.
    pub prefix_per_day: u32,
    /// The same for the accounts of one provider of sessions, or of one audience; 0 is no limit.
    pub provider: u32,
    /// How many of them come back a day.
    pub provider_per_day: u32,
    /// The same in total; 0 is no limit.
    pub all: u32,
    /// How many of them come back a day.
    pub all_per_day: u32,
    /// Queries of one account.
    pub queries: u32,
    /// How many of them come back a day.
    pub queries_per_day: u32,
    /// Who issues the credentials that are accepted here does so to accounts with a verified number only.
    pub credentials_prove_number: bool,
    /// How long the same request is free again.
    pub repeat_s: u32,
    /// How long an account counts as one with a verified number, from its last verification on; 0 for never.
    pub number_days: u32,
    /// How many accounts one number can make such ones within that time.
    pub accounts_of_number: u32,
}

/// What is read of the network.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Network {
    /// A Jetstream of the AT network, as `wss://jetstream2.us-east.bsky.network/subscribe`; empty for none.
    pub jetstream_url: String,
}

/// The audit log.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct Audit {
    /// How long events are kept.
    pub keep_days: u32,
    /// Where each event is posted to; empty for nowhere.
    pub webhook_url: String,
    /// Signs what is posted: `whsec_` and base64 of 24 to 64 bytes.
    pub webhook_secret: Secret,
}

impl Default for Credentials {
    fn default() -> Self {
        Self {
            audiences: Vec::new(),
            accepted: Vec::new(),
            ttl_s: 86_400,
            username_bytes: 10,
            username_in_password: false,
            whole_signatures: false,
            need_verified_number: false,
            account: 100,
            account_per_day: 96,
            prefix: 10_000,
            prefix_per_day: 10_000,
            provider: 0,
            provider_per_day: 0,
            all: 0,
            all_per_day: 0,
        }
    }
}

impl Default for Lookups {
    fn default() -> Self {
        Self {
            guaranteed: 50,
            guaranteed_per_day: 50,
            account: 50_000,
            account_per_day: 144,
            prefix: 250_000,
            prefix_per_day: 25_000,
            provider: 0,
            provider_per_day: 0,
            all: 0,
            all_per_day: 0,
            queries: 4_096,
            queries_per_day: 4_096,
            credentials_prove_number: false,
            repeat_s: 86_400,
            number_days: 365,
            accounts_of_number: 2,
        }
    }
}

impl Default for Audit {
    fn default() -> Self {
        Self { keep_days: 365, webhook_url: String::new(), webhook_secret: Secret::default() }
    }
}

impl Credentials {
    /// The audiences, those first that credentials are issued for. What is not of the form is left out:
    /// [`Config::load`] refuses it.
    #[must_use]
    pub fn all_audiences(&self) -> Vec<Audience> {
        let issued = self.audiences.iter().filter_map(|text| audience(text, true));
        issued.chain(self.accepted.iter().filter_map(|text| audience(text, false))).collect()
    }

    /// How they are written; `None` if `username_bytes` is out of range.
    #[must_use]
    pub fn format(&self) -> Option<CredentialFormat> {
        let mut format = CredentialFormat::derived(usize::try_from(self.username_bytes).ok()?)?;
        if self.username_in_password {
            format = format.with_username_in_password();
        }
        Some(if self.whole_signatures { format.with_whole_signatures() } else { format })
    }
}

/// `NAME:NUMBER`: letters, digits, `-`, `_` and `.`, at most 64; a number from 1.
fn audience(text: &str, issues: bool) -> Option<Audience> {
    let (name, number) = text.split_once(':')?;
    let number = number.parse().ok().filter(|number| *number > 0)?;
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let named = (1..=64).contains(&name.len()) && name.bytes().all(good);
    named.then(|| Audience { name: name.into(), number, issues })
}

pub(super) fn check(config: &Config) -> Result<(), ConfigError> {
    let credentials = &config.credentials;
    for (key, list) in
        [("credentials.audiences", &credentials.audiences), ("credentials.accepted", &credentials.accepted)]
    {
        if list.iter().any(|text| audience(text, true).is_none()) {
            return bad(
                key,
                "a list of `NAME:NUMBER`, as `discovery:1`; `acquaint keys audience` makes the keys and says the number",
            );
        }
    }
    let mut numbers: Vec<u32> = credentials.all_audiences().iter().map(|audience| audience.number).collect();
    let all = numbers.len();
    numbers.sort_unstable();
    numbers.dedup();
    if numbers.len() < all {
        return bad(
            "credentials.audiences",
            "free of repeated numbers, also with `credentials.accepted`: with the same keys, two audiences could tell who is the same account",
        );
    }
    if credentials.format().is_none() {
        return bad("credentials.username_bytes", "10 to 32");
    }
    for (key, value) in [
        ("credentials.ttl_s", credentials.ttl_s),
        ("credentials.account", credentials.account),
        ("audit.keep_days", config.audit.keep_days),
    ] {
        if value == 0 {
            return bad(key, "at least 1");
        }
    }
    // Else what is spent never comes back, and nobody can be told when.
    let (http, lookups) = (&config.http, &config.lookups);
    for (key, capacity, per_day) in [
        ("credentials.account_per_day", credentials.account, credentials.account_per_day),
        ("credentials.prefix_per_day", credentials.prefix, credentials.prefix_per_day),
        ("credentials.provider_per_day", credentials.provider, credentials.provider_per_day),
        ("credentials.all_per_day", credentials.all, credentials.all_per_day),
        ("lookups.guaranteed_per_day", lookups.guaranteed, lookups.guaranteed_per_day),
        ("lookups.account_per_day", lookups.account, lookups.account_per_day),
        ("lookups.prefix_per_day", lookups.prefix, lookups.prefix_per_day),
        ("lookups.provider_per_day", lookups.provider, lookups.provider_per_day),
        ("lookups.all_per_day", lookups.all, lookups.all_per_day),
        ("lookups.queries_per_day", lookups.queries, lookups.queries_per_day),
        ("lookups.accounts_of_number", lookups.number_days, lookups.accounts_of_number),
        ("http.account_calls_per_day", http.account_calls, http.account_calls_per_day),
        ("http.prefix_calls_per_day", http.prefix_calls, http.prefix_calls_per_day),
        ("http.prefix_failures_per_day", http.prefix_failures, http.prefix_failures_per_day),
    ] {
        if capacity > 0 && per_day == 0 {
            return bad(key, "at least 1");
        }
    }
    network(config)?;
    let audit = &config.audit;
    if audit.webhook_url.is_empty() {
        return Ok(());
    }
    delivery::endpoint("audit.webhook_url", &audit.webhook_url)?;
    delivery::signing_secret("audit.webhook_secret", &audit.webhook_secret)
}

fn network(config: &Config) -> Result<(), ConfigError> {
    let url = &config.network.jetstream_url;
    if url.is_empty() {
        return Ok(());
    }
    if config.account_format != AccountFormat::Did {
        return bad("network.jetstream_url", "empty unless `account_format` is `did`");
    }
    let parsed = url.parse::<http::Uri>().ok();
    let host = parsed.as_ref().and_then(http::Uri::host).unwrap_or_default();
    let good = match parsed.as_ref().and_then(http::Uri::scheme_str) {
        Some("wss") => !host.is_empty(),
        // In clear only where nobody is in between.
        Some("ws") => matches!(host, "localhost" | "[::1]") || host.starts_with("127."),
        _ => false,
    };
    if good {
        return Ok(());
    }
    bad(
        "network.jetstream_url",
        "a URL of a WebSocket, as `wss://jetstream2.us-east.bsky.network/subscribe` (`ws://` on loopback only)",
    )
}

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
        for text in ["discovery", "discovery:", ":1", "discovery:0", "discovery:-1", "dis covery:1", "a:1:2"]
        {
            let told = refused(|config| config.credentials.audiences = vec![text.into()]);
            assert!(told.contains("`credentials.audiences`"), "{text}: {told}");
        }
        assert!(
            refused(|config| config.credentials.accepted = vec!["x".into()])
                .contains("`credentials.accepted`")
        );
        let told = refused(|config| {
            config.credentials.audiences = vec!["a:1".into()];
            config.credentials.accepted = vec!["b:1".into()];
        });
        assert!(told.contains("repeated numbers"), "{told}");
        for bytes in [0, 9, 33] {
            assert!(
                refused(|config| config.credentials.username_bytes = bytes)
                    .contains("`credentials.username_bytes`")
            );
        }
        assert!(refused(|config| config.credentials.ttl_s = 0).contains("`credentials.ttl_s`"));
        assert!(refused(|config| config.audit.keep_days = 0).contains("`audit.keep_days`"));
        assert!(
            refused(|config| config.credentials.account_per_day = 0)
                .contains("`credentials.account_per_day`")
        );
        assert!(refused(|config| config.lookups.all = 1).contains("`lookups.all_per_day`"));
        assert!(
            refused(|config| config.audit.webhook_url = "http://example.org/".into())
                .contains("`audit.webhook_url`")
        );
        assert!(
            refused(|config| config.audit.webhook_url = "https://example.org/".into())
                .contains("`audit.webhook_secret`")
        );
        for url in ["https://example.org/", "ws://example.org/subscribe", "wss://", "jetstream"] {
            let told = refused(|config| config.network.jetstream_url = url.into());
            assert!(told.contains("`network.jetstream_url`"), "{url}: {told}");
        }
        let told = refused(|config| {
            config.account_format = AccountFormat::Opaque;
            config.network.jetstream_url = "wss://example.org/subscribe".into();
        });
        assert!(told.contains("`account_format`"), "{told}");
        let right = |config: &mut Config| {
            config.network.jetstream_url = "ws://127.0.0.1:6008/subscribe".into();
            config.credentials.audiences = vec!["discovery:2".into(), "discovery:1".into()];
            config.credentials.accepted = vec!["other.example:7".into()];
            config.credentials.username_bytes = 32;
        };
        assert_eq!(refused(right), "");
    }

    #[test]
    fn issuing_audiences_come_first() {
        let credentials = Credentials {
            audiences: vec!["b:2".into()],
            accepted: vec!["a:1".into()],
            ..Credentials::default()
        };
        let names = credentials.all_audiences().into_iter().map(|audience| (audience.name, audience.issues));
        assert_eq!(names.collect::<Vec<_>>(), [("b".to_owned(), true), ("a".to_owned(), false)]);
    }
}
