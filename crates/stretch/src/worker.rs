use std::fmt;

use crate::portable::Portable;
#[cfg(target_arch = "x86_64")]
use crate::vector::{Avx2, Avx512, Vector};
use crate::{Cost, HashError, Job};

/// What computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kernel {
    /// 512-bit vectors; the processor has AVX-512F.
    Avx512,
    /// 256-bit vectors; the processor has AVX2.
    Avx2,
    /// RustCrypto's `argon2`, one hash at a time. Runs everywhere.
    Portable,
}

/// Computes tags of one cost. Holds the memory for as many hashes as it advances at a time: one worker for each thread.
///
/// The memory holds what a password could be guessed from. [`wipe`](Self::wipe) it before a pause; dropping does.
pub struct Worker {
    cost: Cost,
    kernel: Kernel,
    width: usize,
    engine: Engine,
}

/// No such worker can be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WorkerError {
    /// The system has no room for its memory.
    #[error("no memory for Argon2id: one worker needs {bytes} bytes")]
    OutOfMemory {
        /// What was asked for.
        bytes: u64,
    },
    /// This processor does not have the kernel's instructions.
    #[error("this processor has no {0}")]
    NoKernel(Kernel),
    /// So many hashes are not computed at a time.
    #[error("a worker's width is {0}: it has to be 1 to {max}", max = Worker::MAX_WIDTH)]
    Width(usize),
}

enum Engine {
    #[cfg(target_arch = "x86_64")]
    Avx512(Vector<Avx512>),
    #[cfg(target_arch = "x86_64")]
    Avx2(Vector<Avx2>),
    Portable(Portable),
}

impl Kernel {
    /// All of them, the fastest first.
    pub const ALL: [Self; 3] = [Self::Avx512, Self::Avx2, Self::Portable];

    /// Whether this processor has it.
    #[must_use]
    pub fn is_available(self) -> bool {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => Avx512::detect().is_some(),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => Avx2::detect().is_some(),
            #[cfg(not(target_arch = "x86_64"))]
            Self::Avx512 | Self::Avx2 => false,
            Self::Portable => true,
        }
    }

    /// The fastest that this processor has.
    #[must_use]
    pub fn best() -> Self {
        Self::ALL.into_iter().find(|kernel| kernel.is_available()).unwrap_or(Self::Portable)
    }

    /// How many hashes a worker holds if it is asked for `width` of them.
    const fn width(self, width: usize) -> usize {
        match self {
            Self::Avx512 | Self::Avx2 => width,
            Self::Portable => 1,
        }
    }
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Avx512 => "AVX-512",
            Self::Avx2 => "AVX2",
            Self::Portable => "portable code",
        })
    }
}

impl Worker {
    /// The width of [`new`](Self::new). Measured: with fewer a processor waits for its memory, more gain nothing.
    pub const WIDTH: usize = 3;
    /// The widest.
    pub const MAX_WIDTH: usize = 4;

    /// A worker with this processor's fastest kernel and [`WIDTH`](Self::WIDTH).
    ///
    /// # Errors
    /// [`WorkerError::OutOfMemory`].
    pub fn new(cost: Cost) -> Result<Self, WorkerError> {
        Self::with(cost, Kernel::best(), Self::WIDTH)
    }

    /// A worker of that kernel that advances up to `width` hashes at a time.
    ///
    /// # Errors
    /// See [`WorkerError`]. Where the system overcommits, it gives memory and kills later: bound the number of workers by
    /// [`memory_bytes`](Self::memory_bytes).
    pub fn with(cost: Cost, kernel: Kernel, width: usize) -> Result<Self, WorkerError> {
        if !(1..=Self::MAX_WIDTH).contains(&width) {
            return Err(WorkerError::Width(width));
        }
        if !kernel.is_available() {
            return Err(WorkerError::NoKernel(kernel));
        }
        let width = kernel.width(width);
        let engine = match kernel {
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx512 => {
                Avx512::detect().and_then(|kernel| Vector::new(kernel, cost, width)).map(Engine::Avx512)
            }
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx2 => {
                Avx2::detect().and_then(|kernel| Vector::new(kernel, cost, width)).map(Engine::Avx2)
            }
            #[cfg(not(target_arch = "x86_64"))]
            Kernel::Avx512 | Kernel::Avx2 => None,
            Kernel::Portable => Portable::new(cost).map(Engine::Portable),
        };
        let bytes = Self::memory_bytes(cost, kernel, width);
        let engine = engine.ok_or(WorkerError::OutOfMemory { bytes })?;
        Ok(Self { cost, kernel, width, engine })
    }

