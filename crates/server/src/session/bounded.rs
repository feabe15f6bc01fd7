//! A map that holds a bounded number of entries: the one that was put in first goes.

use std::borrow::Borrow;
use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

pub(super) struct Bounded<K, V> {
    most: usize,
    entries: HashMap<K, (u64, V)>,
    order: BTreeMap<u64, K>,
    next: u64,
}

impl<K: Clone + Eq + Hash, V> Bounded<K, V> {
    pub(super) fn new(most: usize) -> Self {
        Self { most, entries: HashMap::new(), order: BTreeMap::new(), next: 0 }
    }

    pub(super) fn get<Q: Eq + Hash + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.entries.get(key).map(|(_, value)| value)
    }

    pub(super) fn get_mut<Q: Eq + Hash + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        self.entries.get_mut(key).map(|(_, value)| value)
    }

    pub(super) fn put(&mut self, key: K, value: V) {
        self.next += 1;
        if let Some((place, _)) = self.entries.insert(key.clone(), (self.next, value)) {
            self.order.remove(&place);
        }
        self.order.insert(self.next, key);
        while self.entries.len() > self.most {
            let Some((_, oldest)) = self.order.pop_first() else { return };
            self.entries.remove(&oldest);
        }
    }

    pub(super) fn remove<Q: Eq + Hash + ?Sized>(&mut self, key: &Q)
    where
        K: Borrow<Q>,
    {
        if let Some((place, _)) = self.entries.remove(key) {
            self.order.remove(&place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_goes_when_there_is_no_room() {
        let mut map = Bounded::new(2);
        map.put("a".to_owned(), 1);
        map.put("b".to_owned(), 2);
        map.put("a".to_owned(), 3);
        map.put("c".to_owned(), 4);
        assert_eq!((map.get("a"), map.get("b"), map.get("c")), (Some(&3), None, Some(&4)));
        map.remove("a");
        map.put("d".to_owned(), 5);
        assert_eq!((map.get("a"), map.get("c"), map.get("d")), (None, Some(&4), Some(&5)));
        assert_eq!((map.entries.len(), map.order.len()), (2, 2));
    }
}
