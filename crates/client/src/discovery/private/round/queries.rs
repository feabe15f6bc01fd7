use acquaint_pir::{Keyword, Lookup, Plan};
use acquaint_protocol::identifier::Sii;
use acquaint_protocol::lookup::wire::{ANSWER_HEADER_BYTES, AnswerHeader, QueryHeader};
use acquaint_protocol::lookup::{Keys, Kind, Mode, find_record, input, pir_output};
use rand_core::CryptoRng;
use zeroize::Zeroizing;

use super::super::{MAX_BATCH, Session, Tables, per_shard};
use crate::discovery::{Book, DiscoveryError};

/// Queries for contacts, the same number to every shard.
pub struct QueryRound {
    requests: Vec<Asked>,
    /// How many were answered.
    answered: usize,
    /// Queries of all requests.
    queries: usize,
    postponed: usize,
}

/// One request.
struct Asked {
    kind: Kind,
    shard: u32,
    /// How many contacts it has room for.
    places: usize,
    /// Who is sought by each lookup.
    sought: Vec<Sought>,
    /// As they are sent: of a batch, those of a table are one query.
    lookups: Vec<Lookup>,
}

struct Sought {
    /// Nobody, if it only fills up.
    who: Option<Sii>,
    keys: Keys,
    /// What was found, once it is answered.
    account: Option<String>,
}

impl Asked {
    fn new((kind, shard): (Kind, u32), places: usize, sought: Vec<(Sought, Lookup)>) -> Self {
        let (sought, lookups) = sought.into_iter().unzip();
        Self { kind, shard, places, sought, lookups }
    }

    /// The lookups of each query.
    fn queries(&self, tables: &Tables) -> std::slice::Chunks<'_, Lookup> {
        let together = tables.client(self.kind).map(|client| client.configuration().parameters().lookups());
        self.lookups.chunks(together.unwrap_or(1).max(1))
    }
}

/// A request that is to be sent, and sent again with the same bytes if no answer comes.
pub struct QueryMessage {
    /// Which tables it is for.
    pub kind: Kind,
    /// Which shard it is for, and with that which server.
    pub shard: u32,
    /// Queries.
    pub count: usize,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Bytes that the answer has, neither more nor less.
    pub answer_bytes: usize,
}

/// Batches get at most 19 of 20 places that they have: of more, some would often find none.
const FILLED: (usize, usize) = (19, 20);

impl QueryRound {
    /// For `contacts` in a round for `size` contacts. Those that have no output yet, and (with a chance of 2⁻⁴⁰ and, in batches,
    /// some more) those that a shard has no query left for, are not asked for. How many queries there are depends on `size` and
    /// the terms alone.
    ///
    /// # Errors
    /// [`DiscoveryError::TooManyContacts`] for more than `size`, or a `size` that is 0 or above [`MAX_BATCH`].
    pub fn new(
        book: &Book,
        tables: &Tables,
        contacts: &[Sii],
        size: usize,
        random: &mut impl CryptoRng,
    ) -> Result<Self, DiscoveryError> {
        if size == 0 || size > MAX_BATCH || contacts.len() > size {
            return Err(DiscoveryError::TooManyContacts);
        }
        let mut shards: Vec<Vec<(Sii, Keys)>> = Vec::new();
        shards.resize_with(usize::try_from(tables.terms.shards()).unwrap_or(0), Vec::new);
        for contact in contacts {
            let Some(keys) = keys(book, tables, contact) else { continue };
            let shard = usize::try_from(tables.shard_of(&keys)).ok().and_then(|shard| shards.get_mut(shard));
            if let Some(shard) = shard {
                shard.push((contact.clone(), keys));
            }
        }
        let count = per_shard(size, tables.terms.shard_bits);
        let mut round = Self { requests: Vec::new(), answered: 0, queries: 0, postponed: 0 };
        for (shard, mut wanted) in (0_u32..).zip(shards) {
            round.postponed += wanted.len().saturating_sub(count);
            wanted.truncate(count);
            match tables.batch(count) {
                Some(shape) => {
                    let most = (shape.total() * FILLED.0 / FILLED.1).max(1);
                    for _ in 0..count.div_ceil(most) {
                        let some = wanted.split_off(wanted.len().saturating_sub(most));
                        round.plan_batch(tables, shard, some, random);
                    }
                }
                None => round.plan(tables, shard, wanted, count, random),
            }
        }
        round.queries = round.requests.iter().map(|request| request.queries(tables).len()).sum();
        Ok(round)
    }

