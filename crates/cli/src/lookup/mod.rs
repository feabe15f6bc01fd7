//! `acquaint lookup`.

pub(crate) mod directory;
mod load;
mod private;

use std::collections::HashMap;
use std::path::Path;

use acquaint_client::address_book::{self, AddressBook};
use acquaint_client::discovery::private::Mode;
use acquaint_client::discovery::{
    Book, Caller, Directory, DiscoveryError, Profile, Refreshed, Trust, TrustError, WeakLength, key_text,
    parse_key,
};
use acquaint_client::identifier::{Identifier, Region, Sii};
use acquaint_client::prepare::{Prepared, Wanted, prepare};
use acquaint_client::{ClientError, Settings, SkipReason, Skipped};
use acquaint_server::Ambient;
use indicatif::ProgressBar;
use serde_json::{Map, Value, json};

use crate::args::lookup::{Lookup, Who};
use crate::failure::Failure;
use crate::output::{self, counted};
use crate::remote;

pub(crate) async fn run(args: Lookup) -> Result<(), Failure> {
    if let Some(mode) = Mode::from_profile(&args.mode) {
        return private::run(args, mode).await;
    }
    let profile = if args.profile == "sealed" { Profile::Sealed } else { Profile::Weak };
    idle(&args)?;
    let (people, skipped) = people(&args)?;
    let trust = trust(&args)?;
    let length =
        WeakLength::new(args.digits.unwrap_or(6)).ok_or("--digits: a weak hash has 4 digits, or 6")?;
    let mut directory = connect(&args.who, profile)?;
    // Before anything is asked: a file that is no book, or one that cannot be written, is not found out after the quota is
    // spent.
    let mut book = match &args.book {
        Some(path) => {
            let book = Book::open(path, profile)?;
            book.save(path)?;
            book
        }
        None => Book::new(profile),
    };
    let now = u64::try_from(Ambient::default().clock.now() / 1000)?;
    let identifiers: Vec<Sii> = people.iter().map(|person| person.identifier.clone()).collect();
    let due = book.due(&identifiers, now).len();
    if profile == Profile::Weak && due > 0 {
        output::note(
            "Warning: --profile rocketchat tells the server a good part of each number's hash, and the server tells \
             you hashes of strangers that are as good as their numbers. Use it where there is no other.",
        );
    }
    let bar = ProgressBar::new_spinner()
        .with_message(format!("looking up {}", counted(due, "contact", "contacts")));
    bar.enable_steady_tick(std::time::Duration::from_millis(100));
    let known = book.signing_key();
    let outcome = tokio::select! {
        outcome = async { match profile == Profile::Weak {
            false => directory.refresh(&mut book, &identifiers, &trust, now).await,
            true => directory.refresh_weak(&mut book, &identifiers, length, now).await,
        } } => outcome.map_err(told),
        stop = tokio::signal::ctrl_c() => stop.map_err(Failure::from).and(Err("stopped".into())),
    };
    bar.finish_and_clear();
    let told = outcome.and_then(|done| tell(&args, &book, &people, &skipped, &done));
    conclude(&args, &book, &trust, known, told)
}

/// Whatever came of it: what was paid for is kept, and a key that is trusted from here on is told.
fn conclude(
    args: &Lookup,
    book: &Book,
    trust: &Trust,
    known: Option<[u8; 32]>,
    told: Result<(), Failure>,
) -> Result<(), Failure> {
    let kept = args.book.as_deref().map_or(Ok(()), |path| book.save(path));
    if let (None, None, Some(key)) = (known, trust.signing_key, book.signing_key()) {
        first_use(&key, args.book.as_deref());
    }
    match (told, kept) {
        (told, Ok(())) => told,
        (Ok(()), Err(lost)) => Err(lost.into()),
        (Err(error), Err(lost)) => {
            crate::failure::report(&lost.into());
            Err(error)
        }
    }
}

/// Options that mode and profile have no use for: whoever gives one believes in something that is not so.
fn idle(args: &Lookup) -> Result<(), Failure> {
    let digits = ("--digits", args.digits.is_some());
    let of_prefixes = [
        ("--max-prefix-bits", args.max_prefix_bits.is_some()),
        ("--min-epoch-days", args.min_epoch_days.is_some()),
    ];
    let of_private = [
        ("--index", args.index.is_some()),
        ("--max-shards", args.max_shards.is_some()),
        ("--unpadded", args.unpadded),
    ];
    let (idle, with) = match (Mode::from_profile(&args.mode), args.profile.as_str()) {
        (Some(_), profile) => {
            let rocketchat = ("--profile rocketchat", profile != "sealed");
            ([&[digits, rocketchat][..], &of_prefixes].concat(), format!("--mode {}", args.mode))
        }
        (None, "sealed") if !digits.1 => (of_private.to_vec(), format!("--mode {}", args.mode)),
        (None, "sealed") => (vec![digits], "--profile sealed".to_owned()),
        (None, profile) => {
            let key = ("--provider-key", args.provider_key.is_some());
            ([&[key][..], &of_private, &of_prefixes].concat(), format!("--profile {profile}"))
        }
    };
    match idle.into_iter().find(|(_, is_given)| *is_given) {
        Some((option, _)) => Err(format!("{option} does nothing with {with}").into()),
        None => Ok(()),
    }
}

