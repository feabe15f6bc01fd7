//! How many requests of an account are being answered: nobody fills the queues alone.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use acquaint_store::Pseudonym;

/// Requests of an account at once.
const MOST: usize = 4;

/// Who is being answered.
#[derive(Default, Clone)]
pub(crate) struct Asking {
    of: Arc<Mutex<HashMap<Pseudonym, usize>>>,
}

/// A request that is being answered, until this goes.
pub(super) struct Asked {
    asking: Asking,
    account: Pseudonym,
}

impl Asking {
    /// `None` if the account has as many as it may.
    pub(super) fn begin(&self, account: Pseudonym) -> Option<Asked> {
        let mut of = self.of();
        let count = of.entry(account).or_default();
        if *count >= MOST {
            return None;
        }
        *count += 1;
        drop(of);
        Some(Asked { asking: self.clone(), account })
    }

    fn of(&self) -> MutexGuard<'_, HashMap<Pseudonym, usize>> {
        self.of.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        let mut of = self.asking.of();
        if let Some(count) = of.get_mut(&self.account) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                of.remove(&self.account);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_has_a_few_requests_at_once_and_others_are_not_kept_from_theirs() {
        let asking = Asking::default();
        let (one, other) = (Pseudonym::from_bytes([1; 16]), Pseudonym::from_bytes([2; 16]));
        let mut held: Vec<_> = (0..MOST).map(|_| asking.begin(one).unwrap()).collect();
        assert!(asking.begin(one).is_none());
        assert!(asking.begin(other).is_some());
        held.pop();
        assert!(asking.begin(one).is_some());
        held.clear();
        assert!(asking.of().is_empty());
    }
}
