//! The directory of those who want to be found, apart from mutual matching.

use super::{Generation, Millis, Pseudonym, TokenId};

bytes_newtype!(
    /// Which identifier a listing is for: HMAC of its SII under the account key, cut to 16 bytes. There is at most one
    /// listing for each.
    ListingId, 16
);

/// What a verification token is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum TokenUse {
    /// Importing contacts.
    Matching = 0,
    /// A listing in the directory.
    Directory = 1,
}

/// Which state of a listing: a [`ChangeId`] of the directory, so no two states have the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub i64);

/// A place in the order of the directory's changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChangeId(pub i64);

/// One index of the directory: which profile of lookups, and under which key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IndexId {
    /// The profile's lasting number.
    pub profile: u8,
    /// The epoch of its key.
    pub epoch: u32,
}

/// What makes a listing stand in an index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    /// In which index.
    pub index: IndexId,
    /// What stands there, sealed: where in the index, and what is found there.
    pub sealed: Vec<u8>,
}

/// A listing to put up.
#[derive(Debug, Clone)]
pub struct NewListing {
    /// Of which identifier.
    pub id: ListingId,
    /// Whose.
    pub account: Pseudonym,
    /// What allows it, consumed.
    pub token: TokenId,
    /// Identifier and names, sealed.
    pub sealed: Vec<u8>,
    /// When the account verified the identifier.
    pub verified_at: Millis,
    /// When the listing ends.
    pub expires_at: Millis,
    /// Where it stands, at most once in an index.
    pub placements: Vec<Placement>,
    /// How many listings the account may have.
    pub most: u32,
}

/// What became of a [`NewListing`]. Only `Listed` consumes the token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Enrolled {
    /// It stands. Another account's listing of the identifier is gone.
    Listed,
    /// The token is unknown, used, expired, another account's, or for another use.
    InvalidToken,
    /// Another account has verified the identifier since, and stands.
    NewerOwner,
    /// The account has as many listings as it may.
    TooMany,
}

/// A listing that the operator puts up, who knows whose identifiers are whose: without a token, and as many for an account
/// as there are.
#[derive(Debug, Clone)]
pub struct LoadedListing {
    /// Of which identifier; at most once in a call.
    pub id: ListingId,
    /// Whose.
    pub account: Pseudonym,
    /// As of when the operator says so: what was verified later stands.
    pub verified_at: Millis,
    /// When the listing ends.
    pub expires_at: Millis,
    /// What it says.
    pub load: Load,
}

/// What a [`LoadedListing`] says.
#[derive(Debug, Clone)]
pub enum Load {
    /// What the account's listing of this revision says, if that still stands: it lives longer, and that is all.
    Same(Revision),
    /// Something else.
    New(NewContent),
}

/// What a listing is to say, and what its account's row is made of where there is none.
#[derive(Debug, Clone)]
pub struct NewContent {
    /// Identifier and names, sealed.
    pub sealed: Vec<u8>,
    /// Where it stands, at most once in an index.
    pub placements: Vec<Placement>,
    /// The account's name, sealed.
    pub sealed_account: Vec<u8>,
    /// The generation of a new row.
    pub fresh_generation: Generation,
    /// Until when a row stays that nothing names: later than any verb that may be under way.
    pub forget_at: Millis,
}

/// What became of a [`LoadedListing`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loaded {
    /// It stands. Another listing of the identifier is gone.
    Listed,
    /// It stood already.
    Unchanged,
    /// What stands was verified later, and stays.
    Newer,
    /// The listing that it was to be the same as is not there any more, and nothing was done.
    Moved,
}

/// A listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// Of which identifier.
    pub id: ListingId,
    /// Whose.
    pub account: Pseudonym,
    /// Identifier and names, sealed.
    pub sealed: Vec<u8>,
    /// When the account verified the identifier.
    pub verified_at: Millis,
    /// When it ends.
    pub expires_at: Millis,
    /// Its state.
    pub revision: Revision,
}

/// Which listings are wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pick {
    /// Up to so many behind this one, in the order of their ids.
    After(Option<ListingId>, u32),
    /// These, as far as they stand.
    These(Vec<ListingId>),
}

/// Something of the directory's own that is not about a listing: a key or a layout, by name and version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectoryRecord {
    /// What it is, as `oprf/sealed-buckets`; at most 64 bytes.
    pub name: String,
    /// Which version, from 1.
    pub version: u32,
    /// What state it is in, by the meaning of its name.
    pub state: u8,
    /// Its content; what is secret is sealed.
    pub content: Vec<u8>,
    /// When it was made.
    pub made_at: Millis,
}
