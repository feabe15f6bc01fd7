use std::convert::Infallible;

use serde::Deserialize;

use super::*;

#[derive(Deserialize)]
struct Vectors {
    seed: String,
    key_info: String,
    secret_key: String,
    public_key: String,
    vectors: Vec<Vector>,
    not_elements: NotElements,
}

#[derive(Deserialize)]
struct Vector {
    name: String,
    inputs: Vec<String>,
    blinds: Vec<String>,
    blinded_elements: Vec<String>,
    evaluated_elements: Vec<String>,
    proof: String,
    proof_random_scalar: String,
    outputs: Vec<String>,
}

#[derive(Deserialize)]
struct NotElements {
    encodings: Vec<String>,
}

fn vectors() -> Vectors {
    serde_json::from_str(include_str!("../../../../vectors/oprf/rfc9497.json")).unwrap()
}

fn array<const N: usize>(text: &str) -> [u8; N] {
    hex::decode(text).unwrap().try_into().unwrap()
}

/// A scalar, as the 64 bytes that are reduced to it.
fn scalars(texts: &[String]) -> impl FnMut(&mut [u8]) -> Result<(), Infallible> {
    let mut texts = texts.iter();
    move |bytes| {
        bytes.fill(0);
        bytes[..32].copy_from_slice(&array::<32>(texts.next().unwrap()));
        Ok(())
    }
}

/// Bytes that differ from draw to draw.
fn counted() -> impl FnMut(&mut [u8]) -> Result<(), Infallible> {
    let mut next = 0_u64;
    move |bytes| {
        next += 1;
        for (place, chunk) in (0_u64..).zip(bytes.chunks_mut(8)) {
            let word = next.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(17).wrapping_mul(place + 3);
            chunk.copy_from_slice(&word.to_le_bytes()[..chunk.len()]);
        }
        Ok(())
    }
}

fn key() -> ServerKey {
    ServerKey::from_bytes(&array(&vectors().secret_key)).unwrap()
}

#[test]
fn the_vectors_of_the_rfc_hold() {
    let all = vectors();
    let key = ServerKey::derive(&array(&all.seed), &hex::decode(&all.key_info).unwrap()).unwrap();
    assert_eq!(hex::encode(*key.to_bytes()), all.secret_key);
    assert_eq!(hex::encode(key.public_key().0), all.public_key);
    assert_eq!(all.vectors.len(), 3);
    for vector in &all.vectors {
        let name = &vector.name;
        let inputs: Vec<Vec<u8>> = vector.inputs.iter().map(|input| hex::decode(input).unwrap()).collect();
        let (blinding, elements) = blind(&inputs, scalars(&vector.blinds)).unwrap();
        let sent: Vec<String> = elements.iter().map(|element| hex::encode(element.to_bytes())).collect();
        assert_eq!(sent, vector.blinded_elements, "{name}");

        let random = scalars(std::slice::from_ref(&vector.proof_random_scalar));
        let (evaluated, proof) = key.evaluate(&elements, random).unwrap();
        let answered: Vec<String> = evaluated.iter().map(|element| hex::encode(element.0)).collect();
        assert_eq!(answered, vector.evaluated_elements, "{name}");
        assert_eq!(hex::encode(proof.0), vector.proof, "{name}");
        assert_eq!(key.evaluate_bare(&elements), evaluated, "{name}");

        let outputs = blinding.finalize(&evaluated, &proof, &key.public_key()).unwrap();
        let learnt: Vec<String> = outputs.iter().map(|output| hex::encode(output.as_bytes())).collect();
        assert_eq!(learnt, vector.outputs, "{name}");
        let alone: Vec<_> = inputs.iter().map(|input| key.output(input).unwrap()).collect();
        assert!(alone == outputs && key.outputs(&inputs).unwrap() == outputs, "{name}");
    }
}

#[test]
fn what_is_no_element_is_refused_by_its_name() {
    let all = vectors();
    for text in all.not_elements.encodings {
        assert_eq!(
            BlindedElement::from_bytes(&array::<32>(&text)).unwrap_err(),
            ElementError::NotAPoint,
            "{text}"
        );
    }
    assert_eq!(BlindedElement::from_bytes(&[0; 32]).unwrap_err(), ElementError::Identity);
    for length in (0..80).filter(|length| *length != 32) {
        assert_eq!(
            BlindedElement::from_bytes(&vec![0; length]).unwrap_err(),
            ElementError::Length,
            "{length}"
        );
    }
    assert_eq!(ServerKey::from_bytes(&[0; 32]).err(), Some(KeyError::NotAScalar));
    assert_eq!(ServerKey::from_bytes(&[0xff; 32]).err(), Some(KeyError::NotAScalar));
}

