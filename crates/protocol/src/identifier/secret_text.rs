use std::fmt;

use zeroize::{Zeroize, ZeroizeOnDrop};

/// Text that names a person: overwritten when dropped, and never printed.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Zeroize, ZeroizeOnDrop)]
pub(super) struct SecretText(String);

impl SecretText {
    /// Takes over `text`; its buffer is the one that will be overwritten.
    pub(super) fn new(text: String) -> Self {
        Self(text)
    }

    /// Joins `parts` in one allocation, so that growing leaves no copy behind.
    pub(super) fn concat(parts: &[&str]) -> Self {
        Self(parts.concat())
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("redacted")
    }
}
