//! What a person does with the directory: verify an identifier for it, be listed, look, withdraw.

use std::sync::Arc;

use acquaint_protocol::bucket::SEALED;
use acquaint_protocol::bucket::sealed::{Keys, Scope, seal_entry};
use acquaint_protocol::identifier::{AccountId, Sii};
use acquaint_store::{
    Enrolled, EventKind, Listing, ListingId, Millis, NewListing, Placement, StoreError, TokenUse,
};
use serde_json::json;

use super::keys::{Epoch, Keyring, Profile};
use super::listing::{Content, Username};
use super::{Directory, DirectoryError, DirectoryPolicy, private};
use crate::audit::to_its_end;
use crate::caller::cut;
use crate::error::{Internal, StartVerificationError, VerifyError};
use crate::policy::millis;
use crate::token::Token;
use crate::verified::Verified;
use crate::{Discovery, account};

/// First byte of what the account key hashes into a listing's id (1 to 8 stand elsewhere, see `lookups.rs`).
const LISTING_V1: u8 = 9;

/// A listing, as its account sees it.
#[derive(Clone, PartialEq, Eq)]
pub struct ListingView {
    /// What to withdraw it by: 16 bytes.
    pub id: [u8; 16],
    /// The identifier in canonical form.
    pub identifier: Sii,
    /// The name that was given for the directory.
    pub username: Option<String>,
    /// Which of the identifier's mappings it is: 0 is the one that every way of looking up knows.
    pub index: u8,
    /// When it was verified.
    pub verified_at: Millis,
    /// When the listing ends.
    pub expires_at: Millis,
}

/// Why an account is not listed. The token stays valid, unless it is the token that is refused.
#[derive(Debug, thiserror::Error)]
pub enum EnrolError {
    /// There is no directory, or it cannot be used now.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// Not a token for the directory of this account.
    #[error(
        "token is not valid: it is used, expired, another account's or not for the directory; verify the identifier again"
    )]
    InvalidToken,
    /// The username is no name.
    #[error("username must be 1 to 64 bytes without spaces")]
    InvalidUsername,
    /// The account's name does not fit into an entry.
    #[error("accounts with names of more than {0} bytes cannot be listed here")]
    AccountTooLong(u16),
    /// Somebody else has verified the identifier since.
    #[error("another account has verified this identifier since: verify it again")]
    NewerOwner,
    /// There are as many as there may be.
    #[error("an account may have {0} listings here: withdraw one first")]
    TooMany(u32),
    /// The service failed.
    #[error("internal error")]
    Internal(#[source] Internal),
}

impl From<Internal> for EnrolError {
    fn from(error: Internal) -> Self {
        Self::Internal(error)
    }
}

impl From<StoreError> for EnrolError {
    fn from(error: StoreError) -> Self {
        Self::Internal(error.into())
    }
}

impl Discovery {
    /// Sends a code that is good for a listing and for nothing else.
    ///
    /// # Errors
    /// As [`start_verification`](Self::start_verification).
    pub async fn start_listing(
        &self,
        account: &AccountId,
        identifier: &str,
    ) -> Result<(), StartVerificationError> {
        self.send_code(account, identifier, TokenUse::Directory).await
    }

    /// Takes a code and gives a token for a listing, and when that ends.
    ///
    /// # Errors
    /// As [`verify`](Self::verify).
    pub async fn confirm_listing(
        &self,
        account: &AccountId,
        identifier: &str,
        code: &str,
    ) -> Result<(String, Millis), VerifyError> {
        self.take_code(account, identifier, TokenUse::Directory, code).await
    }

