//! `acquaint doctor`: looks at everything that a server needs, and says what to do.

mod machine;
mod postgres;
mod surroundings;

use std::path::Path;

use acquaint_server::config::{Config, Holder};
use acquaint_server::database::Options;
use acquaint_server::delivery::{DeliveryError, Probe, probe};
use acquaint_server::keys::KeysError;
use acquaint_server::upkeep::{self, Depth, Health, KeyRecord};
use acquaint_server::{Ambient, ServerError};
use serde::Serialize;

use crate::args;
use crate::failure::Failure;
use crate::output::tell;
use crate::store::{advice, causes, size};

#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Ok,
    Warning,
    Wrong,
}

/// What one look showed.
#[derive(Serialize)]
struct Seen {
    what: &'static str,
    verdict: Verdict,
    told: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    advice: Option<String>,
}

fn ok(what: &'static str, told: impl Into<String>) -> Seen {
    Seen { what, verdict: Verdict::Ok, told: told.into(), advice: None }
}

fn warning(what: &'static str, told: impl Into<String>, advice: impl Into<String>) -> Seen {
    Seen { what, verdict: Verdict::Warning, told: told.into(), advice: Some(advice.into()) }
}

fn wrong(what: &'static str, told: impl Into<String>, advice: impl Into<String>) -> Seen {
    Seen { what, verdict: Verdict::Wrong, told: told.into(), advice: Some(advice.into()) }
}

pub(crate) async fn run(args: &args::Doctor) -> Result<(), Failure> {
    let seen = look(&args.config).await;
    let wrong = seen.iter().filter(|seen| seen.verdict == Verdict::Wrong).count();
    if args.json {
        let report = serde_json::json!({ "ok": wrong == 0, "checks": seen });
        tell!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        for Seen { what, verdict, told, advice } in &seen {
            let verdict = match verdict {
                Verdict::Ok => "ok",
                Verdict::Warning => "warning",
                Verdict::Wrong => "WRONG",
            };
            let advice = advice.as_ref().map(|advice| format!(". To do: {advice}")).unwrap_or_default();
            tell!("{verdict:8}{what}: {told}{advice}.");
        }
    }
    match wrong {
        0 => Ok(()),
        1 => Err("something is wrong: the server does not start, or does not stay well".into()),
        several => {
            Err(format!("{several} things are wrong: the server does not start, or does not stay well")
                .into())
        }
    }
}

async fn look(path: &Path) -> Vec<Seen> {
    let config = match Config::load_here(path) {
        Ok(config) => config,
        Err(error) => {
            return vec![wrong("configuration", causes(&error), "correct it; nothing else was looked at")];
        }
    };
    let mut seen = vec![configuration(path, &config)];
    if let Some(options) = config.store.postgres() {
        seen.extend(look_at_several(&config, &options).await);
        return seen;
    }
    let database = upkeep::database_in(&config.data_dir);
    let folder = config.data_dir.clone();
    let health = match database.exists() {
        false => None,
        true => match tokio::task::spawn_blocking(move || upkeep::check(&folder, Depth::Quick)).await {
            Ok(looked) => Some(looked),
            Err(error) => return vec![wrong("database", error.to_string(), "report this defect")],
        },
    };
    let sound = health.as_ref().and_then(|health| health.as_ref().ok());
    let holder = machine::holder(&config.data_dir);
    seen.push(looked_at_keys(&config, sound.map(|health| health.keys.as_slice())).await);
    seen.push(match &health {
        None => ok("database", "none yet; the first start makes it"),
        Some(Ok(health)) => database_is(&database, health),
        Some(Err(error)) => wrong("database", causes(error), advice(error)),
    });
    seen.push(machine::data_folder(&config.data_dir));
    seen.extend(surroundings::port(&config, sound.is_some_and(|health| health.held), holder).await);
    seen.push(surroundings::clock(&config, sound.and_then(|health| health.newest)).await);
    seen.extend(delivery(&config).await);
    seen.push(surroundings::notifications(&config).await);
    seen.push(surroundings::certificate(&config, Ambient::default().clock.now()));
    seen.push(machine::disk(&database, sound));
    seen.push(machine::pool(&config, holder));
    seen.push(machine::swap());
    seen.push(machine::core_dumps(holder));
    seen
}

/// As [`look`], where PostgreSQL is the store: there is no folder, and other servers may run.
async fn look_at_several(config: &Config, options: &Options) -> Vec<Seen> {
    let (found, database) = postgres::database(config, options).await;
    let mut seen = vec![looked_at_keys(config, found.as_ref().map(|found| found.keys.as_slice())).await];
    seen.extend(database);
    seen.push(surroundings::port_of_several(config).await);
    seen.push(surroundings::clock(config, found.and_then(|found| found.newest)).await);
    seen.extend(delivery(config).await);
    seen.push(surroundings::notifications(config).await);
    seen.push(surroundings::certificate(config, Ambient::default().clock.now()));
    seen.push(machine::pool(config, None));
    seen.push(machine::swap());
    seen.push(machine::core_dumps(None));
    seen
}

