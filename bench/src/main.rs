//! Measurements. `cargo run --release -p bench -- NAME` prints a table, and with `--json` one object as its last line.

mod bucket;
mod credentials;
mod custody;
mod hashing;
mod import;
mod leaks;
mod load;
mod machine;
mod pir;
mod server;
mod store;
mod stretch;

use std::path::PathBuf;

use clap::{Parser, Subcommand};

type Error = Box<dyn std::error::Error + Send + Sync>;
type Result<T> = std::result::Result<T, Error>;

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
    /// PostgreSQL with 10 and 50 million pairs, and two servers on one store; takes 20 minutes and 40 GB of disk
    Store(store::Options),
    /// What keys in a PKCS#11 token (SoftHSM), and in a process of their own, add to hashing; and a second epoch
    Custody {
        /// A short trial, whose figures say little
        #[arg(long)]
        quick: bool,
    },
    /// Sealed buckets: the index of ten million listings, its answers, and the OPRF; takes ten minutes and 4 GB of memory
    Bucket {
        /// How many listings
        #[arg(long, default_value_t = 10_000_000)]
        identifiers: usize,
    },
    /// Private lookup in tables of 2^20 and ten million records, beside Spiral and YPIR; takes some minutes and 8 GB of memory
    Pir(pir::Options),
    /// What a lookup by prefix tells: candidates by country, many contacts together, the cost of filling
    Leaks,
    /// Credentials: issued and checked in process, over HTTP with limits and audit log, and the limiter's front
    Credentials,
    /// Issues and checks credentials with keys in a token, as `credentials` wants it measured
    #[command(hide = true)]
    TokenCredentials {
        /// Where the configuration is
        folder: PathBuf,
    },
    /// A server that is measured
    #[command(hide = true)]
    Serve {
        /// Where its configuration is
        folder: PathBuf,
        /// The core that it is kept to
        #[arg(long)]
        core: Option<usize>,
    },
    /// A custody process that is measured
    #[command(hide = true)]
    ServeCustody {
        /// Where its configuration is
        folder: PathBuf,
    },
    /// Calls custody as `custody` wants it measured
    #[command(hide = true)]
    Hmac {
        /// Where the configurations are
        folder: PathBuf,
        /// How often
        #[arg(long)]
        rounds: u32,
        /// The custody processes whose CPU time counts too
        #[arg(long)]
        process: Vec<u32>,
    },
}

fn main() -> Result<()> {
    let args = Args::parse();
    if let Name::Serve { core: Some(core), .. } = &args.name {
        machine::keep_to(*core)?;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    match args.name {
        Name::Import => runtime.block_on(import::run(args.json)),
        Name::Load => runtime.block_on(load::run(args.json)),
        Name::Stretch => stretch::run(args.json),
        Name::Store(options) => runtime.block_on(store::run(&options, args.json)),
        Name::Custody { quick } => runtime.block_on(custody::run(quick, args.json)),
        Name::Bucket { identifiers } => bucket::run(identifiers, args.json),
        Name::Pir(options) => pir::run(&options, args.json),
        Name::Leaks => leaks::run(args.json),
        Name::Credentials => runtime.block_on(credentials::run(args.json)),
        Name::TokenCredentials { folder } => credentials::in_process::token(&folder),
        Name::Serve { folder, .. } => runtime.block_on(server::serve(&folder)),
        Name::ServeCustody { folder } => runtime.block_on(server::serve_custody(&folder)),
        Name::Hmac { folder, rounds, process } => custody::hmac::run(&folder, rounds, &process),
    }
}

/// A valid mobile-type number of which there are enough: +1 212 2xx xxxx.
fn contact(n: usize) -> String {
    format!("+121220{n:05}")
}
