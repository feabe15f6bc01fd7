//! A budget of operations for each key.
//!
//! Whoever owns a process that may use the keys can use them as fast as they answer. [`Budgeted`] bounds that: so many
//! operations a second and so many a day for each key, and of a day's so many for one account. It protects only where
//! its owner cannot be reached: in a custody process of its own (`remote`), or in the HSM itself where that can count.
//!
//! An operation is one input hashed, one message sealed or one opened; what custody could not do is not counted. A
//! second's budget is a bucket that holds one
//! second's operations: a call goes through if anything is in it, however large the call, and what it takes too much
//! is waited for by the next one, so that the rate holds in the long run and no batch is too large for ever. A day is
//! one of UTC. What was used of it is kept in a file, if one is named, so that a restart gives nothing back. The file
//! is written ahead in steps of a hundredth of the day's budget: a crash can cost one such step, and never gives one.

mod day;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use zeroize::Zeroizing;

pub use day::BudgetFileError;

use crate::{CustodyError, KeyCustody, KeyId, Purpose, ShareTag, Stretching};
use day::Days;

const DAY_MS: i64 = 86_400_000;

/// The most accounts whose shares are told apart in a day. What comes after them is counted as one account, so that
/// invented accounts can neither fill the memory nor get a share each.
const MOST_SHARES: usize = 100_000;

/// What the keys of one purpose may be used for. Each version of the key has all of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Operations a second; at least 1.
    pub per_second: u32,
    /// Operations a day (UTC); at least 1.
    pub per_day: u64,
    /// Of a day's operations, the most for one account ([`ShareTag`]); `None` for no such bound. It keeps accounts
    /// from each other's way; whoever owns the calling process can invent accounts.
    pub per_account_and_day: Option<u64>,
}

/// Gives the time, in milliseconds since 1970.
pub type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// How much of a key's budget is used, and what was refused, since this process started unless said otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyUsage {
    /// Whose budget.
    pub key: KeyId,
    /// Operations that went through.
    pub allowed: u64,
    /// Operations used today, before a restart too. With [`per_day`](Self::per_day) this is what to raise an alarm by.
    pub used_today: u64,
    /// A day's budget.
    pub per_day: u64,
    /// A second's budget.
    pub per_second: u32,
    /// Operations that were refused because the second's budget was spent.
    pub over_second: u64,
    /// Operations that were refused because the day's budget was spent.
    pub over_day: u64,
    /// Operations that were refused because one account's share was spent.
    pub over_share: u64,
    /// Operations that the HSM counted beyond those that went through here, where it counts: above what was under way
    /// while this was read, somebody else used the key. `None` where it does not count, or could not be asked.
    pub unaccounted: Option<i64>,
}

/// A [`KeyCustody`] that keeps to a budget.
pub struct Budgeted<C> {
    custody: C,
    budgets: BTreeMap<Purpose, Budget>,
    clock: Clock,
    state: Mutex<State>,
}

struct State {
    days: Days,
    meters: BTreeMap<KeyId, Meter>,
}

/// One key's counters.
#[derive(Default)]
struct Meter {
    /// Thousandths of operations that are left of the second's budget; below 0 they are owed.
    level: i64,
    /// When `level` was right, in milliseconds; `None` before the first use.
    at: Option<i64>,
    day: i64,
    shares: BTreeMap<ShareTag, u64>,
    /// Of all accounts beyond [`MOST_SHARES`].
    other_shares: u64,
    allowed: u64,
    over_second: u64,
    over_day: u64,
    over_share: u64,
    /// The HSM's counter when it was first read, less what had gone through here by then.
    audit_base: Option<i128>,
}

impl<C: KeyCustody> Budgeted<C> {
    /// Holds `custody` to `budgets`; a purpose without one is not bounded. What is used of a day is kept in `file`; a
    /// file that is not there is made.
    ///
    /// # Errors
    /// [`BudgetFileError`] when the file is not one of these, or cannot be read or written.
    pub fn new(
        custody: C,
        budgets: BTreeMap<Purpose, Budget>,
        file: Option<PathBuf>,
        clock: Clock,
    ) -> Result<Self, BudgetFileError> {
        let days = Days::open(file)?;
        let budgeted =
            Self { custody, budgets, clock, state: Mutex::new(State { days, meters: BTreeMap::new() }) };
        // The HSM's counters as they stand before the first operation.
        for key in budgeted.custody.keys() {
            if budgeted.budgets.contains_key(&key.purpose) {
                budgeted.audit(key);
            }
        }
        Ok(budgeted)
    }

