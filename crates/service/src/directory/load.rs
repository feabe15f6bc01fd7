//! Mappings that the operator loads, who knows whose identifiers are whose: the provider is the authority for its users' mappings
//! (seed 002, section 8.1).

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use acquaint_custody::KeyCustody;
use acquaint_protocol::identifier::{
    AccountFormat, AccountId, AccountIdError, Identifier, IdentifierError, Sii,
};
use acquaint_store::{
    EventKind, Generation, Listing, ListingId, Load, Loaded, LoadedListing, Millis, NewContent, Pick,
    Placement, Pseudonym,
};
use serde_json::json;

use super::keys::{Epoch, Keyring, Profile};
use super::listing::{Content, Username};
use super::people::{listing_input, place_in};
use super::{Directory, DirectoryError, DirectoryPolicy};
use crate::Discovery;
use crate::account::{self, PSEUDONYM_V1};
use crate::ambient::{Entropy, bytes};
use crate::audit::to_its_end;
use crate::caller::cut;
use crate::error::Internal;
use crate::policy::millis;

/// The most mappings of a call.
pub const MOST_MAPPINGS: u16 = 1_000;
/// Mappings that are worked on together on one thread: a lookup that comes meanwhile waits for no more than these.
const AT_A_TIME: usize = 32;
/// How long an account's row stays at the least: longer than a call takes.
const ROW_STAYS: Duration = Duration::from_secs(24 * 60 * 60);

/// A mapping to load, as it came.
#[derive(Clone, PartialEq, Eq)]
pub struct Mapping {
    /// A phone number in international form, or an e-mail address.
    pub identifier: String,
    /// Whose it is.
    pub account: String,
    /// Which of the identifier's mappings it is.
    pub index: u8,
    /// How the account is called, for lookups that tell a name.
    pub username: Option<String>,
}

impl std::fmt::Debug for Mapping {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Mapping(redacted)")
    }
}

/// What a mapping did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mapped {
    /// The directory has it, and had not before.
    Loaded,
    /// The directory had it.
    Unchanged,
}

