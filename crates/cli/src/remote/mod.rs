//! The commands that talk to a running server, with the operator's key.

pub(crate) mod audit;
mod code;
pub(crate) mod import;
pub(crate) mod notifications;
mod wait;

use acquaint_client::{Client, Settings};
use acquaint_server::config::Config;
use serde_json::json;

use crate::args::{self, Remote, ServerAddress};
use crate::failure::Failure;
use crate::output;
use code::Codes;

pub(crate) async fn verify(args: args::Verify) -> Result<(), Failure> {
    let args::Verify { remote, phone, send, code, json } = args;
    let client = connect(&remote)?;
    if send {
        wait::patiently(|| client.start_verification(&remote.actor, &phone)).await?;
        output::note("A code was sent. `acquaint verify --code CODE` exchanges it for a token.");
        return if json { output::json(&json!({ "sent": true })) } else { Ok(()) };
    }
    let token = Codes::new(code).token(&client, &remote.actor, &phone, "A code").await?;
    if json { output::json(&json!({ "token": token })) } else { output::line(&token) }
}

pub(crate) async fn matches(args: args::Matches) -> Result<(), Failure> {
    let args::Matches { remote, json } = args;
    let client = connect(&remote)?;
    let subjects = client.all_matches(&remote.actor).await?;
    let status = client.sync_status(&remote.actor).await?;
    if json {
        return output::json(&json!({
            "matches": subjects,
            "synced_at": status.map(|status| status.synced_at),
        }));
    }
    for subject in subjects {
        output::line(&subject)?;
    }
    match status {
        Some(status) => output::note(&format!("{}.", counted(status.matches, "match", "matches"))),
        None => output::note("Nothing is stored of this account: it has not imported contacts."),
    }
    Ok(())
}

pub(crate) async fn dismiss(args: args::Dismiss) -> Result<(), Failure> {
    let args::Dismiss { remote, subject, json } = args;
    let left = connect(&remote)?.dismiss(&remote.actor, &subject).await?;
    if json {
        return output::json(&json!({ "matches_left": left }));
    }
    output::note(&format!("Hidden for good. Left: {}.", counted(left, "match", "matches")));
    Ok(())
}

pub(crate) async fn remove(args: args::Remove) -> Result<(), Failure> {
    let args::Remove { remote, json } = args;
    let removed = connect(&remote)?.remove_data(&remote.actor).await?;
    if json {
        return output::json(&json!({ "contacts": removed.contacts, "matches": removed.matches }));
    }
    output::note(&format!(
        "Removed {} and {}; nothing is stored any more.",
        counted(removed.contacts, "contact", "contacts"),
        counted(removed.matches, "match", "matches")
    ));
    Ok(())
}

fn counted(count: u32, one: &str, many: &str) -> String {
    output::counted(usize::try_from(count).unwrap_or(usize::MAX), one, many)
}

fn connect(remote: &Remote) -> Result<Client, Failure> {
    let (url, settings) = address(&remote.server)?;
    Ok(Client::with_settings(&url, settings)?)
}

/// Where a server is, and how to talk to it.
pub(crate) fn address(server: &ServerAddress) -> Result<(String, Settings), Failure> {
    let (url, api_key) = match (&server.url, &server.api_key) {
        (Some(url), key) => (url.clone(), key.clone().unwrap_or_default()),
        (None, key) => {
            let config = Config::load_here(&server.config).map_err(|error| {
                format!(
                    "{error}\n  (--url and ACQUAINT_API_KEY name a server without its configuration file)"
                )
            })?;
            let scheme = if config.tls.certificate.as_os_str().is_empty() { "http" } else { "https" };
            (format!("{scheme}://{}", config.listen), key.clone().unwrap_or(config.auth.api_key))
        }
    };
    let extra_ca = match &server.ca {
        Some(file) => {
            std::fs::read(file).map_err(|error| format!("--ca: cannot read {}: {error}", file.display()))?
        }
        None => Vec::new(),
    };
    Ok((url, Settings { api_key, extra_ca, ..Settings::default() }))
}
