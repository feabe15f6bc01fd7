//! The hashing pool: a fixed number of threads, each with the memory for a few Argon2id at a time.
//!
//! Its memory is bounded by threads × width × suite. Threads run at a lower priority than the rest of the process, so that
//! requests stay quick while imports use every core.

mod queue;
mod stretcher;
#[cfg(test)]
mod tests;

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use acquaint_protocol::pair::{StretchPepper, Stretched, Suite};
use acquaint_stretch::{HashError, Kernel, Worker};
use tokio::sync::oneshot;
use zeroize::Zeroizing;

pub(crate) use queue::Lane;
use queue::{Queue, Task};
pub use stretcher::StretchError;
use stretcher::{Stretch, Stretcher};

/// How far below the rest of the process the threads run (nice value added).
const NICENESS: i32 = 10;
/// Assumed until the first hash has been measured: `standard` on a slow core.
const UNMEASURED: Duration = Duration::from_millis(40);

/// The pool did not do the work.
#[derive(Debug, thiserror::Error)]
pub enum PoolError {
    /// Too much urgent work waits.
    #[error("too many requests wait for the hashing pool")]
    Busy,
    /// The pool is shutting down, or the work failed.
    #[error("the hashing pool is shutting down")]
    Closed,
    /// Argon2id could not be computed.
    #[error("hashing failed")]
    Stretch(#[from] StretchError),
}

/// What the pool has done since it started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PoolStats {
    /// Hashes computed.
    pub hashes: u64,
    /// CPU time spent in them, in nanoseconds.
    pub cpu_nanos: u64,
    /// Threads that hash at this moment.
    pub busy: u64,
}

/// How large a pool may be.
#[derive(Debug, Clone, Copy)]
pub struct PoolSize {
    /// Threads at most.
    pub threads: NonZeroUsize,
    /// Memory for Argon2id at most, in bytes, over all threads.
    pub memory_bytes: u64,
}

/// How large a pool is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolPlan {
    /// Threads.
    pub threads: NonZeroUsize,
    /// Hashes that each advances at a time.
    pub width: usize,
}

impl PoolSize {
    /// What fits for `suite`: first as many threads as may be, then the width that makes each of them fastest. `None` if not
    /// even one hash fits into the memory.
    #[must_use]
    pub fn plan_for(self, suite: Suite) -> Option<PoolPlan> {
        self.plan(suite, Kernel::best())
    }

    fn plan(self, suite: Suite, kernel: Kernel) -> Option<PoolPlan> {
        let fit = usize::try_from(self.memory_bytes / suite.memory_bytes().max(1)).unwrap_or(usize::MAX);
        let threads = NonZeroUsize::new(fit.min(self.threads.get()))?;
        let widest = if kernel == Kernel::Portable { 1 } else { Worker::WIDTH };
        Some(PoolPlan { threads, width: widest.min(fit / threads) })
    }
}

struct Shared {
    queue: Mutex<Queue>,
    wake: Condvar,
    plan: PoolPlan,
    hashes: AtomicU64,
    cpu_nanos: AtomicU64,
    busy: AtomicU64,
    /// Smoothed wall-clock nanoseconds of one hash on one thread; 0 until measured.
    hash_nanos: AtomicU64,
}

/// The pool. Dropping it ends the work of each thread at its next pass over the memory.
pub(crate) struct StretchPool {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl StretchPool {
    pub(crate) fn start(plan: PoolPlan) -> std::io::Result<Self> {
        Self::start_with(plan, || Stretcher::new(plan.width))
    }

    fn start_with<S: Stretch + Send + 'static>(
        plan: PoolPlan,
        stretcher: impl Fn() -> S,
    ) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            wake: Condvar::new(),
            plan,
            hashes: AtomicU64::new(0),
            cpu_nanos: AtomicU64::new(0),
            busy: AtomicU64::new(0),
            hash_nanos: AtomicU64::new(0),
        });
        let spawn = |index| {
            let (shared, stretcher) = (Arc::clone(&shared), stretcher());
            std::thread::Builder::new()
                .name(format!("stretch-{index}"))
                .spawn(move || work(&shared, stretcher))
        };
        let threads = (0..plan.threads.get()).map(spawn).collect::<Result<_, _>>()?;
        Ok(Self { shared, threads })
    }

    /// Argon2id of `password`, with the pepper for a salt. If the caller stops waiting, it is dropped: before it has begun, or
    /// when nobody waits for what is computed beside it either.
    pub(crate) async fn stretch(
        &self,
        lane: Lane,
        suite: Suite,
        pepper: StretchPepper,
        password: &[u8],
    ) -> Result<Stretched, PoolError> {
        let (reply, answer) = oneshot::channel();
        let password = Zeroizing::new(password.to_vec());
        lock(&self.shared.queue).put(lane, Task { suite, pepper, password, reply })?;
        self.shared.wake.notify_one();
        answer.await.map_err(|_| PoolError::Closed)?
    }

    pub(crate) fn threads(&self) -> usize {
        self.threads.len()
    }

    /// How many hashes the pool computes at a time.
    pub(crate) fn at_a_time(&self) -> usize {
        self.threads.len() * self.shared.plan.width
    }

    pub(crate) fn stats(&self) -> PoolStats {
        PoolStats {
            hashes: self.shared.hashes.load(Ordering::Relaxed),
            cpu_nanos: self.shared.cpu_nanos.load(Ordering::Relaxed),
            busy: self.shared.busy.load(Ordering::Relaxed),
        }
    }

    /// How many hashes the pool does in `time`, going by what it has measured.
    pub(crate) fn capacity(&self, time: Duration) -> u64 {
        let hashes = time.as_nanos() * self.threads.len() as u128 / u128::from(self.hash_nanos());
        u64::try_from(hashes).unwrap_or(u64::MAX)
    }

    /// How long the pool needs for so many hashes, going by what it has measured.
    pub(crate) fn time_for(&self, hashes: u64) -> Duration {
        let nanos = u128::from(hashes) * u128::from(self.hash_nanos()) / self.threads.len().max(1) as u128;
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// Of one hash on one thread.
    fn hash_nanos(&self) -> u64 {
        match self.shared.hash_nanos.load(Ordering::Relaxed) {
            0 => u64::try_from(UNMEASURED.as_nanos()).unwrap_or(u64::MAX),
            nanos => nanos,
        }
    }
}

