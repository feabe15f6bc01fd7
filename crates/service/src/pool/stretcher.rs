//! Argon2id with the memory of one thread.

use acquaint_protocol::pair::{Stretched, Suite};
use acquaint_stretch::{Cost, CostError, HashError, Job, Worker, WorkerError};
use zeroize::Zeroizing;

use super::queue::Task;

/// Why a batch was not stretched.
#[derive(Debug, Clone, Copy, thiserror::Error)]
pub enum StretchError {
    /// The suite's cost is none of Argon2's. Those of [`Suite::ALL`] are.
    #[error("the suite's cost is out of range")]
    Cost(#[from] CostError),
    /// There is no memory.
    #[error("there is no memory for hashing")]
    Worker(#[from] WorkerError),
    /// An input was refused, or nobody waits any more.
    #[error("an input cannot be hashed")]
    Hash(#[from] HashError),
}

/// Stretches batches; the tests of the pool have another one.
pub(super) trait Stretch {
    /// The outputs of the batch, in its order. The tasks are of one suite.
    fn stretch(
        &mut self,
        batch: &[Task],
        go_on: &mut dyn FnMut() -> bool,
    ) -> Result<Vec<Stretched>, StretchError>;

    /// Overwrites what derives from inputs.
    fn wipe(&mut self);
}

/// One thread's worker, for the suite that it had last: memory stays bounded while two suites are in use.
pub(super) struct Stretcher {
    width: usize,
    worker: Option<(Suite, Worker)>,
}

impl Stretcher {
    pub(super) fn new(width: usize) -> Self {
        Self { width, worker: None }
    }

    fn worker(&mut self, suite: Suite) -> Result<&mut Worker, StretchError> {
        if self.worker.as_ref().is_some_and(|(held, _)| *held != suite) {
            self.worker = None;
        }
        let (_, worker) = match &mut self.worker {
            Some(held) => held,
            none => none.insert((suite, new_worker(suite, self.width)?)),
        };
        Ok(worker)
    }
}

fn new_worker(suite: Suite, width: usize) -> Result<Worker, StretchError> {
    let cost = Cost::new(suite.memory_kib, suite.passes)?;
    Ok(Worker::with(cost, acquaint_stretch::Kernel::best(), width)?)
}

impl Stretch for Stretcher {
    fn stretch(
        &mut self,
        batch: &[Task],
        go_on: &mut dyn FnMut() -> bool,
    ) -> Result<Vec<Stretched>, StretchError> {
        let Some(first) = batch.first() else { return Ok(Vec::new()) };
        let mut tags: Vec<Zeroizing<[u8; 32]>> = batch.iter().map(|_| Zeroizing::default()).collect();
        let mut jobs: Vec<Job<'_>> = batch
            .iter()
            .zip(&mut tags)
            .map(|(task, tag)| Job {
                password: &task.password,
                salt: task.pepper.as_bytes(),
                tag: tag.as_mut_slice(),
            })
            .collect();
        self.worker(first.suite)?.hash(&mut jobs, go_on)?;
        Ok(tags.iter().map(|tag| Stretched::from_bytes(**tag)).collect())
    }

    fn wipe(&mut self) {
        if let Some((_, worker)) = &mut self.worker {
            worker.wipe();
        }
    }
}
