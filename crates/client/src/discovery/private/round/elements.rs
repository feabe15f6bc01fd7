use acquaint_protocol::identifier::Sii;
use acquaint_protocol::lookup::input;
use acquaint_protocol::lookup::wire::{OprfAnswer, OprfRequest};
use acquaint_protocol::oprf::{BlindError, Blinding, EvaluatedElement, Proof, blind};
use rand_core::CryptoRng;
use zeroize::Zeroizing;

use super::super::Tables;
use crate::discovery::{Book, DiscoveryError};

/// The OPRF for identifiers that have no output in this epoch.
pub struct ElementsRound {
    identifiers: Vec<Sii>,
    blinding: Blinding,
    count: usize,
    epoch: u32,
    bytes: Vec<u8>,
}

impl ElementsRound {
    /// For `identifiers`, with as many elements of nobody as `count` has room for. `count` is not 0, not below the
    /// identifiers', and at most `max_elements` of the terms.
    ///
    /// # Errors
    /// [`DiscoveryError::Randomness`], [`DiscoveryError::Identifier`], and [`DiscoveryError::TooManyContacts`] for another
    /// `count`.
    pub fn new(
        book: &Book,
        tables: &Tables,
        identifiers: Vec<Sii>,
        count: usize,
        random: &mut impl CryptoRng,
    ) -> Result<Self, DiscoveryError> {
        if count == 0 || count < identifiers.len() || count > usize::from(tables.terms.max_elements) {
            return Err(DiscoveryError::TooManyContacts);
        }
        let mut inputs: Vec<Zeroizing<Vec<u8>>> =
            identifiers.iter().map(|identifier| input(identifier, book.index)).collect();
        // Blinded, all inputs look the same, wherever they stand.
        inputs.resize_with(count, || {
            let mut nobody = Zeroizing::new(vec![0; 32]);
            random.fill_bytes(&mut nobody);
            nobody
        });
        let mut request = [0; 16];
        random.fill_bytes(&mut request);
        let filled = |bytes: &mut [u8]| {
            random.fill_bytes(bytes);
            Ok::<(), std::convert::Infallible>(())
        };
        let inputs: Vec<&[u8]> = inputs.iter().map(|input| input.as_slice()).collect();
        let (blinding, elements) = blind(&inputs, filled).map_err(|error| match error {
            BlindError::Input | BlindError::Batch => DiscoveryError::Identifier,
            BlindError::Randomness(_) | BlindError::Zeros => DiscoveryError::Randomness,
        })?;
        let epoch = tables.terms.epoch;
        let elements = elements.iter().map(|element| element.to_bytes()).collect();
        let message = OprfRequest { epoch, request, elements };
        let bytes = message.encode().map_err(|_| DiscoveryError::Identifier)?;
        Ok(Self { identifiers, blinding, count, epoch, bytes })
    }

    /// What is to be sent, and sent again with the same bytes if no answer comes.
    #[must_use]
    pub fn request(&self) -> &[u8] {
        &self.bytes
    }

    /// Elements that are asked for.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// Bytes that the answer has, neither more nor less.
    #[must_use]
    pub fn answer_bytes(&self) -> usize {
        OprfAnswer::encoded_bytes(self.count)
    }

    /// Checks the answer and keeps the outputs.
    ///
    /// # Errors
    /// [`DiscoveryError::OtherAnswer`] and [`DiscoveryError::Oprf`]; then nothing is kept.
    pub fn finish(self, book: &mut Book, tables: &Tables, answer: &[u8]) -> Result<(), DiscoveryError> {
        let answer = OprfAnswer::decode(answer).map_err(|_| DiscoveryError::OtherAnswer)?;
        if answer.epoch != self.epoch {
            return Err(DiscoveryError::OtherAnswer);
        }
        let evaluated: Vec<_> = answer.elements.into_iter().map(EvaluatedElement).collect();
        let outputs = self.blinding.finalize(&evaluated, &Proof(answer.proof), &tables.terms.oprf_key())?;
        for (identifier, output) in self.identifiers.into_iter().zip(outputs) {
            book.people.entry(identifier).or_default().output = Some(output);
        }
        Ok(())
    }
}
