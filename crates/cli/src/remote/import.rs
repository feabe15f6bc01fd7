//! `acquaint import`.

use std::io::{ErrorKind, Read};
use std::ops::Range;
use std::path::Path;

use acquaint_client::address_book::{self, AddressBook};
use acquaint_client::identifier::{Identifier, Region};
use acquaint_client::prepare::{Entry, Prepared, Wanted, prepare};
use acquaint_client::{Client, ClientError, MAX_CONTACTS, SkipReason, Skipped};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Map, Value, json};

use super::code::Codes;
use super::wait::patiently;
use crate::args;
use crate::failure::Failure;
use crate::output::{self, counted};

/// The largest file that is read: a book of 100,000 contacts with small photographs is smaller.
const MAX_FILE_BYTES: u64 = 1 << 30;

pub(crate) async fn run(args: args::Import) -> Result<(), Failure> {
    if args.file.to_str() == Some("-") && args.token.is_none() && args.code.is_none() {
        return Err(
            "standard input has the address book, so no code can be asked for: give --code with one that \
                    `acquaint verify --send` had sent, or --token"
                .into(),
        );
    }
    let client = super::connect(&args.remote)?;
    let Prepared { entries, skipped } = read(&args)?;
    let place = usize::try_from(args.from.get() - 1)?;
    // By places in the file: they are the same whatever own number, region or options are given this time.
    let from = entries.iter().take_while(|entry| entry.place < place).count();
    if from >= entries.len() {
        return Err("--from: there is nothing to send from there on in the file".into());
    }
    let mut sending =
        Sending { client, entries, sent: from, from, under_way: None, imports: 0, found: Vec::new() };
    let outcome = tokio::select! {
        outcome = sending.send(&args) => outcome,
        stop = tokio::signal::ctrl_c() => stop.map_err(Failure::from).and(Err("stopped".into())),
    };
    let stopped = outcome.map_err(|error| sending.how_to_go_on(error));
    let told = sending.tell(&skipped, args.json);
    stopped.and(told)
}

/// What the file gives to send. What it does not give is told.
fn read(args: &args::Import) -> Result<Prepared, Failure> {
    let own = args.phone.as_deref().map(|phone| Identifier::parse(phone, None)).transpose();
    let own = own.map_err(|error| format!("--phone: {error}"))?;
    let region = match (&args.region, &own) {
        (Some(code), _) => Some(Region::parse(code).map_err(|error| format!("--region: {error}"))?),
        (None, Some(Identifier::Phone(phone))) => phone.region(),
        (None, _) => None,
    };
    let AddressBook { contacts, unreadable, .. } = address_book::read(&bytes(&args.file)?)?;
    let emails = args.emails || matches!(own, Some(Identifier::Email(_)));
    let mut list = prepare(&contacts, Wanted { region, emails, own: own.as_slice() });
    list.skipped.extend(&unreadable);
    if list.skipped.total() > 0 {
        output::note("Left out:");
    }
    for (reason, count) in list.skipped.iter() {
        let hint = match reason {
            SkipReason::NoRegion => " (--region US)",
            SkipReason::EmailNotWanted => " (--emails sends them)",
            _ => "",
        };
        output::note(&format!("{count:>7}  {}{hint}", reason.words()));
    }
    if list.entries.is_empty() {
        let what = if emails { "phone number or e-mail address" } else { "phone number" };
        return Err(format!("there is no {what} to import in the file").into());
    }
    Ok(list)
}

pub(crate) fn bytes(file: &Path) -> Result<Vec<u8>, Failure> {
    let named = |error: std::io::Error| match error.kind() {
        ErrorKind::IsADirectory => {
            format!("{} is a folder: name the file of the address book", file.display())
        }
        _ => format!("cannot read {}: {error}", file.display()),
    };
    let source: Box<dyn Read> = match file.to_str() {
        Some("-") => Box::new(std::io::stdin()),
        _ => Box::new(std::fs::File::open(file).map_err(named)?),
    };
    let mut bytes = Vec::new();
    source.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(named)?;
    if u64::try_from(bytes.len())? > MAX_FILE_BYTES {
        return Err(format!("{} is larger than 1 GiB: export it without photographs", file.display()).into());
    }
    Ok(bytes)
}

/// An address book on its way.
struct Sending {
    client: Client,
    entries: Vec<Entry>,
    /// Where this run began.
    from: usize,
    /// How many are sent, those before `from` among them.
    sent: usize,
    /// Entries whose import was begun and of which it is not known whether it was accepted.
    under_way: Option<Range<usize>>,
    imports: usize,
    /// Positions among all entries, and the accounts.
    found: Vec<(usize, String)>,
}

