//! Whether a private lookup's parameters are to be used.

use acquaint_protocol::bucket::Bytes;
use acquaint_protocol::lookup::Mode;
use acquaint_protocol::lookup::parameters::{Parameters, Terms};

use crate::discovery::book::Tables;
use crate::discovery::trust::MAX_EPOCH_STEP;
use crate::discovery::{Book, Trust, TrustError};

impl Book {
    /// Looks whether `parameters` of a private lookup are to be used at `now` (Unix seconds), and remembers what must not
    /// change. A refusal changes nothing. Returns the provider's key if it was met for the first time and nothing but that
    /// speaks for it ([`Accepted::first_use`](crate::discovery::Accepted::first_use)).
    ///
    /// # Errors
    /// See [`TrustError`].
    pub fn accept_private(
        &mut self,
        parameters: &Parameters,
        mode: Mode,
        trust: &Trust,
        now: u64,
    ) -> Result<Option<[u8; 32]>, TrustError> {
        if self.profile.mode() != Some(mode) {
            return Err(TrustError::OtherProfile);
        }
        let expected = self.expected(trust)?;
        let Parameters { terms, signing_key, signature: _ } = parameters;
        parameters.verify(mode, &expected.unwrap_or(signing_key.0), now)?;
        if self.provider.as_ref().is_some_and(|provider| *provider != terms.provider) {
            return Err(TrustError::OtherProvider);
        }
        let offered = Tables::of(terms);
        if let Some(newest) = &self.tables {
            newest.allows(&offered)?;
        }
        if terms.shards() > trust.max_shards {
            return Err(TrustError::ManyShards { shards: terms.shards(), most: trust.max_shards });
        }
        self.provider = Some(terms.provider.clone());
        self.signing_key = Some(Bytes(signing_key.0));
        if self.tables.is_none_or(|newest| newest.number != offered.number) {
            self.begin_epoch();
        }
        self.tables = Some(offered);
        Ok(expected.is_none().then_some(signing_key.0))
    }
}

impl Tables {
    fn of(terms: &Terms) -> Self {
        let Terms {
            shard_bits, rows, columns, batch_tables, batch_queries, batch_rows, batch_columns, ..
        } = *terms;
        Self {
            number: terms.epoch,
            key: terms.oprf_public_key,
            layout: terms.layout,
            shard_bits,
            rows,
            columns,
            batch_tables,
            batch_queries,
            batch_rows,
            batch_columns,
        }
    }

    /// Whether `offered` may follow this one, or be this one. Unlike with buckets a new epoch tells nothing more of anybody,
    /// so that it need not wait.
    fn allows(&self, offered: &Self) -> Result<(), TrustError> {
        match offered.number.checked_sub(self.number) {
            None => Err(TrustError::OldEpoch),
            Some(0) if offered.key != self.key => Err(TrustError::TwoKeys),
            Some(0) if offered.layout < self.layout => Err(TrustError::OldLayout),
            Some(0) if offered.layout == self.layout && offered != self => Err(TrustError::TwoSizes),
            Some(step) if step > MAX_EPOCH_STEP => Err(TrustError::FarEpoch),
            Some(_) => Ok(()),
        }
    }
}
