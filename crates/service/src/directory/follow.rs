//! Following the store: keys, layouts and listings, so that what this server answers is what the store has.

use std::sync::Arc;
use std::time::Duration;

use acquaint_protocol::bucket::sealed::TAG_BYTES;
use acquaint_store::{ChangeId, IndexId, ListingId, Millis, Pick};
use tokio::sync::watch;

use super::keys::{Keyring, Layout, make_first};
use super::named::NamedIndex;
use super::{BucketIndex, Directory, Followed, POLL};
use crate::Discovery;
use crate::error::Internal;

/// Rows that are read at once.
const PAGE: u32 = 5_000;
/// Listings that are read before a server answers.
const READ_AT_START: u64 = 100_000;
/// Steps that a new directory takes at most until it can be used.
const STEPS: u32 = 10;
/// A server that has not looked for this long begins anew: the store keeps changes for a day.
const TOO_LONG_MS: Millis = 12 * 60 * 60 * 1000;

/// Keeps what this server knows of the directory up to date until `stop`.
pub(crate) async fn follow(discovery: Arc<Discovery>, mut stop: watch::Receiver<bool>) {
    let Some(directory) = &discovery.directory else { return };
    while !*stop.borrow() {
        if let Err(error) = discovery.look(directory).await {
            tracing::error!(error = &error as &dyn std::error::Error, "the directory cannot be followed");
        }
        directory.observe(discovery.clock.now());
        tokio::select! {
            () = tokio::time::sleep(POLL) => {}
            _ = stop.changed() => {}
        }
    }
}

impl Discovery {
    /// Makes the directory's first keys, and reads what there is, unless that takes long: then lookups are refused for as
    /// long as it takes in the background.
    pub(crate) async fn begin_directory(&self, stop: &watch::Receiver<bool>) -> Result<(), Internal> {
        let Ok(directory) = self.directory() else { return Ok(()) };
        let now = self.clock.now();
        make_first(&*self.store, &*self.custody, &*self.entropy, now).await?;
        if self.store.count_listings(None, now).await? > READ_AT_START {
            return Ok(());
        }
        self.look(directory).await?;
        // Keys, layout, publication, and what is told of them.
        for _ in 0..STEPS {
            if self.renew(directory, stop).await? > Duration::ZERO {
                break;
            }
        }
        Ok(())
    }

    /// Looks again if what is there has grown stale.
    pub(super) async fn freshen(&self, directory: &Directory) {
        if self.fresh(directory).is_err() {
            self.follow_now(directory).await;
        }
    }

    /// Follows what this server has just changed. If that fails, the next look does it, and until then the answers grow
    /// stale.
    pub(crate) async fn follow_now(&self, directory: &Directory) {
        if let Err(error) = self.look(directory).await {
            tracing::warn!(error = &error as &dyn std::error::Error, "the directory cannot be followed");
        }
        directory.changed.notify_one();
    }

    /// Brings keys and indexes to what the store has.
    pub(super) async fn look(&self, directory: &Directory) -> Result<(), Internal> {
        let mut followed = directory.followed.lock().await;
        let now = self.clock.now();
        if followed.at.is_some_and(|at| now.saturating_sub(at) > TOO_LONG_MS) {
            *followed = Followed::default();
            let mut live = directory.live_mut();
            live.sealed.clear();
            live.named = None;
        }
        let keyring = self.keyring(directory).await?;
        // From here on nothing is missed.
        let mut after = match followed.after {
            Some(after) => after,
            None => {
                let last = self.store.listing_changes(None, 1).await?.pop();
                last.map_or(ChangeId(i64::MIN), |(id, _)| id)
            }
        };
        self.load(directory, &keyring, now).await?;
        loop {
            let changes = self.store.listing_changes(Some(after), PAGE).await?;
            let Some((last, _)) = changes.last() else { break };
            after = *last;
            let more = changes.len() >= usize::try_from(PAGE).unwrap_or(usize::MAX);
            let mut ids: Vec<ListingId> = changes.into_iter().map(|(_, id)| id).collect();
            ids.sort_unstable();
            ids.dedup();
            self.apply(directory, &keyring, ids, now).await?;
            if !more {
                break;
            }
        }
        directory.live_mut().fresh_at = Some(now);
        *followed = Followed { after: Some(after), at: Some(now) };
        Ok(())
    }

    async fn keyring(&self, directory: &Directory) -> Result<Arc<Keyring>, Internal> {
        let records = self.store.directory_records().await?;
        let before = directory.keyring();
        if let Some(before) = before.as_ref().filter(|before| before.is_of(&records)) {
            return Ok(Arc::clone(before));
        }
        let keyring = Arc::new(Keyring::open(&*self.custody, records, before.as_deref())?);
        let mut live = directory.live_mut();
        live.sealed.retain(|epoch, _| keyring.epochs.contains_key(epoch));
        live.keyring = Some(Arc::clone(&keyring));
        Ok(keyring)
    }

