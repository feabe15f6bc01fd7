//! The directory: listings, where they stand in indexes, and what changed.
//!
//! A listing is locked by its row, before its placements. Changes have their numbers in the order in which they are
//! committed, so that who follows them by number misses none: whoever notes one holds [`GATE`] alone until it commits. It is
//! the last thing that a verb locks, and no verb takes the audit log's as well.

use tokio_postgres::Row;

use super::error::DatabaseError;
use super::imports::number;
use super::ledger::{bytes, pseudonym};
use super::unit::{Params, Result, Unit};
use crate::{
    ChangeId, DirectoryRecord, Enrolled, IndexId, Listing, ListingId, Millis, NewListing, Pick, Placement,
    Pseudonym, Revision, TokenUse,
};

/// An advisory lock: "AcquainD" as a number.
const GATE: i64 = 0x4163_7175_6169_6e44;

pub(super) async fn enrol(unit: &Unit, new: &NewListing, now: Millis) -> Result<Enrolled> {
    if !token_is_valid(unit, new, now).await? {
        unit.undo();
        return Ok(Enrolled::InvalidToken);
    }
    let standing = lock(unit, new, now).await?;
    let is_newer = |there: &Listing| there.account != new.account && there.verified_at >= new.verified_at;
    let refusal = if standing.as_ref().is_some_and(is_newer) {
        Some(Enrolled::NewerOwner)
    } else if others(unit, new, now).await? >= u64::from(new.most) {
        Some(Enrolled::TooMany)
    } else {
        None
    };
    if let Some(refusal) = refusal {
        unit.undo();
        return Ok(refusal);
    }
    put(unit, new, standing.as_ref(), now).await?;
    Ok(Enrolled::Listed)
}

/// Locks the account, so that it enrols one at a time and not beside its removal.
async fn token_is_valid(unit: &Unit, new: &NewListing, now: Millis) -> Result<bool> {
    let account = new.account.as_bytes().as_slice();
    let there = unit.row("SELECT 1 FROM accounts WHERE account = $1 FOR NO KEY UPDATE", &[&account]).await?;
    if there.is_none() {
        return Ok(false);
    }
    let token = unit
        .row(
            "SELECT 1 FROM tokens WHERE account = $1 AND token = $2 AND expires_at > $3 AND token_use = $4",
            &[&account, &new.token.as_bytes().as_slice(), &now, &i16::from(TokenUse::Directory as u8)],
        )
        .await?;
    Ok(token.is_some())
}

/// Locks the listing. Where there is none, one is put there that has expired.
async fn lock(unit: &Unit, new: &NewListing, now: Millis) -> Result<Option<Listing>> {
    let id = new.id.as_bytes().as_slice();
    unit.execute(
        "INSERT INTO listings (listing, account, sealed, verified_at, expires_at, revision)
         VALUES ($1, $2, '', $3, $3, 0)
         ON CONFLICT (listing) DO UPDATE SET revision = listings.revision WHERE false",
        &[&id, &new.account.as_bytes().as_slice(), &Millis::MIN],
    )
    .await?;
    let there = select(unit, "WHERE listing = $1 AND expires_at > $2", &[&id, &now]).await?;
    Ok(there.into_iter().next())
}

/// How many other listings the account has.
async fn others(unit: &Unit, new: &NewListing, now: Millis) -> Result<u64> {
    count_by(
        unit,
        "SELECT count(*) FROM listings WHERE account = $1 AND listing <> $2 AND expires_at > $3",
        &[&new.account.as_bytes().as_slice(), &new.id.as_bytes().as_slice(), &now],
    )
    .await
}

