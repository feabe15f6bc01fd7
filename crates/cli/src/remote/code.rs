//! Codes: sent, asked for on standard input, exchanged for tokens.

use acquaint_client::{Client, ClientError, Reason};
use tokio::io::{AsyncBufReadExt, BufReader, Lines, Stdin};

use super::wait::patiently;
use crate::failure::Failure;
use crate::output;

/// Where codes come from: first the one that was given, then the person. One reader for all of them: what it has read ahead
/// may hold the next code.
pub(super) struct Codes {
    given: Option<String>,
    lines: Lines<BufReader<Stdin>>,
}

impl Codes {
    pub(super) fn new(given: Option<String>) -> Self {
        Self { given, lines: BufReader::new(tokio::io::stdin()).lines() }
    }

    /// Has a code sent, unless one is at hand, asks for it until it is right or refused, and returns the token. `what` is
    /// "A code" or "A further code".
    pub(super) async fn token(
        &mut self,
        client: &Client,
        actor: &str,
        phone: &str,
        what: &str,
    ) -> Result<String, Failure> {
        if let Some(code) = self.given.take() {
            return Ok(client.verify(actor, phone, code.trim()).await?);
        }
        patiently(|| client.start_verification(actor, phone)).await?;
        loop {
            output::prompt(&format!("{what} was sent. Enter its six digits: "));
            let code = self.lines.next_line().await?.ok_or("no code was entered")?;
            match client.verify(actor, phone, code.trim()).await {
                Err(ClientError::Refused { reason: Reason::InvalidCode, message, .. }) => {
                    output::note(&message)
                }
                outcome => return Ok(outcome?),
            }
        }
    }
}
