//! Files of shards, for an operator's commands. But for building them they need no configuration and no key: a file says itself
//! what it is.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use acquaint_service::directory::{DirectoryEpoch, DirectoryError};

pub use acquaint_service::shard::{
    Head, Owner, Record, Section, Shard, ShardError, Stat, Verified, anonymous, available_memory,
    check_memory, memory_needed, stat, verify,
};

use crate::config::Config;
use crate::{Ambient, Server, ServerError};

/// How often it is looked whether all is built.
const POLL: Duration = Duration::from_millis(200);

/// Why files of shards are not built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// There is nothing to build.
    #[error("there is no private lookup: `private_lookup.psm` in the configuration switches it on")]
    NotConfigured,
    /// There is no place for them.
    #[error("there is no folder for files of shards: set `private_lookup.files`, or give one")]
    NoFolder,
    /// They do not fit.
    #[error("the shards do not fit into memory; what they take and what is there stands above")]
    Memory,
    /// They could not be made.
    #[error("the shards could not be made; what went wrong stands above")]
    Failed,
    /// Keys or store cannot be opened.
    #[error(transparent)]
    Start(#[from] ServerError),
    /// The directory cannot be read.
    #[error("the directory cannot be read")]
    Directory(#[source] DirectoryError),
}

/// Opens keys and store, builds all shards that this server is to hold and that are not in their files yet, and closes
/// everything. `watch` is told of the epochs from time to time. Returns the epochs of private lookup, of which `listings` are
/// the records in the shards that this server holds. Ends with the first attempt that fails.
///
/// # Errors
/// [`BuildError`].
pub async fn build(
    mut config: Config,
    mut watch: impl FnMut(&[DirectoryEpoch]),
) -> Result<Vec<DirectoryEpoch>, BuildError> {
    if !(config.private_lookup.psm || config.private_lookup.pir) {
        return Err(BuildError::NotConfigured);
    }
    if config.private_lookup.files.as_os_str().is_empty() {
        return Err(BuildError::NoFolder);
    }
    // Nobody is to reach it.
    config.listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    config.tls.certificate.clear();
    config.telemetry.listen.clear();
    config.network.jetstream_url.clear();
    let server = Server::start(config, Ambient::default()).await?;
    let discovery = server.discovery();
    let built = loop {
        // Before the epochs: their records are counted when all shards are there.
        let parameters = discovery.private_parameters().await;
        let epochs = match discovery.directory_epochs() {
            Ok(epochs) => epochs,
            Err(DirectoryError::Unavailable) => Vec::new(),
            Err(error) => break Err(BuildError::Directory(error)),
        };
        watch(&epochs);
        let is_filling = epochs.iter().any(|epoch| epoch.stage == "filling");
        match parameters {
            Ok(_) if !is_filling => {
                // They were made before the last records were placed.
                match discovery.save_private().await {
                    Ok(true) => {}
                    Ok(false) => break Err(BuildError::Failed),
                    Err(error) => break Err(BuildError::Directory(error)),
                }
                break Ok(epochs.into_iter().filter(|epoch| epoch.profile != "sealed-buckets").collect());
            }
            Ok(_) | Err(DirectoryError::Unavailable) => {}
            Err(error) => break Err(BuildError::Directory(error)),
        }
        if discovery.lacks_memory() {
            break Err(BuildError::Memory);
        }
        if discovery.fails_at_shards() {
            break Err(BuildError::Failed);
        }
        tokio::time::sleep(POLL).await;
    };
    server.run(std::future::ready(())).await;
    built
}
