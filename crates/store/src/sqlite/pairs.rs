//! The rules of matching, as [`crate::Store`] states them.

use acquaint_protocol::pair::{EpochId, PairHash};
use rusqlite::{Connection, OptionalExtension, Result, Row, params};

use super::notices;
use crate::{Half, HalfOutcome, ImportStep, Millis, NoticeTimes, Pseudonym};

/// Where a half may stand: there is room for one.
type Place = (EpochId, PairHash);

/// An unmatched half.
#[derive(Clone, Copy)]
struct Standing {
    place: Place,
    account: Pseudonym,
    bit: bool,
    verified_at: Millis,
    expires_at: Millis,
}

/// One side of a match.
#[derive(Clone, Copy)]
struct Side {
    half: Standing,
    other: Pseudonym,
    other_expires_at: Millis,
    found_at: Millis,
}

/// What of a pair is there already, under every epoch that the submitter knows.
#[derive(Default)]
struct Met {
    halves: Vec<Standing>,
    /// The submitter's own sides.
    matches: Vec<Side>,
}

pub(super) fn submit(
    connection: &Connection,
    step: &ImportStep,
    half: &Half,
    now: Millis,
) -> Result<HalfOutcome> {
    let Some(place) = half.hashes.first().copied() else { return Ok(HalfOutcome::default()) };
    let submitted = Standing {
        place,
        account: step.account,
        bit: half.bit,
        verified_at: step.verified_at,
        expires_at: step.expires_at,
    };
    let mut met = meet(connection, step.account, &half.hashes, now)?;
    let held = !met.matches.is_empty() || met.halves.iter().any(|h| h.account == step.account);
    // What has expired counts as absent, also on its way in.
    if submitted.expires_at > now {
        apply(connection, submitted, &mut met, step.notices, now)?;
    }
    Ok(HalfOutcome { matched: undismissed(connection, step.account, &met.matches)?, held })
}

fn apply(
    connection: &Connection,
    submitted: Standing,
    met: &mut Met,
    notices: Option<NoticeTimes>,
    now: Millis,
) -> Result<()> {
    let me = submitted.account;
    let (same, rest): (Vec<Standing>, Vec<Standing>) =
        met.halves.iter().partition(|h| h.account == me && h.bit == submitted.bit);
    // Held already: verification and expiry move to the later of the two.
    let mut mine = submitted;
    let held_sides = met.matches.iter().map(|side| &side.half).filter(|half| half.bit == mine.bit);
    for held in same.iter().chain(held_sides) {
        mine.verified_at = mine.verified_at.max(held.verified_at);
        mine.expires_at = mine.expires_at.max(held.expires_at);
    }
    for side in &mut met.matches {
        renew(connection, side, mine)?;
        // So that a re-import takes a match out of an older epoch, as it does a half.
        if side.half.place != mine.place {
            move_match(connection, side, mine.place)?;
        }
    }
    let was_matched = !met.matches.is_empty();

    // Another account's opposite half: a match, or a further one.
    let (opposite, rivals): (Vec<Standing>, Vec<Standing>) =
        rest.into_iter().partition(|h| h.account != me && h.bit != mine.bit);
    for theirs in &opposite {
        take_out(connection, theirs.place)?;
        join(connection, mine, *theirs, &mut met.matches, notices, now)?;
    }

    if !opposite.is_empty() {
        same.iter().try_for_each(|half| take_out(connection, half.place))
    } else if !same.is_empty() {
        hold(connection, mine, &same, &rivals)
    } else if was_matched || rivals.iter().any(|rival| rival.verified_at >= mine.verified_at) {
        // In a match already; or the number is claimed twice, and the standing claim is no older.
        Ok(())
    } else {
        rivals.iter().try_for_each(|rival| take_out(connection, rival.place))?;
        stand(connection, mine)
    }
}

/// Renews a half that stands, and moves it to the newest epoch if that is free.
fn hold(connection: &Connection, mine: Standing, same: &[Standing], rivals: &[Standing]) -> Result<()> {
    if rivals.iter().any(|rival| rival.place == mine.place) {
        return same.iter().try_for_each(|half| stand(connection, Standing { place: half.place, ..mine }));
    }
    for half in same.iter().filter(|half| half.place != mine.place) {
        take_out(connection, half.place)?;
    }
    stand(connection, mine)
}

