//! `acquaint directory load`: a CSV of mappings into a server's directory.

mod state;
mod table;

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use acquaint_client::{ClientError, LoadedMappings, MAX_MAPPINGS, Mapping, Operator, RefusedMapping};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use tokio::task::JoinHandle;

use crate::args::lookup::Load;
use crate::failure::Failure;
use crate::output::{self, counted};
use crate::remote::address;
use state::{Refused, State};
use table::{Row, Table};

use super::one_line;

/// How many refused rows are told at the end.
const TOLD: usize = 20;
/// How often a request is sent that the server does not answer …
const ATTEMPTS: u32 = 6;
/// … and the pause before the second time; each further one is twice as long.
const PAUSE: Duration = Duration::from_millis(500);

pub(crate) async fn run(args: Load) -> Result<(), Failure> {
    let Load { server, file, state, refused, at_once, json } = args;
    let (url, settings) = address(&server)?;
    let operator = Arc::new(Operator::new(&url, settings)?);
    let table = Table::open(&file)?;
    let place = state::place(&file, state);
    let mut state = State::open(&place, &file, &table, &url)?;
    let mut list = match refused {
        Some(path) => Some(List::open(path, state.listed_bytes)?),
        None => None,
    };
    if operator.directory().await?.signing_key.is_none() {
        return Err(
            "this server has no directory: `directory.provider` in its configuration makes one".into()
        );
    }
    // Before anything is loaded: a place that cannot be written is told now.
    state.save(&place)?;
    if state.rows > 0 {
        output::note(&format!("Going on behind row {}.", state.rows));
    }
    let bar = bar(&table, &state)?;
    let outcome =
        load(&operator, &table, &mut state, (&place, list.as_mut()), (usize::from(at_once), &bar)).await;
    bar.finish_and_clear();
    if let Err(error) = outcome {
        output::note(&format!(
            "{} of {} rows are in or refused. The same command goes on behind them.",
            state.rows, table.rows
        ));
        return Err(error);
    }
    std::fs::remove_file(&place).map_err(|error| format!("cannot delete {}: {error}", place.display()))?;
    report(&table, &state, list.as_ref(), json)
}

/// Loads what is left, and keeps the state behind what is surely in.
async fn load(
    operator: &Arc<Operator>,
    table: &Table,
    state: &mut State,
    (place, mut list): (&Path, Option<&mut List>),
    (at_once, bar): (usize, &ProgressBar),
) -> Result<(), Failure> {
    let mut rows = table.rows().skip(usize::try_from(state.rows)?);
    let mut under_way: VecDeque<UnderWay> = VecDeque::new();
    loop {
        while under_way.len() < at_once {
            let Some(batch) = Batch::next(&mut rows)? else { break };
            under_way.push_back(batch.send(operator));
        }
        // In their order, so that the state can say how many there are from the first.
        let Some(oldest) = under_way.pop_front() else { return Ok(()) };
        match oldest.done().await {
            Ok(done) => done.commit(state, list.as_deref_mut(), place)?,
            Err(error) => {
                // What is sent already is not waited for: it will be found unchanged.
                under_way.iter().for_each(|other| other.answer.abort());
                return Err(error.into());
            }
        }
        bar.set_position(state.rows);
        bar.set_message(refusals(state.refused));
    }
}

/// Rows that are sent together.
#[derive(Default)]
struct Batch {
    rows: u64,
    mappings: Vec<Mapping>,
    /// The lines of the mappings.
    lines: Vec<u64>,
    refused: Vec<Refused>,
}

impl Batch {
    fn next(rows: &mut impl Iterator<Item = Result<Row, Failure>>) -> Result<Option<Self>, Failure> {
        let mut batch = Self::default();
        for row in rows.take(MAX_MAPPINGS) {
            let Row { line, mapping } = row?;
            batch.rows += 1;
            match mapping {
                Ok(mapping) => {
                    batch.mappings.push(mapping);
                    batch.lines.push(line);
                }
                Err(reason) => batch.refused.push(Refused { line, reason }),
            }
        }
        Ok((batch.rows > 0).then_some(batch))
    }

    fn send(self, operator: &Arc<Operator>) -> UnderWay {
        let Self { rows, mappings, lines, refused } = self;
        let operator = Arc::clone(operator);
        let answer = tokio::spawn(async move {
            if mappings.is_empty() {
                return Ok(LoadedMappings { loaded: 0, unchanged: 0, refused: Vec::new() });
            }
            patiently(&operator, &mappings).await
        });
        UnderWay { rows, lines, refused, answer }
    }
}

/// Loading a mapping twice does what loading it once does, so a request that may have been lost is sent again.
async fn patiently(operator: &Operator, mappings: &[Mapping]) -> Result<LoadedMappings, ClientError> {
    let mut pause = PAUSE;
    for _ in 1..ATTEMPTS {
        match operator.load_mappings(mappings).await {
            Err(
                ClientError::NotConnected(_)
                | ClientError::Unavailable { .. }
                | ClientError::TimedOut
                | ClientError::Unreachable(_),
            ) => {}
            outcome => return outcome,
        }
        tokio::time::sleep(pause).await;
        pause *= 2;
    }
    operator.load_mappings(mappings).await
}