    /// Queries of the shard's table.
    fn plan(
        &mut self,
        tables: &Tables,
        shard: u32,
        wanted: Vec<(Sii, Keys)>,
        count: usize,
        random: &mut impl CryptoRng,
    ) {
        let mut wanted = wanted.into_iter();
        let mut queries = (0..count).map(|_| {
            let sought = Sought::new(wanted.next(), tables, random);
            let lookup = tables.lookup(Kind::Shard, Keyword::new(sought.keys.keyword()));
            lookup.map(|lookup| (sought, lookup))
        });
        let most = usize::from(tables.terms.max_queries).max(1);
        let mut left = count;
        while left > 0 {
            let some = queries.by_ref().take(most.min(left)).flatten().collect();
            self.requests.push(Asked::new((Kind::Shard, shard), most.min(left), some));
            left -= most.min(left);
        }
    }

    /// A batch of the shard's batch tables.
    fn plan_batch(
        &mut self,
        tables: &Tables,
        shard: u32,
        wanted: Vec<(Sii, Keys)>,
        random: &mut impl CryptoRng,
    ) {
        let Some(shape) = tables.batch(usize::MAX) else { return };
        let keywords: Vec<Keyword> = wanted.iter().map(|(_, keys)| Keyword::new(keys.keyword())).collect();
        let plan = Plan::new(&keywords, shape, random);
        let places = shape.total() * FILLED.0 / FILLED.1;
        self.postponed += plan.left.len();
        let mut wanted: Vec<Option<(Sii, Keys)>> = wanted.into_iter().map(Some).collect();
        let queries = plan.placed.iter().zip(&plan.keywords).filter_map(|(place, keyword)| {
            let wanted = place.and_then(|place| wanted.get_mut(place)).and_then(Option::take);
            let sought = Sought::new(wanted, tables, random);
            tables.lookup(Kind::Batch, *keyword).map(|lookup| (sought, lookup))
        });
        let queries = queries.collect();
        self.requests.push(Asked::new((Kind::Batch, shard), places, queries));
    }

    /// Queries of all requests.
    #[must_use]
    pub fn queries(&self) -> usize {
        self.queries
    }

    /// Requests that are still to be answered.
    #[must_use]
    pub fn left(&self) -> usize {
        self.requests.len() - self.answered
    }

    /// The next request; `None` if all were answered.
    ///
    /// # Errors
    /// [`DiscoveryError::OtherAnswer`], which does not happen: the tables have all places of their keywords.
    pub fn request(
        &self,
        tables: &Tables,
        session: &Session,
        random: &mut impl CryptoRng,
    ) -> Result<Option<QueryMessage>, DiscoveryError> {
        let Some(asked) = self.requests.get(self.answered) else { return Ok(None) };
        let Asked { kind, shard, .. } = asked;
        let client = tables.client(*kind).ok_or(DiscoveryError::OtherAnswer)?;
        let queries = asked.queries(tables);
        let count = queries.len();
        let mut request = [0; 16];
        random.fill_bytes(&mut request);
        let header = QueryHeader {
            mode: tables.mode,
            epoch: tables.terms.epoch,
            layout: tables.terms.layout,
            kind: *kind,
            shard: *shard,
            keys: session.id(),
            request,
            count: u16::try_from(count).map_err(|_| DiscoveryError::OtherAnswer)?,
        };
        let mut bytes = header.encode();
        for lookups in queries {
            let query = client.query_all(&session.secret, lookups, random);
            bytes.extend(query.map_err(|_| DiscoveryError::OtherAnswer)?);
        }
        let answer_bytes = client.configuration().parameters().answer_bytes();
        let answer_bytes = ANSWER_HEADER_BYTES + count * answer_bytes;
        Ok(Some(QueryMessage { kind: *kind, shard: *shard, count, bytes, answer_bytes }))
    }