async fn put(unit: &Unit, new: &NewListing, standing: Option<&Listing>, now: Millis) -> Result<()> {
    let (id, account) = (new.id.as_bytes().as_slice(), new.account.as_bytes().as_slice());
    unit.execute(
        "DELETE FROM tokens WHERE account = $1 AND token = $2",
        &[&account, &new.token.as_bytes().as_slice()],
    )
    .await?;
    delete_placements(unit, &[id]).await?;
    let columns = Columns::of(new.placements.iter().map(|placement| (&new.id, &Revision(0), placement)));
    unit.execute(
        "INSERT INTO placements (listing, profile, epoch, location, slot)
         SELECT listing, profile, epoch, location, slot
         FROM unnest($1::bytea[], $2::smallint[], $3::bigint[], $4::bytea[], $5::bytea[])
             AS new (listing, profile, epoch, location, slot)",
        &[&columns.listings, &columns.profiles, &columns.epochs, &columns.locations, &columns.slots],
    )
    .await?;
    let (verified_at, expires_at) = crate::directory::ends(new, standing);
    unit.execute(
        "WITH gate AS MATERIALIZED (SELECT pg_advisory_xact_lock($1)),
         noted AS (INSERT INTO listing_changes (at, listing) SELECT $2::bigint, $3::bytea FROM gate RETURNING id)
         UPDATE listings
         SET account = $4, sealed = $5, verified_at = $6, expires_at = $7, revision = noted.id
         FROM noted WHERE listing = $3",
        &[&GATE, &now, &id, &account, &new.sealed, &verified_at, &expires_at],
    )
    .await?;
    Ok(())
}

/// Of locked listings, in their order.
async fn delete_placements(unit: &Unit, listings: &[&[u8]]) -> Result<()> {
    unit.execute(
        "WITH gone AS MATERIALIZED (
             SELECT profile, epoch, listing FROM placements WHERE listing = ANY($1)
             ORDER BY listing, profile, epoch FOR UPDATE
         )
         DELETE FROM placements USING gone WHERE placements.profile = gone.profile
             AND placements.epoch = gone.epoch AND placements.listing = gone.listing",
        &[&listings],
    )
    .await?;
    Ok(())
}

/// Notes changes, in the order given.
async fn note(unit: &Unit, listings: &[&[u8]], now: Millis) -> Result<()> {
    if listings.is_empty() {
        return Ok(());
    }
    unit.execute(
        "WITH gate AS MATERIALIZED (SELECT pg_advisory_xact_lock($1))
         INSERT INTO listing_changes (at, listing)
         SELECT $2::bigint, listing FROM gate, unnest($3::bytea[]) WITH ORDINALITY AS changed (listing, place)
         ORDER BY place",
        &[&GATE, &now, &listings],
    )
    .await?;
    Ok(())
}

const LISTING: &str = "SELECT listing, account, sealed, verified_at, expires_at, revision FROM listings";

fn listing_at(row: &Row) -> Result<Listing> {
    Ok(Listing {
        id: ListingId::from_bytes(bytes(row, 0)?),
        account: pseudonym(row, 1)?,
        sealed: row.try_get(2)?,
        verified_at: row.try_get(3)?,
        expires_at: row.try_get(4)?,
        revision: Revision(row.try_get(5)?),
    })
}

async fn select(unit: &Unit, rest: &str, params: Params<'_>) -> Result<Vec<Listing>> {
    unit.query(&format!("{LISTING} {rest}"), params).await?.iter().map(listing_at).collect()
}

pub(super) async fn of_account(unit: &Unit, account: Pseudonym, now: Millis) -> Result<Vec<Listing>> {
    select(
        unit,
        "WHERE account = $1 AND expires_at > $2 ORDER BY verified_at, listing",
        &[&account.as_bytes().as_slice(), &now],
    )
    .await
}

