use acquaint_pir::{
    BatchShape, Configuration, EvaluationKeys, Keyword, KeywordTable, Parameters as Engine, Placement,
    Server as Answering, Shape,
};
use acquaint_protocol::lookup::wire::{AnswerHeader, OprfAnswer, OprfRequest, QueryHeader, QueryRequest};
use acquaint_protocol::lookup::{BATCH_SLOTS, Keys, Kind, SLOTS, input, pir_output, seal_record, shard_of};
use acquaint_protocol::oprf::{BlindedElement, ServerKey};
use rand_core::Rng;

use super::*;

/// Tables of one shape, of all shards; with batch tables one behind the other.
struct Answered {
    server: Answering,
    tables: Vec<KeywordTable>,
}

/// A provider, with what it needs to answer.
pub(super) struct Provider {
    pub(super) mode: Mode,
    pub(super) oprf: ServerKey,
    signing: SigningKey,
    pub(super) terms: Terms,
    /// By which index, identifiers and accounts.
    listings: Vec<(u8, Sii, String)>,
    shards: Option<Answered>,
    batches: Option<Answered>,
}

impl Provider {
    pub(super) fn new(mode: Mode, numbers: impl IntoIterator<Item = usize>) -> Self {
        let listings = numbers.into_iter().map(|number| (0, sii(number), account(number)));
        Self::with(mode, listings.collect(), |_| ())
    }

    pub(super) fn with(
        mode: Mode,
        listings: Vec<(u8, Sii, String)>,
        change: impl FnOnce(&mut Terms),
    ) -> Self {
        let mut terms = Terms {
            provider: "contacts.example".into(),
            profile: mode.profile().into(),
            epoch: 1,
            layout: 1,
            shard_bits: 0,
            rows: 4,
            columns: 4,
            batch_tables: 0,
            batch_queries: 0,
            batch_rows: 0,
            batch_columns: 0,
            max_elements: 1000,
            max_queries: 64,
            keys_ttl_s: 86_400,
            oprf_public_key: Bytes([0; 32]),
            servers: Vec::new(),
            issued_at: NOW,
            expires_at: NOW + 30 * FRESH_S,
        };
        change(&mut terms);
        let oprf = ServerKey::derive(&[9; 32], &terms.epoch.to_be_bytes()).unwrap();
        if mode == Mode::Psm {
            terms.oprf_public_key = Bytes(oprf.public_key().0);
        }
        let signing = SigningKey::from_seed(&[1; 32]);
        let mut provider = Self { mode, oprf, signing, terms, listings, shards: None, batches: None };
        provider.build();
        provider
    }

    /// Makes the tables.
    fn build(&mut self) {
        let records: Vec<_> = self
            .listings
            .iter()
            .map(|(index, sii, account)| {
                let keys = self.keys(sii, *index);
                let record = seal_record(&keys, self.mode, &self.terms.provider, account).unwrap();
                (keys, record)
            })
            .collect();
        let batch = BatchShape {
            tables: usize::from(self.terms.batch_tables),
            queries: usize::from(self.terms.batch_queries),
            shape: shape(self.terms.batch_rows, self.terms.batch_columns, BATCH_SLOTS),
        };
        for kind in [Kind::Shard, Kind::Batch] {
            let (parameters, entries, tables) = match kind {
                Kind::Shard => {
                    let shape = shape(self.terms.rows, self.terms.columns, SLOTS);
                    (Engine::new(shape), Shape::KEYWORD_ENTRIES, 1)
                }
                Kind::Batch if batch.tables == 0 => continue,
                Kind::Batch => (batch.parameters(), BatchShape::ENTRIES, batch.tables),
            };
            let parameters = parameters.unwrap();
            let shape = parameters.shape();
            let epoch = self.terms.epoch_bytes(kind).unwrap();
            let server = Answering::new(Configuration::new(parameters, &epoch));
            let place = |shard: u32, table: usize| {
                let mine: Vec<_> = records
                    .iter()
                    .filter(|(keys, _)| shard_of(keys.shard(), self.terms.shard_bits) == shard)
                    .filter(|(keys, _)| {
                        kind == Kind::Shard || batch.tables_of(&Keyword::new(keys.keyword())).contains(&table)
                    })
                    .collect();
                let mut placement = Placement::new(shape, entries);
                for (keys, _) in &mine {
                    placement.insert(&Keyword::new(keys.keyword())).unwrap();
                }
                let words = Box::new(vec![0; server.configuration().parameters().table_words()]);
                let mut vacant = random(7);
                KeywordTable::build(&server, words, placement, |keyword, bytes| {
                    let is_it =
                        |(keys, _): &&&(Keys, _)| Some(&keys.keyword()) == keyword.map(Keyword::as_bytes);
                    match mine.iter().find(is_it) {
                        Some((_, record)) => bytes.copy_from_slice(record),
                        None => vacant.fill_bytes(bytes),
                    }
                })
                .unwrap()
            };
            let all = (0..self.terms.shards()).flat_map(|shard| (0..tables).map(move |table| (shard, table)));
            let tables = all.map(|(shard, table)| place(shard, table)).collect();
            let answered = Some(Answered { server, tables });
            match kind {
                Kind::Shard => self.shards = answered,
                Kind::Batch => self.batches = answered,
            }
        }
    }

