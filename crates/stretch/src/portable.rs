//! RustCrypto's `argon2`, for processors without a kernel here, with a buffer that is kept.

use argon2::{Algorithm, Argon2, Block, Params, Version};
use zeroize::Zeroize;

use crate::{Cost, Job};

pub(crate) struct Portable {
    cost: Cost,
    blocks: Vec<Block>,
}

impl Portable {
    /// `None` if there is no memory.
    pub(crate) fn new(cost: Cost) -> Option<Self> {
        let mut blocks = Vec::new();
        blocks.try_reserve_exact(cost.blocks()).ok()?;
        blocks.resize(cost.blocks(), Block::new());
        Some(Self { cost, blocks })
    }

    /// Computes one tag. Whether it is done: cost and lengths are checked, so that nothing is refused.
    pub(crate) fn hash(&mut self, job: &mut Job<'_>) -> bool {
        let done = Params::new(self.cost.memory_kib(), self.cost.passes(), 1, Some(job.tag.len())).and_then(
            |params| {
                let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
                argon2.hash_password_into_with_memory(job.password, job.salt, job.tag, &mut self.blocks[..])
            },
        );
        debug_assert!(done.is_ok(), "cost and lengths are checked");
        done.is_ok()
    }

    pub(crate) fn wipe(&mut self) {
        self.blocks.iter_mut().zeroize();
    }

    #[cfg(test)]
    pub(crate) fn is_zero(&self) -> bool {
        self.blocks.iter().flat_map(AsRef::<[u64]>::as_ref).all(|&word| word == 0)
    }
}

impl Drop for Portable {
    fn drop(&mut self) {
        self.wipe();
    }
}
