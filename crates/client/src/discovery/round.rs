//! Questions and answers without a network. Each round is made of what the book lacks, gives the message to send, and puts
//! the answer into the book.

use std::collections::BTreeSet;

use acquaint_protocol::bucket::Bytes;
use acquaint_protocol::bucket::parameters::Terms;
use acquaint_protocol::bucket::sealed::{AnswerError, AnswerShape, Buckets, Keys, open_bucket};
use acquaint_protocol::bucket::wire::{BucketsRequest, OprfAnswer, OprfRequest};
use acquaint_protocol::identifier::Sii;
use acquaint_protocol::oprf::{BlindError, Blinding, EvaluatedElement, Proof, blind};

use super::trust::bucket_bytes;
use super::{Book, DiscoveryError, MAX_BUCKET_BYTES};

/// The OPRF for identifiers that have no keys in this epoch.
pub struct OprfRound {
    identifiers: Vec<Sii>,
    blinding: Blinding,
    /// What is to be sent, and sent again with the same bytes if no answer comes.
    pub request: OprfRequest,
}

impl OprfRound {
    /// The next round for those of `due` that lack keys; `None` if none does. `random` fills bytes.
    ///
    /// # Errors
    /// [`DiscoveryError::Randomness`] and [`DiscoveryError::Identifier`].
    pub fn next<E>(
        book: &Book,
        terms: &Terms,
        due: &[Sii],
        mut random: impl FnMut(&mut [u8]) -> Result<(), E>,
    ) -> Result<Option<Self>, DiscoveryError> {
        let has_keys =
            |identifier: &Sii| book.people.get(identifier).is_some_and(|known| known.keys.is_some());
        let mut missing: Vec<&Sii> = due.iter().filter(|identifier| !has_keys(identifier)).collect();
        // Whoever waited longest, for there may not be quota for all.
        missing.sort_by_key(|identifier| (book.looked_up_at(identifier), *identifier));
        let identifiers: Vec<Sii> = missing.into_iter().take(usize::from(terms.max_batch)).cloned().collect();
        if identifiers.is_empty() {
            return Ok(None);
        }
        let request = request_id(&mut random)?;
        let inputs: Vec<&[u8]> = identifiers.iter().map(Sii::as_bytes).collect();
        let (blinding, elements) = blind(&inputs, random).map_err(|error| match error {
            BlindError::Input | BlindError::Batch => DiscoveryError::Identifier,
            BlindError::Randomness(_) | BlindError::Zeros => DiscoveryError::Randomness,
        })?;
        let elements = elements.iter().map(|element| Bytes(element.to_bytes())).collect();
        let request = OprfRequest { epoch: terms.epoch, elements, request: Some(request) };
        Ok(Some(Self { identifiers, blinding, request }))
    }

    /// Checks the answer and keeps the keys.
    ///
    /// # Errors
    /// [`DiscoveryError::OtherAnswer`] and [`DiscoveryError::Oprf`]; then nothing is kept.
    pub fn finish(self, book: &mut Book, terms: &Terms, answer: &OprfAnswer) -> Result<(), DiscoveryError> {
        if answer.epoch != self.request.epoch {
            return Err(DiscoveryError::OtherAnswer);
        }
        let evaluated: Vec<_> = answer.elements.iter().map(|element| EvaluatedElement(element.0)).collect();
        let outputs = self.blinding.finalize(&evaluated, &Proof(answer.proof.0), &terms.oprf_key())?;
        // Accepted parameters have names that can be.
        let scope = terms.scope().map_err(|_| DiscoveryError::OtherAnswer)?;
        for (identifier, output) in self.identifiers.into_iter().zip(&outputs) {
            book.people.entry(identifier).or_default().keys = Some(Keys::derive(&scope, output));
        }
        Ok(())
    }
}

/// Buckets for identifiers that have keys.
pub struct BucketRound {
    /// Who is looked for, and in which of the answer's buckets.
    wanted: Vec<(Sii, usize)>,
    shape: AnswerShape,
    /// What is to be sent, and sent again with the same bytes if no answer comes. The prefixes are sorted and each there
    /// once, so that they tell nothing of the address book's order.
    pub request: BucketsRequest,
}

