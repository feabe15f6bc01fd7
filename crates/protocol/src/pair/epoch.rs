use std::fmt;

use super::Suite;

/// An epoch's number: later epochs have higher ones. A pair row's key is (epoch, pair hash).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EpochId(u32);

impl EpochId {
    /// The epoch of that number.
    #[must_use]
    pub const fn new(id: u32) -> Self {
        Self(id)
    }

    /// Its number.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl fmt::Display for EpochId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How a written identifier becomes canonical bytes, phone metadata included: the same number must give the same bytes
/// for as long as an epoch lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Canonicalisation(u32);

impl Canonicalisation {
    /// Version 1: canonical bytes, version 1, with libphonenumber's metadata as in rlibphonenumber 2.2.15. The crate is
    /// pinned to that version; another one is another canonicalisation, and so a new epoch.
    pub const CURRENT: Self = Self(1);

    /// The canonicalisation of that version, as stored.
    #[must_use]
    pub const fn new(version: u32) -> Self {
        Self(version)
    }

    /// Its version.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl fmt::Display for Canonicalisation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The public part of an epoch. Its HMAC key and its [`StretchPepper`](super::StretchPepper) are in custody; a change
/// of any part is a new epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Epoch {
    /// Which epoch.
    pub id: EpochId,
    /// What stretching costs.
    pub suite: Suite,
    /// What the stretched bytes are.
    pub canonicalisation: Canonicalisation,
}
