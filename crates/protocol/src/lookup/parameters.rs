//! What a provider publishes and signs for a mode: the key of an epoch, the sizes of tables, and who has which shard.

use serde::{Deserialize, Serialize};

use super::{Kind, Mode, Scope};
use crate::bucket::Bytes;
pub use crate::bucket::parameters::{CLOCK_SKEW_S, ParametersError, SigningKey};
use crate::bucket::parameters::{check_signature, check_time};
use crate::bucket::sealed::{ScopeError, length};
use crate::oprf::PublicKey;

/// The most rows that a table has.
pub const MAX_ROWS: u16 = 2048;

/// The most columns that a table has. Their number is a power of two.
pub const MAX_COLUMNS: u32 = 65_536;

/// The most bits of a shard's number.
pub const MAX_SHARD_BITS: u8 = 16;

const LABEL: &[u8] = b"acquaint private lookup parameters v1\0";

const EPOCH_LABEL: &[u8] = b"acquaint private lookup v1\0";

/// `GET /v1/discovery/parameters`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    /// One for each mode that is switched on.
    pub modes: Vec<Parameters>,
}

impl Published {
    /// Those of `mode`, if it is switched on.
    #[must_use]
    pub fn of(&self, mode: Mode) -> Option<&Parameters> {
        self.modes.iter().find(|parameters| parameters.terms.profile == mode.profile())
    }
}

/// What is signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// Who runs the directory; 1 to 255 bytes.
    pub provider: String,
    /// `psm` or `pir`.
    pub profile: String,
    /// Which OPRF key: a higher one is newer.
    pub epoch: u32,
    /// Which sizes of tables: a higher one is newer.
    pub layout: u32,
    /// Bits of a shard's number, 0 to [`MAX_SHARD_BITS`].
    pub shard_bits: u8,
    /// Rows of a shard's table, 1 to [`MAX_ROWS`].
    pub rows: u16,
    /// Columns of a shard's table, a power of two, up to [`MAX_COLUMNS`].
    pub columns: u32,
    /// How many batch tables a shard has: 0, or 2 and more.
    pub batch_tables: u16,
    /// Lookups that a query for a batch table makes, a power of two; 0 if there are none.
    pub batch_queries: u8,
    /// Rows of a batch table, with `batch_queries` lookups at most [`MAX_ROWS`] together; 0 if there are none.
    pub batch_rows: u16,
    /// Columns of a batch table, a power of two; 0 if there are none.
    pub batch_columns: u32,
    /// Elements that one request to the OPRF may have.
    pub max_elements: u16,
    /// Queries of [`Kind::Shard`] that one request may have.
    pub max_queries: u16,
    /// How long evaluation keys are kept at the longest, in seconds.
    pub keys_ttl_s: u32,
    /// The epoch's public key; zeros in mode `pir`, and only there.
    pub oprf_public_key: Bytes<32>,
    /// Who has which shards; empty if who was asked has all.
    pub servers: Vec<Server>,
    /// When they were signed, in Unix seconds.
    pub issued_at: u64,
    /// From when on they are not good any more, in Unix seconds.
    pub expires_at: u64,
}

/// A server, and the shards that it has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Server {
    /// The first shard.
    pub first: u32,
    /// The last shard.
    pub last: u32,
    /// What `/v1/discovery/keys` and `/v1/discovery/query` are appended to; 1 to 255 bytes.
    pub url: String,
}

/// What a provider publishes for a mode: terms, and its signature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parameters {
    /// What is signed.
    #[serde(flatten)]
    pub terms: Terms,
    /// Whose signature it is: the Ed25519 key that clients pin.
    pub signing_key: Bytes<32>,
    /// Ed25519 (RFC 8032) over [`Terms::signed_bytes`].
    pub signature: Bytes<64>,
}

/// Why terms cannot be signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TermsError {
    /// A name is empty or over 255 bytes.
    #[error(transparent)]
    Scope(#[from] ScopeError),
    /// An address is empty or over 255 bytes, or there are more than 65535 servers.
    #[error("a server's address is 1 to 255 bytes, and there are at most 65535 servers")]
    Servers,
}

impl Terms {
    /// What the signature is over (docs/protocol/lookup.md, "Parameters").
    ///
    /// # Errors
    /// See [`TermsError`].
    pub fn signed_bytes(&self) -> Result<Vec<u8>, TermsError> {
        let Self {
            provider,
            profile,
            epoch,
            layout,
            shard_bits,
            rows,
            columns,
            batch_tables,
            batch_queries,
            batch_rows,
            batch_columns,
            max_elements,
            max_queries,
            keys_ttl_s,
            oprf_public_key,
            servers,
            issued_at,
            expires_at,
        } = self;
        let mut bytes = LABEL.to_vec();
        for name in [provider, profile] {
            bytes.push(length(name)?);
            bytes.extend_from_slice(name.as_bytes());
        }
        bytes.extend_from_slice(&epoch.to_be_bytes());
        bytes.extend_from_slice(&layout.to_be_bytes());
        bytes.push(*shard_bits);
        bytes.extend_from_slice(&rows.to_be_bytes());
        bytes.extend_from_slice(&columns.to_be_bytes());
        bytes.extend_from_slice(&batch_tables.to_be_bytes());
        bytes.push(*batch_queries);
        bytes.extend_from_slice(&batch_rows.to_be_bytes());
        bytes.extend_from_slice(&batch_columns.to_be_bytes());
        bytes.extend_from_slice(&max_elements.to_be_bytes());
        bytes.extend_from_slice(&max_queries.to_be_bytes());
        bytes.extend_from_slice(&keys_ttl_s.to_be_bytes());
        bytes.extend_from_slice(&oprf_public_key.0);
        bytes
            .extend_from_slice(&u16::try_from(servers.len()).map_err(|_| TermsError::Servers)?.to_be_bytes());
        for Server { first, last, url } in servers {
            bytes.extend_from_slice(&first.to_be_bytes());
            bytes.extend_from_slice(&last.to_be_bytes());
            bytes.push(length(url).map_err(|_| TermsError::Servers)?);
            bytes.extend_from_slice(url.as_bytes());
        }
        bytes.extend_from_slice(&issued_at.to_be_bytes());
        bytes.extend_from_slice(&expires_at.to_be_bytes());
        Ok(bytes)
    }

