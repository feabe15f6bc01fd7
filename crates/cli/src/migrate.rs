//! `acquaint migrate`: from the embedded store to PostgreSQL.

use acquaint_server::config::Config;
use acquaint_server::transfer;

use crate::args;
use crate::failure::Failure;
use crate::output::tell;
use crate::store::transfer::{carried, report, watched};

pub(crate) async fn run(args: args::transfer::Migrate) -> Result<(), Failure> {
    let config = Config::load_here(&args.config)?;
    if config.store.postgres().is_none() {
        return Err("the configuration still names the embedded store: set `store.kind` to `postgres` and `store.postgres` \
                    to the connection string of an empty database (docs/operations/postgresql.md, \"Moving from the \
                    embedded store\")"
            .into());
    }
    let from = args.from.unwrap_or_else(|| config.data_dir.clone());
    let done = watched("migrating", async |watch| transfer::migrate(&config, &from, watch).await).await?;
    if args.json {
        return report(&done, &[]);
    }
    tell!("Carried {} from {} to PostgreSQL, and counted them there.", carried(&done), from.display());
    tell!("Start the servers on PostgreSQL now, and none on {} any more.", from.display());
    tell!(
        "That folder is as it was. Keep it until you are satisfied, and delete it then: it keeps what people remove from \
         now on."
    );
    Ok(())
}
