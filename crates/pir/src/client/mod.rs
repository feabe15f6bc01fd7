//! What the client does: keys, queries, and reading answers. All of it runs on the portable kernel, in time that does not
//! depend on the secret, on what is asked or on what is answered.

mod encrypt;
mod keys;
mod secret;

pub use secret::SecretKey;

use rand_core::CryptoRng;
use subtle::{ConditionallySelectable, ConstantTimeEq};
use zeroize::Zeroizing;

use crate::kernel::portable;
use crate::mask::Mask;
use crate::parameters::{
    Configuration, N, P, Parameters, Q, Q2, QUERY_BITS, QUERY_DROPPED, SMALL_N, exponent, row_value,
};
use crate::ring::{Poly, Ring};
use crate::wire::{DecodeError, VERSION, header, pack, unpack};
use encrypt::Encryption;
use secret::transformed;

/// A slot of a table.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// From 0.
    pub column: usize,
    /// From 0.
    pub slot: usize,
}

/// What a query asks for: slots of one row, as many as the shape has answers.
#[derive(Clone, PartialEq, Eq)]
pub struct Lookup {
    /// From 0.
    pub row: usize,
    /// One for each answer. They may be the same.
    pub places: Vec<Place>,
}

impl std::fmt::Debug for Lookup {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Lookup")
    }
}

/// A lookup is for no place of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LookupError {
    /// The table has fewer rows.
    #[error("there is no such row")]
    Row,
    /// The table has fewer columns.
    #[error("there is no such column")]
    Column,
    /// Polynomials have fewer slots.
    #[error("there is no such slot")]
    Slot,
    /// There are more or fewer places than answers.
    #[error("a lookup is for {0} places")]
    Places(usize),
    /// There are more or fewer lookups than a query makes.
    #[error("a query makes {0} lookups")]
    Lookups(usize),
}

/// Asks tables of one configuration. It holds no secret and no state: one serves all sessions.
pub struct Client {
    configuration: Configuration,
    ring: Ring,
    small_ring: Ring,
    /// For reading answers: of the small degree, with a modulus that products do not reach.
    answer_ring: Ring,
    mask: Mask,
}

impl Client {
    /// Some kilobytes of tables.
    #[must_use]
    pub fn new(configuration: Configuration) -> Self {
        Self {
            ring: Ring::new(Q, N),
            small_ring: Ring::new(Q2, SMALL_N),
            answer_ring: Ring::new(Q, SMALL_N),
            mask: Mask::new(&configuration),
            configuration,
        }
    }

    /// The configuration that queries carry.
    #[must_use]
    pub fn configuration(&self) -> &Configuration {
        &self.configuration
    }

    /// A query for one lookup, as it is sent. Each has its own randomness: send none twice.
    ///
    /// # Errors
    /// When the table has no such place, or queries of these parameters make several lookups.
    pub fn query(
        &self,
        secret: &SecretKey,
        lookup: &Lookup,
        random: &mut impl CryptoRng,
    ) -> Result<Vec<u8>, LookupError> {
        self.query_all(secret, std::slice::from_ref(lookup), random)
    }

    /// A query for as many lookups as the parameters say.
    ///
    /// # Errors
    /// When the table has no such place, or there are more or fewer lookups.
    pub fn query_all(
        &self,
        secret: &SecretKey,
        lookups: &[Lookup],
        random: &mut impl CryptoRng,
    ) -> Result<Vec<u8>, LookupError> {
        if lookups.len() != self.configuration.parameters().lookups() {
            return Err(LookupError::Lookups(self.configuration.parameters().lookups()));
        }
        lookups.iter().try_for_each(|lookup| self.check(lookup))?;
        let parameters = self.configuration.parameters();
        let under = transformed(&self.ring, &*secret.large);
        let mut encryption = Encryption::new(random);
        let mut message =
            header(self.configuration.id().as_bytes(), &encryption.seed, parameters.query_bytes());

        let mut poly = Box::new(Zeroizing::new(Poly::ZERO));
        let (rows, all_rows) = (parameters.shape.rows, parameters.row_coefficients());
        for (number, lookup) in lookups.iter().enumerate() {
            for row in 0..rows {
                let is_asked = (row as u64).ct_eq(&(lookup.row as u64));
                poly.0[exponent(number * rows + row, all_rows)] =
                    u64::conditional_select(&0, &row_value(), is_asked);
            }
        }
        encryption.encrypt(&self.ring, &under, &mut poly.0);
        let mut sent: Vec<u64> = (0..all_rows).map(|at| poly.0[exponent(at, all_rows)]).collect();

        poly.0.fill(0);
        let count = parameters.selector_coefficients();
        let columns = parameters.shape.columns.ilog2();
        let digits = parameters.gadgets.selection.digits;
        let mut at = 0;
        for place in lookups.iter().flat_map(|lookup| &lookup.places) {
            let position = place.column as u64 | (place.slot as u64) << columns;
            for bit in 0..parameters.selectors_each() {
                let is_set = (position >> bit & 1).ct_eq(&1);
                for digit in 0..digits {
                    let value = parameters.selector_value(digit);
                    poly.0[exponent(at, count)] = u64::conditional_select(&0, &value, is_set);
                    at += 1;
                }
            }
        }
        encryption.encrypt(&self.ring, &under, &mut poly.0);
        sent.extend((0..count).map(|at| poly.0[exponent(at, count)]));
        pack(sent.into_iter().map(rounded), QUERY_BITS, &mut message);
        Ok(message)
    }

