//! Measurements. `cargo run --release -p bench -- NAME` prints a table, and with `--json` one object as its last line.

mod import;
mod load;
mod machine;
mod stretch;

use clap::{Parser, Subcommand};

/// Measures Acquaint on this machine.
#[derive(Debug, Parser)]
#[command(name = "bench", after_help = "Example:\n  cargo run --release -p bench -- import --json")]
struct Args {
    #[command(subcommand)]
    name: Name,
    /// Print one JSON object as the last line
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Name {
    /// What an import of 1000 contacts costs at suite `standard`, and what it does to other requests
    Import,
    /// Light calls while imports hash, the memory of idle connections, and the start with 10 million rows
    Load,
    /// Argon2id of several passwords at a time, against RustCrypto's and the reference in C
    Stretch,
    /// The server that `load` measures
    #[command(hide = true)]
    Serve {
        /// Where its configuration is
        folder: std::path::PathBuf,
    },
}

fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let args = Args::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    match args.name {
        Name::Import => runtime.block_on(import::run(args.json)).map_err(|error| error.to_string().into()),
        Name::Load => runtime.block_on(load::run(args.json)),
        Name::Stretch => stretch::run(args.json),
        Name::Serve { folder } => runtime.block_on(load::serve(&folder)),
    }
}
