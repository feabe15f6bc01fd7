//! What stands at some places of the pair side, locked, and what becomes of it.
//!
//! A verb locks its places, reads them into a [`Ledger`], applies the rules in memory, and writes what has changed, each
//! table by one statement. A place is locked by its row in `pairs`; where there is none, one is put there, and taken
//! out again if it is not needed. Everybody locks in the order of the places, and holds all locks on accounts before and
//! all on notices after, so nobody waits in a circle.
//!
//! Writing goes in stages, so that an engine without transactions over several partitions keeps every pair: what begins
//! is put down on the pair side first and marked; the account side is settled from the mark by unique key; the mark is
//! cleared. What ends is taken from the account side first. Every stage can be repeated, by the same step or by `sweep`.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use acquaint_protocol::pair::{EpochId, PairHash};
use tokio_postgres::Row;

use super::error::DatabaseError;
use super::unit::{Params, Result, Unit};
use crate::{Millis, Pseudonym};

/// Where a half may stand: there is room for one. Ordered as it is locked.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) hash: PairHash,
    pub(super) epoch: EpochId,
}

impl From<(EpochId, PairHash)> for Place {
    fn from((epoch, hash): (EpochId, PairHash)) -> Self {
        Self { hash, epoch }
    }
}

/// One account's consent: an unmatched half, or a side of a match.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Side {
    pub(super) account: Pseudonym,
    pub(super) bit: bool,
    pub(super) verified_at: Millis,
    pub(super) expires_at: Millis,
}

impl Side {
    /// Moves verification and expiry to the later of the two. Says whether that changed anything.
    pub(super) fn renew(&mut self, by: Self) -> bool {
        let before = *self;
        self.verified_at = self.verified_at.max(by.verified_at);
        self.expires_at = self.expires_at.max(by.expires_at);
        *self != before
    }
}

/// When the two sides of a new match are told, and when that is given up.
#[derive(Clone, Copy)]
pub(super) struct Telling {
    pub(super) low_at: Millis,
    pub(super) high_at: Millis,
    pub(super) until: Millis,
}

/// A match at a place.
#[derive(Clone, Copy)]
pub(super) struct Link {
    /// The smaller pseudonym first.
    sides: [Side; 2],
    pub(super) found_at: Millis,
    telling: Option<Telling>,
    stored: bool,
    changed: bool,
}

impl Link {
    pub(super) fn new(first: Side, second: Side, found_at: Millis, telling: Option<Telling>) -> Self {
        let sides = if first.account < second.account { [first, second] } else { [second, first] };
        Self { sides, found_at, telling, stored: false, changed: true }
    }

    pub(super) fn is_live(&self, now: Millis) -> bool {
        self.sides.iter().all(|side| side.expires_at > now)
    }

    /// `account`'s side, then the other.
    pub(super) fn seen_by(&self, account: Pseudonym) -> Option<(Side, Side)> {
        let [low, high] = self.sides;
        if low.account == account {
            Some((low, high))
        } else if high.account == account {
            Some((high, low))
        } else {
            None
        }
    }

    /// Renews the side of `by`'s account.
    pub(super) fn renew(&mut self, by: Side) {
        for side in self.sides.iter_mut().filter(|side| side.account == by.account) {
            self.changed |= side.renew(by);
        }
    }
}

#[derive(Default)]
struct Room {
    /// What `pairs` holds for this transaction.
    stored: Option<Side>,
    half: Option<Side>,
    links: Vec<Link>,
}

/// Locked places.
pub(super) struct Ledger {
    rooms: BTreeMap<Place, Room>,
    ended: Vec<(Place, Link)>,
}

