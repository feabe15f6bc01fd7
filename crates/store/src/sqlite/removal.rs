//! Removal, dismissal and the sweeping of what has expired.

use acquaint_protocol::pair::{EpochId, PairHash};
use rusqlite::{Connection, OptionalExtension, Params, Result, params};

use super::{departures, directory, imports, pairs, reads, streams};
use crate::{ImportId, Millis, NumberKey, Pseudonym, Removal, Removed};

/// What is left of `account`'s matches if `other` is not among them; then there is nothing to dismiss.
pub(super) fn nobody_to_dismiss(
    connection: &Connection,
    account: Pseudonym,
    other: Pseudonym,
    now: Millis,
) -> Result<Option<u32>> {
    let matched = connection
        .prepare_cached(
            "SELECT 1 FROM matches
             WHERE account = ?1 AND other = ?2 AND expires_at > ?3 AND other_expires_at > ?3",
        )?
        .exists(params![account.as_bytes(), other.as_bytes(), now])?;
    if matched { Ok(None) } else { reads::count_matches(connection, account, now).map(Some) }
}

pub(super) fn dismiss(
    connection: &Connection,
    account: Pseudonym,
    other: Pseudonym,
    now: Millis,
) -> Result<u32> {
    connection
        .prepare_cached(
            "INSERT INTO dismissals (account, other)
             SELECT DISTINCT account, other FROM matches
             WHERE account = ?1 AND other = ?2 AND expires_at > ?3 AND other_expires_at > ?3
             ON CONFLICT DO NOTHING",
        )?
        .execute(params![account.as_bytes(), other.as_bytes(), now])?;
    connection
        .prepare_cached(
            "DELETE FROM notices WHERE account = ?1 AND other = ?2
             AND EXISTS (SELECT 1 FROM dismissals WHERE account = ?1 AND other = ?2)",
        )?
        .execute(params![account.as_bytes(), other.as_bytes()])?;
    reads::count_matches(connection, account, now)
}

pub(super) fn remove(
    connection: &Connection,
    account: Pseudonym,
    pending: Option<(ImportId, Vec<NumberKey>)>,
    now: Millis,
) -> Result<Removal> {
    let current = connection
        .prepare_cached("SELECT id FROM imports WHERE account = ?1")?
        .query_row([account.as_bytes()], |row| row.get(0).map(ImportId::from_bytes))
        .optional()?;
    if current != pending.as_ref().map(|(import, _)| *import) {
        return Ok(Removal::OtherPending);
    }
    if let Some((import, numbers)) = pending {
        imports::delete(connection, import, &numbers)?;
    }
    for place in places(
        connection,
        "SELECT DISTINCT epoch, hash FROM matches
         WHERE account = ?1 AND min(expires_at, other_expires_at) <= ?2",
        params![account.as_bytes(), now],
    )? {
        pairs::end_expired(connection, place, now)?;
    }
    let removed = Removed {
        contacts: contacts(connection, account, now)?,
        matches: reads::count_undismissed(connection, account, now)?,
    };
    delete_pairs(connection, account, now)?;
    directory::withdraw(connection, account, None, now)?;
    for statement in [
        "DELETE FROM codes WHERE account = ?1",
        "DELETE FROM tokens WHERE account = ?1",
        "DELETE FROM notices WHERE account = ?1 OR other = ?1",
        "DELETE FROM dismissals WHERE account = ?1",
        "DELETE FROM follows WHERE account = ?1 OR other = ?1",
        "DELETE FROM departures WHERE account = ?1",
        "DELETE FROM proofs WHERE account = ?1",
        "DELETE FROM paid WHERE account = ?1",
        "DELETE FROM accounts WHERE account = ?1",
    ] {
        connection.prepare_cached(statement)?.execute([account.as_bytes()])?;
    }
    Ok(Removal::Removed(removed))
}

fn contacts(connection: &Connection, account: Pseudonym, now: Millis) -> Result<u32> {
    connection
        .prepare_cached(
            "SELECT count(*) FROM
             (SELECT epoch, hash FROM pairs WHERE account = ?1 AND expires_at > ?2
              UNION SELECT epoch, hash FROM matches WHERE account = ?1)",
        )?
        .query_row(params![account.as_bytes(), now], |row| row.get(0))
}

