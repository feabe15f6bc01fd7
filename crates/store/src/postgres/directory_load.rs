//! Listings that the operator puts up, many in a few statements.
//!
//! Locks are taken as everywhere: accounts, then listings, each in the order of their ids, then placements, and last the gate.

use std::collections::{BTreeMap, BTreeSet};

use super::directory::{delete_placements, note_revisions, select};
use super::indexes::insert_all;
use super::unit::{Result, Unit};
use crate::{Listing, ListingId, Load, Loaded, LoadedListing, Millis, NewContent, Pseudonym};

pub(super) async fn load(unit: &Unit, new: &[LoadedListing], now: Millis) -> Result<Vec<Loaded>> {
    lock_accounts(unit, new).await?;
    let fresh = put_new(unit, new).await?;
    let old: Vec<&LoadedListing> = new.iter().filter(|it| !fresh.contains(&it.id)).collect();
    let standing = lock(unit, &old, now).await?;
    let loaded: Vec<Loaded> = new
        .iter()
        .map(|it| {
            if fresh.contains(&it.id) {
                return if content(it).is_some() { Loaded::Listed } else { Loaded::Moved };
            }
            crate::directory::loaded(it, standing.get(&it.id))
        })
        .collect();
    let stray: Vec<&[u8]> = new
        .iter()
        .filter(|it| fresh.contains(&it.id) && content(it).is_none())
        .map(|it| bytes(&it.id))
        .collect();
    if !stray.is_empty() {
        unit.execute("DELETE FROM listings WHERE listing = ANY($1)", &[&stray]).await?;
    }
    let with = |wanted: Loaded| {
        let both = new.iter().zip(&loaded);
        both.filter(move |(_, loaded)| **loaded == wanted).map(|(it, _)| it)
    };
    let replaced: Vec<&LoadedListing> = with(Loaded::Listed).filter(|it| !fresh.contains(&it.id)).collect();
    replace(unit, &replaced).await?;
    let mut placements = Vec::new();
    for listing in with(Loaded::Listed) {
        let put = content(listing).map_or(&[][..], |new| &new.placements);
        placements.extend(put.iter().map(|placement| (&listing.id, placement)));
    }
    insert_all(unit, &placements).await?;
    let later =
        |it: &&LoadedListing| standing.get(&it.id).is_some_and(|there| there.verified_at < it.verified_at);
    let prolonged: Vec<&LoadedListing> = with(Loaded::Unchanged).filter(later).collect();
    prolong(unit, &prolonged).await?;
    let changed: Vec<&[u8]> = with(Loaded::Listed).chain(prolonged).map(|it| bytes(&it.id)).collect();
    note_revisions(unit, &changed, now).await?;
    Ok(loaded)
}

fn content(listing: &LoadedListing) -> Option<&NewContent> {
    match &listing.load {
        Load::New(content) => Some(content),
        Load::Same(_) => None,
    }
}

fn bytes(id: &ListingId) -> &[u8] {
    id.as_bytes()
}

/// Makes the rows of accounts that have none, and keeps and locks those that are there, so that none is swept or removed
/// meanwhile.
async fn lock_accounts(unit: &Unit, new: &[LoadedListing]) -> Result<()> {
    let accounts: BTreeMap<Pseudonym, &NewContent> =
        new.iter().filter_map(|it| content(it).map(|new| (it.account, new))).collect();
    if accounts.is_empty() {
        return Ok(());
    }
    let ids: Vec<&[u8]> = accounts.keys().map(|account| account.as_bytes().as_slice()).collect();
    let sealed: Vec<&[u8]> = accounts.values().map(|new| new.sealed_account.as_slice()).collect();
    let generations: Vec<i64> = accounts.values().map(|new| new.fresh_generation.0).collect();
    let forget_at: Vec<Millis> = accounts.values().map(|new| new.forget_at).collect();
    unit.execute(
        "INSERT INTO accounts (account, sealed, generation, forget_at)
         SELECT * FROM unnest($1::bytea[], $2::bytea[], $3::bigint[], $4::bigint[])
             AS new (account, sealed, generation, forget_at) ORDER BY account
         ON CONFLICT (account) DO UPDATE SET forget_at = excluded.forget_at
         WHERE accounts.forget_at < excluded.forget_at",
        &[&ids, &sealed, &generations, &forget_at],
    )
    .await?;
    Ok(())
}

