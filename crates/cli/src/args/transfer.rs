//! Arguments of the commands that carry data from store to store.

use std::path::PathBuf;

#[derive(Debug, clap::Args)]
#[command(
    after_help = "The configuration names PostgreSQL as the store, and an empty database; the embedded store's\n\
                  folder is only read. Stop the servers first. Needs the role that owns the tables.\n\
                  Interrupted, the same command goes on; until it has ended, no server starts on the database.\n\n\
                  Example:\n  ACQUAINT_STORE__KIND=postgres ACQUAINT_STORE__POSTGRES=postgresql://acquaint_owner:… \\\n    \
                  acquaint migrate --config /etc/acquaint/acquaint.toml\n\n\
                  With --json: {\"ok\": true, \"resumed\": false, \"rows\": {\"accounts\": 3, …}}."
)]
pub(crate) struct Migrate {
    /// Folder of the embedded store; `data_dir` of the configuration if not given
    #[arg(long, value_name = "FOLDER")]
    pub(crate) from: Option<PathBuf>,
    /// The server's configuration file
    #[arg(long, env = "ACQUAINT_CONFIG", default_value = "acquaint.toml")]
    pub(crate) config: PathBuf,
    /// Print one JSON object in place of sentences
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Transfer {
    /// The export
    pub(crate) file: PathBuf,
    /// The server's configuration file
    #[arg(long, env = "ACQUAINT_CONFIG", default_value = "acquaint.toml")]
    pub(crate) config: PathBuf,
    /// Print one JSON object in place of sentences
    #[arg(long)]
    pub(crate) json: bool,
}
