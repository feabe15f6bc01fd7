//! What the directory's keys and layouts need from time to time: a new epoch is filled and published, an old one ends, buckets
//! are cut anew when they have grown, and the Matrix face gets another pepper. Every server does this; those steps that only
//! one may do are won in the store.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use acquaint_protocol::bucket::layout::{self, Layout as Shape};
use acquaint_store::{
    Charge, Charged, DirectoryRecord, EventKind, Limit, Listing, ListingId, Millis, NewEvent, Placement,
    Revision, StoreError,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;
use tokio::sync::watch;

use super::keys::{Epoch, EpochStage, Keyring, Layout, Profile, add_layout, change_pepper, make_secret};
use super::listing::Content;
use super::people::place_in;
use super::{BucketIndex, Directory, DirectoryError, POLL};
use crate::Discovery;
use crate::error::Internal;
use crate::policy::millis;
use crate::start::wait;

/// Listings that are placed at once …
const PAGE: u32 = 500;
/// … by one server at a time, which says so for this long.
const LEASE: Duration = Duration::from_secs(60);
/// What the lease is on.
const FILLING: &str = "directory/filling";
/// How long to leave it alone when the day's budget for opening identifiers is spent.
const PAUSE: Duration = Duration::from_secs(10 * 60);

/// How often it is looked whether everybody has a place in private lookup.
const COMPLETE_MS: Millis = 60 * 60 * 1000;

/// Renews until `stop`.
pub(crate) async fn renew(discovery: Arc<Discovery>, mut stop: watch::Receiver<bool>) {
    let Some(directory) = &discovery.directory else { return };
    while !*stop.borrow() {
        let pause = match discovery.renew(directory, &stop).await {
            Ok(pause) => pause,
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "the directory cannot be renewed");
                POLL
            }
        };
        tokio::select! {
            () = wait(pause, &mut stop) => {}
            () = directory.changed.notified() => {}
        }
    }
}

/// An epoch of a profile, for the operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectoryEpoch {
    /// `sealed-buckets`, `psm` or `pir`.
    pub profile: &'static str,
    /// Its number.
    pub epoch: u32,
    /// `filling`, `current` or `former`.
    pub stage: &'static str,
    /// Listings in its index at this server.
    pub listings: u64,
    /// When its key was made.
    pub made_at: Millis,
}

impl Discovery {
    /// Makes a new key for a profile: listings are placed under it in the background, then it is published, and the one
    /// before is answered for a while. Returns the new epoch.
    ///
    /// # Errors
    /// [`DirectoryError`]; `NotConfigured` for a profile that is not switched on, `Unavailable` while an epoch is being
    /// filled.
    pub async fn rotate_directory(&self, profile: &str) -> Result<u32, DirectoryError> {
        let directory = self.directory()?;
        let profiles = directory.policy.profiles();
        let profile = profiles.into_iter().find(|known| known.name() == profile);
        let profile = profile.ok_or(DirectoryError::NotConfigured)?;
        let keyring = directory.keyring().ok_or(DirectoryError::Unavailable)?;
        if keyring.epochs.values().any(|epoch| epoch.stage == EpochStage::Filling) {
            return Err(DirectoryError::Unavailable);
        }
        // Retired ones keep their numbers.
        let records = self.store.directory_records().await.map_err(Internal::from)?;
        let name = profile.oprf();
        let newest = records.iter().filter(|record| record.name == name).map(|record| record.version).max();
        let epoch = newest.unwrap_or(0).saturating_add(1);
        let now = self.clock.now();
        let made = make_secret(&*self.store, &*self.custody, &*self.entropy, (&name, epoch), now).await?;
        if !made {
            return Err(DirectoryError::Unavailable);
        }
        let details = json!({ "profile": profile.name(), "epoch": epoch });
        self.noter(None)?.note(EventKind::DirectoryKeyMade, details).await;
        self.follow_now(directory).await;
        Ok(epoch)
    }

    /// The key that clients pin, in base64url.
    ///
    /// # Errors
    /// [`DirectoryError`].
    pub fn directory_signing_key(&self) -> Result<String, DirectoryError> {
        let keyring = self.directory()?.keyring().ok_or(DirectoryError::Unavailable)?;
        Ok(URL_SAFE_NO_PAD.encode(keyring.signing.public()))
    }

