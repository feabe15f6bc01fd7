//! What both stores reckon alike about the directory.

use crate::{Listing, Millis, NewListing};

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
