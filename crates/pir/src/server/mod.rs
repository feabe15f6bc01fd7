//! What the server does with a query.

mod expand;
mod keys;
mod pack;
mod select;
#[cfg(test)]
mod tests;

pub use keys::EvaluationKeys;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::database::Database;
use crate::kernel::Kernel;
use crate::mask::Mask;
use crate::parameters::{
    Configuration, ConfigurationId, LEVELS, N, Parameters, Q, Q1, Q2, QUERY_BELOW, QUERY_BITS, QUERY_DROPPED,
    SMALL_N,
};
use crate::ring::{Automorphism, Ciphertext, Poly, Ring};
use crate::wire::{DecodeError, open, unpack};
use expand::{Children, sparse};

/// What server and table compute with.
pub(crate) struct Tables {
    pub(crate) configuration: Configuration,
    pub(crate) kernel: Kernel,
    pub(crate) ring: Ring,
    pub(crate) table_ring: Ring,
    pub(crate) small_ring: Ring,
    pub(crate) automorphisms: Vec<Automorphism>,
    pub(crate) mask: Mask,
}

impl Tables {
    pub(crate) fn parameters(&self) -> &Parameters {
        self.configuration.parameters()
    }
}

/// Answers queries for tables of one configuration. It learns neither what is asked nor what it answers.
pub struct Server {
    pub(crate) tables: Arc<Tables>,
    /// As many as queries were ever answered at a time.
    scratch: Mutex<Vec<Box<Scratch>>>,
}

/// A query, taken apart.
pub struct Query {
    seed: [u8; 32],
    rows: Vec<u64>,
    selectors: Vec<u64>,
    id: ConfigurationId,
}

impl std::fmt::Debug for Query {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Query")
    }
}

/// A query, keys and a table that do not belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// The query was read by a server of another configuration.
    #[error("the query is for another configuration or epoch")]
    Query,
    /// The keys were read by a server of other parameters.
    #[error("the evaluation keys are for other parameters")]
    Keys,
    /// The table is of another configuration.
    #[error("the table is of another configuration or epoch")]
    Database,
}

/// Room for what is at work.
struct Scratch {
    digits: Vec<Poly>,
    poly: Poly,
    image: Ciphertext,
    difference: Ciphertext,
    /// For each level of an expansion.
    children: Vec<Children>,
    /// The selectors of a lookup.
    selectors: Vec<Ciphertext>,
    /// For each answer of a lookup but the first, half as many as there are columns.
    others: Vec<Ciphertext>,
    /// What a query's lookups have chosen.
    chosen: Vec<Ciphertext>,
}

impl Scratch {
    fn new(parameters: &Parameters) -> Box<Self> {
        let gadgets = &parameters.gadgets;
        let most = gadgets.expansion.iter().map(|gadget| gadget.digits).max().unwrap_or(0);
        let most =
            most.max(gadgets.conversion.digits).max(2 * gadgets.selection.digits).max(gadgets.packing.digits);
        Box::new(Self {
            digits: vec![Poly::ZERO; most],
            poly: Poly::ZERO,
            image: Ciphertext::ZERO,
            difference: Ciphertext::ZERO,
            children: vec![Children::ZERO; LEVELS],
            selectors: vec![Ciphertext::ZERO; 2 * parameters.selectors_of_lookup()],
            others: vec![
                Ciphertext::ZERO;
                (parameters.shape.answers - 1) * parameters.shape.columns.div_ceil(2)
            ],
            chosen: vec![Ciphertext::ZERO; parameters.shape.answers * parameters.lookups()],
        })
    }
}

impl Server {
    /// Uses the fastest kernel of this processor.
    #[must_use]
    pub fn new(configuration: Configuration) -> Self {
        Self::with_kernel(configuration, Kernel::best())
    }

    /// Uses a kernel that is named, for measurements and tests: the answers are the same.
    #[must_use]
    pub fn with_kernel(configuration: Configuration, kernel: Kernel) -> Self {
        let tables = Tables {
            kernel,
            ring: Ring::new(Q, N),
            table_ring: Ring::new(Q1, N),
            small_ring: Ring::new(Q2, SMALL_N),
            automorphisms: (0..LEVELS).map(Automorphism::new).collect(),
            mask: Mask::new(&configuration),
            configuration,
        };
        Self { tables: Arc::new(tables), scratch: Mutex::new(Vec::new()) }
    }

    /// The configuration that queries must carry.
    #[must_use]
    pub fn configuration(&self) -> &Configuration {
        &self.tables.configuration
    }

    /// Reads a query.
    ///
    /// # Errors
    /// When the bytes are no query for this configuration. Version, name and length are checked first.
    pub fn read_query(&self, bytes: &[u8]) -> Result<Query, DecodeError> {
        let parameters = self.configuration().parameters();
        let id = self.configuration().id();
        let (seed, halves) =
            open(bytes, id.as_bytes(), DecodeError::Configuration, parameters.query_bytes())?;
        let mut rows = vec![0; parameters.row_coefficients() + parameters.selector_coefficients()];
        unpack(halves, QUERY_BITS, QUERY_BELOW, rows.iter_mut())?;
        rows.iter_mut().for_each(|value| *value <<= QUERY_DROPPED);
        let selectors = rows.split_off(parameters.row_coefficients());
        Ok(Query { seed: *seed, rows, selectors, id })
    }