impl Ledger {
    /// Locks the places and reads what stands there. The sides are put where nothing stands, as what will be wanted
    /// there most often; they are no part of what was read.
    pub(super) async fn lock(unit: &Unit, wanted: &BTreeMap<Place, Side>) -> Result<Self> {
        let mut rooms: BTreeMap<Place, Room> = wanted.keys().map(|place| (*place, Room::default())).collect();
        let hashes: Vec<&[u8]> = wanted.keys().map(|place| place.hash.as_bytes().as_slice()).collect();
        let epochs: Vec<i32> = wanted.keys().map(|place| epoch_out(place.epoch)).collect();
        let sides = || wanted.values();
        let accounts: Vec<&[u8]> = sides().map(|side| side.account.as_bytes().as_slice()).collect();
        let bits: Vec<bool> = sides().map(|side| side.bit).collect();
        let verified_at: Vec<Millis> = sides().map(|side| side.verified_at).collect();
        let expires_at: Vec<Millis> = sides().map(|side| side.expires_at).collect();
        let params: Params<'_> = &[&hashes, &epochs, &accounts, &bits, &verified_at, &expires_at];
        // Prepared before, so that they are sent in this order; the second begins when the first has its locks.
        let (lock, read) = (include_str!("sql/lock_places.sql"), include_str!("sql/read_links.sql"));
        unit.prepare(lock).await?;
        unit.prepare(read).await?;
        let linked: Params<'_> = &[&hashes, &epochs];
        let (put, linked) = futures::try_join!(unit.query(lock, params), unit.query(read, linked))?;
        for row in &put {
            let place = place_at(row)?;
            if let (Some(room), Some(side)) = (rooms.get_mut(&place), wanted.get(&place)) {
                room.stored = Some(*side);
            }
        }
        let met: Vec<Place> =
            rooms.iter().filter(|(_, room)| room.stored.is_none()).map(|(place, _)| *place).collect();
        if !met.is_empty() {
            let (hashes, epochs) = columns(&met);
            for row in unit.query(include_str!("sql/read_pairs.sql"), &[&hashes, &epochs]).await? {
                let side = Side {
                    account: pseudonym(&row, 2)?,
                    bit: row.try_get(3)?,
                    verified_at: row.try_get(4)?,
                    expires_at: row.try_get(5)?,
                };
                if let Some(room) = rooms.get_mut(&place_at(&row)?) {
                    room.stored = Some(side);
                    room.half = Some(side);
                }
            }
        }
        for row in &linked {
            if let Some(room) = rooms.get_mut(&place_at(row)?) {
                room.links.push(link_at(row)?);
            }
        }
        Ok(Self { rooms, ended: Vec::new() })
    }

    /// As [`Self::lock`], for who wants nothing there.
    pub(super) async fn lock_places(unit: &Unit, places: &BTreeSet<Place>) -> Result<Self> {
        let nobody =
            Side { account: Pseudonym::from_bytes([0; 16]), bit: false, verified_at: 0, expires_at: 0 };
        Self::lock(unit, &places.iter().map(|place| (*place, nobody)).collect()).await
    }

    pub(super) fn places(&self) -> impl Iterator<Item = Place> {
        self.rooms.keys().copied()
    }

    pub(super) fn holds(&self, place: Place) -> bool {
        self.rooms.contains_key(&place)
    }

    /// The half that stands there unexpired.
    pub(super) fn standing(&self, place: Place, now: Millis) -> Option<Side> {
        self.half(place).filter(|half| half.expires_at > now)
    }

    /// The half there, expired or not.
    pub(super) fn half(&self, place: Place) -> Option<Side> {
        self.rooms.get(&place).and_then(|room| room.half)
    }

    /// Puts a half into a place, whatever stands there.
    pub(super) fn stand(&mut self, place: Place, half: Side) {
        if let Some(room) = self.rooms.get_mut(&place) {
            room.half = Some(half);
        }
    }

    pub(super) fn take_out(&mut self, place: Place) {
        if let Some(room) = self.rooms.get_mut(&place) {
            room.half = None;
        }
    }

