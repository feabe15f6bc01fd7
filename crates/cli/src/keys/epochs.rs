//! `acquaint keys epochs`, `rotate` and `retire`.

use std::time::Duration;

use acquaint_client::{Epoch, Epochs, Operator, Retirement};
use acquaint_server::Ambient;
use acquaint_server::config::Config;
use acquaint_server::keys::{self, KeyId};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use crate::args::keys::{self as args, Retire, Rotate};
use crate::failure::Failure;
use crate::output::{self, tell};
use crate::remote::address;

/// How often a running server is asked how far it is.
const ASK_EVERY: Duration = Duration::from_secs(1);

pub(super) async fn epochs(args: args::Epochs) -> Result<(), Failure> {
    let (url, settings) = address(&args.server)?;
    let Epochs { servers, epochs } = Operator::new(&url, settings)?.epochs().await?;
    if args.json {
        let epochs: Vec<_> = epochs.iter().map(told).collect();
        return output::json(&json!({ "servers": servers, "epochs": epochs }));
    }
    for epoch in &epochs {
        let Epoch { version, state, suite, halves, matches, servers: checked_by } = epoch;
        let suite = suite.as_deref().unwrap_or("-");
        tell!(
            "{version:4}  {state:8}  {suite:12}{halves:>12} halves{matches:>12} matches  checked by {checked_by} of {servers}"
        );
    }
    let is = |state: &str| epochs.iter().any(|epoch| epoch.state == state);
    if is("next") {
        output::note(
            "The next epoch becomes the current one when every server checks it: put the new key on all of them.",
        );
    } else if is("older") {
        output::note(
            "While two are checked, an import finishes each pair twice. `acquaint keys retire VERSION` ends the older one.",
        );
    }
    Ok(())
}

fn told(epoch: &Epoch) -> serde_json::Value {
    let Epoch { version, state, suite, halves, matches, servers } = epoch;
    json!({ "version": version, "state": state, "suite": suite, "halves": halves, "matches": matches,
            "servers": servers })
}

pub(super) fn rotate(args: &Rotate) -> Result<(), Failure> {
    let config = Config::load_keys_here(&args.config)?;
    let rotated = keys::rotate(&config, args.new_pepper, Ambient::default().clock.now())?;
    let KeyId { purpose: _, version } = rotated.key;
    if args.json {
        let suite = rotated.suite;
        return output::json(
            &json!({ "version": version, "suite": suite, "new_pepper": rotated.stretches_anew }),
        );
    }
    if config.keys.custody == "pkcs11" {
        tell!(
            "Made pair key {version} in the token `{}`. Make the HSM's own back-up now.",
            config.pkcs11.token
        );
    } else {
        tell!("Made pair key {version} in {}. Back the key file up now.", config.keys.file.display());
        tell!("Servers on other machines need the same file.");
    }
    tell!(
        "Running servers take it up within seconds. Once every one checks it, they insert under it: `acquaint keys epochs`."
    );
    if rotated.stretches_anew {
        tell!("Until the older one is retired, each pair is stretched twice: imports take twice as long.");
    }
    Ok(())
}

pub(super) async fn retire(args: Retire) -> Result<(), Failure> {
    let config = Config::load_keys_here(&args.server.config)?;
    if config.keys.custody == "process" {
        return Err(keys::KeysError::NotHere.into());
    }
    let (url, settings) = address(&args.server)?;
    let operator = Operator::new(&url, settings)?;
    let epoch = find(&operator, args.version).await?;
    if epoch.state == "current" || epoch.state == "next" {
        return Err(in_use(args.version).into());
    }
    if epoch.state == "older" && !args.yes && !agreed(&epoch)? {
        return Err("nothing was changed".into());
    }
    match operator.retire_epoch(args.version).await? {
        Retirement::Retired => {}
        Retirement::InUse => return Err(in_use(args.version).into()),
        Retirement::Unknown => return Err(unknown(args.version).into()),
    }
    let rows = epoch.halves.saturating_add(epoch.matches);
    let bar = ProgressBar::new(rows).with_style(ProgressStyle::with_template(
        "deleting {wide_bar} {pos}/{len} halves and matches {eta}",
    )?);
    loop {
        let epoch = find(&operator, args.version).await?;
        bar.set_position(rows.saturating_sub(epoch.halves.saturating_add(epoch.matches)));
        // A server that still hashes for it would only find the key gone.
        if epoch.state == "cleared" && epoch.servers == 0 {
            break;
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
    bar.finish_and_clear();
    let version = args.version;
    let destroyed = tokio::task::spawn_blocking(move || keys::destroy_pair_key(&config, version)).await?;
    let was_there = destroyed?;
    if args.json {
        return output::json(&json!({ "version": version, "deleted": rows, "destroyed": was_there }));
    }
    if was_there {
        tell!("Epoch {version} is over: its rows are deleted and its key is destroyed.");
        tell!(
            "Copies of the key, as in a back-up, are for you to delete: with one, a stolen old database can be searched."
        );
    } else {
        tell!("Epoch {version} is over: its rows are deleted. Its key was gone already.");
    }
    Ok(())
}

async fn find(operator: &Operator, version: u32) -> Result<Epoch, Failure> {
    let epochs = operator.epochs().await?.epochs;
    epochs.into_iter().find(|epoch| epoch.version == version).ok_or_else(|| unknown(version).into())
}

fn unknown(version: u32) -> String {
    format!("the server knows of no epoch {version}: `acquaint keys epochs` lists them")
}

fn in_use(version: u32) -> String {
    format!(
        "epoch {version} is in use: `acquaint keys rotate` makes a newer one first; once that is current, this one can be retired"
    )
}

fn agreed(epoch: &Epoch) -> Result<bool, Failure> {
    let Epoch { version, halves, matches, .. } = epoch;
    super::asked(&format!(
        "Delete {halves} unmatched contacts and {matches} matches that nobody has imported again since, and destroy \
         pair key {version}, for good?\nThose people find each other again with their next import. Type yes: "
    ))
}
