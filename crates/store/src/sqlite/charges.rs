//! Charges, the requests that they pay for, and what may be used once.

use rusqlite::{Connection, OptionalExtension, Result, params};

use super::{events, quotas};
use crate::{Charge, Charged, Millis, OnceId, PaidRequest};

pub(super) fn charge(connection: &Connection, charge: &Charge, now: Millis) -> Result<Charged> {
    if let Some(request) = &charge.request
        && let Some(known) = known(connection, request, now)?
    {
        return Ok(known);
    }
    match quotas::take_first(connection, &charge.alternatives, now)? {
        Ok(taken) => {
            charge.request.iter().try_for_each(|request| pay(connection, request))?;
            events::append(connection, charge.granted.as_slice(), now)?;
            Ok(Charged::Taken(taken))
        }
        Err(exhausted) => {
            events::append(connection, charge.refused.as_slice(), now)?;
            Ok(Charged::Exhausted(exhausted))
        }
    }
}

/// What there is to say if the request's id was paid for, and that is not over.
fn known(connection: &Connection, request: &PaidRequest, now: Millis) -> Result<Option<Charged>> {
    let digest: Option<[u8; 32]> = connection
        .prepare_cached("SELECT digest FROM paid WHERE account = ?1 AND request = ?2 AND expires_at > ?3")?
        .query_row(params![request.account.as_bytes(), request.id.as_bytes(), now], |row| row.get(0))
        .optional()?;
    Ok(digest.map(|digest| if digest == request.digest { Charged::Repeated } else { Charged::OtherRequest }))
}

fn pay(connection: &Connection, request: &PaidRequest) -> Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO paid (account, request, digest, expires_at) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (account, request) DO UPDATE
             SET digest = excluded.digest, expires_at = excluded.expires_at",
        )?
        .execute(params![
            request.account.as_bytes(),
            request.id.as_bytes(),
            request.digest,
            request.expires_at
        ])
        .map(drop)
}

pub(super) fn use_once(connection: &Connection, id: OnceId, expires_at: Millis, now: Millis) -> Result<bool> {
    let used = connection
        .prepare_cached(
            "INSERT INTO used (id, expires_at) VALUES (?1, ?2)
             ON CONFLICT (id) DO UPDATE SET expires_at = excluded.expires_at WHERE expires_at <= ?3",
        )?
        .execute(params![id.as_bytes(), expires_at, now])?;
    Ok(used > 0)
}
