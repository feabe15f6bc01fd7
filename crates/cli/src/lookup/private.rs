//! `acquaint lookup --mode psm` and `--mode pir`.

use acquaint_client::discovery::private::{Directory, Mode, Progress, Refreshed};
use acquaint_client::discovery::{Book, key_text};
use acquaint_client::identifier::Sii;
use acquaint_server::Ambient;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use super::{Wish, caller, conclude, found, idle, left_out, people, told, trust, write_found};
use crate::args::lookup::Lookup;
use crate::failure::Failure;
use crate::output::{self, counted};
use crate::remote;

pub(super) async fn run(args: Lookup, mode: Mode) -> Result<(), Failure> {
    let profile = mode.into();
    let index = args.index.unwrap_or(0);
    idle(&args)?;
    let (people, skipped) = people(&args)?;
    let trust = trust(&args)?;
    let (url, settings) = remote::address(&args.who.server)?;
    let mut directory = Directory::new(&url, settings, caller(&args.who, profile)?, mode)?;
    let mut book = match &args.book {
        Some(path) => {
            let book = Book::open_index(path, profile, index)?;
            book.save(path)?;
            book
        }
        None => Book::with_index(profile, index),
    };
    let now = u64::try_from(Ambient::default().clock.now() / 1000)?;
    let identifiers: Vec<Sii> = people.iter().map(|person| person.identifier.clone()).collect();
    let due = book.due(&identifiers, now).len();
    if mode == Mode::Pir && due > 0 {
        output::note(
            "Note: --mode pir reads some strangers' records beside each contact's, in clear, as everybody can who asks, \
             and the server charges every query, those that only fill up too. Where there is `psm`, it has neither.",
        );
    }
    let bar = bar(due);
    let known = book.signing_key();
    let told_so_far = |Progress { answered, queries }| {
        bar.set_length(u64::try_from(queries).unwrap_or(u64::MAX));
        bar.set_position(u64::try_from(answered).unwrap_or(u64::MAX));
    };
    let outcome = tokio::select! {
        outcome = directory.refresh(&mut book, &identifiers, &trust, now, told_so_far) => outcome.map(drop).map_err(told),
        stop = tokio::signal::ctrl_c() => stop.map_err(Failure::from).and(Err("stopped".into())),
    };
    bar.finish_and_clear();
    // Also after a failure: what the server learnt it has learnt, and who was found was paid for.
    let done = directory.done();
    let has_asked = done.round_trips > 0 || done.fresh > 0 || done.unpadded;
    let written = if outcome.is_err() && !has_asked {
        Ok(())
    } else if args.json {
        output::json(&json!({
                "mode": mode.profile(), "asked": done.asked, "fresh": done.fresh, "postponed": done.postponed,
                "evaluated": done.evaluated, "queries": done.queries, "unpadded": done.unpadded,
                "keys_sent": done.keys_sent, "round_trips": done.round_trips, "sent": done.sent,
                "received": done.received, "skipped": left_out(&skipped),
                "provider_key": book.signing_key().map(|key| key_text(&key)),
                "first_use": done.first_use.is_some(), "found": found(&book, &people),
        }))
    } else {
        tell(&book, &people, &done)
    };
    conclude(&args, &book, &trust, known, outcome.and(written))
}

/// How far it is, where somebody sees it. Before the first query there are keys to be made and sent.
fn bar(due: usize) -> ProgressBar {
    let bar = ProgressBar::new(0);
    if let Ok(style) = ProgressStyle::with_template("{msg} {wide_bar} {pos} of {len} queries, {elapsed}") {
        bar.set_style(style);
    }
    bar.set_message(format!("looking up {}", counted(due, "contact", "contacts")));
    bar.enable_steady_tick(std::time::Duration::from_millis(100));
    bar
}

fn tell(book: &Book, people: &[Wish], done: &Refreshed) -> Result<(), Failure> {
    write_found(book, people)?;
    output::note(&format!(
        "Asked for: {} in {} with {} ({} bytes sent, {} received). From the book: {}.",
        counted(done.asked, "contact", "contacts"),
        counted(done.round_trips, "request", "requests"),
        counted(done.queries, "query", "queries"),
        done.sent,
        done.received,
        done.fresh
    ));
    if done.unpadded {
        output::note(
            "The quota left no room for what only fills up: the server learnt how many contacts there were (and nothing \
             else of them), as --unpadded allows.",
        );
    }
    if done.postponed > 0 {
        output::note(&format!(
            "{} left for the next time: more of them than usual are in one place.",
            counted(done.postponed, "contact is", "contacts are")
        ));
    }
    Ok(())
}
