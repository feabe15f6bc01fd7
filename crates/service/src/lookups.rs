//! What lookups cost, whatever face they come through: two meters for each account, one for new identifiers and one for
//! work.
//!
//! Everybody may look up some identifiers a day, whatever others do. Accounts that have verified an identifier have far
//! more, shared with their address prefix, with whom their provider stands for, and with all. What was paid for is free
//! again: where the service sees identifiers, by a receipt that the caller keeps; where it is blind, by asking the same
//! bytes under the same request id. Source: contracts of Signal's discovery service as `docs/threat-model.md` cites them.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use acquaint_custody::{CustodyError, Purpose};
use acquaint_protocol::identifier::Sii;
use acquaint_store::{
    AuditId, Charge, Charged, EventKind, Exhausted, Limit, Millis, NewEvent, PaidRequest, Permit, Pseudonym,
    RequestId,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::Discovery;
use crate::caller::{Caller, cut, prefix_input, tags, too_many};
use crate::codec::Reader;
use crate::error::{Internal, LookupError, RateLimited};
use crate::limiter::Refused;
use crate::policy::{Bucket, millis};

/// First byte of what the account key hashes into a holder of credentials (1 to 5 stand in `account.rs`, `notices.rs` and
/// `caller.rs`, 6 in `network.rs`) …
const HOLDER_V1: u8 = 7;
/// … and into its name in the audit log.
const HOLDER_AUDIT_V1: u8 = 8;
/// First byte of a receipt's content.
const RECEIPT_V1: u8 = 1;

/// The operator's choices for lookups.
#[derive(Debug, Clone)]
pub struct LookupPolicy {
    /// New identifiers that everybody may look up, exempt from all limits but this.
    pub guaranteed: Bucket,
    /// New identifiers beyond, for an account that has verified an identifier.
    pub account: Bucket,
    /// The same for one address prefix; no limit with a capacity of 0, as for the next two.
    pub prefix: Bucket,
    /// For all accounts for which one provider stands.
    pub provider: Bucket,
    /// In total.
    pub all: Bucket,
    /// Queries: work, whatever is asked for.
    pub queries: Bucket,
    /// Whether who comes with credentials has verified an identifier, because they are issued to no others.
    pub credentials_prove_identifier: bool,
    /// How long a repeated request is free.
    pub repeat: Duration,
    /// How long an account counts as one with a verified number, from its last verification on; zero for never.
    pub proof: Duration,
    /// How many accounts one number can make such ones within that time.
    pub accounts_of_number: u32,
}

impl Default for LookupPolicy {
    /// Signal's 50,000 leaking 6 an hour; 50 a day for everybody; four address books of 1,024 padded queries a day.
    fn default() -> Self {
        Self {
            guaranteed: Bucket { capacity: 50, per_day: 50 },
            account: Bucket { capacity: 50_000, per_day: 144 },
            prefix: Bucket { capacity: 250_000, per_day: 25_000 },
            provider: Bucket { capacity: 0, per_day: 0 },
            all: Bucket { capacity: 0, per_day: 0 },
            queries: Bucket { capacity: 4_096, per_day: 4_096 },
            credentials_prove_identifier: false,
            repeat: Duration::from_secs(24 * 60 * 60),
            proof: Duration::ZERO,
            accounts_of_number: 2,
        }
    }
}

/// Who looks up, as the limits know them.
#[derive(Clone, Copy)]
pub struct Seeker {
    account: Pseudonym,
    audit: AuditId,
    provider: [u8; 16],
    prefix: Option<[u8; 16]>,
    has_identifier: bool,
}

impl Seeker {
    /// Whose meters they are.
    pub(crate) fn account(&self) -> Pseudonym {
        self.account
    }
}

/// What a lookup is charged for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bill {
    /// Identifiers that were not paid for yet.
    pub identifiers: u32,
    /// Queries to answer.
    pub queries: u32,
    /// The request's id, drawn by the caller, and SHA-256 of all that it asks: the same again is free.
    pub request: Option<([u8; 16], [u8; 32])>,
}

/// How much of a meter is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Meter {
    /// What it holds.
    pub capacity: u32,
    /// What comes back in a day.
    pub per_day: u32,
    /// What is left now, rounded down.
    pub left: u32,
}

/// The meters of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// New identifiers that nobody can take away.
    pub guaranteed: Meter,
    /// New identifiers beyond; `None` for who has verified no identifier.
    pub identifiers: Option<Meter>,
    /// Queries.
    pub queries: Meter,
}

