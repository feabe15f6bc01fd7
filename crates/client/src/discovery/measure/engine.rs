//! What private lookup costs on this machine (docs/protocol/lookup.md, mode `psm`): whole lookups, client and server in one
//! thread, of records of which some belong to identifiers and the others to nobody. Time is told by the caller's clock, and
//! each answer is checked.

use acquaint_pir::{
    BatchShape, Client, Configuration, EvaluationKeys, Keyword, KeywordTable, Lookup, Parameters, Placement,
    Plan, SecretKey, Server, Shape, Storage,
};
use acquaint_protocol::identifier::Sii;
use acquaint_protocol::lookup::wire::{ANSWER_HEADER_BYTES, OprfAnswer, OprfRequest, QUERY_HEADER_BYTES};
use acquaint_protocol::lookup::{Keys, Mode, RECORD_BYTES, Scope, find_record, input, seal_record};
use acquaint_protocol::oprf::{BlindedElement, ServerKey, blind};
use chacha20::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

/// Why nothing was measured.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// Seconds of CPU time that this thread has used.
pub type Clock = fn() -> f64;

/// Memory for a table of so many words of 32 bits, all 0.
pub type Memory = fn(usize) -> Result<Box<dyn Storage>, Error>;

const PROVIDER: &str = "contacts.example";

/// Identifiers that have a record. The others' keywords are random: the OPRF of a million takes a minute.
const LISTED: usize = 600;

/// What a server keeps of a record in each table that it stands in, to find it by its owner: what `acquaint-service` reckons
/// with (shard/limits.rs).
const OWNER_BYTES: usize = 43;

/// One lookup, or a batch of them.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Round {
    /// Seconds of the client: blinding, checking the OPRF's answer, query, reading, opening.
    pub client_s: f64,
    /// Seconds of the server: the OPRF with its proof, and the answer.
    pub server_s: f64,
    /// Bytes from client to server: the messages of blinded elements and of queries, without HTTP's heads.
    pub upload: usize,
    /// Bytes from server to client: the messages of evaluated elements with their proof, and of answers.
    pub download: usize,
}

/// A directory with a table, or batch tables, and a client with its session.
pub struct Directory {
    clock: Clock,
    random: ChaCha20Rng,
    scope: Scope,
    oprf: ServerKey,
    server: Server,
    client: Client,
    secret: SecretKey,
    keys: EvaluationKeys,
    tables: Vec<KeywordTable>,
    batch: Option<BatchShape>,
    records: usize,
    /// Bytes of the evaluation keys, once a session.
    pub key_bytes: usize,
    /// Seconds to make them.
    pub keys_s: f64,
    /// Seconds to place the keywords, and to transform the records of all tables.
    pub preprocess_s: f64,
    /// Bytes of tables, placements and owners.
    pub memory_bytes: usize,
    /// The same of the table for single lookups, which a server has beside batch tables.
    pub single_bytes: usize,
}

impl Directory {
    /// One table of `records`.
    ///
    /// # Errors
    /// When they are too many for a table, or there is no memory.
    pub fn with_table(records: usize, clock: Clock, memory: Memory) -> Result<Self, Error> {
        let parameters = Parameters::new(Shape::for_records(u64::try_from(records)?))?;
        Self::new(records, parameters, None, clock, memory)
    }

    /// Batch tables of `records`.
    ///
    /// # Errors
    /// When they are too many for a table, or there is no memory.
    pub fn with_batch_tables(records: usize, clock: Clock, memory: Memory) -> Result<Self, Error> {
        let batch = BatchShape::for_records(u64::try_from(records)?);
        Self::new(records, batch.parameters()?, Some(batch), clock, memory)
    }

