//! Identifiers: `parse` is the only constructor from text, and nothing here prints what it holds.
//!
//! A *service-independent identifier* ([`Sii`]) is a phone number or an e-mail address in its canonical form; a
//! *service-specific identifier* is an account of the service that asks ([`AccountId`]).

mod account;
mod any;
mod email;
mod phone;
mod region;
mod secret_text;
mod sii;
#[cfg(test)]
mod tests;

pub use account::{AccountFormat, AccountFormatError, AccountId, AccountIdError};
pub use any::{Identifier, IdentifierError};
pub use email::{Email, EmailError};
pub use phone::{NumberKind, Phone, PhoneError};
pub use region::{Region, RegionError};
pub use sii::{Sii, SiiError};

use secret_text::SecretText;
