//! Calls to hosts that others name, as the host of a DID document: only ever to public addresses.
//!
//! A name is judged by the addresses that it leads to, not by what it looks like, and by exactly those that are then
//! connected to: the client asks no other resolver, so an answer that changes in between changes nothing.

use std::error::Error;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::ACCEPT;
use reqwest::{Client, Url};
use tokio::sync::Semaphore;
use url::Host;

use super::address::is_public;
use super::{Answer, CertificatesError, builder};

/// What tells the addresses of a name; the operating system, unless a test says otherwise.
pub(crate) type Lookup = Arc<dyn Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync>;

/// Names that are looked up at once. A look-up cannot be ended, so those of slow servers outlive their requests.
const LOOKUPS: usize = 32;

/// A client for hosts that others name.
pub(crate) struct PublicHttp {
    client: Client,
    private_too: bool,
    within: Duration,
    /// Requests at once; what waits for longer than `within` fails.
    turns: Semaphore,
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PublicFault {
    /// The URL, or every address of its host, is one that is not asked.
    Forbidden,
    /// The host did not answer in time, or cannot be reached, or its certificate is not good.
    Unavailable,
}

impl PublicHttp {
    /// A client that takes at most `within` for an answer and asks at most `at_once` at a time. With `private_too` it
    /// asks any address, at any port, and by `http` too.
    pub(crate) fn new(
        private_too: bool,
        within: Duration,
        at_once: usize,
    ) -> Result<Self, CertificatesError> {
        let system: Lookup =
            Arc::new(|name| Ok((name, 0).to_socket_addrs()?.map(|address| address.ip()).collect()));
        Self::with_lookup(private_too, within, at_once, system)
    }

    /// The same, with addresses from `lookup`.
    pub(crate) fn with_lookup(
        private_too: bool,
        within: Duration,
        at_once: usize,
        lookup: Lookup,
    ) -> Result<Self, CertificatesError> {
        let names = Names { lookup, private_too, turns: Arc::new(Semaphore::new(LOOKUPS)) };
        let client = builder("https", within)?
            .https_only(!private_too)
            .dns_resolver(Arc::new(names))
            .build()
            .map_err(|error| CertificatesError(Box::new(error)))?;
        Ok(Self { client, private_too, within, turns: Semaphore::new(at_once) })
    }

    /// Whether `url` is one that may be asked, as far as can be seen without asking: `https`, a name and no address, and
    /// no user name. A client looks no address up that stands there itself, so this decides about those.
    pub(crate) fn admits(&self, url: &Url) -> bool {
        let nobody = url.username().is_empty() && url.password().is_none();
        let named = matches!(url.host(), Some(Host::Domain(_)));
        match self.private_too {
            true => nobody && url.has_host() && matches!(url.scheme(), "http" | "https"),
            false => nobody && named && url.scheme() == "https",
        }
    }

    /// Asks for JSON at `url`. No redirects are followed; the answer has 64 KiB at most.
    pub(crate) async fn get(&self, url: Url) -> Result<Answer, PublicFault> {
        if !self.admits(&url) {
            return Err(PublicFault::Forbidden);
        }
        let turn = tokio::time::timeout(self.within, self.turns.acquire()).await;
        let Ok(Ok(_turn)) = turn else { return Err(PublicFault::Unavailable) };
        match self.client.get(url).header(ACCEPT, "application/json").timeout(self.within).send().await {
            Ok(response) => Ok(Answer::read(response).await),
            Err(error) if is_forbidden(&error) => Err(PublicFault::Forbidden),
            Err(_) => Err(PublicFault::Unavailable),
        }
    }
}

/// Looks names up and passes on the public addresses alone.
struct Names {
    lookup: Lookup,
    private_too: bool,
    turns: Arc<Semaphore>,
}

/// A name has no address that may be asked.
#[derive(Debug, thiserror::Error)]
#[error("the name leads to no public address")]
struct NotPublic;

impl Resolve for Names {
    fn resolve(&self, name: Name) -> Resolving {
        let (lookup, private_too) = (Arc::clone(&self.lookup), self.private_too);
        let turns = Arc::clone(&self.turns);
        Box::pin(async move {
            let turn = turns.acquire_owned().await?;
            let found = tokio::task::spawn_blocking(move || {
                let found = lookup(name.as_str());
                drop(turn);
                found
            });
            let mut found = found.await??;
            if !private_too {
                found.retain(|address| is_public(*address));
            }
            if found.is_empty() {
                return Err(NotPublic.into());
            }
            let found: Addrs = Box::new(found.into_iter().map(|address| SocketAddr::new(address, 0)));
            Ok(found)
        })
    }
}

/// Whether a request failed because its host has no public address.
fn is_forbidden(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if error.is::<NotPublic>() {
            return true;
        }
        next = error.source();
    }
    false
}