    fn new(
        records: usize,
        parameters: Parameters,
        batch: Option<BatchShape>,
        clock: Clock,
        memory: Memory,
    ) -> Result<Self, Error> {
        let mut random = ChaCha20Rng::from_seed([23; 32]);
        let scope = Scope::new(PROVIDER, Mode::Psm.profile(), 1)?;
        let oprf = ServerKey::derive(&[7; 32], b"measured").map_err(|error| error.to_string())?;
        let shape = parameters.shape();
        let configuration = Configuration::new(parameters, b"measured");
        let server = Server::new(configuration.clone());
        let client = Client::new(configuration);
        let secret = SecretKey::generate(&mut random);
        let began = clock();
        let message = client.evaluation_keys(&secret, &mut random);
        let keys_s = clock() - began;
        let keys = server.read_keys(&message)?;

        let listed = (0..LISTED.min(records))
            .map(|number| {
                let keys = Keys::derive(&scope, oprf.output(&input(&sii(number)?, 0))?.as_bytes());
                Ok((keys.keyword(), seal_record(&keys, Mode::Psm, PROVIDER, &account(number))?))
            })
            .collect::<Result<std::collections::HashMap<_, _>, Error>>()?;
        let mut keywords: Vec<Keyword> = listed.keys().copied().map(Keyword::new).collect();
        keywords.extend((keywords.len()..records).map(|_| Keyword::random(&mut random)));

        let entries = if batch.is_some() { BatchShape::ENTRIES } else { Shape::KEYWORD_ENTRIES };
        let began = clock();
        let mut placements: Vec<Placement> =
            (0..batch.map_or(1, |batch| batch.tables)).map(|_| Placement::new(shape, entries)).collect();
        for keyword in &keywords {
            let homes = batch.map_or([0, 0], |batch| batch.tables_of(keyword));
            for home in homes.into_iter().take(if batch.is_some() { 2 } else { 1 }) {
                placements.get_mut(home).ok_or("no such table")?.insert(keyword)?;
            }
        }
        drop(keywords);
        let words = server.configuration().parameters().table_words();
        let copies = if batch.is_some() { 2 } else { 1 };
        let memory_bytes = placements.len() * table_bytes(words) + copies * records * OWNER_BYTES;
        let single = Parameters::new(Shape::for_records(u64::try_from(records)?))?;
        let single_bytes = table_bytes(single.table_words()) + records * OWNER_BYTES;
        let mut tables = Vec::with_capacity(placements.len());
        for placement in placements {
            tables.push(KeywordTable::build(
                &server,
                memory(words)?,
                placement,
                |keyword, bytes| match keyword.and_then(|keyword| listed.get(keyword.as_bytes())) {
                    Some(record) => bytes.copy_from_slice(record),
                    None => random.fill_bytes(bytes),
                },
            )?);
        }
        let preprocess_s = clock() - began;
        let key_bytes = message.len();
        Ok(Self {
            clock,
            random,
            scope,
            oprf,
            server,
            client,
            secret,
            keys,
            tables,
            batch,
            records,
            key_bytes,
            keys_s,
            preprocess_s,
            memory_bytes,
            single_bytes,
        })
    }

    /// The tables' shape.
    #[must_use]
    pub fn shape(&self) -> Shape {
        self.server.configuration().parameters().shape()
    }

    /// The batch tables'.
    #[must_use]
    pub fn batch(&self) -> Option<BatchShape> {
        self.batch
    }

    /// Records of the directory.
    #[must_use]
    pub fn records(&self) -> usize {
        self.records
    }

    /// Bytes of tables, placements and owners for each byte of a record.
    #[must_use]
    pub fn memory_ratio(&self) -> f64 {
        self.memory_bytes as f64 / (self.records * RECORD_BYTES) as f64
    }

    /// The same of all that a server has: with batch tables, the one for single lookups too.
    #[must_use]
    pub fn whole_memory_ratio(&self) -> f64 {
        let beside = if self.batch.is_some() { self.single_bytes } else { 0 };
        (self.memory_bytes + beside) as f64 / (self.records * RECORD_BYTES) as f64
    }

    /// Bytes that the evaluation keys of a session take in the server's memory.
    #[must_use]
    pub fn key_memory_bytes(&self) -> usize {
        self.keys.memory_bytes()
    }

    /// Bytes that a client keeps of a directory: the configuration's id, and what it was told of the shape. So many by
    /// definition; the secret is of one session, and what a book keeps of its contacts is not in it.
    #[must_use]
    pub fn client_storage_bytes(&self) -> usize {
        self.client.configuration().id().as_bytes().len() + size_of::<[u32; 4]>()
    }

