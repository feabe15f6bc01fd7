//! Removal, dismissal and the sweeping of what has expired.

use std::collections::BTreeSet;

use super::error::DatabaseError;
use super::ledger::{Ledger, Place, place_at};
use super::unit::{Params, Result, Unit};
use super::{directory, imports, reads};
use crate::{ImportId, Millis, NumberKey, Pseudonym, Removal, Removed};

pub(super) async fn dismiss(unit: &Unit, account: Pseudonym, other: Pseudonym, now: Millis) -> Result<u32> {
    let (me, them) = (account.as_bytes().as_slice(), other.as_bytes().as_slice());
    // Not beside a removal, which would leave this dismissal behind.
    unit.query("SELECT 1 FROM accounts WHERE account = $1 FOR KEY SHARE", &[&me]).await?;
    unit.execute(
        "INSERT INTO dismissals (account, other)
         SELECT DISTINCT account, other FROM matches
         WHERE account = $1 AND other = $2 AND expires_at > $3 AND other_expires_at > $3
         ON CONFLICT DO NOTHING",
        &[&me, &them, &now],
    )
    .await?;
    unit.execute(
        "DELETE FROM notices WHERE account = $1 AND other = $2
         AND EXISTS (SELECT 1 FROM dismissals WHERE account = $1 AND other = $2)",
        &[&me, &them],
    )
    .await?;
    reads::count_matches(unit, account, now).await
}

pub(super) async fn remove(
    unit: &Unit,
    account: Pseudonym,
    pending: Option<&(ImportId, Vec<NumberKey>)>,
    now: Millis,
) -> Result<Removal> {
    let me = account.as_bytes().as_slice();
    // In this order everywhere. With these locked, the account writes nothing any more; and a running step is waited for.
    unit.query("SELECT 1 FROM codes WHERE account = $1 FOR UPDATE", &[&me]).await?;
    unit.query("SELECT 1 FROM accounts WHERE account = $1 FOR UPDATE", &[&me]).await?;
    let current = reads::locked_import(unit, account).await?;
    if current != pending.map(|(import, _)| *import) {
        unit.undo();
        return Ok(Removal::OtherPending);
    }
    unit.execute("DELETE FROM imports WHERE account = $1", &[&me]).await?;

    let places = places_of(unit, account).await?;
    let mut ledger = Ledger::lock_places(unit, &places).await?;
    // Another account's step may have moved one of this account's halves while the locks were waited for.
    if !places_of(unit, account).await?.into_iter().all(|place| ledger.holds(place)) {
        return Err(DatabaseError::Changed);
    }
    let dismissed = reads::dismissed(unit, account).await?;
    let removed = take_out(&mut ledger, account, &dismissed, now);
    ledger.write(unit, now).await?;
    for statement in [
        "WITH told AS MATERIALIZED (
             SELECT account, other FROM notices WHERE account = $1 OR other = $1
             ORDER BY account, other FOR UPDATE
         )
         DELETE FROM notices USING told WHERE notices.account = told.account AND notices.other = told.other",
        // Of other accounts' answers only what is about to expire is left, and nobody locks it.
        "WITH told AS MATERIALIZED (
             SELECT account, import, position, other FROM answers WHERE account = $1 OR other = $1
             ORDER BY account, import, position, other FOR UPDATE
         )
         DELETE FROM answers USING told WHERE answers.account = told.account AND answers.import = told.import
             AND answers.position = told.position AND answers.other = told.other",
        "WITH gone AS MATERIALIZED (
             SELECT account, record FROM follows WHERE account = $1 OR other = $1
             ORDER BY account, record FOR UPDATE
         )
         DELETE FROM follows USING gone WHERE follows.account = gone.account AND follows.record = gone.record",
        "WITH gone AS MATERIALIZED (
             SELECT account, request FROM paid WHERE account = $1 ORDER BY account, request FOR UPDATE
         )
         DELETE FROM paid USING gone WHERE paid.account = gone.account AND paid.request = gone.request",
        "DELETE FROM departures WHERE account = $1",
        "DELETE FROM proofs WHERE account = $1",
        "DELETE FROM codes WHERE account = $1",
        "DELETE FROM tokens WHERE account = $1",
        "DELETE FROM dismissals WHERE account = $1",
        "DELETE FROM accounts WHERE account = $1",
    ] {
        unit.execute(statement, &[&me]).await?;
    }
    imports::release(unit, pending.map_or(&[], |(_, numbers)| numbers)).await?;
    directory::withdraw(unit, account, None, now).await?;
    Ok(Removal::Removed(removed))
}

