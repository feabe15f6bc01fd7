//! `acquaint store export` and `import`, and what they share with `acquaint migrate`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use acquaint_server::config::Config;
use acquaint_server::transfer::{self, Carried, Error, Phase, Progress, Watch};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use super::size;
use crate::args;
use crate::failure::Failure;
use crate::output::{counted, tell};
use crate::serve::stop_signal;

pub(super) async fn export(args: args::transfer::Transfer) -> Result<(), Failure> {
    let config = Config::load_here(&args.config)?;
    let done = watched("exporting", async |watch| transfer::export(&config, &args.file, watch).await).await?;
    if args.json {
        return report(&done, &[("file", json!(args.file)), ("bytes", json!(done.bytes))]);
    }
    tell!("Wrote {}: {}, {}, sealed.", args.file.display(), size(done.bytes.unwrap_or(0)), carried(&done));
    tell!(
        "Whoever has it can do nothing with it without the keys, and neither can you: keep them, and elsewhere."
    );
    tell!(
        "It keeps what people remove later. Delete it when its time is over, and note removals until then: after an import \
         they must be repeated."
    );
    Ok(())
}

pub(super) async fn import(args: args::transfer::Transfer) -> Result<(), Failure> {
    let config = Config::load_here(&args.config)?;
    let done = watched("importing", async |watch| transfer::import(&config, &args.file, watch).await).await?;
    if args.json {
        return report(&done, &[("file", json!(args.file))]);
    }
    let place = match config.store.postgres() {
        None => config.data_dir.display().to_string(),
        Some(_) => "PostgreSQL".to_owned(),
    };
    tell!("Carried {} from {} to {place}, and counted them there.", carried(&done), args.file.display());
    tell!(
        "What people removed after this export was made is back. Before a server is reachable again, run `acquaint remove` \
         for each of them (docs/operations/backup.md)."
    );
    Ok(())
}

/// "48211 rows".
pub(crate) fn carried(done: &Carried) -> String {
    let rows: u64 = done.rows.iter().map(|(_, rows)| rows).sum();
    let again = if done.resumed { ", an interrupted run's included" } else { "" };
    format!("{}{again}", counted(usize::try_from(rows).unwrap_or(usize::MAX), "row", "rows"))
}

/// What was done as one JSON object.
pub(crate) fn report(done: &Carried, more: &[(&str, serde_json::Value)]) -> Result<(), Failure> {
    let rows: BTreeMap<&str, u64> = done.rows.iter().copied().collect();
    let mut report = json!({ "ok": true, "resumed": done.resumed, "rows": rows });
    for (name, value) in more {
        report[*name] = value.clone();
    }
    tell!("{}", serde_json::to_string_pretty(&report)?);
    Ok(())
}

/// Does the work with a bar for the person, until it is done or the person ends it.
pub(crate) async fn watched(
    doing: &'static str,
    work: impl AsyncFnOnce(&Watch) -> Result<Carried, Error>,
) -> Result<Carried, Failure> {
    let stop = stop_signal()?;
    let ended = Arc::new(AtomicBool::new(false));
    let ends = Arc::clone(&ended);
    tokio::spawn(async move {
        stop.await;
        ends.store(true, Ordering::Relaxed);
    });
    let bar = ProgressBar::new(0).with_style(ProgressStyle::with_template(
        "{msg:9} {wide_bar} {human_pos}/{human_len} rows {per_sec} {eta}",
    )?);
    bar.set_message("counting");
    bar.tick();
    let shown = bar.clone();
    let watch = move |Progress { phase, done, total }: Progress| {
        shown.set_message(match phase {
            Phase::Checking => "checking",
            Phase::Carrying => doing,
        });
        shown.set_length(total);
        shown.set_position(done);
        !ended.load(Ordering::Relaxed)
    };
    let outcome = work(&watch).await;
    bar.finish_and_clear();
    Ok(outcome?)
}
