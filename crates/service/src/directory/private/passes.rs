//! Who is answered when: queries for one table, of whomever, are answered in one pass over it.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use acquaint_pir::{AnswerError, EvaluationKeys, Query};
use acquaint_store::IndexId;
use tokio::sync::{Semaphore, oneshot};

use super::Shards;
use super::shards::TableId;
use crate::error::Internal;

/// Queries of one pass: each takes some megabytes for as long as it lasts.
pub(super) const MOST: usize = 8;

/// Queries that wait for a pass.
pub(crate) struct Passes {
    gather: Duration,
    /// How many passes run at once, and other work that takes a core.
    work: Arc<Semaphore>,
    most_runners: usize,
    waiting: Mutex<HashMap<Key, Waiting>>,
}

/// One table of one layout of one index.
type Key = (IndexId, u32, TableId);

#[derive(Default)]
struct Waiting {
    jobs: VecDeque<Job>,
    /// Who gather; not those whose passes have begun.
    runners: usize,
}

impl Waiting {
    /// Whether there is to be one more who gathers: one, and another for each full pass beyond. It is counted.
    fn wants_runner(&mut self, most: usize) -> bool {
        let wanted = self.jobs.len().div_ceil(MOST).min(most);
        let is_wanted = self.runners < wanted;
        self.runners += usize::from(is_wanted);
        is_wanted
    }
}

struct Job {
    shards: Arc<Shards>,
    keys: Arc<EvaluationKeys>,
    query: Query,
    answer: oneshot::Sender<Result<Vec<u8>, AnswerError>>,
}

impl Passes {
    pub(crate) fn new(gather: Duration, work: Arc<Semaphore>) -> Arc<Self> {
        let most_runners = work.available_permits().max(1);
        Arc::new(Self { gather, work, most_runners, waiting: Mutex::default() })
    }

    /// The answer to a query, from the next pass over its table that has room. Nobody waits for it any more when the future is
    /// dropped: it is not computed then, unless its pass has begun.
    pub(super) async fn answer(
        self: &Arc<Self>,
        (index, table): (IndexId, TableId),
        shards: Arc<Shards>,
        keys: Arc<EvaluationKeys>,
        query: Query,
    ) -> Result<Vec<u8>, Internal> {
        let key = (index, shards.layout().number, table);
        let (answer, answered) = oneshot::channel();
        let begin = {
            let mut waiting = self.waiting();
            let waiting = waiting.entry(key).or_default();
            waiting.jobs.push_back(Job { shards, keys, query, answer });
            waiting.wants_runner(self.most_runners)
        };
        if begin {
            tokio::spawn(Arc::clone(self).run(key));
        }
        let answer = answered.await.map_err(|_| Internal::Interrupted)?;
        answer.map_err(|_| Internal::Unreadable("a query and its table do not belong together"))
    }

    /// Passes, until nobody waits for one who has none.
    async fn run(self: Arc<Self>, key: Key) {
        loop {
            if self.waiting().get(&key).is_none_or(|waiting| waiting.jobs.len() < MOST) {
                tokio::time::sleep(self.gather).await;
            }
            // While all cores are busy, others come.
            let Ok(place) = Arc::clone(&self.work).acquire_owned().await else { return };
            let Some(jobs) = self.take(key) else { return };
            let passed = tokio::task::spawn_blocking(move || {
                let _place = place;
                pass(key.2, jobs);
            });
            if passed.await.is_err() {
                tracing::error!("a pass over a shard broke off");
            }
            if !self.waiting().get_mut(&key).is_some_and(|waiting| waiting.wants_runner(self.most_runners)) {
                return;
            }
        }
    }

    /// The next pass, whose runner gathers no more; `None` when nobody waits, and it ends.
    fn take(&self, key: Key) -> Option<Vec<Job>> {
        let mut all = self.waiting();
        let waiting = all.get_mut(&key)?;
        waiting.runners = waiting.runners.saturating_sub(1);
        waiting.jobs.retain(|job| !job.answer.is_closed());
        let count = waiting.jobs.len().min(MOST);
        let jobs: Vec<Job> = waiting.jobs.drain(..count).collect();
        if waiting.jobs.is_empty() && waiting.runners == 0 {
            all.remove(&key);
        }
        (!jobs.is_empty()).then_some(jobs)
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<Key, Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn pass(table: TableId, jobs: Vec<Job>) {
    let Some(Job { shards, .. }) = jobs.first() else { return };
    let shards = Arc::clone(shards);
    let asked: Vec<_> = jobs.iter().map(|job| (&*job.keys, &job.query)).collect();
    metrics::counter!("acquaint_private_passes_total").increment(1);
    let answers = shards.answer(table, &asked);
    drop(asked);
    match answers {
        Ok(answers) => {
            for (job, answer) in jobs.into_iter().zip(answers) {
                // Who has gone away misses it.
                let _ = job.answer.send(Ok(answer));
            }
        }
        Err(error) => {
            for job in jobs {
                let _ = job.answer.send(Err(error));
            }
        }
    }
}
