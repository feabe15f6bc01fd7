//! Argon2id with vectors, several hashes at a time.

mod fill;
mod initial;
mod kernel;
mod memory;

pub(crate) use kernel::avx2::Avx2;
pub(crate) use kernel::avx512::Avx512;

use fill::Plan;
use kernel::{Compress, arrange, words};
use memory::Memory;

use crate::{Cost, Job};

/// Blocks between the memories of a worker. With memories a multiple of 4 KiB apart, the blocks that the hashes are at
/// would fall upon the same sets of the first cache.
const GAP: usize = 3;

/// A kernel, the memory of some hashes, and what all of them share.
pub(crate) struct Vector<K: Compress> {
    kernel: K,
    cost: Cost,
    plan: Plan,
    memory: Memory,
    /// How many of the memories have been written to since they were zero.
    used: usize,
}

impl<K: Compress> Drop for Vector<K> {
    fn drop(&mut self) {
        self.wipe();
    }
}

impl<K: Compress> Vector<K> {
    /// `None` if there is no memory.
    pub(crate) fn new(kernel: K, cost: Cost, width: usize) -> Option<Self> {
        let memory = Memory::new((cost.blocks() + GAP).checked_mul(width)?)?;
        Some(Self { kernel, cost, plan: Plan::new(kernel, cost), memory, used: 0 })
    }

    /// Computes the tags of one to four jobs. Whether it was let go on to the end.
    pub(crate) fn hash(&mut self, jobs: &mut [Job<'_>], go_on: &mut dyn FnMut() -> bool) -> bool {
        match jobs {
            [a] => self.together([a], go_on),
            [a, b] => self.together([a, b], go_on),
            [a, b, c] => self.together([a, b, c], go_on),
            [a, b, c, d] => self.together([a, b, c, d], go_on),
            // A worker is at most four wide.
            _ => false,
        }
    }

    fn together<const W: usize>(&mut self, jobs: [&mut Job<'_>; W], go_on: &mut dyn FnMut() -> bool) -> bool {
        let blocks = self.cost.blocks();
        self.used = self.used.max(W);
        let mut rest: &mut [K::Block] = self.memory.blocks();
        let mut memories: [&mut [K::Block]; W] = std::array::from_fn(|_| {
            let (memory, others) = std::mem::take(&mut rest).split_at_mut(blocks + GAP);
            rest = others;
            &mut memory[..blocks]
        });
        for (memory, job) in memories.iter_mut().zip(&jobs) {
            let hash = initial::first_hash(self.cost, job);
            for (block, index) in memory.iter_mut().zip(0..2) {
                *block = arrange::<K>(&initial::first_block(&hash, index));
            }
        }
        for pass in 0..self.cost.passes() {
            if !go_on() {
                return false;
            }
            self.plan.pass(self.kernel, pass, &mut memories);
        }
        for (memory, job) in memories.iter().zip(jobs) {
            initial::tag(&words::<K>(&memory[blocks - 1]), job.tag);
        }
        true
    }

    pub(crate) fn wipe(&mut self) {
        self.memory.wipe(self.used * (self.cost.blocks() + GAP));
        self.used = 0;
    }

    #[cfg(test)]
    pub(crate) fn is_zero(&mut self) -> bool {
        self.memory.is_zero()
    }
}
