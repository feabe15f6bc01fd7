mod file;
mod limits;

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};

use acquaint_pir::{Configuration, Parameters, Shape};
use chacha20::ChaCha20Rng;
use proptest::prelude::*;
use rand_core::{Rng, SeedableRng};

use super::*;

const SHAPE: Shape = Shape { rows: 4, columns: 4, slots: 4, answers: 2 };
const EPOCH: &[u8] = b"epoch 1";
const LABEL: &[u8] = b"contacts.example/psm/1/1/0";
const VACANT: Record = [0xee; RECORD_BYTES];

fn server_of(shape: Shape) -> Server {
    Server::new(Configuration::new(Parameters::new(shape).unwrap(), EPOCH))
}

fn head() -> Head {
    Head { epoch: EPOCH.to_vec(), label: LABEL.to_vec(), change: 77, made_at: 1_790_000_000_000 }
}

fn random(seed: u64) -> ChaCha20Rng {
    ChaCha20Rng::seed_from_u64(seed)
}

/// As an OPRF would give it.
fn keyword(number: u64) -> Keyword {
    let mut bytes = [0; 16];
    random(number).fill_bytes(&mut bytes);
    Keyword::new(bytes)
}

fn record(number: u64) -> Record {
    let mut bytes = [0; RECORD_BYTES];
    random(!number).fill_bytes(&mut bytes);
    bytes
}

fn build(
    server: &Server,
    records: impl Iterator<Item = (Owner, Keyword, Record)>,
) -> Result<Shard, ShardError> {
    let words = server.configuration().parameters().table_words();
    Shard::build(server, anonymous(words)?, records, |bytes| *bytes = VACANT)
}

/// Owner, keyword and record of one number.
fn numbered(numbers: std::ops::Range<u64>) -> impl Iterator<Item = (Owner, Keyword, Record)> {
    numbers.map(|number| (Owner(number), keyword(number), record(number)))
}

/// The records that a query for a keyword gives.
fn found(shard: &Shard, keyword: &Keyword) -> Vec<Record> {
    let lookup = keyword.lookup(shard.configuration.parameters().shape());
    let places: Vec<_> = lookup.places.iter().map(|place| (lookup.row, place.column, place.slot)).collect();
    let slots = shard.database().read_all(&places).unwrap().concat();
    slots.as_chunks::<RECORD_BYTES>().0.to_vec()
}

fn times(shard: &Shard, keyword: &Keyword, record: &Record) -> usize {
    found(shard, keyword).iter().filter(|found| *found == record).count()
}

#[test]
fn a_shard_is_built_of_records_and_vacant_places() {
    let server = server_of(SHAPE);
    let shard = build(&server, numbered(0..150)).unwrap();
    assert_eq!((shard.len(), shard.capacity()), (150, 256));
    for (_, keyword, record) in numbered(0..150) {
        assert_eq!(times(&shard, &keyword, &record), 1);
    }
    let all: Vec<_> = (0..4)
        .flat_map(|row| (0..4).flat_map(move |column| (0..4).map(move |slot| (row, column, slot))))
        .collect();
    let table = shard.database().read_all(&all).unwrap().concat();
    let standing: BTreeSet<_> = table.as_chunks::<RECORD_BYTES>().0.iter().collect();
    assert_eq!(standing.len(), 151, "150 records, and the vacant one");
    assert_eq!(table.as_chunks().0.iter().filter(|bytes| **bytes == VACANT).count(), 106);
}

#[test]
fn a_row_that_is_full_refuses_and_nothing_is_lost() {
    let server = server_of(SHAPE);
    assert!(matches!(build(&server, numbered(0..257)), Err(ShardError::Full)));
    let shard = build(&server, numbered(0..200)).unwrap();
    let mut standing: Vec<u64> = (0..200).collect();
    let mut refused = 0;
    for (owner, keyword, record) in numbered(200..600) {
        match shard.put(owner, &keyword, &record, &VACANT) {
            Ok(()) => standing.push(owner.0),
            Err(ShardError::Full) => {
                refused += 1;
                assert!(!shard.remove(owner, &VACANT).unwrap(), "it was not put");
            }
            Err(other) => panic!("{other}"),
        }
    }
    assert!(refused > 300);
    assert_eq!(shard.len(), standing.len());
    assert!(standing.iter().all(|number| times(&shard, &keyword(*number), &record(*number)) == 1));
}

#[test]
fn a_full_row_leaves_an_owner_the_former_record() {
    let server = server_of(SHAPE);
    let shard = build(&server, numbered(0..100)).unwrap();
    let full = (100..2000).find(|number| {
        matches!(
            shard.put(Owner(*number), &keyword(*number), &record(*number), &VACANT),
            Err(ShardError::Full)
        )
    });
    let full = full.unwrap();
    let put = shard.put(Owner(3), &keyword(full), &record(full), &VACANT);
    assert!(matches!(put, Err(ShardError::Full)));
    assert_eq!(times(&shard, &keyword(3), &record(3)), 1);
    assert!(shard.remove(Owner(3), &VACANT).unwrap());
    assert_eq!(times(&shard, &keyword(3), &record(3)), 0);
}

