use std::fmt;
use std::panic::catch_unwind;

use rlibphonenumber::{PHONE_NUMBER_UTIL, PhoneNumberFormat, PhoneNumberType};

use super::sii::is_e164;
use super::{Region, SecretText};

/// Longest written form that is looked at, in characters. Forms seen in address books stay under 40.
const MAX_CHARS: usize = 64;

/// A valid phone number in E.164 with the plus, such as `+12125550123`: overwritten when dropped, never printed.
///
/// What is valid is phone metadata, and these are part of the key epoch (`pair::Canonicalisation`). Two are equal when
/// their numbers are: kind and region follow from the number.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Phone {
    e164: SecretText,
    kind: NumberKind,
    region: Option<Region>,
}

/// What a number is for, as far as its digits tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NumberKind {
    /// A mobile phone.
    Mobile,
    /// A country, such as the United States, where mobile and fixed lines look alike.
    FixedLineOrMobile,
    /// A landline.
    FixedLine,
    /// The caller pays more than for the call.
    Premium,
    /// The called party pays.
    TollFree,
    /// Both pay.
    SharedCost,
    /// A line over the Internet.
    Voip,
    /// A number that follows a person from line to line.
    Personal,
    /// A pager.
    Pager,
    /// A company's one number (universal access number).
    Uan,
    /// A mailbox.
    Voicemail,
    /// None of these.
    Unknown,
}

impl NumberKind {
    /// Whether a code sent by SMS may arrive: only for [`Mobile`](Self::Mobile) and
    /// [`FixedLineOrMobile`](Self::FixedLineOrMobile).
    #[must_use]
    pub fn can_receive_sms(self) -> bool {
        matches!(self, Self::Mobile | Self::FixedLineOrMobile)
    }
}

/// Why a text is no phone number. Never repeats the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PhoneError {
    /// There is nothing in it.
    #[error("the phone number is empty: write it in international form, like +12125550123")]
    Empty,
    /// It is over 64 characters.
    #[error("the phone number is too long: at most 64 characters, like +12125550123")]
    TooLong,
    /// It cannot be read as a number, or it is in national form and no region was given.
    #[error("not a phone number: write it in international form, like +12125550123")]
    NotANumber,
    /// It reads as a number, but nobody can have it.
    #[error("not a valid phone number: write it in international form, like +12125550123")]
    NotValid,
}

impl Phone {
    /// Reads a number as people write them, the way Google's libphonenumber does; `default_region` is where a number
    /// without a country code would be dialled.
    ///
    /// Extensions, pauses and what follows them are dropped.
    ///
    /// # Errors
    /// See [`PhoneError`].
    pub fn parse(text: &str, default_region: Option<Region>) -> Result<Self, PhoneError> {
        // The library slices its input by byte positions: one odd text must not take a whole import with it. (Where
        // panics abort, as on wasm32, only the checks inside protect.)
        catch_unwind(|| parse_checked(text, default_region)).unwrap_or(Err(PhoneError::NotANumber))
    }

    /// The number in E.164, with the plus.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.e164.as_str()
    }

    /// What the number is for.
    #[must_use]
    pub fn kind(&self) -> NumberKind {
        self.kind
    }

    /// The country that the number belongs to; none for the likes of +800.
    #[must_use]
    pub fn region(&self) -> Option<Region> {
        self.region
    }
}

impl fmt::Debug for Phone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Phone(redacted)")
    }
}

/// rlibphonenumber 2.2.15 slices from after `tel:` to `;phone-context=`, whichever comes first.
fn would_panic(text: &str) -> bool {
    match (text.find(";phone-context="), text.find("tel:")) {
        (Some(context), Some(scheme)) => context < scheme,
        _ => false,
    }
}

/// [`Phone::parse`] without its net.
pub(super) fn parse_checked(text: &str, default_region: Option<Region>) -> Result<Phone, PhoneError> {
    if text.trim().is_empty() {
        return Err(PhoneError::Empty);
    }
    if text.chars().nth(MAX_CHARS).is_some() {
        return Err(PhoneError::TooLong);
    }
    if would_panic(text) {
        return Err(PhoneError::NotANumber);
    }
    let util = &*PHONE_NUMBER_UTIL;
    let number =
        util.parse(text, default_region.and_then(Region::to_metadata)).map_err(|_| PhoneError::NotANumber)?;
    if !util.is_valid_number(&number) {
        return Err(PhoneError::NotValid);
    }
    let e164 = SecretText::new(util.format(&number, PhoneNumberFormat::E164).into_owned());
    // Every later step relies on this form, whatever the library does.
    if !is_e164(e164.as_str()) {
        return Err(PhoneError::NotValid);
    }
    let kind = util.get_number_type(&number).into();
    let region = util.get_region_for_number(&number).and_then(Region::from_metadata);
    Ok(Phone { e164, kind, region })
}

impl From<PhoneNumberType> for NumberKind {
    fn from(kind: PhoneNumberType) -> Self {
        match kind {
            PhoneNumberType::FixedLine => Self::FixedLine,
            PhoneNumberType::Mobile => Self::Mobile,
            PhoneNumberType::FixedLineOrMobile => Self::FixedLineOrMobile,
            PhoneNumberType::TollFree => Self::TollFree,
            PhoneNumberType::PremiumRate => Self::Premium,
            PhoneNumberType::SharedCost => Self::SharedCost,
            PhoneNumberType::VoIP => Self::Voip,
            PhoneNumberType::PersonalNumber => Self::Personal,
            PhoneNumberType::Pager => Self::Pager,
            PhoneNumberType::UAN => Self::Uan,
            PhoneNumberType::VoiceMail => Self::Voicemail,
            PhoneNumberType::Unknown => Self::Unknown,
        }
    }
}
