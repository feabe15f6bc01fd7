//! Listings that the operator puts up.

use rusqlite::{Connection, Result, params};

use super::directory::{insert, note, put, standing};
use crate::{Listing, Load, Loaded, LoadedListing, Millis, NewContent, Pseudonym};

pub(super) fn load(connection: &Connection, new: &LoadedListing, now: Millis) -> Result<Loaded> {
    let there = standing(connection, new.id, now)?;
    let loaded = crate::directory::loaded(new, there.as_ref());
    match (&new.load, loaded) {
        (Load::New(content), Loaded::Listed) => {
            account(connection, new.account, content)?;
            let row = (new.account, content.sealed.as_slice(), new.verified_at, new.expires_at);
            put(connection, new.id, row, now)?;
            content.placements.iter().try_for_each(|placement| insert(connection, new.id, placement))?;
        }
        (Load::Same(_), Loaded::Unchanged) => {
            if let Some(there) = there.filter(|there| there.verified_at < new.verified_at) {
                prolong(connection, &there, new, now)?;
            }
        }
        _ => {}
    }
    Ok(loaded)
}

/// Makes the account's row, or keeps it long enough.
fn account(connection: &Connection, account: Pseudonym, content: &NewContent) -> Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO accounts (account, sealed, generation, forget_at) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (account) DO UPDATE SET forget_at = excluded.forget_at
             WHERE forget_at < excluded.forget_at",
        )?
        .execute(params![
            account.as_bytes(),
            content.sealed_account,
            content.fresh_generation.0,
            content.forget_at
        ])?;
    Ok(())
}

fn prolong(connection: &Connection, there: &Listing, new: &LoadedListing, now: Millis) -> Result<()> {
    let revision = note(connection, new.id, now)?;
    connection
        .prepare_cached(
            "UPDATE listings SET verified_at = ?2, expires_at = ?3, revision = ?4 WHERE listing = ?1",
        )?
        .execute(params![
            new.id.as_bytes(),
            new.verified_at,
            new.expires_at.max(there.expires_at),
            revision.0
        ])?;
    Ok(())
}