    pub(super) fn links(&self, place: Place) -> &[Link] {
        self.rooms.get(&place).map_or(&[], |room| &room.links)
    }

    pub(super) fn links_mut(&mut self, place: Place) -> &mut [Link] {
        self.rooms.get_mut(&place).map_or(&mut [], |room| &mut room.links)
    }

    pub(super) fn link(&mut self, place: Place, link: Link) {
        if let Some(room) = self.rooms.get_mut(&place) {
            room.links.push(link);
        }
    }

    /// Moves the match of the two to another place. If they are matched there already, it only renews that match.
    pub(super) fn move_link(&mut self, from: Place, to: Place, me: Pseudonym, other: Pseudonym) {
        let between = |link: &Link| link.seen_by(me).is_some_and(|(_, theirs)| theirs.account == other);
        let Some(room) = self.rooms.get_mut(&from) else { return };
        let Some(index) = room.links.iter().position(between) else { return };
        let link = room.links.remove(index);
        if link.stored {
            self.ended.push((from, link));
        }
        let Some(room) = self.rooms.get_mut(&to) else { return };
        match room.links.iter_mut().find(|link| between(link)) {
            Some(there) => link.sides.into_iter().for_each(|side| there.renew(side)),
            None => room.links.push(Link { stored: false, changed: true, ..link }),
        }
    }

    /// Ends the matches at a place that `ends` names. The halves of the sides that `stands` names stand again: of
    /// several the later verification, at a tie the earlier match's; and what stands stays. Returns how many ended.
    pub(super) fn end(
        &mut self,
        place: Place,
        now: Millis,
        ends: impl Fn(&Link) -> bool,
        stands: impl Fn(&Side) -> bool,
    ) -> u64 {
        let Some(room) = self.rooms.get_mut(&place) else { return 0 };
        let (ended, kept): (Vec<Link>, Vec<Link>) = room.links.iter().partition(|link| ends(link));
        room.links = kept;
        let mut back: Vec<(Millis, Side)> =
            ended.iter().flat_map(|link| link.sides.map(|side| (link.found_at, side))).collect();
        back.retain(|(_, side)| side.expires_at > now && stands(side));
        back.sort_by_key(|(found_at, side)| (Reverse(side.verified_at), *found_at, side.account));
        if room.half.is_none_or(|half| half.expires_at <= now)
            && let Some((_, side)) = back.first()
        {
            room.half = Some(*side);
        }
        let count = u64::try_from(ended.len()).unwrap_or(u64::MAX);
        self.ended.extend(ended.into_iter().filter(|link| link.stored).map(|link| (place, link)));
        count
    }

    /// Ends the matches at a place that have an expired side.
    pub(super) fn settle(&mut self, place: Place, now: Millis) -> u64 {
        self.end(place, now, |link| !link.is_live(now), |_| true)
    }

    /// Writes what has changed, in the stages that this module's head tells.
    pub(super) async fn write(&self, unit: &Unit, now: Millis) -> Result<()> {
        self.take_away(unit).await?;
        let mut put = Vec::new();
        let mut taken = Vec::new();
        for (place, room) in &self.rooms {
            match room.half {
                Some(half) if room.stored != Some(half) => put.push((*place, half)),
                None if room.stored.is_some() => taken.push(*place),
                _ => {}
            }
        }
        if !taken.is_empty() {
            let (hashes, epochs) = columns(&taken);
            unit.execute(include_str!("sql/delete_pairs.sql"), &[&hashes, &epochs]).await?;
        }
        if !put.is_empty() {
            let places: Vec<Place> = put.iter().map(|(place, _)| *place).collect();
            let (hashes, epochs) = columns(&places);
            unit.execute(
                include_str!("sql/put_pairs.sql"),
                &[
                    &hashes,
                    &epochs,
                    &put.iter().map(|(_, half)| half.account.as_bytes().as_slice()).collect::<Vec<_>>(),
                    &put.iter().map(|(_, half)| half.bit).collect::<Vec<_>>(),
                    &put.iter().map(|(_, half)| half.verified_at).collect::<Vec<_>>(),
                    &put.iter().map(|(_, half)| half.expires_at).collect::<Vec<_>>(),
                ],
            )
            .await?;
        }
        let links = self.rooms.iter().flat_map(|(place, room)| room.links.iter().map(|link| (*place, *link)));
        let changed: Vec<(Place, Link)> = links.filter(|(_, link)| link.changed).collect();
        if changed.is_empty() {
            return Ok(());
        }
        mark(unit, &changed).await?;
        settle_accounts(unit, &changed, now).await?;
        let keys = Keys::of(&changed);
        unit.execute(
            include_str!("sql/clear_links.sql"),
            &[&keys.hashes, &keys.epochs, &keys.low, &keys.high],
        )
        .await?;
        Ok(())
    }

