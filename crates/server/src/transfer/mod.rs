//! Carrying all data from one store to another, at once or by way of a sealed file. No server may run on either meanwhile.
//!
//! Everything here can be begun again after an interruption, and goes on; see [`acquaint_store::transfer`]. It blocks its
//! thread between two awaits: for a command, not for a server.

mod file;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;

use acquaint_custody::KeyCustody;
use acquaint_service::{Clock, SystemClock};
use acquaint_store::postgres::{PostgresSink, PostgresSource};
use acquaint_store::sqlite::{SqliteSink, SqliteSource};
use acquaint_store::transfer::{
    KEYS, KINDS, Layout, Reader, Sink, Source, Tally, carry, counts, end, key_records, named, same,
};

pub use acquaint_store::transfer::{Carried, Phase, Progress, TransferError, Watch};
pub use file::FileError;

use crate::config::Config;
use crate::keys;
use crate::{ServerError, upkeep};
use file::{Export, Head, Import, Standing};

/// Why data was not carried, or not all of it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A store.
    #[error(transparent)]
    Store(#[from] TransferError),
    /// The file.
    #[error(transparent)]
    File(#[from] FileError),
    /// The keys are not those of the data.
    #[error(transparent)]
    Keys(#[from] ServerError),
}

/// Carries the embedded store in the folder `from` into the configured PostgreSQL, which must be empty. The folder is only
/// read.
///
/// # Errors
/// [`Error`] says what to do.
pub async fn migrate(config: &Config, from: &Path, watch: &Watch) -> Result<Carried, Error> {
    let mut source = SqliteSource::open(from)?;
    check_keys(config, &mut source).await?;
    let mut sink = sink(config).await?;
    Ok(carry(&mut source, &mut *sink, watch).await?)
}

/// Seals everything in the configured store into a new file, which nobody reads without the keys.
///
/// # Errors
/// [`Error`] says what to do. What was written is in `FILE.part`, and the same call goes on with it.
pub async fn export(config: &Config, file: &Path, watch: &Watch) -> Result<Carried, Error> {
    if file.symlink_metadata().is_ok() {
        return Err(FileError::Exists(file.into()).into());
    }
    let mut source: Box<dyn Source> = match config.store.postgres() {
        None => Box::new(SqliteSource::open(&config.data_dir)?),
        Some(options) => Box::new(PostgresSource::open(&options, SystemClock.now()).await?),
    };
    check_keys(config, &mut *source).await?;
    write(&mut *source, file, custody(config)?, watch).await
}

/// Puts everything that is in an export into the configured store, which must be empty. The file is checked first, from its
/// first byte to its last.
///
/// # Errors
/// [`Error`] says what to do. Until it has succeeded no server starts on the store.
pub async fn import(config: &Config, file: &Path, watch: &Watch) -> Result<Carried, Error> {
    let custody = custody(config)?;
    let records = check(file, &custody, watch)?;
    upkeep::check_keys(config, &records)?;
    let mut sink = sink(config).await?;
    read(file, custody, &mut *sink, watch).await
}

fn custody(config: &Config) -> Result<Arc<dyn KeyCustody>, Error> {
    Ok(keys::look(config).map_err(ServerError::from)?)
}

async fn sink(config: &Config) -> Result<Box<dyn Sink>, Error> {
    Ok(match config.store.postgres() {
        None => Box::new(SqliteSink::open(&config.data_dir)?),
        Some(options) => Box::new(PostgresSink::open(&options, SystemClock.now()).await?),
    })
}

/// Whether the configured keys are the data's.
async fn check_keys(config: &Config, source: &mut dyn Source) -> Result<(), Error> {
    let records = key_records(&source.rows(KEYS, None).await?)?;
    if records.is_empty() {
        return Err(TransferError::Nothing("the store".into()).into());
    }
    Ok(upkeep::check_keys(config, &records)?)
}

/// From store to file.
async fn write(
    source: &mut dyn Source,
    to: &Path,
    custody: Arc<dyn KeyCustody>,
    watch: &Watch,
) -> Result<Carried, Error> {
    let (mark, counts) = (source.mark().await?, counts(source).await?);
    let head = Head { layout: Layout::own(), mark, counts: counts.clone() };
    let (mut file, standing) = Export::open(to, &head, custody)?;
    let resumed = standing.is_some();
    let Standing { mut done, last } = standing.unwrap_or(Standing { done: vec![0; KINDS.len()], last: None });
    let (first, mut after) = match last {
        Some((kind, row)) => (kind, Some(source.key(kind, &row)?)),
        None => (0, None),
    };
    let mut tally = Tally::new(watch, Phase::Carrying, done.iter().sum(), &counts);
    tally.add(0)?;
    for kind in first..KINDS.len() {
        loop {
            let rows = source.rows(kind, after.as_deref()).await?;
            let Some(last) = rows.last() else { break };
            after = Some(source.key(kind, last)?);
            file.put(kind, &rows)?;
            if let Some(done) = done.get_mut(kind) {
                *done += rows.len() as u64;
            }
            tally.add(rows.len())?;
        }
        file.flush()?;
        after = None;
    }
    for (kind, (there, carried)) in counts.iter().zip(&done).enumerate() {
        same(kind, *there, *carried)?;
    }
    Ok(Carried { rows: named(&counts), resumed, bytes: Some(file.finish()?) })
}

/// Reads the whole file. The records of its keys.
fn check(path: &Path, custody: &Arc<dyn KeyCustody>, watch: &Watch) -> Result<Vec<upkeep::KeyRecord>, Error> {
    let mut file = Import::open(path, Arc::clone(custody))?;
    let mut tally = Tally::new(watch, Phase::Checking, 0, &file.head.counts);
    let mut records = Vec::new();
    let mut done = vec![0; file.head.layout.len()];
    while let Some((number, rows)) = file.next()? {
        if let Some(done) = done.get_mut(number) {
            *done += rows.len() as u64;
        }
        if file.head.layout.kind(number)? == KEYS {
            records.extend(key_records(&rows)?);
        }
        tally.add(rows.len())?;
    }
    for (number, (there, carried)) in file.head.counts.iter().zip(&done).enumerate() {
        same(file.head.layout.kind(number)?, *there, *carried)?;
    }
    Ok(records)
}

/// From file to store.
async fn read(
    path: &Path,
    custody: Arc<dyn KeyCustody>,
    sink: &mut dyn Sink,
    watch: &Watch,
) -> Result<Carried, Error> {
    let mut file = Import::open(path, custody)?;
    let mut counts = vec![0; KINDS.len()];
    for (number, count) in file.head.counts.iter().enumerate() {
        if let Some(place) = counts.get_mut(file.head.layout.kind(number)?) {
            *place = *count;
        }
    }
    let place = sink.begin(&[b"file/".as_slice(), &file.id].concat()).await?;
    let resumed = place.is_some();
    let put = match place {
        Some(place) => u64::from_be_bytes(Reader::new(&place).array()?),
        None => 0,
    };
    let mut tally = Tally::new(watch, Phase::Carrying, 0, &counts);
    while let Some((number, rows)) = file.next()? {
        if file.number > put {
            sink.put(file.head.layout.kind(number)?, &rows, &file.number.to_be_bytes()).await?;
        }
        tally.add(rows.len())?;
    }
    end(sink, &counts).await?;
    Ok(Carried { rows: named(&counts), resumed, bytes: None })
}