/// Takes everything of the account out of locked places; the other sides' consent stands.
fn take_out(
    ledger: &mut Ledger,
    account: Pseudonym,
    dismissed: &BTreeSet<Pseudonym>,
    now: Millis,
) -> Removed {
    let places: Vec<Place> = ledger.places().collect();
    let mut contacts = 0_u32;
    let mut others = BTreeSet::new();
    for place in places {
        let is_mine = |ledger: &Ledger| {
            let mut links = ledger.links(place).iter();
            links.any(|link| link.seen_by(account).is_some_and(|_| !link.is_live(now)))
        };
        if is_mine(ledger) {
            ledger.settle(place, now);
        }
        let matched: Vec<Pseudonym> = ledger
            .links(place)
            .iter()
            .filter_map(|link| link.seen_by(account).map(|(_, other)| other.account))
            .collect();
        let half = ledger.half(place).filter(|half| half.account == account);
        if !matched.is_empty() || half.is_some_and(|half| half.expires_at > now) {
            contacts = contacts.saturating_add(1);
        }
        others.extend(matched.into_iter().filter(|other| !dismissed.contains(other)));
        // Its own half goes first, to make room.
        if half.is_some() {
            ledger.take_out(place);
        }
        ledger.end(place, now, |link| link.seen_by(account).is_some(), |side| side.account != account);
    }
    Removed { contacts, matches: u32::try_from(others.len()).unwrap_or(u32::MAX) }
}

/// Where the account has a half or a match; a match that the account side does not know of yet included.
async fn places_of(unit: &Unit, account: Pseudonym) -> Result<BTreeSet<Place>> {
    places(
        unit,
        "SELECT hash, epoch FROM pairs WHERE account = $1
         UNION SELECT hash, epoch FROM matches WHERE account = $1
         UNION SELECT hash, epoch FROM links WHERE NOT settled AND (low = $1 OR high = $1)",
        &[&account.as_bytes().as_slice()],
    )
    .await
}

async fn places(unit: &Unit, sql: &str, params: Params<'_>) -> Result<BTreeSet<Place>> {
    unit.query(sql, params).await?.iter().map(place_at).collect()
}

const UNSETTLED: &str = "SELECT hash, epoch FROM links WHERE NOT settled LIMIT $1";

/// Settles the accounts' side of matches that a crash left unsettled, and ends none. Returns at how many places.
pub(super) async fn settle(unit: &Unit, limit: u32, now: Millis) -> Result<usize> {
    let places = places(unit, UNSETTLED, &[&i64::from(limit)]).await?;
    if !places.is_empty() {
        Ledger::lock_places(unit, &places).await?.write(unit, now).await?;
    }
    Ok(places.len())
}

/// Ends matches that have an expired side, and settles the accounts' side of those that a crash left unsettled.
/// Returns how many ended.
pub(super) async fn sweep_links(unit: &Unit, limit: u32, now: Millis) -> Result<u64> {
    let limit = i64::from(limit);
    let mut places = places(
        unit,
        "SELECT DISTINCT hash, epoch FROM (
             SELECT hash, epoch FROM links WHERE least(low_expires_at, high_expires_at) <= $1
             ORDER BY least(low_expires_at, high_expires_at) LIMIT $2) AS expired",
        &[&now, &limit],
    )
    .await?;
    places.extend(self::places(unit, UNSETTLED, &[&limit]).await?);
    if places.is_empty() {
        return Ok(0);
    }
    let mut ledger = Ledger::lock_places(unit, &places).await?;
    let ended = places.iter().map(|place| ledger.settle(*place, now)).fold(0, u64::saturating_add);
    ledger.write(unit, now).await?;
    Ok(ended)
}

