//! The server's half.

use curve25519_dalek::constants::RISTRETTO_BASEPOINT_TABLE;
use curve25519_dalek::ristretto::{CompressedRistretto, RistrettoPoint};
use curve25519_dalek::traits::{Identity, VartimeMultiscalarMul};
use sha2::{Digest, Sha512};
use voprf::{Group, Ristretto255, VoprfServer};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::{
    BlindedElement, EvaluatedElement, HASH_TO_GROUP, HASH_TO_SCALAR, Hash, MAX_BATCH, MAX_INPUT, Output,
    Point, Proof, PublicKey, SEED, Scalar,
};

/// A server's key. Overwritten when it goes, and never printed.
#[derive(ZeroizeOnDrop)]
pub struct ServerKey {
    key: Scalar,
    /// Half of the key, with which `double_and_compress_batch` gives what the key would.
    half: Scalar,
    #[zeroize(skip)]
    public: PublicKey,
}

/// Why there is no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The bytes are zero, or not below the group's order.
    #[error("an OPRF key is a scalar in canonical form, and not zero")]
    NotAScalar,
    /// `info` is over 65535 bytes, or (with a chance of 2⁻²⁵²⁰⁰⁰) the seed gives none.
    #[error("no OPRF key can be derived from this seed and text")]
    NotDerivable,
}

/// Why nothing was evaluated.
#[derive(Debug, thiserror::Error)]
pub enum EvaluateError<E> {
    /// There is nothing to evaluate, or more than [`MAX_BATCH`] elements.
    #[error("a batch has 1 to 65535 elements")]
    Batch,
    /// There is no randomness.
    #[error("there is no randomness for a proof")]
    Randomness(#[source] E),
    /// The source of randomness gives nothing but zeros, which would tell the key.
    #[error("the source of randomness gives zeros")]
    Zeros,
}

/// An input has no output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InputError {
    /// It is over [`MAX_INPUT`] bytes.
    #[error("an input of the OPRF has at most 65535 bytes")]
    TooLong,
    /// It hashes to the identity: nobody will ever find such an input.
    #[error("this input has no output")]
    Identity,
}

impl ServerKey {
    /// A key that was made before: 32 bytes, little-endian, as [`to_bytes`](Self::to_bytes) gives them.
    ///
    /// # Errors
    /// [`KeyError::NotAScalar`].
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, KeyError> {
        let key = Ristretto255::deserialize_scalar(bytes).map_err(|_| KeyError::NotAScalar)?;
        let half = key * Scalar::from(2_u8).invert();
        let public = PublicKey((&key * RISTRETTO_BASEPOINT_TABLE).compress().to_bytes());
        Ok(Self { key, half, public })
    }

    /// `DeriveKeyPair` (RFC 9497, section 3.2.1): the same key for the same 32 random bytes and the same `info`.
    ///
    /// # Errors
    /// [`KeyError::NotDerivable`].
    pub fn derive(seed: &[u8; 32], info: &[u8]) -> Result<Self, KeyError> {
        let server = VoprfServer::<Ristretto255>::new_from_seed(seed, info);
        let mut pair = server.map_err(|_| KeyError::NotDerivable)?.serialize();
        // The scalar, then the public key.
        let key = pair.first_chunk::<32>().ok_or(KeyError::NotDerivable).and_then(Self::from_bytes);
        pair.as_mut_slice().zeroize();
        key
    }