/// Rows that were sent.
struct UnderWay {
    rows: u64,
    lines: Vec<u64>,
    refused: Vec<Refused>,
    answer: JoinHandle<Result<LoadedMappings, ClientError>>,
}

/// Rows that are in or refused.
struct Done {
    rows: u64,
    loaded: u64,
    unchanged: u64,
    refused: Vec<Refused>,
}

impl UnderWay {
    async fn done(self) -> Result<Done, Failure> {
        let Self { rows, lines, mut refused, answer } = self;
        let LoadedMappings { loaded, unchanged, refused: told } = answer.await??;
        for RefusedMapping { at, reason } in told {
            let line = *lines.get(at).ok_or("the server tells of a row that it was not sent")?;
            refused.push(Refused { line, reason: one_line(&reason) });
        }
        refused.sort_by_key(|refused| refused.line);
        Ok(Done { rows, loaded, unchanged, refused })
    }
}

impl Done {
    fn commit(self, state: &mut State, list: Option<&mut List>, place: &Path) -> Result<(), Failure> {
        if let Some(list) = list {
            state.listed_bytes = list.add(&self.refused)?;
        }
        state.rows += self.rows;
        state.loaded += self.loaded;
        state.unchanged += self.unchanged;
        state.refused += u64::try_from(self.refused.len())?;
        let room = TOLD.saturating_sub(state.first.len());
        state.first.extend(self.refused.into_iter().take(room));
        state.save(place)
    }
}

/// The list of all refused rows, where one is wanted.
struct List {
    file: File,
    path: PathBuf,
    bytes: u64,
}

impl List {
    /// Goes on behind what the state knows of: a run that was stopped may have written more.
    fn open(path: PathBuf, bytes: u64) -> Result<Self, Failure> {
        let told = |error: std::io::Error| format!("cannot write {}: {error}", path.display());
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(false).open(&path).map_err(told)?;
        if file.metadata().map_err(told)?.len() < bytes {
            return Err(format!(
                "{} is shorter than a run that was stopped has left it: without --refused, or with another state, it \
                 can go on",
                path.display()
            )
            .into());
        }
        file.set_len(bytes).map_err(told)?;
        file.seek(std::io::SeekFrom::End(0)).map_err(told)?;
        let mut list = Self { file, path, bytes };
        if list.bytes == 0 {
            list.write("line,reason\n")?;
        }
        Ok(list)
    }

    fn add(&mut self, refused: &[Refused]) -> Result<u64, Failure> {
        let lines = refused
            .iter()
            .map(|Refused { line, reason }| format!("{line},\"{}\"\n", reason.replace('"', "\"\"")));
        self.write(&lines.collect::<String>())?;
        Ok(self.bytes)
    }

    fn write(&mut self, text: &str) -> Result<(), Failure> {
        self.file
            .write_all(text.as_bytes())
            .map_err(|error| format!("cannot write {}: {error}", self.path.display()))?;
        self.bytes += u64::try_from(text.len())?;
        Ok(())
    }
}

fn report(table: &Table, state: &State, list: Option<&List>, json: bool) -> Result<(), Failure> {
    let State { loaded, unchanged, refused, first, .. } = state;
    if json {
        let first: Vec<_> = first.iter().map(|it| json!({ "line": it.line, "reason": it.reason })).collect();
        output::json(&json!({
            "rows": table.rows, "loaded": loaded, "unchanged": unchanged, "refused": refused, "first_refused": first,
        }))?;
    } else {
        for Refused { line, reason } in first {
            output::note(&format!("line {line}: {reason}"));
        }
        let more = refused.saturating_sub(u64::try_from(first.len())?);
        match list {
            _ if more == 0 => {}
            Some(list) => output::note(&format!("and {more} more: {} has them all", list.path.display())),
            None => output::note(&format!("and {more} more: --refused FILE writes them all into a file")),
        }
        output::line(&format!(
            "{}: {loaded} loaded, {unchanged} unchanged, {refused} refused",
            counted(usize::try_from(table.rows)?, "mapping", "mappings")
        ))?;
    }
    if *refused > 0 {
        return Err(format!("{} not in the directory", is_are(*refused)).into());
    }
    Ok(())
}

fn is_are(count: u64) -> String {
    if count == 1 { "1 row is".to_owned() } else { format!("{count} rows are") }
}

fn refusals(count: u64) -> String {
    if count == 0 { String::new() } else { format!(", {count} refused") }
}

/// How far it is, how fast it goes and how long it will take.
fn bar(table: &Table, state: &State) -> Result<ProgressBar, Failure> {
    let style = ProgressStyle::with_template(
        "{spinner} {bar:40} {human_pos}/{human_len} mappings{msg}, {per_sec}, {eta} left",
    )?;
    let bar = ProgressBar::new(table.rows).with_style(style).with_message(refusals(state.refused));
    bar.set_position(state.rows);
    bar.reset_eta();
    bar.enable_steady_tick(Duration::from_millis(100));
    Ok(bar)
}
