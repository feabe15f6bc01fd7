//! The operating system's randomness.

/// Keys and nonces come from the operating system: custody is where randomness ends up, so it is not handed in.
#[expect(clippy::disallowed_methods, reason = "key material and nonces are custody's own business")]
pub(crate) fn random<const N: usize>() -> Result<[u8; N], getrandom::Error> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)?;
    Ok(bytes)
}
