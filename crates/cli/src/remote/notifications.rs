//! `acquaint notifications`.

use acquaint_client::{Notifications, Operator};
use acquaint_server::Ambient;
use serde_json::json;

use super::{address, counted};
use crate::args;
use crate::failure::Failure;
use crate::output;

const DAY_S: i64 = 24 * 60 * 60;

pub(crate) async fn run(args: args::Notifications) -> Result<(), Failure> {
    let args::Notifications { server, retry, json } = args;
    let (url, settings) = address(&server)?;
    let operator = Operator::new(&url, settings)?;
    if retry {
        let retried = operator.retry_dead_letters().await?;
        if json {
            return output::json(&json!({ "retried": retried }));
        }
        output::note(&match retried {
            0 => "There is no dead letter to retry.".to_owned(),
            1 => "1 notification is tried again now.".to_owned(),
            many => format!("{many} notifications are tried again now."),
        });
        return Ok(());
    }
    let Notifications { waiting, dead, letters } = operator.notifications().await?;
    if json {
        let letters = letters.iter().map(|letter| {
            json!({
                "id": letter.id,
                "found_at": letter.found_at,
                "attempts": letter.attempts,
                "reason": letter.reason,
            })
        });
        return output::json(
            &json!({ "waiting": waiting, "dead": dead, "letters": letters.collect::<Vec<_>>() }),
        );
    }
    let now = Ambient::default().clock.now() / 1000;
    for letter in &letters {
        let attempts = counted(letter.attempts, "attempt", "attempts");
        let days = now.saturating_sub(letter.found_at).max(0) / DAY_S;
        let age = counted(u32::try_from(days).unwrap_or(u32::MAX), "day", "days");
        output::line(&format!("{}\t{age}\t{attempts}\t{}", letter.id, letter.reason))?;
    }
    let unlisted = dead.saturating_sub(u64::try_from(letters.len()).unwrap_or(u64::MAX));
    let more = if unlisted > 0 { format!(", of which {unlisted} are not listed") } else { String::new() };
    let hint = if dead > 0 { " (--retry tries them again)" } else { "" };
    output::note(&format!("Waiting: {waiting}. Dead letters: {dead}{more}{hint}."));
    Ok(())
}