    /// Reads whole what is not there yet.
    async fn load(&self, directory: &Directory, keyring: &Keyring, now: Millis) -> Result<(), Internal> {
        for (number, epoch) in &keyring.epochs {
            if directory.live().sealed.contains_key(number) {
                continue;
            }
            let Some(Layout { bits, account_bytes, .. }) = epoch.layout() else { continue };
            let slot = usize::from(account_bytes) + TAG_BYTES;
            let mut index = BucketIndex::new(bits, slot);
            let mut after = None;
            loop {
                let page = self.store.placements(epoch.key.index(), Pick::After(after, PAGE), now).await?;
                let Some((last, _)) = page.last() else { break };
                after = Some(*last);
                for (id, placement) in page {
                    put(&mut index, id, &placement);
                }
            }
            let index = tokio::task::spawn_blocking(move || index.arranged(bits)).await;
            let index = index.map_err(|_| Internal::Interrupted)?;
            directory.live_mut().sealed.insert(*number, index);
        }
        self.load_named(directory, keyring, now).await
    }

    async fn load_named(
        &self,
        directory: &Directory,
        keyring: &Keyring,
        now: Millis,
    ) -> Result<(), Internal> {
        let policy = &directory.policy;
        let pepper = keyring.pepper.as_ref().filter(|_| policy.matrix.is_some());
        let pepper = pepper.map(|pepper| pepper.text.clone());
        if policy.weak.is_none() && pepper.is_none() {
            return Ok(());
        }
        if directory.live().named.as_ref().is_some_and(|named| named.pepper() == pepper.as_deref()) {
            return Ok(());
        }
        let mut named = NamedIndex::new(policy.weak.map(|weak| weak.digits), pepper);
        // All or nothing: who takes what is there, page by page, and does not come to the end begins anew, and never ends.
        let count = self.store.count_listings(None, now).await?;
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        if count > 0 && !self.may_unseal(directory, count, "an index of hashes", now).await? {
            // The rest of the directory is none the worse for it.
            return Ok(());
        }
        let mut after = None;
        loop {
            let page = self.store.listings(Pick::After(after, PAGE), now).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.id);
            for listing in page {
                let content = keyring.data.open(listing.id, &listing.sealed)?;
                named.put(listing.id, &content, listing.expires_at);
            }
        }
        directory.live_mut().named = Some(named);
        Ok(())
    }

    /// Brings these listings to what the store has.
    async fn apply(
        &self,
        directory: &Directory,
        keyring: &Keyring,
        ids: Vec<ListingId>,
        now: Millis,
    ) -> Result<(), Internal> {
        for (number, epoch) in &keyring.epochs {
            let index: IndexId = epoch.key.index();
            let placed = self.store.placements(index, Pick::These(ids.clone()), now).await?;
            let mut live = directory.live_mut();
            let Some(index) = live.sealed.get_mut(number) else { continue };
            for id in &ids {
                index.remove(*id);
            }
            for (id, placement) in placed {
                put(index, id, &placement);
            }
        }
        if directory.live().named.is_none() {
            return Ok(());
        }
        let listings = self.store.listings(Pick::These(ids.clone()), now).await?;
        let mut contents = Vec::with_capacity(listings.len());
        for listing in listings {
            let content = keyring.data.open(listing.id, &listing.sealed)?;
            contents.push((listing.id, content, listing.expires_at));
        }
        let mut live = directory.live_mut();
        if let Some(named) = &mut live.named {
            for id in ids {
                named.remove(id);
            }
            for (id, content, expires_at) in contents {
                named.put(id, &content, expires_at);
            }
        }
        Ok(())
    }
}

fn put(index: &mut BucketIndex, id: ListingId, placement: &acquaint_store::Placement) {
    if !index.put(id, u64::from_be_bytes(placement.location), &placement.slot) {
        tracing::error!("a listing's entry has another size than the others of its epoch");
    }
}

impl Directory {
    /// Sets `acquaint_directory_listings`, `acquaint_directory_index_bytes` and `acquaint_directory_age_seconds`.
    fn observe(&self, now: Millis) {
        let live = self.live();
        if let Some(at) = live.fresh_at {
            metrics::gauge!("acquaint_directory_age_seconds").set(now.saturating_sub(at) as f64 / 1000.0);
        }
        let newest = live.sealed.last_key_value();
        let count = |count: usize| f64::from(u32::try_from(count).unwrap_or(u32::MAX));
        if let Some((_, index)) = newest {
            metrics::gauge!("acquaint_directory_listings").set(count(index.len()));
        }
        let bytes = live.sealed.values().map(BucketIndex::memory).sum::<usize>();
        metrics::gauge!("acquaint_directory_index_bytes").set(bytes as f64);
    }
}