    /// The epochs of sealed buckets that are answered, or will be.
    ///
    /// # Errors
    /// [`DirectoryError`].
    pub fn directory_epochs(&self) -> Result<Vec<DirectoryEpoch>, DirectoryError> {
        let directory = self.directory()?;
        let live = directory.live();
        let keyring = live.keyring.as_deref().ok_or(DirectoryError::Unavailable)?;
        let epochs = keyring.epochs.iter().map(|(index, epoch)| {
            let (profile, number) = (epoch.key.profile, epoch.key.epoch);
            let current = keyring.current(profile).map(|epoch| epoch.key.epoch);
            let listings = match profile {
                Profile::SealedBuckets => live.sealed.get(&number).map(BucketIndex::len),
                Profile::Psm | Profile::Pir => live.private.get(index).map(|shards| shards.len()),
            };
            DirectoryEpoch {
                profile: profile.name(),
                epoch: number,
                stage: match epoch.stage {
                    EpochStage::Filling => "filling",
                    EpochStage::Current if Some(number) == current => "current",
                    EpochStage::Current | EpochStage::Former | EpochStage::Retired => "former",
                },
                listings: listings.map_or(0, |listings| u64::try_from(listings).unwrap_or(u64::MAX)),
                made_at: epoch.made_at,
            }
        });
        Ok(epochs.collect())
    }