/// Makes `mine` and `theirs` a match under the submitter's newest epoch. If the two are matched over this pair
/// already, their half only renews their side.
fn join(
    connection: &Connection,
    mine: Standing,
    theirs: Standing,
    matches: &mut Vec<Side>,
    notices: Option<NoticeTimes>,
    now: Millis,
) -> Result<()> {
    if let Some(side) = matches.iter_mut().find(|side| side.other == theirs.account) {
        let mut their_side = opposite_side(connection, side)?;
        renew(connection, &mut their_side, theirs)?;
        side.other_expires_at = their_side.half.expires_at;
        return Ok(());
    }
    if let Some(times) = notices {
        // Before the match is there, so that one over another pair of the same two shows.
        notices::queue(connection, mine.account, theirs.account, times, now)?;
    }
    let side = Side { half: mine, other: theirs.account, other_expires_at: theirs.expires_at, found_at: now };
    insert_side(connection, &side)?;
    insert_side(
        connection,
        &Side {
            half: Standing { place: mine.place, ..theirs },
            other: mine.account,
            other_expires_at: mine.expires_at,
            found_at: now,
        },
    )?;
    matches.push(side);
    Ok(())
}

/// Moves a side's verification and expiry to the later of its own and `to`'s, and the other row's copy with it.
fn renew(connection: &Connection, side: &mut Side, to: Standing) -> Result<()> {
    let verified_at = side.half.verified_at.max(to.verified_at);
    let expires_at = side.half.expires_at.max(to.expires_at);
    if (verified_at, expires_at) == (side.half.verified_at, side.half.expires_at) {
        return Ok(());
    }
    side.half.verified_at = verified_at;
    side.half.expires_at = expires_at;
    let (epoch, hash) = side.half.place;
    connection
        .prepare_cached(
            "UPDATE matches SET verified_at = ?5, expires_at = ?6
             WHERE account = ?1 AND epoch = ?2 AND hash = ?3 AND other = ?4",
        )?
        .execute(params![
            side.half.account.as_bytes(),
            epoch.get(),
            hash.as_bytes(),
            side.other.as_bytes(),
            verified_at,
            expires_at
        ])?;
    connection
        .prepare_cached(
            "UPDATE matches SET other_expires_at = ?5
             WHERE account = ?4 AND epoch = ?2 AND hash = ?3 AND other = ?1",
        )?
        .execute(params![
            side.half.account.as_bytes(),
            epoch.get(),
            hash.as_bytes(),
            side.other.as_bytes(),
            expires_at
        ])?;
    Ok(())
}

/// Moves a match, both its sides, to another place. If the two are matched there already, it only renews that match.
fn move_match(connection: &Connection, side: &mut Side, to: Place) -> Result<()> {
    let mut theirs = opposite_side(connection, side)?;
    for moved in [&mut *side, &mut theirs] {
        delete_side(connection, moved)?;
        moved.half.place = to;
    }
    let there = sides(connection, to)?;
    for moved in [&*side, &theirs] {
        let (me, other) = (moved.half.account, moved.other);
        match there.iter().find(|there| there.half.account == me && there.other == other) {
            Some(there) => renew(connection, &mut there.clone(), moved.half)?,
            None => insert_side(connection, moved)?,
        }
    }
    Ok(())
}

fn meet(connection: &Connection, me: Pseudonym, places: &[Place], now: Millis) -> Result<Met> {
    let mut met = Met::default();
    for place in places {
        let (live, _) = settle(connection, *place, now)?;
        met.matches.extend(live.into_iter().filter(|side| side.half.account == me));
        met.halves.extend(standing(connection, *place, now)?);
    }
    Ok(met)
}

/// Ends the matches of this pair that have an expired side, and says how many.
pub(super) fn end_expired(connection: &Connection, place: Place, now: Millis) -> Result<u64> {
    settle(connection, place, now).map(|(_, ended)| ended)
}

/// Ends what matches of this pair have an expired side; the unexpired side's half stands again. Returns the sides of
/// live matches and how many matches it ended.
fn settle(connection: &Connection, place: Place, now: Millis) -> Result<(Vec<Side>, u64)> {
    let (live, mut dead): (Vec<Side>, Vec<Side>) = sides(connection, place)?
        .into_iter()
        .partition(|side| side.half.expires_at.min(side.other_expires_at) > now);
    for side in &dead {
        delete_side(connection, side)?;
    }
    let ended = dead.iter().filter(|side| side.half.account < side.other).count();
    // Of several, the later verification is to stand; at a tie the earlier match's.
    dead.sort_by_key(|side| (std::cmp::Reverse(side.half.verified_at), side.found_at, side.half.account));
    for side in dead.iter().filter(|side| side.half.expires_at > now) {
        stand_again(connection, &side.half, now)?;
    }
    Ok((live, u64::try_from(ended).unwrap_or(u64::MAX)))
}