    pub(super) fn keys(&self, sii: &Sii, index: u8) -> Keys {
        let (scope, input) = (self.terms.scope().unwrap(), input(sii, index));
        match self.mode {
            Mode::Psm => Keys::derive(&scope, self.oprf.output(&input).unwrap().as_bytes()),
            Mode::Pir => Keys::derive(&scope, &pir_output(&scope, &input)),
        }
    }

    pub(super) fn parameters(&self) -> Parameters {
        self.terms.clone().sign(&self.signing).unwrap()
    }

    pub(super) fn signed_with(&self, seed: u8) -> Parameters {
        self.terms.clone().sign(&SigningKey::from_seed(&[seed; 32])).unwrap()
    }

    pub(super) fn evaluate(&self, request: &OprfRequest) -> Vec<u8> {
        let elements: Vec<_> =
            request.elements.iter().map(|element| BlindedElement::from_bytes(element).unwrap()).collect();
        let mut random = random(3);
        let filled = |bytes: &mut [u8]| {
            random.fill_bytes(bytes);
            Ok::<(), std::convert::Infallible>(())
        };
        let (elements, proof) = self.oprf.evaluate(&elements, filled).unwrap();
        let elements = elements.iter().map(|element| element.0).collect();
        OprfAnswer { epoch: request.epoch, elements, proof: proof.0 }.encode().unwrap()
    }

    pub(super) fn read_keys(&self, message: &[u8]) -> EvaluationKeys {
        self.shards.as_ref().unwrap().server.read_keys(message).unwrap()
    }

    /// As the document has it; a request that breaks it is a failure of the test.
    pub(super) fn answer(&self, bytes: &[u8], keys: &EvaluationKeys) -> Vec<u8> {
        let (header, _) = QueryHeader::decode(bytes).unwrap();
        assert_eq!(header.mode, self.mode);
        let Answered { server, tables } = match header.kind {
            Kind::Shard => self.shards.as_ref().unwrap(),
            Kind::Batch => self.batches.as_ref().unwrap(),
        };
        let parameters = server.configuration().parameters();
        let request = QueryRequest::decode(bytes, parameters.query_bytes()).unwrap();
        let shard = usize::try_from(header.shard).unwrap();
        match header.kind {
            Kind::Shard => assert!(header.count <= self.terms.max_queries),
            Kind::Batch => assert_eq!(usize::from(header.count), self.terms.batch_request()),
        }
        let mut answer = AnswerHeader { count: header.count }.encode().to_vec();
        for (at, query) in request.queries().enumerate() {
            let table = match header.kind {
                Kind::Shard => &tables[shard],
                Kind::Batch => &tables[shard * usize::from(self.terms.batch_tables) + at],
            };
            let query = server.read_query(query).unwrap();
            answer.extend(server.answer(table.database(), keys, &query).unwrap());
        }
        answer
    }
}

fn shape(rows: u16, columns: u32, slots: usize) -> Shape {
    Shape { rows: rows.into(), columns: usize::try_from(columns).unwrap(), slots, answers: 2 }
}
