//! A store with a cast of accounts, pairs and numbers, each named by a small number.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use acquaint_protocol::pair::{EpochId, PairHash};

use crate::{
    Charge, Charged, CodeGuess, CodeHash, CodePut, CodeTaken, Exhausted, Generation, Half, HalfOutcome,
    ImportAccepted, ImportId, ImportStep, LeasedImport, Limit, Millis, NewCode, NewImport, NumberKey, Permit,
    Pseudonym, Removal, Removed, StepOutcome, Store, TokenId, TokenUse,
};

/// Late enough to be after everything.
pub(super) const FAR: Millis = 1_000_000_000;
pub(super) const LEASE: Millis = 1_000;
pub(super) const DAY: Millis = 86_400_000;

#[derive(Clone)]
pub(super) struct Scene {
    pub(super) store: Arc<dyn Store>,
    ids: Arc<AtomicU64>,
}

pub(super) const fn account(n: u8) -> Pseudonym {
    Pseudonym::from_bytes([n; 16])
}

pub(super) const fn number(n: u8) -> NumberKey {
    NumberKey::from_bytes([n; 32])
}

pub(super) const fn code_hash(n: u8) -> CodeHash {
    CodeHash::from_bytes([n; 32])
}

pub(super) fn place(epoch: u8, pair: u8) -> (EpochId, PairHash) {
    let mut hash = [pair; 32];
    hash[0] = epoch;
    (EpochId::new(u32::from(epoch)), PairHash::from_bytes(hash))
}

/// A half under epoch 1.
pub(super) fn half(pair: u8, bit: bool) -> Half {
    half_under(&[1], pair, bit)
}

pub(super) fn half_under(epochs: &[u8], pair: u8, bit: bool) -> Half {
    Half { hashes: epochs.iter().map(|epoch| place(*epoch, pair)).collect(), bit }
}

pub(super) fn permit(limit: Limit, amount: u32, capacity: u32, per_day: u32) -> Permit {
    Permit { limit, key: vec![9], amount, capacity, per_day }
}

pub(super) fn new_code(who: u8, hash: u8, now: Millis) -> NewCode {
    NewCode {
        account: account(who),
        code_hash: code_hash(hash),
        number_hash: code_hash(0xAA),
        expires_at: now + 100,
        too_recent_after: now - 10,
        max_wrong: 3,
        permits: vec![],
    }
}

impl Scene {
    pub(super) fn new(store: Arc<dyn Store>) -> Self {
        Self { store, ids: Arc::default() }
    }

    pub(super) fn fresh(&self) -> [u8; 16] {
        let mut bytes = [0xEE; 16];
        bytes[..8].copy_from_slice(&self.ids.fetch_add(1, Ordering::Relaxed).to_be_bytes());
        bytes
    }

    pub(super) fn guess(&self, who: u8, hash: u8) -> CodeGuess {
        let fresh = self.fresh();
        CodeGuess {
            account: account(who),
            code_hash: code_hash(hash),
            number_hash: code_hash(0xAA),
            max_wrong: 3,
            wrong_permits: vec![],
            proof: None,
            sealed_account: sealed(who),
            fresh_generation: Generation(i64::from_be_bytes([
                0x7F, fresh[1], fresh[2], fresh[3], fresh[4], fresh[5], fresh[6], fresh[7],
            ])),
            token: TokenId::from_bytes(fresh),
            token_use: TokenUse::Matching,
            sealed_identifier: vec![who; 3],
            token_expires_at: FAR,
        }
    }

    /// The number is verified: the account has a row and a token that lasts.
    pub(super) async fn verify(&self, who: u8, now: Millis) -> (TokenId, Generation) {
        self.verify_for(TokenUse::Matching, who, now).await
    }

    pub(super) async fn verify_for(
        &self,
        token_use: TokenUse,
        who: u8,
        now: Millis,
    ) -> (TokenId, Generation) {
        let code = NewCode { too_recent_after: FAR, ..new_code(who, who, now) };
        assert_eq!(self.store.put_code(code, now).await.unwrap(), CodePut::Stored);
        let guess = CodeGuess { token_use, ..self.guess(who, who) };
        let token = guess.token;
        let CodeTaken::Taken { generation } = self.store.take_code(guess, now).await.unwrap() else {
            unreachable!("the right code is taken")
        };
        (token, generation)
    }

