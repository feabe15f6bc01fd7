//! `acquaint`: private contact discovery that anyone can run.

mod api_key;
mod args;
mod bench;
mod completions;
mod custody;
mod demo;
mod doctor;
mod failure;
mod init;
mod keys;
mod lookup;
mod migrate;
mod normalise;
mod output;
mod payload;
mod remote;
mod serve;
mod shard;
mod store;

use std::io::Write;

use clap::Parser;

use args::{Args, Command};
use failure::Failure;

fn main() -> std::process::ExitCode {
    let args = Args::parse();
    // A panic's text can quote what a library was given, a number for instance: only its place is told.
    // And where nobody reads it, that must not be a second panic, which ends the process.
    std::panic::set_hook(Box::new(|info| {
        let place = info.location().map(|place| format!(" at {}:{}", place.file(), place.line()));
        let _unread = writeln!(std::io::stderr(), "internal error{}", place.unwrap_or_default());
    }));
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failure::report(&error.into()),
    };
    let outcome = runtime.block_on(run(args));
    // A thread that ends while the process does can meet an HSM's module that is taken down already, and crash. A person
    // who never enters the code that was asked for is not waited for longer than this.
    runtime.shutdown_timeout(std::time::Duration::from_millis(500));
    match outcome {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) if error.is::<output::Closed>() => std::process::ExitCode::SUCCESS,
        Err(error) => failure::report(&error),
    }
}

async fn run(args: Args) -> Result<(), Failure> {
    match args.command {
        Command::Init(init) => init::run(&init),
        Command::Serve(serve) => serve::run(&serve).await,
        Command::Demo(demo) => demo::run(&demo).await,
        Command::Doctor(doctor) => doctor::run(&doctor).await,
        Command::Store(store) => store::run(store.command).await,
        Command::Migrate(migrate) => migrate::run(migrate).await,
        Command::Keys(keys) => keys::run(keys.command).await,
        Command::Custody(custody) => custody::run(custody.command).await,
        Command::Notifications(notifications) => remote::notifications::run(notifications).await,
        Command::Audit(audit) => remote::audit::run(audit).await,
        Command::ApiKey(api_key) => api_key::run(&api_key),
        Command::Verify(verify) => remote::verify(verify).await,
        Command::Import(import) => remote::import::run(import).await,
        Command::Matches(matches) => remote::matches(matches).await,
        Command::Dismiss(dismiss) => remote::dismiss(dismiss).await,
        Command::Remove(remove) => remote::remove(remove).await,
        Command::Lookup(lookup) => lookup::run(lookup).await,
        Command::Directory(directory) => lookup::directory::run(directory.command).await,
        Command::Shard(shard) => shard::run(shard.command).await,
        Command::Payload(payload) => payload::run(&payload),
        Command::Bench(bench) => bench::run(&bench),
        Command::Normalise(normalise) => normalise::run(normalise),
        Command::Completions(completions) => completions::run(&completions),
    }
}
