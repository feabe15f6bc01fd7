//! A logged-in token: a bounded pool of sessions that comes back after log-outs, removals and restarts.
//!
//! An operation that fails for a reason that can pass is tried once more, after a new session, log-in and search for
//! the keys; if that does not help, after a restart of the module. A refused PIN is never tried again.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use cryptoki::context::Function;
use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::MechanismType;
use cryptoki::session::{Session, UserType};
use cryptoki::slot::{Slot, TokenInfo};
use cryptoki::types::AuthPin;

use super::Pkcs11Error;
use super::error::{Refusal, can_be_mended};
use super::module::{Module, Running};
use super::objects::Scan;
use crate::secret::Secret;

/// Which token, and how to get at it.
#[derive(Debug, Clone)]
pub struct TokenConfig {
    /// The HSM's PKCS#11 module, a shared library. It runs in this process.
    pub module: PathBuf,
    /// The token's label.
    pub label: String,
    /// The user PIN.
    pub pin: Secret,
    /// The most sessions to have open at once; so many operations run in parallel.
    pub sessions: NonZeroUsize,
    /// How long a token that could not be brought back is left alone.
    pub rest: Duration,
}

impl TokenConfig {
    /// With 8 sessions, and a second of rest.
    #[must_use]
    pub fn new(module: PathBuf, label: String, pin: Secret) -> Self {
        Self {
            module,
            label,
            pin,
            sessions: NonZeroUsize::MIN.saturating_add(7),
            rest: Duration::from_secs(1),
        }
    }
}

/// A token whose user is logged in. By itself for whoever looks after the keys; a
/// [`Pkcs11Custody`](super::Pkcs11Custody) uses one.
pub struct Token {
    pub(super) config: TokenConfig,
    module: &'static Module,
    /// Whether it is of use only with all that custody needs.
    whole: bool,
    live: Mutex<Live>,
    freed: Condvar,
    mending: Mutex<Mending>,
}

/// What is valid until the next mending.
struct Live {
    /// How often it was mended.
    generation: u64,
    /// Which life of the module its sessions are of.
    restarts: u64,
    slot: Slot,
    scan: Arc<Scan>,
    idle: Vec<Session>,
    /// Sessions of this generation, idle or in use.
    open: usize,
    /// The most that the token has been seen to allow, and no more than is configured.
    limit: usize,
}

#[derive(Default)]
struct Mending {
    refused: Option<Refusal>,
    failed: Option<(Instant, Arc<Pkcs11Error>)>,
}

/// Why an operation failed: the token's own reason may be one that passes.
pub(super) enum Trouble {
    Token(Error),
    Other(Pkcs11Error),
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::Token(error)
    }
}

impl From<Pkcs11Error> for Trouble {
    fn from(error: Pkcs11Error) -> Self {
        Self::Other(error)
    }
}

impl Token {
    /// Finds the token and logs in, whatever keys it has.
    ///
    /// # Errors
    /// [`Pkcs11Error`] says what is wrong and what to do: no module, no token, a refused or locked PIN.
    pub fn open(config: TokenConfig) -> Result<Self, Pkcs11Error> {
        Self::start(config, false)
    }

    pub(super) fn start(config: TokenConfig, whole: bool) -> Result<Self, Pkcs11Error> {
        let module = Module::load(&config.module)?;
        let mut mending = Mending::default();
        let live = connect(&config, module, &module.running(), whole, &mut mending)?;
        Ok(Self {
            config,
            module,
            whole,
            live: Mutex::new(live),
            freed: Condvar::new(),
            mending: Mutex::new(mending),
        })
    }

    /// Runs `operation` in one of the pool's sessions, waiting for one if all are in use, and once more if what
    /// failed could be mended.
    pub(super) fn with<T>(
        &self,
        operation: impl Fn(&Session, &Scan) -> Result<T, Trouble>,
    ) -> Result<T, Pkcs11Error> {
        let seen = match self.attempt(&operation) {
            Ok(done) => return Ok(done),
            Err((seen, Trouble::Token(error))) if can_be_mended(&error) => seen,
            Err((_, trouble)) => return Err(self.told(trouble)),
        };
        self.mend(seen)?;
        self.attempt(&operation).map_err(|(_, trouble)| self.told(trouble))
    }

    fn attempt<T>(
        &self,
        operation: impl Fn(&Session, &Scan) -> Result<T, Trouble>,
    ) -> Result<T, (u64, Trouble)> {
        let running = self.module.running();
        let (session, scan, generation) = self.take(&running)?;
        let outcome = operation(&session, &scan);
        let sound = !matches!(outcome, Err(Trouble::Token(_)));
        self.give_back(session, generation, sound);
        outcome.map_err(|trouble| (generation, trouble))
    }