/// Takes down what the account has, also what has expired and is not counted: who keeps an index learns of it all.
pub(super) async fn withdraw(
    unit: &Unit,
    account: Pseudonym,
    id: Option<ListingId>,
    now: Millis,
) -> Result<u32> {
    let standing = take_down(
        unit,
        "WITH gone AS MATERIALIZED (
             SELECT listing, expires_at FROM listings WHERE account = $1 AND ($2::bytea IS NULL OR listing = $2)
             ORDER BY listing FOR UPDATE
         )",
        &[&account.as_bytes().as_slice(), &id.as_ref().map(|id| id.as_bytes().as_slice())],
        now,
    )
    .await?
    .into_iter()
    .filter(|expires_at| *expires_at > now);
    Ok(u32::try_from(standing.count()).unwrap_or(u32::MAX))
}

/// Deletes the listings that `gone` locks, with their placements, and notes it. Returns when they end or ended.
async fn take_down(unit: &Unit, gone: &str, params: Params<'_>, now: Millis) -> Result<Vec<Millis>> {
    let delete = "DELETE FROM listings USING gone WHERE listings.listing = gone.listing
                  RETURNING gone.listing, gone.expires_at";
    let rows = unit.query(&format!("{gone} {delete}"), params).await?;
    let mut listings: Vec<&[u8]> = rows.iter().map(|row| Ok(row.try_get(0)?)).collect::<Result<_>>()?;
    listings.sort_unstable();
    if !listings.is_empty() {
        delete_placements(unit, &listings).await?;
        note(unit, &listings, now).await?;
    }
    rows.iter().map(|row| Ok(row.try_get(1)?)).collect()
}

pub(super) async fn listings(unit: &Unit, pick: &Pick, now: Millis) -> Result<Vec<Listing>> {
    match pick {
        Pick::After(after, limit) => {
            select(
                unit,
                "WHERE listing > $1 AND expires_at > $2 ORDER BY listing LIMIT $3",
                &[&behind(after.as_ref()), &now, &i64::from(*limit)],
            )
            .await
        }
        Pick::These(ids) => {
            let rest = "WHERE listing = ANY($1) AND expires_at > $2 ORDER BY listing";
            select(unit, rest, &[&keys(ids), &now]).await
        }
    }
}

/// What is less than what comes behind: every id is greater than no bytes.
fn behind(after: Option<&ListingId>) -> &[u8] {
    after.map_or(&[], |after| after.as_bytes())
}

fn keys(ids: &[ListingId]) -> Vec<&[u8]> {
    ids.iter().map(|id| id.as_bytes().as_slice()).collect()
}

pub(super) async fn placements(
    unit: &Unit,
    index: IndexId,
    pick: &Pick,
    now: Millis,
) -> Result<Vec<(ListingId, Placement)>> {
    let placement = "SELECT listing, location, slot FROM placements JOIN listings USING (listing)
                     WHERE profile = $1 AND epoch = $2 AND expires_at > $3";
    let (profile, epoch) = numbers(index);
    let rows = match pick {
        Pick::After(after, limit) => {
            let sql = format!("{placement} AND placements.listing > $4 ORDER BY placements.listing LIMIT $5");
            let params: Params<'_> = &[&profile, &epoch, &now, &behind(after.as_ref()), &i64::from(*limit)];
            unit.query(&sql, params).await?
        }
        Pick::These(ids) => {
            let sql = format!("{placement} AND placements.listing = ANY($4) ORDER BY placements.listing");
            unit.query(&sql, &[&profile, &epoch, &now, &keys(ids)]).await?
        }
    };
    rows.iter()
        .map(|row| {
            let placement = Placement { index, location: bytes(row, 1)?, slot: row.try_get(2)? };
            Ok((ListingId::from_bytes(bytes(row, 0)?), placement))
        })
        .collect()
}

fn numbers(index: IndexId) -> (i16, i64) {
    (i16::from(index.profile), i64::from(index.epoch))
}

pub(super) async fn unplaced(
    unit: &Unit,
    index: IndexId,
    after: Option<ListingId>,
    limit: u32,
    now: Millis,
) -> Result<Vec<Listing>> {
    let (profile, epoch) = numbers(index);
    select(
        unit,
        "WHERE listing > $1 AND expires_at > $2 AND NOT EXISTS
             (SELECT 1 FROM placements
              WHERE profile = $3 AND epoch = $4 AND placements.listing = listings.listing)
         ORDER BY listing LIMIT $5",
        &[&behind(after.as_ref()), &now, &profile, &epoch, &i64::from(limit)],
    )
    .await
}

