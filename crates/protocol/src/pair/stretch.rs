use std::fmt;

use argon2::{Algorithm, Argon2, Block, Params, Version};
use zeroize::Zeroize;

use super::{Pair, StretchPepper, Stretched, Suite};
use crate::identifier::Sii;

/// One Argon2id worker (RFC 9106) with its memory, kept from call to call: allocating it anew costs up to half of the
/// speed.
///
/// The memory holds what an identifier could be guessed from. [`wipe`](Self::wipe) it before a pause; dropping does.
pub struct Stretcher {
    suite: Suite,
    blocks: Vec<Block>,
}

/// There is no room for the memory of one [`Stretcher`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no memory for Argon2id: one worker needs {memory_kib} KiB")]
pub struct OutOfMemory {
    memory_kib: u32,
}

/// Argon2id refused its parameters. Those of a [`Suite`] are never refused.
#[derive(Debug, thiserror::Error)]
#[error("Argon2id refused its parameters")]
pub struct StretchError(#[source] argon2::Error);

impl Stretcher {
    /// Allocates the memory of one worker.
    ///
    /// # Errors
    /// [`OutOfMemory`] if there is none to be had. (Where the system overcommits, it gives and kills later: bound the
    /// number of workers by [`Suite::memory_bytes`].)
    pub fn new(suite: Suite) -> Result<Self, OutOfMemory> {
        let out_of_memory = OutOfMemory { memory_kib: suite.memory_kib };
        // An Argon2 block is 1 KiB (RFC 9106, section 3.2).
        let count = usize::try_from(suite.memory_kib).map_err(|_| out_of_memory)?;
        let mut blocks = Vec::new();
        blocks.try_reserve_exact(count).map_err(|_| out_of_memory)?;
        blocks.resize(count, Block::new());
        Ok(Self { suite, blocks })
    }

    /// A worker of any cost, for known-answer vectors: no epoch can name it. Costs below 8 KiB or one pass are refused
    /// when stretching.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_cost(memory_kib: u32, passes: u32) -> Result<Self, OutOfMemory> {
        Self::new(Suite::for_vectors(memory_kib, passes))
    }

    /// What each call costs.
    #[must_use]
    pub fn suite(&self) -> Suite {
        self.suite
    }

    /// Stretches a pair: Argon2id with the pair for a password and the pepper for a salt.
    ///
    /// # Errors
    /// See [`StretchError`].
    pub fn stretch_pair(&mut self, pepper: &StretchPepper, pair: &Pair) -> Result<Stretched, StretchError> {
        self.stretch(pepper, pair.as_bytes())
    }

    /// Stretches one identifier, for limits keyed by a number. It holds no 0x00 byte and a pair holds one, so the two
    /// never collide.
    ///
    /// # Errors
    /// See [`StretchError`].
    pub fn stretch_one(&mut self, pepper: &StretchPepper, sii: &Sii) -> Result<Stretched, StretchError> {
        self.stretch(pepper, sii.as_bytes())
    }

    /// Overwrites the memory with zeroes, and keeps it.
    pub fn wipe(&mut self) {
        self.blocks.iter_mut().zeroize();
    }

    #[cfg(test)]
    pub(super) fn is_zero(&self) -> bool {
        self.blocks.iter().flat_map(AsRef::<[u64]>::as_ref).all(|&word| word == 0)
    }

    fn stretch(&mut self, pepper: &StretchPepper, password: &[u8]) -> Result<Stretched, StretchError> {
        let mut stretched = Stretched::from_bytes([0; Stretched::LEN]);
        Params::new(self.suite.memory_kib, self.suite.passes, 1, Some(Stretched::LEN))
            .map(|params| Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
            .and_then(|argon2| {
                let out = stretched.as_mut_bytes();
                argon2.hash_password_into_with_memory(password, pepper.as_bytes(), out, &mut self.blocks[..])
            })
            .map_err(StretchError)?;
        Ok(stretched)
    }
}

impl Drop for Stretcher {
    fn drop(&mut self) {
        self.wipe();
    }
}

impl fmt::Debug for Stretcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stretcher").field("suite", &self.suite).finish_non_exhaustive()
    }
}