    /// What the budget is kept for.
    pub fn inner(&self) -> &C {
        &self.custody
    }

    /// Takes `operations` of the key's budget, or nothing.
    fn charge(&self, key: KeyId, share: Option<ShareTag>, operations: usize) -> Result<(), CustodyError> {
        let Some(budget) = self.budgets.get(&key.purpose) else { return Ok(()) };
        let operations = u64::try_from(operations).unwrap_or(u64::MAX);
        if operations == 0 {
            return Ok(());
        }
        let now = (self.clock)();
        let mut state = self.state();
        let State { days, meters } = &mut *state;
        // A clock that goes back gives no new day.
        let today = now.div_euclid(DAY_MS).max(days.day());
        let meter = meters.entry(key).or_default();
        let tomorrow = wait(today.saturating_add(1).saturating_mul(DAY_MS).saturating_sub(now));
        let over = |retry_after| Err(CustodyError::OverBudget { key, retry_after });

        let used = days.used(today, key);
        if used.saturating_add(operations) > budget.per_day {
            meter.over_day = meter.over_day.saturating_add(operations);
            return over(tomorrow);
        }
        if meter.day != today {
            meter.day = today;
            meter.shares.clear();
            meter.other_shares = 0;
        }
        if let (Some(tag), Some(most)) = (share, budget.per_account_and_day)
            && meter.share(tag).saturating_add(operations) > most
        {
            meter.over_share = meter.over_share.saturating_add(operations);
            return over(tomorrow);
        }
        let per_second = i64::from(budget.per_second.max(1));
        meter.fill(per_second, now);
        if meter.level <= 0 {
            meter.over_second = meter.over_second.saturating_add(operations);
            // A thousandth of an operation comes back in 1 / per_second milliseconds.
            return over(wait((1 - meter.level).saturating_add(per_second - 1) / per_second));
        }
        // Written before it is used, so that what was used is never forgotten.
        days.take(today, key, operations, budget.per_day)
            .map_err(|error| CustodyError::Unavailable(Box::new(error)))?;
        let thousandths = i64::try_from(operations).unwrap_or(i64::MAX).saturating_mul(1000);
        meter.level = meter.level.saturating_sub(thousandths);
        if let (Some(tag), Some(_)) = (share, budget.per_account_and_day) {
            meter.add_share(tag, operations);
        }
        meter.allowed = meter.allowed.saturating_add(operations);
        Ok(())
    }

    /// Runs a charged operation. What custody could not do is given back, so that an HSM that is away does not use up
    /// the day.
    fn charged<T>(
        &self,
        key: KeyId,
        share: Option<ShareTag>,
        operations: usize,
        run: impl FnOnce() -> Result<T, CustodyError>,
    ) -> Result<T, CustodyError> {
        self.charge(key, share, operations)?;
        let outcome = run();
        if matches!(outcome, Err(CustodyError::Unavailable(_) | CustodyError::NoSuchKey(_))) {
            self.give_back(key, share, operations);
        }
        outcome
    }

    fn give_back(&self, key: KeyId, share: Option<ShareTag>, operations: usize) {
        if !self.budgets.contains_key(&key.purpose) {
            return;
        }
        let operations = u64::try_from(operations).unwrap_or(u64::MAX);
        let mut state = self.state();
        let State { days, meters } = &mut *state;
        days.give_back(key, operations);
        if let Some(meter) = meters.get_mut(&key) {
            meter.allowed = meter.allowed.saturating_sub(operations);
            let thousandths = i64::try_from(operations).unwrap_or(i64::MAX).saturating_mul(1000);
            meter.level = meter.level.saturating_add(thousandths);
            if let Some(used) = share.and_then(|tag| meter.shares.get_mut(&tag)) {
                *used = used.saturating_sub(operations);
            }
        }
    }