    async fn take_away(&self, unit: &Unit) -> Result<()> {
        if self.ended.is_empty() {
            return Ok(());
        }
        let keys = Keys::of(&self.ended);
        let (hashes, epochs) = (twice(&keys.hashes), twice(&keys.epochs));
        let accounts = [keys.low.clone(), keys.high.clone()].concat();
        let others = [keys.high.clone(), keys.low.clone()].concat();
        unit.execute(include_str!("sql/delete_matches.sql"), &[&accounts, &others, &hashes, &epochs]).await?;
        unit.execute(
            include_str!("sql/delete_links.sql"),
            &[&keys.hashes, &keys.epochs, &keys.low, &keys.high],
        )
        .await?;
        Ok(())
    }
}

/// Stage one: the truth, with what is still to be done about it.
async fn mark(unit: &Unit, links: &[(Place, Link)]) -> Result<()> {
    let keys = Keys::of(links);
    let times = |of: fn(&Link) -> Millis| links.iter().map(|(_, link)| of(link)).collect::<Vec<_>>();
    let bits = |which: usize| links.iter().map(|(_, link)| link.sides[which].bit).collect::<Vec<_>>();
    let due = |of: fn(&Telling) -> Millis| {
        links.iter().map(|(_, link)| link.telling.as_ref().map(of)).collect::<Vec<Option<Millis>>>()
    };
    unit.execute(
        include_str!("sql/mark_links.sql"),
        &[
            &keys.hashes,
            &keys.epochs,
            &keys.low,
            &keys.high,
            &bits(0),
            &bits(1),
            &times(|link| link.sides[0].verified_at),
            &times(|link| link.sides[0].expires_at),
            &times(|link| link.sides[1].verified_at),
            &times(|link| link.sides[1].expires_at),
            &times(|link| link.found_at),
            &due(|telling| telling.low_at),
            &due(|telling| telling.high_at),
            &due(|telling| telling.until),
        ],
    )
    .await?;
    Ok(())
}

/// Stage two: notices, for who was not matched with the other before, and then both rows of each match.
async fn settle_accounts(unit: &Unit, links: &[(Place, Link)], now: Millis) -> Result<()> {
    let mut notices: Vec<(Pseudonym, Pseudonym, Millis, Millis, Millis)> = Vec::new();
    for (_, link) in links {
        if let Some(telling) = link.telling {
            let [low, high] = link.sides.map(|side| side.account);
            notices.push((low, high, link.found_at, telling.low_at, telling.until));
            notices.push((high, low, link.found_at, telling.high_at, telling.until));
        }
    }
    if !notices.is_empty() {
        unit.execute(
            include_str!("sql/put_notices.sql"),
            &[
                &notices.iter().map(|notice| notice.0.as_bytes().as_slice()).collect::<Vec<_>>(),
                &notices.iter().map(|notice| notice.1.as_bytes().as_slice()).collect::<Vec<_>>(),
                &notices.iter().map(|notice| notice.2).collect::<Vec<_>>(),
                &notices.iter().map(|notice| notice.3).collect::<Vec<_>>(),
                &notices.iter().map(|notice| notice.4).collect::<Vec<_>>(),
                &now,
            ],
        )
        .await?;
    }
    let keys = Keys::of(links);
    let expiry =
        |which: usize| links.iter().map(|(_, link)| link.sides[which].expires_at).collect::<Vec<_>>();
    unit.execute(
        include_str!("sql/put_matches.sql"),
        &[
            &[keys.low.clone(), keys.high.clone()].concat(),
            &[keys.high.clone(), keys.low.clone()].concat(),
            &twice(&keys.hashes),
            &twice(&keys.epochs),
            &[expiry(0), expiry(1)].concat(),
            &[expiry(1), expiry(0)].concat(),
            &twice(&links.iter().map(|(_, link)| link.found_at).collect::<Vec<_>>()),
        ],
    )
    .await?;
    Ok(())
}

