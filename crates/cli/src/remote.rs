//! The commands that talk to a running server, with the operator's key.

use std::io::Write;
use std::path::Path;

use acquaint_client::address_book::{AddressBook, read_vcards};
use acquaint_client::identifier::{Phone, Region};
use acquaint_client::{Client, ClientError};
use acquaint_server::config::Config;
use indicatif::ProgressBar;
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::args::{self, Remote};
use crate::failure::Failure;

/// Entries of one import (contract).
const MAX_CONTACTS: usize = 1000;

pub(crate) async fn verify(args: args::Verify) -> Result<(), Failure> {
    let client = connect(&args.remote)?;
    let token = verify_number(&client, &args.remote.actor, &args.phone).await?;
    println!("{token}");
    Ok(())
}

pub(crate) async fn import(args: args::Import) -> Result<(), Failure> {
    let client = connect(&args.remote)?;
    let actor = &args.remote.actor;
    let own = args.phone.as_deref().map(|phone| Phone::parse(phone, None)).transpose();
    let own = own.map_err(|error| format!("--phone: {error}"))?;
    let region = match &args.region {
        Some(code) => Some(Region::parse(code).map_err(|error| format!("--region: {error}"))?),
        None => own.as_ref().and_then(Phone::region),
    };
    let entries = Entries::read(&args.file, region)?;
    let token = match (&args.token, &args.phone) {
        (Some(token), _) => token.clone(),
        (None, Some(phone)) => verify_number(&client, actor, phone).await?,
        (None, None) => return Err("--phone or --token is needed".into()),
    };
    let waiting =
        ProgressBar::new_spinner().with_message(format!("importing {} numbers", entries.numbers.len()));
    waiting.enable_steady_tick(std::time::Duration::from_millis(100));
    let found = client.import(actor, &token, entries.numbers).await;
    waiting.finish_and_clear();
    let found = found?;
    for found in &found {
        let name = entries.names.get(found.input_index).map_or("(no name)", String::as_str);
        println!("{name}\t{}", found.subject);
    }
    eprintln!(
        "{} of your contacts have you in theirs. A long import goes on: `acquaint matches` tells more later.",
        found.len()
    );
    Ok(())
}

pub(crate) async fn matches(remote: Remote) -> Result<(), Failure> {
    let client = connect(&remote)?;
    for subject in client.all_matches(&remote.actor).await? {
        println!("{subject}");
    }
    match client.sync_status(&remote.actor).await? {
        Some(status) => eprintln!("{}.", counted(status.matches, "match", "matches")),
        None => eprintln!("Nothing is stored of this account: it has not imported contacts."),
    }
    Ok(())
}

pub(crate) async fn dismiss(args: args::Dismiss) -> Result<(), Failure> {
    let client = connect(&args.remote)?;
    let left = client.dismiss(&args.remote.actor, &args.subject).await?;
    eprintln!("Hidden for good. Left: {}.", counted(left, "match", "matches"));
    Ok(())
}

pub(crate) async fn remove(remote: Remote) -> Result<(), Failure> {
    let client = connect(&remote)?;
    let removed = client.remove_data(&remote.actor).await?;
    eprintln!(
        "Removed {} and {}; nothing is stored any more.",
        counted(removed.contacts, "contact", "contacts"),
        counted(removed.matches, "match", "matches")
    );
    Ok(())
}

fn counted(count: u32, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

/// Numbers to send, each with the name of its card.
struct Entries {
    numbers: Vec<String>,
    names: Vec<String>,
}

impl Entries {
    fn read(path: &Path, region: Option<Region>) -> Result<Self, Failure> {
        let bytes =
            std::fs::read(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
        let AddressBook { contacts, unreadable } = read_vcards(&String::from_utf8_lossy(&bytes))?;
        let (mut numbers, mut names, mut skipped) = (Vec::<String>::new(), Vec::new(), 0_usize);
        for contact in contacts {
            for phone in contact.phones {
                match Phone::parse(&phone, region) {
                    Ok(phone) if numbers.iter().any(|number| number == phone.as_str()) => {}
                    Ok(phone) => {
                        numbers.push(phone.as_str().to_owned());
                        names.push(contact.name.clone().unwrap_or_else(|| "(no name)".into()));
                    }
                    Err(_) => skipped += 1,
                }
            }
        }
        if unreadable > 0 {
            eprintln!("warning: cards that could not be read: {unreadable}; the file may be cut off");
        }
        if skipped > 0 {
            let hint = if region.is_none() { ": --region tells where they are from" } else { "" };
            eprintln!("warning: entries that are no valid phone numbers, and are left out: {skipped}{hint}");
        }
        match numbers.len() {
            0 => Err("there is no phone number to import in the file".into()),
            1..=MAX_CONTACTS => Ok(Self { numbers, names }),
            many => {
                Err(format!("the file has {many} numbers, and one import takes {MAX_CONTACTS}: split it")
                    .into())
            }
        }
    }
}

/// Sends a code, asks for it until it is right or refused, and returns the token.
async fn verify_number(client: &Client, actor: &str, phone: &str) -> Result<String, Failure> {
    client.start_verification(actor, phone).await?;
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    loop {
        eprint!("A code was sent. Enter its six digits: ");
        std::io::stderr().flush()?;
        let code = lines.next_line().await?.ok_or("no code was entered")?;
        match client.verify(actor, phone, code.trim()).await {
            Err(ClientError::Refused { reason, message }) if reason == "INVALID_CODE" => {
                eprintln!("{message}")
            }
            outcome => return Ok(outcome?),
        }
    }
}

fn connect(remote: &Remote) -> Result<Client, Failure> {
    let from_file = || Config::load_here(&remote.config);
    let (url, key) = match (&remote.url, &remote.api_key) {
        (Some(url), key) => (url.clone(), key.clone().unwrap_or_default()),
        (None, key) => {
            let config = from_file().map_err(|error| {
                format!(
                    "{error}\n  (--url and ACQUAINT_API_KEY name a server without its configuration file)"
                )
            })?;
            (format!("http://{}", config.listen), key.clone().unwrap_or(config.auth.api_key))
        }
    };
    Ok(Client::new(&url, &key)?)
}
