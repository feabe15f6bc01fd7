//! `acquaint directory load`: a CSV of mappings into a server's directory.

mod list;
mod places;
mod state;
mod table;

use std::collections::VecDeque;
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
use list::List;
use state::{Place, Refused, State};
use table::{Row, Table};

use super::one_line;

/// Bytes of fields after which a batch ends. The server takes 8 MiB of JSON, in which a byte takes six at the most.
const BATCH_BYTES: usize = 1024 * 1024;
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
    let mut files = vec![("the mappings", file.as_path()), ("--state", &place)];
    files.extend(refused.as_deref().map(|path| ("--refused", path)));
    places::apart(&files)?;
    let (mut state, mut place) = State::open(place, &file, &table, &url)?;
    if operator.directory().await?.signing_key.is_none() {
        return Err(
            "this server has no directory: `directory.provider` in its configuration makes one".into()
        );
    }
    // Before anything is loaded: a place that cannot be written is told now.
    state.save(&mut place)?;
    let mut list = match refused.map(|path| List::open(path, &mut state)).transpose() {
        Ok(list) => list,
        Err(error) if state.rows == 0 => {
            place.remove()?;
            return Err(error);
        }
        Err(error) => return Err(error),
    };
    if state.rows > 0 {
        output::note(&format!("Going on behind row {}.", state.rows));
    }
    let bar = bar(&table, &state)?;
    let outcome =
        load(&operator, &table, &mut state, (&mut place, list.as_mut()), (usize::from(at_once), &bar)).await;
    bar.finish_and_clear();
    if let Err(error) = outcome {
        output::note(&format!(
            "{} of {} rows are in or refused. The same command goes on behind them.",
            state.rows, table.rows
        ));
        return Err(error);
    }
    place.remove()?;
    report(&table, &state, list.as_ref(), json)
}

/// Loads what is left, and keeps the state behind what is surely in.
async fn load(
    operator: &Arc<Operator>,
    table: &Table,
    state: &mut State,
    (place, mut list): (&mut Place, Option<&mut List>),
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
                return Err(error);
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
        let (mut batch, mut bytes) = (Self::default(), 0);
        for row in rows.take(MAX_MAPPINGS) {
            let Row { line, mapping } = row?;
            batch.rows += 1;
            match mapping {
                Ok(mapping) => {
                    let Mapping { identifier, account, username, .. } = &mapping;
                    bytes += identifier.len() + account.len() + username.as_ref().map_or(0, String::len);
                    batch.mappings.push(mapping);
                    batch.lines.push(line);
                }
                Err(reason) => batch.refused.push(Refused { line, reason }),
            }
            if bytes >= BATCH_BYTES {
                break;
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
    fn commit(self, state: &mut State, list: Option<&mut List>, place: &mut Place) -> Result<(), Failure> {
        match (list, self.refused.last()) {
            (Some(list), _) => state.listed_bytes = list.add(&self.refused)?,
            (None, Some(last)) => {
                state.unlisted += u64::try_from(self.refused.len())?;
                state.unlisted_to = last.line;
            }
            (None, None) => {}
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
            Some(list) => output::note(&format!("and {more} more: {}", reach(state, list))),
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

/// What the list has, which runs without it may have left out.
fn reach(state: &State, list: &List) -> String {
    let shown = list.path().display();
    match state.unlisted {
        0 => format!("{shown} has them all"),
        lacking => format!(
            "{shown} has all from line {} on; {lacking} before it were refused by a run without --refused",
            state.unlisted_to + 1
        ),
    }
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
