//! The arguments of `acquaint bench`.

use std::path::PathBuf;

#[derive(Debug, clap::Args)]
pub(crate) struct Bench {
    #[command(subcommand)]
    pub(crate) command: BenchCommand,
}

#[derive(Debug, clap::Subcommand)]
pub(crate) enum BenchCommand {
    /// What a private lookup costs on this machine, beside the estimates of the MIMI draft
    Pir(Pir),
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  acquaint bench pir
      a table of 2^20 records, as the draft's Table 2 has it: 0.8 GB of memory, some ten seconds
  acquaint bench pir --records 10000000
      as its Table 3: 6 GB of memory, a minute
  acquaint bench pir --plot pir.svg
      both as bars; .png does as well

Whole lookups are made in this process, client and server in one thread, and checked: the OPRF with its proof, the query,
the answer, and the opening of the records that came. Times are CPU time, medians of some rounds.

With --json: one object with the figures.")]
pub(crate) struct Pir {
    /// Records of the table
    #[arg(long, default_value_t = 1 << 20, value_parser = clap::value_parser!(u32).range(1..=20_000_000))]
    pub(crate) records: u32,
    /// Draw the draft's estimates and what was measured, into this .svg or .png
    #[arg(long, value_name = "FILE")]
    pub(crate) plot: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}