    /// Reads the answer to the last request. Queries that only fill up are read as the others are, so that the time until the
    /// next request is the same; and nothing is told of what was in it.
    ///
    /// # Errors
    /// [`DiscoveryError::OtherAnswer`] for another version, length or count, which everybody can see.
    pub fn answer(
        &mut self,
        tables: &Tables,
        session: &Session,
        answer: &[u8],
    ) -> Result<(), DiscoveryError> {
        let other = |_| DiscoveryError::OtherAnswer;
        let request = self.requests.get_mut(self.answered).ok_or(DiscoveryError::OtherAnswer)?;
        let client = tables.client(request.kind).ok_or(DiscoveryError::OtherAnswer)?;
        let (header, answers) =
            answer.split_at_checked(ANSWER_HEADER_BYTES).ok_or(DiscoveryError::OtherAnswer)?;
        let AnswerHeader { count } = AnswerHeader::decode(header).map_err(|_| DiscoveryError::OtherAnswer)?;
        let answer_bytes = client.configuration().parameters().answer_bytes();
        let wanted = request.queries(tables).len();
        if usize::from(count) != wanted || answers.len() != wanted * answer_bytes {
            return Err(DiscoveryError::OtherAnswer);
        }
        let provider = &tables.terms.provider;
        let mut found = Vec::with_capacity(request.sought.len());
        for (lookups, answer) in request.queries(tables).zip(answers.chunks_exact(answer_bytes.max(1))) {
            found.extend(client.recover_all(&session.secret, lookups, answer).map_err(other)?);
        }
        for (sought, slots) in request.sought.iter_mut().zip(&found) {
            sought.account = find_record(&sought.keys, tables.mode, provider, slots);
        }
        self.answered += 1;
        Ok(())
    }

    /// Remembers who is there and who is not, once all was answered: half of a round would leave the others to be asked for
    /// again, and how many they are tells of the shards. Returns whom it asked for, and how many had to be left out.
    ///
    /// # Errors
    /// [`DiscoveryError::OtherAnswer`] if something is not answered yet; then nothing is remembered.
    pub fn finish(self, book: &mut Book, now: u64) -> Result<(usize, usize), DiscoveryError> {
        if self.left() > 0 {
            return Err(DiscoveryError::OtherAnswer);
        }
        let mut asked = 0;
        for Sought { who, keys: _, account } in self.requests.into_iter().flat_map(|request| request.sought) {
            if let Some(who) = who {
                book.learn(&who, account, now);
                asked += 1;
            }
        }
        Ok((asked, self.postponed))
    }

    /// Remembers what was answered before a limit ended the round, where there is one shard: then how many contacts are left for
    /// another time follows from how many requests were answered, and tells nothing. Returns who that was, and for how many
    /// contacts those requests had room.
    pub(in super::super) fn keep(self, book: &mut Book, now: u64) -> (Vec<Sii>, usize) {
        let is_one = self.requests.iter().all(|request| request.shard == 0);
        let (mut contacts, mut places) = (Vec::new(), 0);
        for request in self.requests.into_iter().take(if is_one { self.answered } else { 0 }) {
            places += request.places;
            for Sought { who, keys: _, account } in request.sought {
                if let Some(who) = who {
                    book.learn(&who, account, now);
                    contacts.push(who);
                }
            }
        }
        (contacts, places)
    }
}

/// The keys of a contact, if there is an output.
fn keys(book: &Book, tables: &Tables, contact: &Sii) -> Option<Keys> {
    match tables.mode {
        Mode::Psm => {
            let output = book.people.get(contact)?.output.as_ref()?;
            Some(Keys::derive(&tables.scope, output.as_bytes()))
        }
        Mode::Pir => {
            let output = Zeroizing::new(pir_output(&tables.scope, &input(contact, book.index)));
            Some(Keys::derive(&tables.scope, &output))
        }
    }
}

impl Sought {
    /// Somebody, or nobody.
    fn new(wanted: Option<(Sii, Keys)>, tables: &Tables, random: &mut impl CryptoRng) -> Self {
        let (who, keys) = match wanted {
            Some((who, keys)) => (Some(who), keys),
            None => (None, nobody(tables, random)),
        };
        Self { who, keys, account: None }
    }
}

/// Keys that nobody has.
fn nobody(tables: &Tables, random: &mut impl CryptoRng) -> Keys {
    let mut output = Zeroizing::new([0; 64]);
    random.fill_bytes(&mut *output);
    Keys::derive(&tables.scope, &output)
}
