//! `acquaint keys epochs`, `rotate` and `retire`.

use std::time::Duration;

use acquaint_client::{Epoch, EpochRows, Epochs, Operator, Retirement, Settings};
use acquaint_server::Ambient;
use acquaint_server::config::Config;
use acquaint_server::database::{self, EpochId, Retirement as Retired};
use acquaint_server::keys::{self, KeyId, KeysError};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use crate::args::keys::{self as args, Retire, Rotate};
use crate::failure::Failure;
use crate::output::{self, tell};
use crate::remote::address;

/// How often a running server is asked how far it is.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// How long to wait for rows to be counted; the server gives up at `http.request_timeout_s`.
const COUNTING: Duration = Duration::from_secs(600);

pub(super) async fn epochs(args: args::Epochs) -> Result<(), Failure> {
    let (url, settings) = address(&args.server)?;
    let operator = Operator::new(&url, settings.clone())?;
    let counting = Operator::new(&url, Settings { deadline: COUNTING, ..settings })?;
    let Epochs { servers, epochs } = operator.epochs().await?;
    let mut lines = Vec::new();
    for epoch in epochs {
        let rows = rows(&counting, &epoch).await;
        lines.push((epoch, rows));
    }
    if args.json {
        let epoch = |(epoch, rows): &(Epoch, Option<EpochRows>)| {
            json!({ "version": epoch.version, "state": epoch.state, "suite": epoch.suite, "servers": epoch.servers,
                    "halves": rows.map(|rows| rows.halves), "matches": rows.map(|rows| rows.matches) })
        };
        let epochs: Vec<_> = lines.iter().map(epoch).collect();
        return output::json(&json!({ "servers": servers, "epochs": epochs }));
    }
    for (epoch, rows) in &lines {
        let Epoch { version, state, suite, servers: checked_by, check: _ } = epoch;
        let suite = suite.as_deref().unwrap_or("-");
        let count =
            |of: fn(&EpochRows) -> u64| rows.as_ref().map_or_else(|| "?".into(), |rows| of(rows).to_string());
        tell!(
            "{version:4}  {state:8}  {suite:12}{:>12} halves{:>12} matches  checked by {checked_by} of {servers}",
            count(|rows| rows.halves),
            count(|rows| rows.matches)
        );
    }
    let is = |state: &str| lines.iter().any(|(epoch, _)| epoch.state == state);
    if is("next") {
        output::note(
            "The next epoch becomes the current one when every server checks it: put the new key on all of them. Their \
             logs say what is missing.",
        );
    } else if is("older") {
        output::note(
            "While two are checked, an import finishes each pair twice. `acquaint keys retire VERSION` ends the older one.",
        );
    }
    Ok(())
}

/// What stands under an epoch, if that can be counted in time.
async fn rows(operator: &Operator, epoch: &Epoch) -> Option<EpochRows> {
    if epoch.state == "cleared" {
        return Some(EpochRows { halves: 0, matches: 0 });
    }
    operator.epoch_rows(epoch.version).await.ok()
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
        tell!(
            "Until the older one is retired, each pair is stretched for both: imports take at least twice as long."
        );
    }
    Ok(())
}

pub(super) async fn retire(args: Retire) -> Result<(), Failure> {
    let config = Config::load_keys_here(&args.server.config)?;
    if args.lost {
        return lost(&args).await;
    }
    if config.keys.custody == "process" {
        return Err(KeysError::NotHere.into());
    }
    let (url, settings) = address(&args.server)?;
    let counting = Operator::new(&url, Settings { deadline: COUNTING, ..settings.clone() })?;
    let operator = Operator::new(&url, settings)?;
    let version = args.version;
    let epoch = find(&operator, version).await?;
    if epoch.state == "current" {
        return Err(is_current(version).into());
    }
    let is_here = is_here(&config, &epoch, &url).await?;
    if !args.yes && !super::asked(&question(&counting, &epoch, is_here).await)? {
        return Err("nothing was changed".into());
    }
    let forgets = match operator.retire_epoch(version).await? {
        Retirement::Retired => wait_for(&operator, version).await?,
        Retirement::Forgotten => false,
        Retirement::IsCurrent => return Err(is_current(version).into()),
        Retirement::Unknown => return Err(unknown(version).into()),
    };
    if is_here {
        tokio::task::spawn_blocking(move || keys::destroy_pair_key(&config, version)).await??;
    }
    if forgets {
        // Not before its key is gone: the server would take that up again.
        operator.retire_epoch(version).await?;
    }
    if args.json {
        return output::json(&json!({ "version": version, "destroyed": is_here }));
    }
    if is_here {
        tell!("Epoch {version} is over: nothing stands under it any more, and its key is destroyed.");
        tell!(
            "Copies of the key, as in a back-up, are for you to delete: with one, a stolen old database can be searched. \
             Make a new back-up of the database first: an older one needs the key."
        );
    } else {
        tell!(
            "Epoch {version} is over: nothing stands under it any more. Its key was gone from here already."
        );
    }
    Ok(())
}

