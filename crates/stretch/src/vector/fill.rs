//! Which block refers to which, and the passes over the memory (RFC 9106, section 3.4).

use std::ops::Range;

use super::initial::ARGON2ID;
use super::kernel::{Compress, WORDS, Words, arrange, first_word, words};
use crate::Cost;

/// Parts of a lane between which lanes would wait for each other (RFC 9106, section 3.4).
const SLICES: usize = 4;
/// How many blocks before they are written the old contents of blocks are asked for. Measured: 2 to 4 are alike, and
/// without it a hash of 19 MiB takes a quarter longer.
const AHEAD: usize = 3;
/// The same for the blocks that are referred to, where they are known beforehand.
const INDEPENDENT_AHEAD: usize = 4;

/// The shape of the memory, and the references that depend on no input.
///
/// Those, of the first two slices of the first pass, are the same for each hash of one cost, and computed once.
pub(crate) struct Plan {
    blocks: usize,
    independent: Vec<u32>,
}

impl Plan {
    pub(crate) fn new<K: Compress>(kernel: K, cost: Cost) -> Self {
        let mut plan = Self { blocks: cost.blocks(), independent: Vec::new() };
        let segment = plan.segment();
        let mut independent = Vec::with_capacity(segment * 2);
        for slice in 0..2 {
            let mut random = [0; WORDS];
            for index in 0..segment {
                if index % WORDS == 0 {
                    random = plan.random(kernel, cost, slice, index / WORDS + 1);
                }
                let current = slice * segment + index;
                // Blocks 0 and 1 refer to none.
                let reference =
                    if current < 2 { 0 } else { plan.reference(0, current, random[index % WORDS]) };
                independent.push(u32::try_from(reference).unwrap_or(u32::MAX));
            }
        }
        plan.independent = independent;
        plan
    }

    fn segment(&self) -> usize {
        self.blocks / SLICES
    }

    /// The `counter`-th 128 pseudo-random words of a slice of the first pass (RFC 9106, section 3.4.1.2).
    fn random<K: Compress>(&self, kernel: K, cost: Cost, slice: usize, counter: usize) -> Words {
        let mut input = [0; WORDS];
        // Words 0 and 1 are the pass and the lane.
        input[2..7].copy_from_slice(&[
            slice as u64,
            self.blocks as u64,
            u64::from(cost.passes()),
            u64::from(ARGON2ID),
            counter as u64,
        ]);
        let zero = arrange::<K>(&[0; WORDS]);
        let (mut once, mut twice) = (zero, zero);
        kernel.compress::<false>(&zero, &arrange::<K>(&input), &mut once);
        kernel.compress::<false>(&zero, &once, &mut twice);
        // Of no input: nothing to hide.
        *words::<K>(&twice)
    }

    /// The block that `current` refers to, by the low half of a pseudo-random word (RFC 9106, section 3.4.2).
    #[inline(always)]
    fn reference(&self, pass: u32, current: usize, random: u64) -> usize {
        let segment = self.segment();
        let (slice, index) = (current / segment, current % segment);
        // In the first pass every block that is there may be referred to, later those of the last three slices and of
        // this one so far; never the one just before.
        let (start, area) = if pass == 0 {
            (0, current - 1)
        } else {
            ((slice + 1) % SLICES * segment, self.blocks - segment + index - 1)
        };
        let j1 = random & u64::from(u32::MAX);
        let back = (((j1 * j1) >> 32) * area as u64) >> 32;
        let reference = start + area - 1 - back as usize;
        if reference >= self.blocks { reference - self.blocks } else { reference }
    }

    /// One pass over `W` memories, block by block in turn. In the first, blocks 0 and 1 are there.
    pub(crate) fn pass<K: Compress, const W: usize>(
        &self,
        kernel: K,
        pass: u32,
        memories: &mut [&mut [K::Block]; W],
    ) {
        if pass == 0 {
            self.independent(kernel, memories);
            self.dependent::<K, W, false>(kernel, pass, self.independent.len()..self.blocks, memories);
        } else {
            self.dependent::<K, W, true>(kernel, pass, 0..self.blocks, memories);
        }
    }

    /// The first half of the first pass.
    fn independent<K: Compress, const W: usize>(&self, kernel: K, memories: &mut [&mut [K::Block]; W]) {
        for (current, &reference) in self.independent.iter().enumerate().skip(2) {
            let later = self.independent.get(current + INDEPENDENT_AHEAD).copied().unwrap_or(0);
            for memory in memories.iter_mut() {
                advance::<K, false>(kernel, memory, current, reference as usize);
                kernel.prefetch(&memory[later as usize]);
                if let Some(block) = memory.get(current + AHEAD) {
                    kernel.prefetch(block);
                }
            }
        }
    }

    /// Blocks whose reference is known when the block before is there.
    fn dependent<K: Compress, const W: usize, const OVER: bool>(
        &self,
        kernel: K,
        pass: u32,
        range: Range<usize>,
        memories: &mut [&mut [K::Block]; W],
    ) {
        let before = if range.start == 0 { self.blocks - 1 } else { range.start - 1 };
        let mut references: [usize; W] =
            std::array::from_fn(|w| self.reference(pass, range.start, first_word(&memories[w][before])));
        for current in range {
            for (memory, reference) in memories.iter_mut().zip(&mut references) {
                advance::<K, OVER>(kernel, memory, current, *reference);
                if current + 1 < self.blocks {
                    // The other hashes are advanced until it is needed.
                    *reference = self.reference(pass, current + 1, first_word(&memory[current]));
                    kernel.prefetch(&memory[*reference]);
                }
                if let Some(block) = memory.get(current + AHEAD) {
                    kernel.prefetch(block);
                }
            }
        }
    }
}

/// Makes block `current` of one memory from the one before it and from the one that it refers to.
#[inline(always)]
fn advance<K: Compress, const OVER: bool>(
    kernel: K,
    memory: &mut [K::Block],
    current: usize,
    reference: usize,
) {
    let (before, rest) = memory.split_at_mut(current);
    let Some((next, after)) = rest.split_first_mut() else { return };
    let Some(previous) = before.last().or(after.last()) else { return };
    // No block refers to itself.
    let reference = if reference < current { &before[reference] } else { &after[reference - current - 1] };
    kernel.compress::<OVER>(previous, reference, next);
}