fn trust(args: &Lookup) -> Result<Trust, Failure> {
    let usual = Trust::default();
    Ok(Trust {
        signing_key: provider_key(args)?,
        max_prefix_bits: args.max_prefix_bits.unwrap_or(usual.max_prefix_bits),
        max_shards: args.max_shards.unwrap_or(usual.max_shards),
        unpadded: args.unpadded,
        min_epoch_age_s: args.min_epoch_days.map_or(usual.min_epoch_age_s, |days| u64::from(days) * 86_400),
        ..usual
    })
}

/// Whoever is looked up.
struct Wish {
    identifier: Sii,
    /// As it is written, for the person.
    text: String,
    name: Option<String>,
}

/// Whom the arguments name, each once, and what was left out.
fn people(args: &Lookup) -> Result<(Vec<Wish>, Skipped), Failure> {
    if args.identifiers.is_empty() && args.vcf.is_none() {
        return Err(
            "who is looked up? Give phone numbers and e-mail addresses, or an address book with --vcf FILE"
                .into(),
        );
    }
    let region = args.region.as_deref().map(Region::parse).transpose();
    let region = region.map_err(|error| format!("--region: {error}"))?;
    let mut all = Vec::new();
    for text in &args.identifiers {
        let identifier = Identifier::parse(text, region).map_err(|error| {
            // Which of them it was is told by its place: it may be a number that is nobody's business.
            let place = all.len() + 1;
            format!("the contact in place {place}: {error}")
        })?;
        all.push((identifier, None));
    }
    let mut skipped = Skipped::default();
    if let Some(file) = &args.vcf {
        let AddressBook { contacts, unreadable, .. } = address_book::read(&remote::import::bytes(file)?)?;
        let Prepared { entries, skipped: left_out } =
            prepare(&contacts, Wanted { region, emails: true, own: &[] });
        skipped = left_out;
        skipped.extend(&unreadable);
        all.extend(entries.into_iter().map(|entry| (entry.identifier, entry.name)));
        tell_skipped(&skipped);
    }
    let mut places: HashMap<Sii, usize> = HashMap::new();
    let mut people: Vec<Wish> = Vec::new();
    for (identifier, name) in all {
        let sii = match &identifier {
            Identifier::Phone(phone) => Sii::from(phone),
            Identifier::Email(email) => Sii::from(email),
        };
        match places.get(&sii).and_then(|place| people.get_mut(*place)) {
            Some(known) => known.name = known.name.take().or(name),
            None => {
                places.insert(sii.clone(), people.len());
                people.push(Wish { identifier: sii, text: identifier.as_str().to_owned(), name });
            }
        }
    }
    if people.is_empty() {
        return Err("there is no phone number or e-mail address to look up".into());
    }
    Ok((people, skipped))
}

fn tell_skipped(skipped: &Skipped) {
    if skipped.total() > 0 {
        output::note("Left out:");
    }
    for (reason, count) in skipped.iter() {
        let hint = if reason == SkipReason::NoRegion { " (--region US)" } else { "" };
        output::note(&format!("{count:>7}  {}{hint}", reason.words()));
    }
}

fn provider_key(args: &Lookup) -> Result<Option<[u8; 32]>, Failure> {
    let key = args
        .provider_key
        .as_deref()
        .map(|text| parse_key(text).ok_or("--provider-key: a key is 32 bytes in base64url, 43 characters"));
    Ok(key.transpose()?)
}

/// The directory, for whoever calls.
pub(crate) fn connect(who: &Who, profile: Profile) -> Result<Directory, Failure> {
    let (url, settings) = remote::address(&who.server)?;
    Ok(Directory::new(&url, Settings { ..settings }, caller(who, profile)?)?)
}

fn caller(who: &Who, profile: Profile) -> Result<Caller, Failure> {
    if profile == Profile::Weak {
        return match (&who.session, &who.actor) {
            (Some(token), Some(user)) => Ok(Caller::RocketChat { token: token.clone(), user: user.clone() }),
            _ => Err("Rocket.Chat's way needs both: --session TOKEN and --actor USERID".into()),
        };
    }
    // Who says for whom, and with which key, does not mean the session that lies about in the environment.
    let session = who.session.as_ref().filter(|_| !who.is_back_end());
    match (session, &who.actor) {
        (Some(session), _) => Ok(Caller::Session(session.clone())),
        (None, Some(account)) => Ok(Caller::BackEnd(account.clone())),
        (None, None) => {
            Err("who looks up? Give --session TOKEN, or --actor ACCOUNT with --api-key KEY".into())
        }
    }
}

/// An error with what the person can do.
fn told(error: DiscoveryError) -> Failure {
    let what = match &error {
        DiscoveryError::Call(ClientError::Unauthenticated) => {
            "\n  (--session TOKEN calls for a person, without any API key)"
        }
        DiscoveryError::Trust(TrustError::ManyShards { .. }) => "\n  (--max-shards N asks more of them)",
        DiscoveryError::Trust(_) | DiscoveryError::Oprf(_) => {
            "\n  Nothing more was asked. If the provider says nothing of it, ask them why; --book names another book."
        }
        _ => return error.into(),
    };
    format!("{error}{what}").into()
}