impl Sending {
    async fn send(&mut self, args: &args::Import) -> Result<(), Failure> {
        let actor = &args.remote.actor;
        let mut token = args.token.clone();
        let mut codes = Codes::new(args.code.clone());
        let total = self.entries.len();
        if total - self.sent > MAX_CONTACTS {
            output::note(&format!(
                "{} to send: {MAX_CONTACTS} in one import, and each import needs a code of its own.",
                counted(total - self.sent, "entry", "entries")
            ));
        }
        while self.sent < total {
            let batch = self.sent..total.min(self.sent + MAX_CONTACTS);
            let token = match (token.take(), &args.phone) {
                (Some(token), _) => token,
                (None, Some(phone)) => {
                    let what = if self.imports == 0 { "A code" } else { "A further code" };
                    codes.token(&self.client, actor, phone, what).await?
                }
                (None, None) => return Err("a token allows one import, of at most 1000 entries".into()),
            };
            // Only while nothing is asked for, and only on a terminal.
            let bar = bar(&batch, total)?;
            let outcome = self.import(actor, &token, batch).await;
            bar.finish_and_clear();
            outcome?;
        }
        Ok(())
    }

    async fn import(&mut self, actor: &str, token: &str, batch: Range<usize>) -> Result<(), Failure> {
        let entries = self.entries.get(batch.clone()).unwrap_or_default();
        let texts: Vec<String> = entries.iter().map(Entry::text).collect();
        self.under_way = Some(batch.clone());
        let outcome = patiently(|| self.client.import(actor, token, texts.clone())).await;
        if outcome.as_ref().err().is_none_or(ClientError::nothing_was_done) {
            self.under_way = None;
        }
        for found in outcome? {
            self.found.push((batch.start + found.input_index, found.subject));
        }
        self.imports += 1;
        self.sent = batch.end;
        Ok(())
    }

    /// The error, with what was sent before it and how to send the rest.
    fn how_to_go_on(&self, error: Failure) -> Failure {
        let mut text = format!("{error}\n  {} of {} entries were sent", self.sent, self.entries.len());
        if let Some(batch) = &self.under_way {
            text.push_str(&format!(
                ", and the import of {} to {} may have been accepted: sending it again does no harm",
                batch.start + 1,
                batch.end
            ));
        }
        if let Some(next) = self.next_place() {
            text.push_str(&format!("; to go on, repeat the command with --phone and --from {next}"));
        }
        text.into()
    }

    /// What `--from` takes to go on with the first entry that was not sent.
    fn next_place(&self) -> Option<usize> {
        self.entries.get(self.sent).map(|entry| entry.place + 1)
    }

    /// What was found and how much was sent.
    fn tell(&self, skipped: &Skipped, json: bool) -> Result<(), Failure> {
        if json {
            return output::json(&self.json(skipped));
        }
        for (position, subject) in &self.found {
            let name = self.entries.get(*position).and_then(|entry| entry.name.as_deref());
            output::line(&format!("{}\t{subject}", one_line(name.unwrap_or("(no name)"))))?;
        }
        if self.imports > 0 {
            output::note(&format!(
                "Sent: {} in {}.",
                counted(self.sent - self.from, "entry", "entries"),
                counted(self.imports, "import", "imports")
            ));
            output::note(&format!(
                "{} of your contacts have you in theirs. A long import goes on: `acquaint matches` tells more later.",
                self.found.len()
            ));
        }
        Ok(())
    }

    fn json(&self, skipped: &Skipped) -> Value {
        let skipped: Map<String, Value> =
            skipped.iter().map(|(reason, count)| (reason.name().to_owned(), count.into())).collect();
        let matches: Vec<Value> = self
            .found
            .iter()
            .map(|(position, subject)| {
                let entry = self.entries.get(*position);
                let name = entry.and_then(|entry| entry.name.as_deref());
                json!({ "name": name, "contact": entry.map(Entry::text), "subject": subject })
            })
            .collect();
        json!({
            "entries": self.entries.len(),
            "sent": self.sent - self.from,
            "imports": self.imports,
            "skipped": skipped,
            "matches": matches,
            "go_on_from": self.next_place(),
        })
    }
}

/// How far it is, with the entries that are under way.
fn bar(batch: &Range<usize>, total: usize) -> Result<ProgressBar, Failure> {
    let style = ProgressStyle::with_template("{spinner} {bar:40} {pos}/{len} entries sent, {msg}")?;
    let bar = ProgressBar::new(u64::try_from(total)?)
        .with_style(style)
        .with_position(u64::try_from(batch.start)?)
        .with_message(format!("{} to {} under way", batch.start + 1, batch.end));
    bar.enable_steady_tick(std::time::Duration::from_millis(100));
    Ok(bar)
}

/// A name in one line and without tabs, whatever the file has in it: one line is one match.
fn one_line(name: &str) -> String {
    name.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
