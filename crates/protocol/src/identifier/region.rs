use std::fmt;

use rlibphonenumber::PHONE_NUMBER_UTIL;

/// A country or territory with telephone numbers of its own, by its ISO 3166-1 alpha-2 code, such as `US`.
///
/// Which codes there are is phone metadata: `XK` (Kosovo) is one, `AQ` (Antarctica) is not.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Region([u8; 2]);

/// A text that names no [`Region`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a country with phone numbers: write its two-letter ISO 3166 code, like US")]
pub struct RegionError;

impl Region {
    /// Reads a two-letter code, in either case.
    ///
    /// # Errors
    /// [`RegionError`] if the phone metadata know no such region.
    pub fn parse(code: &str) -> Result<Self, RegionError> {
        let &[first, second] = code.as_bytes() else { return Err(RegionError) };
        let region = Self([first.to_ascii_uppercase(), second.to_ascii_uppercase()]);
        let known = region
            .to_metadata()
            .is_some_and(|id| PHONE_NUMBER_UTIL.get_country_code_for_region(id).is_some());
        if known { Ok(region) } else { Err(RegionError) }
    }

    /// The code in capitals.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // Both bytes are ASCII letters, by construction.
        str::from_utf8(&self.0).unwrap_or_default()
    }

    pub(super) fn to_metadata(self) -> Option<rlibphonenumber::Region> {
        rlibphonenumber::Region::from_code(self.as_str()).ok()
    }

    /// `None` for the numbers that belong to no country, such as +800.
    pub(super) fn from_metadata(id: rlibphonenumber::Region) -> Option<Self> {
        Self::parse(id.as_region_str().as_str()).ok()
    }
}

impl fmt::Display for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Region({self})")
    }
}