/// Whether the key is here; another one than the server's is refused.
async fn is_here(config: &Config, epoch: &Epoch, url: &str) -> Result<bool, Failure> {
    let check = hex::decode(&epoch.check)
        .map_err(|_| "the server's answer cannot be read: use the same version of both")?;
    let (config, version) = (config.clone(), epoch.version);
    match tokio::task::spawn_blocking(move || keys::is_pair_key(&config, version, &check)).await?? {
        Some(false) => Err(format!(
            "pair key {version} of this configuration is not the one of the service at {url}: name the configuration of \
             that service's keys. Nothing was changed"
        )
        .into()),
        here => Ok(here.is_some()),
    }
}

async fn question(counting: &Operator, epoch: &Epoch, is_here: bool) -> String {
    let version = epoch.version;
    let destroys =
        if is_here { format!("destroy pair key {version}, for good") } else { "end it".to_owned() };
    let rows = match (epoch.state.as_str(), rows(counting, epoch).await) {
        ("next", _) => {
            return format!(
                "Forget epoch {version}, which nothing stands under yet, and {destroys}? Type yes: "
            );
        }
        (_, Some(EpochRows { halves: 0, matches: 0 })) => {
            return format!(
                "Nothing stands under epoch {version} any more. {}? Type yes: ",
                capital(&destroys)
            );
        }
        (_, Some(EpochRows { halves, matches })) => {
            format!("{halves} unmatched contacts and {matches} matches")
        }
        (_, None) => "all unmatched contacts and matches".to_owned(),
    };
    format!(
        "Delete {rows} that nobody has imported again since, and {destroys}?\nThose people find each other again with \
         their next import. Type yes: "
    )
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}

/// Until its rows are deleted, and no server hashes for it any more: one that did would find the key gone. Whether its
/// number can be free again, because it is newer than the current one.
async fn wait_for(operator: &Operator, version: u32) -> Result<bool, Failure> {
    let spinner = ProgressBar::new_spinner()
        .with_style(ProgressStyle::with_template("{spinner} deleting what stands under it, {elapsed}")?);
    loop {
        let epochs = operator.epochs().await?.epochs;
        let epoch = epochs.iter().find(|epoch| epoch.version == version).ok_or_else(|| unknown(version))?;
        if epoch.state == "cleared" && epoch.servers == 0 {
            spinner.finish_and_clear();
            return Ok(epochs.iter().all(|other| other.state != "current" || other.version < version));
        }
        spinner.tick();
        tokio::time::sleep(ASK_EVERY).await;
    }
}

/// Without a server, which does not start when a key is lost that it needs.
async fn lost(args: &Retire) -> Result<(), Failure> {
    let config = Config::load_here(&args.server.config)?;
    let version = args.version;
    let store = database::open(&config).await?.store();
    let records = store.key_records().await?;
    let Some(record) =
        records.into_iter().find(|record| record.purpose == "pair" && record.version == version)
    else {
        return Err(unknown(version).into());
    };
    let looked = tokio::task::spawn_blocking(move || keys::is_pair_key(&config, version, &record.check));
    if looked.await?? == Some(true) {
        return Err(format!("pair key {version} is not lost: leave --lost out, with a server running").into());
    }
    let sentence = format!(
        "Give up all that stands under epoch {version}, whose key is lost?\nThose people find each other again with \
         their next import. Type yes: "
    );
    if !args.yes && !super::asked(&sentence)? {
        return Err("nothing was changed".into());
    }
    match store.retire_epoch(EpochId::new(version)).await? {
        Retired::Retired | Retired::Forgotten => {}
        Retired::IsCurrent => {
            return Err(format!(
                "epoch {version} is the current one, and without its key nothing can be matched: bring it back from a back-up"
            )
            .into());
        }
        Retired::Unknown => return Err(unknown(version).into()),
    }
    if args.json {
        return output::json(&json!({ "version": version, "destroyed": false }));
    }
    tell!("Epoch {version} is given up. The servers start without its key, and delete what stands under it.");
    Ok(())
}

async fn find(operator: &Operator, version: u32) -> Result<Epoch, Failure> {
    let epochs = operator.epochs().await?.epochs;
    epochs.into_iter().find(|epoch| epoch.version == version).ok_or_else(|| unknown(version).into())
}

fn unknown(version: u32) -> String {
    format!("the data knows of no epoch {version}: `acquaint keys epochs` lists them")
}

fn is_current(version: u32) -> String {
    format!(
        "epoch {version} is the current one: `acquaint keys rotate` makes a newer one; once that is current, this one can \
         be retired"
    )
}