/// The account's halves and matches go; the other sides' consent stands. Its own halves go first, to make room.
fn delete_pairs(connection: &Connection, account: Pseudonym, now: Millis) -> Result<()> {
    connection.prepare_cached("DELETE FROM pairs WHERE account = ?1")?.execute([account.as_bytes()])?;
    // As `pairs::settle`: the later verification first, and what stands stays.
    connection
        .prepare_cached(
            "INSERT INTO pairs (epoch, hash, account, bit, verified_at, expires_at)
             SELECT epoch, hash, account, bit, verified_at, expires_at FROM matches
             WHERE other = ?1 AND expires_at > ?2
             ORDER BY verified_at DESC, found_at, account
             ON CONFLICT (epoch, hash) DO UPDATE
             SET account = excluded.account, bit = excluded.bit,
                 verified_at = excluded.verified_at, expires_at = excluded.expires_at
             WHERE pairs.expires_at <= ?2",
        )?
        .execute(params![account.as_bytes(), now])?;
    connection.prepare_cached("DELETE FROM matches WHERE other = ?1")?.execute([account.as_bytes()])?;
    connection.prepare_cached("DELETE FROM matches WHERE account = ?1")?.execute([account.as_bytes()])?;
    Ok(())
}

pub(super) fn sweep(connection: &Connection, limit: u32, now: Millis) -> Result<u64> {
    let mut swept = directory::sweep(connection, limit, now)?;
    for place in places(
        connection,
        "SELECT DISTINCT epoch, hash FROM matches WHERE expires_at <= ?1 LIMIT ?2",
        params![now, limit],
    )? {
        swept = swept.saturating_add(pairs::end_expired(connection, place, now)?);
    }
    for statement in [
        "DELETE FROM codes WHERE account IN
         (SELECT account FROM codes WHERE expires_at <= ?1 LIMIT ?2)",
        "DELETE FROM tokens WHERE token IN
         (SELECT token FROM tokens WHERE expires_at <= ?1 LIMIT ?2)",
        "DELETE FROM notices WHERE (account, other) IN
         (SELECT account, other FROM notices WHERE expires_at <= ?1 LIMIT ?2)",
        "DELETE FROM pairs WHERE (epoch, hash) IN
         (SELECT epoch, hash FROM pairs WHERE expires_at <= ?1 LIMIT ?2)",
        "DELETE FROM limits WHERE (limit_kind, key) IN
         (SELECT limit_kind, key FROM limits WHERE empty_at <= ?1 LIMIT ?2)",
        "DELETE FROM pending_numbers WHERE number IN
         (SELECT number FROM pending_numbers WHERE until <= ?1 LIMIT ?2)",
        "DELETE FROM paid WHERE (account, request) IN
         (SELECT account, request FROM paid WHERE expires_at <= ?1 LIMIT ?2)",
        "DELETE FROM used WHERE id IN (SELECT id FROM used WHERE expires_at <= ?1 LIMIT ?2)",
        "DELETE FROM proofs WHERE account IN (SELECT account FROM proofs WHERE expires_at <= ?1 LIMIT ?2)",
        // Late: a name goes when nothing is left that names its account.
        "DELETE FROM accounts WHERE account IN
         (SELECT account FROM accounts AS old WHERE forget_at <= ?1
          AND NOT EXISTS (SELECT 1 FROM pairs WHERE pairs.account = old.account)
          AND NOT EXISTS (SELECT 1 FROM matches WHERE matches.account = old.account OR matches.other = old.account)
          AND NOT EXISTS (SELECT 1 FROM imports WHERE imports.account = old.account)
          AND NOT EXISTS (SELECT 1 FROM listings WHERE listings.account = old.account)
          AND NOT EXISTS (SELECT 1 FROM tokens WHERE tokens.account = old.account) LIMIT ?2)",
    ] {
        let deleted = connection.prepare_cached(statement)?.execute(params![now, limit])?;
        swept = swept.saturating_add(u64::try_from(deleted).unwrap_or(u64::MAX));
    }
    swept = swept.saturating_add(streams::sweep(connection, limit, now)?);
    Ok(swept.saturating_add(departures::sweep(connection, limit)?))
}

fn places(connection: &Connection, sql: &str, params: impl Params) -> Result<Vec<(EpochId, PairHash)>> {
    connection
        .prepare_cached(sql)?
        .query_map(params, |row| Ok((EpochId::new(row.get(0)?), PairHash::from_bytes(row.get(1)?))))?
        .collect()
}
