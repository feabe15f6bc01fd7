//! The rounds against the server's side as the protocol crate has it.

use std::convert::Infallible;

use acquaint_protocol::bucket::parameters::{Parameters, ParametersError, SigningKey, Terms};
use acquaint_protocol::bucket::sealed::{AnswerShape, Filler, Keys, seal_entry};
use acquaint_protocol::bucket::weak::{Candidate, ContactsFound, Strong};
use acquaint_protocol::bucket::wire::{BucketsRequest, OprfAnswer, OprfRequest};
use acquaint_protocol::bucket::{Bytes, SEALED};
use acquaint_protocol::identifier::Sii;
use acquaint_protocol::oprf::{BlindedElement, FinalizeError, ServerKey};

use super::round::{BucketRound, OprfRound};
use super::weak::WeakRound;
use super::*;

mod http;

const NOW: u64 = 1_790_000_000;

fn sii(number: usize) -> Sii {
    Sii::parse(&format!("tel:+1212555{number:04}")).unwrap()
}

/// Bytes that differ from draw to draw.
fn random() -> impl FnMut(&mut [u8]) -> Result<(), Infallible> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    move |bytes| {
        for byte in bytes {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            *byte = state.to_le_bytes()[0];
        }
        Ok(())
    }
}

/// A provider, with what it needs to answer.
struct Provider {
    oprf: ServerKey,
    signing: SigningKey,
    terms: Terms,
    listings: Vec<(Sii, String)>,
}

impl Provider {
    fn new(epoch: u32, prefix_bits: u8, listings: impl IntoIterator<Item = usize>) -> Self {
        let oprf = ServerKey::derive(&[9; 32], &epoch.to_be_bytes()).unwrap();
        let terms = Terms {
            provider: "contacts.example".into(),
            profile: SEALED.into(),
            epoch,
            layout: 3,
            prefix_bits,
            slots: 60,
            account_bytes: 40,
            max_batch: 1000,
            oprf_public_key: Bytes(oprf.public_key().0),
            issued_at: NOW,
            expires_at: NOW + 30 * FRESH_S,
        };
        let listings =
            listings.into_iter().map(|number| (sii(number), format!("did:plc:{number}"))).collect();
        Self { oprf, signing: SigningKey::from_seed(&[1; 32]), terms, listings }
    }

    fn parameters(&self) -> Parameters {
        self.terms.clone().sign(&self.signing).unwrap()
    }

    fn evaluate(&self, request: &OprfRequest) -> OprfAnswer {
        let elements = request.elements.iter().map(|element| BlindedElement::from_bytes(&element.0).unwrap());
        let (elements, proof) = self.oprf.evaluate(&elements.collect::<Vec<_>>(), random()).unwrap();
        let elements = elements.iter().map(|element| Bytes(element.0)).collect();
        OprfAnswer { epoch: request.epoch, elements, proof: Bytes(proof.0) }
    }

    fn buckets(&self, request: &BucketsRequest) -> Vec<u8> {
        let Terms { epoch, layout, prefix_bits, slots, account_bytes, .. } = self.terms;
        let slot_bytes = self.terms.slot_bytes().unwrap();
        let count = u16::try_from(request.prefixes.len()).unwrap();
        let mut answer =
            AnswerShape { epoch, layout, prefix_bits, slot_bytes, slots, count }.header().to_vec();
        let scope = self.terms.scope().unwrap();
        for prefix in &request.prefixes {
            let mut bucket = Vec::new();
            for (identifier, account) in &self.listings {
                let keys = Keys::derive(&scope, &self.oprf.output(identifier.as_bytes()).unwrap());
                if keys.prefix(prefix_bits) == *prefix {
                    bucket.push(seal_entry(&keys, account, account_bytes).unwrap());
                }
            }
            let mut filler = vec![0; (usize::from(slots) - bucket.len()) * usize::from(slot_bytes)];
            Filler::new([5; 32]).fill(prefix_bits, *prefix, &mut filler);
            bucket.extend(filler.chunks(usize::from(slot_bytes)).map(<[u8]>::to_vec));
            bucket.sort();
            answer.extend(bucket.concat());
        }
        answer
    }
}