fn configuration(path: &Path, config: &Config) -> Seen {
    const WHAT: &str = "configuration";
    let secret = !config.auth.api_key.is_empty() || !config.store.postgres.is_empty();
    if secret && !upkeep::is_private(path) {
        let command =
            format!("`chmod 600 {}`, and change the key if others may have read it", path.display());
        return warning(WHAT, "others can read the file, and the API key is in it", command);
    }
    ok(WHAT, format!("{} can be used", path.display()))
}

/// As [`keys`], which an HSM or another process can make wait.
async fn looked_at_keys(config: &Config, records: Option<&[KeyRecord]>) -> Seen {
    let (config, records) = (config.clone(), records.unwrap_or_default().to_vec());
    let looked = tokio::task::spawn_blocking(move || keys(&config, &records)).await;
    looked.unwrap_or_else(|error| wrong("keys", error.to_string(), "report this defect"))
}

/// The keys, and whether they are those of the data. A PIN is tried once.
fn keys(config: &Config, records: &[KeyRecord]) -> Seen {
    let (what, holder) = match config.keys.holder() {
        Some(Holder::Pkcs11) => ("HSM", format!("the token `{}`", config.pkcs11.token)),
        Some(Holder::Process) => {
            ("custody", format!("the custody process at {}", config.keys.socket.display()))
        }
        Some(Holder::File) | None => ("key file", config.keys.file.display().to_string()),
    };
    let is_file = what == "key file";
    if is_file && records.is_empty() && !config.keys.file.exists() {
        return ok(what, "none yet; the first start makes it");
    }
    match upkeep::check_keys(config, records) {
        Ok(()) if records.is_empty() => {
            ok(what, format!("{holder} can be used; there is no data that it could be held against"))
        }
        Ok(()) if is_file => ok(what, format!("{holder} is the one that the data was made with")),
        Ok(()) => ok(what, format!("{holder} has the keys that the data was made with")),
        Err(ServerError::Keys(KeysError::Process(error))) => wrong(
            what,
            causes(&error),
            "start the custody process (`acquaint custody serve`), or look at its log; imports wait until then",
        ),
        // Their sentences say what to do.
        Err(error) => wrong(what, causes(&error), "the server does not start before that is done"),
    }
}

fn database_is(path: &Path, health: &Health) -> Seen {
    const WHAT: &str = "database";
    if let Some(finding) = health.findings.first() {
        return wrong(WHAT, &finding.what, finding.advice);
    }
    let (bytes, log) = health.bytes;
    if log > 256 << 20 {
        let told = format!("its log has {}, which it should not reach", size(log));
        return warning(
            WHAT,
            told,
            "end what reads the database for long, as a back-up by another program, or start the server again",
        );
    }
    ok(WHAT, format!("{} is whole, {}, schema version {}", path.display(), size(bytes), health.version))
}

/// Whether codes can be sent: a line for each provider in use. None of them is made to send anything.
async fn delivery(config: &Config) -> Vec<Seen> {
    const WHAT: &str = "delivery";
    let mut seen = Vec::new();
    if config.uses_outbox() {
        seen.push(outbox(&config.delivery.outbox_file));
    }
    // The outbox was looked at without making its file.
    let mut real = config.clone();
    real.delivery.sms.retain(|name| name != "outbox");
    real.delivery.email.retain(|name| name != "outbox");
    for Probe { provider, outcome } in probe(&real).await {
        seen.push(match outcome {
            Ok(told) => ok(WHAT, format!("{provider}: {told}")),
            Err(error) => wrong(
                WHAT,
                format!("{provider}: {}", reason(&error)),
                format!(
                    "correct the section `{provider}` of the configuration, or what it names, and look again; \
                     docs/operations/sms-and-email.md has more"
                ),
            ),
        });
    }
    seen
}

fn reason(error: &DeliveryError) -> String {
    let source = error.source.as_ref().map(|source| format!(" ({})", causes(&**source))).unwrap_or_default();
    // Some end as a question; the line's full stop follows.
    format!("{}{source}", error.reason.trim_end_matches('?'))
}

/// The development outbox.
fn outbox(file: &Path) -> Seen {
    const WHAT: &str = "delivery";
    match machine::can_append(file) {
        Err(error) => wrong(
            WHAT,
            format!("the outbox {} cannot be written: {error}", file.display()),
            "correct `delivery.outbox_file`, or the permissions of its folder",
        ),
        Ok(()) => warning(
            WHAT,
            format!("codes are written to {}, not sent", file.display()),
            "for real people, name a provider in `delivery.sms`",
        ),
    }
}
