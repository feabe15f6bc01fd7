//! The worker that tells accounts of their matches, from the store's outbox.

use std::sync::Arc;
use std::time::Duration;

use acquaint_custody::{Purpose, newest};
use acquaint_store::{
    DeadNotice, LeasedNotice, Millis, NoticeCounts, NoticeId, NoticeOutcome, Pseudonym, Store,
};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::error::Internal;
use crate::notify::{Notice, Notifier, NotifyError};
use crate::policy::{doubled, millis};
use crate::{Discovery, account};

/// First byte of what the account key hashes into an idempotency key (1 is a pseudonym's).
const NOTICE_V1: u8 = 2;
/// Notices under way at once.
const AT_ONCE: u32 = 16;
/// How often the outbox is looked at without being told.
const POLL: Duration = Duration::from_secs(5);
/// The pause after the first failure; it doubles with each further one …
const FIRST_PAUSE: Duration = Duration::from_secs(5);
/// … up to this.
const LONGEST_PAUSE: Duration = Duration::from_secs(60 * 60);
/// A lease outlives the attempt by this, so that its outcome can be written.
const LEASE_MARGIN: Duration = Duration::from_secs(30);

/// A dead letter, as an operator sees it: whom it is about stays sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// The idempotency key that every attempt carried.
    pub id: String,
    /// When the match was found.
    pub found_at: Millis,
    /// How often it was tried.
    pub attempts: u32,
    /// Why the last attempt failed.
    pub reason: String,
}

impl Discovery {
    /// How many notices wait, and how many are dead letters.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn notice_counts(&self) -> Result<NoticeCounts, Internal> {
        Ok(self.store.notice_counts(self.clock.now()).await?)
    }

    /// Up to `limit` dead letters, the oldest match first.
    ///
    /// # Errors
    /// When the store or custody fails.
    pub async fn dead_letters(&self, limit: u32) -> Result<Vec<DeadLetter>, Internal> {
        let dead = self.store.dead_notices(limit, self.clock.now()).await?;
        let letter = |DeadNotice { id, attempts, reason }| {
            Ok(DeadLetter { id: self.idempotency_key(id)?, found_at: id.found_at, attempts, reason })
        };
        dead.into_iter().map(letter).collect()
    }

    /// Has every dead letter tried again from the start. Returns how many.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn retry_dead_letters(&self) -> Result<u64, Internal> {
        let revived = self.store.revive_notices(self.clock.now()).await?;
        self.new_notice.notify_one();
        Ok(revived)
    }

    /// HMAC under the account key of 0x02 ‖ who is told ‖ of whom ‖ found_at, the first 16 bytes in hexadecimal: the same
    /// for every attempt, and for no other notice.
    fn idempotency_key(&self, id: NoticeId) -> Result<String, Internal> {
        let NoticeId { account, other, found_at } = id;
        let message =
            [&[NOTICE_V1], account.as_bytes().as_slice(), other.as_bytes(), &found_at.to_be_bytes()].concat();
        let made = self.custody.hmac(newest(&*self.custody, Purpose::Account)?, &[&message])?;
        let hash = made.first().ok_or(Internal::Unreadable("custody gave no hash"))?;
        Ok(hash.iter().take(16).map(|byte| format!("{byte:02x}")).collect())
    }

    fn notice(&self, leased: &LeasedNotice) -> Result<Notice, Internal> {
        Ok(Notice {
            id: self.idempotency_key(leased.id)?,
            to: account::open(&*self.custody, leased.id.account, &leased.sealed_account)?,
            from: account::open(&*self.custody, leased.id.other, &leased.sealed_other)?,
        })
    }
}

