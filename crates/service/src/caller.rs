//! Who calls for themselves, and the keyed hashes that limits and the audit log know them by.

use std::net::IpAddr;

use acquaint_custody::{KeyCustody, Purpose, newest};
use acquaint_protocol::identifier::AccountId;
use acquaint_store::{AuditId, Exhausted, Limit, Permit, Pseudonym};

use crate::Discovery;
use crate::account::PSEUDONYM_V1;
use crate::error::{Internal, RateLimited};

/// First bytes of what the account key hashes (1 is a pseudonym's, 2 a notice's key).
const AUDIT_V1: u8 = 3;
const PREFIX_V1: u8 = 4;
const PROVIDER_V1: u8 = 5;

/// An account that has shown who it is.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Which.
    pub account: AccountId,
    /// Who stands for it: the kind of session, or the back end that vouches for it.
    pub provider: String,
    /// Where the call comes from, if that tells one person from another.
    pub address: Option<IpAddr>,
}

impl Discovery {
    /// Counts a call of somebody who has shown who they are, so that none of them holds up the others.
    ///
    /// # Errors
    /// [`RateLimited`].
    pub fn count_call(&self, caller: &Caller) -> Result<(), RateLimited> {
        let (policy, now) = (&self.policy, self.clock.now());
        let name = caller.account.as_str().as_bytes();
        let mut permits = vec![policy.account_calls.permit(Limit::AccountCalls, name, 1)];
        if let Some(address) = caller.address {
            permits.push(policy.prefix_calls.permit(Limit::PrefixCalls, &prefix(address), 1));
        }
        permits.retain(|permit| permit.capacity > 0);
        self.limiter.take(&permits, now).map_err(too_many)
    }

    /// Counts somebody who has not shown who they are and asks for something that costs: what it would take to look into it.
    /// Returns what gives that back once they have.
    ///
    /// # Errors
    /// [`RateLimited`].
    pub fn count_stranger(&self, address: IpAddr) -> Result<Stranger<'_>, RateLimited> {
        let now = self.clock.now();
        let permit = self.policy.prefix_failures.permit(Limit::PrefixFailures, &prefix(address), 1);
        if permit.capacity > 0 {
            self.limiter.take(std::slice::from_ref(&permit), now).map_err(too_many)?;
        }
        Ok(Stranger { discovery: self, permit })
    }
}

/// Somebody who is looked into.
pub struct Stranger<'a> {
    discovery: &'a Discovery,
    permit: Permit,
}

impl Stranger<'_> {
    /// They have shown who they are.
    pub fn is_known(self) {
        self.discovery.limiter.give_back(&self.permit, self.discovery.clock.now());
    }
}

pub(crate) fn too_many(exhausted: Exhausted) -> RateLimited {
    metrics::counter!("acquaint_calls_refused_total", "limit" => exhausted.limit.name()).increment(1);
    RateLimited { what: "too many calls: try again later", retry_at: exhausted.retry_at }
}

/// A caller as limits and the audit log know it; 16 bytes each.
#[derive(Clone, Copy)]
pub(crate) struct Tags {
    pub(crate) account: Pseudonym,
    pub(crate) audit: AuditId,
    pub(crate) provider: [u8; 16],
    pub(crate) prefix: Option<[u8; 16]>,
}

/// All of it in one call of custody.
pub(crate) fn tags(custody: &dyn KeyCustody, caller: &Caller) -> Result<Tags, Internal> {
    let name = caller.account.as_str().as_bytes();
    let account = [&[PSEUDONYM_V1], name].concat();
    let audit = [&[AUDIT_V1], name].concat();
    let provider = [&[PROVIDER_V1], caller.provider.as_bytes()].concat();
    let prefix = caller.address.map(prefix_input);
    let mut inputs = vec![account.as_slice(), &audit, &provider];
    inputs.extend(prefix.as_deref());
    let made = cut(custody, &inputs)?;
    match made.as_slice() {
        [account, audit, provider, prefix @ ..] => Ok(Tags {
            account: Pseudonym::from_bytes(*account),
            audit: AuditId::from_bytes(*audit),
            provider: *provider,
            prefix: prefix.first().copied(),
        }),
        _ => Err(Internal::Unreadable("custody gave no hash")),
    }
}

/// The account's name in the audit log.
pub(crate) fn audit_id(custody: &dyn KeyCustody, account: &AccountId) -> Result<AuditId, Internal> {
    let input = [&[AUDIT_V1], account.as_str().as_bytes()].concat();
    let made = cut(custody, &[&input])?;
    made.first().map(|id| AuditId::from_bytes(*id)).ok_or(Internal::Unreadable("custody gave no hash"))
}

/// What an address prefix is hashed from.
pub(crate) fn prefix_input(address: IpAddr) -> Vec<u8> {
    [&[PREFIX_V1], prefix(address).as_slice()].concat()
}

/// HMACs under the account key, the first 16 bytes of each.
pub(crate) fn cut(custody: &dyn KeyCustody, inputs: &[&[u8]]) -> Result<Vec<[u8; 16]>, Internal> {
    let made = custody.hmac(newest(custody, Purpose::Account)?, inputs)?;
    Ok(made.iter().filter_map(|hash| hash.first_chunk().copied()).collect())
}

/// What one household or office has: 24 bits of IPv4, 56 of IPv6 (RFC 6177). An IPv4 address in IPv6 form counts as
/// IPv4.
fn prefix(address: IpAddr) -> Vec<u8> {
    match address.to_canonical() {
        IpAddr::V4(address) => [&[4], address.octets().get(..3).unwrap_or_default()].concat(),
        IpAddr::V6(address) => [&[6], address.octets().get(..7).unwrap_or_default()].concat(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_share_a_prefix_and_others_do_not() {
        let of = |text: &str| prefix(text.parse().unwrap());
        assert_eq!(of("198.51.100.1"), of("198.51.100.254"));
        assert_eq!(of("198.51.100.1"), of("::ffff:198.51.100.1"));
        assert_ne!(of("198.51.100.1"), of("198.51.101.1"));
        assert_eq!(of("2001:db8:1:200::1"), of("2001:db8:1:2ff:1::"));
        assert_ne!(of("2001:db8:1:200::1"), of("2001:db8:1:300::1"));
    }
}