    /// Does what is to be done now; returns when to look again.
    pub(super) async fn renew(
        &self,
        directory: &Directory,
        stop: &watch::Receiver<bool>,
    ) -> Result<Duration, Internal> {
        let Some(keyring) = directory.keyring() else { return Ok(POLL) };
        let now = self.clock.now();
        let mut changed = self.lay_out(directory, &keyring, now).await?;
        self.load_named(directory, &keyring).await?;
        let mut pause = POLL;
        // The rest of the directory is none the worse for what private lookup lacks.
        match self.load_private(directory, &keyring).await {
            Ok(true) => {}
            Ok(false) => pause = PAUSE,
            Err(error) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "the shards of private lookup cannot be made"
                );
                pause = PAUSE;
            }
        }
        self.save_shards(directory, &keyring).await?;
        self.complete_private(directory, &keyring, stop).await?;
        for epoch in keyring.epochs.values() {
            if epoch.stage == EpochStage::Filling && epoch.is_cut() {
                match self.fill(directory, &keyring, epoch, stop).await? {
                    // Who cannot be asked for it is not told of it.
                    Filled::Whole if !directory.answers(epoch) => {}
                    Filled::Whole => changed |= self.publish(&keyring, epoch).await?,
                    Filled::OverBudget => pause = PAUSE,
                    Filled::ByAnother => {}
                }
            }
        }
        if self.retire(directory, &keyring, now).await? {
            changed = true;
            self.tidy_files(directory, &keyring).await?;
        }
        if let Some(lifetime) = directory.policy.matrix {
            let old = now.saturating_sub(millis(lifetime));
            if keyring.pepper.as_ref().is_none_or(|pepper| pepper.made_at <= old) {
                let pepper = keyring.pepper.as_ref();
                changed |= change_pepper(&*self.store, &*self.entropy, pepper, now).await?;
            }
        }
        if changed {
            self.look(directory).await?;
            return Ok(Duration::ZERO);
        }
        Ok(pause)
    }

    /// Places what has no place in private lookup, now and then: a profile may have been switched off for a while, here or at
    /// another server, and who was listed then is nowhere.
    async fn complete_private(
        &self,
        directory: &Directory,
        keyring: &Keyring,
        stop: &watch::Receiver<bool>,
    ) -> Result<(), Internal> {
        let now = self.clock.now();
        if directory.completed_at.load(Ordering::Relaxed) > now.saturating_sub(COMPLETE_MS) {
            return Ok(());
        }
        for epoch in keyring.epochs.values() {
            let is_placed = epoch.is_answered() && epoch.is_cut();
            if is_placed && epoch.key.profile != Profile::SealedBuckets {
                self.fill(directory, keyring, epoch, stop).await?;
            }
        }
        self.tidy_files(directory, keyring).await?;
        directory.completed_at.store(now, Ordering::Relaxed);
        Ok(())
    }

    /// Cuts buckets for epochs that have none, and anew for those that have grown or shrunk.
    async fn lay_out(&self, directory: &Directory, keyring: &Keyring, now: Millis) -> Result<bool, Internal> {
        let mut changed = false;
        let k = directory.policy.candidates;
        for epoch in keyring.epochs.values().filter(|epoch| epoch.key.profile != Profile::SealedBuckets) {
            changed |= self.cut_shards(directory, epoch, now).await?;
        }
        for epoch in keyring.of(Profile::SealedBuckets) {
            let number = epoch.key.epoch;
            let wanted = match epoch.layout() {
                None => {
                    let listings = self.store.count_listings(None, now).await?;
                    let Shape { prefix_bits, slots } = choose(listings, k)?;
                    let account_bytes = directory.policy.account_bytes;
                    Some(Layout { number: 1, bits: prefix_bits, slots, account_bytes })
                }
                Some(known) if epoch.stage != EpochStage::Filling => self.grown(directory, number, known)?,
                Some(_) => None,
            };
            if let Some(layout) = wanted {
                changed |= add_layout(&*self.store, number, layout, now).await?;
            }
        }
        Ok(changed)
    }

    /// A new layout for an epoch whose buckets are too full, or too many or too few.
    fn grown(&self, directory: &Directory, epoch: u32, known: Layout) -> Result<Option<Layout>, Internal> {
        let live = directory.live();
        let Some(index) = live.sealed.get(&epoch) else { return Ok(None) };
        let listings = u64::try_from(index.len()).unwrap_or(u64::MAX);
        let Shape { prefix_bits, slots } = choose(listings, directory.policy.candidates)?;
        let is_full = index.fullest(known.bits) > usize::from(known.slots);
        // Not at each listing that comes and goes about a boundary, and before there are much fewer candidates than wanted.
        let candidates = u64::from(directory.policy.candidates);
        let is_short = listings.saturating_mul(8) < (7 * candidates) << known.bits;
        let is_other = prefix_bits > known.bits || (prefix_bits < known.bits && is_short);
        if !is_full && !is_other {
            return Ok(None);
        }
        // Somebody may have been very unlucky.
        let fullest = u16::try_from(index.fullest(prefix_bits)).map_err(|_| TOO_FULL)?;
        let number = known.number.saturating_add(1);
        Ok(Some(Layout { number, bits: prefix_bits, slots: slots.max(fullest), ..known }))
    }

    /// Places every listing in the index of an epoch that is not there yet.
    async fn fill(
        &self,
        directory: &Directory,
        keyring: &Keyring,
        epoch: &Epoch,
        stop: &watch::Receiver<bool>,
    ) -> Result<Filled, Internal> {
        let server = self.epochs.server();
        let index = epoch.key.index();
        let (mut after, mut any) = (None, false);
        let outcome = loop {
            let now = self.clock.now();
            let until = now.saturating_add(millis(LEASE));
            if *stop.borrow()
                || self.store.lease_stream(FILLING.to_owned(), server, now, until).await?.is_none()
            {
                break Filled::ByAnother;
            }
            let page = self.store.unplaced(index, after, PAGE, now).await?;
            let Some(last) = page.last() else {
                // Until nothing is found from the beginning on: a server that does not know the epoch yet adds listings too.
                if !std::mem::take(&mut any) {
                    break Filled::Whole;
                }
                after = None;
                continue;
            };
            after = Some(last.id);
            let count = u32::try_from(page.len()).unwrap_or(u32::MAX);
            if !self.may_unseal(directory, count, "a new key", now).await? {
                break Filled::OverBudget;
            }
            any |= self.place(directory, keyring, epoch, page).await? > 0;
        };
        self.store.release_stream(FILLING.to_owned(), server).await?;
        Ok(outcome)
    }

    async fn place(
        &self,
        directory: &Directory,
        keyring: &Keyring,
        epoch: &Epoch,
        page: Vec<Listing>,
    ) -> Result<u32, Internal> {
        let epoch_index = epoch.key.index();
        let (policy, epoch, data) = (directory.policy.clone(), epoch.clone(), Arc::clone(&keyring.data));
        let placed = tokio::task::spawn_blocking(move || {
            let mut placed = Vec::with_capacity(page.len());
            for listing in page {
                let content: Content = data.open(listing.id, &listing.sealed)?;
                match place_in(&policy, &epoch, &content)? {
                    Some(place) => placed.push((listing.id, listing.revision, place)),
                    // Buckets have index 0 alone.
                    None if content.index != 0 => {}
                    None => tracing::warn!(
                        "a listing does not fit into the new epoch: its account's name is longer than \
                         `directory.account_bytes`"
                    ),
                }
            }
            Ok::<_, Internal>(placed)
        });
        let index = epoch_index;
        let seal = |(id, revision, (location, slot)): (ListingId, Revision, (u64, Vec<u8>))| {
            let sealed = keyring.data.seal_place(&*self.entropy, index, id, (location, &slot))?;
            Ok::<_, Internal>((id, revision, Placement { index, sealed }))
        };
        let placed = placed.await.map_err(|_| Internal::Interrupted)??;
        let placed = placed.into_iter().map(seal).collect::<Result<_, _>>()?;
        Ok(self.store.place(placed, self.clock.now()).await?)
    }

    /// Makes an epoch the one that is published, and those before it former ones.
    async fn publish(&self, keyring: &Keyring, epoch: &Epoch) -> Result<bool, Internal> {
        let (profile, number) = (epoch.key.profile, epoch.key.epoch);
        let states = |from: EpochStage, to: EpochStage| (from as u8, to as u8);
        let to_current = states(EpochStage::Filling, EpochStage::Current);
        // Before it is so, that it is never unknown since when.
        let since = DirectoryRecord {
            name: profile.published(),
            version: number,
            state: 0,
            content: Vec::new(),
            made_at: self.clock.now(),
        };
        self.store.add_directory_record(since).await?;
        let published = self.store.change_directory_record(profile.oprf(), number, to_current, None).await?;
        for former in keyring.of(profile).filter(|former| former.key.epoch < number) {
            if former.stage == EpochStage::Current {
                let to_former = states(EpochStage::Current, EpochStage::Former);
                let epoch = former.key.epoch;
                self.store.change_directory_record(profile.oprf(), epoch, to_former, None).await?;
            }
        }
        Ok(published)
    }

    /// Ends former epochs whose time is over: the key is destroyed, then the index.
    async fn retire(&self, directory: &Directory, keyring: &Keyring, now: Millis) -> Result<bool, Internal> {
        let mut changed = false;
        for epoch in keyring.epochs.values() {
            let (profile, number) = (epoch.key.profile, epoch.key.epoch);
            let Some(newest) = keyring.current(profile).filter(|newest| newest.key.epoch > number) else {
                continue;
            };
            if epoch.stage == EpochStage::Current {
                // A server was stopped between the two steps of publishing.
                changed |= self.publish(keyring, newest).await?;
            }
            let ends_at = newest.published_at.saturating_add(millis(directory.policy.former_epoch));
            if epoch.stage == EpochStage::Former && ends_at <= now {
                let states = (EpochStage::Former as u8, EpochStage::Retired as u8);
                let name = profile.oprf();
                changed |= self.store.change_directory_record(name, number, states, Some(Vec::new())).await?;
            }
        }
        let records = self.store.directory_records().await?;
        for profile in directory.policy.profiles() {
            let name = profile.oprf();
            for record in records.iter().filter(|record| record.name == name) {
                if record.state == EpochStage::Retired as u8 {
                    let index = profile.index(record.version);
                    while self.store.clear_index(index, PAGE).await? > 0 {}
                }
            }
        }
        Ok(changed)
    }

    /// Takes `count` identifiers from the budget of those that are opened in bulk, and notes it in the audit log. `false` if
    /// the budget is spent.
    pub(super) async fn may_unseal(
        &self,
        directory: &Directory,
        count: u32,
        what_for: &'static str,
        now: Millis,
    ) -> Result<bool, StoreError> {
        let event = NewEvent {
            kind: EventKind::IdentifiersUnsealed,
            account: None,
            details: json!({ "identifiers": count, "for": what_for }).to_string(),
            tell: self.tells,
        };
        let permit = directory.policy.unsealings.permit(Limit::Unsealings, &[], count);
        let charge = Charge { alternatives: vec![vec![permit]], granted: Some(event), ..Charge::default() };
        match self.store.charge(charge, now).await? {
            Charged::Taken(_) | Charged::Repeated | Charged::OtherRequest => {
                self.event_noted(EventKind::IdentifiersUnsealed);
                metrics::counter!("acquaint_identifiers_unsealed_total", "outcome" => "opened")
                    .increment(count.into());
                Ok(true)
            }
            Charged::Exhausted(_) => {
                metrics::counter!("acquaint_identifiers_unsealed_total", "outcome" => "over_budget")
                    .increment(count.into());
                tracing::error!(
                    "the day's budget for opening identifiers in bulk is spent: `directory.unsealings_per_day`"
                );
                Ok(false)
            }
        }
    }
}

const TOO_FULL: Internal =
    Internal::Unreadable("buckets would be too large: set `directory.candidates` lower");

fn choose(listings: u64, candidates: u16) -> Result<Shape, Internal> {
    layout::choose(listings, candidates).map_err(|_| TOO_FULL)
}

/// How far a filling came.
enum Filled {
    /// All listings are placed.
    Whole,
    /// Another server is at it, or this one stops.
    ByAnother,
    /// The budget is spent.
    OverBudget,
}
