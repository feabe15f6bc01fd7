//! Following the store: keys, layouts and listings, so that what this server answers is what the store has.

use std::collections::HashSet;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use acquaint_protocol::bucket::sealed::TAG_BYTES;
use acquaint_store::{ChangeId, IndexId, Listing, ListingId, Millis, Pick, Placement};
use tokio::sync::{MutexGuard, watch};

use super::keys::{Keyring, Layout, Profile, make_first};
use super::listing::DataKey;
use super::named::NamedIndex;
use super::{BucketIndex, Directory, Followed, POLL};
use crate::Discovery;
use crate::error::Internal;

/// Rows that are read at once.
pub(super) const PAGE: u32 = 5_000;
/// Listings that are changed in an index while lookups wait.
const AT_A_TIME: usize = 200;
/// Listings that are read before a server answers.
const READ_AT_START: u64 = 100_000;
/// Steps that a new directory takes at most until it can be used.
const STEPS: u32 = 30;
/// A server that has not looked for this long begins anew: the store keeps changes for a day.
pub(super) const TOO_LONG_MS: Millis = 12 * 60 * 60 * 1000;

/// Keeps what this server knows of the directory up to date until `stop`.
pub(crate) async fn follow(discovery: Arc<Discovery>, mut stop: watch::Receiver<bool>) {
    let Some(directory) = &discovery.directory else { return };
    while !*stop.borrow() {
        let looked = async {
            if directory.keyring().is_none() {
                let now = discovery.clock.now();
                let profiles = directory.policy.profiles();
                let (store, custody) = (&*discovery.store, &*discovery.custody);
                make_first(store, custody, &*discovery.entropy, &profiles, now).await?;
            }
            discovery.look(directory).await
        };
        if let Err(error) = looked.await {
            tracing::error!(error = &error as &dyn std::error::Error, "the directory cannot be followed");
        }
        directory.session_keys.sweep(discovery.clock.now());
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
    ///
    /// # Errors
    /// When that fails; it is tried again in the background.
    pub(crate) async fn begin_directory(&self, stop: &watch::Receiver<bool>) -> Result<(), Internal> {
        let Ok(directory) = self.directory() else { return Ok(()) };
        let now = self.clock.now();
        let profiles = directory.policy.profiles();
        make_first(&*self.store, &*self.custody, &*self.entropy, &profiles, now).await?;
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
        if self.fresh(directory).is_ok() {
            return;
        }
        let followed = directory.followed.lock().await;
        // Somebody else may have looked meanwhile.
        if self.fresh(directory).is_err()
            && let Err(error) = self.look_on(directory, followed).await
        {
            tracing::warn!(error = &error as &dyn std::error::Error, "the directory cannot be followed");
        }
    }

    /// Follows what this server has just changed. If that fails, the next look does it, and until then the answers grow
    /// stale.
    pub(crate) async fn follow_now(&self, directory: &Directory) {
        if let Err(error) = self.look(directory).await {
            tracing::warn!(error = &error as &dyn std::error::Error, "the directory cannot be followed");
            // What this server itself has changed it must not answer otherwise.
            directory.live_mut().fresh_at = None;
        }
        directory.changed.notify_one();
    }

    /// Brings keys and indexes to what the store has.
    pub(super) async fn look(&self, directory: &Directory) -> Result<(), Internal> {
        let followed = directory.followed.lock().await;
        self.look_on(directory, followed).await
    }

    async fn look_on(
        &self,
        directory: &Directory,
        mut followed: MutexGuard<'_, Followed>,
    ) -> Result<(), Internal> {
        let now = self.clock.now();
        if followed.at.is_some_and(|at| now.saturating_sub(at) > TOO_LONG_MS) {
            *followed = Followed::default();
            let mut live = directory.live_mut();
            live.sealed.clear();
            live.private.clear();
            live.named = None;
            directory.changed.notify_one();
        }
        let keyring = self.keyring(directory).await?;
        // Others may be faster than this server follows: what comes later is for the next look.
        let until = self.last_change().await?;
        let mut after = match followed.after {
            Some(after) => after,
            None => until,
        };
        // From here on nothing is missed, also if what follows fails half-way: then all of it is looked at again.
        followed.after = Some(after);
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
            followed.after = Some(after);
            if !more || after >= until {
                break;
            }
        }
        self.tidy(directory, &keyring).await?;
        directory.live_mut().fresh_at = Some(now);
        *followed = Followed { after: Some(after), at: Some(now) };
        Ok(())
    }

    pub(super) async fn last_change(&self) -> Result<ChangeId, Internal> {
        let last = self.store.listing_changes(None, 1).await?.pop();
        Ok(last.map_or(ChangeId(0), |(id, _)| id))
    }

    /// Arranges indexes by the prefixes that are asked for. Lookups go on meanwhile; nobody else changes an index.
    async fn tidy(&self, directory: &Directory, keyring: &Keyring) -> Result<(), Internal> {
        for epoch in keyring.of(Profile::SealedBuckets) {
            let number = epoch.key.epoch;
            let Some(Layout { bits, .. }) = epoch.layout() else { continue };
            if !directory.live().sealed.get(&number).is_some_and(|index| index.is_untidy(bits)) {
                continue;
            }
            let live = Arc::clone(&directory.live);
            let arranged = tokio::task::spawn_blocking(move || {
                let live = live.read().unwrap_or_else(PoisonError::into_inner);
                live.sealed.get(&number).map(|index| index.arranged(bits))
            });
            if let Some(index) = arranged.await.map_err(|_| Internal::Interrupted)? {
                directory.live_mut().sealed.insert(number, index);
            }
        }
        Ok(())
    }

    async fn keyring(&self, directory: &Directory) -> Result<Arc<Keyring>, Internal> {
        let records = self.store.directory_records().await?;
        let before = directory.keyring();
        if let Some(before) = before.as_ref().filter(|before| before.is_of(&records)) {
            return Ok(Arc::clone(before));
        }
        let profiles = directory.policy.profiles();
        let keyring = Arc::new(Keyring::open(&*self.custody, &profiles, records, before.as_deref())?);
        let mut live = directory.live_mut();
        live.sealed.retain(|epoch, _| keyring.epochs.contains_key(&Profile::SealedBuckets.index(*epoch)));
        live.private.retain(|index, _| keyring.epochs.contains_key(index));
        live.keyring = Some(Arc::clone(&keyring));
        Ok(keyring)
    }

    /// Reads whole what is not there yet.
    async fn load(&self, directory: &Directory, keyring: &Keyring, now: Millis) -> Result<(), Internal> {
        for epoch in keyring.of(Profile::SealedBuckets) {
            let number = epoch.key.epoch;
            if directory.live().sealed.contains_key(&number) {
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
                for (id, (location, slot)) in unsealed(keyring, epoch.key.index(), page)? {
                    put(&mut index, id, location, &slot);
                }
            }
            let index = tokio::task::spawn_blocking(move || index.arranged(bits)).await;
            let index = index.map_err(|_| Internal::Interrupted)?;
            directory.live_mut().sealed.insert(number, index);
        }
        Ok(())
    }

    /// Makes the index that knows who is who, where a profile that needs it is switched on and it is not there or was made
    /// with another pepper. Lookups by other profiles go on meanwhile.
    pub(super) async fn load_named(&self, directory: &Directory, keyring: &Keyring) -> Result<(), Internal> {
        let policy = &directory.policy;
        let pepper = keyring.pepper.as_ref().filter(|_| policy.matrix.is_some());
        let pepper = pepper.map(|pepper| pepper.text.clone());
        if policy.weak.is_none() && pepper.is_none() {
            return Ok(());
        }
        if directory.live().named.as_ref().is_some_and(|named| named.pepper() == pepper.as_deref()) {
            return Ok(());
        }
        let now = self.clock.now();
        let (mut begun, mut after) = (self.last_change().await?, None);
        let mut named = NamedIndex::new(policy.weak.map(|weak| weak.digits), pepper);
        // Told before the first is opened: a directory that is larger than its budget would be begun again and again.
        let all = u32::try_from(self.store.count_listings(None, now).await?).unwrap_or(u32::MAX);
        if all > 0 && !self.may_unseal(directory, all, "an index of hashes", now).await? {
            // The rest of the directory is none the worse for it.
            return Ok(());
        }
        loop {
            let page = self.store.listings(Pick::After(after, PAGE), now).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.id);
            named = opened(keyring, named, page).await?;
        }
        // What has changed meanwhile; while this is held, nothing else is applied.
        let followed = directory.followed.lock().await;
        loop {
            let changes = self.store.listing_changes(Some(begun), PAGE).await?;
            let Some((last, _)) = changes.last() else { break };
            begun = *last;
            let ids: Vec<ListingId> = changes.into_iter().map(|(_, id)| id).collect();
            for id in &ids {
                named.remove(*id);
            }
            named = opened(keyring, named, self.store.listings(Pick::These(ids), now).await?).await?;
        }
        directory.live_mut().named = Some(named);
        drop(followed);
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
        for (index, epoch) in &keyring.epochs {
            let (index, number) = (*index, &epoch.key.epoch);
            let shards = directory.live().private.get(&index).cloned();
            if shards.is_none() && epoch.layout().is_none() {
                continue;
            }
            let placed = self.store.placements(index, Pick::These(ids.clone()), now).await?;
            let placed = unsealed(keyring, index, placed)?;
            if let Some(shards) = shards {
                self.apply_to_shards(shards, ids.clone(), placed).await?;
                continue;
            }
            // A few at a time: lookups wait for whoever changes an index.
            for some in ids.chunks(AT_A_TIME) {
                let mut live = directory.live_mut();
                let Some(index) = live.sealed.get_mut(number) else { break };
                for id in some {
                    index.remove(*id);
                    if let Some((location, slot)) = found(&placed, *id) {
                        put(index, *id, *location, slot);
                    }
                }
            }
        }
        if directory.live().named.is_none() {
            return Ok(());
        }
        let mut listings = self.store.listings(Pick::These(ids.clone()), now).await?;
        let standing: HashSet<ListingId> = listings.iter().map(|listing| listing.id).collect();
        if let Some(named) = &mut directory.live_mut().named {
            for id in ids.into_iter().filter(|id| !standing.contains(id)) {
                named.remove(id);
            }
            // One that was only placed under a new key is as it was: it is not opened again.
            listings.retain(|listing| !named.has(listing.id, listing.revision));
        }
        let mut contents = Vec::with_capacity(listings.len());
        for listing in listings {
            let content = keyring.data.open(listing.id, &listing.sealed)?;
            contents.push((listing, content));
        }
        if let Some(named) = &mut directory.live_mut().named {
            for (listing, content) in contents {
                named.put(&listing, &content);
            }
        }
        Ok(())
    }
}