/// What `sweep` deletes by time alone: rows that count as absent already, so that each statement stands for itself.
/// What another is working on is passed over. A name goes when nothing is left that names its account, and then what waits for it.
pub(super) const SWEEPS: [&str; 12] = [
    "WITH old AS MATERIALIZED (
         SELECT account, request FROM paid WHERE expires_at <= $1 LIMIT $2 FOR UPDATE SKIP LOCKED)
     DELETE FROM paid USING old WHERE paid.account = old.account AND paid.request = old.request",
    "WITH old AS MATERIALIZED (
         SELECT id FROM used WHERE expires_at <= $1 LIMIT $2 FOR UPDATE SKIP LOCKED)
     DELETE FROM used USING old WHERE used.id = old.id",
    "WITH old AS MATERIALIZED (
         SELECT account FROM proofs WHERE expires_at <= $1 LIMIT $2 FOR UPDATE SKIP LOCKED)
     DELETE FROM proofs USING old WHERE proofs.account = old.account",
    "WITH old AS MATERIALIZED (
         SELECT account, import, position, other FROM answers WHERE until <= $1 LIMIT $2 FOR UPDATE SKIP LOCKED)
     DELETE FROM answers USING old WHERE answers.account = old.account AND answers.import = old.import
         AND answers.position = old.position AND answers.other = old.other",
    "WITH old AS MATERIALIZED (
         SELECT account FROM codes WHERE expires_at <= $1 LIMIT $2 FOR UPDATE SKIP LOCKED)
     DELETE FROM codes USING old WHERE codes.account = old.account",
    "WITH old AS MATERIALIZED (
         SELECT account, token FROM tokens WHERE expires_at <= $1 LIMIT $2 FOR UPDATE SKIP LOCKED)
     DELETE FROM tokens USING old WHERE tokens.account = old.account AND tokens.token = old.token",
    "WITH old AS MATERIALIZED (
         SELECT account, other FROM notices WHERE expires_at <= $1 LIMIT $2 FOR UPDATE SKIP LOCKED)
     DELETE FROM notices USING old WHERE notices.account = old.account AND notices.other = old.other",
    "WITH old AS MATERIALIZED (
         SELECT hash, epoch FROM pairs WHERE expires_at <= $1 LIMIT $2 FOR UPDATE SKIP LOCKED)
     DELETE FROM pairs USING old WHERE pairs.hash = old.hash AND pairs.epoch = old.epoch",
    "WITH old AS MATERIALIZED (
         SELECT key, limit_kind FROM limits WHERE empty_at <= $1 LIMIT $2 FOR UPDATE SKIP LOCKED)
     DELETE FROM limits USING old WHERE limits.key = old.key AND limits.limit_kind = old.limit_kind",
    "WITH old AS MATERIALIZED (
         SELECT number FROM pending_numbers WHERE until <= $1 LIMIT $2 FOR UPDATE SKIP LOCKED)
     DELETE FROM pending_numbers USING old WHERE pending_numbers.number = old.number",
    "WITH old AS MATERIALIZED (
         SELECT account FROM accounts WHERE forget_at <= $1
         AND NOT EXISTS (SELECT 1 FROM pairs WHERE pairs.account = accounts.account)
         AND NOT EXISTS (SELECT 1 FROM matches WHERE matches.account = accounts.account)
         AND NOT EXISTS (SELECT 1 FROM links
                         WHERE NOT settled AND (low = accounts.account OR high = accounts.account))
         AND NOT EXISTS (SELECT 1 FROM imports WHERE imports.account = accounts.account)
         AND NOT EXISTS (SELECT 1 FROM listings WHERE listings.account = accounts.account)
         AND NOT EXISTS (SELECT 1 FROM tokens WHERE tokens.account = accounts.account)
         LIMIT $2 FOR UPDATE SKIP LOCKED)
     DELETE FROM accounts USING old WHERE accounts.account = old.account",
    "WITH old AS MATERIALIZED (
         SELECT account FROM departures
         WHERE $1::bigint IS NOT NULL
         AND NOT EXISTS (SELECT 1 FROM accounts WHERE accounts.account = departures.account)
         LIMIT $2 FOR UPDATE SKIP LOCKED)
     DELETE FROM departures USING old WHERE departures.account = old.account",
];