    pub(super) fn new_import(&self, who: u8, verified: (TokenId, Generation), total: u32) -> NewImport {
        NewImport {
            id: ImportId::from_bytes(self.fresh()),
            tokens: vec![verified.0],
            account: account(who),
            generation: verified.1,
            numbers: vec![number(who)],
            sealed: vec![who; 40],
            total,
            forget_account_at: 10 * FAR,
            permits: vec![],
            max_waiting: 1_000_000,
        }
    }

    /// Verifies and has an import of `total` pairs accepted.
    pub(super) async fn accept(&self, who: u8, total: u32, now: Millis) -> NewImport {
        let import = self.new_import(who, self.verify(who, now).await, total);
        assert_eq!(
            self.store.accept_import(import.clone(), now).await.unwrap(),
            ImportAccepted::Accepted,
            "account {who}"
        );
        import
    }

    pub(super) async fn lease(&self, now: Millis) -> LeasedImport {
        self.store.next_import(now, now + LEASE).await.unwrap().unwrap()
    }

    /// From verification to the last step, at once. No other import may be waiting.
    pub(super) async fn import(
        &self,
        who: u8,
        halves: Vec<Half>,
        (verified_at, expires_at): (Millis, Millis),
        now: Millis,
    ) -> Vec<HalfOutcome> {
        let import = self.accept(who, u32::try_from(halves.len()).unwrap(), now).await;
        let leased = self.lease(now).await;
        assert!(leased.id == import.id);
        let step = ImportStep { verified_at, expires_at, ..step(&leased, who, halves) };
        match self.store.match_or_insert(step, now).await.unwrap() {
            StepOutcome::Committed(outcomes) => outcomes,
            other => unreachable!("nobody else has the lease: {other:?}"),
        }
    }

    /// Imports one half that lasts; with whom it matched, and whether it was held.
    pub(super) async fn submit(
        &self,
        who: u8,
        half: Half,
        verified_at: Millis,
        now: Millis,
    ) -> (Vec<Pseudonym>, bool) {
        let mut outcomes = self.import(who, vec![half], (verified_at, FAR), now).await;
        let HalfOutcome { matched, held } = outcomes.remove(0);
        (matched, held)
    }

    /// Takes permits, all or none, and nothing else.
    pub(super) async fn take(&self, permits: Vec<Permit>, now: Millis) -> Result<(), Exhausted> {
        let charge = Charge { alternatives: vec![permits], ..Charge::default() };
        match self.store.charge(charge, now).await.unwrap() {
            Charged::Taken(0) => Ok(()),
            Charged::Exhausted(exhausted) => Err(exhausted),
            other => unreachable!("there is one alternative and no request: {other:?}"),
        }
    }

    pub(super) async fn listed(&self, who: u8, now: Millis) -> Vec<Pseudonym> {
        let matches = self.store.matches(account(who), None, 1000, now).await.unwrap();
        matches.into_iter().map(|m| m.position.other).collect()
    }

    pub(super) async fn count(&self, who: u8, now: Millis) -> Option<u32> {
        self.store.sync_status(account(who), now).await.unwrap().map(|status| status.matches)
    }

    /// Removes an account that has no import pending.
    pub(super) async fn remove(&self, who: u8, now: Millis) -> Removed {
        match self.store.remove_data(account(who), None, now).await.unwrap() {
            Removal::Removed(removed) => removed,
            Removal::OtherPending => unreachable!("no import is pending"),
        }
    }
}

pub(super) fn sealed(who: u8) -> Vec<u8> {
    vec![1, who, who]
}

/// The next step of a leased import.
pub(super) fn step(leased: &LeasedImport, who: u8, halves: Vec<Half>) -> ImportStep {
    ImportStep {
        import: leased.id,
        account: leased.account,
        generation: leased.generation,
        fence: leased.fence,
        done: leased.done,
        halves,
        verified_at: 0,
        expires_at: FAR,
        lease_until: FAR,
        refunds: vec![],
        numbers: vec![number(who)],
        notices: None,
        report: None,
    }
}
