//! Accounts under pseudonyms (house plan, decision 2).

use acquaint_custody::{KeyCustody, Purpose, newest};
use acquaint_protocol::identifier::{AccountFormat, AccountId};
use acquaint_store::Pseudonym;

use crate::error::Internal;

/// First byte of what the account key hashes.
pub(crate) const PSEUDONYM_V1: u8 = 1;

/// HMAC under the account key of 0x01 ‖ the account's name, cut to 16 bytes.
pub(crate) fn pseudonym(custody: &dyn KeyCustody, account: &AccountId) -> Result<Pseudonym, Internal> {
    let message = [&[PSEUDONYM_V1], account.as_str().as_bytes()].concat();
    let made = custody.hmac(newest(custody, Purpose::Account)?, &[&message])?;
    match made.first().and_then(|hash| hash.first_chunk()) {
        Some(cut) => Ok(Pseudonym::from_bytes(*cut)),
        None => Err(Internal::Unreadable("custody gave no hash")),
    }
}

pub(crate) fn seal(
    custody: &dyn KeyCustody,
    whose: Pseudonym,
    account: &AccountId,
) -> Result<Vec<u8>, Internal> {
    Ok(custody.seal(Purpose::Seal, &row(whose), account.as_str().as_bytes())?)
}

pub(crate) fn open(custody: &dyn KeyCustody, whose: Pseudonym, sealed: &[u8]) -> Result<AccountId, Internal> {
    let name = custody.open(Purpose::Seal, &row(whose), sealed)?;
    // Validated in its own format when it came in; the format may have been changed since.
    std::str::from_utf8(&name)
        .ok()
        .and_then(|name| AccountId::parse(name, AccountFormat::Opaque).ok())
        .ok_or(Internal::Unreadable("an account's name"))
}

/// Binds a sealed name to its table and row.
fn row(whose: Pseudonym) -> Vec<u8> {
    [b"accounts/".as_slice(), whose.as_bytes()].concat()
}