/// Columns of placements.
struct Columns<'a> {
    listings: Vec<&'a [u8]>,
    revisions: Vec<i64>,
    profiles: Vec<i16>,
    epochs: Vec<i64>,
    locations: Vec<&'a [u8]>,
    slots: Vec<&'a [u8]>,
}

impl<'a> Columns<'a> {
    fn of(placements: impl Iterator<Item = (&'a ListingId, &'a Revision, &'a Placement)>) -> Self {
        let mut columns = Self {
            listings: Vec::new(),
            revisions: Vec::new(),
            profiles: Vec::new(),
            epochs: Vec::new(),
            locations: Vec::new(),
            slots: Vec::new(),
        };
        for (id, revision, placement) in placements {
            let (profile, epoch) = numbers(placement.index);
            columns.listings.push(id.as_bytes());
            columns.revisions.push(revision.0);
            columns.profiles.push(profile);
            columns.epochs.push(epoch);
            columns.locations.push(&placement.location);
            columns.slots.push(&placement.slot);
        }
        columns
    }
}

pub(super) async fn place(
    unit: &Unit,
    placements: &[(ListingId, Revision, Placement)],
    now: Millis,
) -> Result<u32> {
    let columns = Columns::of(placements.iter().map(|(id, revision, placement)| (id, revision, placement)));
    unit.query(
        "SELECT 1 FROM listings WHERE listing = ANY($1) ORDER BY listing FOR NO KEY UPDATE",
        &[&columns.listings],
    )
    .await?;
    let rows = unit
        .query(
            "INSERT INTO placements (listing, profile, epoch, location, slot)
             SELECT listing, profile, epoch, location, slot
             FROM unnest($1::bytea[], $2::bigint[], $3::smallint[], $4::bigint[], $5::bytea[], $6::bytea[])
                 AS new (listing, revision, profile, epoch, location, slot)
             JOIN listings USING (listing, revision) WHERE expires_at > $7
             ON CONFLICT (profile, epoch, listing) DO NOTHING RETURNING listing",
            &[
                &columns.listings,
                &columns.revisions,
                &columns.profiles,
                &columns.epochs,
                &columns.locations,
                &columns.slots,
                &now,
            ],
        )
        .await?;
    let placed: Vec<&[u8]> = rows.iter().map(|row| Ok(row.try_get(0)?)).collect::<Result<_>>()?;
    note(unit, &placed, now).await?;
    Ok(u32::try_from(placed.len()).unwrap_or(u32::MAX))
}

/// In the order in which others delete placements, so that nobody waits in a circle.
pub(super) async fn clear_index(unit: &Unit, index: IndexId, limit: u32) -> Result<u32> {
    let (profile, epoch) = numbers(index);
    let cleared = unit
        .execute(
            "WITH gone AS MATERIALIZED (
                 SELECT listing FROM placements WHERE profile = $1 AND epoch = $2 ORDER BY listing LIMIT $3 FOR UPDATE
             )
             DELETE FROM placements USING gone
             WHERE profile = $1 AND epoch = $2 AND placements.listing = gone.listing",
            &[&profile, &epoch, &i64::from(limit)],
        )
        .await?;
    Ok(u32::try_from(cleared).unwrap_or(u32::MAX))
}

pub(super) async fn count(unit: &Unit, index: Option<IndexId>, now: Millis) -> Result<u64> {
    let Some((profile, epoch)) = index.map(numbers) else {
        return count_by(unit, "SELECT count(*) FROM listings WHERE expires_at > $1", &[&now]).await;
    };
    count_by(
        unit,
        "SELECT count(*) FROM placements JOIN listings USING (listing)
         WHERE profile = $1 AND epoch = $2 AND expires_at > $3",
        &[&profile, &epoch, &now],
    )
    .await
}