/// A whole refresh: how many elements and how many buckets were asked for.
fn refresh(book: &mut Book, provider: &Provider, identifiers: &[Sii], now: u64) -> (Vec<usize>, Vec<usize>) {
    let at_once = Trust { min_epoch_age_s: 0, ..Trust::default() };
    let terms = book.accept(&provider.parameters(), &at_once, now).unwrap().terms;
    let mut due = book.due(identifiers, now);
    let (mut elements, mut buckets) = (Vec::new(), Vec::new());
    while let Some(round) = OprfRound::next(book, &terms, &due, random()).unwrap() {
        elements.push(round.request.elements.len());
        let answer = provider.evaluate(&round.request);
        round.finish(book, &terms, &answer).unwrap();
    }
    while let Some(round) = BucketRound::next(book, &terms, &due, random()).unwrap() {
        buckets.push(round.request.prefixes.len());
        let answer = provider.buckets(&round.request);
        assert_eq!(round.answer_bytes(), u64::try_from(answer.len()).unwrap());
        let learnt = round.finish(book, &answer, now).unwrap();
        due.retain(|identifier| !learnt.contains(identifier));
    }
    assert!(due.is_empty());
    (elements, buckets)
}

#[test]
fn people_are_found_in_one_round_of_each_and_not_asked_for_again_for_a_day() {
    let provider = Provider::new(1, 3, 0..100);
    let mut book = Book::new(Profile::Sealed);
    let contacts: Vec<Sii> = (90..110).map(sii).collect();
    let (elements, buckets) = refresh(&mut book, &provider, &contacts, NOW);
    assert_eq!((elements, buckets.len()), (vec![20], 1));
    assert!(buckets[0] <= 8, "each bucket is asked for once");
    for number in 90..110 {
        let wanted = (number < 100).then(|| format!("did:plc:{number}"));
        assert_eq!(book.found(&sii(number)).map(str::to_owned), wanted, "{number}");
        assert_eq!(book.looked_up_at(&sii(number)), Some(NOW));
    }
    let nothing = (vec![], vec![]);
    assert_eq!(refresh(&mut book, &provider, &contacts, NOW + FRESH_S - 1), nothing);
    // One who is new costs one of each, and after a day no output is needed anew.
    assert_eq!(refresh(&mut book, &provider, &[sii(90), sii(7)], NOW + 1), (vec![1], vec![1]));
    let (elements, buckets) = refresh(&mut book, &provider, &contacts, NOW + FRESH_S);
    assert_eq!((elements.len(), buckets.len()), (0, 1));
}

#[test]
fn who_withdraws_is_not_found_any_more() {
    let mut provider = Provider::new(1, 0, [1, 2]);
    let mut book = Book::new(Profile::Sealed);
    refresh(&mut book, &provider, &[sii(1)], NOW);
    assert_eq!(book.found(&sii(1)), Some("did:plc:1"));
    provider.listings.clear();
    refresh(&mut book, &provider, &[sii(1)], NOW + FRESH_S);
    assert_eq!(book.found(&sii(1)), None);
}

#[test]
fn a_new_epoch_needs_new_outputs_and_keeps_what_was_found() {
    let (old, new) = (Provider::new(1, 2, [1]), Provider::new(2, 2, [1]));
    let mut book = Book::new(Profile::Sealed);
    refresh(&mut book, &old, &[sii(1), sii(2)], NOW);
    // What is fresh is not asked for on account of the epoch.
    assert_eq!(refresh(&mut book, &new, &[sii(1), sii(2)], NOW + 10), (vec![], vec![]));
    assert_eq!(book.found(&sii(1)), Some("did:plc:1"));
    assert_eq!(refresh(&mut book, &new, &[sii(1)], NOW + FRESH_S), (vec![1], vec![1]));
    assert_eq!(book.found(&sii(1)), Some("did:plc:1"));
    let refused = book.accept(&old.parameters(), &Trust::default(), NOW);
    assert_eq!(refused, Err(TrustError::OldEpoch));
}

