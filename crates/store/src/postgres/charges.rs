//! Charges, the requests that they pay for, and what may be used once. A paid request is locked by its row before the
//! buckets are, so of two that ask the same the later one waits and learns that it is paid for.

use super::ledger::bytes;
use super::unit::{Result, Unit};
use super::{events, quotas};
use crate::{Charge, Charged, Millis, OnceId, PaidRequest};

pub(super) async fn charge(unit: &Unit, charge: &Charge, now: Millis) -> Result<Charged> {
    if let Some(request) = &charge.request
        && !pay(unit, request, now).await?
    {
        let known = known(unit, request).await?;
        unit.undo();
        return Ok(known);
    }
    match quotas::take_first(unit, &charge.alternatives, now).await? {
        Ok(taken) => {
            events::append(unit, charge.granted.as_slice(), now).await?;
            Ok(Charged::Taken(taken))
        }
        Err((exhausted, locked)) => {
            if charge.refused.is_none() {
                unit.undo();
                return Ok(Charged::Exhausted(exhausted));
            }
            locked.release(unit).await?;
            if let Some(request) = &charge.request {
                unit.execute(
                    "DELETE FROM paid WHERE account = $1 AND request = $2",
                    &[&request.account.as_bytes().as_slice(), &request.id.as_bytes().as_slice()],
                )
                .await?;
            }
            events::append(unit, charge.refused.as_slice(), now).await?;
            Ok(Charged::Exhausted(exhausted))
        }
    }
}

/// Puts the request down as paid for. `false` if its id was before, and that is not over; then its row is locked.
async fn pay(unit: &Unit, request: &PaidRequest, now: Millis) -> Result<bool> {
    let paid = unit
        .execute(
            "INSERT INTO paid (account, request, digest, expires_at) VALUES ($1, $2, $3, $4)
             ON CONFLICT (account, request) DO UPDATE
             SET digest = excluded.digest, expires_at = excluded.expires_at WHERE paid.expires_at <= $5",
            &[
                &request.account.as_bytes().as_slice(),
                &request.id.as_bytes().as_slice(),
                &request.digest.as_slice(),
                &request.expires_at,
                &now,
            ],
        )
        .await?;
    Ok(paid > 0)
}

/// What is to say of a request whose id was paid for.
async fn known(unit: &Unit, request: &PaidRequest) -> Result<Charged> {
    let row = unit
        .row(
            "SELECT digest FROM paid WHERE account = $1 AND request = $2",
            &[&request.account.as_bytes().as_slice(), &request.id.as_bytes().as_slice()],
        )
        .await?
        .ok_or(super::DatabaseError::Changed)?;
    Ok(if bytes::<32>(&row, 0)? == request.digest { Charged::Repeated } else { Charged::OtherRequest })
}

pub(super) async fn use_once(unit: &Unit, id: OnceId, expires_at: Millis, now: Millis) -> Result<bool> {
    let used = unit
        .execute(
            "INSERT INTO used (id, expires_at) VALUES ($1, $2)
             ON CONFLICT (id) DO UPDATE SET expires_at = excluded.expires_at WHERE used.expires_at <= $3",
            &[&id.as_bytes().as_slice(), &expires_at, &now],
        )
        .await?;
    Ok(used > 0)
}