impl Discovery {
    /// A caller with a session, who looks up. Where this service issues credentials for lookups, the account has the meters
    /// of their holder, so that it has one set and no more.
    ///
    /// # Errors
    /// When custody or the store fails.
    pub async fn seeker(&self, caller: &Caller) -> Result<Seeker, Internal> {
        let tags = tags(&*self.custody, caller)?;
        let has_identifier = self.has_number(tags.account).await?;
        let own = Seeker {
            account: tags.account,
            audit: tags.audit,
            provider: tags.provider,
            prefix: tags.prefix,
            has_identifier,
        };
        match self.lookup_username(&caller.account)? {
            Some((audience, username)) => {
                let holder = self.holder(&audience.name, &username, None)?;
                Ok(Seeker { account: holder.account, ..own })
            }
            None => Ok(own),
        }
    }

    /// Who holds credentials under `username`, which were checked, for the audience that lookups here are for: the first.
    /// `None` for another one's, which have no meters here. The username lasts, so the limits do.
    ///
    /// # Errors
    /// When custody fails.
    pub fn credential_seeker(
        &self,
        audience: &str,
        username: &str,
        address: Option<IpAddr>,
    ) -> Result<Option<Seeker>, Internal> {
        let first = self.policy.credentials.audiences.first();
        if first.is_none_or(|first| first.name != audience) {
            return Ok(None);
        }
        self.holder(audience, username, address).map(Some)
    }

    fn holder(&self, audience: &str, username: &str, address: Option<IpAddr>) -> Result<Seeker, Internal> {
        let holder = |first: u8| [&[first], audience.as_bytes(), &[0], username.as_bytes()].concat();
        let (account, audit) = (holder(HOLDER_V1), holder(HOLDER_AUDIT_V1));
        let provider = [&[HOLDER_V1], audience.as_bytes()].concat();
        let prefix = address.map(prefix_input);
        let mut inputs = vec![account.as_slice(), &audit, &provider];
        inputs.extend(prefix.as_deref());
        let policy = &self.policy;
        match cut(&*self.custody, &inputs)?.as_slice() {
            [account, audit, provider, prefix @ ..] => Ok(Seeker {
                account: Pseudonym::from_bytes(*account),
                audit: AuditId::from_bytes(*audit),
                provider: *provider,
                prefix: prefix.first().copied(),
                has_identifier: policy.lookups.credentials_prove_identifier
                    || policy.credentials.needs_identifier,
            }),
            _ => Err(Internal::Unreadable("custody gave no hash")),
        }
    }

    /// Charges a lookup before it is answered. A repeated request costs nothing.
    ///
    /// # Errors
    /// [`LookupError`]; then nothing was charged.
    pub async fn charge_lookup(&self, seeker: &Seeker, bill: Bill) -> Result<(), LookupError> {
        self.charge_lookup_within(seeker, bill, self.policy.lookups.repeat).await
    }

    /// As [`charge_lookup`](Self::charge_lookup); the same again is free for `repeat` at the most.
    pub(crate) async fn charge_lookup_within(
        &self,
        seeker: &Seeker,
        bill: Bill,
        repeat: Duration,
    ) -> Result<(), LookupError> {
        let now = self.clock.now();
        let policy = &self.policy.lookups;
        // A refusal of just this is repeated from memory; it is a bucket of its own there, and nowhere else.
        let mut key = seeker.account.as_bytes().to_vec();
        key.extend([bill.identifiers.to_be_bytes(), bill.queries.to_be_bytes()].concat());
        let own = policy.queries.permit(Limit::AccountQueries, &key, 1);
        if bill.request.is_none()
            && let Err(Refused { limit, retry_at }) = self.limiter.look(&own, now)
        {
            metrics::counter!("acquaint_lookups_charged_total", "outcome" => limit.name()).increment(1);
            return Err(RateLimited::lookups(Exhausted { limit, retry_at }).into());
        }
        let work = policy.queries.permit(Limit::AccountQueries, seeker.account.as_bytes(), bill.queries);
        let guaranteed =
            policy.guaranteed.permit(Limit::GuaranteedLookups, seeker.account.as_bytes(), bill.identifiers);
        let mut alternatives = vec![vec![guaranteed, work.clone()]];
        if seeker.has_identifier {
            alternatives.push([self.shared_permits(seeker, bill.identifiers), vec![work]].concat());
        }
        // What costs nothing leaves nothing.
        let free = bill.identifiers == 0 && bill.queries == 0;
        let request = bill.request.filter(|_| !free).map(|(id, digest)| PaidRequest {
            account: seeker.account,
            id: RequestId::from_bytes(id),
            digest,
            expires_at: now.saturating_add(millis(policy.repeat.min(repeat))),
        });
        let details = json!({ "identifiers": bill.identifiers, "queries": bill.queries }).to_string();
        let refused = NewEvent {
            kind: EventKind::LookupsRefused,
            account: Some(seeker.audit),
            details,
            tell: self.tells,
        };
        let charge = Charge { alternatives, request, granted: None, refused: Some(refused) };
        self.charged(charge, &own, now).await
    }

