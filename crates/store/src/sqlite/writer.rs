//! The one connection that writes, on a thread of its own.
//!
//! Jobs that wait are run together in one transaction, each in a savepoint, so that one fsync serves them all. Each is
//! answered once it is durable.

use std::any::Any;
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::checkpoint::Log;
use super::{failed, unavailable};
use crate::StoreError;

/// How many jobs one transaction may hold: what a failing commit takes down together.
const BATCH: usize = 64;
/// How many jobs may wait before callers do.
const QUEUE: usize = 1024;

pub(super) struct Writer {
    jobs: Option<mpsc::Sender<Box<dyn Job>>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    pub(super) fn start(connection: Connection, log: Log, lock: Arc<File>) -> std::io::Result<Self> {
        let (jobs, waiting) = mpsc::channel(QUEUE);
        let work = move || {
            let log = serve(&connection, log, waiting);
            // In this order: the log's file handle outlives SQLite's, and the lock both.
            drop(connection);
            drop(log);
            drop(lock);
        };
        let thread = std::thread::Builder::new().name("store-writer".into()).spawn(work)?;
        Ok(Self { jobs: Some(jobs), thread: Some(thread) })
    }

    /// Runs `work` in a transaction and returns when it is durable. An error undoes `work`, and only `work`.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.submit(work, |_| false).await
    }

    /// As [`Self::write`]; where `erases` says so of the outcome, the log is cut before the answer.
    pub(super) async fn submit<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
        erases: impl FnOnce(&T) -> bool + Send + 'static,
    ) -> Result<T, StoreError> {
        let (to, answer) = oneshot::channel();
        let task = Task { work: Some(work), erases: Some(erases), outcome: None, to };
        let jobs = self.jobs.as_ref().ok_or_else(|| unavailable("the writer has stopped"))?;
        jobs.send(Box::new(task)).await.map_err(|_| unavailable("the writer has stopped"))?;
        answer.await.map_err(unavailable)?
    }

    pub(super) fn is_running(&self) -> bool {
        self.jobs.as_ref().is_some_and(|jobs| !jobs.is_closed())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        drop(self.jobs.take());
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the store's writer panicked");
        }
    }
}

/// What became of the transaction that a job ran in.
#[derive(Clone, Copy)]
enum End<'a> {
    Durable,
    NotCut,
    Failed(&'a str),
}

/// A [`Task`] with its types hidden.
trait Job: Send {
    /// Whether to keep what was written, and whether the log must be cut.
    fn run(&mut self, connection: &Connection) -> (bool, bool);
    fn answer(self: Box<Self>, end: End<'_>);
}

struct Task<T, W, E> {
    work: Option<W>,
    erases: Option<E>,
    outcome: Option<Result<T, StoreError>>,
    to: oneshot::Sender<Result<T, StoreError>>,
}

impl<T, W, E> Job for Task<T, W, E>
where
    T: Send,
    W: FnOnce(&Connection) -> rusqlite::Result<T> + Send,
    E: FnOnce(&T) -> bool + Send,
{
    fn run(&mut self, connection: &Connection) -> (bool, bool) {
        let outcome = self.work.take().map(|work| work(connection).map_err(failed));
        let erased = match (&outcome, self.erases.take()) {
            (Some(Ok(done)), Some(erases)) => erases(done),
            _ => false,
        };
        let keep = matches!(outcome, Some(Ok(_)));
        self.outcome = outcome;
        (keep, erased)
    }

    fn answer(self: Box<Self>, end: End<'_>) {
        let outcome = match (self.outcome, end) {
            (Some(outcome), End::Durable) => outcome,
            (Some(Err(error)), _) => Err(error),
            (Some(Ok(_)), End::NotCut) => Err(StoreError::LogNotCut),
            (_, End::Failed(reason)) => Err(unavailable(reason)),
            (None, _) => Err(unavailable("the job panicked and was undone")),
        };
        // A caller that has gone needs no answer.
        let _gone = self.to.send(outcome);
    }
}

fn serve(connection: &Connection, mut log: Log, mut waiting: mpsc::Receiver<Box<dyn Job>>) -> Log {
    Log::watch(connection);
    while let Some(first) = waiting.blocking_recv() {
        let mut batch = vec![first];
        while batch.len() < BATCH
            && let Ok(next) = waiting.try_recv()
        {
            batch.push(next);
        }
        run_batch(connection, &mut log, batch);
        log.tend(connection, waiting.is_empty());
    }
    log.close(connection);
    log
}

fn run_batch(connection: &Connection, log: &mut Log, batch: Vec<Box<dyn Job>>) {
    let mut erasing = Vec::new();
    let mut others = Vec::new();
    // What a failure leaves in here was not begun, and is told of the failure like all else.
    let mut batch = std::collections::VecDeque::from(batch);
    let committed = (|| {
        connection.execute_batch("BEGIN IMMEDIATE")?;
        while let Some(mut job) = batch.pop_front() {
            let erased = run_one(connection, job.as_mut());
            if erased.as_ref().is_ok_and(|erased| *erased) { &mut erasing } else { &mut others }.push(job);
            erased?;
        }
        connection.execute_batch("COMMIT")
    })();
    if let Err(error) = committed {
        let undone = (!connection.is_autocommit()).then(|| connection.execute_batch("ROLLBACK"));
        tracing::error!(%error, ?undone, "a transaction of the store failed");
        let reason = error.to_string();
        erasing.into_iter().chain(others).chain(batch).for_each(|job| job.answer(End::Failed(&reason)));
        return;
    }
    others.into_iter().for_each(|job| job.answer(End::Durable));
    if !erasing.is_empty() {
        let end = if log.cut(connection) { End::Durable } else { End::NotCut };
        erasing.into_iter().for_each(|job| job.answer(end));
    }
}

/// Runs a job in a savepoint. An error means that the whole transaction is lost.
fn run_one(connection: &Connection, job: &mut dyn Job) -> rusqlite::Result<bool> {
    connection.execute_batch("SAVEPOINT job")?;
    let ran = catch_unwind(AssertUnwindSafe(|| job.run(connection)));
    let (keep, erased) = ran.unwrap_or_else(|panic| {
        tracing::error!(reason = panic_text(&*panic), "a job of the store panicked");
        (false, false)
    });
    connection.execute_batch(if keep { "RELEASE job" } else { "ROLLBACK TO job; RELEASE job" })?;
    Ok(erased)
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    panic.downcast_ref::<&str>().copied().unwrap_or("no reason given")
}
