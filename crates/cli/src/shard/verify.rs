//! `acquaint shard verify`.

use std::path::{Path, PathBuf};

use acquaint_server::Ambient;
use acquaint_server::shard::{self, ShardError, Verified};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use super::{name, outcome};
use crate::args;
use crate::failure::Failure;
use crate::output::{self, counted, moment, tell};
use crate::store::causes;

pub(super) async fn run(args: args::shard::Verify) -> Result<(), Failure> {
    let (mut broken, mut told) = (0, Vec::new());
    for file in args.files {
        let verified = verify(file.clone(), args.sample).await?;
        broken += usize::from(verified.is_err());
        if args.json {
            told.push(as_json(&file, &verified));
            continue;
        }
        match &verified {
            Ok(verified) => tell!(
                "{}: whole. {}, {} up to change {}, made {}; {}.",
                file.display(),
                name(&verified.head),
                counted(usize::try_from(verified.records).unwrap_or(usize::MAX), "record", "records"),
                verified.head.change,
                moment(verified.head.made_at),
                match verified.queries {
                    0 => "it was asked for nothing".to_owned(),
                    queries => format!("{queries} queries answered right"),
                }
            ),
            Err(error) => tell!("WRONG: {}", causes(error)),
        }
    }
    if args.json {
        output::json(&json!({ "ok": broken == 0, "shards": told }))?;
    }
    outcome(broken)
}

/// One file, apart from the runtime, with a bar for the person.
async fn verify(file: PathBuf, sample: u16) -> Result<Result<Verified, ShardError>, Failure> {
    let bar = ProgressBar::new(0)
        .with_style(ProgressStyle::with_template("{msg:10} {wide_bar} {bytes}/{total_bytes} {eta}")?)
        .with_message("checking");
    bar.enable_steady_tick(std::time::Duration::from_millis(100));
    let shown = bar.clone();
    let verified = tokio::task::spawn_blocking(move || {
        shard::verify(&file, usize::from(sample), &*Ambient::default().entropy, &mut |done, total| {
            shown.set_length(total);
            shown.set_position(done);
            if done == total {
                shown.set_message("asking");
            }
            true
        })
    });
    let verified = verified.await?;
    bar.finish_and_clear();
    Ok(verified)
}

fn as_json(file: &Path, verified: &Result<Verified, ShardError>) -> Value {
    match verified {
        Ok(verified) => json!({
            "file": file, "ok": true, "shard": name(&verified.head), "made_at": verified.head.made_at,
            "change": verified.head.change, "records": verified.records, "queries": verified.queries,
        }),
        Err(error) => {
            let section = match error {
                ShardError::Damaged { section, .. } => Some(section.to_string()),
                _ => None,
            };
            json!({ "file": file, "ok": false, "error": causes(error), "section": section })
        }
    }
}
