use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::mpsc;

use super::*;

fn plan(threads: usize, width: usize) -> PoolPlan {
    PoolPlan { threads: NonZeroUsize::new(threads).unwrap(), width }
}

fn pepper() -> StretchPepper {
    StretchPepper::from_bytes([7; 32])
}

#[test]
fn first_threads_then_width_as_the_memory_allows() {
    let fit = |threads, mib: u64, suite, kernel| {
        let size = PoolSize { threads: NonZeroUsize::new(threads).unwrap(), memory_bytes: mib * 1024 * 1024 };
        size.plan(suite, kernel).map(|plan| (plan.threads.get(), plan.width))
    };
    let (standard, hard) = (Suite::STANDARD, Suite::HARD);
    assert_eq!(fit(8, 64, standard, Kernel::Avx2), Some((3, 1)));
    assert_eq!(fit(2, 1024, standard, Kernel::Avx512), Some((2, Worker::WIDTH)));
    assert_eq!(fit(2, 1024, standard, Kernel::Portable), Some((2, 1)));
    assert_eq!(fit(2, 19 * 4, standard, Kernel::Avx512), Some((2, 2)));
    assert_eq!(fit(8, 64, hard, Kernel::Avx512), Some((1, 1)));
    assert_eq!(fit(8, 63, hard, Kernel::Avx512), None);
}

#[tokio::test]
async fn every_caller_gets_its_own_hash() {
    let pool = StretchPool::start(plan(2, 3)).unwrap();
    let calls = (0..40_u8).map(|n| {
        let lane = if n % 4 == 0 { Lane::Urgent } else { Lane::Bulk };
        let pool = &pool;
        async move { pool.stretch(lane, Suite::DEVELOPMENT, pepper(), &[n; 20]).await.unwrap() }
    });
    let made = futures::future::join_all(calls).await;
    let mut worker = stretcher::Stretcher::new(1);
    for (n, stretched) in (0..).zip(&made) {
        let (reply, _waiting) = oneshot::channel();
        let password = Zeroizing::new(vec![n; 20]);
        let task = Task { suite: Suite::DEVELOPMENT, pepper: pepper(), password, reply };
        let alone = worker.stretch(&[task], &mut || true).unwrap();
        assert_eq!(stretched.as_bytes(), alone[0].as_bytes(), "{n}");
    }
    assert_eq!(pool.stats().hashes, 40);
    assert_eq!(pool.stats().busy, 0);
    assert!(pool.stats().cpu_nanos > 0);
}

#[test]
fn a_thread_changes_from_suite_to_suite() {
    let (mut one, mut other) = (stretcher::Stretcher::new(2), stretcher::Stretcher::new(1));
    let cheap = Suite { name: "cheap", memory_kib: 64, passes: 1 };
    let task = |suite| {
        let (reply, _waiting) = oneshot::channel();
        Task { suite, pepper: pepper(), password: Zeroizing::new(b"pair".to_vec()), reply }
    };
    let mut seen = Vec::new();
    for suite in [Suite::DEVELOPMENT, cheap, Suite::DEVELOPMENT] {
        let made = one.stretch(&[task(suite)], &mut || true).unwrap();
        seen.push(*made[0].as_bytes());
    }
    assert_eq!(seen[0], seen[2]);
    assert_ne!(seen[0], seen[1]);
    assert_eq!(other.stretch(&[task(cheap)], &mut || true).unwrap()[0].as_bytes(), &seen[1]);
}

/// Says when it begins, and waits until it may go on.
struct Gated {
    began: mpsc::Sender<usize>,
    gate: Arc<Mutex<mpsc::Receiver<()>>>,
    running: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
    cancelled: Arc<AtomicUsize>,
    wiped: Arc<AtomicBool>,
}

impl Stretch for Gated {
    fn stretch(
        &mut self,
        batch: &[Task],
        go_on: &mut dyn FnMut() -> bool,
    ) -> Result<Vec<Stretched>, StretchError> {
        let running = self.running.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(running, Ordering::SeqCst);
        self.wiped.store(false, Ordering::SeqCst);
        self.began.send(batch.len()).unwrap();
        lock(&self.gate).recv().unwrap();
        self.running.fetch_sub(1, Ordering::SeqCst);
        assert!(batch[0].password.as_slice() != b"panic", "on purpose");
        if batch[0].password.as_slice() == b"no memory" {
            return Err(StretchError::Worker(acquaint_stretch::WorkerError::OutOfMemory { bytes: 1 }));
        }
        if !go_on() {
            self.cancelled.fetch_add(1, Ordering::SeqCst);
            return Err(StretchError::Hash(HashError::Cancelled { done: 0 }));
        }
        Ok(batch.iter().map(|_| Stretched::from_bytes([1; 32])).collect())
    }

    fn wipe(&mut self) {
        self.wiped.store(true, Ordering::SeqCst);
    }
}

struct Scene {
    pool: Arc<StretchPool>,
    began: mpsc::Receiver<usize>,
    release: mpsc::Sender<()>,
    most: Arc<AtomicUsize>,
    cancelled: Arc<AtomicUsize>,
    wiped: Arc<AtomicBool>,
}

