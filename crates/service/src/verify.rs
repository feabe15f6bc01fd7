//! Verification: text → canonical identifier → code sent → code taken once → token (walkthrough 1).

use std::sync::Arc;

use std::time::Duration;

use acquaint_custody::{Purpose, Stretching, newest};
use acquaint_protocol::identifier::{AccountId, Identifier, Phone, Sii};
use acquaint_store::{
    CodeGuess, CodeHash, CodePut, CodeTaken, EventKind, Generation, Limit, Millis, NewCode, NewProof,
    NumberKey, Permit, Pseudonym, StoreError, TokenId, TokenUse,
};
use serde_json::json;

use crate::ambient::{bytes, six_digits};
use crate::audit::to_its_end;
use crate::delivery::{Code, DeliveryError};
use crate::error::{Internal, InvalidIdentifier, RateLimited, StartVerificationError, VerifyError};
use crate::policy::{Bucket, millis};
use crate::pool::{Lane, PoolError};
use crate::token::Token;
use crate::verified::Verified;
use crate::{Discovery, account};

/// First byte of what the code key hashes: a code, or the number that one is sent to.
const CODE_V1: u8 = 1;
const NUMBER_V1: u8 = 2;
const LISTING_CODE_V1: u8 = 3;

/// How long a busy pool is to be left alone.
const BUSY_PAUSE: Duration = Duration::from_secs(5);

impl Discovery {
    /// Sends a six-digit code to a phone number, or an e-mail address if the policy takes those, within this call.
    ///
    /// # Errors
    /// [`StartVerificationError`]; unless a code was sent, or may have been, the person's allowance is as before.
    pub async fn start_verification(
        &self,
        account: &AccountId,
        identifier: &str,
    ) -> Result<(), StartVerificationError> {
        self.send_code(account, identifier, TokenUse::Matching).await
    }

    /// As [`start_verification`](Self::start_verification): the code is good for this use and for no other.
    pub(crate) async fn send_code(
        &self,
        account: &AccountId,
        identifier: &str,
        token_use: TokenUse,
    ) -> Result<(), StartVerificationError> {
        let to = self.verifiable(identifier)?;
        let now = self.clock.now();
        let noter = self.noter(Some(account))?;
        let account = account::pseudonym(&*self.custody, account)?;
        let number = match self.number_key(&Sii::from(&to)).await {
            Err(Internal::Pool(PoolError::Busy)) => return Err(self.busy().into()),
            outcome => outcome?,
        };
        let code = Code::new(six_digits(&*self.entropy)?);
        let (code_hash, number_hash) = self.code_hashes(account, number, token_use, code.digits())?;
        let permits = self.code_permits(account, number, &to);
        let new = NewCode {
            account,
            code_hash,
            number_hash,
            expires_at: now.saturating_add(millis(self.policy.code_ttl)),
            too_recent_after: now.saturating_sub(millis(self.policy.code_resend)),
            max_wrong: self.policy.code_guesses,
            permits: permits.clone(),
        };
        match self.store.put_code(new, now).await? {
            CodePut::Stored => {}
            CodePut::TooRecent => {
                let what = "a code was sent a moment ago: wait before asking for another";
                return Err(RateLimited::passing(what, now, self.policy.code_resend).into());
            }
            CodePut::GuessesUsedUp => return Err(self.guesses_used_up(now).into()),
            CodePut::Exhausted(exhausted) => return Err(RateLimited::exhausted(exhausted).into()),
        }
        let sending = tokio::time::timeout(self.policy.delivery_timeout, self.sender.send(&to, &code));
        let sent = sending.await.unwrap_or(Err(DeliveryError {
            reason: "the provider did not answer in time",
            may_arrive: true,
            recipient_refused: false,
            source: None,
        }));
        if let Err(error) = sent {
            if !error.may_arrive {
                self.store.withdraw_code(account, code_hash, permits, self.clock.now()).await?;
            }
            return Err(StartVerificationError::NotSent(error));
        }
        to_its_end(async move { noter.note(EventKind::CodeSent, json!({})).await }).await;
        Ok(())
    }

    /// Takes a code and gives a token for a single import.
    ///
    /// # Errors
    /// [`VerifyError`]. A wrong guess is counted; text that is not six digits is no guess.
    pub async fn verify(
        &self,
        account: &AccountId,
        identifier: &str,
        code: &str,
    ) -> Result<String, VerifyError> {
        Ok(self.take_code(account, identifier, TokenUse::Matching, code).await?.0)
    }

