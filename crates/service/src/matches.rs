//! What was found: listing, dismissing, and the state of an account's import.

use std::sync::Arc;

use acquaint_custody::{CustodyError, Purpose};
use acquaint_protocol::identifier::AccountId;
use acquaint_store::{EventKind, MatchPosition, Pseudonym, StoreError, SyncStatus};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;

use crate::audit::to_its_end;
use crate::codec::Reader;
use crate::error::{Internal, MatchesError};
use crate::{Discovery, account};

/// Most matches in one page (contract, `app.bsky.contact.getMatches`).
pub const MAX_PAGE: u32 = 100;

const CURSOR_V1: u8 = 1;
/// Text beyond this length is no cursor.
const MAX_CURSOR: usize = 256;

/// A page of matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MatchPage {
    /// The accounts, newest match first.
    pub subjects: Vec<AccountId>,
    /// Leads to the next page; `None` on the last.
    pub cursor: Option<String>,
}

impl Discovery {
    /// Lists `limit` matches after `cursor` (from the newest, when that is empty).
    ///
    /// # Errors
    /// [`MatchesError`].
    pub async fn matches(
        &self,
        account: &AccountId,
        limit: i32,
        cursor: &str,
    ) -> Result<MatchPage, MatchesError> {
        let limit = u32::try_from(limit)
            .ok()
            .filter(|limit| (1..=MAX_PAGE).contains(limit))
            .ok_or(MatchesError::InvalidLimit)?;
        let whose = account::pseudonym(&*self.custody, account)?;
        let after = match cursor {
            "" => None,
            text => Some(self.open_cursor(whose, text)?.ok_or(MatchesError::InvalidCursor)?),
        };
        // One more than asked for tells whether there is another page.
        let mut found = self.store.matches(whose, after, limit + 1, self.clock.now()).await?;
        let wanted = usize::try_from(limit).unwrap_or(usize::MAX);
        let more = found.len() > wanted;
        found.truncate(wanted);
        let cursor = match found.last() {
            Some(last) if more => Some(self.seal_cursor(whose, last.position)?),
            _ => None,
        };
        let name = |found: &acquaint_store::Match| {
            account::open(&*self.custody, found.position.other, &found.sealed_account)
        };
        let subjects = found.iter().map(name).collect::<Result<_, _>>()?;
        Ok(MatchPage { subjects, cursor })
    }

    /// Hides a match for good. Returns how many are left.
    ///
    /// # Errors
    /// [`Internal`]. A subject that is not matched is no error, so that nothing can be learnt from it.
    pub async fn dismiss(&self, account: &AccountId, subject: &AccountId) -> Result<u32, Internal> {
        let whose = account::pseudonym(&*self.custody, account)?;
        let other = account::pseudonym(&*self.custody, subject)?;
        let (store, noter, now) = (Arc::clone(&self.store), self.noter(Some(account))?, self.clock.now());
        let dismissed = to_its_end(async move {
            let before = store.sync_status(whose, now).await?.map_or(0, |status| status.matches);
            let left = store.dismiss(whose, other, now).await?;
            // Else anybody could fill the log by dismissing nobody.
            if left < before {
                noter.note(EventKind::MatchDismissed, json!({})).await;
            }
            Ok::<_, StoreError>(left)
        });
        Ok(dismissed.await?)
    }

    /// When the account last imported and how many matches it has; `None` when it never did or removed everything.
    ///
    /// # Errors
    /// [`Internal`].
    pub async fn sync_status(&self, account: &AccountId) -> Result<Option<SyncStatus>, Internal> {
        let whose = account::pseudonym(&*self.custody, account)?;
        Ok(self.store.sync_status(whose, self.clock.now()).await?)
    }

    fn seal_cursor(&self, whose: Pseudonym, position: MatchPosition) -> Result<String, Internal> {
        let MatchPosition { found_at, other } = position;
        let bytes = [&[CURSOR_V1], found_at.to_be_bytes().as_slice(), other.as_bytes()].concat();
        Ok(URL_SAFE_NO_PAD.encode(self.custody.seal(Purpose::Token, &cursor_of(whose), &bytes)?))
    }

    fn open_cursor(&self, whose: Pseudonym, text: &str) -> Result<Option<MatchPosition>, Internal> {
        if text.len() > MAX_CURSOR {
            return Ok(None);
        }
        let Ok(sealed) = URL_SAFE_NO_PAD.decode(text) else { return Ok(None) };
        let bytes = match self.custody.open(Purpose::Token, &cursor_of(whose), &sealed) {
            Ok(bytes) => bytes,
            Err(CustodyError::NotOurs) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        Ok(decode_cursor(&bytes))
    }
}

fn decode_cursor(bytes: &[u8]) -> Option<MatchPosition> {
    let mut reader = Reader(bytes);
    if reader.array()? != [CURSOR_V1] {
        return None;
    }
    let position = MatchPosition { found_at: reader.i64()?, other: Pseudonym::from_bytes(reader.array()?) };
    reader.end()?;
    Some(position)
}

/// What decoding and encoding again makes of a cursor's content; `None` where it is none.
#[cfg(feature = "fuzzing")]
pub(crate) fn again(bytes: &[u8]) -> Option<Vec<u8>> {
    let MatchPosition { found_at, other } = decode_cursor(bytes)?;
    Some([&[CURSOR_V1], found_at.to_be_bytes().as_slice(), other.as_bytes()].concat())
}

/// A cursor is of use to the account that it was given to, and to nobody else.
fn cursor_of(whose: Pseudonym) -> Vec<u8> {
    [b"cursor/".as_slice(), whose.as_bytes()].concat()
}
