//! The index of sealed buckets, in memory: for each prefix the slots of those whose identifier's location begins with it.

use std::collections::HashMap;

use acquaint_store::ListingId;

/// Bytes of a listing's id that are kept. Two of ten million listings have the same with a chance of one in 370,000; then
/// the withdrawal of one takes the other out of the index as well, until the next start.
const ID: usize = 8;
/// Bytes of a location that are kept: as many as the longest prefix has.
const LOCATION: usize = 4;
/// Bytes of both.
const HEAD: usize = ID + LOCATION;

/// The longest prefix, in bits.
pub const MAX_PREFIX_BITS: u8 = 32;

/// The slots of one profile and epoch, arranged by prefix.
pub struct BucketIndex {
    bits: u8,
    slot: usize,
    /// For each prefix, records of id ‖ location ‖ slot.
    buckets: Vec<Vec<u8>>,
    /// Where listings are: sorted by id, as of the last arrangement; may name what is gone.
    settled: Vec<([u8; ID], u32)>,
    /// The same of later ones.
    recent: HashMap<[u8; ID], u32>,
    listings: usize,
}

impl BucketIndex {
    /// An empty index by prefixes of `bits` bits, at most [`MAX_PREFIX_BITS`] are taken, for slots of so many bytes.
    #[must_use]
    pub fn new(bits: u8, slot: usize) -> Self {
        let bits = bits.min(MAX_PREFIX_BITS);
        let buckets = vec![Vec::new(); 1_usize << bits];
        Self { bits, slot, buckets, settled: Vec::new(), recent: HashMap::new(), listings: 0 }
    }

    /// How many bits the prefixes have that it is arranged by.
    #[must_use]
    pub fn bits(&self) -> u8 {
        self.bits
    }