    /// What became of a charge. A refusal is remembered under `asked`.
    async fn charged(&self, charge: Charge, asked: &Permit, now: Millis) -> Result<(), LookupError> {
        let count = |outcome| {
            metrics::counter!("acquaint_lookups_charged_total", "outcome" => outcome).increment(1);
        };
        match self.store.charge(charge, now).await {
            Ok(Charged::Taken(_)) => {
                count("charged");
                Ok(())
            }
            Ok(Charged::Repeated) => {
                count("repeated");
                Ok(())
            }
            Ok(Charged::OtherRequest) => Err(LookupError::OtherRequest),
            Ok(Charged::Exhausted(exhausted)) => {
                self.event_noted(EventKind::LookupsRefused);
                self.limiter.remember(asked, exhausted, now);
                count(exhausted.limit.name());
                Err(RateLimited::lookups(exhausted).into())
            }
            Err(error) => {
                count("limiter_unavailable");
                Err(LookupError::LimiterUnavailable(error.into()))
            }
        }
    }

    /// Charges weak hashes: `own` says how many the account may have, and what is shared counts them as identifiers.
    pub(crate) async fn charge_hashes(&self, seeker: &Seeker, own: Permit) -> Result<(), LookupError> {
        let now = self.clock.now();
        // A refusal of just this many is repeated from memory.
        let mut key = seeker.account.as_bytes().to_vec();
        key.extend(own.amount.to_be_bytes());
        let asked = Permit { key, amount: 1, ..own.clone() };
        if let Err(Refused { limit, retry_at }) = self.limiter.look(&asked, now) {
            metrics::counter!("acquaint_lookups_charged_total", "outcome" => limit.name()).increment(1);
            return Err(RateLimited::lookups(Exhausted { limit, retry_at }).into());
        }
        let mut permits = self.shared_permits(seeker, own.amount);
        permits.retain(|permit| permit.limit != Limit::AccountLookups);
        let details = json!({ "weak_hashes": own.amount }).to_string();
        permits.push(Permit { key: seeker.account.as_bytes().to_vec(), ..own });
        let refused = NewEvent {
            kind: EventKind::LookupsRefused,
            account: Some(seeker.audit),
            details,
            tell: self.tells,
        };
        let charge = Charge { alternatives: vec![permits], refused: Some(refused), ..Charge::default() };
        self.charged(charge, &asked, now).await
    }

    /// Counts a call of somebody who looks up with credentials, as [`count_call`](Self::count_call) does for sessions.
    ///
    /// # Errors
    /// [`RateLimited`].
    pub fn count_seeker(&self, seeker: &Seeker) -> Result<(), RateLimited> {
        let policy = &self.policy;
        let mut permits =
            vec![policy.account_calls.permit(Limit::AccountCalls, seeker.account.as_bytes(), 1)];
        if let Some(prefix) = seeker.prefix {
            permits.push(policy.prefix_calls.permit(Limit::PrefixCalls, &prefix, 1));
        }
        permits.retain(|permit| permit.capacity > 0);
        self.limiter.take(&permits, self.clock.now()).map_err(too_many)
    }

    fn shared_permits(&self, seeker: &Seeker, amount: u32) -> Vec<Permit> {
        let policy = &self.policy.lookups;
        let mut permits =
            vec![policy.account.permit(Limit::AccountLookups, seeker.account.as_bytes(), amount)];
        let mut also = |bucket: Bucket, limit, key: &[u8]| {
            if bucket.capacity > 0 {
                permits.push(bucket.permit(limit, key, amount));
            }
        };
        if let Some(prefix) = seeker.prefix {
            also(policy.prefix, Limit::PrefixLookups, &prefix);
        }
        also(policy.provider, Limit::ProviderLookups, &seeker.provider);
        also(policy.all, Limit::AllLookups, &[]);
        permits
    }

