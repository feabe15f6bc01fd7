//! What the network says of accounts: who follows whom, so that a match that was acted on is counted no more, and who is
//! gone, so that their data goes too. The stream itself is unsigned: it is believed about follows, which cost nobody
//! anything, and confirmed at the account's own server about departures.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use acquaint_protocol::identifier::AccountId;
use acquaint_store::{FollowChange, FollowRecord, LeasedDeparture, Millis, Pseudonym, StreamStep};
use async_trait::async_trait;
use tokio::sync::watch;

use crate::Discovery;
use crate::account::{self, PSEUDONYM_V1};
use crate::caller::cut;
use crate::error::Internal;
use crate::policy::{doubled, millis};
use crate::start::wait;

/// First byte of what the account key hashes into a follow's record.
const FOLLOW_V1: u8 = 6;
/// Departures that are looked into at once.
const AT_ONCE: u32 = 8;
/// How often it is looked whether there are any.
const POLL: Duration = Duration::from_secs(5);
/// A lease outlives all that one attempt asks for.
const LEASE: Duration = Duration::from_secs(120);
/// The pause after the first failure; it doubles with each further one …
const FIRST_PAUSE: Duration = Duration::from_secs(60);
/// … up to this …
const LONGEST_PAUSE: Duration = Duration::from_secs(6 * 60 * 60);
/// … and so often, which is a week.
const ATTEMPTS: u32 = 36;

/// What a stream says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NetworkEvent {
    /// An account follows another.
    Follow {
        /// Who.
        account: AccountId,
        /// The record's key.
        record: String,
        /// Whom.
        subject: AccountId,
    },
    /// A record that said so is gone.
    Unfollow {
        /// Who follows no more.
        account: AccountId,
        /// The record's key.
        record: String,
    },
    /// An account is deleted or deactivated.
    Gone {
        /// Which.
        account: AccountId,
    },
}

/// Asks an account's own server, or the directory of its identity, whether it is deleted or deactivated.
#[async_trait]
pub trait DepartureCheck: Send + Sync {
    /// # Errors
    /// [`Unconfirmed`] when nobody could be asked, or the answer says nothing.
    async fn is_gone(&self, account: &AccountId) -> Result<bool, Unconfirmed>;
}

/// It could not be found out whether an account is gone. Carries no account.
#[derive(Debug, thiserror::Error)]
#[error("it cannot be confirmed that an account is gone: {reason}")]
pub struct Unconfirmed {
    /// Why, in words for the operator.
    pub reason: &'static str,
}