    /// How many listings there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.listings
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.listings == 0
    }

    /// Adds a listing, or changes its slot. `false` if the slot has another length than this index's.
    pub fn put(&mut self, id: ListingId, location: u64, slot: &[u8]) -> bool {
        if slot.len() != self.slot {
            return false;
        }
        self.remove(id);
        let (id, location) = (short(id), upper(location));
        if self.settled.binary_search(&(id, location)).is_err() {
            self.recent.insert(id, location);
        }
        let record = HEAD + self.slot;
        if let Some(bucket) = self.buckets.get_mut(index(location, self.bits)) {
            // Exactly: a growing buffer would take up to twice the memory.
            bucket.reserve_exact(record);
            bucket.extend_from_slice(&id);
            bucket.extend_from_slice(&location.to_be_bytes());
            bucket.extend_from_slice(slot);
            self.listings += 1;
        }
        true
    }

    /// Takes a listing out. `false` if it is not there.
    pub fn remove(&mut self, id: ListingId) -> bool {
        let id = short(id);
        // All that share the id: one that stays would be answered although it is withdrawn.
        let first = self.settled.partition_point(|(settled, _)| *settled < id);
        let settled = self.settled.iter().skip(first).take_while(|(settled, _)| *settled == id);
        let mut places: Vec<u32> = settled.map(|(_, location)| *location).collect();
        places.extend(self.recent.remove(&id));
        places.into_iter().fold(false, |any, location| any | self.remove_at(id, index(location, self.bits)))
    }

    fn remove_at(&mut self, id: [u8; ID], bucket: usize) -> bool {
        let record = HEAD + self.slot;
        let Some(bucket) = self.buckets.get_mut(bucket) else { return false };
        let Some(at) = bucket.chunks_exact(record).position(|found| found.starts_with(&id)) else {
            return false;
        };
        bucket.drain(at * record..(at + 1) * record);
        self.listings -= 1;
        true
    }

    /// Whether it is arranged otherwise than by prefixes of `bits` bits, or has become untidy.
    #[must_use]
    pub fn is_untidy(&self, bits: u8) -> bool {
        self.bits != bits.min(MAX_PREFIX_BITS) || self.recent.len() > 1_000 + self.listings / 8
    }

    /// The slots of those whose location begins with the `bits` bits of `prefix`.
    pub fn slots(&self, bits: u8, prefix: u32) -> impl Iterator<Item = &[u8]> {
        let bits = bits.min(MAX_PREFIX_BITS);
        let buckets = match self.bits.checked_sub(bits) {
            // Several buckets, whole.
            Some(more) => {
                let first = usize::try_from(u64::from(prefix) << more).unwrap_or(usize::MAX);
                self.buckets.get(first..first.saturating_add(1 << more)).unwrap_or_default()
            }
            // A part of one.
            None => {
                let at = usize::try_from(prefix >> (bits - self.bits)).unwrap_or(usize::MAX);
                self.buckets.get(at..at.saturating_add(1)).unwrap_or_default()
            }
        };
        let records = buckets.iter().flat_map(|bucket| bucket.chunks_exact(HEAD + self.slot));
        records.filter_map(move |record| {
            let (location, slot) = record.get(ID..)?.split_first_chunk()?;
            (index(u32::from_be_bytes(*location), bits) == usize::try_from(prefix).ok()?).then_some(slot)
        })
    }

    /// Appends the bucket of `prefix` with `slots` slots, in the order of their bytes, so that nothing shows which ones `fill`
    /// has filled. `false` if there are more listings than slots; then nothing is appended.
    pub fn padded(
        &self,
        (bits, prefix): (u8, u32),
        slots: usize,
        fill: impl FnOnce(&mut [u8]),
        answer: &mut Vec<u8>,
    ) -> bool {
        let mut bucket: Vec<&[u8]> = self.slots(bits, prefix).collect();
        let Some(free) = slots.checked_sub(bucket.len()) else { return false };
        let mut filling = vec![0; free * self.slot];
        fill(&mut filling);
        bucket.extend(filling.chunks_exact(self.slot.max(1)));
        bucket.sort_unstable();
        answer.reserve(slots * self.slot);
        for slot in bucket {
            answer.extend_from_slice(slot);
        }
        true
    }

    /// How many slots the fullest bucket has by prefixes of `bits` bits.
    #[must_use]
    pub fn fullest(&self, bits: u8) -> usize {
        let bits = bits.min(MAX_PREFIX_BITS);
        let record = HEAD + self.slot;
        match self.bits.checked_sub(bits) {
            Some(more) => {
                let sums = self.buckets.chunks(1 << more);
                sums.map(|buckets| buckets.iter().map(|bucket| bucket.len() / record).sum())
                    .max()
                    .unwrap_or(0)
            }
            None => {
                let mut fullest = 0;
                let mut counts = HashMap::new();
                for bucket in &self.buckets {
                    counts.clear();
                    for found in bucket.chunks_exact(record) {
                        let location = found.get(ID..).and_then(|rest| rest.first_chunk().copied());
                        let prefix = index(u32::from_be_bytes(location.unwrap_or_default()), bits);
                        let count = counts.entry(prefix).or_insert(0_usize);
                        *count += 1;
                        fullest = fullest.max(*count);
                    }
                }
                fullest
            }
        }
    }

    /// The same listings by prefixes of `bits` bits; without spare memory.
    #[must_use]
    pub fn arranged(&self, bits: u8) -> Self {
        let mut new = Self::new(bits, self.slot);
        let record = HEAD + self.slot;
        new.settled.reserve_exact(self.listings);
        for bucket in &self.buckets {
            for found in bucket.chunks_exact(record) {
                let Some((id, rest)) = found.split_first_chunk::<ID>() else { continue };
                let Some(location) = rest.first_chunk().copied().map(u32::from_be_bytes) else { continue };
                new.settled.push((*id, location));
                if let Some(bucket) = new.buckets.get_mut(index(location, new.bits)) {
                    bucket.extend_from_slice(found);
                    new.listings += 1;
                }
            }
        }
        new.settled.sort_unstable();
        for bucket in &mut new.buckets {
            bucket.shrink_to_fit();
        }
        new
    }

    /// Bytes of memory that it takes.
    #[must_use]
    pub fn memory(&self) -> usize {
        let buckets = self.buckets.iter().map(Vec::capacity).sum::<usize>();
        let heads = self.buckets.capacity() * size_of::<Vec<u8>>();
        let settled = self.settled.capacity() * size_of::<([u8; ID], u32)>();
        // A byte of control for each place of the table.
        let recent = self.recent.capacity() * (size_of::<([u8; ID], u32)>() + 1) * 8 / 7;
        size_of::<Self>() + buckets + heads + settled + recent
    }
}

fn short(id: ListingId) -> [u8; ID] {
    let mut short = [0; ID];
    short.copy_from_slice(id.as_bytes().split_at(ID).0);
    short
}