fn gated(threads: usize, width: usize) -> Scene {
    let (tell, began) = mpsc::channel();
    let (release, gate) = mpsc::channel();
    let (gate, running) = (Arc::new(Mutex::new(gate)), Arc::new(AtomicUsize::new(0)));
    let (most, cancelled) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let wiped = Arc::new(AtomicBool::new(false));
    let stretcher = || Gated {
        began: tell.clone(),
        gate: Arc::clone(&gate),
        running: Arc::clone(&running),
        most: Arc::clone(&most),
        cancelled: Arc::clone(&cancelled),
        wiped: Arc::clone(&wiped),
    };
    let pool = Arc::new(StretchPool::start_with(plan(threads, width), stretcher).unwrap());
    Scene { pool, began, release, most, cancelled, wiped }
}

fn call(scene: &Scene, password: &'static [u8]) -> tokio::task::JoinHandle<Result<Stretched, PoolError>> {
    let pool = Arc::clone(&scene.pool);
    tokio::spawn(async move { pool.stretch(Lane::Bulk, Suite::DEVELOPMENT, pepper(), password).await })
}

#[tokio::test]
async fn never_more_at_once_than_threads() {
    let scene = gated(3, 1);
    let calls: Vec<_> = (0..30).map(|_| call(&scene, b"a")).collect();
    tokio::task::yield_now().await;
    for _ in 0..3 {
        scene.began.recv().unwrap();
    }
    assert_eq!(scene.pool.stats().busy, 3);
    for _ in 0..30 {
        scene.release.send(()).unwrap();
    }
    for call in calls {
        assert!(call.await.unwrap().is_ok());
    }
    assert_eq!(scene.most.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn what_waits_is_stretched_together() {
    let scene = gated(1, 3);
    let mut calls = vec![call(&scene, b"a")];
    tokio::task::yield_now().await;
    assert_eq!(scene.began.recv(), Ok(1));
    calls.extend((0..4).map(|_| call(&scene, b"a")));
    tokio::task::yield_now().await;
    for _ in 0..3 {
        scene.release.send(()).unwrap();
    }
    assert_eq!((scene.began.recv(), scene.began.recv()), (Ok(3), Ok(1)));
    for call in calls {
        assert!(call.await.unwrap().is_ok());
    }
    assert_eq!(scene.pool.stats().hashes, 5);
}

#[tokio::test]
async fn a_batch_goes_on_until_nobody_waits_for_any_of_it() {
    let scene = gated(1, 2);
    let blocker = call(&scene, b"a");
    tokio::task::yield_now().await;
    scene.began.recv().unwrap();
    for leave in [1, 2] {
        let mut two = [call(&scene, b"a"), call(&scene, b"b")];
        tokio::task::yield_now().await;
        scene.release.send(()).unwrap();
        assert_eq!(scene.began.recv(), Ok(2));
        for call in &mut two[..leave] {
            call.abort();
            assert!(call.await.unwrap_err().is_cancelled());
        }
    }
    let last = call(&scene, b"c");
    tokio::task::yield_now().await;
    for _ in 0..2 {
        scene.release.send(()).unwrap();
    }
    assert!(last.await.unwrap().is_ok());
    assert!(blocker.await.unwrap().is_ok());
    assert_eq!(scene.cancelled.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_panic_ends_its_batch_alone() {
    let scene = gated(1, 1);
    for _ in 0..2 {
        scene.release.send(()).unwrap();
    }
    assert!(matches!(call(&scene, b"panic").await.unwrap(), Err(PoolError::Closed)));
    assert!(call(&scene, b"a").await.unwrap().is_ok());
    assert_eq!(scene.pool.stats().busy, 0);
}

#[tokio::test]
async fn what_fails_is_no_hash_and_says_nothing_of_the_speed() {
    let scene = gated(1, 1);
    let before = scene.pool.capacity(Duration::from_secs(600));
    for _ in 0..20 {
        scene.release.send(()).unwrap();
        let refused = call(&scene, b"no memory").await.unwrap();
        assert!(matches!(refused, Err(PoolError::Stretch(StretchError::Worker(_)))));
    }
    assert_eq!(scene.pool.stats().hashes, 0);
    assert_eq!(scene.pool.capacity(Duration::from_secs(600)), before);
    scene.release.send(()).unwrap();
    call(&scene, b"a").await.unwrap().unwrap();
    assert_eq!(scene.pool.stats().hashes, 1);
}

#[tokio::test]
async fn the_end_of_the_pool_ends_what_waits_and_what_runs() {
    let scene = gated(1, 1);
    let (running, waiting) = (call(&scene, b"a"), call(&scene, b"b"));
    tokio::task::yield_now().await;
    scene.began.recv().unwrap();
    lock(&scene.pool.shared.queue).close();
    scene.release.send(()).unwrap();
    assert!(matches!(running.await.unwrap(), Err(PoolError::Closed)));
    assert!(matches!(waiting.await.unwrap(), Err(PoolError::Closed)));
}

#[tokio::test]
async fn an_idle_thread_wipes_its_memory() {
    let scene = gated(1, 1);
    let running = call(&scene, b"a");
    tokio::task::yield_now().await;
    scene.began.recv().unwrap();
    assert!(!scene.wiped.load(Ordering::SeqCst));
    scene.release.send(()).unwrap();
    running.await.unwrap().unwrap();
    // The pool's end waits for the thread; before it comes to that, it finds nothing to do.
    let began = Instant::now();
    while !scene.wiped.load(Ordering::SeqCst) {
        assert!(began.elapsed() < Duration::from_secs(60), "it never wipes");
        tokio::task::yield_now().await;
    }
}