fn tell(
    args: &Lookup,
    book: &Book,
    people: &[Wish],
    skipped: &Skipped,
    done: &Refreshed,
) -> Result<(), Failure> {
    if args.json {
        return output::json(&json!({
            "asked": done.asked, "fresh": done.fresh, "postponed": done.postponed, "evaluated": done.evaluated,
            "buckets": done.buckets,
            "round_trips": done.round_trips, "sent": done.sent, "received": done.received, "skipped": left_out(skipped),
            "provider_key": book.signing_key().map(|key| key_text(&key)),
            "first_use": done.first_use.is_some(), "found": found(book, people),
        }));
    }
    write_found(book, people)?;
    output::note(&format!(
        "Asked for: {} in {} ({} bytes sent, {} received). From the book: {}.",
        counted(done.asked, "contact", "contacts"),
        counted(done.round_trips, "request", "requests"),
        done.sent,
        done.received,
        done.fresh
    ));
    if done.postponed > 0 {
        output::note(&format!(
            "{} left for the next time: the directory's key changed in the middle, and the new one would have told more \
             of them.",
            counted(done.postponed, "contact is", "contacts are")
        ));
    }
    Ok(())
}

fn accounts<'a>(book: &'a Book, people: &'a [Wish]) -> impl Iterator<Item = (&'a Wish, &'a str)> {
    people.iter().filter_map(|person| Some((person, book.found(&person.identifier)?)))
}

/// Who was found, for programs.
fn found(book: &Book, people: &[Wish]) -> Vec<Value> {
    let told = |(person, account): (&Wish, &str)| json!({ "name": person.name, "contact": person.text, "account": account });
    accounts(book, people).map(told).collect()
}

/// What was left out, for programs.
fn left_out(skipped: &Skipped) -> Map<String, Value> {
    skipped.iter().map(|(reason, count)| (reason.name().to_owned(), count.into())).collect()
}

/// Who was found, for people: a line for each.
fn write_found(book: &Book, people: &[Wish]) -> Result<(), Failure> {
    let mut count = 0;
    for (person, account) in accounts(book, people) {
        let name = person.name.as_deref().unwrap_or(&person.text);
        output::line(&format!("{}\t{}", one_line(name), one_line(account)))?;
        count += 1;
    }
    output::note(&format!("{count} of {} can be found here.", counted(people.len(), "contact", "contacts")));
    Ok(())
}

/// Said loudly: from here on everything rests on it.
fn first_use(key: &[u8; 32], book: Option<&Path>) {
    let key = key_text(key);
    output::note(&format!(
        "NOTE: this provider's key was met for the first time, and is trusted for that alone:\n  {key}\n  Compare it \
         with what the provider shows elsewhere, and give it with --provider-key."
    ));
    output::note(match book {
        Some(_) => "  The book keeps it: another key is refused from now on.",
        None => "  Without --book it is not kept: the next lookup trusts whatever it meets.",
    });
}

/// Characters of a text that are shown.
const MAX_TEXT: usize = 200;

/// A text in one line and without tabs, whatever a file or a server has in it: one line is one person. Characters that are
/// not seen and change what is beside them (Unicode's category Cf: bidirectional controls and the like) are left out.
fn one_line(text: &str) -> String {
    let shown = text.chars().filter(|c| !is_format(*c)).map(|c| if breaks(c) { ' ' } else { c });
    let mut shown = shown.peekable();
    let mut line: String = shown.by_ref().take(MAX_TEXT).collect();
    if shown.peek().is_some() {
        line.push('…');
    }
    line
}

/// Control characters, and Unicode's separators of lines and paragraphs.
fn breaks(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')
}

/// Unicode 17's category Cf.
fn is_format(c: char) -> bool {
    matches!(
        c,
        '\u{ad}'
            | '\u{600}'..='\u{605}'
            | '\u{61c}'
            | '\u{6dd}'
            | '\u{70f}'
            | '\u{890}'..='\u{891}'
            | '\u{8e2}'
            | '\u{180e}'
            | '\u{200b}'..='\u{200f}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{2064}'
            | '\u{2066}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{110bd}'
            | '\u{110cd}'
            | '\u{13430}'..='\u{1343f}'
            | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0001}'
            | '\u{e0020}'..='\u{e007f}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_wrote_is_one_short_line() {
        assert_eq!(one_line("a\tb\r\nc\u{2028}d"), "a b  c d");
        assert_eq!(one_line("\u{202e}abc\u{2066}\u{feff}d\u{61c}"), "abcd");
        assert_eq!(one_line("Zoë 李雷 محمد"), "Zoë 李雷 محمد");
        assert_eq!(one_line(&"é".repeat(200)), "é".repeat(200));
        assert_eq!(one_line(&"é".repeat(201)), format!("{}…", "é".repeat(200)));
    }
}
