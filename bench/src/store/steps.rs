//! Steps of imports, as the service's worker makes them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Instant;

use acquaint_store::postgres::PostgresStore;
use acquaint_store::{
    CodeGuess, CodeHash, CodePut, CodeTaken, Generation, Half, ImportAccepted, ImportId, ImportStep,
    KeyRecord, LeasedImport, NewCode, NewImport, NoticeTimes, NumberKey, StepOutcome, Store, TokenId,
    TokenUse,
};

use super::rows::{DAY, KEPT, NOW, account, bytes, half};
use crate::Result;

/// Of so many halves one meets the opposite one of somebody else.
const MATCH_EVERY: u64 = 10;
/// Where numbers of rows begin that nobody has copied.
const NEW: u64 = 1 << 40;
/// A prime: its multiples, modulo the number of rows, are different ones all over the table.
const STRIDE: u64 = 982_451_653;
/// Much more than is ever stepped through.
const TOTAL: u32 = 1_000_000_000;

/// Accounts in the midst of an import without end.
pub(super) struct Importers {
    store: Arc<PostgresStore>,
    importers: Vec<Arc<Importer>>,
    /// How many halves were made that meet nothing, and that meet something.
    new: AtomicU64,
    met: AtomicU64,
}

struct Importer {
    leased: LeasedImport,
    done: AtomicU32,
}

/// What a round took.
pub(super) struct Spent {
    pub(super) seconds: f64,
    pub(super) pairs: f64,
}

impl Importers {
    /// So many accounts on an open store.
    pub(super) async fn new(store: PostgresStore, count: u64) -> Result<Self> {
        let record = KeyRecord { purpose: "pair".into(), version: 1, check: vec![1] };
        store.record_keys(vec![record]).await?;
        let mut importers = Vec::new();
        for number in 0..count {
            let leased = accepted(&store, number).await?;
            importers.push(Arc::new(Importer { leased, done: AtomicU32::new(0) }));
        }
        let (new, met) = (AtomicU64::new(NEW), AtomicU64::new(0));
        Ok(Self { store: Arc::new(store), importers, new, met })
    }

    /// The first `connections` accounts at once, each with `steps` steps one after another. A tenth of the halves match,
    /// each with another account, over a table of `rows` rows.
    pub(super) async fn round(&self, connections: usize, size: u32, steps: u32, rows: u64) -> Result<Spent> {
        let mut work = Vec::new();
        for importer in self.importers.iter().take(connections) {
            // Made before the time counts.
            let steps: Vec<Vec<Half>> =
                (0..steps).map(|_| (0..size).map(|_| self.half(rows)).collect()).collect();
            work.push((Arc::clone(importer), steps));
        }
        let pairs = f64::from(size * steps) * work.len() as f64;
        let began = Instant::now();
        let mut tasks = tokio::task::JoinSet::new();
        for (importer, steps) in work {
            let store = Arc::clone(&self.store);
            tasks.spawn(async move {
                let mut matched = 0;
                for halves in steps {
                    matched += importer.step(&store, halves).await?;
                }
                Ok::<_, crate::Error>(matched)
            });
        }
        let mut matched = 0;
        while let Some(task) = tasks.join_next().await {
            matched += task??;
        }
        let seconds = began.elapsed().as_secs_f64();
        // Some rows have been matched before, when there were fewer.
        if (matched as f64) < 0.98 * pairs / MATCH_EVERY as f64 {
            return Err(
                format!("only {matched} of {pairs} pairs matched: the figures would mean nothing").into()
            );
        }
        Ok(Spent { seconds, pairs })
    }

    fn half(&self, rows: u64) -> Half {
        let new = self.new.fetch_add(1, Ordering::Relaxed);
        if new.is_multiple_of(MATCH_EVERY) {
            let met = self.met.fetch_add(1, Ordering::Relaxed);
            return half(met.wrapping_mul(STRIDE) % rows, true);
        }
        half(new, false)
    }
}

impl Importer {
    /// Commits a step; how many of its halves matched.
    async fn step(&self, store: &PostgresStore, halves: Vec<Half>) -> Result<usize> {
        let count = u32::try_from(halves.len())?;
        let step = ImportStep {
            import: self.leased.id,
            account: self.leased.account,
            generation: self.leased.generation,
            fence: self.leased.fence,
            done: self.done.fetch_add(count, Ordering::Relaxed),
            halves,
            verified_at: NOW,
            expires_at: NOW + KEPT,
            lease_until: NOW + KEPT,
            refunds: Vec::new(),
            numbers: Vec::new(),
            notices: Some(NoticeTimes { importer_due_at: NOW + DAY, expires_at: NOW + 30 * DAY }),
            report: None,
        };
        match store.match_or_insert(step, NOW).await? {
            StepOutcome::Committed(outcomes) => {
                Ok(outcomes.iter().filter(|outcome| !outcome.matched.is_empty()).count())
            }
            StepOutcome::Fenced | StepOutcome::Stale => Err("a step was fenced".into()),
        }
    }
}

/// The `number`th account's import, from the code to the lease.
async fn accepted(store: &PostgresStore, number: u64) -> Result<LeasedImport> {
    let account = account(number);
    let code = CodeHash::from_bytes(bytes(number + (1 << 62)));
    let number_hash = CodeHash::from_bytes([0; 32]);
    let token = TokenId::from_bytes(bytes(number + (1 << 62)));
    let put = store.put_code(
        NewCode {
            account,
            code_hash: code,
            number_hash,
            expires_at: NOW + DAY,
            too_recent_after: NOW,
            max_wrong: 3,
            permits: Vec::new(),
        },
        NOW,
    );
    let CodePut::Stored = put.await? else { return Err("a code was refused".into()) };
    let guess = CodeGuess {
        account,
        code_hash: code,
        number_hash,
        max_wrong: 3,
        wrong_permits: Vec::new(),
        proof: None,
        sealed_account: vec![0; 70],
        fresh_generation: Generation(1),
        token,
        token_use: TokenUse::Matching,
        sealed_identifier: vec![0; 60],
        token_expires_at: NOW + DAY,
    };
    let CodeTaken::Taken { generation } = store.take_code(guess, NOW).await? else {
        return Err("a right code was refused".into());
    };
    let import = NewImport {
        id: ImportId::from_bytes(bytes(number + (1 << 62))),
        tokens: vec![token],
        account,
        generation,
        numbers: vec![NumberKey::from_bytes(bytes(number + (1 << 62)))],
        sealed: vec![0; 9000],
        total: TOTAL,
        forget_account_at: NOW + KEPT,
        permits: Vec::new(),
        max_waiting: u64::MAX >> 1,
    };
    let ImportAccepted::Accepted = store.accept_import(import, NOW).await? else {
        return Err("an import was refused".into());
    };
    Ok(store.next_import(NOW, NOW + KEPT).await?.ok_or("an accepted import is not there")?)
}