    /// Charges a lookup of identifiers that the service sees: those that `receipt` says are paid for are free, wherever
    /// they stand in `asked`. Returns the receipt for `paid` and `asked` together. The same request again, by its id, is
    /// free and gets the same, so that a lost answer costs nothing.
    ///
    /// # Errors
    /// [`LookupError`]; then nothing was charged.
    pub async fn charge_identifiers(
        &self,
        seeker: &Seeker,
        (paid, receipt): (&[Sii], Option<&str>),
        asked: &[Sii],
        request: [u8; 16],
    ) -> Result<String, LookupError> {
        let paid: BTreeSet<&[u8]> = paid.iter().map(Sii::as_bytes).collect();
        let valid = match receipt {
            Some(receipt) => self.is_receipt(seeker, receipt, &digest(&paid))?,
            None => paid.is_empty(),
        };
        if !valid {
            return Err(LookupError::InvalidReceipt);
        }
        let mut all = paid.clone();
        all.extend(asked.iter().map(Sii::as_bytes));
        let new = u32::try_from(all.len().saturating_sub(paid.len())).unwrap_or(u32::MAX);
        let asked: BTreeSet<&[u8]> = asked.iter().map(Sii::as_bytes).collect();
        let whole = Sha256::digest([digest(&paid), digest(&asked)].concat()).into();
        let bill = Bill { identifiers: new, queries: 0, request: Some((request, whole)) };
        self.charge_lookup(seeker, bill).await?;
        let content = [&[RECEIPT_V1], digest(&all).as_slice()].concat();
        let sealed =
            self.custody.seal(Purpose::Token, &receipt_of(seeker), &content).map_err(Internal::from)?;
        Ok(URL_SAFE_NO_PAD.encode(sealed))
    }

    fn is_receipt(&self, seeker: &Seeker, receipt: &str, paid: &[u8; 32]) -> Result<bool, Internal> {
        let Ok(sealed) = URL_SAFE_NO_PAD.decode(receipt) else { return Ok(false) };
        let content = match self.custody.open(Purpose::Token, &receipt_of(seeker), &sealed) {
            Ok(content) => content,
            Err(CustodyError::NotOurs) => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        let mut reader = Reader(&content);
        let read = (reader.array::<1>(), reader.array::<32>());
        Ok(read == (Some([RECEIPT_V1]), Some(*paid)) && reader.end().is_some())
    }

    /// What is left of the meters.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn lookup_quota(&self, seeker: &Seeker) -> Result<Quota, Internal> {
        let policy = &self.policy.lookups;
        let key = seeker.account.as_bytes();
        let meters = [
            (policy.guaranteed, Limit::GuaranteedLookups),
            (policy.account, Limit::AccountLookups),
            (policy.queries, Limit::AccountQueries),
        ];
        let permits = meters.iter().map(|(bucket, limit)| bucket.permit(*limit, key, 0)).collect();
        let levels = self.store.levels(permits, self.clock.now()).await?;
        let meter = |bucket: Bucket, level: u32| Meter {
            capacity: bucket.capacity,
            per_day: bucket.per_day,
            left: bucket.capacity.saturating_sub(level),
        };
        match levels.as_slice() {
            [guaranteed, account, queries] => Ok(Quota {
                guaranteed: meter(policy.guaranteed, *guaranteed),
                identifiers: seeker.has_identifier.then(|| meter(policy.account, *account)),
                queries: meter(policy.queries, *queries),
            }),
            _ => Err(Internal::Unreadable("the store gave no levels")),
        }
    }
}

/// SHA-256 of the identifiers in their order, each behind its length.
fn digest(identifiers: &BTreeSet<&[u8]>) -> [u8; 32] {
    let mut hash = Sha256::new();
    for identifier in identifiers {
        hash.update(u64::try_from(identifier.len()).unwrap_or(u64::MAX).to_be_bytes());
        hash.update(identifier);
    }
    hash.finalize().into()
}

/// A receipt is of use to who paid, and to nobody else.
fn receipt_of(seeker: &Seeker) -> Vec<u8> {
    [b"lookup receipt/".as_slice(), seeker.account.as_bytes()].concat()
}
