//! How long a follow is kept without a look at its match; the same for both stores.

use crate::Millis;

/// A day. A match ends in several ways; a follow whose match is gone is found by this at the latest.
pub(crate) const LOOK_AGAIN: Millis = 86_400_000;