    /// The slots that were looked up, in the order of the lookup's places, as an answer has them.
    ///
    /// An answer of the right length always decodes to something, in the same time whatever it says. Whether that is what
    /// was stored, only the record itself can tell (by a tag of its own), and the server must never learn it: who learns
    /// which of the answers that he makes up are understood learns the secret.
    ///
    /// # Errors
    /// When the answer is of another version or length, which everybody can see.
    pub fn recover(
        &self,
        secret: &SecretKey,
        lookup: &Lookup,
        answer: &[u8],
    ) -> Result<Vec<Vec<u8>>, DecodeError> {
        Ok(self.recover_all(secret, std::slice::from_ref(lookup), answer)?.concat())
    }

    /// The same for each of the lookups of a query.
    ///
    /// # Errors
    /// When the answer is of another version or length, which everybody can see.
    pub fn recover_all(
        &self,
        secret: &SecretKey,
        lookups: &[Lookup],
        answer: &[u8],
    ) -> Result<Vec<Vec<Vec<u8>>>, DecodeError> {
        let parameters = self.configuration.parameters();
        let phases = self.phases(secret, answer)?;
        let slot_bytes = parameters.slot_bytes();
        let of_lookups = phases.chunks_exact(slot_bytes * parameters.shape.answers).zip(lookups);
        let found = of_lookups.map(|(phases, lookup)| {
            let slots = phases.chunks_exact(slot_bytes).zip(&lookup.places).map(|(slot, place)| {
                let index = lookup.row.wrapping_add(parameters.shape.rows.wrapping_mul(place.column));
                let mask = self.mask.polynomial(index);
                let mask = mask.iter().skip(place.slot.saturating_mul(slot_bytes));
                slot.iter().zip(mask).map(|(phase, mask)| nearest(*phase, parameters.bits.a) ^ mask).collect()
            });
            slots.collect()
        });
        Ok(found.collect())
    }

    /// b − a · s for each byte of the slots of all lookups in turn, modulo the power of two that a is rounded to.
    pub(crate) fn phases(
        &self,
        secret: &SecretKey,
        answer: &[u8],
    ) -> Result<Zeroizing<Vec<u64>>, DecodeError> {
        let parameters = self.configuration.parameters();
        let (version, rest) = answer.split_first().ok_or(DecodeError::Truncated)?;
        if *version != VERSION {
            return Err(DecodeError::Version);
        }
        if answer.len() < parameters.answer_bytes() {
            return Err(DecodeError::Truncated);
        }
        if answer.len() > parameters.answer_bytes() {
            return Err(DecodeError::Oversized);
        }
        let under = transformed(&self.answer_ring, &*secret.small);
        let coefficients = parameters.slot_bytes() * parameters.packed();
        let mut phases = Zeroizing::new(vec![0; parameters.answer_ciphertexts() * coefficients]);
        let ciphertexts = rest.chunks_exact(parameters.answer_a_bytes() + parameters.answer_b_bytes());
        for (ciphertext, phases) in ciphertexts.zip(phases.chunks_exact_mut(coefficients)) {
            self.phases_of(parameters, &under, ciphertext, phases)?;
        }
        Ok(phases)
    }

    /// Those of one ciphertext. `under` is the secret.
    fn phases_of(
        &self,
        parameters: &Parameters,
        under: &Poly,
        ciphertext: &[u8],
        phases: &mut [u64],
    ) -> Result<(), DecodeError> {
        let bits = parameters.bits;
        let (a_bytes, b_bytes) =
            ciphertext.split_at_checked(parameters.answer_a_bytes()).ok_or(DecodeError::Truncated)?;
        let mut product = Box::new(Zeroizing::new(Poly::ZERO));
        unpack(a_bytes, bits.a, 1 << bits.a, product.0[..SMALL_N].iter_mut())?;
        unpack(b_bytes, bits.b, 1 << bits.b, phases.iter_mut())?;

        let ring = &self.answer_ring;
        portable::forward(ring, &mut product.0[..SMALL_N]);
        portable::multiply_points(ring, &mut product.0[..SMALL_N], &under.0);
        portable::inverse(ring, &mut product.0[..SMALL_N]);
        for (number, slot) in phases.chunks_exact_mut(parameters.slot_bytes()).enumerate() {
            for (byte, phase) in slot.iter_mut().enumerate() {
                let product = product.0[parameters.answer_position(number, byte)];
                // Reduction modulo a power of two must see negative products as such.
                let negative = u64::from(product > Q / 2).wrapping_neg();
                let signed = product.wrapping_sub(Q & negative);
                let b = *phase << (bits.a - bits.b);
                *phase = b.wrapping_sub(signed) & ((1 << bits.a) - 1);
            }
        }
        Ok(())
    }

    fn check(&self, lookup: &Lookup) -> Result<(), LookupError> {
        let shape = self.configuration.parameters().shape;
        if lookup.row >= shape.rows {
            return Err(LookupError::Row);
        }
        if lookup.places.len() != shape.answers {
            return Err(LookupError::Places(shape.answers));
        }
        if lookup.places.iter().any(|place| place.column >= shape.columns) {
            return Err(LookupError::Column);
        }
        if lookup.places.iter().any(|place| place.slot >= shape.slots) {
            return Err(LookupError::Slot);
        }
        Ok(())
    }
}

/// A query's coefficient as it is sent.
fn rounded(value: u64) -> u64 {
    (value + (1 << (QUERY_DROPPED - 1))) >> QUERY_DROPPED
}

/// The byte that a phase of `bits` is nearest to.
fn nearest(phase: u64, bits: u32) -> u8 {
    let per_byte = bits - P.ilog2();
    (phase.wrapping_add(1 << (per_byte - 1)) >> per_byte) as u8
}
