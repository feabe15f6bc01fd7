//! `acquaint api-key`.

use serde_json::json;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::args;
use crate::failure::Failure;
use crate::output::{self, tell};

pub(crate) fn run(args: &args::MakeApiKey) -> Result<(), Failure> {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    if !(1..=64).contains(&args.name.len()) || !args.name.bytes().all(good) {
        return Err("the name must be 1 to 64 letters, digits, `-` and `_`".into());
    }
    let mut bytes = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *bytes).map_err(|error| format!("the system gives no randomness: {error}"))?;
    // Told from tokens by its first letters, before anything looks at it.
    let key = Zeroizing::new(format!("aqk_{}", hex::encode(&*bytes)));
    let entry = format!("{}:{}", args.name, hex::encode(Sha256::digest(key.as_bytes())));
    if args.json {
        return output::json(&json!({ "key": key.as_str(), "entry": entry }));
    }
    tell!("The key, which is shown this once:\n  {}", key.as_str());
    tell!("Add its entry to the server's configuration, and start the server again:");
    tell!("  [sessions]\n  api_keys = [\"{entry}\"]");
    tell!("The back end sends the key as `Authorization: Bearer …`, and for whom as `Acquaint-Account: …`.");
    Ok(())
}
