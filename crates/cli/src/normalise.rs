//! `acquaint normalise`.

use std::io::BufRead;

use acquaint_client::identifier::{Identifier, Region};
use serde_json::{Value, json};

use crate::args;
use crate::failure::Failure;
use crate::output;

pub(crate) fn run(args: args::Normalise) -> Result<(), Failure> {
    let args::Normalise { texts, region, json } = args;
    let region =
        region.as_deref().map(Region::parse).transpose().map_err(|error| format!("--region: {error}"))?;
    let (mut results, mut total, mut refused) = (Vec::new(), 0_usize, 0_usize);
    let mut take = |text: &str| -> Result<(), Failure> {
        let parsed = Identifier::parse(text, region);
        total += 1;
        refused += usize::from(parsed.is_err());
        if json {
            results.push(match &parsed {
                Ok(identifier) => {
                    json!({ "line": total, "canonical": identifier.as_str(), "kind": kind(identifier) })
                }
                Err(error) => json!({ "line": total, "error": error.to_string() }),
            });
            return Ok(());
        }
        match parsed {
            Ok(identifier) => output::line(identifier.as_str()),
            Err(error) => output::line(&format!("refused: {error}")),
        }
    };
    if matches!(texts.as_slice(), [] | [_]) && texts.first().is_none_or(|text| text == "-") {
        for line in std::io::stdin().lock().split(b'\n') {
            take(String::from_utf8_lossy(&line?).trim_end_matches('\r'))?;
        }
    } else {
        texts.iter().try_for_each(|text| take(text))?;
    }
    if json {
        output::json(&json!({ "results": Value::Array(results), "refused": refused }))?;
    }
    if refused > 0 { Err(format!("{refused} of {total} refused").into()) } else { Ok(()) }
}

fn kind(identifier: &Identifier) -> &'static str {
    match identifier {
        Identifier::Phone(_) => "phone",
        Identifier::Email(_) => "email",
    }
}
