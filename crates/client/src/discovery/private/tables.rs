use acquaint_pir::{BatchShape, Client, Configuration, Keyword, Lookup, ParameterError, Parameters, Shape};
use acquaint_protocol::bucket::parameters::ParametersError;
use acquaint_protocol::lookup::parameters::Terms;
use acquaint_protocol::lookup::{ANSWERS, BATCH_SLOTS, Keys, Kind, Mode, SLOTS, Scope, shard_of};

use crate::discovery::TrustError;

/// What a provider's terms say of its tables, ready to ask them.
pub struct Tables {
    pub(super) mode: Mode,
    pub(super) scope: Scope,
    pub(super) terms: Terms,
    shard: Client,
    batch: Option<(Client, BatchShape)>,
}

impl Tables {
    /// Those of accepted terms.
    ///
    /// # Errors
    /// [`TrustError::Parameters`] for sizes of which no table can be read.
    pub fn new(terms: Terms) -> Result<Self, TrustError> {
        terms.check()?;
        let sizes = || TrustError::Parameters(ParametersError::Sizes);
        let shape = |rows: u16, columns: u32, slots| {
            let columns = usize::try_from(columns).map_err(|_| sizes())?;
            Ok::<_, TrustError>(Shape { rows: usize::from(rows), columns, slots, answers: ANSWERS })
        };
        let client = |parameters: Result<Parameters, _>, kind| {
            let parameters = parameters.map_err(|_: ParameterError| sizes())?;
            let epoch = terms.epoch_bytes(kind).map_err(|_| sizes())?;
            Ok::<_, TrustError>(Client::new(Configuration::new(parameters, &epoch)))
        };
        let shard = client(Parameters::new(shape(terms.rows, terms.columns, SLOTS)?), Kind::Shard)?;
        let batch = match terms.batch_tables {
            0 => None,
            tables => {
                let shape = shape(terms.batch_rows, terms.batch_columns, BATCH_SLOTS)?;
                let queries = usize::from(terms.batch_queries);
                let batch = BatchShape { tables: usize::from(tables), queries, shape };
                Some((client(batch.parameters(), Kind::Batch)?, batch))
            }
        };
        let mode = terms.mode().ok_or_else(sizes)?;
        let scope = terms.scope().map_err(|_| sizes())?;
        Ok(Self { mode, scope, terms, shard, batch })
    }

    /// What they are of.
    #[must_use]
    pub fn terms(&self) -> &Terms {
        &self.terms
    }

    /// The engine's client for tables of a kind; `None` if there are no such tables.
    pub(super) fn client(&self, kind: Kind) -> Option<&Client> {
        match kind {
            Kind::Shard => Some(&self.shard),
            Kind::Batch => self.batch.as_ref().map(|(client, _)| client),
        }
    }

    /// The engine's client that keys are made with: they serve for all tables.
    pub(super) fn for_keys(&self) -> &Client {
        &self.shard
    }

    /// Batch tables, if there are some and `lookups` in a shard are so many that a pass over all of them costs less: a quarter
    /// of a batch.
    pub(super) fn batch(&self, lookups: usize) -> Option<&BatchShape> {
        let (_, shape) = self.batch.as_ref()?;
        (lookups.saturating_mul(4) >= shape.total()).then_some(shape)
    }

    /// The shard of a record.
    pub(super) fn shard_of(&self, keys: &Keys) -> u32 {
        shard_of(keys.shard(), self.terms.shard_bits)
    }

    /// Where a keyword's record can be in a table of a kind.
    pub(super) fn lookup(&self, kind: Kind, keyword: Keyword) -> Option<Lookup> {
        self.client(kind).map(|client| keyword.lookup(client.configuration().parameters().shape()))
    }
}