    /// Answers a query from one state of the table, in time that depends on the parameters alone (and on how many changes
    /// wait to become part of the table).
    ///
    /// # Errors
    /// When query, keys and table do not belong together. Keys of another session are not found out here: the answer is
    /// noise then.
    pub fn answer(
        &self,
        database: &Database,
        keys: &EvaluationKeys,
        query: &Query,
    ) -> Result<Vec<u8>, AnswerError> {
        let answers = self.answer_all(database, &[(keys, query)])?;
        answers.into_iter().next().ok_or(AnswerError::Query)
    }

    /// Answers queries, of whomever, in one pass over the table: reading it is half of the time of a single query. Each
    /// lookup takes some megabytes of memory for as long as the pass lasts.
    ///
    /// # Errors
    /// When one of the queries or keys does not belong to the table; then none is answered.
    pub fn answer_all(
        &self,
        database: &Database,
        asked: &[(&EvaluationKeys, &Query)],
    ) -> Result<Vec<Vec<u8>>, AnswerError> {
        let parameters = self.tables.parameters();
        let id = self.configuration().id();
        if database.id() != id {
            return Err(AnswerError::Database);
        }
        if asked.iter().any(|(_, query)| query.id != id) {
            return Err(AnswerError::Query);
        }
        if asked.iter().any(|(keys, _)| keys.id != parameters.keys_id()) {
            return Err(AnswerError::Keys);
        }
        let mut scratch = self.scratch().pop().unwrap_or_else(|| Scratch::new(parameters));
        let rows: Vec<_> =
            asked.iter().flat_map(|(keys, query)| self.rows(query, keys, &mut scratch)).collect();
        let mut passes = database.first_dimension(&rows);
        drop(rows);
        let mut passes = passes.chunks_mut(parameters.lookups());
        let answers = asked.iter().zip(passes.by_ref()).map(|((keys, query), passes)| {
            self.choose_all(query, keys, passes, &mut scratch);
            let chosen = std::mem::take(&mut scratch.chosen);
            let answer = self.pack(&chosen, keys, &mut scratch);
            scratch.chosen = chosen;
            answer
        });
        let answers = answers.collect();
        self.scratch().push(scratch);
        Ok(answers)
    }

    /// The slots that all lookups of a query choose, into `scratch.chosen`: of each as soon as its selectors are expanded.
    fn choose_all(
        &self,
        query: &Query,
        keys: &EvaluationKeys,
        passes: &mut [Vec<Ciphertext>],
        scratch: &mut Scratch,
    ) {
        let parameters = self.tables.parameters();
        let (of_lookup, answers) = (parameters.selectors_of_lookup(), parameters.shape.answers);
        let digits = parameters.gadgets.selection.digits;
        let mut selectors = std::mem::take(&mut scratch.selectors);
        let mut chosen = std::mem::take(&mut scratch.chosen);
        let root = sparse(&query.seed, 1, &query.selectors);
        self.expand(root, query.selectors.len(), keys, scratch, |server, scratch, at, ciphertext| {
            let (lookup, at) = (at / of_lookup, at % of_lookup);
            let selector = &mut selectors[2 * digits * (at / digits)..][..2 * digits];
            let (plain, times_secret) = selector.split_at_mut(digits);
            let rows = [&mut plain[at % digits], &mut times_secret[at % digits]];
            server.selector_rows(ciphertext, keys, scratch, rows);
            if at + 1 == of_lookup {
                let out = &mut chosen[lookup * answers..][..answers];
                server.choose(&mut passes[lookup], &selectors, scratch, out);
            }
        });
        (scratch.selectors, scratch.chosen) = (selectors, chosen);
    }

    /// Memory that queries leave to those that follow: taking it anew would be a fifth of their time.
    fn scratch(&self) -> MutexGuard<'_, Vec<Box<Scratch>>> {
        self.scratch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For each lookup, the encrypted choice of a row, as the first dimension wants it: for each block of eight coefficients,
    /// both halves of each row.
    fn rows(&self, query: &Query, keys: &EvaluationKeys, scratch: &mut Scratch) -> Vec<Vec<[[u32; 8]; 2]>> {
        let rows = self.tables.parameters().shape.rows;
        let mut lookups = vec![vec![[[0; 8]; 2]; rows * N / 8]; self.tables.parameters().lookups()];
        let root = sparse(&query.seed, 0, &query.rows);
        self.expand(root, query.rows.len(), keys, scratch, |server, _, at, ciphertext| {
            server.to_table_modulus(ciphertext);
            let halves = ciphertext.a.0.as_chunks::<8>().0.iter().zip(ciphertext.b.0.as_chunks::<8>().0);
            let blocks = lookups[at / rows].iter_mut().skip(at % rows).step_by(rows);
            for (block, (a, b)) in blocks.zip(halves) {
                *block = [a.map(|value| value as u32), b.map(|value| value as u32)];
            }
        });
        lookups
    }
}
