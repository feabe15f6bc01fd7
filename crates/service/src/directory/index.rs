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
