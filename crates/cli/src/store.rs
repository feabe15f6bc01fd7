//! `acquaint store`: back-up, restore and check of the database.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use acquaint_server::config::{Config, Holder};
use acquaint_server::upkeep::{
    self, BackupError, Depth, Finding, Health, Phase, Progress, Restore, Restored, Watch,
};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use crate::args::{self, StoreCommand};
use crate::failure::Failure;
use crate::output::tell;
use crate::serve::stop_signal;

mod postgres;
pub(crate) mod transfer;

pub(crate) async fn run(command: StoreCommand) -> Result<(), Failure> {
    match command {
        StoreCommand::Backup(args) => backup(args).await,
        StoreCommand::Restore(args) => restore(args).await,
        StoreCommand::Check(args) => check(args).await,
        StoreCommand::Export(args) => transfer::export(args).await,
        StoreCommand::Import(args) => transfer::import(args).await,
        StoreCommand::Rewrite(args) => postgres::rewrite(args).await,
    }
}

/// What a command did, as `--json` prints it.
#[derive(Serialize)]
struct Report<'a> {
    ok: bool,
    file: &'a Path,
    bytes: u64,
    log_bytes: u64,
    free_bytes: Option<u64>,
    schema_version: i64,
    known_schema_version: i64,
    in_use: bool,
    rows: BTreeMap<&'a str, u64>,
    findings: Vec<Told<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    keys_checked: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    former_database: Option<&'a Path>,
}

#[derive(Serialize)]
struct Told<'a> {
    what: &'a str,
    advice: &'a str,
}

impl<'a> Report<'a> {
    fn new(file: &'a Path, health: &'a Health) -> Self {
        let told = |finding: &'a Finding| Told { what: &finding.what, advice: finding.advice };
        Self {
            ok: health.findings.is_empty(),
            file,
            bytes: health.bytes.0,
            log_bytes: health.bytes.1,
            free_bytes: free_bytes(file),
            schema_version: health.version,
            known_schema_version: health.known_version,
            in_use: health.held,
            rows: health.tables.iter().map(|(table, rows)| (table.as_str(), *rows)).collect(),
            findings: health.findings.iter().map(told).collect(),
            keys_checked: None,
            former_database: None,
        }
    }

    fn print(&self) -> Result<(), Failure> {
        tell!("{}", serde_json::to_string_pretty(self)?);
        Ok(())
    }
}

async fn backup(args: args::OneFile) -> Result<(), Failure> {
    let config = Config::load_here(&args.config)?;
    postgres::has_its_own(
        &config,
        "pg_dump --format=custom --file FILE, with this database's connection string",
    )?;
    let (data, file) = (config.data_dir.clone(), args.file.clone());
    let health = watched(move |watch| upkeep::backup(&data, &file, watch)).await?;
    if args.json {
        return Report::new(&args.file, &health).print();
    }
    let file = args.file.display();
    tell!("Wrote {file}: {}, {}, checked.", size(health.bytes.0), rows(&health));
    tell!(
        "The key file is not in it. Without {} the back-up cannot be used: keep a copy of it, and never in the same place.",
        config.keys.file.display()
    );
    tell!(
        "A back-up keeps what people remove later. Delete it when its time is over, and note removals until then: \
         after a restore they must be repeated."
    );
    Ok(())
}

async fn restore(args: args::OneFile) -> Result<(), Failure> {
    let config = Config::load_here(&args.config)?;
    postgres::has_its_own(&config, "pg_restore into an empty database, with all servers stopped")?;
    let (data, from, keys) = (config.data_dir.clone(), args.file.clone(), config.clone());
    let (health, keys_checked, restored) = watched(move |watch| {
        let prepared = Restore::prepare(&from, &data, watch)?;
        let keys_checked = keys.keys.holder() != Some(Holder::File) || keys.keys.file.exists();
        if keys_checked {
            upkeep::check_keys(&keys, &prepared.health.keys)
                .map_err(|error| NotRestored("the key file does not fit the back-up", error.into()))?;
        }
        let health = prepared.health.clone();
        Ok::<_, Failure>((health, keys_checked, prepared.put_in_place()?))
    })
    .await
    .map_err(stop_first)?;
    let database = upkeep::database_in(&config.data_dir);
    let Restored { aside } = restored;
    if args.json {
        let report = Report::new(&database, &health);
        return Report { keys_checked: Some(keys_checked), former_database: aside.as_deref(), ..report }
            .print();
    }
    tell!("Restored {}: {}, {}, checked.", database.display(), size(health.bytes.0), rows(&health));
    match &aside {
        Some(aside) => tell!(
            "The former database is in {}. Delete it when it is not needed any more: it keeps what is removed from now on.",
            aside.display()
        ),
        None => tell!("There was no database before."),
    }
    if !keys_checked {
        tell!(
            "There is no key file at {}: put the one there that the data was made with, before you start the server.",
            config.keys.file.display()
        );
    }
    tell!(
        "What people removed after this back-up was made is back. Before the server is reachable again, run \
         `acquaint remove` for each of them (docs/operations/backup.md)."
    );
    Ok(())
}

/// A restore that did not happen, and why.
#[derive(Debug)]
struct NotRestored(&'static str, Failure);

impl std::fmt::Display for NotRestored {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}; nothing was changed", self.0)
    }
}

impl std::error::Error for NotRestored {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&*self.1)
    }
}

