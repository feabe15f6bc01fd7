//! Two threads against one, by the clock on the wall.

use std::sync::Barrier;
use std::time::Instant;

use acquaint_stretch::{Cost, Kernel};
use indicatif::ProgressBar;

use super::Result;
use super::contestant::Contestant;

/// An odd number, so that there is one in the middle.
pub(super) const ROUNDS: usize = 9;

/// Hashes a second of two threads over one, median of the rounds; `None` where only one thread runs at a time.
pub(super) fn speedup(cost: Cost, count: usize, bar: &ProgressBar) -> Result<Option<f64>> {
    if std::thread::available_parallelism().map_or(1, std::num::NonZero::get) < 2 {
        bar.inc(u64::try_from(ROUNDS)?);
        return Ok(None);
    }
    let mut ratios = Vec::new();
    for round in 1..=ROUNDS {
        bar.set_message(format!("{} KiB, one thread against two, round {round}", cost.memory_kib()));
        ratios.push(2.0 * seconds(cost, count, 1)? / seconds(cost, count, 2)?);
        bar.inc(1);
    }
    Ok(super::median(ratios))
}

/// How long so many threads take that hash so many passwords each, and share nothing.
fn seconds(cost: Cost, count: usize, threads: usize) -> Result<f64> {
    // The threads, and this one.
    let ready = Barrier::new(threads + 1);
    std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| {
                    let worker = Contestant::ours(cost, Kernel::best());
                    // The first hashes take the memory from the system.
                    let warm = worker.and_then(|mut worker| {
                        if let Some(worker) = &mut worker {
                            worker.turn(0, count.min(3))?;
                        }
                        Ok(worker)
                    });
                    ready.wait();
                    warm?.ok_or("no kernel")?.turn(0, count)
                })
            })
            .collect();
        ready.wait();
        let began = Instant::now();
        for thread in running {
            thread.join().map_err(|_| "a thread that hashes panicked")??;
        }
        Ok(began.elapsed().as_secs_f64())
    })
}
