//! How a directory is cut into buckets.
//!
//! With `n` listings and at least `k` candidates wanted under a prefix, a prefix has the most bits at which the mean is at
//! least `k`: `b = ⌊log₂(n / k)⌋`, 32 at most, and none below `2k` listings. Locations are as good as random, so that the
//! number of listings in a bucket is binomial. Buckets have room for a directory that is larger by an eighth, with a mean of
//! `λ = 9n / 8 / 2ᵇ`: so many slots `s` that the chance that any of the `2ᵇ` buckets overflows is below 2⁻²⁰ even then. A
//! bucket that does, or a directory that has grown by more, takes another layout, which costs clients no more than to fetch
//! the parameters again. By Chernoff's bound for a binomial, which is that of Poisson's, and the sum over all buckets:
//!
//! ```text
//! P(more than s in some bucket)  ≤  2ᵇ · e^(−λ) · (e·λ / x)ˣ   with x = s + 1 > λ
//! ```
//!
//! Without a prefix nothing is left to chance: there are `9n / 8` slots, `k` at least. The price is that of padding.

/// How a directory is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// Bits of a location that name a bucket, 0 to 32.
    pub prefix_bits: u8,
    /// Slots of each bucket.
    pub slots: u16,
}

/// Buckets would need over 65535 slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("so many candidates under a prefix need buckets of more than 65535 slots: ask for 15000 at most")]
pub struct LayoutError;

/// −log₂ of the chance that any bucket overflows.
const SAFETY_BITS: f64 = 20.0;

/// A directory that has grown as much as its buckets have room for.
const fn grown(listings: u128) -> u128 {
    listings + listings.div_ceil(8)
}

/// The layout for a directory of `listings` with at least `candidates` under each prefix in the mean; 0 counts as 1.
///
/// # Errors
/// [`LayoutError`].
pub fn choose(listings: u64, candidates: u16) -> Result<Layout, LayoutError> {
    let (listings, candidates) = (u128::from(listings), u128::from(candidates.max(1)));
    let holds = |bits: u8| listings >= candidates << bits;
    let prefix_bits = (1..=super::sealed::MAX_PREFIX_BITS).rev().find(|bits| holds(*bits)).unwrap_or(0);
    if prefix_bits == 0 {
        let slots = u16::try_from(grown(listings).max(candidates)).map_err(|_| LayoutError)?;
        return Ok(Layout { prefix_bits, slots });
    }
    let mean = mean(grown(listings), prefix_bits);
    let slots = (0..=u16::MAX).find(|slots| overflow_bits(mean, prefix_bits, *slots) >= SAFETY_BITS);
    slots.map(|slots| Layout { prefix_bits, slots }).ok_or(LayoutError)
}

/// −log₂ of the bound on the chance that any of 2ᵇ buckets gets more than `slots` listings, with `mean` in each; 0 where the
/// bound says nothing.
#[must_use]
pub fn overflow_bits(mean: f64, prefix_bits: u8, slots: u16) -> f64 {
    let over = f64::from(slots) + 1.0;
    if over <= mean {
        return 0.0;
    }
    let nats = mean - over + over * (over / mean).ln();
    (nats / std::f64::consts::LN_2 - f64::from(prefix_bits)).max(0.0)
}

/// Listings of a bucket in the mean.
fn mean(listings: u128, prefix_bits: u8) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "2⁻⁵³ of the mean is nothing beside the room to grow")]
    let listings = listings as f64;
    listings / f64::from(prefix_bits).exp2()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whoever has at least `x` of a Poisson distribution, summed up: −log₂.
    fn tail_bits(mean: f64, x: u16) -> f64 {
        let (mut log, mut sum) = (-mean, 0.0);
        for i in 1..20_000_u16 {
            log += (mean / f64::from(i)).ln();
            if i >= x {
                sum += log.exp();
            }
        }
        -f64::log2(sum)
    }

    #[test]
    fn a_prefix_has_the_most_bits_that_leave_enough_candidates() {
        for (listings, candidates, bits) in [
            (0, 100, 0),
            (1, 100, 0),
            (99, 100, 0),
            (199, 100, 0),
            (200, 100, 1),
            (399, 100, 1),
            (51_199, 100, 8),
            (51_200, 100, 9),
            (10_000_000, 100, 16),
            (10_000_000, 1, 23),
            (10_000_000, 0, 23),
            (1 << 40, 500, 31),
        ] {
            let layout = choose(listings, candidates).unwrap();
            assert_eq!(layout.prefix_bits, bits, "{listings} {candidates}");
        }
    }

    #[test]
    fn without_a_prefix_there_is_room_for_all_and_never_fewer_than_wanted() {
        for (listings, slots) in [(0, 100), (1, 100), (50, 100), (88, 100), (89, 101), (199, 224)] {
            assert_eq!(choose(listings, 100), Ok(Layout { prefix_bits: 0, slots }), "{listings}");
        }
    }

    #[test]
    fn buckets_overflow_less_often_than_promised_when_they_have_grown() {
        for (listings, candidates) in [
            (200_u64, 100),
            (399, 100),
            (51_200, 100),
            (102_399, 100),
            (10_000_000, 100),
            (10_000_000, 1),
            (1_000, 3),
        ] {
            let Layout { prefix_bits, slots } = choose(listings, candidates).unwrap();
            let mean = mean(grown(u128::from(listings)), prefix_bits);
            let bits = f64::from(prefix_bits);
            // The bound holds, and is met by the first number of slots that meets it.
            let exact = tail_bits(mean, slots + 1) - bits;
            let bound = overflow_bits(mean, prefix_bits, slots);
            assert!(exact >= bound && bound >= 20.0, "{listings} {candidates}: {exact} {bound}");
            assert!(overflow_bits(mean, prefix_bits, slots - 1) < 20.0);
            // It wastes little: the exact tail needs hardly fewer.
            let needed = (1..=slots).find(|slots| tail_bits(mean, slots + 1) - bits >= 20.0).unwrap();
            assert!(slots - needed <= 10, "{listings} {candidates}: {slots}, {needed}");
        }
        assert_eq!(choose(10_000_000, 100), Ok(Layout { prefix_bits: 16, slots: 272 }));
    }

    #[test]
    fn locations_fit_in_practice() {
        let Layout { prefix_bits, slots } = choose(100_000, 100).unwrap();
        let mut counts = vec![0_u16; 1 << prefix_bits];
        for listing in 0..112_500_u64 {
            // SplitMix64's finaliser.
            let mut x = (listing + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            counts[usize::try_from(super::super::sealed::prefix(x ^ (x >> 31), prefix_bits)).unwrap()] += 1;
        }
        assert!(counts.iter().all(|count| *count <= slots));
        assert!(counts.iter().any(|count| *count > slots / 2));
    }

    #[test]
    fn more_than_an_answer_can_have_is_refused() {
        assert!(choose(u64::MAX, 15_000).is_err(), "2³² buckets do not do");
        assert!(choose(1 << 40, 15_000).is_ok());
        assert_eq!(choose(60_000, u16::MAX), Err(LayoutError));
        assert_eq!(choose(10, u16::MAX), Ok(Layout { prefix_bits: 0, slots: u16::MAX }));
        for listings in (1_000_000..2_000_000).step_by(9_973) {
            assert!(choose(listings, 15_000).is_ok(), "{listings}");
        }
    }
}
