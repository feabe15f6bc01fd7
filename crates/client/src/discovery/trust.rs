//! Whether parameters are to be used: a provider must not be able to mark a person by a key, or by buckets, of their own.

use acquaint_protocol::bucket::Bytes;
use acquaint_protocol::bucket::parameters::{Parameters, ParametersError, Terms};

use super::book::Epoch;
use super::{Book, Profile};

/// Bytes of a bucket at most, and of an answer: what is more is not asked for.
pub const MAX_BUCKET_BYTES: u64 = 64 * 1024 * 1024;

/// How far an epoch may be above the newest that was seen: a provider that began at `u32::MAX` could never change its key
/// again, and no client would follow it back.
pub(super) const MAX_EPOCH_STEP: u32 = 1000;

/// Whom a client trusts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trust {
    /// The provider's key, as it is known from elsewhere. Without it the key that is met first is kept, and everything
    /// after must be signed by that ([`Accepted::first_use`]).
    pub signing_key: Option<[u8; 32]>,
    /// The most bits of a prefix that are told of anyone: the more, the fewer people does a prefix leave. Some ten thousand
    /// million numbers are in use, so that 24 bits leave some 600. Default 24, which does for a directory of 1.6 thousand
    /// million listings with 100 candidates under each prefix.
    pub max_prefix_bits: u8,
    /// How long the newest epoch must have been used, in seconds, before a newer one is. Each epoch tells the server other
    /// bits of the same contacts: who computes every number's prefix under both keys keeps those that fit both. Default 7
    /// days.
    pub min_epoch_age_s: u64,
    /// The fewest slots that a bucket has where there is more than one: the fewer, the fewer people share a prefix. Default
    /// 50.
    pub min_slots: u16,
    /// The most shards of a private lookup: each is asked the same number of queries, whether a contact's record can be
    /// there or not. Default 64.
    pub max_shards: u32,
    /// Whether a private lookup may send exactly as many elements and queries as there are contacts, where the quota has no
    /// room for the smallest class. A server that refuses once learns their number by that. Default no: then they wait.
    pub unpadded: bool,
}

impl Default for Trust {
    fn default() -> Self {
        Self {
            signing_key: None,
            max_prefix_bits: 24,
            min_epoch_age_s: 7 * 86_400,
            min_slots: 50,
            max_shards: 64,
            unpadded: false,
        }
    }
}

/// Parameters that are used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// What was signed.
    pub terms: Terms,
    /// The provider's key, if it was met for the first time and nothing but that speaks for it: to be told to the person,
    /// who may compare it with what the provider says elsewhere.
    pub first_use: Option<[u8; 32]>,
}

/// Why parameters are not used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TrustError {
    /// They are not properly signed, or not of now.
    #[error("the directory is not trusted: {0}")]
    Parameters(#[from] ParametersError),
    /// The pinned key is not the one that the book was made with.
    #[error("the book was made with another provider key than the pinned one: use another book")]
    OtherBook,
    /// The book is another provider's.
    #[error("the book is another provider's: use another book")]
    OtherProvider,
    /// The book is one of another profile.
    #[error("the book is one of another profile")]
    OtherProfile,
    /// The epoch is older than one that was seen.
    #[error("the directory is not trusted: it went back to an older epoch")]
    OldEpoch,
    /// The epoch has another key than was seen for it.
    #[error(
        "the directory is not trusted: it has two keys for one epoch, as one would to tell this client from others"
    )]
    TwoKeys,
    /// The epoch is newer, and the one before was met less than [`Trust::min_epoch_age_s`] ago.
    #[error(
        "the directory is not trusted: it has a new epoch too soon after the last, and each tells more of the same contacts"
    )]
    NewEpochTooSoon,
    /// The epoch is more than 1000 above the newest that was seen.
    #[error("the directory is not trusted: its epoch is far above the last one")]
    FarEpoch,
    /// The layout is older than one that was seen in this epoch.
    #[error("the directory is not trusted: it went back to an older layout")]
    OldLayout,
    /// The layout has other sizes than were seen for it.
    #[error(
        "the directory is not trusted: it has two sizes for one layout, as one would to tell this client from others"
    )]
    TwoSizes,
    /// A bucket has fewer slots than [`Trust::min_slots`].
    #[error("the directory's buckets are smaller than is asked for: they would leave too few people")]
    SmallBuckets,
    /// A prefix would tell too much.
    #[error("the directory asks for longer prefixes than are told: they would leave too few people")]
    LongPrefix,
    /// A private lookup has more shards than [`Trust::max_shards`].
    #[error(
        "the directory has {shards} shards, and at most {most} are asked, each of which takes as many queries"
    )]
    ManyShards {
        /// How many there are.
        shards: u32,
        /// [`Trust::max_shards`].
        most: u32,
    },
    /// A server of a private lookup has an address that cannot be called, or one without encryption.
    #[error("the directory names a server whose address cannot be used: where it has TLS itself, all have")]
    Server,
    /// A bucket would be larger than [`MAX_BUCKET_BYTES`].
    #[error("the directory's buckets are larger than 64 MiB")]
    LargeBuckets,
}