    /// Lists an account under the identifier that the token was given for, as the identifier's mapping `index`. Buckets and
    /// the faces of Rocket.Chat and Matrix know that of index 0 alone.
    ///
    /// # Errors
    /// [`EnrolError`].
    pub async fn enrol(
        &self,
        account: &AccountId,
        token: &str,
        username: Option<&str>,
        index: u8,
    ) -> Result<ListingView, EnrolError> {
        let directory = self.directory()?;
        let keyring = directory.keyring().ok_or(DirectoryError::Unavailable)?;
        let username = match username {
            None => None,
            Some(name) => Some(Username::parse(name).ok_or(EnrolError::InvalidUsername)?),
        };
        let policy = &directory.policy;
        let current = keyring
            .current(Profile::SealedBuckets)
            .and_then(Epoch::layout)
            .ok_or(DirectoryError::Unavailable)?;
        if account.as_str().len() > usize::from(current.account_bytes) {
            return Err(EnrolError::AccountTooLong(current.account_bytes));
        }
        let whose = account::pseudonym(&*self.custody, account)?;
        let token = Token::open(&*self.custody, TokenUse::Directory, token)?;
        let token = token.filter(|token| token.account == whose).ok_or(EnrolError::InvalidToken)?;
        let now = self.clock.now();
        let live = self.store.live_tokens(whose, TokenUse::Directory, now).await?;
        let live = live.into_iter().find(|live| live.token == token.id).ok_or(EnrolError::InvalidToken)?;
        let Verified { sii, number: _, verified_at } =
            Verified::open(&*self.custody, live.token, &live.sealed_identifier)?;
        let id = self.listing_id(&sii, index)?;
        let content = Content { sii, account: account.clone(), username, index };
        let expires_at = verified_at.saturating_add(millis(policy.listing_ttl));
        let listing = NewListing {
            id,
            account: whose,
            token: token.id,
            sealed: keyring.data.seal(&*self.entropy, id, &content)?,
            verified_at,
            expires_at,
            placements: self.places(directory, keyring.epochs.values(), (id, &content))?,
            most: policy.listings_of_account,
        };
        let (store, noter) = (Arc::clone(&self.store), self.noter(Some(account))?);
        let enrolled = to_its_end(async move {
            let enrolled = store.enrol(listing, now).await?;
            if enrolled == Enrolled::Listed {
                noter.note(EventKind::IdentifierListed, json!({})).await;
            }
            Ok::<_, StoreError>(enrolled)
        });
        match enrolled.await? {
            Enrolled::Listed => {
                self.follow_now(directory).await;
                // A later verification of the account's own stands.
                let stands =
                    self.store.listings_of(whose, now).await?.into_iter().find(|listing| listing.id == id);
                let Some(stands) = stands else { return Ok(view(id, content, verified_at, expires_at)) };
                self.complete(directory, &keyring, (&stands, &content)).await?;
                Ok(view(id, content, stands.verified_at, stands.expires_at))
            }
            Enrolled::InvalidToken => Err(EnrolError::InvalidToken),
            Enrolled::NewerOwner => Err(EnrolError::NewerOwner),
            Enrolled::TooMany => Err(EnrolError::TooMany(policy.listings_of_account)),
        }
    }

    /// The account's listings, the oldest verification first.
    ///
    /// # Errors
    /// [`DirectoryError`].
    pub async fn listings(&self, account: &AccountId) -> Result<Vec<ListingView>, DirectoryError> {
        let directory = self.directory()?;
        let keyring = directory.keyring().ok_or(DirectoryError::Unavailable)?;
        let whose = account::pseudonym(&*self.custody, account)?;
        let listings = self.store.listings_of(whose, self.clock.now()).await.map_err(Internal::from)?;
        let views = listings.into_iter().map(|listing| {
            let Listing { id, sealed, verified_at, expires_at, .. } = listing;
            Ok(view(id, keyring.data.open(id, &sealed)?, verified_at, expires_at))
        });
        Ok(views.collect::<Result<_, Internal>>()?)
    }

    /// Withdraws a listing of the account, or all. Returns how many there were. From then on no other account learns of it
    /// here; other servers follow within half a minute.
    ///
    /// # Errors
    /// [`DirectoryError`].
    pub async fn withdraw(&self, account: &AccountId, id: Option<[u8; 16]>) -> Result<u32, DirectoryError> {
        let directory = self.directory()?;
        let whose = account::pseudonym(&*self.custody, account)?;
        let (store, noter, now) = (Arc::clone(&self.store), self.noter(Some(account))?, self.clock.now());
        let withdrawn = to_its_end(async move {
            let withdrawn = store.withdraw(whose, id.map(ListingId::from_bytes), now).await?;
            if withdrawn > 0 {
                noter.note(EventKind::ListingsWithdrawn, json!({ "listings": withdrawn })).await;
            }
            Ok::<_, StoreError>(withdrawn)
        });
        let withdrawn = withdrawn.await.map_err(Internal::from)?;
        self.follow_now(directory).await;
        Ok(withdrawn)
    }