/// The index with a page of listings more, opened where nobody waits for the thread.
async fn opened(
    keyring: &Keyring,
    mut named: NamedIndex,
    page: Vec<Listing>,
) -> Result<NamedIndex, Internal> {
    let data = Arc::clone(&keyring.data);
    let opened = tokio::task::spawn_blocking(move || {
        for listing in page {
            named.put(&listing, &data.open(listing.id, &listing.sealed)?);
        }
        Ok(named)
    });
    opened.await.map_err(|_| Internal::Interrupted)?
}

/// Listings with where they stand in an index, and what is found there; in the order of their ids.
pub(super) type Places = Vec<(ListingId, (u64, Vec<u8>))>;

pub(super) fn found(places: &Places, id: ListingId) -> Option<&(u64, Vec<u8>)> {
    let at = places.binary_search_by_key(&id, |(id, _)| *id).ok()?;
    places.get(at).map(|(_, place)| place)
}

pub(super) fn unsealed(
    keyring: &Keyring,
    index: IndexId,
    placed: Vec<(ListingId, Placement)>,
) -> Result<Places, Internal> {
    opened_places(&keyring.data, index, placed)
}

/// As [`unsealed`], with the key alone.
pub(super) fn opened_places(
    data: &DataKey,
    index: IndexId,
    placed: Vec<(ListingId, Placement)>,
) -> Result<Places, Internal> {
    let open =
        |(id, placement): (ListingId, Placement)| Ok((id, data.open_place(index, id, &placement.sealed)?));
    placed.into_iter().map(open).collect()
}

fn put(index: &mut BucketIndex, id: ListingId, location: u64, slot: &[u8]) {
    if !index.put(id, location, slot) {
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
        let records: usize = live.private.values().map(|shards| shards.len()).sum();
        metrics::gauge!("acquaint_private_records").set(count(records));
        let bytes: u64 = live.private.values().map(|shards| shards.memory_bytes()).sum();
        metrics::gauge!("acquaint_private_shard_bytes").set(bytes as f64);
        let bytes = live.sealed.values().map(BucketIndex::memory).sum::<usize>();
        metrics::gauge!("acquaint_directory_index_bytes").set(bytes as f64);
    }
}