impl Discovery {
    /// Takes a stream to read for `lease`, unless another server reads it: `None`. Returns where to go on, `Some(None)`
    /// for a stream that nobody has read.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn lease_stream(&self, name: &str, lease: Duration) -> Result<Option<Option<i64>>, Internal> {
        let now = self.clock.now();
        let until = now.saturating_add(millis(lease));
        Ok(self.store.lease_stream(name.to_owned(), self.epochs.server(), now, until).await?)
    }

    /// Commits what a stream said up to `cursor`, and prolongs the lease. `false` if another server has the stream now.
    ///
    /// # Errors
    /// When custody or the store fails; then nothing was committed.
    pub async fn stream_step(
        &self,
        name: &str,
        (cursor, lease): (i64, Duration),
        events: &[NetworkEvent],
    ) -> Result<bool, Internal> {
        let (follows, departures) = self.pseudonymised(events)?;
        let now = self.clock.now();
        let step = StreamStep {
            stream: name.to_owned(),
            server: self.epochs.server(),
            cursor,
            lease_until: now.saturating_add(millis(lease)),
            follows,
            departures,
        };
        Ok(self.store.stream_step(step, now).await?)
    }

    /// Lets another server have the stream.
    ///
    /// # Errors
    /// When the store fails; then the lease ends by itself.
    pub async fn release_stream(&self, name: &str) -> Result<(), Internal> {
        Ok(self.store.release_stream(name.to_owned(), self.epochs.server()).await?)
    }

    /// All names and records of a piece of the stream in one call of custody.
    fn pseudonymised(
        &self,
        events: &[NetworkEvent],
    ) -> Result<(Vec<FollowChange>, Vec<Pseudonym>), Internal> {
        let mut places: BTreeMap<Vec<u8>, usize> = BTreeMap::new();
        let mut inputs: Vec<Vec<u8>> = Vec::new();
        let mut place = |input: Vec<u8>| {
            *places.entry(input.clone()).or_insert_with(|| {
                inputs.push(input);
                inputs.len() - 1
            })
        };
        let name = |account: &AccountId| [&[PSEUDONYM_V1], account.as_str().as_bytes()].concat();
        let record_of = |account: &AccountId, record: &str| {
            [&[FOLLOW_V1], account.as_str().as_bytes(), &[0], record.as_bytes()].concat()
        };
        let mut said = Vec::new();
        for event in events {
            said.push(match event {
                NetworkEvent::Follow { account, record, subject } => (
                    place(name(account)),
                    Some(place(record_of(account, record))),
                    Some(place(name(subject))),
                ),
                NetworkEvent::Unfollow { account, record } => {
                    (place(name(account)), Some(place(record_of(account, record))), None)
                }
                NetworkEvent::Gone { account } => (place(name(account)), None, None),
            });
        }
        if said.is_empty() {
            return Ok((Vec::new(), Vec::new()));
        }
        let inputs: Vec<&[u8]> = inputs.iter().map(Vec::as_slice).collect();
        let made = cut(&*self.custody, &inputs)?;
        let at = |place: usize| made.get(place).copied().ok_or(Internal::Unreadable("custody gave no hash"));
        let (mut follows, mut departures) = (Vec::new(), Vec::new());
        for (account, record, other) in said {
            let account = Pseudonym::from_bytes(at(account)?);
            match record {
                Some(record) => follows.push(FollowChange {
                    account,
                    record: FollowRecord::from_bytes(at(record)?),
                    other: other.map(at).transpose()?.map(Pseudonym::from_bytes),
                }),
                None => departures.push(account),
            }
        }
        Ok((follows, departures))
    }
}

/// Confirms departures until `stop`, and removes the data of accounts that are gone.
pub(crate) async fn confirm_departures(
    discovery: Arc<Discovery>,
    check: Arc<dyn DepartureCheck>,
    mut stop: watch::Receiver<bool>,
) {
    while !*stop.borrow() {
        let now = discovery.clock.now();
        let leased = discovery.store.lease_departures(AT_ONCE, now, now.saturating_add(millis(LEASE))).await;
        let leased = leased.unwrap_or_else(|error| {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "cannot look for accounts that are gone"
            );
            Vec::new()
        });
        let found_some = !leased.is_empty();
        futures::future::join_all(leased.iter().map(|leased| confirm(&discovery, &*check, leased))).await;
        if !found_some {
            wait(POLL, &mut stop).await;
        }
    }
}

async fn confirm(discovery: &Discovery, check: &dyn DepartureCheck, leased: &LeasedDeparture) {
    let count = |outcome| metrics::counter!("acquaint_departures_total", "outcome" => outcome).increment(1);
    let outcome = async {
        let account = account::open(&*discovery.custody, leased.account, &leased.sealed_account)?;
        let again_at = match check.is_gone(&account).await {
            Ok(true) => {
                discovery.remove_data(&account).await?;
                count("removed");
                return Ok::<_, Internal>(());
            }
            Ok(false) => {
                count("not_so");
                None
            }
            Err(error) if leased.attempt >= ATTEMPTS => {
                count("given_up");
                tracing::error!(error = &error as &dyn std::error::Error, "an account's data is kept");
                None
            }
            Err(error) => {
                count("unconfirmed");
                tracing::info!(error = &error as &dyn std::error::Error, "it is asked again later");
                Some(again_at(discovery.clock.now(), leased.attempt))
            }
        };
        discovery.store.settle_departure(leased.account, leased.attempt, again_at).await?;
        Ok(())
    };
    if let Err(error) = outcome.await {
        // It stays leased, and is due again when that is over.
        tracing::error!(
            error = &error as &dyn std::error::Error,
            "an account that is gone is not removed yet"
        );
    }
}

fn again_at(now: Millis, attempt: u32) -> Millis {
    now.saturating_add(millis(doubled(FIRST_PAUSE, attempt, LONGEST_PAUSE)))
}
