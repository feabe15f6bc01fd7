//! The hash of Matrix's identity service (its specification, version 2, "Security considerations" of lookup).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

use crate::identifier::Sii;

/// An address and its medium as Matrix writes them: a number in digits without the plus, with `msisdn`; an e-mail address
/// with `email`. There is always one.
#[must_use]
pub fn address(identifier: &Sii) -> Option<(&str, &'static str)> {
    let text = identifier.as_str();
    let phone = text.strip_prefix("tel:+").map(|digits| (digits, "msisdn"));
    phone.or_else(|| text.strip_prefix("mailto:").map(|address| (address, "email")))
}

/// `sha256`: unpadded base64url of SHA-256 of address, medium and pepper with spaces between. As good as the identifier to
/// whoever has the pepper, which everybody has.
#[must_use]
pub fn hash(address: &str, medium: &str, pepper: &str) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(format!("{address} {medium} {pepper}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vectors_of_the_specification_hold() {
        let text = include_str!("../../../../vectors/bucket/matrix.json");
        let file: serde_json::Value = serde_json::from_str(text).unwrap();
        let vectors = file["vectors"].as_array().unwrap();
        assert_eq!(vectors.len(), 3);
        for vector in vectors {
            let text = |field: &str| vector[field].as_str().unwrap();
            assert_eq!(hash(text("address"), text("medium"), file["pepper"].as_str().unwrap()), text("hash"));
            let identifier = Sii::parse(text("identifier")).unwrap();
            assert_eq!(address(&identifier), Some((text("address"), text("medium"))));
        }
    }
}