/// Delivers notices until `stop`; those under way are finished first, which takes no longer than their time-out.
pub(crate) async fn tell(
    discovery: Arc<Discovery>,
    notifier: Arc<dyn Notifier>,
    mut stop: watch::Receiver<bool>,
) {
    let lease = millis(discovery.policy.notice_timeout.saturating_add(LEASE_MARGIN));
    while !*stop.borrow() {
        let now = discovery.clock.now();
        let leased = discovery.store.lease_notices(AT_ONCE, now, now.saturating_add(lease)).await;
        let leased = leased.unwrap_or_else(|error| {
            tracing::error!(error = &error as &dyn std::error::Error, "cannot look for notifications");
            Vec::new()
        });
        let found_some = !leased.is_empty();
        let attempts = leased.into_iter().map(|leased| attempt(&discovery, &*notifier, leased));
        futures::future::join_all(attempts).await;
        if !found_some {
            tokio::select! {
                () = discovery.new_notice.notified() => {}
                () = tokio::time::sleep(POLL) => {}
                _ = stop.changed() => {}
            }
        }
    }
}

async fn attempt(discovery: &Discovery, notifier: &dyn Notifier, leased: LeasedNotice) {
    let outcome = match discovery.notice(&leased) {
        Ok(notice) => {
            let told = timeout(discovery.policy.notice_timeout, notifier.notify(&notice)).await;
            told.unwrap_or(Err(NotifyError {
                reason: "no answer within `notifications.timeout_s`",
                permanent: false,
                source: None,
            }))
        }
        Err(error) => {
            tracing::error!(error = &error as &dyn std::error::Error, "a notification cannot be read");
            let reason = "a stored name cannot be read";
            Err(NotifyError { reason, permanent: true, source: None })
        }
    };
    let outcome = settled(discovery, &leased, outcome);
    if let Err(error) = discovery.store.settle_notice(leased.id, leased.attempt, outcome).await {
        // It stays leased, and is due again when that is over.
        tracing::error!(
            error = &error as &dyn std::error::Error,
            "a notification's outcome cannot be stored"
        );
    }
}

fn settled(discovery: &Discovery, leased: &LeasedNotice, told: Result<(), NotifyError>) -> NoticeOutcome {
    let count =
        |outcome| metrics::counter!("acquaint_notifications_total", "outcome" => outcome).increment(1);
    let Err(error) = told else {
        count("told");
        return NoticeOutcome::Told;
    };
    let attempt = leased.attempt;
    if error.permanent || attempt >= discovery.policy.notice_attempts {
        count("dead");
        tracing::error!(
            attempt,
            error = &error as &dyn std::error::Error,
            "a notification is a dead letter: `acquaint notifications` lists them"
        );
        return NoticeOutcome::Dead { reason: error.reason };
    }
    count("failed");
    tracing::warn!(attempt, error = &error as &dyn std::error::Error, "a notification is tried again later");
    let pause = pause(attempt, leased.id);
    NoticeOutcome::Again { due_at: discovery.clock.now().saturating_add(millis(pause)), reason: error.reason }
}

/// Doubles with each attempt; up to a quarter more, by the notice, so that those of one outage do not come back at once.
fn pause(attempt: u32, id: NoticeId) -> Duration {
    let pause = doubled(FIRST_PAUSE, attempt, LONGEST_PAUSE);
    let [spread, ..] = id.account.as_bytes();
    pause.saturating_add(pause / 1024 * u32::from(*spread))
}

/// The importer has learnt of these matches from its import's answer. A failure only means that it is told again.
pub(crate) async fn learnt(store: &dyn Store, importer: Pseudonym, others: Vec<Pseudonym>) {
    if let Err(error) = store.cancel_notices(importer, others).await {
        tracing::warn!(error = &error as &dyn std::error::Error, "a notification may be one too many");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_an_hour() {
        let id = |byte| NoticeId {
            account: Pseudonym::from_bytes([byte; 16]),
            other: Pseudonym::from_bytes([0; 16]),
            found_at: 0,
        };
        let pauses = [1, 2, 3, 10, 11, u32::MAX].map(|attempt| pause(attempt, id(0)).as_secs());
        assert_eq!(pauses, [5, 10, 20, 2560, 3600, 3600]);
        let spread = pause(11, id(255)).as_secs();
        assert!((4490..=4500).contains(&spread), "{spread}");
    }
}