/// Why a mapping is not in the directory. Repeats nothing of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The identifier is none.
    #[error("identifier: {0}")]
    Identifier(#[source] IdentifierError),
    /// The account is none.
    #[error("account: {0}")]
    Account(#[source] AccountIdError),
    /// The account's name does not fit into an entry.
    #[error("account: names of more than {0} bytes cannot be listed here")]
    AccountTooLong(u16),
    /// The username is none.
    #[error("username: must be 1 to 64 bytes without spaces")]
    Username,
    /// The identifier and the index stand earlier in the same call.
    #[error("an earlier mapping of the same request has this identifier and index")]
    Twice,
    /// An account has verified the identifier since the call began.
    #[error("another account has verified this identifier since")]
    Newer,
}

/// By their places in what was asked: a mapping, or why it is none.
type Read = Vec<(usize, Result<Parsed, Refusal>)>;

/// Mappings, and what is loaded of those that say what stands.
type Compared = Vec<(Option<(usize, LoadedListing)>, Parsed)>;

/// A mapping that can be loaded.
struct Parsed {
    /// Its place in the call.
    at: usize,
    id: ListingId,
    whose: Pseudonym,
    content: Content,
}

/// What threads work with that compute listings.
struct Tools {
    custody: Arc<dyn KeyCustody>,
    entropy: Arc<dyn Entropy>,
    policy: DirectoryPolicy,
    keyring: Arc<Keyring>,
    now: Millis,
}

impl Discovery {
    /// Puts mappings into the directory, at most [`MOST_MAPPINGS`], and says in their order what became of each: one that is
    /// refused stops no other. A mapping of the same identifier and index gives way, whoever's it is, unless it was verified
    /// after this call began. Nobody has to verify anything, and an account may have any number of them.
    ///
    /// # Errors
    /// [`DirectoryError`]. Where the service failed, some may be there: loading them again finds those unchanged.
    pub async fn load_mappings(
        &self,
        mappings: Vec<Mapping>,
        format: AccountFormat,
    ) -> Result<Vec<Result<Mapped, Refusal>>, DirectoryError> {
        let directory = self.directory()?;
        let count = mappings.len();
        if count == 0 || count > usize::from(MOST_MAPPINGS) {
            return Err(DirectoryError::Batch { field: "mappings", most: MOST_MAPPINGS });
        }
        let keyring = directory.keyring().ok_or(DirectoryError::Unavailable)?;
        let buckets = keyring.current(Profile::SealedBuckets).and_then(Epoch::layout);
        let most = buckets.ok_or(DirectoryError::Unavailable)?.account_bytes;
        let tools = Arc::new(Tools {
            custody: Arc::clone(&self.custody),
            entropy: Arc::clone(&self.entropy),
            policy: directory.policy.clone(),
            keyring: Arc::clone(&keyring),
            now: self.clock.now(),
        });
        let now = tools.now;

        let numbered: Vec<(usize, Mapping)> = mappings.into_iter().enumerate().collect();
        let parsed = each(directory, &tools, numbered, move |tools, some| tools.parse(some, format, most));
        let (mut outcomes, mut given, mut parsed_all) = (vec![None; count], HashSet::new(), Vec::new());
        for (at, parsed) in parsed.await? {
            let parsed = match parsed {
                Ok(parsed) if given.insert(parsed.id) => parsed,
                Ok(_) => {
                    tell(&mut outcomes, at, Err(Refusal::Twice));
                    continue;
                }
                Err(refusal) => {
                    tell(&mut outcomes, at, Err(refusal));
                    continue;
                }
            };
            parsed_all.push(parsed);
        }

        let ids: Vec<ListingId> = given.into_iter().collect();
        let standing = self.store.listings(Pick::These(ids.clone()), now).await.map_err(Internal::from)?;
        let standing: HashMap<ListingId, Listing> = standing.into_iter().map(|it| (it.id, it)).collect();
        let beside = parsed_all.into_iter().map(|it| (standing.get(&it.id).cloned(), it)).collect();
        let mut left: Vec<Parsed> = Vec::new();
        let mut listings: Vec<(usize, LoadedListing)> = Vec::new();
        let mut same: HashMap<usize, Parsed> = HashMap::new();
        for (listing, parsed) in each(directory, &tools, beside, Tools::compare).await? {
            match listing {
                Some(listing) => {
                    same.insert(parsed.at, parsed);
                    listings.push(listing);
                }
                None => left.push(parsed),
            }
        }
        // Twice at most: what is new has no former state that could be another by now.
        loop {
            listings.extend(each(directory, &tools, std::mem::take(&mut left), Tools::list).await?);
            let (places, load): (Vec<usize>, Vec<LoadedListing>) =
                std::mem::take(&mut listings).into_iter().unzip();
            let loaded = self.load_listings(load, now).await?;
            for (at, loaded) in places.into_iter().zip(loaded) {
                match loaded {
                    Loaded::Listed => tell(&mut outcomes, at, Ok(Mapped::Loaded)),
                    Loaded::Unchanged => tell(&mut outcomes, at, Ok(Mapped::Unchanged)),
                    Loaded::Newer => tell(&mut outcomes, at, Err(Refusal::Newer)),
                    Loaded::Moved => left.extend(same.remove(&at)),
                }
            }
            if left.is_empty() {
                break;
            }
        }
        self.follow_now(directory).await;
        self.complete_all(directory, &tools, ids).await?;
        let outcomes: Option<Vec<_>> = outcomes.into_iter().collect();
        let outcomes = outcomes.ok_or(Internal::Unreadable("the store has told of fewer mappings"))?;
        self.note_mappings(&outcomes).await?;
        Ok(outcomes)
    }

    async fn load_listings(
        &self,
        listings: Vec<LoadedListing>,
        now: Millis,
    ) -> Result<Vec<Loaded>, Internal> {
        let store = Arc::clone(&self.store);
        Ok(to_its_end(async move { store.load_listings(listings, now).await }).await?)
    }

    /// Counts and notes what was loaded: how many, and of whom nothing.
    async fn note_mappings(&self, outcomes: &[Result<Mapped, Refusal>]) -> Result<(), Internal> {
        let of = |wanted| outcomes.iter().filter(|outcome| **outcome == Ok(wanted)).count();
        let (loaded, unchanged) = (of(Mapped::Loaded), of(Mapped::Unchanged));
        let refused = outcomes.iter().filter(|outcome| outcome.is_err()).count();
        for (outcome, count) in [("loaded", loaded), ("unchanged", unchanged), ("refused", refused)] {
            metrics::counter!("acquaint_mappings_loaded_total", "outcome" => outcome)
                .increment(u64::try_from(count).unwrap_or(u64::MAX));
        }
        let details = json!({ "loaded": loaded, "unchanged": unchanged, "refused": refused });
        let noter = self.noter(None)?;
        to_its_end(async move { noter.note(EventKind::MappingsLoaded, details).await }).await;
        Ok(())
    }

    /// Places listings under keys that have come meanwhile. Who fills their indexes may have been done before they stood.
    async fn complete_all(
        &self,
        directory: &Directory,
        tools: &Tools,
        ids: Vec<ListingId>,
    ) -> Result<(), Internal> {
        let Some(keyring) = directory.keyring() else { return Ok(()) };
        let is_new = |(index, epoch): &(&_, &Epoch)| {
            epoch.is_cut() && !tools.keyring.epochs.get(*index).is_some_and(Epoch::is_cut)
        };
        if !keyring.epochs.iter().any(|epoch| is_new(&epoch)) {
            return Ok(());
        }
        let listings = self.store.listings(Pick::These(ids), self.clock.now()).await?;
        let newer = Arc::new(Tools {
            custody: Arc::clone(&tools.custody),
            entropy: Arc::clone(&tools.entropy),
            policy: tools.policy.clone(),
            keyring,
            now: tools.now,
        });
        let placed = each(directory, &newer, listings, |tools, some| {
            let mut placed = Vec::new();
            for listing in some {
                let content = tools.keyring.data.open(listing.id, &listing.sealed)?;
                for placement in tools.places(listing.id, &content)? {
                    placed.push((listing.id, listing.revision, placement));
                }
            }
            Ok(placed)
        });
        // Those that stand in an index already are passed over.
        if self.store.place(placed.await?, self.clock.now()).await? > 0 {
            self.follow_now(directory).await;
        }
        Ok(())
    }
}

fn tell(outcomes: &mut [Option<Result<Mapped, Refusal>>], at: usize, outcome: Result<Mapped, Refusal>) {
    if let Some(told) = outcomes.get_mut(at) {
        *told = Some(outcome);
    }
}

/// Does something to all, a few at a time, on as many threads as there are cores. In their order.
async fn each<T: Send + 'static, R: Send + 'static>(
    directory: &Directory,
    tools: &Arc<Tools>,
    all: Vec<T>,
    work: impl Fn(&Tools, Vec<T>) -> Result<Vec<R>, Internal> + Copy + Send + 'static,
) -> Result<Vec<R>, Internal> {
    let mut all = all.into_iter();
    let mut works = Vec::new();
    loop {
        let some: Vec<T> = all.by_ref().take(AT_A_TIME).collect();
        if some.is_empty() {
            break;
        }
        let tools = Arc::clone(tools);
        works.push(directory.compute(move || work(&tools, some)));
    }
    let mut done = Vec::new();
    for some in futures::future::try_join_all(works).await? {
        done.extend(some?);
    }
    Ok(done)
}

impl Tools {
    /// Reads mappings, and computes whose they are. One batch for the key holder.
    fn parse(
        &self,
        mappings: Vec<(usize, Mapping)>,
        format: AccountFormat,
        most: u16,
    ) -> Result<Read, Internal> {
        let read: Vec<(usize, Result<Content, Refusal>)> =
            mappings.into_iter().map(|(at, mapping)| (at, read(&mapping, format, most))).collect();
        let good = || read.iter().filter_map(|(_, content)| content.as_ref().ok());
        let inputs: Vec<Vec<u8>> = good()
            .flat_map(|content| {
                let account = [&[PSEUDONYM_V1], content.account.as_str().as_bytes()].concat();
                [listing_input(&content.sii, content.index), account]
            })
            .collect();
        let inputs: Vec<&[u8]> = inputs.iter().map(Vec::as_slice).collect();
        let made = if inputs.is_empty() { Vec::new() } else { cut(&*self.custody, &inputs)? };
        let mut made = made.into_iter();
        let parsed = read.into_iter().map(|(at, content)| {
            let parsed = match content {
                Err(refusal) => Err(refusal),
                Ok(content) => {
                    let missing = Internal::Unreadable("custody gave no hash");
                    let (Some(id), Some(whose)) = (made.next(), made.next()) else { return Err(missing) };
                    let (id, whose) = (ListingId::from_bytes(id), Pseudonym::from_bytes(whose));
                    Ok(Parsed { at, id, whose, content })
                }
            };
            Ok((at, parsed))
        });
        parsed.collect()
    }

    /// Makes listings of those mappings that say what stands; they only live longer, and need no place.
    fn compare(&self, all: Vec<(Option<Listing>, Parsed)>) -> Result<Compared, Internal> {
        let compare = |(standing, parsed): (Option<Listing>, Parsed)| {
            let standing = standing.filter(|standing| standing.account == parsed.whose);
            let Some(standing) = standing else { return Ok((None, parsed)) };
            let is_same = self.keyring.data.open(standing.id, &standing.sealed)? == parsed.content;
            let same = is_same.then(|| (parsed.at, self.listing(&parsed, Load::Same(standing.revision))));
            Ok((same, parsed))
        };
        all.into_iter().map(compare).collect()
    }

    /// Makes listings: where they stand in each index, and all of it sealed.
    fn list(&self, all: Vec<Parsed>) -> Result<Vec<(usize, LoadedListing)>, Internal> {
        let list = |parsed: Parsed| {
            let content = NewContent {
                sealed: self.keyring.data.seal(&*self.entropy, parsed.id, &parsed.content)?,
                placements: self.places(parsed.id, &parsed.content)?,
                sealed_account: account::seal(&*self.custody, parsed.whose, &parsed.content.account)?,
                fresh_generation: Generation(i64::from_be_bytes(bytes(&*self.entropy)?)),
                forget_at: self.now.saturating_add(millis(ROW_STAYS)),
            };
            Ok((parsed.at, self.listing(&parsed, Load::New(content))))
        };
        all.into_iter().map(list).collect()
    }

    fn listing(&self, parsed: &Parsed, load: Load) -> LoadedListing {
        LoadedListing {
            id: parsed.id,
            account: parsed.whose,
            verified_at: self.now,
            expires_at: self.now.saturating_add(millis(self.policy.listing_ttl)),
            load,
        }
    }

    /// Where a listing stands in the indexes.
    fn places(&self, id: ListingId, content: &Content) -> Result<Vec<Placement>, Internal> {
        let mut places = Vec::new();
        for (index, epoch) in &self.keyring.epochs {
            if let Some((location, slot)) = place_in(&self.policy, epoch, content)? {
                let sealed = self.keyring.data.seal_place(&*self.entropy, *index, id, (location, &slot))?;
                places.push(Placement { index: *index, sealed });
            }
        }
        Ok(places)
    }
}

fn read(mapping: &Mapping, format: AccountFormat, most: u16) -> Result<Content, Refusal> {
    let Mapping { identifier, account, index, username } = mapping;
    let identifier = Identifier::parse(identifier, None).map_err(Refusal::Identifier)?;
    let account = AccountId::parse(account, format).map_err(Refusal::Account)?;
    if account.as_str().len() > usize::from(most) {
        return Err(Refusal::AccountTooLong(most));
    }
    let username = match username {
        Some(name) => Some(Username::parse(name).ok_or(Refusal::Username)?),
        None => None,
    };
    Ok(Content { sii: Sii::from(&identifier), account, username, index: *index })
}