/// The unique keys of links, column by column.
struct Keys<'a> {
    hashes: Vec<&'a [u8]>,
    epochs: Vec<i32>,
    low: Vec<&'a [u8]>,
    high: Vec<&'a [u8]>,
}

impl<'a> Keys<'a> {
    fn of(links: &'a [(Place, Link)]) -> Self {
        let account = |which: usize| {
            links.iter().map(|(_, link)| link.sides[which].account.as_bytes().as_slice()).collect()
        };
        Self {
            hashes: links.iter().map(|(place, _)| place.hash.as_bytes().as_slice()).collect(),
            epochs: links.iter().map(|(place, _)| epoch_out(place.epoch)).collect(),
            low: account(0),
            high: account(1),
        }
    }
}

fn twice<T: Clone>(values: &[T]) -> Vec<T> {
    [values, values].concat()
}

fn columns(places: &[Place]) -> (Vec<&[u8]>, Vec<i32>) {
    (
        places.iter().map(|place| place.hash.as_bytes().as_slice()).collect(),
        places.iter().map(|place| epoch_out(place.epoch)).collect(),
    )
}

/// PostgreSQL has no unsigned integers; the bits are kept.
fn epoch_out(epoch: EpochId) -> i32 {
    epoch.get().cast_signed()
}

/// Columns 0 and 1 of a row.
pub(super) fn place_at(row: &Row) -> Result<Place> {
    let epoch: i32 = row.try_get(1)?;
    Ok(Place { hash: PairHash::from_bytes(bytes(row, 0)?), epoch: EpochId::new(epoch.cast_unsigned()) })
}

fn link_at(row: &Row) -> Result<Link> {
    let side = |first: usize| -> Result<Side> {
        Ok(Side {
            account: pseudonym(row, first)?,
            bit: row.try_get(first + 1)?,
            verified_at: row.try_get(first + 2)?,
            expires_at: row.try_get(first + 3)?,
        })
    };
    let settled: bool = row.try_get(11)?;
    let due: (Option<Millis>, Option<Millis>, Option<Millis>) =
        (row.try_get(12)?, row.try_get(13)?, row.try_get(14)?);
    let telling = match due {
        (Some(low_at), Some(high_at), Some(until)) => Some(Telling { low_at, high_at, until }),
        _ => None,
    };
    let sides = [side(2)?, side(6)?];
    Ok(Link { sides, found_at: row.try_get(10)?, telling, stored: true, changed: !settled })
}

/// A column of fixed length.
pub(super) fn bytes<const N: usize>(row: &Row, column: usize) -> Result<[u8; N]> {
    let value: &[u8] = row.try_get(column)?;
    value.try_into().map_err(|_| DatabaseError::Answer)
}

/// A column that holds a pseudonym.
pub(super) fn pseudonym(row: &Row, column: usize) -> Result<Pseudonym> {
    bytes(row, column).map(Pseudonym::from_bytes)
}
