//! Verification codes and the tokens that a right guess makes. A code is locked by its account's row, before all else.

use subtle::ConstantTimeEq;

use super::ledger::bytes;
use super::quotas;
use super::unit::{Result, Unit};
use crate::{
    CodeGuess, CodeHash, CodePut, CodeTaken, Generation, Millis, NewCode, NewProof, Permit, Pseudonym,
};

struct Code {
    /// `None` once withdrawn.
    hash: Option<[u8; 32]>,
    number_hash: [u8; 32],
    sent_at: Option<Millis>,
    wrong: i64,
}

pub(super) async fn put(unit: &Unit, code: &NewCode, now: Millis) -> Result<CodePut> {
    let account = code.account.as_bytes().as_slice();
    unit.execute(
        "INSERT INTO codes (account, number_hash, expires_at, wrong) VALUES ($1, '', $2, 0)
         ON CONFLICT (account) DO UPDATE SET wrong = codes.wrong WHERE false",
        &[&account, &Millis::MIN],
    )
    .await?;
    let current = current(unit, code.account, now).await?;
    let refusal = match refused(current.as_ref(), code, now) {
        Some(refusal) => Some(refusal),
        None => quotas::take(unit, &code.permits, now).await?.err().map(CodePut::Exhausted),
    };
    if let Some(refusal) = refusal {
        unit.undo();
        return Ok(refusal);
    }
    // A resend does not reset the wrong guesses (house plan, decision 9).
    let wrong = current.map_or(0, |current| current.wrong);
    unit.execute(
        "UPDATE codes SET code_hash = $2, number_hash = $3, sent_at = $4, expires_at = $5, wrong = $6
         WHERE account = $1",
        &[
            &account,
            &code.code_hash.as_bytes().as_slice(),
            &code.number_hash.as_bytes().as_slice(),
            &now,
            &code.expires_at,
            &wrong,
        ],
    )
    .await?;
    Ok(CodePut::Stored)
}

fn refused(current: Option<&Code>, code: &NewCode, now: Millis) -> Option<CodePut> {
    let sent_at = current.and_then(|current| current.sent_at);
    // One from what is now the future, because the clock was set back, delays nothing.
    if sent_at.is_some_and(|sent_at| sent_at > code.too_recent_after && sent_at <= now) {
        return Some(CodePut::TooRecent);
    }
    let wrong = current.map_or(0, |current| current.wrong);
    (wrong >= i64::from(code.max_wrong)).then_some(CodePut::GuessesUsedUp)
}

pub(super) async fn withdraw(
    unit: &Unit,
    account: Pseudonym,
    code_hash: CodeHash,
    permits: &[Permit],
    now: Millis,
) -> Result<()> {
    let hash = current(unit, account, now).await?.and_then(|current| current.hash);
    if !hash.is_some_and(|hash| bool::from(hash.ct_eq(code_hash.as_bytes()))) {
        return Ok(());
    }
    unit.execute(
        "UPDATE codes SET code_hash = NULL, sent_at = NULL WHERE account = $1",
        &[&account.as_bytes().as_slice()],
    )
    .await?;
    quotas::give_back(unit, permits, now).await
}

pub(super) async fn take(unit: &Unit, guess: &CodeGuess, now: Millis) -> Result<CodeTaken> {
    let Some(Code { hash: Some(hash), number_hash, wrong, .. }) = current(unit, guess.account, now).await?
    else {
        return Ok(CodeTaken::NoCode);
    };
    // Else anybody could use up the guesses of a number that no code was sent to.
    if !bool::from(number_hash.ct_eq(guess.number_hash.as_bytes())) {
        return Ok(CodeTaken::NoCode);
    }
    if wrong >= i64::from(guess.max_wrong) {
        return Ok(CodeTaken::GuessesUsedUp);
    }
    let account = guess.account.as_bytes().as_slice();
    // Accounts are locked before limits, everywhere.
    unit.query("SELECT 1 FROM accounts WHERE account = $1 FOR UPDATE", &[&account]).await?;
    let reserved = match quotas::reserve(unit, &guess.wrong_permits, now).await? {
        Ok(reserved) => reserved,
        Err(exhausted) => {
            unit.undo();
            return Ok(CodeTaken::Exhausted(exhausted));
        }
    };
    if !bool::from(hash.ct_eq(guess.code_hash.as_bytes())) {
        unit.execute("UPDATE codes SET wrong = wrong + 1 WHERE account = $1", &[&account]).await?;
        reserved.take(unit).await?;
        return Ok(CodeTaken::Wrong);
    }
    reserved.release(unit).await?;
    unit.execute("DELETE FROM codes WHERE account = $1", &[&account]).await?;
    // An account that has a row keeps its generation.
    let row = unit
        .row(
            "INSERT INTO accounts (account, sealed, generation, forget_at) VALUES ($1, $2, $3, $4)
             ON CONFLICT (account) DO UPDATE
             SET sealed = excluded.sealed, forget_at = greatest(accounts.forget_at, excluded.forget_at)
             RETURNING generation",
            &[&account, &guess.sealed_account, &guess.fresh_generation.0, &guess.token_expires_at],
        )
        .await?
        .ok_or(super::error::DatabaseError::Answer)?;
    unit.execute(
        "INSERT INTO tokens (token, account, sealed, expires_at, token_use) VALUES ($1, $2, $3, $4, $5)",
        &[
            &guess.token.as_bytes().as_slice(),
            &account,
            &guess.sealed_identifier,
            &guess.token_expires_at,
            &i16::from(guess.token_use as u8),
        ],
    )
    .await?;
    let generation = Generation(row.try_get(0)?);
    if let Some(proof) = &guess.proof {
        prove(unit, guess.account, proof, now).await?;
    }
    Ok(CodeTaken::Taken { generation })
}

/// The account is locked.
async fn prove(unit: &Unit, account: Pseudonym, proof: &NewProof, now: Millis) -> Result<()> {
    if !has_proof(unit, account, now).await? {
        match quotas::reserve(unit, &proof.permits, now).await? {
            Ok(reserved) => reserved.take(unit).await?,
            // What locking put there goes with the next sweep.
            Err(_) => return Ok(()),
        }
    }
    unit.execute(
        "INSERT INTO proofs (account, expires_at) VALUES ($1, $2)
         ON CONFLICT (account) DO UPDATE SET expires_at = greatest(proofs.expires_at, excluded.expires_at)",
        &[&account.as_bytes().as_slice(), &proof.expires_at],
    )
    .await?;
    Ok(())
}

pub(super) async fn has_proof(unit: &Unit, account: Pseudonym, now: Millis) -> Result<bool> {
    let row = unit
        .row(
            "SELECT 1 FROM proofs WHERE account = $1 AND expires_at > $2",
            &[&account.as_bytes().as_slice(), &now],
        )
        .await?;
    Ok(row.is_some())
}

/// The account's unexpired code, or what a withdrawn one left behind; locked.
async fn current(unit: &Unit, account: Pseudonym, now: Millis) -> Result<Option<Code>> {
    let row = unit
        .row(
            "SELECT code_hash, number_hash, sent_at, wrong FROM codes WHERE account = $1 AND expires_at > $2
             FOR UPDATE",
            &[&account.as_bytes().as_slice(), &now],
        )
        .await?;
    let Some(row) = row else { return Ok(None) };
    let hash: Option<&[u8]> = row.try_get(0)?;
    let hash = hash.map(|_| bytes(&row, 0)).transpose()?;
    Ok(Some(Code { hash, number_hash: bytes(&row, 1)?, sent_at: row.try_get(2)?, wrong: row.try_get(3)? }))
}