/// Puts up those of which there is no row, and locks the rows of the others, all in one order: also those that are to be the
/// same as a row that is not there. Returns which were put up; their revision is still to come.
async fn put_new(unit: &Unit, new: &[LoadedListing]) -> Result<BTreeSet<ListingId>> {
    let columns = Columns::of(new.iter());
    if columns.ids.is_empty() {
        return Ok(BTreeSet::new());
    }
    let rows = unit
        .query(
            "INSERT INTO listings (listing, account, sealed, verified_at, expires_at, revision)
             SELECT listing, account, sealed, verified_at, expires_at, 0
             FROM unnest($1::bytea[], $2::bytea[], $3::bytea[], $4::bigint[], $5::bigint[])
                 AS new (listing, account, sealed, verified_at, expires_at) ORDER BY listing
             ON CONFLICT (listing) DO UPDATE SET revision = listings.revision WHERE false
             RETURNING listing",
            &[&columns.ids, &columns.accounts, &columns.sealed, &columns.verified_at, &columns.expires_at],
        )
        .await?;
    rows.iter().map(|row| Ok(ListingId::from_bytes(super::ledger::bytes(row, 0)?))).collect()
}

/// Locks what is there, and reads it as it is then.
async fn lock(unit: &Unit, old: &[&LoadedListing], now: Millis) -> Result<BTreeMap<ListingId, Listing>> {
    if old.is_empty() {
        return Ok(BTreeMap::new());
    }
    let ids: Vec<&[u8]> = old.iter().map(|it| bytes(&it.id)).collect();
    unit.query("SELECT 1 FROM listings WHERE listing = ANY($1) ORDER BY listing FOR NO KEY UPDATE", &[&ids])
        .await?;
    let there = select(unit, "WHERE listing = ANY($1) AND expires_at > $2", &[&ids, &now]).await?;
    Ok(there.into_iter().map(|it| (it.id, it)).collect())
}

/// Puts listings in the place of those that stood, which are locked, and whose placements go.
async fn replace(unit: &Unit, new: &[&LoadedListing]) -> Result<()> {
    let columns = Columns::of(new.iter().copied());
    if columns.ids.is_empty() {
        return Ok(());
    }
    delete_placements(unit, &columns.ids).await?;
    unit.execute(
        "UPDATE listings
         SET account = new.account, sealed = new.sealed, verified_at = new.verified_at, expires_at = new.expires_at
         FROM unnest($1::bytea[], $2::bytea[], $3::bytea[], $4::bigint[], $5::bigint[])
             AS new (listing, account, sealed, verified_at, expires_at)
         WHERE listings.listing = new.listing",
        &[&columns.ids, &columns.accounts, &columns.sealed, &columns.verified_at, &columns.expires_at],
    )
    .await?;
    Ok(())
}

/// Lets listings live longer, which are locked.
async fn prolong(unit: &Unit, new: &[&LoadedListing]) -> Result<()> {
    if new.is_empty() {
        return Ok(());
    }
    let ids: Vec<&[u8]> = new.iter().map(|it| bytes(&it.id)).collect();
    let verified_at: Vec<Millis> = new.iter().map(|it| it.verified_at).collect();
    let expires_at: Vec<Millis> = new.iter().map(|it| it.expires_at).collect();
    unit.execute(
        "UPDATE listings
         SET verified_at = new.verified_at, expires_at = greatest(listings.expires_at, new.expires_at)
         FROM unnest($1::bytea[], $2::bigint[], $3::bigint[]) AS new (listing, verified_at, expires_at)
         WHERE listings.listing = new.listing",
        &[&ids, &verified_at, &expires_at],
    )
    .await?;
    Ok(())
}

/// Columns of listings. Those that are to be the same as one have nothing sealed.
#[derive(Default)]
struct Columns<'a> {
    ids: Vec<&'a [u8]>,
    accounts: Vec<&'a [u8]>,
    sealed: Vec<&'a [u8]>,
    verified_at: Vec<Millis>,
    expires_at: Vec<Millis>,
}

impl<'a> Columns<'a> {
    fn of(new: impl Iterator<Item = &'a LoadedListing>) -> Self {
        let mut columns = Self::default();
        for listing in new {
            columns.ids.push(bytes(&listing.id));
            columns.accounts.push(listing.account.as_bytes());
            columns.sealed.push(content(listing).map_or(&[], |content| &content.sealed));
            columns.verified_at.push(listing.verified_at);
            columns.expires_at.push(listing.expires_at);
        }
        columns
    }
}
