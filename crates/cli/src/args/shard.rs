//! Arguments of `acquaint shard`.

use std::path::PathBuf;

use clap::Subcommand;

#[derive(Debug, clap::Args)]
pub(crate) struct Shard {
    #[command(subcommand)]
    pub(crate) command: ShardCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ShardCommand {
    /// Show what files of shards hold, how full they are, and whether they would fit into memory now
    #[command(after_help = "\
A shard is a part of the directory as private lookup wants it in memory: four times its records,
and some more. A server saves its shards to files and opens them at the next start. Only the head
of each file is read here; `acquaint shard verify` reads all of it.

A shard fills by chance, row by row: at about 93 % the first row is full, and the directory must
be divided into more shards.

Example:
  acquaint shard stat /var/lib/acquaint/shards/*.shard

With --json: {\"ok\", \"shards\": [{\"file\", \"shard\", \"configuration\", \"made_at\" (milliseconds
since 1970), \"change\", \"rows\", \"columns\", \"slots\", \"answers\", \"records\", \"places\", \"load\",
\"bytes\", \"memory_bytes\"} or {\"file\", \"error\"}], \"memory_bytes\", \"available_bytes\" and \"fits\"
(null where the system does not tell)}. Exit code 1 if a file is no file of a shard, or cut.")]
    Stat(Stat),
    /// Build the files of all shards in advance, beside no running server
    #[command(after_help = "\
A server that starts with these files answers sooner: it builds nothing that is there and recent.
Files go where `private_lookup.files` says. What is there already and good is kept. With the
embedded database the server must be stopped; with PostgreSQL this is one server more for a while.

Example:
  acquaint shard build --config /etc/acquaint/acquaint.toml

With --json: {\"folder\", \"profiles\": [{\"profile\", \"epoch\", \"records\"}]}.")]
    Build(Build),
    /// Look whether files of shards are whole, and ask each for some of its records as a client would
    #[command(after_help = "\
First everything is held against its checksums, which tells in which section a file broke. Then
each shard is asked for some of its own records, and for two keywords that nobody has, by
encrypted queries: what comes must be what stands in the table. Nothing but the file is needed,
nothing is changed, and a running server is not disturbed; the memory for one shard must be free.
Checksums tell what broke by itself: whoever may write the file can write checksums too.

A file that is damaged can be deleted: the server builds the shard anew from its database.

Examples:
  acquaint shard verify /var/lib/acquaint/shards/*.shard
  acquaint shard verify --sample 0 0.shard
      checksums alone

With --json: {\"ok\", \"shards\": [{\"file\", \"ok\": true, \"shard\", \"made_at\", \"change\",
\"records\", \"queries\"} or {\"file\", \"ok\": false, \"error\", \"section\" (or null)}]}. Exit code 1
if one is broken.")]
    Verify(Verify),
}

#[derive(Debug, clap::Args)]
pub(crate) struct Stat {
    /// Files of shards
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Verify {
    /// Files of shards
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// How many of its own records a shard is asked for; with 0 it is asked for nothing
    #[arg(long, default_value_t = 16)]
    pub(crate) sample: u16,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Build {
    /// The configuration file
    #[arg(long, env = "ACQUAINT_CONFIG", default_value = "acquaint.toml")]
    pub(crate) config: PathBuf,
    /// Write the files there, and not where `private_lookup.files` says
    #[arg(long, value_name = "FOLDER")]
    pub(crate) out: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}
