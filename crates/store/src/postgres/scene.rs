//! Accounts for the tests of this store, made of bytes that occur nowhere else.

use std::sync::atomic::{AtomicU64, Ordering};

use acquaint_protocol::pair::{EpochId, PairHash};

use crate::{
    CodeGuess, CodeHash, CodeTaken, Enrolled, Generation, Half, HalfOutcome, ImportAccepted, ImportId,
    ImportStep, IndexId, LeasedImport, ListingId, Millis, NewCode, NewImport, NewListing, NoticeTimes,
    NumberKey, Placement, Pseudonym, StepOutcome, Store, TokenId, TokenUse,
};

pub(super) const FAR: Millis = 1_000_000_000;

static TOKENS: AtomicU64 = AtomicU64::new(0);

/// An account.
#[derive(Clone, Copy)]
pub(super) struct Person {
    pub(super) seed: u64,
}

impl Person {
    fn bytes<const N: usize>(&self, what: u64) -> [u8; N] {
        let mut state = self.seed.wrapping_mul(1_000_000).wrapping_add(what);
        std::array::from_fn(|_| {
            // SplitMix64.
            state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mixed = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            (mixed ^ (mixed >> 31)).to_be_bytes()[0]
        })
    }

    pub(super) fn account(&self) -> Pseudonym {
        Pseudonym::from_bytes(self.bytes(1))
    }

    pub(super) fn number(&self) -> NumberKey {
        NumberKey::from_bytes(self.bytes(2))
    }

    pub(super) fn code(&self) -> NewCode {
        NewCode {
            account: self.account(),
            code_hash: CodeHash::from_bytes(self.bytes(3)),
            number_hash: CodeHash::from_bytes([0xAA; 32]),
            expires_at: FAR,
            too_recent_after: FAR,
            max_wrong: 3,
            permits: vec![],
        }
    }

    /// The right one.
    pub(super) fn guess(&self) -> CodeGuess {
        let NewCode { account, code_hash, number_hash, .. } = self.code();
        CodeGuess {
            account,
            code_hash,
            number_hash,
            max_wrong: 3,
            wrong_permits: vec![],
            proof: None,
            sealed_account: self.bytes::<70>(5).to_vec(),
            fresh_generation: Generation(i64::from_be_bytes(self.bytes(6))),
            // Another one each time.
            token: TokenId::from_bytes(self.bytes(10 + TOKENS.fetch_add(1, Ordering::Relaxed))),
            token_use: TokenUse::Matching,
            sealed_identifier: self.bytes::<60>(9).to_vec(),
            token_expires_at: FAR,
        }
    }

    pub(super) async fn verify(&self, store: &dyn Store) -> (TokenId, Generation) {
        store.put_code(self.code(), 0).await.unwrap();
        let guess = self.guess();
        let token = guess.token;
        let CodeTaken::Taken { generation } = store.take_code(guess, 0).await.unwrap() else {
            unreachable!("the right code is taken")
        };
        (token, generation)
    }

    /// Has a listing from now on.
    pub(super) async fn enrol(&self, store: &dyn Store) {
        store.put_code(self.code(), 0).await.unwrap();
        let guess = CodeGuess { token_use: TokenUse::Directory, ..self.guess() };
        let token = guess.token;
        assert!(matches!(store.take_code(guess, 0).await.unwrap(), CodeTaken::Taken { .. }));
        let listing = NewListing {
            // Stays for a day among the changes.
            id: ListingId::from_bytes(self.bytes(400_001)),
            account: self.account(),
            token,
            sealed: self.bytes::<90>(400_002).to_vec(),
            verified_at: 0,
            expires_at: FAR,
            placements: vec![Placement {
                index: IndexId { profile: 1, epoch: 1 },
                sealed: self.bytes::<90>(400_003).to_vec(),
            }],
            most: 1,
        };
        assert_eq!(store.enrol(listing, 0).await.unwrap(), Enrolled::Listed);
    }

    pub(super) async fn new_import(&self, store: &dyn Store, total: u32) -> NewImport {
        let (token, generation) = self.verify(store).await;
        self.import_of(token, generation, total)
    }

    pub(super) fn import_of(&self, token: TokenId, generation: Generation, total: u32) -> NewImport {
        NewImport {
            id: ImportId::from_bytes(self.bytes(7)),
            tokens: vec![token],
            account: self.account(),
            generation,
            numbers: vec![self.number()],
            sealed: self.bytes::<9000>(8).to_vec(),
            total,
            forget_account_at: i64::MAX,
            permits: vec![],
            max_waiting: 1_000_000_000,
        }
    }

    pub(super) async fn accept(&self, store: &dyn Store, total: u32) -> NewImport {
        let import = self.new_import(store, total).await;
        let accepted = store.accept_import(import.clone(), 0).await.unwrap();
        assert_eq!(accepted, ImportAccepted::Accepted);
        import
    }

    /// The next step of a leased import of this account.
    pub(super) fn next_step(&self, leased: &LeasedImport, done: u32, halves: Vec<Half>) -> ImportStep {
        ImportStep { numbers: vec![self.number()], ..next_step(leased, done, halves) }
    }

    /// Commits a step.
    pub(super) async fn step(
        store: &dyn Store,
        leased: &LeasedImport,
        done: u32,
        halves: Vec<Half>,
        now: Millis,
    ) -> Vec<HalfOutcome> {
        match store.match_or_insert(next_step(leased, done, halves), now).await.unwrap() {
            StepOutcome::Committed(outcomes) => outcomes,
            other => unreachable!("nobody else has the lease: {other:?}"),
        }
    }

    /// From verification to the last step, at once. No other import may be waiting.
    pub(super) async fn import(&self, store: &dyn Store, halves: Vec<Half>) -> Vec<HalfOutcome> {
        self.accept(store, u32::try_from(halves.len()).unwrap()).await;
        let leased = store.next_import(0, FAR).await.unwrap().unwrap();
        let step = self.next_step(&leased, 0, halves);
        match store.match_or_insert(step, 0).await.unwrap() {
            StepOutcome::Committed(outcomes) => outcomes,
            other => unreachable!("nobody else has the lease: {other:?}"),
        }
    }

    /// A half of a pair that only this account's seed and the number name.
    pub(super) fn half(&self, contact: u64, bit: bool) -> Half {
        Half { hashes: vec![(EpochId::new(1), PairHash::from_bytes(self.bytes(500_000 + contact)))], bit }
    }

    /// Every byte string that a removal has to take away.
    pub(super) fn traces(&self) -> Vec<(&'static str, Vec<u8>)> {
        vec![
            ("pseudonym", self.bytes::<16>(1).to_vec()),
            ("number", self.bytes::<32>(2).to_vec()),
            ("code", self.bytes::<32>(3).to_vec()),
            ("name", self.bytes::<70>(5).to_vec()),
            ("list", self.bytes::<9000>(8)[..500].to_vec()),
            ("identifier", self.bytes::<60>(9).to_vec()),
            ("listing", self.bytes::<90>(400_002).to_vec()),
            ("placement", self.bytes::<90>(400_003).to_vec()),
        ]
    }
}

fn next_step(leased: &LeasedImport, done: u32, halves: Vec<Half>) -> ImportStep {
    ImportStep {
        import: leased.id,
        account: leased.account,
        generation: leased.generation,
        fence: leased.fence,
        done,
        halves,
        verified_at: 0,
        expires_at: FAR,
        lease_until: FAR,
        refunds: vec![],
        numbers: vec![],
        notices: Some(NoticeTimes { importer_due_at: 0, expires_at: FAR }),
        report: None,
    }
}
