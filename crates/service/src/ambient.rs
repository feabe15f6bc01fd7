//! The two things that come from outside the program: the time and randomness. Everything below takes them as
//! arguments; only these adapters ask the operating system.

use acquaint_store::Millis;

/// Tells the time.
pub trait Clock: Send + Sync {
    /// Now, in milliseconds since 1970-01-01T00:00:00Z.
    fn now(&self) -> Millis;
}

/// Gives unpredictable bytes.
pub trait Entropy: Send + Sync {
    /// Fills `bytes`.
    ///
    /// # Errors
    /// When the source has none to give; then nothing that depends on it may go on.
    fn fill(&self, bytes: &mut [u8]) -> Result<(), EntropyError>;
}

/// There is no randomness to be had.
#[derive(Debug, thiserror::Error)]
#[error("the operating system gives no randomness")]
pub struct EntropyError(#[source] pub Box<dyn std::error::Error + Send + Sync>);

/// The operating system's clock.
#[derive(Debug, Clone, Copy)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that asks for the time")]
    fn now(&self) -> Millis {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    }
}

/// The operating system's cryptographic generator.
#[derive(Debug, Clone, Copy)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    #[expect(clippy::disallowed_methods, reason = "the one place that asks for randomness")]
    fn fill(&self, bytes: &mut [u8]) -> Result<(), EntropyError> {
        getrandom::fill(bytes).map_err(|error| EntropyError(Box::new(error)))
    }
}

/// `N` fresh bytes.
pub(crate) fn bytes<const N: usize>(entropy: &dyn Entropy) -> Result<[u8; N], EntropyError> {
    let mut bytes = [0; N];
    entropy.fill(&mut bytes)?;
    Ok(bytes)
}

/// A six-digit code, uniform over 000000 to 999999.
pub(crate) fn six_digits(entropy: &dyn Entropy) -> Result<u32, EntropyError> {
    // The largest multiple of 10^6 below 2^32: values above it would favour small codes.
    const UNBIASED: u32 = u32::MAX - u32::MAX % 1_000_000;
    loop {
        let drawn = u32::from_be_bytes(bytes(entropy)?);
        if drawn < UNBIASED {
            return Ok(drawn % 1_000_000);
        }
    }
}