    /// What the HSM counted beyond what went through here since both were first compared.
    fn audit(&self, key: KeyId) -> Option<i64> {
        // Read before our own counter: what goes through in between shows as less, never as somebody else's.
        let counted = i128::from(self.custody.audit_count(key).ok()??);
        let mut state = self.state();
        let meter = state.meters.entry(key).or_default();
        let base = *meter.audit_base.get_or_insert(counted - i128::from(meter.allowed));
        i64::try_from(counted - base - i128::from(meter.allowed)).ok()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn wait(milliseconds: i64) -> Duration {
    Duration::from_millis(u64::try_from(milliseconds).unwrap_or(0).max(1))
}

impl Meter {
    /// What has come back to the second's budget until `now`.
    fn fill(&mut self, per_second: i64, now: i64) {
        let full = per_second.saturating_mul(1000);
        self.level = match self.at {
            None => full,
            // A clock that goes back fills nothing.
            Some(at) => {
                let passed = now.saturating_sub(at).max(0);
                self.level.saturating_add(passed.saturating_mul(per_second)).min(full)
            }
        };
        self.at = Some(self.at.map_or(now, |at| at.max(now)));
    }

    fn share(&self, tag: ShareTag) -> u64 {
        match self.shares.get(&tag) {
            Some(used) => *used,
            None if self.shares.len() < MOST_SHARES => 0,
            None => self.other_shares,
        }
    }

    fn add_share(&mut self, tag: ShareTag, operations: u64) {
        if self.shares.len() < MOST_SHARES || self.shares.contains_key(&tag) {
            *self.shares.entry(tag).or_default() += operations;
        } else {
            self.other_shares = self.other_shares.saturating_add(operations);
        }
    }
}

impl<C: KeyCustody> KeyCustody for Budgeted<C> {
    fn keys(&self) -> Vec<KeyId> {
        self.custody.keys()
    }

    fn refresh(&self) -> Result<(), CustodyError> {
        self.custody.refresh()
    }

    fn stretching(&self, key: KeyId) -> Result<Stretching, CustodyError> {
        self.custody.stretching(key)
    }

    fn hmac(&self, key: KeyId, inputs: &[&[u8]]) -> Result<Vec<[u8; 32]>, CustodyError> {
        hashable(&self.custody, key)?;
        self.charged(key, None, inputs.len(), || self.custody.hmac(key, inputs))
    }

    fn hmac_for(&self, key: KeyId, share: ShareTag, inputs: &[&[u8]]) -> Result<Vec<[u8; 32]>, CustodyError> {
        hashable(&self.custody, key)?;
        self.charged(key, Some(share), inputs.len(), || self.custody.hmac_for(key, share, inputs))
    }

    fn seal(&self, purpose: Purpose, aad: &[u8], plaintext: &[u8]) -> Result<Vec<u8>, CustodyError> {
        let key = crate::newest(&self.custody, purpose)?;
        if !purpose.seals() {
            return Err(CustodyError::WrongPurpose(key));
        }
        self.charged(key, None, 1, || self.custody.seal(purpose, aad, plaintext))
    }

    fn open(&self, purpose: Purpose, aad: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, CustodyError> {
        if !purpose.seals() {
            return self.custody.open(purpose, aad, sealed);
        }
        // Which version sealed it is in the envelope, which is custody's own. The newest one's budget stands for all:
        // so a purpose's budget, not a version's, bounds what can be opened.
        let key = crate::newest(&self.custody, purpose)?;
        self.charged(key, None, 1, || self.custody.open(purpose, aad, sealed))
    }

    fn audit_count(&self, key: KeyId) -> Result<Option<u64>, CustodyError> {
        self.custody.audit_count(key)
    }

    fn usage(&self) -> Result<Vec<KeyUsage>, CustodyError> {
        let keys = self.custody.keys().into_iter();
        let budgeted = keys.filter_map(|key| Some((key, *self.budgets.get(&key.purpose)?)));
        let usage = budgeted.map(|(key, budget)| {
            let unaccounted = self.audit(key);
            let now = (self.clock)();
            let mut state = self.state();
            let State { days, meters } = &mut *state;
            let meter = meters.entry(key).or_default();
            KeyUsage {
                key,
                allowed: meter.allowed,
                used_today: days.used(now.div_euclid(DAY_MS).max(days.day()), key),
                per_day: budget.per_day,
                per_second: budget.per_second,
                over_second: meter.over_second,
                over_day: meter.over_day,
                over_share: meter.over_share,
                unaccounted,
            }
        });
        Ok(usage.collect())
    }
}

/// A call that cannot be answered is refused before it costs anything.
fn hashable(custody: &dyn KeyCustody, key: KeyId) -> Result<(), CustodyError> {
    if key.purpose.seals() {
        return Err(CustodyError::WrongPurpose(key));
    }
    if custody.keys().contains(&key) { Ok(()) } else { Err(CustodyError::NoSuchKey(key)) }
}

#[cfg(test)]
mod tests;