fn upper(location: u64) -> u32 {
    u32::try_from(location >> 32).unwrap_or(u32::MAX)
}

/// The first `bits` bits.
fn index(location: u32, bits: u8) -> usize {
    usize::try_from(location.checked_shr(32 - u32::from(bits)).unwrap_or(0)).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn id(n: u64) -> ListingId {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
        ListingId::from_bytes(bytes)
    }

    fn location(n: u64) -> u64 {
        n.wrapping_mul(0xbf58_476d_1ce4_e5b9).rotate_left(17)
    }

    fn filled(bits: u8) -> BucketIndex {
        let mut index = BucketIndex::new(bits, 8);
        for n in 0..1_000 {
            assert!(index.put(id(n), location(n), &n.to_be_bytes()));
        }
        index
    }

    /// What stands under all prefixes of so many bits, each where it belongs.
    fn all(index: &BucketIndex, bits: u8) -> BTreeSet<u64> {
        let mut all = BTreeSet::new();
        for prefix in 0..1_u32 << bits {
            for slot in index.slots(bits, prefix) {
                let n = u64::from_be_bytes(slot.try_into().unwrap());
                assert_eq!(location(n).checked_shr(64 - u32::from(bits)).unwrap_or(0), u64::from(prefix));
                assert!(all.insert(n));
            }
        }
        all
    }

    #[test]
    fn however_it_is_arranged_it_answers_prefixes_of_any_length() {
        for arranged in [0, 3, 9] {
            let index = filled(arranged);
            for bits in [0, 1, 3, 8, 9, 10] {
                assert_eq!(all(&index, bits).len(), 1_000, "{arranged} {bits}");
                let counts = (0..1_u32 << bits).map(|prefix| index.slots(bits, prefix).count());
                assert_eq!(index.fullest(bits), counts.max().unwrap(), "{arranged} {bits}");
            }
        }
    }

    #[test]
    fn what_is_removed_is_gone_whenever_it_came() {
        let mut index = filled(0).arranged(4);
        assert!(!index.is_untidy(4) && index.is_untidy(5));
        for n in 1_000..1_100 {
            index.put(id(n), location(n), &n.to_be_bytes());
        }
        assert!(index.put(id(7), location(7), &7_u64.to_be_bytes()));
        assert_eq!(index.len(), 1_100);
        assert!(index.remove(id(7)) && !index.remove(id(7)));
        for n in (0..1_100).filter(|n| n % 2 == 0) {
            assert!(index.remove(id(n)), "{n}");
        }
        let left: BTreeSet<u64> = (0..1_100).filter(|n| n % 2 == 1 && *n != 7).collect();
        assert_eq!(all(&index, 4), left);
        assert_eq!(index.len(), left.len());
        assert_eq!(all(&index.arranged(6), 6), left);
        assert!(!index.put(id(1), location(1), &[0; 7]), "a slot of another length");
    }

    /// Two that share the piece of an id that is kept: the withdrawal of either leaves neither where it was.
    #[test]
    fn nobody_stays_who_shares_an_id_with_another() {
        let (mut one, mut other) = ([1; 16], [1; 16]);
        one[15] = 2;
        other[15] = 3;
        let (one, other) = (ListingId::from_bytes(one), ListingId::from_bytes(other));
        let mut index = BucketIndex::new(4, 8);
        index.put(one, 1 << 63, &[1; 8]);
        let mut index = index.arranged(4);
        index.put(other, 0, &[2; 8]);
        index.remove(one);
        assert_eq!(index.slots(0, 0).filter(|slot| *slot == [1; 8]).count(), 0);
    }

    #[test]
    fn padded_buckets_have_one_size_and_hide_what_fills_them() {
        let index = filled(3);
        let most = index.fullest(3);
        for prefix in 0..8 {
            let mut answer = Vec::new();
            assert!(index.padded((3, prefix), most, |fill| fill.fill(0x55), &mut answer));
            assert_eq!(answer.len(), most * 8);
            assert!(answer.chunks_exact(8).is_sorted());
        }
        let full = (0..8).find(|prefix| index.slots(3, *prefix).count() == most).unwrap();
        let mut answer = Vec::new();
        assert!(!index.padded((3, full), most - 1, |_| {}, &mut answer) && answer.is_empty());
    }
}
