//! `acquaint keys`.

mod audience;
mod epochs;

use std::io::{BufRead, IsTerminal};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use acquaint_server::Ambient;
use acquaint_server::config::Config;
use acquaint_server::keys::{self, Identity, Listed, SealingKey, Secret};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use serde_json::json;

use crate::args::keys::{Init, KeysCommand, List, Unwrap, Wrap};
use crate::failure::Failure;
use crate::output::{self, tell};

/// The fewest characters of a passphrase that somebody types: less is a mistake.
const SHORTEST: usize = 16;

/// How the terminal was before it was silenced, while it is.
static SHOWN: Mutex<Option<Termios>> = Mutex::new(None);

pub(crate) async fn run(command: KeysCommand) -> Result<(), Failure> {
    let work: Box<dyn FnOnce() -> Result<(), Failure> + Send> = match command {
        KeysCommand::Epochs(args) => return epochs::epochs(args).await,
        KeysCommand::Retire(args) => return epochs::retire(args).await,
        KeysCommand::Rotate(args) => Box::new(move || epochs::rotate(&args)),
        KeysCommand::Init(args) => Box::new(move || init(&args)),
        KeysCommand::Audience(args) => Box::new(move || audience::audience(&args)),
        KeysCommand::List(args) => Box::new(move || list(&args)),
        KeysCommand::Wrap(args) => Box::new(move || wrap(&args)),
        KeysCommand::Unwrap(args) => Box::new(move || unwrap(&args)),
    };
    // An HSM, a passphrase and a person all take their time.
    let done = tokio::task::spawn_blocking(work);
    tokio::select! {
        done = done => done?,
        _ = tokio::signal::ctrl_c() => {
            // A terminal that was silenced for a passphrase is given its echo back.
            if let Some(shown) = SHOWN.lock().unwrap_or_else(PoisonError::into_inner).take() {
                let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, &shown);
                output::note("");
            }
            // The thread that reads from the terminal cannot be ended otherwise; as a shell tells of SIGINT.
            std::process::exit(130)
        }
    }
}

fn init(args: &Init) -> Result<(), Failure> {
    let mut config = Config::load_keys_here(&args.config)?;
    if let Some(custody) = &args.custody {
        config.keys.custody.clone_from(custody);
        config.check_keys()?;
    }
    let made = keys::init(&config, Ambient::default().clock.now())?;
    if args.json {
        let made: Vec<_> =
            made.iter().map(|key| json!({ "purpose": key.purpose.name(), "version": key.version })).collect();
        return output::json(&json!({ "made": made }));
    }
    let count = output::counted(made.len(), "key", "keys");
    if config.keys.custody == "pkcs11" {
        tell!("Made {count} in the token `{}`.", config.pkcs11.token);
        tell!("Make the HSM's own back-up now: without the keys, stored data can never be matched again.");
    } else {
        tell!("Made {count} in {}.", config.keys.file.display());
        tell!(
            "Back the key file up, apart from the data: without it, stored data can never be matched again."
        );
    }
    Ok(())
}

fn list(args: &List) -> Result<(), Failure> {
    let config = Config::load_keys_here(&args.config)?;
    let (listed, budgets) = (keys::list(&config)?, keys::usage(&config)?);
    if args.json {
        let keys: Vec<_> = listed
            .iter()
            .map(|Listed { key, made_at, suite, state }| {
                json!({ "purpose": key.purpose.name(), "version": key.version, "made_at": made_at,
                        "suite": suite, "state": state })
            })
            .collect();
        let budgets: Vec<_> = budgets
            .iter()
            .map(|usage| {
                json!({ "purpose": usage.key.purpose.name(), "version": usage.key.version,
                        "used_today": usage.used_today, "per_day": usage.per_day, "per_second": usage.per_second,
                        "refused": usage.over_second + usage.over_day + usage.over_share,
                        "unaccounted": usage.unaccounted })
            })
            .collect();
        output::json(&json!({ "keys": keys, "budgets": budgets }))?;
    } else {
        for Listed { key, made_at, suite, state } in &listed {
            let made = made_at.map_or_else(|| "-".to_owned(), output::day);
            tell!(
                "{:15}{:4}  {made:10}  {:12}{state}",
                key.purpose.name(),
                key.version,
                suite.unwrap_or("-")
            );
        }
        for usage in &budgets {
            tell!(
                "budget of the {}: {} of {} operations used today",
                usage.key,
                usage.used_today,
                usage.per_day
            );
        }
    }
    match listed.iter().filter(|listed| listed.state != "usable").count() {
        0 if listed.is_empty() => Err("there are no keys: `acquaint keys init` makes them".into()),
        0 => Ok(()),
        several => Err(format!("{} cannot be used", output::counted(several, "key", "keys")).into()),
    }
}

