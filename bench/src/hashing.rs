//! Argon2id as a thread of the server's pool has it, suite `standard`.

use std::time::Instant;

use acquaint_protocol::identifier::Sii;
use acquaint_protocol::pair::{Pair, Suite};
use acquaint_stretch::{Cost, Job, Worker};

use crate::{Result, contact, machine};

/// As a thread of the pool has it.
pub(crate) fn worker() -> Result<Worker> {
    Ok(Worker::new(Cost::new(Suite::STANDARD.memory_kib, Suite::STANDARD.passes)?)?)
}

/// Pairs of one account.
pub(crate) fn pairs(numbers: std::ops::Range<usize>) -> Result<Vec<Pair>> {
    let own = Sii::parse("tel:+12125550100")?;
    numbers.map(|n| Ok(Pair::new(&own, &Sii::parse(&format!("tel:{}", contact(n)))?)?)).collect()
}

/// Stretches pairs under a pepper.
pub(crate) fn stretch(worker: &mut Worker, pairs: &[Pair], pepper: &[u8; 32]) -> Result<Vec<[u8; 32]>> {
    let mut tags = vec![[0; 32]; pairs.len()];
    let jobs = pairs.iter().zip(&mut tags);
    let mut jobs: Vec<Job<'_>> =
        jobs.map(|(pair, tag)| Job { password: pair.as_bytes(), salt: pepper, tag }).collect();
    worker.hash(&mut jobs, || true)?;
    Ok(tags)
}

/// CPU seconds of one hash on this thread.
pub(crate) fn cpu_seconds_each(worker: &mut Worker, pairs: &[Pair]) -> Result<f64> {
    let began = machine::thread_cpu_seconds();
    stretch(worker, pairs, &[7; 32])?;
    Ok((machine::thread_cpu_seconds() - began) / pairs.len() as f64)
}

/// Seconds for so many hashes on so many threads that share nothing.
pub(crate) fn seconds(threads: usize, hashes: usize) -> Result<f64> {
    let work = |thread: usize| -> Result<()> {
        let mut worker = worker()?;
        let pairs = pairs(thread * hashes..thread * hashes + hashes / threads)?;
        for pairs in pairs.chunks(worker.width()) {
            stretch(&mut worker, pairs, &[7; 32])?;
        }
        Ok(())
    };
    let began = Instant::now();
    let all_done = std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|thread| scope.spawn(move || work(thread).is_ok())).collect();
        running.into_iter().all(|thread| thread.join().unwrap_or(false))
    });
    if all_done { Ok(began.elapsed().as_secs_f64()) } else { Err("bare Argon2id failed".into()) }
}
