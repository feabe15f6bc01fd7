//! The directory: listings, where they stand in indexes, and what changed.

use std::collections::BTreeSet;

use rusqlite::{Connection, OptionalExtension, Params, Result, Row, named_params, params};

use crate::{
    ChangeId, DirectoryRecord, Enrolled, IndexId, Listing, ListingId, Millis, NewListing, Pick, Placement,
    Pseudonym, Revision, TokenUse,
};

pub(super) fn enrol(connection: &Connection, new: &NewListing, now: Millis) -> Result<Enrolled> {
    if !token_is_valid(connection, new, now)? {
        return Ok(Enrolled::InvalidToken);
    }
    let standing = standing(connection, new.id, now)?;
    if standing
        .as_ref()
        .is_some_and(|there| there.account != new.account && there.verified_at >= new.verified_at)
    {
        return Ok(Enrolled::NewerOwner);
    }
    if others(connection, new, now)? >= new.most {
        return Ok(Enrolled::TooMany);
    }
    connection.prepare_cached("DELETE FROM tokens WHERE token = ?1")?.execute([new.token.as_bytes()])?;
    let (verified_at, expires_at) = crate::directory::ends(new, standing.as_ref());
    put(connection, new.id, (new.account, &new.sealed, verified_at, expires_at), now)?;
    new.placements.iter().try_for_each(|placement| insert(connection, new.id, placement))?;
    Ok(Enrolled::Listed)
}