    /// As [`verify`](Self::verify), for this use. Returns the token and when it ends.
    pub(crate) async fn take_code(
        &self,
        account: &AccountId,
        identifier: &str,
        token_use: TokenUse,
        code: &str,
    ) -> Result<(String, Millis), VerifyError> {
        let identifier = self.verifiable(identifier)?;
        if code.len() != 6 || !code.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(VerifyError::InvalidCode);
        }
        let sii = Sii::from(&identifier);
        let whose = account::pseudonym(&*self.custody, account)?;
        let number = match self.number_key(&sii).await {
            Err(Internal::Pool(PoolError::Busy)) => return Err(self.busy().into()),
            outcome => outcome?,
        };
        let now = self.clock.now();
        let expires_at = now.saturating_add(millis(self.policy.token_ttl));
        let id = TokenId::from_bytes(bytes(&*self.entropy)?);
        let (code_hash, number_hash) = self.code_hashes(whose, number, token_use, code)?;
        let guess = CodeGuess {
            account: whose,
            code_hash,
            number_hash,
            max_wrong: self.policy.code_guesses,
            wrong_permits: self.guess_permits(whose, number, &identifier),
            sealed_account: account::seal(&*self.custody, whose, account)?,
            fresh_generation: Generation(i64::from_be_bytes(bytes(&*self.entropy)?)),
            token: id,
            token_use,
            sealed_identifier: Verified { sii, number, verified_at: now }.seal(&*self.custody, id)?,
            token_expires_at: expires_at,
            proof: self.proof(&identifier, number, now),
        };
        let (store, noter) = (Arc::clone(&self.store), self.noter(Some(account))?);
        let taken = to_its_end(async move {
            let taken = store.take_code(guess, now).await?;
            match taken {
                CodeTaken::Taken { .. } => noter.note(EventKind::IdentifierVerified, json!({})).await,
                CodeTaken::Wrong => noter.note(EventKind::WrongCode, json!({})).await,
                CodeTaken::NoCode | CodeTaken::GuessesUsedUp | CodeTaken::Exhausted(_) => {}
            }
            Ok::<_, StoreError>(taken)
        });
        match taken.await? {
            CodeTaken::Taken { generation } => {
                let token = Token { id, account: whose, generation, expires_at };
                Ok((token.seal(&*self.custody, token_use)?, expires_at))
            }
            CodeTaken::Wrong | CodeTaken::NoCode => Err(VerifyError::InvalidCode),
            CodeTaken::GuessesUsedUp => Err(self.guesses_used_up(now).into()),
            CodeTaken::Exhausted(exhausted) => Err(RateLimited::exhausted(exhausted).into()),
        }
    }

    /// What may be verified here: a number of a mobile type in a region that is served, or an e-mail address.
    fn verifiable(&self, text: &str) -> Result<Identifier, InvalidIdentifier> {
        let identifier = Identifier::parse(text, None)?;
        let phone = match &identifier {
            Identifier::Phone(phone) => phone,
            Identifier::Email(_) if self.policy.emails => return Ok(identifier),
            Identifier::Email(_) => return Err(InvalidIdentifier::NoEmails),
        };
        if !phone.kind().can_receive_sms() {
            return Err(InvalidIdentifier::NotMobile);
        }
        let served = &self.policy.regions;
        if !served.is_empty() && !phone.region().is_some_and(|region| served.contains(&region)) {
            return Err(InvalidIdentifier::RegionNotServed);
        }
        Ok(identifier)
    }

    /// What is kept of a verified number for the limits of lookups. One number proves so many accounts a period and no
    /// more: with it, somebody could else have any number of quotas. An e-mail address proves none, there is no end of them.
    fn proof(&self, identifier: &Identifier, number: NumberKey, now: Millis) -> Option<NewProof> {
        let policy = &self.policy.lookups;
        let days = u32::try_from(policy.proof.as_secs() / (24 * 60 * 60)).unwrap_or(u32::MAX);
        if days == 0 || !matches!(identifier, Identifier::Phone(_)) {
            return None;
        }
        // An account weighs a period's days, of which as many leak a day as there may be accounts.
        let accounts = policy.accounts_of_number;
        let bucket = Bucket { capacity: days.saturating_mul(accounts), per_day: accounts };
        Some(NewProof {
            expires_at: now.saturating_add(millis(policy.proof)),
            permits: vec![bucket.permit(Limit::NumberProofs, number.as_bytes(), days)],
        })
    }

    fn busy(&self) -> RateLimited {
        RateLimited::passing("the service is busy: try again in a minute", self.clock.now(), BUSY_PAUSE)
    }

    fn guesses_used_up(&self, now: Millis) -> RateLimited {
        let what = "too many wrong codes: wait until the code has expired, then ask for a new one";
        RateLimited::passing(what, now, self.policy.code_ttl)
    }

    fn code_permits(&self, account: Pseudonym, number: NumberKey, to: &Identifier) -> Vec<Permit> {
        let policy = &self.policy;
        let mut permits = vec![
            policy.account_codes.permit(Limit::AccountCodes, account.as_bytes(), 1),
            policy.number_codes.permit(Limit::NumberCodes, number.as_bytes(), 1),
        ];
        match to {
            Identifier::Phone(phone) => permits.extend([
                policy.region_codes.permit(Limit::RegionCodes, &region_of(phone), 1),
                policy.sms_codes.permit(Limit::SmsCodes, &[], 1),
            ]),
            Identifier::Email(_) => permits.push(policy.email_codes.permit(Limit::EmailCodes, &[], 1)),
        }
        permits
    }

    fn guess_permits(&self, account: Pseudonym, number: NumberKey, about: &Identifier) -> Vec<Permit> {
        let policy = &self.policy;
        let mut permits = vec![
            policy.account_guesses.permit(Limit::AccountGuesses, account.as_bytes(), 1),
            policy.number_guesses.permit(Limit::NumberGuesses, number.as_bytes(), 1),
            policy.all_guesses.permit(Limit::AllGuesses, &[], 1),
        ];
        if let Identifier::Phone(phone) = about {
            permits.push(policy.region_guesses.permit(Limit::RegionGuesses, &region_of(phone), 1));
        }
        permits
    }

    /// HMAC(number key, Argon2id(number)): a single number is never kept as a fast hash (house plan, decision 4).
    async fn number_key(&self, sii: &Sii) -> Result<NumberKey, Internal> {
        let key = newest(&*self.custody, Purpose::Number)?;
        // An identifier holds no 0x00 byte and a pair holds one, so that the two never collide.
        let Stretching { pepper, suite, canonicalisation: _ } = self.custody.stretching(key)?;
        let stretched = self.pool.stretch(Lane::Urgent, suite, pepper, sii.as_bytes()).await?;
        let made = self.custody.hmac(key, &[stretched.as_bytes()])?;
        made.first()
            .map(|hash| NumberKey::from_bytes(*hash))
            .ok_or(Internal::Unreadable("custody gave no hash"))
    }

    /// HMACs under the code key of 0x01 (0x03 for a listing) ‖ pseudonym ‖ number key ‖ six digits, which is useless for another account or
    /// number, and of 0x02 ‖ pseudonym ‖ number key.
    fn code_hashes(
        &self,
        account: Pseudonym,
        number: NumberKey,
        token_use: TokenUse,
        digits: &str,
    ) -> Result<(CodeHash, CodeHash), Internal> {
        let whom = [account.as_bytes().as_slice(), number.as_bytes()].concat();
        let first = match token_use {
            TokenUse::Matching => CODE_V1,
            TokenUse::Directory => LISTING_CODE_V1,
        };
        let code = [&[first], whom.as_slice(), digits.as_bytes()].concat();
        let number = [&[NUMBER_V1], whom.as_slice()].concat();
        let made = self.custody.hmac(newest(&*self.custody, Purpose::Code)?, &[&code, &number])?;
        match made.as_slice() {
            [code, number] => Ok((CodeHash::from_bytes(*code), CodeHash::from_bytes(*number))),
            _ => Err(Internal::Unreadable("custody gave no hash")),
        }
    }
}

/// The letters of a number's region; `001`, the world in UN M.49, for numbers that belong to no country, such as +883.
fn region_of(phone: &Phone) -> Vec<u8> {
    phone.region().map_or_else(|| b"001".to_vec(), |region| region.as_str().into())
}
