//! Finds friends: verifies a number on a running server, imports an address book, and prints who is there.
//!
//! ```console
//! $ cargo run -p acquaint-client --example find_friends -- \
//!       http://127.0.0.1:3200 "$ACQUAINT_API_KEY" did:plc:alice +12125550101 contacts.vcf
//! ```
//!
//! The code that arrives is read from standard input.

use std::error::Error;
use std::io::Write;

use acquaint_client::identifier::{Identifier, Phone};
use acquaint_client::prepare::{Entry, Wanted, prepare};
use acquaint_client::{Client, ClientError, Reason, address_book};

const USAGE: &str = "usage: find_friends URL API-KEY ACTOR PHONE FILE";

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let [url, api_key, actor, phone, file] =
        <[String; 5]>::try_from(std::env::args().skip(1).collect::<Vec<_>>()).map_err(|_| USAGE)?;
    let client = Client::new(&url, &api_key)?;

    // Numbers in national form are taken to be from where the person's own number is.
    let own = Phone::parse(&phone, None)?;
    let region = own.region();
    let own = [Identifier::Phone(own)];
    let book = address_book::read(&std::fs::read(file)?)?;
    let list = prepare(&book.contacts, Wanted { region, emails: false, own: &own });
    println!("{} numbers to send; left out: {}", list.entries.len(), list.skipped);

    // Each import needs a verification of its own.
    for batch in list.batches() {
        let token = verify(&client, &actor, &phone).await?;
        let contacts = batch.iter().map(Entry::text).collect();
        for found in client.import(&actor, &token, contacts).await? {
            let name = batch.get(found.input_index).and_then(|entry| entry.name.as_deref());
            println!("{} is {}", name.unwrap_or("somebody"), found.subject);
        }
    }
    println!("{} matches in all", client.all_matches(&actor).await?.len());
    Ok(())
}

async fn verify(client: &Client, actor: &str, phone: &str) -> Result<String, Box<dyn Error>> {
    loop {
        match client.start_verification(actor, phone).await {
            Err(ClientError::Refused { reason: Reason::RateLimitExceeded, message, retry_after }) => {
                let wait = retry_after.unwrap_or(std::time::Duration::from_secs(30));
                println!("{message}: waiting {} seconds", wait.as_secs());
                tokio::time::sleep(wait).await;
            }
            outcome => break outcome?,
        }
    }
    loop {
        print!("the code that was sent: ");
        std::io::stdout().flush()?;
        let mut code = String::new();
        if std::io::stdin().read_line(&mut code)? == 0 {
            return Err("no code was entered".into());
        }
        match client.verify(actor, phone, code.trim()).await {
            Err(ClientError::Refused { reason: Reason::InvalidCode, message, .. }) => println!("{message}"),
            outcome => return Ok(outcome?),
        }
    }
}