#[test]
fn an_epoch_is_kept_for_a_week_before_the_next() {
    let (old, new) = (Provider::new(1, 2, [1]), Provider::new(2, 2, [1]));
    let mut book = Book::new(Profile::Sealed);
    let trust = Trust::default();
    book.accept(&old.parameters(), &trust, NOW).unwrap();
    // Seen again, it is no younger.
    book.accept(&old.parameters(), &trust, NOW + 6 * FRESH_S).unwrap();
    let early = book.accept(&new.parameters(), &trust, NOW + 7 * FRESH_S - 1);
    assert_eq!(early, Err(TrustError::NewEpochTooSoon));
    book.accept(&new.parameters(), &trust, NOW + 7 * FRESH_S).unwrap();
    assert_eq!(book.epoch.map(|epoch| (epoch.number, epoch.accepted_at)), Some((2, NOW + 7 * FRESH_S)));
    // One bucket of few is all there is, and tells nothing of anyone.
    let mut small = Provider::new(2, 0, []);
    (small.terms.layout, small.terms.slots) = (4, 1);
    book.accept(&small.parameters(), &trust, NOW + 7 * FRESH_S).unwrap();
}

#[test]
fn who_waited_longest_is_asked_for_first() {
    let mut provider = Provider::new(1, 16, 0..30);
    provider.terms.max_batch = 10;
    let contacts: Vec<Sii> = (0..30).map(sii).collect();
    let mut book = Book::new(Profile::Sealed);
    refresh(&mut book, &provider, &contacts, NOW);
    let terms = provider.terms.clone();
    // Quota for ten each day: after three days all had their turn.
    for day in 1..=3 {
        let due = book.due(&contacts, NOW + day * FRESH_S);
        let round = BucketRound::next(&book, &terms, &due, random()).unwrap().unwrap();
        assert!(round.request.prefixes.is_sorted());
        let answer = provider.buckets(&round.request);
        round.finish(&mut book, &answer, NOW + day * FRESH_S).unwrap();
    }
    assert!(contacts.iter().all(|contact| book.looked_up_at(contact) > Some(NOW)));
}

#[test]
fn a_provider_that_cannot_be_trusted_is_refused_and_changes_nothing() {
    let good = Provider::new(4, 3, [1]);
    let mut book = Book::new(Profile::Sealed);
    let first = book.accept(&good.parameters(), &Trust::default(), NOW).unwrap();
    assert_eq!(first.first_use, Some(good.signing.public()));
    assert_eq!(book.accept(&good.parameters(), &Trust::default(), NOW).unwrap().first_use, None);
    let before = book.clone();
    let changed = |change: fn(&mut Terms)| {
        let mut provider = Provider::new(4, 3, [1]);
        change(&mut provider.terms);
        provider.parameters()
    };
    let stranger =
        Provider { signing: SigningKey::from_seed(&[2; 32]), ..Provider::new(4, 3, [1]) }.parameters();
    let mut forged = good.parameters();
    forged.terms.layout += 1;
    for (parameters, wanted) in [
        (changed(|terms| terms.oprf_public_key.0 = [3; 32]), TrustError::TwoKeys),
        (changed(|terms| terms.epoch = 3), TrustError::OldEpoch),
        (changed(|terms| terms.provider = "elsewhere.example".into()), TrustError::OtherProvider),
        (changed(|terms| terms.epoch = 5), TrustError::NewEpochTooSoon),
        (changed(|terms| terms.epoch = 1004), TrustError::NewEpochTooSoon),
        (changed(|terms| terms.epoch = 1005), TrustError::FarEpoch),
        (changed(|terms| terms.epoch = u32::MAX), TrustError::FarEpoch),
        (changed(|terms| terms.layout = 2), TrustError::OldLayout),
        (changed(|terms| terms.prefix_bits = 4), TrustError::TwoSizes),
        (changed(|terms| terms.slots = 61), TrustError::TwoSizes),
        (changed(|terms| terms.account_bytes = 41), TrustError::TwoSizes),
        (changed(|terms| (terms.layout, terms.slots) = (4, 49)), TrustError::SmallBuckets),
        (changed(|terms| (terms.layout, terms.prefix_bits) = (4, 25)), TrustError::LongPrefix),
        (
            changed(|terms| (terms.layout, terms.slots, terms.account_bytes) = (4, u16::MAX, 2000)),
            TrustError::LargeBuckets,
        ),
        (changed(|terms| terms.expires_at = NOW), ParametersError::Expired.into()),
        (stranger.clone(), ParametersError::OtherKey.into()),
        (forged, ParametersError::Signature.into()),
    ] {
        assert_eq!(book.accept(&parameters, &Trust::default(), NOW), Err(wanted));
        assert!(book == before, "{wanted}");
    }
    let pinned = Trust { signing_key: Some(good.signing.public()), ..Trust::default() };
    assert_eq!(book.accept(&good.parameters(), &pinned, NOW).unwrap().first_use, None);
    let other = Trust { signing_key: Some([7; 32]), ..Trust::default() };
    assert_eq!(book.accept(&good.parameters(), &other, NOW), Err(TrustError::OtherBook));
    let mut empty = Book::new(Profile::Sealed);
    assert_eq!(empty.accept(&stranger, &pinned, NOW), Err(ParametersError::OtherKey.into()));
    assert_eq!(empty.accept(&good.parameters(), &pinned, NOW).unwrap().first_use, None);
    let mut weak = Book::new(Profile::Weak);
    assert_eq!(weak.accept(&good.parameters(), &pinned, NOW), Err(TrustError::OtherProfile));
    // A newer layout of the same epoch is nothing to refuse.
    assert!(book.accept(&changed(|terms| terms.layout = 9), &pinned, NOW).is_ok());
}