    /// Looks identifier `number` up in the one table. Those below [`Directory::listed`] have a record.
    ///
    /// # Errors
    /// When the answer is wrong.
    pub fn look_up(&mut self, number: usize) -> Result<Round, Error> {
        let mut round = Round::default();
        let derived = self.derive(&[number], &mut round)?;
        let keywords: Vec<_> = derived.iter().map(|keys| Keyword::new(keys.keyword())).collect();
        let found = self.ask(&keywords, &mut round)?;
        self.open(&[number], &derived, &[Some(0)], &found, &mut round)?;
        Ok(round)
    }

    /// Looks up as many identifiers as there are `numbers` in the batch tables. How many found no place in the plan as well.
    ///
    /// # Errors
    /// When an answer is wrong, or there are no batch tables.
    pub fn look_up_all(&mut self, numbers: &[usize]) -> Result<(Round, usize), Error> {
        let batch = self.batch.ok_or("there are no batch tables")?;
        let mut round = Round::default();
        let derived = self.derive(numbers, &mut round)?;
        let began = (self.clock)();
        let keywords: Vec<Keyword> = derived.iter().map(|keys| Keyword::new(keys.keyword())).collect();
        let plan = Plan::new(&keywords, &batch, &mut self.random);
        round.client_s += (self.clock)() - began;
        let found = self.ask(&plan.keywords, &mut round)?;
        self.open(numbers, &derived, &plan.placed, &found, &mut round)?;
        Ok((round, plan.left.len()))
    }

    /// How many identifiers have a record.
    #[must_use]
    pub fn listed(&self) -> usize {
        LISTED.min(self.records)
    }

    /// Seconds to store another record for a listed identifier, the same as it has, in one of the tables that it is in.
    ///
    /// # Errors
    /// When it cannot be stored.
    pub fn update(&mut self, number: usize) -> Result<f64, Error> {
        let keys = Keys::derive(&self.scope, self.oprf.output(&input(&sii(number)?, 0))?.as_bytes());
        let record = seal_record(&keys, Mode::Psm, PROVIDER, &account(number))?;
        let keyword = Keyword::new(keys.keyword());
        let [home, _] = self.batch.map_or([0, 0], |batch| batch.tables_of(&keyword));
        let began = (self.clock)();
        self.tables.get(home).ok_or("no such table")?.put(&keyword, &record)?;
        Ok((self.clock)() - began)
    }

    /// The OPRF, with its proof.
    fn derive(&mut self, numbers: &[usize], round: &mut Round) -> Result<Vec<Keys>, Error> {
        let siis = numbers.iter().map(|number| sii(*number)).collect::<Result<Vec<_>, _>>()?;
        let random = &mut self.random;
        let mut fill = |bytes: &mut [u8]| {
            random.fill_bytes(bytes);
            Ok::<(), std::convert::Infallible>(())
        };
        let began = (self.clock)();
        let inputs: Vec<_> = siis.iter().map(|sii| input(sii, 0)).collect();
        let (blinding, elements) = blind(&inputs, &mut fill).map_err(|error| error.to_string())?;
        let sent: Vec<[u8; 32]> = elements.iter().map(BlindedElement::to_bytes).collect();
        let request = OprfRequest { epoch: 1, request: [0; 16], elements: sent };
        round.upload += request.encode()?.len();
        round.client_s += (self.clock)() - began;

        let began = (self.clock)();
        let sent = request.elements.iter();
        let elements = sent.map(|bytes| BlindedElement::from_bytes(bytes)).collect::<Result<Vec<_>, _>>()?;
        let (evaluated, proof) = self.oprf.evaluate(&elements, fill).map_err(|error| error.to_string())?;
        round.server_s += (self.clock)() - began;
        round.download += OprfAnswer::encoded_bytes(evaluated.len());

        let began = (self.clock)();
        let outputs = blinding.finalize(&evaluated, &proof, &self.oprf.public_key())?;
        let derived = outputs.iter().map(|output| Keys::derive(&self.scope, output.as_bytes())).collect();
        round.client_s += (self.clock)() - began;
        Ok(derived)
    }