    fn take(&self, running: &Running) -> Result<(Session, Arc<Scan>, u64), (u64, Trouble)> {
        let mut live = self.live();
        loop {
            if live.restarts != **running {
                // Another token's mending restarted the module: a handle of before may be another's session now.
                let ended = Error::Pkcs11(RvError::SessionHandleInvalid, Function::OpenSession);
                return Err((live.generation, ended.into()));
            }
            if let Some(session) = live.idle.pop() {
                return Ok((session, Arc::clone(&live.scan), live.generation));
            }
            if live.open < live.limit {
                match self.module.context.open_ro_session_no_drop(live.slot) {
                    Ok(session) => {
                        live.open += 1;
                        return Ok((session, Arc::clone(&live.scan), live.generation));
                    }
                    Err(Error::Pkcs11(RvError::SessionCount, _)) if live.open > 0 => live.limit = live.open,
                    Err(error) => return Err((live.generation, error.into())),
                }
            }
            live = self.freed.wait(live).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Called while the module that the session is of still runs.
    fn give_back(&self, session: Session, generation: u64, sound: bool) {
        let mut live = self.live();
        let of_now = live.generation == generation;
        if of_now && sound {
            live.idle.push(session);
        } else {
            if of_now {
                live.open -= 1;
            }
            // It may be gone already.
            let _ = session.close();
        }
        drop(live);
        self.freed.notify_one();
    }

    /// Connects anew, unless another thread did since generation `seen`.
    fn mend(&self, seen: u64) -> Result<(), Pkcs11Error> {
        let mut mending = self.mending.lock().unwrap_or_else(PoisonError::into_inner);
        if self.live().generation != seen {
            return Ok(());
        }
        if let Some(refusal) = mending.refused {
            return Err(refusal.told(&self.config.label));
        }
        if let Some((at, last)) = &mending.failed
            && at.elapsed() < self.config.rest
        {
            return Err(Pkcs11Error::Resting { label: self.config.label.clone(), last: Arc::clone(last) });
        }
        let outcome = self.connect_anew(&mut mending);
        if let Err(error) = outcome {
            let error = Arc::new(error);
            mending.failed = Some((Instant::now(), Arc::clone(&error)));
            return Err(match mending.refused {
                Some(refusal) => refusal.told(&self.config.label),
                None => Pkcs11Error::Gone { label: self.config.label.clone(), last: error },
            });
        }
        mending.failed = None;
        Ok(())
    }

    fn connect_anew(&self, mending: &mut Mending) -> Result<(), Pkcs11Error> {
        let restarts = {
            let running = self.module.running();
            match connect(&self.config, self.module, &running, self.whole, mending) {
                Ok(live) => {
                    self.replace(live);
                    return Ok(());
                }
                Err(error) if mending.refused.is_some() => return Err(error),
                Err(_) => *running,
            }
        };
        self.module.restart(restarts)?;
        let running = self.module.running();
        let live = connect(&self.config, self.module, &running, self.whole, mending)?;
        self.replace(live);
        Ok(())
    }

    /// Called while the module that `new` is of still runs.
    fn replace(&self, new: Live) {
        let mut live = self.live();
        let generation = live.generation + 1;
        let old = std::mem::replace(&mut *live, Live { generation, ..new });
        if old.restarts == live.restarts {
            for session in old.idle {
                let _ = session.close();
            }
        }
        drop(live);
        self.freed.notify_all();
    }

    /// Looks at the token's objects again, after keys were made or destroyed.
    ///
    /// # Errors
    /// As [`open`](Self::open); then what was known before stands.
    pub fn refresh(&self) -> Result<(), Pkcs11Error> {
        let whole = self.whole;
        let scan = self.with(|session, _| {
            let scan = Scan::of(session)?;
            if whole {
                scan.check()?;
            }
            Ok(Arc::new(scan))
        })?;
        self.live().scan = scan;
        Ok(())
    }

    /// Runs `change` once, in a session of its own that may write; never twice, for it may have been done.
    pub(super) fn change<T>(
        &self,
        change: impl FnOnce(&Session) -> Result<T, Trouble>,
    ) -> Result<T, Pkcs11Error> {
        // Mends a log-out or the like beforehand.
        self.refresh()?;
        let running = self.module.running();
        let slot = self.live().slot;
        let session =
            self.module.context.open_rw_session_no_drop(slot).map_err(|error| self.told(error.into()))?;
        let outcome = change(&session);
        let _ = session.close();
        drop(running);
        let done = outcome.map_err(|trouble| self.told(trouble))?;
        self.refresh()?;
        Ok(done)
    }

    pub(super) fn scan(&self) -> Arc<Scan> {
        Arc::clone(&self.live().scan)
    }

    fn live(&self) -> MutexGuard<'_, Live> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn told(&self, trouble: Trouble) -> Pkcs11Error {
        told(&self.config.label, trouble)
    }
}

impl Drop for Token {
    /// Ends the sessions, and with the last one of this process the log-in.
    fn drop(&mut self) {
        let running = self.module.running();
        let mut live = self.live();
        if live.restarts == *running {
            for session in live.idle.drain(..) {
                let _ = session.close();
            }
        }
    }
}

fn told(label: &str, trouble: Trouble) -> Pkcs11Error {
    match trouble {
        Trouble::Token(source) => Pkcs11Error::Failed { label: label.into(), source },
        Trouble::Other(error) => error,
    }
}

/// Finds the token, logs in, and looks at its objects. The session that this takes is the first of the pool's, and is
/// never closed while the pool lives: the last session's end would log out.
fn connect(
    config: &TokenConfig,
    module: &Module,
    running: &Running,
    whole: bool,
    mending: &mut Mending,
) -> Result<Live, Pkcs11Error> {
    let label = &config.label;
    let failed = |source| Pkcs11Error::Failed { label: label.clone(), source };
    let (slot, token) = find(config, module)?;
    let flags = if token.user_pin_locked() {
        Some(Refusal::Locked)
    } else if !token.user_pin_initialized() {
        Some(Refusal::NotSet)
    } else if token.user_pin_final_try() {
        Some(Refusal::FinalTry)
    } else {
        None
    };
    if let Some(refusal) = flags {
        mending.refused = Some(refusal);
        return Err(refusal.told(label));
    }
    let mechanisms = module.context.get_mechanism_list(slot).map_err(failed)?;
    if !mechanisms.contains(&MechanismType::SHA256_HMAC) {
        return Err(Pkcs11Error::NoMechanism { label: label.clone(), mechanism: "CKM_SHA256_HMAC" });
    }
    let session = module.context.open_ro_session_no_drop(slot).map_err(failed)?;
    let outcome = log_in(config, &session, mending).and_then(|()| {
        let scan = Scan::of(&session).map_err(|trouble| told(label, trouble))?;
        if whole {
            scan.check()?;
        }
        Ok(scan)
    });
    match outcome {
        Ok(scan) => Ok(Live {
            generation: 0,
            restarts: **running,
            slot,
            scan: Arc::new(scan),
            idle: vec![session],
            open: 1,
            limit: config.sessions.get(),
        }),
        Err(error) => {
            let _ = session.close();
            Err(error)
        }
    }
}

fn find(config: &TokenConfig, module: &Module) -> Result<(Slot, TokenInfo), Pkcs11Error> {
    let failed = |source| Pkcs11Error::Failed { label: config.label.clone(), source };
    let mut found = Vec::new();
    let mut labels = Vec::new();
    for slot in module.context.get_slots_with_token().map_err(failed)? {
        // A token may go between the two calls, and another's trouble is not ours.
        let Ok(token) = module.context.get_token_info(slot) else { continue };
        if !token.token_initialized() {
            continue;
        }
        if token.label() == config.label {
            found.push((slot, token));
        } else {
            labels.push(format!("`{}`", token.label()));
        }
    }
    let token = found.pop().ok_or(Pkcs11Error::NoToken { label: config.label.clone(), found: labels })?;
    if found.is_empty() { Ok(token) } else { Err(Pkcs11Error::SeveralTokens(config.label.clone())) }
}

fn log_in(config: &TokenConfig, session: &Session, mending: &mut Mending) -> Result<(), Pkcs11Error> {
    let pin = AuthPin::new(config.pin.expose().into());
    match session.login(UserType::User, Some(&pin)) {
        // Another session of this process did.
        Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(()),
        Err(error) => match Refusal::of_login(&error) {
            Some(refusal) => {
                mending.refused = Some(refusal);
                Err(refusal.told(&config.label))
            }
            None => Err(Pkcs11Error::Failed { label: config.label.clone(), source: error }),
        },
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Token").field("label", &self.config.label).finish_non_exhaustive()
    }
}