    /// Signs them.
    ///
    /// # Errors
    /// See [`TermsError`].
    pub fn sign(self, key: &SigningKey) -> Result<Parameters, TermsError> {
        let signature = key.sign(&self.signed_bytes()?);
        Ok(Parameters { terms: self, signing_key: Bytes(key.public()), signature })
    }

    /// What the epoch's keys are good for.
    ///
    /// # Errors
    /// [`ScopeError`] for names of no or over 255 bytes.
    pub fn scope(&self) -> Result<Scope, ScopeError> {
        Scope::new(&self.provider, &self.profile, self.epoch)
    }

    /// What names the epoch of a table to `acquaint-pir` (`Configuration::new`).
    ///
    /// # Errors
    /// [`ScopeError`] for names of no or over 255 bytes.
    pub fn epoch_bytes(&self, kind: Kind) -> Result<Vec<u8>, ScopeError> {
        let mut bytes = EPOCH_LABEL.to_vec();
        bytes.push(kind.number());
        bytes.extend_from_slice(self.scope()?.as_bytes());
        bytes.extend_from_slice(&self.layout.to_be_bytes());
        bytes.push(self.shard_bits);
        bytes.extend_from_slice(&self.oprf_public_key.0);
        Ok(bytes)
    }

    /// The mode, if it is one.
    #[must_use]
    pub fn mode(&self) -> Option<Mode> {
        Mode::from_profile(&self.profile)
    }

    /// What proofs are checked with.
    #[must_use]
    pub fn oprf_key(&self) -> PublicKey {
        PublicKey(self.oprf_public_key.0)
    }

    /// How many shards there are. Over [`MAX_SHARD_BITS`] it is as for that many.
    #[must_use]
    pub fn shards(&self) -> u32 {
        1 << self.shard_bits.min(MAX_SHARD_BITS)
    }

    /// The server that has a shard; `None` if that is the one that was asked for the parameters.
    #[must_use]
    pub fn server_of(&self, shard: u32) -> Option<&Server> {
        self.servers.iter().find(|server| (server.first..=server.last).contains(&shard))
    }

    /// Queries of one request of [`Kind::Batch`], one for each table; 0 if there are no batch tables.
    #[must_use]
    pub fn batch_request(&self) -> usize {
        usize::from(self.batch_tables)
    }

    /// Whether all sizes are what the document allows.
    ///
    /// # Errors
    /// [`ParametersError::Sizes`], and [`ParametersError::OtherProfile`] for a profile that is no mode.
    pub fn check(&self) -> Result<(), ParametersError> {
        let mode = self.mode().ok_or(ParametersError::OtherProfile)?;
        let Self { rows, columns, batch_tables, batch_queries, batch_rows, batch_columns, .. } = *self;
        let is_table = |rows: u16, columns: u32| {
            (1..=MAX_ROWS).contains(&rows) && columns.is_power_of_two() && columns <= MAX_COLUMNS
        };
        let has_batches = match (batch_tables, batch_queries, batch_rows, batch_columns) {
            (0, 0, 0, 0) => true,
            _ => {
                batch_tables >= 2
                    && batch_queries.is_power_of_two()
                    && is_table(batch_rows, batch_columns)
                    && batch_rows.checked_mul(batch_queries.into()).is_some_and(|rows| rows <= MAX_ROWS)
            }
        };
        let has_key = self.oprf_public_key.0 != [0; 32];
        let is_good = is_table(rows, columns)
            && has_batches
            && self.shard_bits <= MAX_SHARD_BITS
            && self.max_elements > 0
            && self.max_queries > 0
            && self.keys_ttl_s > 0
            && has_key == (mode == Mode::Psm)
            && self.has_all_shards();
        if is_good { Ok(()) } else { Err(ParametersError::Sizes) }
    }

    /// Whether each shard has a server, and servers have shards that are there.
    fn has_all_shards(&self) -> bool {
        if self.servers.is_empty() {
            return true;
        }
        let mut ranges: Vec<(u32, u32)> =
            self.servers.iter().map(|server| (server.first, server.last)).collect();
        ranges.sort_unstable();
        let mut next = 0;
        for (first, last) in ranges {
            if first > next || last < first || last >= self.shards() {
                return false;
            }
            next = next.max(last + 1);
        }
        next == self.shards()
    }
}

impl Parameters {
    /// Whether they are those for `mode` of the provider whose key is `pinned`, and good at `now`, in Unix seconds. That the
    /// epoch is not an older one, and its key the one that was seen before, is for whoever remembers those.
    ///
    /// # Errors
    /// See [`ParametersError`].
    pub fn verify(&self, mode: Mode, pinned: &[u8; 32], now: u64) -> Result<(), ParametersError> {
        let signed = self.terms.signed_bytes().map_err(|_| ParametersError::Sizes);
        check_signature((&self.signing_key, &self.signature), pinned, signed)?;
        if self.terms.mode() != Some(mode) {
            return Err(ParametersError::OtherProfile);
        }
        self.terms.check()?;
        check_time(self.terms.issued_at, self.terms.expires_at, now)
    }
}

#[cfg(test)]
mod tests;
