//! The directory's listings, and what changed.
//!
//! A listing is locked by its row, before its placements. Changes have their numbers in the order in which they are
//! committed, so that who follows them by number misses none: whoever notes one holds [`GATE`] alone until it commits. It is
//! the last thing that a verb locks, and no verb takes the audit log's as well.

use tokio_postgres::Row;

use super::error::DatabaseError;
use super::indexes;
use super::ledger::{bytes, pseudonym};
use super::unit::{Params, Result, Unit};
use crate::{
    ChangeId, Enrolled, Listing, ListingId, Millis, NewListing, Pick, Pseudonym, Revision, TokenUse,
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
    indexes::insert(unit, new.id, &new.placements).await?;
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
pub(super) async fn delete_placements(unit: &Unit, listings: &[&[u8]]) -> Result<()> {
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
pub(super) async fn note(unit: &Unit, listings: &[&[u8]], now: Millis) -> Result<()> {
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

/// Notes changes of locked listings, in the order given, and makes their numbers the listings' revisions.
pub(super) async fn note_revisions(unit: &Unit, listings: &[&[u8]], now: Millis) -> Result<()> {
    if listings.is_empty() {
        return Ok(());
    }
    unit.execute(
        "WITH gate AS MATERIALIZED (SELECT pg_advisory_xact_lock($1)),
         noted AS (
             INSERT INTO listing_changes (at, listing)
             SELECT $2::bigint, listing FROM gate, unnest($3::bytea[]) WITH ORDINALITY AS changed (listing, place)
             ORDER BY place RETURNING id, listing
         )
         UPDATE listings SET revision = noted.id FROM noted WHERE listings.listing = noted.listing",
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

pub(super) async fn select(unit: &Unit, rest: &str, params: Params<'_>) -> Result<Vec<Listing>> {
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
pub(super) fn behind(after: Option<&ListingId>) -> &[u8] {
    after.map_or(&[], |after| after.as_bytes())
}

pub(super) fn keys(ids: &[ListingId]) -> Vec<&[u8]> {
    ids.iter().map(|id| id.as_bytes().as_slice()).collect()
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

pub(super) async fn count_by(unit: &Unit, sql: &str, params: Params<'_>) -> Result<u64> {
    let row = unit.row(sql, params).await?.ok_or(DatabaseError::Answer)?;
    Ok(u64::try_from(row.try_get::<_, i64>(0)?).unwrap_or(0))
}
