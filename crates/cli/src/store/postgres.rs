//! `acquaint store` where the store is PostgreSQL.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use acquaint_server::config::Config;
use acquaint_server::database::{self, Database};
use indicatif::{ProgressBar, ProgressStyle};

use crate::args;
use crate::failure::Failure;
use crate::output::tell;
use crate::serve::stop_signal;

/// Refuses what PostgreSQL's own programs are for.
pub(super) fn has_its_own(config: &Config, instead: &str) -> Result<(), Failure> {
    if config.store.postgres().is_none() {
        return Ok(());
    }
    Err(format!(
        "the store is PostgreSQL (`store.kind`), and this command is for the embedded one: use {instead} \
         (docs/operations/postgresql.md)"
    )
    .into())
}

pub(super) async fn rewrite(args: args::Rewrite) -> Result<(), Failure> {
    let config = Config::load_here(&args.config)?;
    if config.store.postgres().is_none() {
        return Err("the store is embedded (`store.kind` is `sqlite`): it leaves nothing of what is removed, and needs no \
                    rewriting"
            .into());
    }
    let Database::Postgres(store) = database::open(&config).await? else {
        return Err("the store is not PostgreSQL".into());
    };
    let bar = ProgressBar::new(0)
        .with_style(ProgressStyle::with_template("rewriting {wide_bar} {pos}/{len} tables {eta}")?);
    let ended = Arc::new(AtomicBool::new(false));
    let (ends, stop) = (Arc::clone(&ended), stop_signal()?);
    tokio::spawn(async move {
        stop.await;
        ends.store(true, Ordering::Relaxed);
    });
    let mut rewritten = (0, 0);
    let outcome = store.rewrite(|done, total| {
        rewritten = (done, total);
        bar.set_length(u64::try_from(total).unwrap_or(0));
        bar.set_position(u64::try_from(done).unwrap_or(0));
        !ended.load(Ordering::Relaxed)
    });
    let outcome = outcome.await;
    bar.finish_and_clear();
    let (done, total) = rewritten;
    if let Err(error) = outcome {
        return Err(Stopped { done, total, error }.into());
    }
    let whole = done == total;
    if args.json {
        tell!("{}", serde_json::json!({ "ok": whole, "rewritten": done, "tables": total }));
    } else {
        tell!("Rewrote {done} of {total} tables and partitions.");
    }
    if !whole {
        return Err("stopped before the end: what was not rewritten keeps bytes of removed rows".into());
    }
    if !args.json {
        tell!(
            "PostgreSQL's log keeps removed bytes until its segments are gone, and back-ups until they are deleted \
             (docs/operations/postgresql.md)."
        );
    }
    Ok(())
}

/// A rewrite that ended early.
#[derive(Debug)]
struct Stopped {
    done: usize,
    total: usize,
    error: database::StoreError,
}

impl std::fmt::Display for Stopped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { done, total, error: _ } = self;
        write!(
            f,
            "rewrote {done} of {total} tables, and then the database failed: the role must own the tables"
        )
    }
}

impl std::error::Error for Stopped {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}