/// Puts a listing in the place of the one that stood, whose placements go.
pub(super) fn put(
    connection: &Connection,
    id: ListingId,
    (account, sealed, verified_at, expires_at): (Pseudonym, &[u8], Millis, Millis),
    now: Millis,
) -> Result<()> {
    delete(connection, id)?;
    let revision = note(connection, id, now)?;
    connection
        .prepare_cached(
            "INSERT INTO listings (listing, account, sealed, verified_at, expires_at, revision)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute(params![id.as_bytes(), account.as_bytes(), sealed, verified_at, expires_at, revision.0])?;
    Ok(())
}

fn token_is_valid(connection: &Connection, new: &NewListing, now: Millis) -> Result<bool> {
    connection
        .prepare_cached(
            "SELECT 1 FROM tokens JOIN accounts USING (account)
             WHERE token = ?1 AND account = ?2 AND expires_at > ?3 AND token_use = ?4",
        )?
        .exists(params![new.token.as_bytes(), new.account.as_bytes(), now, TokenUse::Directory as u8])
}

/// How many other listings the account has.
fn others(connection: &Connection, new: &NewListing, now: Millis) -> Result<u32> {
    connection
        .prepare_cached(
            "SELECT count(*) FROM listings WHERE account = ?1 AND listing <> ?2 AND expires_at > ?3",
        )?
        .query_row(params![new.account.as_bytes(), new.id.as_bytes(), now], |row| row.get(0))
}

/// Deletes a listing with its placements, if it is there.
fn delete(connection: &Connection, id: ListingId) -> Result<()> {
    for statement in ["DELETE FROM placements WHERE listing = ?1", "DELETE FROM listings WHERE listing = ?1"]
    {
        connection.prepare_cached(statement)?.execute([id.as_bytes()])?;
    }
    Ok(())
}

/// Notes that a listing changed. One connection writes, so the numbers are committed in their order.
pub(super) fn note(connection: &Connection, id: ListingId, now: Millis) -> Result<Revision> {
    connection
        .prepare_cached("INSERT INTO listing_changes (at, listing) VALUES (?1, ?2)")?
        .execute(params![now, id.as_bytes()])?;
    Ok(Revision(connection.last_insert_rowid()))
}

pub(super) fn insert(connection: &Connection, id: ListingId, placement: &Placement) -> Result<()> {
    let Placement { index, sealed } = placement;
    connection
        .prepare_cached("INSERT INTO placements (profile, epoch, listing, sealed) VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![index.profile, index.epoch, id.as_bytes(), sealed])?;
    Ok(())
}

const LISTING: &str = "SELECT listing, account, sealed, verified_at, expires_at, revision FROM listings";

fn listing_at(row: &Row<'_>) -> Result<Listing> {
    Ok(Listing {
        id: ListingId::from_bytes(row.get(0)?),
        account: Pseudonym::from_bytes(row.get(1)?),
        sealed: row.get(2)?,
        verified_at: row.get(3)?,
        expires_at: row.get(4)?,
        revision: Revision(row.get(5)?),
    })
}

fn select(connection: &Connection, rest: &str, params: impl Params) -> Result<Vec<Listing>> {
    connection.prepare_cached(&format!("{LISTING} {rest}"))?.query_map(params, listing_at)?.collect()
}

pub(super) fn standing(connection: &Connection, id: ListingId, now: Millis) -> Result<Option<Listing>> {
    connection
        .prepare_cached(&format!("{LISTING} WHERE listing = ?1 AND expires_at > ?2"))?
        .query_row(params![id.as_bytes(), now], listing_at)
        .optional()
}

pub(super) fn of_account(connection: &Connection, account: Pseudonym, now: Millis) -> Result<Vec<Listing>> {
    select(
        connection,
        "WHERE account = ?1 AND expires_at > ?2 ORDER BY verified_at, listing",
        params![account.as_bytes(), now],
    )
}

/// Takes down what the account has, also what has expired and is not counted: who keeps an index learns of it all.
pub(super) fn withdraw(
    connection: &Connection,
    account: Pseudonym,
    id: Option<ListingId>,
    now: Millis,
) -> Result<u32> {
    let found: Vec<(ListingId, Millis)> = connection
        .prepare_cached(
            "SELECT listing, expires_at FROM listings WHERE account = ?1 AND (?2 IS NULL OR listing = ?2)",
        )?
        .query_map(params![account.as_bytes(), id.as_ref().map(ListingId::as_bytes)], |row| {
            Ok((ListingId::from_bytes(row.get(0)?), row.get(1)?))
        })?
        .collect::<Result<_>>()?;
    for (listing, _) in &found {
        delete(connection, *listing)?;
        note(connection, *listing, now)?;
    }
    let standing = found.iter().filter(|(_, expires_at)| *expires_at > now).count();
    Ok(u32::try_from(standing).unwrap_or(u32::MAX))
}

/// By the key alone: an index on the time would have to be sorted.
pub(super) const PAGE: &str = "WHERE listing > ?1 AND +expires_at > ?2 ORDER BY listing LIMIT ?3";

pub(super) fn listings(connection: &Connection, pick: &Pick, now: Millis) -> Result<Vec<Listing>> {
    match pick {
        Pick::After(after, limit) => select(connection, PAGE, params![behind(after.as_ref()), now, limit]),
        Pick::These(ids) => {
            let mut found = Vec::new();
            for id in in_order(ids) {
                found.extend(standing(connection, id, now)?);
            }
            Ok(found)
        }
    }
}

/// Each once, in order.
fn in_order(ids: &[ListingId]) -> BTreeSet<ListingId> {
    ids.iter().copied().collect()
}

/// What is less than what comes behind: every id is greater than no bytes.
fn behind(after: Option<&ListingId>) -> &[u8] {
    after.map_or(&[], |after| after.as_bytes())
}

/// Through the index in the order of its key: the join must not be turned around.
const PLACEMENT: &str = "SELECT placements.listing, placements.sealed
     FROM placements CROSS JOIN listings ON listings.listing = placements.listing
     WHERE profile = :profile AND epoch = :epoch AND expires_at > :now";

pub(super) fn placements(
    connection: &Connection,
    index: IndexId,
    pick: &Pick,
    now: Millis,
) -> Result<Vec<(ListingId, Placement)>> {
    let IndexId { profile, epoch } = index;
    let placement_at = |row: &Row<'_>| {
        let placement = Placement { index, sealed: row.get(1)? };
        Ok((ListingId::from_bytes(row.get(0)?), placement))
    };
    match pick {
        Pick::After(after, limit) => connection
            .prepare_cached(&paging())?
            .query_map(
                named_params! {
                    ":profile": profile, ":epoch": epoch, ":now": now,
                    ":after": behind(after.as_ref()), ":limit": limit
                },
                placement_at,
            )?
            .collect(),
        Pick::These(ids) => {
            let mut select =
                connection.prepare_cached(&format!("{PLACEMENT} AND placements.listing = :listing"))?;
            let mut found = Vec::new();
            for id in in_order(ids) {
                let named = named_params! {
                    ":profile": profile, ":epoch": epoch, ":now": now, ":listing": id.as_bytes()
                };
                found.extend(select.query_row(named, placement_at).optional()?);
            }
            Ok(found)
        }
    }
}

pub(super) fn paging() -> String {
    format!("{PLACEMENT} AND placements.listing > :after ORDER BY placements.listing LIMIT :limit")
}

pub(super) const UNPLACED: &str = "WHERE listing > :after AND +expires_at > :now AND NOT EXISTS
     (SELECT 1 FROM placements WHERE profile = :profile AND epoch = :epoch AND placements.listing = listings.listing)
     ORDER BY listing LIMIT :limit";

pub(super) fn unplaced(
    connection: &Connection,
    index: IndexId,
    after: Option<ListingId>,
    limit: u32,
    now: Millis,
) -> Result<Vec<Listing>> {
    let named = named_params! {
        ":profile": index.profile, ":epoch": index.epoch, ":now": now,
        ":after": behind(after.as_ref()), ":limit": limit
    };
    select(connection, UNPLACED, named)
}

pub(super) fn place(
    connection: &Connection,
    placements: &[(ListingId, Revision, Placement)],
    now: Millis,
) -> Result<u32> {
    let mut placed = 0;
    for (id, revision, Placement { index, sealed }) in placements {
        let added = connection
            .prepare_cached(
                "INSERT INTO placements (profile, epoch, listing, sealed)
                 SELECT ?1, ?2, listing, ?3 FROM listings
                 WHERE listing = ?4 AND revision = ?5 AND expires_at > ?6
                 ON CONFLICT (profile, epoch, listing) DO NOTHING",
            )?
            .execute(params![index.profile, index.epoch, sealed, id.as_bytes(), revision.0, now])?;
        if added > 0 {
            note(connection, *id, now)?;
            placed += 1;
        }
    }
    Ok(placed)
}

pub(super) fn clear_index(connection: &Connection, index: IndexId, limit: u32) -> Result<u32> {
    let cleared = connection
        .prepare_cached(
            "DELETE FROM placements WHERE profile = ?1 AND epoch = ?2 AND listing IN
             (SELECT listing FROM placements WHERE profile = ?1 AND epoch = ?2 LIMIT ?3)",
        )?
        .execute(params![index.profile, index.epoch, limit])?;
    Ok(u32::try_from(cleared).unwrap_or(u32::MAX))
}

/// Placements are counted without looking at each one's listing: of those that have expired there are few.
pub(super) fn count(connection: &Connection, index: Option<IndexId>, now: Millis) -> Result<u64> {
    let count: i64 = match index {
        None => connection
            .prepare_cached("SELECT count(*) FROM listings WHERE expires_at > ?1")?
            .query_row([now], |row| row.get(0))?,
        Some(IndexId { profile, epoch }) => connection
            .prepare_cached(
                "SELECT (SELECT count(*) FROM placements WHERE profile = ?1 AND epoch = ?2)
                 - (SELECT count(*) FROM listings CROSS JOIN placements ON placements.listing = listings.listing
                    WHERE expires_at <= ?3 AND profile = ?1 AND epoch = ?2)",
            )?
            .query_row(params![profile, epoch, now], |row| row.get(0))?,
    };
    Ok(u64::try_from(count).unwrap_or(0))
}

pub(super) fn changes(
    connection: &Connection,
    after: Option<ChangeId>,
    limit: u32,
) -> Result<Vec<(ChangeId, ListingId)>> {
    let change_at = |row: &Row<'_>| Ok((ChangeId(row.get(0)?), ListingId::from_bytes(row.get(1)?)));
    match after {
        Some(after) => connection
            .prepare_cached("SELECT id, listing FROM listing_changes WHERE id > ?1 ORDER BY id LIMIT ?2")?
            .query_map(params![after.0, limit], change_at)?
            .collect(),
        None => connection
            .prepare_cached("SELECT id, listing FROM listing_changes ORDER BY id DESC LIMIT min(?1, 1)")?
            .query_map([limit], change_at)?
            .collect(),
    }
}

pub(super) fn records(connection: &Connection) -> Result<Vec<DirectoryRecord>> {
    connection
        .prepare_cached(
            "SELECT name, version, state, content, made_at FROM directory_records ORDER BY name, version",
        )?
        .query_map([], |row| {
            Ok(DirectoryRecord {
                name: row.get(0)?,
                version: row.get(1)?,
                state: row.get(2)?,
                content: row.get(3)?,
                made_at: row.get(4)?,
            })
        })?
        .collect()
}

pub(super) fn add_record(connection: &Connection, record: &DirectoryRecord) -> Result<bool> {
    let DirectoryRecord { name, version, state, content, made_at } = record;
    let added = connection
        .prepare_cached(
            "INSERT INTO directory_records (name, version, state, content, made_at) VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT (name, version) DO NOTHING",
        )?
        .execute(params![name, version, state, content, made_at])?;
    Ok(added > 0)
}

pub(super) fn change_record(
    connection: &Connection,
    name: &str,
    version: u32,
    (from, to): (u8, u8),
    content: Option<&[u8]>,
) -> Result<bool> {
    let changed = connection
        .prepare_cached(
            "UPDATE directory_records SET state = ?4, content = coalesce(?5, content)
             WHERE name = ?1 AND version = ?2 AND state = ?3",
        )?
        .execute(params![name, version, from, to, content])?;
    Ok(changed > 0)
}

/// Deletes up to `limit` listings that have expired, noting it, and as many changes that are too old.
pub(super) fn sweep(connection: &Connection, limit: u32, now: Millis) -> Result<u64> {
    let expired: Vec<ListingId> = connection
        .prepare_cached("SELECT listing FROM listings WHERE expires_at <= ?1 LIMIT ?2")?
        .query_map(params![now, limit], |row| row.get(0).map(ListingId::from_bytes))?
        .collect::<Result<_>>()?;
    for id in &expired {
        delete(connection, *id)?;
        note(connection, *id, now)?;
    }
    let old = connection
        .prepare_cached(
            "DELETE FROM listing_changes WHERE id IN
             (SELECT id FROM listing_changes WHERE at <= ?1 LIMIT ?2)",
        )?
        .execute(params![now.saturating_sub(crate::directory::CHANGES_KEPT), limit])?;
    Ok(expired.len() as u64 + old as u64)
}