fn wrap(args: &Wrap) -> Result<(), Failure> {
    let config = Config::load_keys_here(&args.config)?;
    let file = &config.keys.file;
    let (key, opener) = match (&args.identity, given(args.passphrase_file.as_ref(), None)?) {
        (Some(path), _) => {
            let identity = if args.make_identity { Identity::create(path)? } else { Identity::open(path)? };
            (SealingKey::Identity(identity), format!("`keys.identity_file = \"{}\"`", path.display()))
        }
        (None, Some(key)) => (key, "`keys.passphrase_file`".to_owned()),
        (None, None) => match keys::sealing_key(&config)? {
            Some(key) => (key, "what is configured already".to_owned()),
            None => (SealingKey::Passphrase(new_passphrase()?), "`keys.passphrase_file`".to_owned()),
        },
    };
    keys::wrap(file, &key)?;
    tell!("Sealed {}. The next start of the server opens it with {opener}.", file.display());
    tell!("Keep what opens it in two places that are not the back-up: without it the keys are gone.");
    Ok(())
}

fn unwrap(args: &Unwrap) -> Result<(), Failure> {
    let config = Config::load_keys_here(&args.config)?;
    let file = &config.keys.file;
    let key = match given(args.passphrase_file.as_ref(), args.identity.as_ref())? {
        Some(key) => key,
        None => match keys::sealing_key(&config)? {
            Some(key) => key,
            None => SealingKey::Passphrase(hidden("Passphrase: ")?),
        },
    };
    if !args.yes && !agreed(file)? {
        return Err("nothing was changed".into());
    }
    keys::unwrap(file, &key)?;
    tell!("{} is in clear now: whoever reads it has the keys.", file.display());
    tell!(
        "Take `keys.passphrase_file` or `keys.identity_file` out of the configuration before the next start."
    );
    Ok(())
}

fn given(passphrase: Option<&PathBuf>, identity: Option<&PathBuf>) -> Result<Option<SealingKey>, Failure> {
    Ok(match (passphrase, identity) {
        (Some(path), _) => Some(SealingKey::Passphrase(Secret::from_file(path)?)),
        (None, Some(path)) => Some(SealingKey::Identity(Identity::open(path)?)),
        (None, None) => None,
    })
}

fn agreed(file: &Path) -> Result<bool, Failure> {
    asked(&format!("Write the keys to {} in clear, for whoever reads that file? Type yes: ", file.display()))
}

/// Whether the answer is yes.
fn asked(question: &str) -> Result<bool, Failure> {
    output::prompt(question);
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    Ok(line.trim() == "yes")
}

fn new_passphrase() -> Result<Secret, Failure> {
    let first = hidden("New passphrase, six random words or more: ")?;
    if first.expose().chars().count() < SHORTEST {
        return Err(format!("a passphrase needs at least {SHORTEST} characters: nothing was changed").into());
    }
    if hidden("The same again: ")?.expose() != first.expose() {
        return Err("the two are not the same: nothing was changed".into());
    }
    Ok(first)
}

/// Reads a line from the terminal without showing it.
fn hidden(prompt: &str) -> Result<Secret, Failure> {
    let terminal = std::io::stdin();
    if !terminal.is_terminal() {
        return Err(
            "there is no terminal to ask for the passphrase: name its file with --passphrase-file".into()
        );
    }
    output::prompt(prompt);
    let shown = tcgetattr(&terminal)?;
    let mut silent = shown.clone();
    silent.local_modes.remove(LocalModes::ECHO);
    *SHOWN.lock().unwrap_or_else(PoisonError::into_inner) = Some(shown.clone());
    tcsetattr(&terminal, OptionalActions::Flush, &silent)?;
    let mut line = String::with_capacity(acquaint_server::keys::MAX_SECRET);
    let read = terminal.lock().read_line(&mut line);
    let restored = tcsetattr(&terminal, OptionalActions::Now, &shown);
    SHOWN.lock().unwrap_or_else(PoisonError::into_inner).take();
    output::note("");
    read?;
    restored?;
    line.truncate(line.trim_end_matches(['\r', '\n']).len());
    Ok(Secret::new(line))
}
