//! The hashing pool: a fixed number of threads, each with one Argon2id buffer.
//!
//! Never more Argon2id runs at once than there are threads, so its memory is bounded by threads × suite. Threads run
//! at a lower priority than the rest of the process, so that requests stay quick while imports use every core.

use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use acquaint_protocol::pair::{StretchError, Stretcher, Suite};
use tokio::sync::oneshot;

/// Urgent work that may wait at once; more is refused.
const MAX_URGENT: usize = 256;
/// How far below the rest of the process the threads run (nice value added).
const NICENESS: i32 = 10;
/// Assumed until the first hash has been measured: `standard` on a slow core.
const UNMEASURED: Duration = Duration::from_millis(40);

/// Which queue work waits in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lane {
    /// Somebody waits for this one hash: goes before everything in bulk.
    Urgent,
    /// Part of an import.
    Bulk,
}

/// The pool did not do the work.
#[derive(Debug, thiserror::Error)]
pub enum PoolError {
    /// Too much urgent work waits.
    #[error("too many requests wait for the hashing pool")]
    Busy,
    /// The pool is shutting down, or the work failed.
    #[error("the hashing pool is shutting down")]
    Closed,
    /// There is no memory for an Argon2id buffer.
    #[error("there is no memory for hashing")]
    OutOfMemory,
    /// Argon2id refused its input.
    #[error("an input cannot be hashed")]
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

impl PoolSize {
    /// How many threads fit for `suite`; `None` if not even one buffer fits into the memory.
    #[must_use]
    pub fn threads_for(self, suite: Suite) -> Option<NonZeroUsize> {
        let fit = usize::try_from(self.memory_bytes / suite.memory_bytes().max(1)).unwrap_or(usize::MAX);
        NonZeroUsize::new(fit.min(self.threads.get()))
    }
}

type Job = Box<dyn FnOnce(&mut Option<Stretcher>) + Send>;

struct Shared {
    queue: Mutex<Queue>,
    wake: Condvar,
    hashes: AtomicU64,
    cpu_nanos: AtomicU64,
    busy: AtomicU64,
    /// Smoothed wall-clock nanoseconds of one hash on one thread; 0 until measured.
    hash_nanos: AtomicU64,
}

#[derive(Default)]
struct Queue {
    urgent: VecDeque<Job>,
    bulk: VecDeque<Job>,
    closed: bool,
}

/// The pool. Dropping it finishes the hash that each thread is at and stops.
pub(crate) struct StretchPool {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl StretchPool {
    pub(crate) fn start(threads: NonZeroUsize) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            wake: Condvar::new(),
            hashes: AtomicU64::new(0),
            cpu_nanos: AtomicU64::new(0),
            busy: AtomicU64::new(0),
            hash_nanos: AtomicU64::new(0),
        });
        let spawn = |index| {
            let shared = Arc::clone(&shared);
            std::thread::Builder::new().name(format!("stretch-{index}")).spawn(move || work(&shared))
        };
        let threads = (0..threads.get()).map(spawn).collect::<Result<_, _>>()?;
        Ok(Self { shared, threads })
    }

    /// Runs `work` on a thread of the pool, with a stretcher for `suite`. If the caller stops waiting, work that has
    /// not begun is dropped.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        lane: Lane,
        suite: Suite,
        work: impl FnOnce(&mut Stretcher) -> T + Send + 'static,
    ) -> Result<T, PoolError> {
        let (reply, answer) = oneshot::channel();
        let shared = Arc::clone(&self.shared);
        let job: Job = Box::new(move |buffer| {
            if reply.is_closed() {
                return;
            }
            // A thread keeps one buffer, so that memory stays bounded while two suites are in use.
            if buffer.as_ref().is_none_or(|held| held.suite() != suite) {
                *buffer = None;
                *buffer = Stretcher::new(suite).ok();
            }
            let outcome = match buffer {
                Some(stretcher) => Ok(shared.measured(|| work(stretcher))),
                None => Err(PoolError::OutOfMemory),
            };
            // The caller may have left; then nobody wants the outcome.
            let _ = reply.send(outcome);
        });
        self.enqueue(lane, job)?;
        answer.await.map_err(|_| PoolError::Closed)?
    }

    fn enqueue(&self, lane: Lane, job: Job) -> Result<(), PoolError> {
        let mut queue = lock(&self.shared.queue);
        if queue.closed {
            return Err(PoolError::Closed);
        }
        match lane {
            Lane::Urgent if queue.urgent.len() >= MAX_URGENT => return Err(PoolError::Busy),
            Lane::Urgent => queue.urgent.push_back(job),
            Lane::Bulk => queue.bulk.push_back(job),
        }
        drop(queue);
        self.shared.wake.notify_one();
        Ok(())
    }

    pub(crate) fn threads(&self) -> usize {
        self.threads.len()
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
        {
            let mut queue = lock(&self.shared.queue);
            queue.closed = true;
            queue.urgent.clear();
            queue.bulk.clear();
        }
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

impl Shared {
    fn measured<T>(&self, work: impl FnOnce() -> T) -> T {
        let _busy = Busy::begin(&self.busy);
        let (began, cpu_began) = (Instant::now(), thread_cpu_nanos());
        let outcome = work();
        let nanos = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.cpu_nanos.fetch_add(thread_cpu_nanos().saturating_sub(cpu_began), Ordering::Relaxed);
        self.hashes.fetch_add(1, Ordering::Relaxed);
        let before = self.hash_nanos.load(Ordering::Relaxed);
        let smoothed = if before == 0 { nanos } else { before - before / 16 + nanos / 16 };
        self.hash_nanos.store(smoothed.max(1), Ordering::Relaxed);
        outcome
    }

    /// The next job, if one waits; `None` at the end of the pool.
    fn next(&self) -> Option<Option<Job>> {
        let mut queue = lock(&self.queue);
        if queue.closed {
            return None;
        }
        Some(queue.urgent.pop_front().or_else(|| queue.bulk.pop_front()))
    }

    fn wait(&self) {
        let queue = lock(&self.queue);
        let idle = |queue: &mut Queue| !queue.closed && queue.urgent.is_empty() && queue.bulk.is_empty();
        drop(self.wake.wait_while(queue, idle));
    }
}

fn work(shared: &Shared) {
    // On Linux this lowers the calling thread alone. A refusal costs latency, not correctness.
    let _ = rustix::process::nice(NICENESS);
    let mut buffer: Option<Stretcher> = None;
    while let Some(next) = shared.next() {
        let Some(job) = next else {
            // What is left in the buffer derives from an address book: wipe it when nothing overwrites it soon.
            if let Some(stretcher) = &mut buffer {
                stretcher.wipe();
            }
            shared.wait();
            continue;
        };
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| job(&mut buffer)));
        if outcome.is_err() {
            // The job's caller sees its channel closed; the buffer may be half-used.
            buffer = None;
            tracing::error!("a hashing job failed unexpectedly");
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::sync::mpsc;

    use super::*;

    fn pool(threads: usize) -> Arc<StretchPool> {
        Arc::new(StretchPool::start(NonZeroUsize::new(threads).unwrap()).unwrap())
    }

    #[test]
    fn as_many_threads_as_fit_into_the_memory() {
        let size = |threads, mib: u64| PoolSize {
            threads: NonZeroUsize::new(threads).unwrap(),
            memory_bytes: mib * 1024 * 1024,
        };
        let fit = |size: PoolSize, suite| size.threads_for(suite).map(NonZeroUsize::get);
        assert_eq!(fit(size(8, 64), Suite::STANDARD), Some(3));
        assert_eq!(fit(size(2, 1024), Suite::STANDARD), Some(2));
        assert_eq!(fit(size(8, 64), Suite::HARD), Some(1));
        assert_eq!(fit(size(8, 63), Suite::HARD), None);
    }

    #[tokio::test]
    async fn never_more_at_once_than_threads() {
        let pool = pool(3);
        let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let calls = (0..60).map(|n| {
            let (running, most) = (Arc::clone(&running), Arc::clone(&most));
            let lane = if n % 2 == 0 { Lane::Urgent } else { Lane::Bulk };
            pool.run(lane, Suite::DEVELOPMENT, move |_| {
                most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                std::thread::sleep(Duration::from_millis(2));
                running.fetch_sub(1, Ordering::SeqCst);
            })
        });
        assert!(futures::future::join_all(calls).await.iter().all(Result::is_ok));
        assert!((2..=3).contains(&most.load(Ordering::SeqCst)));
        assert_eq!(pool.stats().hashes, 60);
    }

    #[tokio::test]
    async fn urgent_work_goes_first_and_abandoned_work_is_dropped() {
        let pool = pool(1);
        let (release, gate) = mpsc::channel::<()>();
        let blocker = {
            let pool = Arc::clone(&pool);
            tokio::spawn(async move {
                pool.run(Lane::Bulk, Suite::DEVELOPMENT, move |_| gate.recv().is_ok()).await
            })
        };
        // One yield hands the blocker to the pool's only thread or queue, ahead of everything below.
        tokio::task::yield_now().await;
        let order = Arc::new(Mutex::new(Vec::new()));
        let spawn = |lane, name: &'static str| {
            let (pool, order) = (Arc::clone(&pool), Arc::clone(&order));
            tokio::spawn(
                async move { pool.run(lane, Suite::DEVELOPMENT, move |_| lock(&order).push(name)).await },
            )
        };
        let bulk = spawn(Lane::Bulk, "bulk");
        let abandoned = spawn(Lane::Bulk, "abandoned");
        let urgent = spawn(Lane::Urgent, "urgent");
        tokio::task::yield_now().await;
        abandoned.abort();
        assert!(abandoned.await.unwrap_err().is_cancelled());
        release.send(()).unwrap();
        assert!(blocker.await.unwrap().unwrap());
        urgent.await.unwrap().unwrap();
        bulk.await.unwrap().unwrap();
        assert_eq!(*lock(&order), ["urgent", "bulk"]);
    }

    #[tokio::test]
    async fn too_much_urgent_work_is_refused() {
        let pool = pool(1);
        let (release, gate) = mpsc::channel::<()>();
        let (began, begun) = mpsc::channel::<()>();
        let blocker: Job = Box::new(move |_| {
            began.send(()).unwrap();
            gate.recv().unwrap();
        });
        pool.enqueue(Lane::Bulk, blocker).unwrap();
        begun.recv().unwrap();
        for _ in 0..MAX_URGENT {
            pool.enqueue(Lane::Urgent, Box::new(|_| {})).unwrap();
        }
        assert!(matches!(pool.enqueue(Lane::Urgent, Box::new(|_| {})), Err(PoolError::Busy)));
        pool.enqueue(Lane::Bulk, Box::new(|_| {})).unwrap();
        release.send(()).unwrap();
    }

    #[tokio::test]
    async fn a_panic_ends_its_job_alone() {
        let pool = pool(1);
        let failed = pool.run(Lane::Bulk, Suite::DEVELOPMENT, |_| panic!("on purpose")).await;
        assert!(matches!(failed, Err(PoolError::Closed)));
        assert_eq!(pool.run(Lane::Bulk, Suite::DEVELOPMENT, |_| 1).await.unwrap(), 1);
    }
}
