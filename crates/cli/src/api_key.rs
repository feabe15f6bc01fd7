//! `acquaint api-key`.

use acquaint_server::Ambient;
use acquaint_server::config::ApiKey;
use serde_json::json;

use crate::args;
use crate::failure::Failure;
use crate::output::{self, tell};

pub(crate) fn run(args: &args::MakeApiKey) -> Result<(), Failure> {
    let (key, entry) = ApiKey::generate(&args.name, &*Ambient::default().entropy)?;
    if ApiKey::parse(&entry).is_none() {
        return Err("the name must be 1 to 32 of `a-z`, `0-9`, `-` and `_`".into());
    }
    if args.json {
        return output::json(&json!({ "key": key.as_str(), "entry": entry }));
    }
    tell!("The key, which is shown this once:\n  {}", key.as_str());
    tell!("Add its entry to the server's configuration, and start the server again:");
    tell!("  [sessions]\n  api_keys = [\"{entry}\"]");
    tell!("The back end sends the key as `Authorization: Bearer …`, and for whom as `Acquaint-Account: …`.");
    Ok(())
}
