//! How much is asked, so that it tells little of how many contacts there are and nothing of where their records can be.

use acquaint_protocol::bucket::layout::overflow_bits;
use acquaint_protocol::lookup::parameters::MAX_SHARD_BITS;

/// The most contacts of one round. More are asked for in several rounds of this size.
pub const MAX_BATCH: usize = 500;

/// The sizes of rounds.
const SIZES: [usize; 4] = [10, 50, 150, MAX_BATCH];

/// −log₂ of the chance that a shard's queries do not do for a round's contacts.
const SAFETY_BITS: f64 = 40.0;

/// How many are asked for in the place of `count`: 10, 50, 150, 500, or a multiple of 500.
#[must_use]
pub fn batch_size(count: usize) -> usize {
    let larger = || count.div_ceil(MAX_BATCH).saturating_mul(MAX_BATCH);
    SIZES.into_iter().find(|size| count <= *size).unwrap_or_else(larger)
}

/// The next smaller size of a round; `None` below the smallest.
pub(super) fn smaller(size: usize) -> Option<usize> {
    SIZES.into_iter().rev().find(|smaller| *smaller < size)
}

/// Queries that each of 2^`shard_bits` shards gets in a round for `size` contacts: so many that the chance that some shard has
/// more of the contacts is below 2⁻⁴⁰ ([`overflow_bits`]), and never more than there are contacts. A contact that is one too
/// many waits for another round.
#[must_use]
pub fn per_shard(size: usize, shard_bits: u8) -> usize {
    let bits = shard_bits.min(MAX_SHARD_BITS);
    #[expect(clippy::cast_precision_loss, reason = "rounds are small")]
    let mean = size as f64 / f64::from(bits).exp2();
    let holds = |count: &usize| {
        u16::try_from(*count).is_ok_and(|count| overflow_bits(mean, bits, count) >= SAFETY_BITS)
    };
    (1..size).find(holds).unwrap_or(size)
}