    /// What a worker holds while it hashes, in bytes, to within a huge page.
    #[must_use]
    pub const fn memory_bytes(cost: Cost, kernel: Kernel, width: usize) -> u64 {
        // A block is 1 KiB (RFC 9106, section 3.2).
        cost.blocks() as u64 * 1024 * kernel.width(width) as u64
    }

    /// What each hash costs.
    #[must_use]
    pub const fn cost(&self) -> Cost {
        self.cost
    }

    /// What computes.
    #[must_use]
    pub const fn kernel(&self) -> Kernel {
        self.kernel
    }

    /// How many hashes it advances at a time: give it a multiple of that.
    #[must_use]
    pub const fn width(&self) -> usize {
        self.width
    }

    /// Computes every job's tag. It takes as many as it is wide at a time, and before each
    /// pass of those over their memory (in portable code before each hash) it asks whether to `go_on`.
    ///
    /// # Errors
    /// See [`HashError`].
    pub fn hash(&mut self, jobs: &mut [Job<'_>], mut go_on: impl FnMut() -> bool) -> Result<(), HashError> {
        self.hash_while(jobs, &mut go_on)
    }

    /// Not generic: so the kernels are compiled with this crate, at its level of optimisation, and not with each caller.
    fn hash_while(&mut self, jobs: &mut [Job<'_>], go_on: &mut dyn FnMut() -> bool) -> Result<(), HashError> {
        for (index, job) in jobs.iter().enumerate() {
            job.check(index)?;
        }
        let (total, mut rest) = (jobs.len(), jobs);
        while !rest.is_empty() {
            let done = total - rest.len();
            // Groups of equal size: four jobs at width three are two and two.
            let groups = rest.len().div_ceil(self.width);
            let (group, later) = rest.split_at_mut(rest.len().div_ceil(groups));
            if !self.engine.hash(group, go_on) {
                return Err(HashError::Cancelled { done });
            }
            rest = later;
        }
        Ok(())
    }

    /// Overwrites the memory with zeroes, and keeps it.
    pub fn wipe(&mut self) {
        match &mut self.engine {
            #[cfg(target_arch = "x86_64")]
            Engine::Avx512(vector) => vector.wipe(),
            #[cfg(target_arch = "x86_64")]
            Engine::Avx2(vector) => vector.wipe(),
            Engine::Portable(portable) => portable.wipe(),
        }
    }

    #[cfg(test)]
    pub(crate) fn is_zero(&mut self) -> bool {
        match &mut self.engine {
            #[cfg(target_arch = "x86_64")]
            Engine::Avx512(vector) => vector.is_zero(),
            #[cfg(target_arch = "x86_64")]
            Engine::Avx2(vector) => vector.is_zero(),
            Engine::Portable(portable) => portable.is_zero(),
        }
    }
}

impl Engine {
    /// At most as many jobs as the worker is wide. Whether they are done.
    fn hash(&mut self, jobs: &mut [Job<'_>], go_on: &mut dyn FnMut() -> bool) -> bool {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(vector) => vector.hash(jobs, go_on),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(vector) => vector.hash(jobs, go_on),
            Self::Portable(portable) => jobs.iter_mut().all(|job| go_on() && portable.hash(job)),
        }
    }
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker")
            .field("cost", &self.cost)
            .field("kernel", &self.kernel)
            .field("width", &self.width)
            .finish_non_exhaustive()
    }
}