#[test]
fn an_answer_of_another_key_or_shape_is_refused_and_nothing_kept() {
    let provider = Provider::new(1, 3, [1]);
    let marked = Provider { oprf: ServerKey::derive(&[8; 32], b"").unwrap(), ..Provider::new(1, 3, [1]) };
    let mut book = Book::new(Profile::Sealed);
    let terms = book.accept(&provider.parameters(), &Trust::default(), NOW).unwrap().terms;
    let due = [sii(1), sii(2)];
    let before = book.clone();
    let begin = |book: &Book| OprfRound::next(book, &terms, &due, random()).unwrap().unwrap();
    let good = provider.evaluate(&begin(&book).request);
    let fewer = OprfAnswer { elements: good.elements[..1].to_vec(), ..good.clone() };
    let other_epoch = OprfAnswer { epoch: 2, ..good.clone() };
    let mut swapped = good.clone();
    swapped.elements.swap(0, 1);
    for (answer, is_wanted) in [
        (marked.evaluate(&begin(&book).request), FinalizeError::Proof),
        (swapped, FinalizeError::Proof),
        (fewer, FinalizeError::Count),
        (OprfAnswer { proof: Bytes([0xff; 64]), ..good.clone() }, FinalizeError::Element),
    ] {
        let error = begin(&book).finish(&mut book, &terms, &answer).unwrap_err();
        assert!(matches!(&error, DiscoveryError::Oprf(why) if *why == is_wanted), "{error}");
        assert!(book == before);
    }
    let error = begin(&book).finish(&mut book, &terms, &other_epoch);
    assert!(matches!(error, Err(DiscoveryError::OtherAnswer)) && book == before);

    begin(&book).finish(&mut book, &terms, &good).unwrap();
    let before = book.clone();
    let begin = |book: &Book| BucketRound::next(book, &terms, &due, random()).unwrap().unwrap();
    let good = provider.buckets(&begin(&book).request);
    let mut other_layout = good.clone();
    other_layout[8] ^= 1;
    for answer in [&good[..good.len() - 1], &[&good[..], &[0]].concat(), &other_layout, b"", b"{}"] {
        let error = begin(&book).finish(&mut book, answer, NOW).unwrap_err();
        assert!(matches!(error, DiscoveryError::Buckets(_)), "{error}");
        assert!(book == before);
    }
    begin(&book).finish(&mut book, &good, NOW).unwrap();
    assert_eq!(book.found(&sii(1)), Some("did:plc:1"));
}

