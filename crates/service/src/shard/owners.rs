//! Who owns which keyword.

use std::collections::BTreeMap;

use super::Owner;

/// The keyword of each owner. A tree takes less memory than a hash table, which is half empty after it has grown.
#[derive(Default)]
pub(super) struct Owners {
    keywords: BTreeMap<u64, [u8; 16]>,
    /// Keywords that somebody took over, as long as one of those who had them before is among the owners.
    contested: BTreeMap<[u8; 16], Contested>,
}

struct Contested {
    /// Who has the keyword's record, unless it was removed.
    holder: Option<u64>,
    /// How many had it before, and are not known to be gone.
    former: usize,
}

impl Owners {
    /// Each with a record, by their numbers.
    pub(super) fn from_sorted(owners: Vec<(u64, [u8; 16])>) -> Self {
        Self { keywords: owners.into_iter().collect(), contested: BTreeMap::new() }
    }

    /// Makes the tree's nodes full: those of one that grew in order are half empty.
    pub(super) fn compact(&mut self) {
        self.keywords = std::mem::take(&mut self.keywords).into_iter().collect();
    }

    /// All, also those whose keyword was taken over.
    pub(super) fn len(&self) -> usize {
        self.keywords.len()
    }

    /// The keyword whose record is this owner's.
    pub(super) fn held(&self, owner: Owner) -> Option<[u8; 16]> {
        self.keywords.get(&owner.0).copied().filter(|keyword| self.holds(owner.0, keyword))
    }

    /// Whether the record under an owner's keyword is the owner's.
    fn holds(&self, owner: u64, keyword: &[u8; 16]) -> bool {
        self.contested.get(keyword).is_none_or(|contested| contested.holder == Some(owner))
    }

    /// All that have a record, by their numbers, from one on.
    pub(super) fn holders_from(&self, first: u64) -> impl Iterator<Item = (Owner, &[u8; 16])> {
        let holds = |(owner, keyword): &(&u64, &[u8; 16])| self.holds(**owner, keyword);
        self.keywords.range(first..).filter(holds).map(|(owner, keyword)| (Owner(*owner), keyword))
    }

    /// The table holds the owner's record under this keyword now, and none of the owner's under another. `was_there` says
    /// whether it held one under this keyword before.
    pub(super) fn assign(&mut self, owner: Owner, keyword: [u8; 16], was_there: bool) {
        if self.held(owner) == Some(keyword) {
            return;
        }
        self.remove(owner);
        match self.contested.get_mut(&keyword) {
            Some(contested) => contested.former += usize::from(contested.holder.replace(owner.0).is_some()),
            None if was_there => {
                self.contested.insert(keyword, Contested { holder: Some(owner.0), former: 1 });
            }
            None => {}
        }
        self.keywords.insert(owner.0, keyword);
    }

    /// The owner is gone, and its record. Whether it had one.
    pub(super) fn remove(&mut self, owner: Owner) -> bool {
        let Some(keyword) = self.keywords.remove(&owner.0) else { return false };
        let Some(contested) = self.contested.get_mut(&keyword) else { return true };
        let held = contested.holder == Some(owner.0);
        if held {
            contested.holder = None;
            return true;
        }
        contested.former -= 1;
        if contested.former == 0 {
            self.contested.remove(&keyword);
        }
        false
    }
}
