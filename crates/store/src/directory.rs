//! What both stores reckon alike about the directory.

use crate::{Listing, Load, Loaded, LoadedListing, Millis, NewListing};

/// How long changes are kept.
pub(crate) const CHANGES_KEPT: Millis = 24 * 60 * 60 * 1000;

/// When a new listing counts as verified, and when it ends: a token that was given earlier than the one that the account's
/// standing listing came from takes nothing back.
pub(crate) fn ends(new: &NewListing, standing: Option<&Listing>) -> (Millis, Millis) {
    match standing.filter(|there| there.account == new.account && there.verified_at > new.verified_at) {
        Some(there) => (there.verified_at, there.expires_at),
        None => (new.verified_at, new.expires_at),
    }
}

/// What is to become of a listing that the operator loads, where `standing` stands.
pub(crate) fn loaded(new: &LoadedListing, standing: Option<&Listing>) -> Loaded {
    match (&new.load, standing) {
        (Load::Same(revision), Some(there))
            if there.account == new.account && there.revision == *revision =>
        {
            Loaded::Unchanged
        }
        (Load::Same(_), _) => Loaded::Moved,
        (Load::New(_), Some(there)) if there.verified_at > new.verified_at => Loaded::Newer,
        (Load::New(_), _) => Loaded::Listed,
    }
}