fn sides(connection: &Connection, place: Place) -> Result<Vec<Side>> {
    let (epoch, hash) = place;
    connection
        .prepare_cached(
            "SELECT account, bit, verified_at, expires_at, other, other_expires_at, found_at
             FROM matches WHERE epoch = ?1 AND hash = ?2 ORDER BY found_at, account, other",
        )?
        .query_map(params![epoch.get(), hash.as_bytes()], |row| side_at(place, row))?
        .collect()
}

fn side_at(place: Place, row: &Row<'_>) -> Result<Side> {
    Ok(Side {
        half: half_at(place, row)?,
        other: Pseudonym::from_bytes(row.get(4)?),
        other_expires_at: row.get(5)?,
        found_at: row.get(6)?,
    })
}

fn half_at(place: Place, row: &Row<'_>) -> Result<Standing> {
    Ok(Standing {
        place,
        account: Pseudonym::from_bytes(row.get(0)?),
        bit: row.get(1)?,
        verified_at: row.get(2)?,
        expires_at: row.get(3)?,
    })
}

fn opposite_side(connection: &Connection, side: &Side) -> Result<Side> {
    let (epoch, hash) = side.half.place;
    connection
        .prepare_cached(
            "SELECT account, bit, verified_at, expires_at, other, other_expires_at, found_at FROM matches
             WHERE account = ?1 AND epoch = ?2 AND hash = ?3 AND other = ?4",
        )?
        .query_row(
            params![side.other.as_bytes(), epoch.get(), hash.as_bytes(), side.half.account.as_bytes()],
            |row| side_at(side.half.place, row),
        )
}

fn insert_side(connection: &Connection, side: &Side) -> Result<()> {
    let (epoch, hash) = side.half.place;
    connection
        .prepare_cached(
            "INSERT INTO matches
             (account, epoch, hash, other, bit, verified_at, expires_at, other_expires_at, found_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        )?
        .execute(params![
            side.half.account.as_bytes(),
            epoch.get(),
            hash.as_bytes(),
            side.other.as_bytes(),
            side.half.bit,
            side.half.verified_at,
            side.half.expires_at,
            side.other_expires_at,
            side.found_at
        ])?;
    Ok(())
}

fn delete_side(connection: &Connection, side: &Side) -> Result<()> {
    let (epoch, hash) = side.half.place;
    connection
        .prepare_cached("DELETE FROM matches WHERE account = ?1 AND epoch = ?2 AND hash = ?3 AND other = ?4")?
        .execute(params![
            side.half.account.as_bytes(),
            epoch.get(),
            hash.as_bytes(),
            side.other.as_bytes()
        ])?;
    Ok(())
}

fn standing(connection: &Connection, place: Place, now: Millis) -> Result<Option<Standing>> {
    connection
        .prepare_cached(
            "SELECT account, bit, verified_at, expires_at FROM pairs
             WHERE epoch = ?1 AND hash = ?2 AND expires_at > ?3",
        )?
        .query_row(params![place.0.get(), place.1.as_bytes(), now], |row| half_at(place, row))
        .optional()
}

/// Puts a half into its place, whatever stands there.
fn stand(connection: &Connection, half: Standing) -> Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO pairs (epoch, hash, account, bit, verified_at, expires_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)
             ON CONFLICT (epoch, hash) DO UPDATE
             SET account = excluded.account, bit = excluded.bit,
                 verified_at = excluded.verified_at, expires_at = excluded.expires_at",
        )?
        .execute(params![
            half.place.0.get(),
            half.place.1.as_bytes(),
            half.account.as_bytes(),
            half.bit,
            half.verified_at,
            half.expires_at
        ])?;
    Ok(())
}

/// The half of an ended match stands again, unless another has taken its place.
fn stand_again(connection: &Connection, half: &Standing, now: Millis) -> Result<()> {
    if standing(connection, half.place, now)?.is_none() { stand(connection, *half) } else { Ok(()) }
}

fn take_out(connection: &Connection, place: Place) -> Result<()> {
    connection
        .prepare_cached("DELETE FROM pairs WHERE epoch = ?1 AND hash = ?2")?
        .execute(params![place.0.get(), place.1.as_bytes()])?;
    Ok(())
}

fn undismissed(connection: &Connection, me: Pseudonym, matches: &[Side]) -> Result<Vec<Pseudonym>> {
    let mut matched = Vec::new();
    for side in matches {
        let dismissed = connection
            .prepare_cached("SELECT 1 FROM dismissals WHERE account = ?1 AND other = ?2")?
            .exists(params![me.as_bytes(), side.other.as_bytes()])?;
        if !dismissed && !matched.contains(&side.other) {
            matched.push(side.other);
        }
    }
    Ok(matched)
}
