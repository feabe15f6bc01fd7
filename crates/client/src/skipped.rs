//! What was left out of an import, and why.

use std::collections::BTreeMap;
use std::fmt;

/// Why something of an address book is not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum SkipReason {
    /// A card or row without an end: the file is cut off there.
    CutOff,
    /// A card that breaks the rules of vCard, or a row that has not the columns of the first.
    Malformed,
    /// A text that is no valid phone number.
    NotANumber,
    /// A phone number in national form, and nobody said of which country.
    NoRegion,
    /// A text that is no e-mail address that is taken.
    NotAnAddress,
    /// An e-mail address, where only phone numbers are wanted.
    EmailNotWanted,
    /// An entry that stands in the address book before.
    Repeated,
    /// One's own number or address.
    Own,
}

impl SkipReason {
    /// Every reason, in the order of telling.
    pub const ALL: [Self; 8] = [
        Self::CutOff,
        Self::Malformed,
        Self::NotANumber,
        Self::NoRegion,
        Self::NotAnAddress,
        Self::EmailNotWanted,
        Self::Repeated,
        Self::Own,
    ];

    /// A name for programs: `cut_off`, `malformed`, `not_a_number`, `no_region`, `not_an_address`, `email_not_wanted`,
    /// `repeated` or `own`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::CutOff => "cut_off",
            Self::Malformed => "malformed",
            Self::NotANumber => "not_a_number",
            Self::NoRegion => "no_region",
            Self::NotAnAddress => "not_an_address",
            Self::EmailNotWanted => "email_not_wanted",
            Self::Repeated => "repeated",
            Self::Own => "own",
        }
    }

    /// Words for a person, for any count: "no valid phone numbers".
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::CutOff => "cards or rows without an end: the file may be cut off",
            Self::Malformed => "cards or rows that are not well formed",
            Self::NotANumber => "no valid phone numbers",
            Self::NoRegion => "phone numbers without a country code: a region tells where they are from",
            Self::NotAnAddress => "no valid e-mail addresses",
            Self::EmailNotWanted => "e-mail addresses, which are not wanted",
            Self::Repeated => "repeated",
            Self::Own => "your own",
        }
    }
}

/// How much was left out, by reason.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Skipped(BTreeMap<SkipReason, usize>);

impl Skipped {
    /// Counts one more.
    pub fn add(&mut self, reason: SkipReason) {
        *self.0.entry(reason).or_default() += 1;
    }

    /// Counts what was left out elsewhere too.
    pub fn extend(&mut self, other: &Self) {
        for (reason, count) in other.iter() {
            *self.0.entry(reason).or_default() += count;
        }
    }

    /// How much was left out for one reason.
    #[must_use]
    pub fn count(&self, reason: SkipReason) -> usize {
        self.0.get(&reason).copied().unwrap_or_default()
    }

    /// How much was left out.
    #[must_use]
    pub fn total(&self) -> usize {
        self.0.values().sum()
    }

    /// The reasons that there were, with their counts, never 0.
    pub fn iter(&self) -> impl Iterator<Item = (SkipReason, usize)> {
        self.0.iter().map(|(reason, count)| (*reason, *count))
    }
}

/// For a person, on one line: "2 no valid phone numbers, 1 repeated".
impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, (reason, count)) in self.iter().enumerate() {
            let comma = if place == 0 { "" } else { ", " };
            write!(f, "{comma}{count} {}", reason.words())?;
        }
        Ok(())
    }
}