#[test]
fn more_than_a_request_may_have_goes_in_several() {
    let mut provider = Provider::new(1, 16, 0..25);
    provider.terms.max_batch = 10;
    let mut book = Book::new(Profile::Sealed);
    let contacts: Vec<Sii> = (0..25).map(sii).collect();
    assert_eq!(refresh(&mut book, &provider, &contacts, NOW), (vec![10, 10, 5], vec![10, 10, 5]));
    assert!(contacts.iter().all(|contact| book.found(contact).is_some()));
    // An answer of more than 64 MiB is not asked for.
    let mut wide = Provider::new(2, 16, []);
    (wide.terms.slots, wide.terms.account_bytes) = (60_000, 240);
    let later = NOW + 7 * FRESH_S;
    let terms = book.accept(&wide.parameters(), &Trust::default(), later).unwrap().terms;
    let round = OprfRound::next(&book, &terms, &contacts, random()).unwrap().unwrap();
    let answer = wide.evaluate(&round.request);
    round.finish(&mut book, &terms, &answer).unwrap();
    let round = BucketRound::next(&book, &terms, &contacts, random()).unwrap().unwrap();
    assert_eq!(round.request.prefixes.len(), 4);
    assert!(round.answer_bytes() <= MAX_BUCKET_BYTES + 16);
}

#[test]
fn what_is_sent_tells_nothing_of_the_address_books_order() {
    let provider = Provider::new(1, 16, []);
    let contacts: Vec<Sii> = (0..50).map(sii).collect();
    let reversed: Vec<Sii> = contacts.iter().rev().cloned().collect();
    let sent = |contacts: &[Sii]| {
        let mut book = Book::new(Profile::Sealed);
        let terms = book.accept(&provider.parameters(), &Trust::default(), NOW).unwrap().terms;
        let due = book.due(contacts, NOW);
        let round = OprfRound::next(&book, &terms, &due, random()).unwrap().unwrap();
        let elements = round.request.elements.clone();
        round
            .finish(&mut book, &terms, &provider.evaluate(&OprfRequest { epoch: 1, elements, request: None }))
            .unwrap();
        BucketRound::next(&book, &terms, &due, random()).unwrap().unwrap().request
    };
    let (one, other) = (sent(&contacts), sent(&reversed));
    assert_eq!(one, other);
    assert!(one.prefixes.is_sorted_by(|one, next| one < next));
    assert!(one.request.is_some());
}

#[test]
fn weak_hashes_are_asked_for_and_strong_ones_compared() {
    let contacts: Vec<Sii> = (0..1500).map(sii).collect();
    let rounds = WeakRound::all(&contacts, WeakLength::Six);
    assert_eq!(rounds.len(), 2);
    let asked: Vec<String> = rounds.iter().flat_map(|round| round.request().weak_hashes.unwrap()).collect();
    assert!(asked.is_sorted_by(|one, next| one < next) && asked.iter().all(|weak| weak.len() == 6));

    let mut book = Book::new(Profile::Weak);
    let candidate = |number, name: &str| Candidate {
        h: Strong::of(&sii(number)).hex(),
        u: name.into(),
        id: String::new(),
    };
    // One of mine, and one who only shares a weak hash.
    let answer =
        ContactsFound { strong_hashes: vec![candidate(3, "carol"), candidate(4000, "x")], success: true };
    for round in rounds {
        round.finish(&mut book, &answer, NOW).unwrap();
    }
    assert_eq!(book.len(), 1500);
    let found: Vec<_> = contacts.iter().filter_map(|contact| book.found(contact)).collect();
    assert_eq!(found, ["carol"]);
    assert!(book.due(&contacts, NOW + 1).is_empty());

    let round = || WeakRound::all(&contacts[..1], WeakLength::Four).remove(0);
    let long = ContactsFound { strong_hashes: vec![candidate(0, &"é".repeat(1000))], success: true };
    let mut other = Book::new(Profile::Weak);
    round().finish(&mut other, &long, NOW).unwrap();
    assert_eq!(other.found(&contacts[0]), Some("é".repeat(127).as_str()));
    let refused = ContactsFound { strong_hashes: vec![], success: false };
    assert!(matches!(round().finish(&mut book, &refused, NOW), Err(DiscoveryError::OtherAnswer)));
    let odd = Candidate { h: "constructor".into(), ..candidate(0, "x") };
    let odd = ContactsFound { strong_hashes: vec![odd], success: true };
    assert!(matches!(round().finish(&mut book, &odd, NOW), Err(DiscoveryError::OtherAnswer)));
    assert_eq!(book.len(), 1500);
}