#[test]
fn an_answer_that_is_not_the_keys_is_refused() {
    let (key, other) = (key(), ServerKey::derive(&[7; 32], b"another").unwrap());
    let inputs = ["tel:+12125550101", "tel:+12125550102", "mailto:alice@example.com"];
    let (blinding, elements) = blind(&inputs, counted()).unwrap();
    let (evaluated, proof) = key.evaluate(&elements, counted()).unwrap();
    let public = key.public_key();
    let outputs = blinding.finalize(&evaluated, &proof, &public).unwrap();
    assert!(outputs == key.outputs(&inputs).unwrap() && outputs[0] != outputs[1]);

    // A key of one's own, with its own proof or that of the published one.
    let (marked, marked_proof) = other.evaluate(&elements, counted()).unwrap();
    assert_eq!(blinding.finalize(&marked, &marked_proof, &public).err(), Some(FinalizeError::Proof));
    assert_eq!(blinding.finalize(&marked, &proof, &public).err(), Some(FinalizeError::Proof));
    // One element of another key among good ones.
    let mixed = [evaluated[0], marked[1], evaluated[2]];
    assert_eq!(blinding.finalize(&mixed, &proof, &public).err(), Some(FinalizeError::Proof));
    let swapped = [evaluated[1], evaluated[0], evaluated[2]];
    assert_eq!(blinding.finalize(&swapped, &proof, &public).err(), Some(FinalizeError::Proof));
    assert_eq!(blinding.finalize(&evaluated[..2], &proof, &public).err(), Some(FinalizeError::Count));
    for place in [0, 40, 63] {
        let mut wrong = proof;
        wrong.0[place] ^= 1;
        assert!(blinding.finalize(&evaluated, &wrong, &public).is_err());
    }
    // The identity, and what is no point.
    for bytes in [[0; 32], [0xff; 32]] {
        let wrong = [evaluated[0], EvaluatedElement(bytes), evaluated[2]];
        assert_eq!(blinding.finalize(&wrong, &proof, &public).err(), Some(FinalizeError::Element));
        let key = PublicKey(bytes);
        assert_eq!(blinding.finalize(&evaluated, &proof, &key).err(), Some(FinalizeError::Element));
    }
}

#[test]
fn without_randomness_nothing_is_done() {
    let (_, elements) = blind(&["tel:+12125550101"], counted()).unwrap();
    let none = |_: &mut [u8]| Err("none");
    let zeros = |_: &mut [u8]| Ok::<(), Infallible>(());
    assert!(matches!(key().evaluate(&elements, none), Err(EvaluateError::Randomness("none"))));
    assert!(matches!(key().evaluate(&elements, zeros), Err(EvaluateError::Zeros)));
    assert!(matches!(blind(&["a"], none), Err(BlindError::Randomness("none"))));
    assert!(matches!(blind(&["a"], zeros), Err(BlindError::Zeros)));
}

#[test]
fn batches_and_inputs_have_bounds() {
    assert!(matches!(key().evaluate(&[], counted()), Err(EvaluateError::Batch)));
    assert!(matches!(blind::<&str, _>(&[], counted()), Err(BlindError::Batch)));
    let (_, elements) = blind(&["a"], counted()).unwrap();
    let many = vec![elements[0]; MAX_BATCH + 1];
    assert!(matches!(key().evaluate(&many, counted()), Err(EvaluateError::Batch)));
    let long = vec![0; MAX_INPUT + 1];
    assert_eq!(key().output(&long).err(), Some(InputError::TooLong));
    assert!(matches!(blind(&[&long], counted()), Err(BlindError::Input)));
    assert!(key().output(&long[..MAX_INPUT]).is_ok() && key().output(b"").is_ok());
}

#[test]
fn nothing_secret_is_printed() {
    let (_, elements) = blind(&["tel:+12125550101"], counted()).unwrap();
    assert_eq!(format!("{elements:?}"), "[BlindedElement(..)]");
    assert_eq!(format!("{:?}", EvaluatedElement([1; 32])), "EvaluatedElement(..)");
}
