//! The rounds without a network.

use acquaint_protocol::lookup::wire::QueryHeader;
use acquaint_protocol::lookup::{Keys, Kind, input, pir_output, shard_of};

use super::round::{ElementsRound, QueryRound};
use super::*;

#[test]
fn batches_have_few_sizes() {
    for (count, size) in [
        (0, 10),
        (1, 10),
        (10, 10),
        (11, 50),
        (50, 50),
        (51, 150),
        (150, 150),
        (151, 500),
        (500, 500),
        (501, 1000),
        (1000, 1000),
        (1001, 1500),
    ] {
        assert_eq!(batch_size(count), size, "{count}");
    }
}

/// The exact chance that a shard has more than `most` of `size`, by the binomial distribution, times the shards: −log₂.
fn overflow(size: usize, bits: u8, most: usize) -> f64 {
    let p = 0.5_f64.powi(bits.into());
    let (mut log, mut sum) = (size as f64 * (-p).ln_1p(), 0.0);
    for count in 0..=size {
        if count > most {
            sum += log.exp();
        }
        log += ((size - count) as f64 / (count + 1) as f64 * p / (1.0 - p)).ln();
    }
    -f64::log2(sum) - f64::from(bits)
}

#[test]
fn each_shard_gets_queries_enough() {
    for size in [1, 3, 10, 50, 150, 500] {
        assert_eq!(per_shard(size, 0), size);
        for bits in 1..=16 {
            let each = per_shard(size, bits);
            assert!((1..=size).contains(&each));
            assert!(each == size || overflow(size, bits, each) >= 40.0, "{size} {bits} {each}");
        }
    }
    assert_eq!(
        [per_shard(10, 2), per_shard(500, 1), per_shard(500, 4), per_shard(500, 6)],
        [10, 378, 84, 39]
    );
}

#[test]
fn a_shard_that_is_asked_for_too_many_leaves_some_for_another_time() {
    let provider = Provider::with(Mode::Pir, vec![], |terms| terms.shard_bits = 4);
    let tables = Tables::new(provider.terms.clone()).unwrap();
    let scope = provider.terms.scope().unwrap();
    let in_first = |contact: &Sii| {
        let keys = Keys::derive(&scope, &pir_output(&scope, &input(contact, 0)));
        shard_of(keys.shard(), 4) == 0
    };
    let crowd: Vec<Sii> = (0..9999).map(sii).filter(in_first).take(100).collect();
    let mut book = book(Mode::Pir);
    let session = Session::new(&tables, NOW, &mut random(1));
    let round = QueryRound::new(&book, &tables, &crowd, 500, &mut random(2)).unwrap();
    assert_eq!((round.queries(), round.left()), (16 * 84, 16 * 2));
    let message = round.request(&tables, &session, &mut random(3)).unwrap().unwrap();
    let (header, _) = QueryHeader::decode(&message.bytes).unwrap();
    assert_eq!((header.count, header.kind, header.shard), (64, Kind::Shard, 0));
    // Nothing is learnt before all is answered.
    assert!(matches!(round.finish(&mut book, NOW), Err(DiscoveryError::OtherAnswer)));
    let mut round = QueryRound::new(&book, &tables, &crowd, 500, &mut random(2)).unwrap();
    let answer_bytes = |count: usize| 3 + count * (message.answer_bytes - 3) / message.count;
    while let Some(message) = round.request(&tables, &session, &mut random(3)).unwrap() {
        let mut answer = vec![0; answer_bytes(message.count)];
        answer[0] = 1;
        answer[2] = u8::try_from(message.count).unwrap();
        for each in answer[3..].chunks_mut((message.answer_bytes - 3) / message.count) {
            each[0] = 1;
        }
        assert_eq!(answer.len(), message.answer_bytes);
        round.answer(&tables, &session, &answer).unwrap();
    }
    assert_eq!(round.finish(&mut book, NOW).unwrap(), (84, 16));
    assert_eq!(book.due(&crowd, NOW).len(), 16);
}

#[test]
fn rounds_of_other_sizes_are_refused() {
    let provider = Provider::with(Mode::Psm, vec![], |terms| terms.max_elements = 20);
    let tables = Tables::new(provider.terms.clone()).unwrap();
    let book = book(Mode::Psm);
    let elements =
        |people, count| ElementsRound::new(&book, &tables, contacts(0..people), count, &mut random(1));
    for (people, count) in [(0, 0), (1, 0), (3, 2), (3, 21)] {
        assert!(matches!(elements(people, count), Err(DiscoveryError::TooManyContacts)));
    }
    let round = elements(0, 20).unwrap();
    assert_eq!((round.count(), round.request().len(), round.answer_bytes()), (20, 23 + 640, 71 + 640));
    let queries = |people, size| QueryRound::new(&book, &tables, &contacts(0..people), size, &mut random(1));
    for (people, size) in [(0, 0), (3, 2), (3, 501)] {
        assert!(matches!(queries(people, size), Err(DiscoveryError::TooManyContacts)));
    }
    // Whoever has no output is not asked for.
    assert_eq!(queries(5, 10).unwrap().queries(), 10);
}

#[test]
fn a_session_lasts_a_day_and_tells_nothing() {
    let provider = Provider::new(Mode::Pir, []);
    let tables = Tables::new(provider.terms.clone()).unwrap();
    let session = Session::new(&tables, NOW, &mut random(1));
    for (now, is_good) in [(NOW - 1, false), (NOW, true), (NOW + 82_799, true), (NOW + 82_800, false)] {
        assert_eq!(session.is_good(&tables, now), is_good);
    }
    assert_eq!(format!("{session:?}"), "Session(..)");
    let other = Session::new(&tables, NOW, &mut random(2));
    assert_ne!((other.id(), other.message()), (session.id(), session.message()));
}

#[test]
fn a_request_has_time_for_its_queries_but_not_for_ever() {
    use super::http::queries_deadline;
    for (kind, count, seconds) in [
        (Kind::Shard, 10, 40),
        (Kind::Shard, 65_535, 300),
        (Kind::Batch, 130, 52),
        (Kind::Batch, 65_535, 300),
    ] {
        assert_eq!(queries_deadline(kind, count).as_secs(), seconds);
    }
}

#[test]
fn tables_that_cannot_be_read_are_refused() {
    let provider = Provider::new(Mode::Pir, []);
    let terms = |change: fn(&mut Terms)| {
        let mut terms = provider.terms.clone();
        change(&mut terms);
        Tables::new(terms).err()
    };
    assert_eq!(terms(|_| ()), None);
    let sizes = Some(TrustError::Parameters(ParametersError::Sizes));
    assert_eq!(terms(|terms| terms.rows = 0), sizes);
    // The document allows both numbers, and the engine not both together.
    assert_eq!(terms(|terms| (terms.rows, terms.columns) = (2048, 65_536)), sizes);
}
