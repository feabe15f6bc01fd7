//! Whether an account is gone: asked at the directory of its identity, and at the account's own server.

use std::sync::Arc;

use acquaint_protocol::identifier::AccountId;
use acquaint_service::{DepartureCheck, Unconfirmed};
use async_trait::async_trait;
use reqwest::StatusCode;
use serde::Deserialize;

use crate::session::did::{ResolveError, Resolver};

pub(crate) struct Departures {
    pub(crate) resolver: Arc<Resolver>,
}

/// What `com.atproto.sync.getRepoStatus` answers (its lexicon in bluesky-social/atproto).
#[derive(Deserialize)]
struct Status {
    did: String,
    active: bool,
    status: Option<String>,
}

#[derive(Deserialize)]
struct Refusal {
    error: String,
}

#[async_trait]
impl DepartureCheck for Departures {
    async fn is_gone(&self, account: &AccountId) -> Result<bool, Unconfirmed> {
        let did = account.as_str();
        let unconfirmed = |reason| Err(Unconfirmed { reason });
        let document = match self.resolver.resolve_now(did).await {
            Ok(document) => document,
            // A tombstone of the directory's. What is not found may be found again, and a host of `did:web` answers what
            // it likes.
            Err(ResolveError::Gone) if did.starts_with("did:plc:") => return Ok(true),
            Err(ResolveError::Gone | ResolveError::NotFound) => {
                return unconfirmed("the DID has no document, and no tombstone either");
            }
            Err(ResolveError::Unavailable) => return unconfirmed("the DID document cannot be had"),
            Err(ResolveError::Invalid) => return unconfirmed("the DID document cannot be used"),
        };
        let Some(pds) = &document.pds else { return unconfirmed("the DID document names no server") };
        let Ok(mut url) = pds.join("/xrpc/com.atproto.sync.getRepoStatus") else {
            return unconfirmed("the DID document names no server that can be asked");
        };
        url.query_pairs_mut().append_pair("did", did);
        let Ok(answer) = self.resolver.public().get(url).await else {
            return unconfirmed("the account's server cannot be asked");
        };
        match answer.status {
            StatusCode::OK => match answer.json::<Status>() {
                Some(status) if status.did == did => {
                    let gone = matches!(status.status.as_deref(), Some("deleted" | "deactivated"));
                    Ok(!status.active && gone)
                }
                _ => unconfirmed("the account's server does not answer as the lexicon says"),
            },
            StatusCode::BAD_REQUEST | StatusCode::NOT_FOUND => match answer.json::<Refusal>() {
                // Its lexicon's error for a repository that is not there.
                Some(refusal) if refusal.error == "RepoNotFound" => Ok(true),
                _ => unconfirmed("the account's server refuses the question"),
            },
            _ => unconfirmed("the account's server failed"),
        }
    }
}
