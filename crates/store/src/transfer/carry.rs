//! From store to store.

use super::kinds::{KINDS, Kind};
use super::row::{Reader, Value, encode};
use super::{Sink, Source, TransferError};

/// What is being done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The file is checked.
    Checking,
    /// Rows are carried.
    Carrying,
}

/// How far it is, in rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// What is being done.
    pub phase: Phase,
    /// Rows done of this phase, those of an interrupted run included.
    pub done: u64,
    /// Rows to do.
    pub total: u64,
}

/// Told now and then how far it is; `false` ends the work, which can be begun again.
pub type Watch = dyn Fn(Progress) -> bool + Send + Sync;

/// What was carried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Carried {
    /// Rows of each kind, by the kind's name.
    pub rows: Vec<(&'static str, u64)>,
    /// Whether an interrupted run was gone on with.
    pub resumed: bool,
    /// Bytes of the file that was written, if one was.
    pub bytes: Option<u64>,
}

/// Counts rows, and tells of them.
pub struct Tally<'a> {
    watch: &'a Watch,
    phase: Phase,
    done: u64,
    total: u64,
}

impl std::fmt::Debug for Tally<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tally").field("done", &self.done).field("total", &self.total).finish_non_exhaustive()
    }
}

impl<'a> Tally<'a> {
    /// Begins at `done` of all that `counts` adds up to.
    #[must_use]
    pub fn new(watch: &'a Watch, phase: Phase, done: u64, counts: &[u64]) -> Self {
        Self { watch, phase, done, total: counts.iter().sum() }
    }

    /// Adds rows that were carried.
    ///
    /// # Errors
    /// [`TransferError::Ended`].
    pub fn add(&mut self, rows: usize) -> Result<(), TransferError> {
        self.done = self.done.saturating_add(rows as u64);
        let Self { watch, phase, done, total } = *self;
        if watch(Progress { phase, done, total }) { Ok(()) } else { Err(TransferError::Ended) }
    }
}

/// How many rows of each of [`KINDS`] there are.
///
/// # Errors
/// The source's.
pub async fn counts(source: &mut dyn Source) -> Result<Vec<u64>, TransferError> {
    let mut counts = Vec::new();
    for kind in 0..KINDS.len() {
        counts.push(source.count(kind).await?);
    }
    Ok(counts)
}

/// Numbers of rows with the names of their kinds.
#[must_use]
pub fn named(counts: &[u64]) -> Vec<(&'static str, u64)> {
    KINDS.iter().zip(counts).map(|(kind, rows)| (kind.name, *rows)).collect()
}

/// Whether the target has what it should, and if so its mark taken away.
///
/// # Errors
/// [`TransferError::Counts`], or the sink's.
pub async fn end(sink: &mut dyn Sink, counts: &[u64]) -> Result<(), TransferError> {
    for (kind, there) in counts.iter().enumerate() {
        same(kind, *there, sink.count(kind).await?)?;
    }
    sink.finish().await
}

/// Whether all rows of a kind were carried.
///
/// # Errors
/// [`TransferError::Counts`] if not.
pub fn same(kind: usize, there: u64, carried: u64) -> Result<(), TransferError> {
    let kind = Kind::at(kind)?.name;
    if there == carried { Ok(()) } else { Err(TransferError::Counts { kind, there, carried }) }
}

/// Carries everything from store to store, or what an interrupted call of the same has left.
///
/// # Errors
/// [`TransferError`]. Until it has succeeded no server starts on the sink.
pub async fn carry(
    source: &mut dyn Source,
    sink: &mut dyn Sink,
    watch: &Watch,
) -> Result<Carried, TransferError> {
    let origin = [b"store/".to_vec(), source.mark().await?].concat();
    let counts = counts(source).await?;
    let place = sink.begin(&origin).await?;
    let resumed = place.is_some();
    let (first, mut after) = match place {
        Some(place) => placed(&place)?,
        None => (0, None),
    };
    let mut done = 0;
    for kind in 0..=first {
        done += sink.count(kind).await?;
    }
    let mut tally = Tally::new(watch, Phase::Carrying, done, &counts);
    tally.add(0)?;
    for kind in first..KINDS.len() {
        loop {
            let rows = source.rows(kind, after.as_deref()).await?;
            let Some(last) = rows.last() else { break };
            let key = source.key(kind, last)?;
            let mut place = vec![u8::try_from(kind).unwrap_or(u8::MAX)];
            encode(&key, &mut place)?;
            sink.put(kind, &rows, &place).await?;
            after = Some(key);
            tally.add(rows.len())?;
        }
        after = None;
    }
    end(sink, &counts).await?;
    Ok(Carried { rows: named(&counts), resumed, bytes: None })
}

/// A kind, and the key of the last row that was put.
fn placed(place: &[u8]) -> Result<(usize, Option<Vec<Value>>), TransferError> {
    let mut from = Reader::new(place);
    let [kind] = from.array()?;
    let mut key = Vec::new();
    while !from.is_empty() {
        key.push(from.value()?);
    }
    Ok((usize::from(kind), Some(key)))
}
