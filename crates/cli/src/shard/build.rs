//! `acquaint shard build`.

use std::time::Duration;

use acquaint_server::config::Config;
use acquaint_server::shard::build;
use acquaint_server::telemetry;
use indicatif::ProgressBar;
use serde_json::json;

use crate::args::shard::Build;
use crate::failure::Failure;
use crate::output::{self, counted};

pub(super) async fn run(args: Build) -> Result<(), Failure> {
    let mut config = Config::load_here(&args.config)?;
    if let Some(folder) = args.out {
        config.private_lookup.files = folder;
    }
    let folder = config.private_lookup.files.clone();
    // What goes wrong is told there.
    let traces = telemetry::start(&config.log, &config.telemetry)?;
    let bar = ProgressBar::new_spinner().with_message("opening keys and database");
    bar.enable_steady_tick(Duration::from_millis(100));
    let built = build(config, |epochs| {
        let records: u64 =
            epochs.iter().filter(|epoch| epoch.profile != "sealed-buckets").map(|epoch| epoch.listings).sum();
        bar.set_message(format!("{records} records in shards"));
    });
    let built = built.await;
    bar.finish_and_clear();
    traces.stop().await;
    let built = built?;
    if args.json {
        let profiles: Vec<_> = built
            .iter()
            .map(|epoch| json!({ "profile": epoch.profile, "epoch": epoch.epoch, "records": epoch.listings }))
            .collect();
        return output::json(&json!({ "folder": folder, "profiles": profiles }));
    }
    for epoch in &built {
        let records = counted(usize::try_from(epoch.listings).unwrap_or(usize::MAX), "record", "records");
        output::line(&format!(
            "{}, epoch {}: {records} in {}",
            epoch.profile,
            epoch.epoch,
            folder.display()
        ))?;
    }
    output::note("`acquaint shard verify` looks whether the files are whole.");
    Ok(())
}