impl Book {
    /// Looks whether `parameters` are to be used at `now` (Unix seconds), and remembers what must not change. A refusal
    /// changes nothing.
    ///
    /// # Errors
    /// See [`TrustError`].
    pub fn accept(
        &mut self,
        parameters: &Parameters,
        trust: &Trust,
        now: u64,
    ) -> Result<Accepted, TrustError> {
        if self.profile != Profile::Sealed {
            return Err(TrustError::OtherProfile);
        }
        let expected = self.expected(trust)?;
        let Parameters { terms, signing_key, signature: _ } = parameters;
        parameters.verify(&expected.unwrap_or(signing_key.0), now)?;
        if self.provider.as_ref().is_some_and(|provider| *provider != terms.provider) {
            return Err(TrustError::OtherProvider);
        }
        let offered = Epoch::of(terms, now);
        if let Some(newest) = &self.epoch {
            newest.allows(&offered, trust.min_epoch_age_s)?;
        }
        if terms.prefix_bits > 0 && terms.slots < trust.min_slots {
            return Err(TrustError::SmallBuckets);
        }
        if terms.prefix_bits > trust.max_prefix_bits {
            return Err(TrustError::LongPrefix);
        }
        if bucket_bytes(terms) > MAX_BUCKET_BYTES {
            return Err(TrustError::LargeBuckets);
        }
        self.provider = Some(terms.provider.clone());
        self.signing_key = Some(Bytes(signing_key.0));
        match &mut self.epoch {
            Some(newest) if newest.number == offered.number => {
                // What was met in the future was met by a wrong clock.
                let accepted_at = newest.accepted_at.min(now);
                *newest = Epoch { accepted_at, ..offered };
            }
            _ => {
                self.begin_epoch();
                self.epoch = Some(offered);
            }
        }
        let first_use = expected.is_none().then_some(signing_key.0);
        Ok(Accepted { terms: terms.clone(), first_use })
    }

    /// The key that parameters have to be signed with; `None` if it is met for the first time.
    pub(super) fn expected(&self, trust: &Trust) -> Result<Option<[u8; 32]>, TrustError> {
        let known = self.signing_key.map(|key| key.0);
        if trust.signing_key.is_some_and(|pinned| known.is_some_and(|known| known != pinned)) {
            return Err(TrustError::OtherBook);
        }
        Ok(trust.signing_key.or(known))
    }
}

impl Epoch {
    fn of(terms: &Terms, now: u64) -> Self {
        Self {
            number: terms.epoch,
            key: terms.oprf_public_key,
            accepted_at: now,
            layout: terms.layout,
            prefix_bits: terms.prefix_bits,
            slots: terms.slots,
            account_bytes: terms.account_bytes,
        }
    }

    /// Whether `offered` may follow this one, or be this one.
    fn allows(&self, offered: &Self, min_age_s: u64) -> Result<(), TrustError> {
        let sizes = |epoch: &Self| (epoch.prefix_bits, epoch.slots, epoch.account_bytes);
        match offered.number.checked_sub(self.number) {
            None => Err(TrustError::OldEpoch),
            Some(0) if offered.key != self.key => Err(TrustError::TwoKeys),
            Some(0) if offered.layout < self.layout => Err(TrustError::OldLayout),
            Some(0) if offered.layout == self.layout && sizes(offered) != sizes(self) => {
                Err(TrustError::TwoSizes)
            }
            Some(0) => Ok(()),
            Some(step) if step > MAX_EPOCH_STEP => Err(TrustError::FarEpoch),
            Some(_) if offered.accepted_at.saturating_sub(self.accepted_at) < min_age_s => {
                Err(TrustError::NewEpochTooSoon)
            }
            Some(_) => Ok(()),
        }
    }
}

/// Bytes of one bucket.
pub(super) fn bucket_bytes(terms: &Terms) -> u64 {
    u64::from(terms.slots) * terms.slot_bytes().map_or(u64::MAX / 0xffff, u64::from)
}
