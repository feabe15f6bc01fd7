//! `acquaint directory`: one's own listings.

use acquaint_client::discovery::{Directory, Listing, Profile, Verified};
use acquaint_client::{ClientError, DirectoryEpoch, DirectoryKeys, DirectoryRotation, Operator, Reason};
use serde_json::json;
use tokio::io::{AsyncBufReadExt, BufReader};

use super::{connect, load, one_line};
use crate::args::lookup::{DirectoryCommand, Enrol, List, Operate, RotateDirectory, Verify, Withdraw};
use crate::failure::Failure;
use crate::output::{self, counted};
use crate::remote::address;

pub(crate) async fn run(command: DirectoryCommand) -> Result<(), Failure> {
    match command {
        DirectoryCommand::Verify(args) => verify(args).await,
        DirectoryCommand::Enrol(args) => enrol(args).await,
        DirectoryCommand::List(args) => list(args).await,
        DirectoryCommand::Withdraw(args) => withdraw(args).await,
        DirectoryCommand::Load(args) => load::run(args).await,
        DirectoryCommand::Status(args) => status(args).await,
        DirectoryCommand::Rotate(args) => rotate(args).await,
    }
}

async fn status(args: Operate) -> Result<(), Failure> {
    let (url, settings) = address(&args.server)?;
    let DirectoryKeys { signing_key, epochs } = Operator::new(&url, settings)?.directory().await?;
    if args.json {
        let epochs: Vec<_> = epochs
            .iter()
            .map(|DirectoryEpoch { profile, epoch, stage, listings, made_at }| {
                json!({ "profile": profile, "epoch": epoch, "stage": stage, "listings": listings, "made_at": made_at })
            })
            .collect();
        return output::json(&json!({ "signing_key": signing_key, "epochs": epochs }));
    }
    let Some(signing_key) = signing_key else {
        output::note("This server has no directory: `directory.provider` in its configuration makes one.");
        return Ok(());
    };
    output::line(&format!("provider key {signing_key}"))?;
    for DirectoryEpoch { profile, epoch, stage, listings, made_at } in epochs {
        let listings = counted(usize::try_from(listings).unwrap_or(usize::MAX), "listing", "listings");
        let day = output::day(made_at);
        let (profile, stage) = (one_line(&profile), one_line(&stage));
        output::line(&format!("{profile}, epoch {epoch}: {stage}, {listings}, made {day}"))?;
    }
    Ok(())
}

async fn rotate(RotateDirectory { operate: args, profile }: RotateDirectory) -> Result<(), Failure> {
    let (url, settings) = address(&args.server)?;
    let epoch = match Operator::new(&url, settings)?.rotate_directory(profile.name()).await? {
        DirectoryRotation::Made { epoch } => epoch,
        DirectoryRotation::Filling => {
            return Err(
                "a new key is being filled already: `acquaint directory status` shows how far it is".into()
            );
        }
        DirectoryRotation::NoDirectory => {
            return Err(
                "this server has no directory (`directory.provider` in its configuration makes one), or not this profile \
                 (`private_lookup.psm`, `private_lookup.pir`)"
                    .into(),
            );
        }
    };
    if args.json {
        return output::json(&json!({ "epoch": epoch }));
    }
    output::note(&format!(
        "The key of epoch {epoch} is made. It is published once all listings are placed under it: `acquaint directory \
         status` shows how far that is."
    ));
    Ok(())
}

async fn verify(args: Verify) -> Result<(), Failure> {
    let Verify { who, identifier, send, code, json } = args;
    let mut directory = connect(&who, Profile::Sealed)?;
    if send {
        directory.start_verification(&identifier).await?;
        output::note("A code was sent. `acquaint directory verify --code CODE` exchanges it for a token.");
        return if json { output::json(&json!({ "sent": true })) } else { Ok(()) };
    }
    let verified = match code {
        Some(code) => directory.confirm(&identifier, code.trim()).await?,
        None => asked(&mut directory, &identifier).await?,
    };
    let Verified { token, expires_at } = verified;
    if json {
        output::json(&json!({ "token": token, "expires_at": expires_at }))
    } else {
        output::line(&token)
    }
}

/// Has a code sent and asks for it until it is right or refused: a wrong one may be followed by another until the server
/// takes no more guesses, which is another refusal.
async fn asked(directory: &mut Directory, identifier: &str) -> Result<Verified, Failure> {
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    directory.start_verification(identifier).await?;
    output::note("A code was sent.");
    loop {
        output::prompt("Enter its six digits: ");
        let code = lines.next_line().await?.ok_or("no code was entered")?;
        match directory.confirm(identifier, code.trim()).await {
            Err(ClientError::Refused { reason: Reason::InvalidCode, message, .. }) => output::note(&message),
            outcome => return Ok(outcome?),
        }
    }
}

async fn enrol(args: Enrol) -> Result<(), Failure> {
    let Enrol { who, token, username, index, json } = args;
    let mut directory = connect(&who, Profile::Sealed)?;
    let listing = directory.enrol_at(token.trim(), username.as_deref(), index).await?;
    if json {
        return output::json(&serde_json::to_value(&listing)?);
    }
    line(&listing)?;
    output::note(
        "Everybody who knows this number or address can find the account now. `acquaint directory withdraw` ends it.",
    );
    Ok(())
}

async fn list(args: List) -> Result<(), Failure> {
    let listings = connect(&args.who, Profile::Sealed)?.listings().await?;
    if args.json {
        return output::json(&json!({ "listings": listings }));
    }
    listings.iter().try_for_each(line)?;
    output::note(&format!("{}.", counted(listings.len(), "listing", "listings")));
    Ok(())
}

async fn withdraw(args: Withdraw) -> Result<(), Failure> {
    let mut directory = connect(&args.who, Profile::Sealed)?;
    match &args.id {
        Some(id) => directory.withdraw(id).await?,
        None => directory.withdraw_all().await?,
    }
    if args.json {
        return output::json(&json!({ "withdrawn": true }));
    }
    output::note("Withdrawn. Answers that others have already may be kept for a minute.");
    Ok(())
}

/// Id, identifier, end.
fn line(listing: &Listing) -> Result<(), Failure> {
    let ends = output::day(listing.expires_at.saturating_mul(1000));
    let named =
        listing.username.as_deref().map(|name| format!("\tas {}", one_line(name))).unwrap_or_default();
    let index = if listing.index == 0 { String::new() } else { format!("\tindex {}", listing.index) };
    let text =
        format!("{}\t{}\tuntil {ends}{named}{index}", one_line(&listing.id), one_line(&listing.identifier));
    output::line(&text)
}
