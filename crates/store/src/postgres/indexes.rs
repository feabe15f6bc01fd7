//! Where listings stand in the directory's indexes, and the directory's own records.

use super::directory::{behind, count_by, keys, note, select};
use super::error::DatabaseError;
use super::imports::number;
use super::ledger::bytes;
use super::unit::{Params, Result, Unit};
use crate::{DirectoryRecord, IndexId, Listing, ListingId, Millis, Pick, Placement, Revision};

pub(super) async fn placements(
    unit: &Unit,
    index: IndexId,
    pick: &Pick,
    now: Millis,
) -> Result<Vec<(ListingId, Placement)>> {
    let placement = "SELECT listing, placements.sealed FROM placements JOIN listings USING (listing)
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
            let placement = Placement { index, sealed: row.try_get(1)? };
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
    sealed: Vec<&'a [u8]>,
}

impl<'a> Columns<'a> {
    fn of(placements: impl Iterator<Item = (&'a ListingId, &'a Revision, &'a Placement)>) -> Self {
        let mut columns = Self {
            listings: Vec::new(),
            revisions: Vec::new(),
            profiles: Vec::new(),
            epochs: Vec::new(),
            sealed: Vec::new(),
        };
        for (id, revision, placement) in placements {
            let (profile, epoch) = numbers(placement.index);
            columns.listings.push(id.as_bytes());
            columns.revisions.push(revision.0);
            columns.profiles.push(profile);
            columns.epochs.push(epoch);
            columns.sealed.push(&placement.sealed);
        }
        columns
    }
}

/// Puts down where a locked listing stands, that stands nowhere yet.
pub(super) async fn insert(unit: &Unit, id: ListingId, placements: &[Placement]) -> Result<()> {
    let placements: Vec<_> = placements.iter().map(|placement| (&id, placement)).collect();
    insert_all(unit, &placements).await
}

/// As [`insert`], of several.
pub(super) async fn insert_all(unit: &Unit, placements: &[(&ListingId, &Placement)]) -> Result<()> {
    let columns = Columns::of(placements.iter().map(|(id, placement)| (*id, &Revision(0), *placement)));
    unit.execute(
        "INSERT INTO placements (listing, profile, epoch, sealed)
         SELECT listing, profile, epoch, sealed
         FROM unnest($1::bytea[], $2::smallint[], $3::bigint[], $4::bytea[])
             AS new (listing, profile, epoch, sealed)",
        &[&columns.listings, &columns.profiles, &columns.epochs, &columns.sealed],
    )
    .await?;
    Ok(())
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
            "INSERT INTO placements (listing, profile, epoch, sealed)
             SELECT listing, profile, epoch, new.sealed
             FROM unnest($1::bytea[], $2::bigint[], $3::smallint[], $4::bigint[], $5::bytea[])
                 AS new (listing, revision, profile, epoch, sealed)
             JOIN listings USING (listing, revision) WHERE expires_at > $6
             ON CONFLICT (profile, epoch, listing) DO NOTHING RETURNING listing",
            &[
                &columns.listings,
                &columns.revisions,
                &columns.profiles,
                &columns.epochs,
                &columns.sealed,
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
