//! Asking a shard what it holds, as a client would.

use std::path::Path;

use acquaint_pir::{Client, Keyword, SecretKey, Server};
use chacha20::ChaCha20Rng;
use rand_core::{CryptoRng, SeedableRng};
use zeroize::Zeroizing;

use super::open::{self, Watch};
use super::{Head, Shard, ShardError};
use crate::ambient::{Entropy, EntropyError};

/// How many keywords that nobody has are asked for besides.
const ABSENT: usize = 2;

impl Shard {
    /// Asks for some of its own records and for some keywords that nobody has, through the whole of the engine: keys, query,
    /// answer, and reading it. What comes must be what stands in the table. A single broken word of the table makes all
    /// answers of its column noise, so a few queries tell. Blocks for as long as the queries take, one after the other.
    ///
    /// Records that come and go in between wait for one query each.
    ///
    /// # Errors
    /// [`ShardError::Wrong`] when an answer is another, and when the server is of another configuration.
    pub fn check(
        &self,
        server: &Server,
        sample: usize,
        random: &mut impl CryptoRng,
    ) -> Result<(), ShardError> {
        let client = Client::new(server.configuration().clone());
        let secret = SecretKey::generate(random);
        let keys = server.read_keys(&client.evaluation_keys(&secret, random))?;
        let shape = server.configuration().parameters().shape();
        for number in 0..sample.saturating_add(ABSENT) {
            let held = if number < sample { self.some_keyword(random) } else { None };
            let keyword = held.unwrap_or_else(|| {
                let mut bytes = [0; 16];
                random.fill_bytes(&mut bytes);
                bytes
            });
            let lookup = Keyword::new(keyword).lookup(shape);
            let query = server.read_query(&client.query(&secret, &lookup, random)?)?;
            let places: Vec<_> =
                lookup.places.iter().map(|place| (lookup.row, place.column, place.slot)).collect();
            let (stands, answer) = {
                // So that both are of one state of the table.
                let _owners = self.owners();
                (self.database().read_all(&places)?, server.answer(self.database(), &keys, &query)?)
            };
            if client.recover(&secret, &lookup, &answer)? != stands {
                return Err(ShardError::Wrong);
            }
        }
        Ok(())
    }

    /// The keyword of an owner drawn by chance, if there is one.
    fn some_keyword(&self, random: &mut impl CryptoRng) -> Option<[u8; 16]> {
        let owners = self.owners();
        let from = |first| owners.holders_from(first).next().map(|(_, keyword)| *keyword);
        from(random.next_u64()).or_else(|| from(0))
    }
}

/// What was looked at.
#[derive(Debug, Clone)]
pub struct Verified {
    /// What the file says of itself.
    pub head: Head,
    /// Records.
    pub records: u64,
    /// How many queries were asked, keywords that nobody has among them.
    pub queries: usize,
}

/// Reads a whole file and holds it against its checksums, and then asks it for so many of its records and for some keywords
/// that nobody has ([`Shard::check`]); for none, it is not asked at all. It needs nothing but the file. Blocks.
///
/// # Errors
/// What is wrong with the file.
pub fn verify(
    path: &Path,
    sample: usize,
    entropy: &dyn Entropy,
    watch: Watch<'_>,
) -> Result<Verified, ShardError> {
    let mut seed = Zeroizing::new([0; 32]);
    entropy.fill(&mut *seed).map_err(|error: EntropyError| ShardError::Asked(error.into()))?;
    let (server, shard, head) = open::open_any(path, watch)?;
    let mut queries = 0;
    if sample > 0 {
        shard.check(&server, sample, &mut ChaCha20Rng::from_seed(*seed))?;
        queries = sample.saturating_add(ABSENT);
    }
    Ok(Verified { head, records: shard.len() as u64, queries })
}
