//! Verification codes and the tokens that a right guess makes.

use rusqlite::{Connection, OptionalExtension, Result, params};
use subtle::ConstantTimeEq;

use super::quotas;
use crate::{
    CodeGuess, CodeHash, CodePut, CodeTaken, Generation, Millis, NewCode, NewProof, Permit, Pseudonym,
};

struct Code {
    /// `None` once withdrawn.
    hash: Option<[u8; 32]>,
    number_hash: [u8; 32],
    sent_at: Option<Millis>,
    wrong: u32,
}

pub(super) fn put(connection: &Connection, code: &NewCode, now: Millis) -> Result<CodePut> {
    let current = current(connection, code.account, now)?;
    let sent_at = current.as_ref().and_then(|current| current.sent_at);
    // One from what is now the future, because the clock was set back, delays nothing.
    if sent_at.is_some_and(|sent_at| sent_at > code.too_recent_after && sent_at <= now) {
        return Ok(CodePut::TooRecent);
    }
    // A resend does not reset the wrong guesses (house plan, decision 9).
    let wrong = current.map_or(0, |current| current.wrong);
    if wrong >= code.max_wrong {
        return Ok(CodePut::GuessesUsedUp);
    }
    match quotas::take(connection, &code.permits, now)? {
        Ok(()) => {}
        Err(exhausted) => return Ok(CodePut::Exhausted(exhausted)),
    }
    connection
        .prepare_cached(
            "INSERT INTO codes (account, code_hash, number_hash, sent_at, expires_at, wrong)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)
             ON CONFLICT (account) DO UPDATE
             SET code_hash = excluded.code_hash, number_hash = excluded.number_hash, sent_at = excluded.sent_at,
                 expires_at = excluded.expires_at, wrong = excluded.wrong",
        )?
        .execute(params![
            code.account.as_bytes(),
            code.code_hash.as_bytes(),
            code.number_hash.as_bytes(),
            now,
            code.expires_at,
            wrong
        ])?;
    Ok(CodePut::Stored)
}

pub(super) fn withdraw(
    connection: &Connection,
    account: Pseudonym,
    code_hash: CodeHash,
    permits: &[Permit],
    now: Millis,
) -> Result<()> {
    let hash = current(connection, account, now)?.and_then(|current| current.hash);
    if !hash.is_some_and(|hash| bool::from(hash.ct_eq(code_hash.as_bytes()))) {
        return Ok(());
    }
    connection
        .prepare_cached("UPDATE codes SET code_hash = NULL, sent_at = NULL WHERE account = ?1")?
        .execute([account.as_bytes()])?;
    quotas::give_back(connection, permits, now)
}

pub(super) fn take(connection: &Connection, guess: &CodeGuess, now: Millis) -> Result<CodeTaken> {
    let Some(Code { hash: Some(hash), number_hash, wrong, .. }) = current(connection, guess.account, now)?
    else {
        return Ok(CodeTaken::NoCode);
    };
    // Else anybody could use up the guesses of a number that no code was sent to.
    if !bool::from(number_hash.ct_eq(guess.number_hash.as_bytes())) {
        return Ok(CodeTaken::NoCode);
    }
    if wrong >= guess.max_wrong {
        return Ok(CodeTaken::GuessesUsedUp);
    }
    let reserved = match quotas::reserve(connection, &guess.wrong_permits, now)? {
        Ok(reserved) => reserved,
        Err(exhausted) => return Ok(CodeTaken::Exhausted(exhausted)),
    };
    if !bool::from(hash.ct_eq(guess.code_hash.as_bytes())) {
        connection
            .prepare_cached("UPDATE codes SET wrong = wrong + 1 WHERE account = ?1")?
            .execute([guess.account.as_bytes()])?;
        reserved.take(connection)?;
        return Ok(CodeTaken::Wrong);
    }
    connection.prepare_cached("DELETE FROM codes WHERE account = ?1")?.execute([guess.account.as_bytes()])?;
    // An account that has a row keeps its generation.
    let generation = connection
        .prepare_cached(
            "INSERT INTO accounts (account, sealed, generation, forget_at) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (account) DO UPDATE
             SET sealed = excluded.sealed, forget_at = max(forget_at, excluded.forget_at)
             RETURNING generation",
        )?
        .query_row(
            params![
                guess.account.as_bytes(),
                guess.sealed_account,
                guess.fresh_generation.0,
                guess.token_expires_at
            ],
            |row| row.get(0),
        )?;
    connection
        .prepare_cached(
            "INSERT INTO tokens (token, account, sealed, expires_at, token_use) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute(params![
            guess.token.as_bytes(),
            guess.account.as_bytes(),
            guess.sealed_identifier,
            guess.token_expires_at,
            guess.token_use as u8
        ])?;
    if let Some(proof) = &guess.proof {
        prove(connection, guess.account, proof, now)?;
    }
    Ok(CodeTaken::Taken { generation: Generation(generation) })
}

fn prove(connection: &Connection, account: Pseudonym, proof: &NewProof, now: Millis) -> Result<()> {
    if !has_proof(connection, account, now)? {
        match quotas::reserve(connection, &proof.permits, now)? {
            Ok(reserved) => reserved.take(connection)?,
            Err(_) => return Ok(()),
        }
    }
    connection
        .prepare_cached(
            "INSERT INTO proofs (account, expires_at) VALUES (?1, ?2)
             ON CONFLICT (account) DO UPDATE SET expires_at = max(expires_at, excluded.expires_at)",
        )?
        .execute(params![account.as_bytes(), proof.expires_at])?;
    Ok(())
}

pub(super) fn has_proof(connection: &Connection, account: Pseudonym, now: Millis) -> Result<bool> {
    connection
        .prepare_cached("SELECT 1 FROM proofs WHERE account = ?1 AND expires_at > ?2")?
        .exists(params![account.as_bytes(), now])
}

/// The account's unexpired code, or what a withdrawn one left behind.
fn current(connection: &Connection, account: Pseudonym, now: Millis) -> Result<Option<Code>> {
    connection
        .prepare_cached(
            "SELECT code_hash, number_hash, sent_at, wrong FROM codes WHERE account = ?1 AND expires_at > ?2",
        )?
        .query_row(params![account.as_bytes(), now], |row| {
            Ok(Code { hash: row.get(0)?, number_hash: row.get(1)?, sent_at: row.get(2)?, wrong: row.get(3)? })
        })
        .optional()
}
