//! Custody as a process of its own: what `acquaint custody serve` runs.

use std::future::Future;
use std::sync::Arc;

use acquaint_custody::KeyCustody;
use acquaint_custody::remote::{Event, ServeOptions, Server};
use acquaint_service::Clock;

use crate::config::{Config, Holder};
use crate::keys::{self, KeysError};

/// A custody socket and the keys behind it.
pub struct CustodyProcess {
    server: Arc<Server>,
    custody: Arc<dyn KeyCustody>,
}

impl CustodyProcess {
    /// Opens the keys with their budget, and makes the socket `keys.socket`. Blocks.
    ///
    /// # Errors
    /// [`KeysError`] says what is wrong and what to do; [`KeysError::NotHere`] if the configuration says that another
    /// process holds the keys.
    pub fn start(config: &Config, clock: Arc<dyn Clock>) -> Result<Self, KeysError> {
        if config.keys.holder() == Some(Holder::Process) {
            return Err(KeysError::NotHere);
        }
        let custody = keys::open(config, false, clock)?;
        let mut options = ServeOptions::default();
        let allowed: Vec<u32> = config.keys.allowed_uids.iter().filter_map(|uid| uid.parse().ok()).collect();
        if !allowed.is_empty() {
            options.allowed = allowed;
        }
        Ok(Self { server: Arc::new(Server::bind(&config.keys.socket, options)?), custody })
    }

    /// Answers until `stop`; what is being answered then is answered to its end.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let Self { server, custody } = self;
        let stopper = server.stopper();
        let serving = tokio::task::spawn_blocking(move || server.serve(&*custody, &report));
        stop.await;
        stopper.stop();
        // It ends by itself only if it panicked, which the process's hook has told.
        let _ = serving.await;
    }
}

fn report(event: Event) {
    match event {
        Event::TurnedAway { uid } => {
            tracing::warn!(uid, "a process of a user that is not in `keys.allowed_uids` was turned away");
        }
        Event::NotRefreshed => {
            tracing::warn!("the key holder cannot be asked which keys there are: the known ones stand");
        }
        Event::Full => tracing::warn!("a connection was closed: there are as many as are allowed"),
        Event::Broken => tracing::warn!("a connection broke, or did not keep to the protocol"),
        Event::NotAccepted => tracing::error!("a connection could not be accepted"),
    }
}