impl BucketRound {
    /// The next round for those of `due` that have keys; `None` if none has. `random` fills bytes.
    ///
    /// # Errors
    /// [`DiscoveryError::Randomness`].
    pub fn next<E>(
        book: &Book,
        terms: &Terms,
        due: &[Sii],
        mut random: impl FnMut(&mut [u8]) -> Result<(), E>,
    ) -> Result<Option<Self>, DiscoveryError> {
        let keys =
            |identifier: &Sii| Some(book.people.get(identifier)?.keys.as_ref()?.prefix(terms.prefix_bits));
        let wanted: Vec<(u32, &Sii)> =
            due.iter().filter_map(|identifier| Some((keys(identifier)?, identifier))).collect();
        // Who was never looked up, and then who waited longest, for there may not be quota for all. Among those the prefix
        // decides, so that it tells nothing of the identifier.
        let mut waiting: Vec<(Option<u64>, u32)> =
            wanted.iter().map(|(prefix, identifier)| (book.looked_up_at(identifier), *prefix)).collect();
        waiting.sort_unstable();
        let limit = Self::limit(terms);
        let mut chosen = BTreeSet::new();
        for (_, prefix) in waiting {
            if chosen.len() == limit {
                break;
            }
            chosen.insert(prefix);
        }
        let prefixes: Vec<u32> = chosen.into_iter().collect();
        let place = |(prefix, identifier): (u32, &Sii)| {
            Some((identifier.clone(), prefixes.binary_search(&prefix).ok()?))
        };
        let places = wanted.into_iter().filter_map(place).collect();
        let Ok(count @ 1..) = u16::try_from(prefixes.len()) else { return Ok(None) };
        let request = Some(request_id(&mut random)?);
        let slot_bytes = terms.slot_bytes().ok_or(DiscoveryError::OtherAnswer)?;
        let Terms { epoch, layout, prefix_bits, slots, .. } = *terms;
        Ok(Some(Self {
            wanted: places,
            shape: AnswerShape { epoch, layout, prefix_bits, slot_bytes, slots, count },
            request: BucketsRequest { epoch, layout, prefixes, request },
        }))
    }

    /// Buckets that one round may ask for: as many as a request may have, and as an answer of [`MAX_BUCKET_BYTES`] holds.
    fn limit(terms: &Terms) -> usize {
        let fitting = MAX_BUCKET_BYTES / bucket_bytes(terms).max(1);
        usize::try_from(fitting).unwrap_or(usize::MAX).clamp(1, usize::from(terms.max_batch))
    }

    /// Bytes that the answer has, neither more nor less.
    #[must_use]
    pub fn answer_bytes(&self) -> u64 {
        self.shape.answer_bytes()
    }

    /// Who is looked for.
    #[must_use]
    pub fn identifiers(&self) -> BTreeSet<&Sii> {
        self.wanted.iter().map(|(identifier, _)| identifier).collect()
    }

    /// Opens what these keys open, and remembers who is there and who is not. Returns whom it looked for.
    ///
    /// # Errors
    /// [`DiscoveryError::Buckets`]; then nothing is remembered.
    pub fn finish(self, book: &mut Book, answer: &[u8], now: u64) -> Result<BTreeSet<Sii>, DiscoveryError> {
        let buckets: Vec<_> = Buckets::decode_as(answer, self.shape)?.iter().collect();
        if buckets.len() != usize::from(self.shape.count) {
            return Err(AnswerError::OtherShape.into());
        }
        let mut learnt = BTreeSet::new();
        for (identifier, place) in self.wanted {
            let keys = book.people.get(&identifier).and_then(|person| person.keys.as_ref());
            let slots = buckets.get(place).cloned();
            let account = keys.zip(slots).and_then(|(keys, slots)| open_bucket(keys, slots));
            book.learn(&identifier, account, now);
            learnt.insert(identifier);
        }
        Ok(learnt)
    }
}

fn request_id<E>(random: &mut impl FnMut(&mut [u8]) -> Result<(), E>) -> Result<Bytes<16>, DiscoveryError> {
    let mut bytes = [0; 16];
    random(&mut bytes).map_err(|_| DiscoveryError::Randomness)?;
    Ok(Bytes(bytes))
}