    /// Where a listing stands in each of these epochs' indexes.
    fn places<'a>(
        &self,
        directory: &Directory,
        epochs: impl Iterator<Item = &'a Epoch>,
        (id, content): (ListingId, &Content),
    ) -> Result<Vec<Placement>, Internal> {
        let keyring = directory.keyring().ok_or(Internal::Interrupted)?;
        let mut places = Vec::new();
        for epoch in epochs {
            if let Some((location, slot)) = place_in(&directory.policy, epoch, content)? {
                let index = epoch.key.index();
                let sealed = keyring.data.seal_place(&*self.entropy, index, id, (location, &slot))?;
                places.push(Placement { index, sealed });
            }
        }
        Ok(places)
    }

    /// Places a listing under keys that have come meanwhile. Who fills their indexes may have been done before it stood.
    async fn complete(
        &self,
        directory: &Directory,
        known: &Keyring,
        (listing, content): (&Listing, &Content),
    ) -> Result<(), Internal> {
        let Some(keyring) = directory.keyring() else { return Ok(()) };
        let new = keyring.epochs.iter().filter(|(number, epoch)| {
            let was_placed = known.epochs.get(number).is_some_and(|known| known.is_cut());
            !was_placed && epoch.is_cut()
        });
        let places = self.places(directory, new.map(|(_, epoch)| epoch), (listing.id, content))?;
        if !places.is_empty() {
            let places = places.into_iter().map(|place| (listing.id, listing.revision, place)).collect();
            self.store.place(places, self.clock.now()).await?;
            self.follow_now(directory).await;
        }
        Ok(())
    }

    pub(crate) fn directory(&self) -> Result<&Directory, DirectoryError> {
        self.directory.as_ref().ok_or(DirectoryError::NotConfigured)
    }

    fn listing_id(&self, sii: &Sii, index: u8) -> Result<ListingId, Internal> {
        let made = cut(&*self.custody, &[&listing_input(sii, index)])?;
        made.first().map(|id| ListingId::from_bytes(*id)).ok_or(Internal::Unreadable("custody gave no hash"))
    }
}

/// What the account key hashes into a listing's id: 0x09 ‖ SII, and behind that 0x00 ‖ index for any but index 0. No SII has
/// a byte below 0x21, so no two listings have the same.
pub(super) fn listing_input(sii: &Sii, index: u8) -> Vec<u8> {
    let behind: &[u8] = if index == 0 { &[] } else { &[0, index] };
    [&[LISTING_V1], sii.as_bytes(), behind].concat()
}

fn view(id: ListingId, content: Content, verified_at: Millis, expires_at: Millis) -> ListingView {
    let Content { sii, account: _, username, index } = content;
    let username = username.map(|name| name.as_str().to_owned());
    ListingView { id: *id.as_bytes(), identifier: sii, username, index, verified_at, expires_at }
}

/// Where a listing stands in an epoch's index, and what is found there. `None` if buckets do not have it: the
/// account's name does not fit into an entry, or it is at another index than 0; or the epoch is just being made: then the
/// listing is placed when it is filled.
pub(super) fn place_in(
    policy: &DirectoryPolicy,
    epoch: &Epoch,
    content: &Content,
) -> Result<Option<(u64, Vec<u8>)>, Internal> {
    if let Some(mode) = epoch.key.profile.mode() {
        return private::place(policy, (epoch, mode), content);
    }
    let (key, account) = (&epoch.key, content.account.as_str());
    let Some(layout) = epoch.layout() else { return Ok(None) };
    if content.index != 0 || account.len() > usize::from(layout.account_bytes) {
        return Ok(None);
    }
    let scope = Scope::new(&policy.provider, SEALED, key.epoch)
        .map_err(|_| Internal::Unreadable("the name of the provider"))?;
    let output = key
        .key
        .output(content.sii.as_bytes())
        .map_err(|_| Internal::Unreadable("an identifier has no place in the directory"))?;
    let keys = Keys::derive(&scope, &output);
    let slot = seal_entry(&keys, account, layout.account_bytes)
        .map_err(|_| Internal::Unreadable("an account's name is too long for the directory"))?;
    Ok(Some((keys.location(), slot)))
}
