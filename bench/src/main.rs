//! Measurements. `cargo run --release -p bench -- NAME` prints a table, and with `--json` one object as its last line.

mod import;
mod machine;

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
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args = Args::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    match args.name {
        Name::Import => runtime.block_on(import::run(args.json)),
    }
}
