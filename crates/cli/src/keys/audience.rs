//! `acquaint keys audience`.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use acquaint_server::Ambient;
use acquaint_server::config::Config;
use acquaint_server::keys::{self, Secret};
use serde_json::json;
use zeroize::Zeroizing;

use crate::args::keys::Audience;
use crate::failure::Failure;
use crate::output::{self, tell};

pub(super) fn audience(args: &Audience) -> Result<(), Failure> {
    let config = Config::load_keys_here(&args.config)?;
    if let Some(number) = args.destroy {
        return destroy(&config, number, args.json);
    }
    match (args.share, &args.to, &args.take) {
        (Some(number), Some(file), _) => share(&config, number, file, args.json),
        (_, _, Some(file)) => take(&config, file, args.json),
        _ => make(&config, args.json),
    }
}

fn make(config: &Config, json: bool) -> Result<(), Failure> {
    let number = keys::new_audience(config, Ambient::default().clock.now())?;
    if json {
        return output::json(&json!({ "number": number }));
    }
    tell!("Made the two keys of audience {number}. Back the keys up now.");
    tell!("Name the audience in the server's configuration, and start the server again:");
    tell!("  [credentials]\n  audiences = [\"discovery:{number}\"]");
    Ok(())
}

fn destroy(config: &Config, number: u32, json: bool) -> Result<(), Failure> {
    if !keys::destroy_audience(config, number)? {
        return Err(format!(
            "there are no keys of audience {number}: `acquaint keys list` shows what there is"
        )
        .into());
    }
    if json {
        return output::json(&json!({ "number": number }));
    }
    tell!("Destroyed the keys of audience {number}. A server that names it does not start any more.");
    Ok(())
}

fn share(config: &Config, number: u32, file: &Path, json: bool) -> Result<(), Failure> {
    let key = keys::share_audience(config, number)?;
    let line = Zeroizing::new(format!("{}\n", hex::encode(*key)));
    let cannot = |error: std::io::Error| format!("cannot write {}: {error}", file.display());
    let mut new =
        std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(file).map_err(cannot)?;
    new.write_all(line.as_bytes()).and_then(|()| new.sync_all()).map_err(cannot)?;
    if json {
        return output::json(&json!({ "number": number, "file": file }));
    }
    tell!("Wrote the key that audience {number} signs with to {}.", file.display());
    tell!("Carry it to who runs the discovery service, and delete it here and there once it is taken up.");
    tell!("Whoever has it can make credentials for any account.");
    Ok(())
}

fn take(config: &Config, file: &Path, json: bool) -> Result<(), Failure> {
    let secret = Secret::from_file(file)?;
    let key = unhex(secret.expose()).ok_or(
        "the file must hold one line of 64 hexadecimal digits, as `acquaint keys audience --share` writes",
    )?;
    let number = keys::take_audience(config, key)?;
    if json {
        return output::json(&json!({ "number": number }));
    }
    tell!("Took up the key of somebody's audience as number {number} here.");
    tell!(
        "Name it in the server's configuration, as the one who issues calls it, and start the server again:"
    );
    tell!("  [credentials]\n  accepted = [\"discovery:{number}\"]");
    Ok(())
}

fn unhex(text: &str) -> Option<Zeroizing<[u8; 32]>> {
    let mut bytes = Zeroizing::new([0; 32]);
    hex::decode_to_slice(text, &mut *bytes).ok()?;
    Some(bytes)
}
