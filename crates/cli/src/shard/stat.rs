//! `acquaint shard stat`.

use std::path::Path;

use acquaint_server::shard::{self, Stat, available_memory};
use serde_json::{Value, json};

use super::{name, outcome};
use crate::args;
use crate::failure::Failure;
use crate::output::{self, moment, tell};
use crate::store::{causes, size};

pub(super) fn run(args: &args::shard::Stat) -> Result<(), Failure> {
    let looked: Vec<_> = args.files.iter().map(|file| (file.as_path(), shard::stat(file))).collect();
    let good = || looked.iter().filter_map(|(_, told)| told.as_ref().ok());
    let needed = good().fold(0_u64, |sum, told| sum.saturating_add(told.memory_bytes));
    let available = available_memory();
    let fits = available.map(|available| needed <= available);
    let broken = looked.len() - good().count();
    if args.json {
        let shards: Vec<_> = looked
            .iter()
            .map(|(file, told)| match told {
                Ok(told) => as_json(file, told),
                Err(error) => json!({ "file": file, "error": causes(error) }),
            })
            .collect();
        output::json(&json!({
            "ok": broken == 0, "shards": shards, "memory_bytes": needed, "available_bytes": available, "fits": fits,
        }))?;
        return outcome(broken);
    }
    for (file, told) in &looked {
        match told {
            Ok(told) => rows(file, told),
            Err(error) => tell!("WRONG: {}", causes(error)),
        }
    }
    if good().count() > 0 {
        match available {
            Some(available) => tell!(
                "Memory when all are full: {} of {} that are free. {}",
                size(needed),
                size(available),
                if needed <= available { "They fit." } else { "They do not fit." }
            ),
            None => {
                tell!("Memory when all are full: {}. The system does not tell what is free.", size(needed))
            }
        }
    }
    outcome(broken)
}

fn load(told: &Stat) -> f64 {
    told.records as f64 / told.places.max(1) as f64
}

fn rows(file: &Path, told: &Stat) {
    let shape = told.shape;
    tell!("{}", file.display());
    for (what, value) in [
        ("shard", name(&told.head)),
        ("made", moment(told.head.made_at)),
        ("changes", format!("up to number {}", told.head.change)),
        ("configuration", hex::encode(told.configuration)),
        ("table", format!("{} rows, {} columns, {} slots", shape.rows, shape.columns, shape.slots)),
        ("records", format!("{} in {} places, {:.1} %", told.records, told.places, 100.0 * load(told))),
        ("file", size(told.bytes)),
        ("memory", format!("{} when it is full", size(told.memory_bytes))),
    ] {
        tell!("  {what:<14} {value}");
    }
}

fn as_json(file: &Path, told: &Stat) -> Value {
    json!({
        "file": file, "shard": name(&told.head), "configuration": hex::encode(told.configuration),
        "made_at": told.head.made_at, "change": told.head.change, "rows": told.shape.rows,
        "columns": told.shape.columns, "slots": told.shape.slots, "answers": told.shape.answers,
        "records": told.records, "places": told.places, "load": load(told), "bytes": told.bytes,
        "memory_bytes": told.memory_bytes,
    })
}
