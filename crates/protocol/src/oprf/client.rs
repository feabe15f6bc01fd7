//! The client's half: the crate `voprf`, with randomness as an argument.

use curve25519_dalek::scalar::Scalar;
use rand_core_06::{CryptoRng, RngCore};
use voprf::{EvaluationElement, Group, Ristretto255, VoprfClient};
use zeroize::Zeroizing;

use super::{BlindedElement, EvaluatedElement, MAX_BATCH, MAX_INPUT, Output, Proof, PublicKey};

/// What a client keeps between its question and the answer. Overwritten when it goes, and never printed.
pub struct Blinding {
    inputs: Vec<Zeroizing<Vec<u8>>>,
    clients: Vec<VoprfClient<Ristretto255>>,
}

/// Why nothing was blinded.
#[derive(Debug, thiserror::Error)]
pub enum BlindError<E> {
    /// There are no inputs, or more than [`MAX_BATCH`].
    #[error("a batch has 1 to 65535 inputs")]
    Batch,
    /// An input is over 65535 bytes, or has no output.
    #[error("an input of the OPRF has at most 65535 bytes")]
    Input,
    /// There is no randomness.
    #[error("there is no randomness to blind with")]
    Randomness(#[source] E),
    /// The source of randomness gives nothing but zeros, which hide nothing.
    #[error("the source of randomness gives zeros")]
    Zeros,
}

/// Why an answer is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FinalizeError {
    /// It has not as many elements as were asked for.
    #[error("the answer does not have as many elements as were asked for")]
    Count,
    /// An element, the proof or the public key is not of the group, or not in canonical form.
    #[error("the answer holds what is no element of the group")]
    Element,
    /// It was not made with the published key: the server may want to know this client again.
    #[error("the proof is wrong: the answer was not made with the published key")]
    Proof,
}

/// Blinds inputs, one element for each, in their order (RFC 9497, section 3.3.2). `random` fills 64 bytes for each.
///
/// # Errors
/// See [`BlindError`].
pub fn blind<I: AsRef<[u8]>, E>(
    inputs: &[I],
    mut random: impl FnMut(&mut [u8]) -> Result<(), E>,
) -> Result<(Blinding, Vec<BlindedElement>), BlindError<E>> {
    if inputs.is_empty() || inputs.len() > MAX_BATCH {
        return Err(BlindError::Batch);
    }
    let (mut clients, mut elements) = (Vec::with_capacity(inputs.len()), Vec::with_capacity(inputs.len()));
    for input in inputs {
        if input.as_ref().len() > MAX_INPUT {
            return Err(BlindError::Input);
        }
        let mut drawn = Zeroizing::new([0; 64]);
        random(&mut *drawn).map_err(BlindError::Randomness)?;
        if Scalar::from_bytes_mod_order_wide(&drawn) == Scalar::ZERO {
            return Err(BlindError::Zeros);
        }
        let blinded = VoprfClient::<Ristretto255>::blind(input.as_ref(), &mut Drawn(drawn));
        let blinded = blinded.map_err(|_| BlindError::Input)?;
        let element = BlindedElement::from_bytes(&blinded.message.serialize());
        elements.push(element.map_err(|_| BlindError::Input)?);
        clients.push(blinded.state);
    }
    let inputs = inputs.iter().map(|input| Zeroizing::new(input.as_ref().to_vec())).collect();
    Ok((Blinding { inputs, clients }, elements))
}

impl Blinding {
    /// Checks the answer against the server's published key and makes the outputs of it, in the order of the inputs.
    ///
    /// # Errors
    /// See [`FinalizeError`].
    pub fn finalize(
        &self,
        evaluated: &[EvaluatedElement],
        proof: &Proof,
        key: &PublicKey,
    ) -> Result<Vec<Output>, FinalizeError> {
        if evaluated.len() != self.clients.len() {
            return Err(FinalizeError::Count);
        }
        let elements =
            evaluated.iter().map(|element| EvaluationElement::<Ristretto255>::deserialize(&element.0));
        let elements: Result<Vec<_>, _> = elements.collect();
        let elements = elements.map_err(|_| FinalizeError::Element)?;
        let proof = voprf::Proof::deserialize(&proof.0).map_err(|_| FinalizeError::Element)?;
        let key = Ristretto255::deserialize_elem(&key.0).map_err(|_| FinalizeError::Element)?;
        let inputs: Vec<&[u8]> = self.inputs.iter().map(|input| input.as_slice()).collect();
        let outputs = VoprfClient::batch_finalize(&inputs, &self.clients, &elements, &proof, key);
        let outputs = outputs.map_err(|_| FinalizeError::Proof)?.map(|output| {
            // It fails for inputs that are too long alone, and these were blinded.
            output.map(|output| Output::from_bytes(output.into())).map_err(|_| FinalizeError::Element)
        });
        outputs.collect()
    }
}

/// Randomness that was drawn already, in the form that `voprf` takes: its one draw is the 64 bytes of a scalar.
struct Drawn(Zeroizing<[u8; 64]>);

impl RngCore for Drawn {
    fn next_u32(&mut self) -> u32 {
        let mut bytes = [0; 4];
        self.fill_bytes(&mut bytes);
        u32::from_le_bytes(bytes)
    }

    fn next_u64(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.fill_bytes(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        for (to, from) in bytes.iter_mut().zip(self.0.iter()) {
            *to = *from;
        }
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), rand_core_06::Error> {
        self.fill_bytes(bytes);
        Ok(())
    }
}

impl CryptoRng for Drawn {}