    /// The key, to be sealed.
    #[must_use]
    pub fn to_bytes(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.key.to_bytes())
    }

    /// What clients check proofs with.
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        self.public
    }

    /// Evaluates a batch, in its order, with one proof for all of it (`BlindEvaluate`, RFC 9497, section 3.3.2). `random`
    /// fills 64 bytes: a proof whose randomness was ever used for another gives the key away.
    ///
    /// # Errors
    /// See [`EvaluateError`].
    pub fn evaluate<E>(
        &self,
        elements: &[BlindedElement],
        mut random: impl FnMut(&mut [u8]) -> Result<(), E>,
    ) -> Result<(Vec<EvaluatedElement>, Proof), EvaluateError<E>> {
        if elements.is_empty() || elements.len() > MAX_BATCH {
            return Err(EvaluateError::Batch);
        }
        let mut drawn = Zeroizing::new([0; 64]);
        random(&mut *drawn).map_err(EvaluateError::Randomness)?;
        let r = Zeroizing::new(Scalar::from_bytes_mod_order_wide(&drawn));
        if *r == Scalar::ZERO {
            return Err(EvaluateError::Zeros);
        }
        let evaluated = self.evaluate_bare(elements);
        let weights = self.weights(elements, &evaluated);
        // ComputeCompositesFast (section 2.2.1). Elements and weights are public, so time may depend on them.
        let m =
            RistrettoPoint::vartime_multiscalar_mul(&weights, elements.iter().map(|element| element.point));
        let z = m * self.key;
        // GenerateProof (section 2.2.1).
        let t2 = &*r * RISTRETTO_BASEPOINT_TABLE;
        let t3 = m * *r;
        let [m, z, t2, t3] = [m, z, t2, t3].map(|point| point.compress().to_bytes());
        let transcript = [&self.public.0, &m, &z, &t2, &t3].map(|part| [&[0, 32][..], part]);
        let transcript: Vec<&[u8]> =
            transcript.iter().flatten().copied().chain([&b"Challenge"[..]]).collect();
        let c = to_scalar(&transcript);
        let s = *r - c * self.key;
        let mut proof = [0; 64];
        for (to, from) in proof.iter_mut().zip(c.as_bytes().iter().chain(s.as_bytes())) {
            *to = *from;
        }
        Ok((evaluated, Proof(proof)))
    }

    /// Evaluates without a proof, which no client of ours accepts: to measure by.
    #[must_use]
    pub fn evaluate_bare(&self, elements: &[BlindedElement]) -> Vec<EvaluatedElement> {
        let halves: Vec<Point> = elements.iter().map(|element| element.point * self.half).collect();
        let written = RistrettoPoint::double_and_compress_batch(&halves);
        written.into_iter().map(|element| EvaluatedElement(element.to_bytes())).collect()
    }

    /// The function's value for `input`, as a client would learn it (`Evaluate`, RFC 9497, section 3.3.1).
    ///
    /// # Errors
    /// See [`InputError`].
    pub fn output(&self, input: &[u8]) -> Result<Output, InputError> {
        let point = to_group(input)? * self.key;
        Ok(output(input, &point.compress()))
    }

    /// As [`output`](Self::output) for many inputs, a tenth faster: to build a directory by. In their order.
    ///
    /// # Errors
    /// The first input's that has none; see [`InputError`].
    pub fn outputs<I: AsRef<[u8]>>(&self, inputs: &[I]) -> Result<Vec<Output>, InputError> {
        let halves: Result<Vec<Point>, _> =
            inputs.iter().map(|input| Ok(to_group(input.as_ref())? * self.half)).collect();
        let halves = Zeroizing::new(halves?);
        let written = RistrettoPoint::double_and_compress_batch(halves.iter());
        Ok(inputs.iter().zip(&written).map(|(input, element)| output(input.as_ref(), element)).collect())
    }

    /// The weight of each element in the composites (RFC 9497, section 2.2.1).
    fn weights(&self, elements: &[BlindedElement], evaluated: &[EvaluatedElement]) -> Vec<Scalar> {
        let seed = Sha512::new()
            .chain_update([0, 32])
            .chain_update(self.public.0)
            .chain_update(length(SEED))
            .chain_update(SEED)
            .finalize();
        (0..=u16::MAX)
            .zip(elements.iter().zip(evaluated))
            .map(|(i, (c, d))| {
                to_scalar(&[
                    &[0, 64],
                    &seed,
                    &i.to_be_bytes(),
                    &[0, 32],
                    &c.bytes,
                    &[0, 32],
                    &d.0,
                    b"Composite",
                ])
            })
            .collect()
    }
}

/// `HashToGroup` (RFC 9497, section 4.1).
fn to_group(input: &[u8]) -> Result<Point, InputError> {
    if input.len() > MAX_INPUT {
        return Err(InputError::TooLong);
    }
    let point = Ristretto255::hash_to_curve::<Hash>(&[input], &[HASH_TO_GROUP]);
    point.ok().filter(|point| *point != Point::identity()).ok_or(InputError::Identity)
}

/// `HashToScalar` (RFC 9497, section 4.1).
fn to_scalar(parts: &[&[u8]]) -> Scalar {
    // It fails for tags of no or over 255 bytes alone, and this one's length is known.
    Ristretto255::hash_to_scalar::<Hash>(parts, &[HASH_TO_SCALAR]).unwrap_or(Scalar::ZERO)
}

/// The last step (`Finalize`, RFC 9497, section 3.3.1).
fn output(input: &[u8], element: &CompressedRistretto) -> Output {
    let hash = Sha512::new()
        .chain_update(length(input))
        .chain_update(input)
        .chain_update([0, 32])
        .chain_update(element.as_bytes())
        .chain_update(b"Finalize")
        .finalize();
    Output::from_bytes(hash.into())
}

/// `I2OSP(len, 2)`, of what is known to be no longer than that.
fn length(bytes: &[u8]) -> [u8; 2] {
    u16::try_from(bytes.len()).unwrap_or(u16::MAX).to_be_bytes()
}