    /// The slots of each keyword. A query for each table, table 0 first, makes as many lookups as the parameters say.
    fn ask(&mut self, keywords: &[Keyword], round: &mut Round) -> Result<Vec<Vec<Vec<u8>>>, Error> {
        let (shape, together) = (self.shape(), self.server.configuration().parameters().lookups());
        let began = (self.clock)();
        let lookups: Vec<Lookup> = keywords.iter().map(|keyword| keyword.lookup(shape)).collect();
        let queries = lookups
            .chunks(together)
            .map(|lookups| self.client.query_all(&self.secret, lookups, &mut self.random))
            .collect::<Result<Vec<_>, _>>()?;
        round.client_s += (self.clock)() - began;
        // Of one request.
        round.upload += QUERY_HEADER_BYTES + queries.iter().map(Vec::len).sum::<usize>();

        let began = (self.clock)();
        let answers = queries
            .iter()
            .zip(&self.tables)
            .map(|(query, table)| {
                let query = self.server.read_query(query)?;
                Ok(self.server.answer(table.database(), &self.keys, &query)?)
            })
            .collect::<Result<Vec<_>, Error>>()?;
        round.server_s += (self.clock)() - began;
        round.download += ANSWER_HEADER_BYTES + answers.iter().map(Vec::len).sum::<usize>();

        let began = (self.clock)();
        let mut found = Vec::with_capacity(keywords.len());
        for (lookups, answer) in lookups.chunks(together).zip(&answers) {
            found.extend(self.client.recover_all(&self.secret, lookups, answer)?);
        }
        round.client_s += (self.clock)() - began;
        Ok(found)
    }

    /// Opens what was found, and checks it. `placed` has for each of `found` the place of its identifier in `numbers`.
    fn open(
        &self,
        numbers: &[usize],
        derived: &[Keys],
        placed: &[Option<usize>],
        found: &[Vec<Vec<u8>>],
        round: &mut Round,
    ) -> Result<(), Error> {
        for (place, slots) in placed.iter().zip(found) {
            let Some(place) = *place else { continue };
            let (number, keys) = numbers.get(place).zip(derived.get(place)).ok_or("no such identifier")?;
            let began = (self.clock)();
            let opened = find_record(keys, Mode::Psm, PROVIDER, slots);
            round.client_s += (self.clock)() - began;
            if opened != (*number < self.listed()).then(|| account(*number)) {
                return Err("an answer is wrong".into());
            }
        }
        Ok(())
    }
}

/// Evaluations of the OPRF that one thread does in a second, bare and with one proof for each batch of 500, elements
/// read from the wire.
///
/// # Errors
/// There are none but the library's own.
pub fn oprf_per_second(clock: Clock, rounds: usize) -> Result<[f64; 2], Error> {
    const BATCH: usize = 500;
    let key = ServerKey::derive(&[7; 32], b"measured").map_err(|error| error.to_string())?;
    let mut random = ChaCha20Rng::from_seed([29; 32]);
    let mut fill = |bytes: &mut [u8]| {
        random.fill_bytes(bytes);
        Ok::<(), std::convert::Infallible>(())
    };
    let inputs = (0..BATCH).map(|number| Ok(input(&sii(number)?, 0))).collect::<Result<Vec<_>, Error>>()?;
    let (_, elements) = blind(&inputs, &mut fill).map_err(|error| error.to_string())?;
    let sent: Vec<[u8; 32]> = elements.iter().map(BlindedElement::to_bytes).collect();
    let (mut bare, mut proved) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        for is_proved in [false, true] {
            let began = clock();
            let elements =
                sent.iter().map(|bytes| BlindedElement::from_bytes(bytes)).collect::<Result<Vec<_>, _>>()?;
            if is_proved {
                std::hint::black_box(key.evaluate(&elements, &mut fill).map_err(|error| error.to_string())?);
            } else {
                std::hint::black_box(key.evaluate_bare(&elements));
            }
            let rates = if is_proved { &mut proved } else { &mut bare };
            rates.push(BATCH as f64 / (clock() - began));
        }
    }
    Ok([median(bare), median(proved)])
}

/// The middle one, or the upper of the two in the middle.
#[must_use]
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// A table of so many words and its placement: each place has a word for each byte of its record.
fn table_bytes(words: usize) -> usize {
    4 * words + words / RECORD_BYTES * size_of::<Option<Keyword>>()
}

fn sii(number: usize) -> Result<Sii, Error> {
    Ok(Sii::parse(&format!("tel:+1212555{number:04}"))?)
}

fn account(number: usize) -> String {
    format!("did:plc:{number:024}")
}