fn stop_first(error: Failure) -> Failure {
    let locked = matches!(error.downcast_ref(), Some(BackupError::Open(_, upkeep::OpenError::Locked { .. })));
    if locked {
        return NotRestored("the server runs: stop it, and restore then", error).into();
    }
    error
}

async fn check(args: args::Check) -> Result<(), Failure> {
    let (path, in_folder) = match &args.file {
        Some(file) => (file.clone(), None),
        None => {
            let config = Config::load_here(&args.config)?;
            postgres::has_its_own(&config, "acquaint doctor, and pg_amcheck for its files")?;
            (upkeep::database_in(&config.data_dir), Some(config.data_dir))
        }
    };
    let file = path.clone();
    let looked = tokio::task::spawn_blocking(move || match in_folder {
        Some(folder) => upkeep::check(&folder, Depth::Full),
        None => upkeep::check_file(&file, Depth::Full),
    });
    let waiting = ProgressBar::new_spinner().with_message("checking");
    waiting.enable_steady_tick(std::time::Duration::from_millis(100));
    let looked = looked.await?;
    waiting.finish_and_clear();
    let health = match looked {
        Ok(health) => health,
        Err(error) => {
            if args.json {
                tell!(
                    "{}",
                    serde_json::json!({ "ok": false, "file": path, "findings": [{ "what": causes(&error), "advice": advice(&error) }] })
                );
            }
            return Err(format!("{}: {}. {}", path.display(), causes(&error), advice(&error)).into());
        }
    };
    if args.json {
        Report::new(&path, &health).print()?;
    } else {
        tell(&path, &health);
    }
    match health.findings.len() {
        0 => Ok(()),
        1 => Err("something is wrong with the database".into()),
        several => Err(format!("{several} things are wrong with the database").into()),
    }
}

fn tell(path: &Path, health: &Health) {
    tell!("{}{}", path.display(), if health.held { ", in use by a server" } else { "" });
    let Health { version, known_version, .. } = health;
    match version {
        0 => tell!("schema: none yet; the first start makes it"),
        version if version < known_version => {
            tell!("schema: version {version}; the next start brings it to {known_version}");
        }
        version => tell!("schema: version {version}"),
    }
    tell!("size: {}, log {}", size(health.bytes.0), size(health.bytes.1));
    if let Some(free) = free_bytes(path) {
        tell!("free on the disk: {}", size(free));
    }
    for (table, rows) in &health.tables {
        tell!("rows of {table}: {rows}");
    }
    for Finding { what, advice } in &health.findings {
        tell!("WRONG: {what}. To do: {advice}.");
    }
    if health.findings.is_empty() {
        tell!("Nothing is wrong.");
    }
}

/// What to do about a database that does not open.
pub(crate) fn advice(error: &upkeep::OpenError) -> &'static str {
    use upkeep::OpenError;
    match error {
        OpenError::Files { .. } => "Look whether the path is right, and whether this user may read it",
        OpenError::Locked { .. } => "Stop the other process",
        OpenError::Foreign { .. } => "Name a database of this program",
        OpenError::Unfinished { .. } => "Run the import again until it ends, or begin with an empty folder",
        OpenError::Newer { .. } => "Run the newer program, or restore a back-up from before",
        _ => "Restore a back-up: `acquaint store restore FILE`",
    }
}

/// An error with its causes in one line.
pub(crate) fn causes(error: &dyn std::error::Error) -> String {
    let mut told = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if !told.ends_with(&text) {
            told = format!("{told}: {text}");
        }
        cause = error.source();
    }
    told
}

/// Runs `work` apart from the runtime, with a bar for the person, until it is done or the person ends it.
async fn watched<T, E>(work: impl FnOnce(&Watch) -> Result<T, E> + Send + 'static) -> Result<T, Failure>
where
    T: Send + 'static,
    E: Into<Failure> + Send + 'static,
{
    let stop = stop_signal()?;
    let ended = Arc::new(AtomicBool::new(false));
    let bar = ProgressBar::new(0)
        .with_style(ProgressStyle::with_template("{msg:10} {wide_bar} {bytes}/{total_bytes} {eta}")?);
    let (ends, shown) = (Arc::clone(&ended), bar.clone());
    let watch: Watch = Arc::new(move |Progress { phase, done, total }| {
        shown.set_message(match phase {
            Phase::Copying => "copying",
            Phase::Rewriting => "writing",
            Phase::Checking => "checking",
        });
        shown.set_length(total);
        shown.set_position(done);
        !ends.load(Ordering::Relaxed)
    });
    let mut work = tokio::task::spawn_blocking(move || work(&watch));
    let outcome = tokio::select! {
        outcome = &mut work => outcome,
        () = stop => {
            ended.store(true, Ordering::Relaxed);
            work.await
        }
    };
    bar.finish_and_clear();
    outcome?.map_err(Into::into)
}

/// Free space on the disk of a file or of the nearest folder that exists.
pub(crate) fn free_bytes(path: &Path) -> Option<u64> {
    let absolute = std::path::absolute(path).ok()?;
    let disk = absolute.ancestors().find_map(|path| rustix::fs::statvfs(path).ok())?;
    Some(disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// Bytes as a person reads them.
pub(crate) fn size(bytes: u64) -> String {
    indicatif::BinaryBytes(bytes).to_string()
}

fn rows(health: &Health) -> String {
    let rows: u64 = health.tables.iter().map(|(_, rows)| rows).sum();
    if rows == 1 { "1 row".into() } else { format!("{rows} rows") }
}