impl Drop for StretchPool {
    fn drop(&mut self) {
        lock(&self.shared.queue).close();
        self.shared.wake.notify_all();
        for thread in self.threads.drain(..) {
            // A thread that panicked has nothing left to give back.
            let _ = thread.join();
        }
    }
}

/// One thread that hashes, also when the hash panics.
struct Busy<'a>(&'a AtomicU64);

impl<'a> Busy<'a> {
    fn begin(count: &'a AtomicU64) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What a thread does next.
enum Next {
    Stretch(Vec<Task>),
    Wait,
    End,
}

impl Shared {
    /// Counts the hashes of work that succeeds, and the time that they took; CPU time is counted in any case.
    fn measured<E>(&self, work: impl FnOnce() -> Result<Vec<Stretched>, E>) -> Result<Vec<Stretched>, E> {
        let _busy = Busy::begin(&self.busy);
        let (began, cpu_began) = (Instant::now(), thread_cpu_nanos());
        let outcome = work();
        self.cpu_nanos.fetch_add(thread_cpu_nanos().saturating_sub(cpu_began), Ordering::Relaxed);
        let hashes = outcome.as_ref().map_or(0, Vec::len) as u64;
        let nanos = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        if let Some(nanos) = nanos.checked_div(hashes) {
            self.hashes.fetch_add(hashes, Ordering::Relaxed);
            let before = self.hash_nanos.load(Ordering::Relaxed);
            let smoothed = if before == 0 {
                nanos
            } else {
                (0..hashes).fold(before, |smoothed, _| smoothed - smoothed / 16 + nanos / 16)
            };
            self.hash_nanos.store(smoothed.max(1), Ordering::Relaxed);
        }
        outcome
    }

    fn next(&self) -> Next {
        let mut queue = lock(&self.queue);
        if queue.is_closed() {
            return Next::End;
        }
        let batch = queue.take(self.plan.width, self.plan.threads.get());
        if batch.is_empty() { Next::Wait } else { Next::Stretch(batch) }
    }

    fn wait(&self) {
        let queue = lock(&self.queue);
        let idle = |queue: &mut Queue| !queue.is_closed() && queue.is_empty();
        drop(self.wake.wait_while(queue, idle));
    }
}

fn work(shared: &Shared, mut stretcher: impl Stretch) {
    // On Linux this lowers the calling thread alone. A refusal costs latency, not correctness.
    let _ = rustix::process::nice(NICENESS);
    loop {
        let batch = match shared.next() {
            Next::Stretch(batch) => batch,
            Next::Wait => {
                // What is left in the memory derives from an address book: wipe it when nothing overwrites it soon.
                stretcher.wipe();
                shared.wait();
                continue;
            }
            Next::End => return,
        };
        let mut go_on =
            || batch.iter().any(|task| !task.reply.is_closed()) && !lock(&shared.queue).is_closed();
        let stretching = || shared.measured(|| stretcher.stretch(&batch, &mut go_on));
        match std::panic::catch_unwind(std::panic::AssertUnwindSafe(stretching)) {
            Ok(Ok(stretched)) => {
                for (task, stretched) in batch.into_iter().zip(stretched) {
                    // The caller may have left; then nobody wants it.
                    let _ = task.reply.send(Ok(stretched));
                }
            }
            // Nobody waits.
            Ok(Err(StretchError::Hash(HashError::Cancelled { .. }))) => {}
            Ok(Err(error)) => {
                for task in batch {
                    let _ = task.reply.send(Err(error.into()));
                }
            }
            // The callers see their channels closed.
            Err(_) => {
                stretcher.wipe();
                tracing::error!("a hashing job failed unexpectedly");
            }
        }
    }
}

/// A panic while the lock is held leaves the queue whole: every change to it is one call.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn thread_cpu_nanos() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    let (seconds, nanos) =
        (u64::try_from(time.tv_sec).unwrap_or(0), u64::try_from(time.tv_nsec).unwrap_or(0));
    seconds.saturating_mul(1_000_000_000).saturating_add(nanos)
}