async fn count_by(unit: &Unit, sql: &str, params: Params<'_>) -> Result<u64> {
    let row = unit.row(sql, params).await?.ok_or(DatabaseError::Answer)?;
    Ok(u64::try_from(row.try_get::<_, i64>(0)?).unwrap_or(0))
}

/// Without the gate: what has a lower number than one that is there is there as well, or never comes.
pub(super) async fn changes(
    unit: &Unit,
    after: Option<ChangeId>,
    limit: u32,
) -> Result<Vec<(ChangeId, ListingId)>> {
    let rows = match after {
        Some(after) => {
            unit.query(
                "SELECT id, listing FROM listing_changes WHERE id > $1 ORDER BY id LIMIT $2",
                &[&after.0, &i64::from(limit)],
            )
            .await?
        }
        None => {
            let sql = "SELECT id, listing FROM listing_changes ORDER BY id DESC LIMIT least($1::bigint, 1)";
            unit.query(sql, &[&i64::from(limit)]).await?
        }
    };
    rows.iter().map(|row| Ok((ChangeId(row.try_get(0)?), ListingId::from_bytes(bytes(row, 1)?)))).collect()
}

pub(super) async fn records(unit: &Unit) -> Result<Vec<DirectoryRecord>> {
    let sql = "SELECT name, version, state, content, made_at FROM directory_records ORDER BY name, version";
    let rows = unit.query(sql, &[]).await?;
    rows.iter()
        .map(|row| {
            Ok(DirectoryRecord {
                name: row.try_get(0)?,
                version: number(row, 1)?,
                state: u8::try_from(row.try_get::<_, i16>(2)?).map_err(|_| DatabaseError::Answer)?,
                content: row.try_get(3)?,
                made_at: row.try_get(4)?,
            })
        })
        .collect()
}

pub(super) async fn add_record(unit: &Unit, record: &DirectoryRecord) -> Result<bool> {
    let DirectoryRecord { name, version, state, content, made_at } = record;
    let added = unit
        .execute(
            "INSERT INTO directory_records (name, version, state, content, made_at) VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT (name, version) DO NOTHING",
            &[name, &i64::from(*version), &i16::from(*state), content, made_at],
        )
        .await?;
    Ok(added > 0)
}

pub(super) async fn change_record(
    unit: &Unit,
    name: &str,
    version: u32,
    (from, to): (u8, u8),
    content: Option<&[u8]>,
) -> Result<bool> {
    let changed = unit
        .execute(
            "UPDATE directory_records SET state = $4, content = coalesce($5, content)
             WHERE name = $1 AND version = $2 AND state = $3",
            &[&name, &i64::from(version), &i16::from(from), &i16::from(to), &content],
        )
        .await?;
    Ok(changed > 0)
}

/// Deletes up to `limit` listings that have expired, noting it, and as many changes that are too old. What another is
/// working on is passed over.
pub(super) async fn sweep(unit: &Unit, limit: u32, now: Millis) -> Result<u64> {
    let limit = i64::from(limit);
    let expired = take_down(
        unit,
        "WITH gone AS MATERIALIZED (
             SELECT listing, expires_at FROM listings WHERE expires_at <= $1 LIMIT $2 FOR UPDATE SKIP LOCKED
         )",
        &[&now, &limit],
        now,
    )
    .await?;
    let old = unit
        .execute(
            "WITH old AS MATERIALIZED (
                 SELECT id FROM listing_changes WHERE at <= $1 LIMIT $2 FOR UPDATE SKIP LOCKED
             )
             DELETE FROM listing_changes USING old WHERE listing_changes.id = old.id",
            &[&now.saturating_sub(crate::directory::CHANGES_KEPT), &limit],
        )
        .await?;
    Ok(old.saturating_add(expired.len() as u64))
}