/// What a shard should hold: the keyword of each owner, and the record of each keyword with whose it is.
#[derive(Clone, Default)]
struct Model {
    owners: HashMap<u64, u64>,
    records: HashMap<u64, (u64, u64)>,
}

impl Model {
    fn put(&mut self, owner: u64, keyword: u64, record: u64) {
        self.remove(owner);
        self.owners.insert(owner, keyword);
        self.records.insert(keyword, (owner, record));
    }

    fn remove(&mut self, owner: u64) -> bool {
        let held = self.owners.remove(&owner);
        let held =
            held.filter(|keyword| self.records.get(keyword).is_some_and(|(holder, _)| *holder == owner));
        held.is_some_and(|keyword| self.records.remove(&keyword).is_some())
    }

    fn compare(&self, shard: &Shard, keywords: u64) {
        assert_eq!(shard.len(), self.records.len());
        for number in 0..keywords {
            let standing: Vec<_> =
                found(shard, &keyword(number)).into_iter().filter(|found| *found != VACANT).collect();
            let mine = self.records.get(&number).map(|(_, content)| record(*content));
            let others: Vec<_> = self.records.values().map(|(_, content)| record(*content)).collect();
            assert!(standing.iter().all(|found| others.contains(found)));
            if let Some(mine) = mine {
                assert_eq!(standing.iter().filter(|found| **found == mine).count(), 1);
            }
        }
        let holders: Vec<_> = shard.owners().holders_from(0).map(|(owner, _)| owner.0).collect();
        let mut expected: Vec<_> = self.records.values().map(|(owner, _)| *owner).collect();
        expected.sort_unstable();
        assert_eq!(holders, expected);
    }
}

#[derive(Clone, Debug)]
enum Step {
    Put { owner: u64, keyword: u64 },
    Remove { owner: u64 },
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    // So few that owners meet each other's keywords all the time.
    prop_oneof![
        8 => (0..12_u64, 0..12_u64).prop_map(|(owner, keyword)| Step::Put { owner, keyword }),
        4 => (0..12_u64).prop_map(|owner| Step::Remove { owner }),
        1 => Just(Step::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn a_shard_holds_what_a_map_would(
        first in proptest::collection::vec((0..12_u64, 0..12_u64), 0..16),
        steps in proptest::collection::vec(step(), 0..60),
    ) {
        let (server, folder) = (server_of(SHAPE), tempfile::tempdir().unwrap());
        let mut model = Model::default();
        // Each record is another, so that an old one in the place of a new one shows.
        let mut count = 1000;
        let mut records = Vec::new();
        for (owner, number) in first {
            count += 1;
            model.put(owner, number, count);
            records.push((Owner(owner), keyword(number), record(count)));
        }
        let mut shard = build(&server, records.into_iter()).unwrap();
        model.compare(&shard, 12);
        for step in steps {
            match step {
                Step::Put { owner, keyword: number } => {
                    count += 1;
                    model.put(owner, number, count);
                    shard.put(Owner(owner), &keyword(number), &record(count), &VACANT).unwrap();
                }
                Step::Remove { owner } => {
                    prop_assert_eq!(shard.remove(Owner(owner), &VACANT).unwrap(), model.remove(owner));
                }
                Step::Reopen => {
                    model.compare(&shard, 12);
                    let path = folder.path().join("shard");
                    shard.save(&path, &head()).unwrap();
                    let (opened, found) = Shard::open(&path, &server, LABEL).unwrap();
                    prop_assert_eq!(found, head());
                    shard = opened;
                }
            }
        }
        model.compare(&shard, 12);
    }
}

#[test]
fn a_record_is_seen_once_while_others_come_and_go() {
    let server = server_of(SHAPE);
    let shard = build(&server, numbered(0..190)).unwrap();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for reader in 0..2_u64 {
            let (shard, over) = (&shard, &over);
            scope.spawn(move || {
                let mut looked = 0;
                while !over.load(Ordering::Relaxed) || looked < 190 {
                    let number = (looked * 2 + reader) % 190;
                    assert_eq!(times(shard, &keyword(number), &record(number)), 1);
                    looked += 1;
                }
            });
        }
        // They push the others from one bucket to another.
        for round in 0..300 {
            let (owner, number) = (Owner(1000 + round % 30), 1000 + round);
            match shard.put(owner, &keyword(number), &record(number), &VACANT) {
                Ok(()) | Err(ShardError::Full) => {}
                Err(other) => panic!("{other}"),
            }
        }
        over.store(true, Ordering::Relaxed);
    });
}

#[test]
fn nothing_shows_what_is_stored() {
    let server = server_of(SHAPE);
    let shard = build(&server, numbered(0..3)).unwrap();
    assert_eq!(format!("{shard:?} {:?}", Owner(77)), "Shard { records: 3, .. } Owner");
}
