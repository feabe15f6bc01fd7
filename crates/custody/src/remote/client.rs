use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::num::NonZeroUsize;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::net::sockopt::socket_peercred;
use zeroize::Zeroizing;

use super::wire::{Answer, Failure, Request};
use super::{MAX_FRAME, RemoteError};
use crate::budget::KeyUsage;
use crate::{CustodyError, KeyCustody, KeyId, Purpose, ShareTag, Stretching};

/// Where the custody process is, and what to expect of it.
#[derive(Debug, Clone)]
pub struct RemoteOptions {
    /// Its socket.
    pub path: PathBuf,
    /// The user id that must serve there, so that nobody else is told what is to be sealed; `None` for any.
    pub server_uid: Option<u32>,
    /// The most connections; so many operations are under way at once.
    pub connections: NonZeroUsize,
    /// How long to wait for an answer.
    pub timeout: Duration,
}

impl RemoteOptions {
    /// With 8 connections, 30 s of patience, and whoever serves there.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        let connections = NonZeroUsize::MIN.saturating_add(7);
        Self { path, server_uid: None, connections, timeout: Duration::from_secs(30) }
    }
}

/// A [`KeyCustody`] in another process.
///
/// The list of keys and their peppers are asked for with each new connection, so after a restart of the custody
/// process, and by [`refresh`](Self::refresh). If that process comes back with another pepper under the name of a key,
/// it has other keys, and nothing is asked of it any more.
pub struct RemoteCustody {
    options: RemoteOptions,
    pool: Mutex<Pool>,
    freed: Condvar,
    known: Mutex<Arc<Known>>,
}

#[derive(Default)]
struct Pool {
    idle: Vec<UnixStream>,
    /// Connections, idle or in use.
    open: usize,
}

#[derive(Default)]
struct Known {
    keys: Vec<KeyId>,
    stretching: BTreeMap<KeyId, Stretching>,
}

impl RemoteCustody {
    /// Connects and asks for the keys.
    ///
    /// # Errors
    /// [`RemoteError`] says what is wrong: nothing serves there, another user does, this user is not let in.
    pub fn connect(options: RemoteOptions) -> Result<Self, RemoteError> {
        let remote = Self { options, pool: Mutex::default(), freed: Condvar::new(), known: Mutex::default() };
        remote.refresh()?;
        Ok(remote)
    }

    /// Asks for the keys again, after some were made or destroyed.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    pub fn refresh(&self) -> Result<(), RemoteError> {
        // A new connection asks for them.
        let idle = std::mem::take(&mut self.pool().idle);
        self.pool().open -= idle.len();
        drop(idle);
        self.freed.notify_all();
        let (stream, _) = self.take(true)?;
        self.give_back(stream);
        Ok(())
    }

    fn ask(&self, request: &Request<'_>) -> Result<Answer, CustodyError> {
        let answer = self.exchange(request).map_err(|error| CustodyError::Unavailable(Box::new(error)))?;
        let Answer::Failure(failure) = answer else { return Ok(answer) };
        Err(match failure {
            Failure::NoSuchKey(key) => CustodyError::NoSuchKey(key),
            Failure::WrongPurpose(key) => CustodyError::WrongPurpose(key),
            Failure::NotOurs => CustodyError::NotOurs,
            Failure::OverBudget { key, retry_after } => CustodyError::OverBudget { key, retry_after },
            Failure::Unavailable(text) | Failure::NotUnderstood(text) => {
                CustodyError::Unavailable(Box::new(RemoteError::Refused(text)))
            }
        })
    }

    fn exchange(&self, request: &Request<'_>) -> Result<Answer, RemoteError> {
        let frame = request.frame().map_err(RemoteError::TooLarge)?;
        let (mut stream, used_before) = self.take(false)?;
        match converse(&mut stream, &frame) {
            Ok(answer) => {
                self.give_back(stream);
                return Ok(answer);
            }
            Err(error) => {
                self.forget(1);
                // One that was open before may have been closed long ago. To ask twice does no harm: it gives the
                // same, or seals anew; at worst a budget is charged twice.
                if !(used_before && matches!(error, RemoteError::Broken(_))) {
                    return Err(error);
                }
            }
        }
        // The others are of the same age.
        let idle = std::mem::take(&mut self.pool().idle);
        self.forget(idle.len());
        let (mut stream, _) = self.take(true)?;
        let outcome = converse(&mut stream, &frame);
        match outcome {
            Ok(_) => self.give_back(stream),
            Err(_) => self.forget(1),
        }
        outcome
    }

    /// A connection, and whether it was used before.
    fn take(&self, new: bool) -> Result<(UnixStream, bool), RemoteError> {
        let mut pool = self.pool();
        loop {
            if !new && let Some(stream) = pool.idle.pop() {
                return Ok((stream, true));
            }
            if pool.open < self.options.connections.get() {
                break;
            }
            // What is wanted new takes the place of one that is idle.
            if pool.idle.pop().is_some() {
                pool.open -= 1;
                continue;
            }
            pool = self.freed.wait(pool).unwrap_or_else(PoisonError::into_inner);
        }
        pool.open += 1;
        drop(pool);
        self.open().map(|stream| (stream, false)).inspect_err(|_| self.forget(1))
    }

    fn give_back(&self, stream: UnixStream) {
        self.pool().idle.push(stream);
        self.freed.notify_one();
    }

    fn forget(&self, count: usize) {
        self.pool().open -= count;
        self.freed.notify_all();
    }

    fn open(&self) -> Result<UnixStream, RemoteError> {
        let RemoteOptions { path, server_uid, connections: _, timeout } = &self.options;
        let io = |source| RemoteError::Io { path: path.clone(), source };
        let mut stream = UnixStream::connect(path).map_err(io)?;
        stream.set_read_timeout(Some(*timeout)).map_err(io)?;
        stream.set_write_timeout(Some(*timeout)).map_err(io)?;
        let uid = socket_peercred(&stream).map_err(|error| io(error.into()))?.uid.as_raw();
        if server_uid.is_some_and(|expected| expected != uid) {
            return Err(RemoteError::OtherUser { path: path.clone(), uid });
        }
        let new = ask_for_keys(&mut stream)?;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        for (key, before) in &known.stretching {
            let now = new.stretching.get(key);
            if now.is_some_and(|now| now.pepper.as_bytes() != before.pepper.as_bytes()) {
                return Err(RemoteError::OtherKeys);
            }
        }
        *known = Arc::new(new);
        Ok(stream)
    }

    fn pool(&self) -> MutexGuard<'_, Pool> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn known(&self) -> Arc<Known> {
        Arc::clone(&self.known.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn ask_for_keys(stream: &mut UnixStream) -> Result<Known, RemoteError> {
    let mut ask = |request: Request<'_>| {
        let frame = request.frame().map_err(RemoteError::TooLarge)?;
        match converse(stream, &frame)? {
            Answer::Failure(Failure::Unavailable(text) | Failure::NotUnderstood(text)) => {
                Err(RemoteError::Refused(text))
            }
            answer => Ok(answer),
        }
    };
    let Answer::Keys(keys) = ask(Request::Keys)? else { return Err(RemoteError::Protocol) };
    let mut known = Known { keys, stretching: BTreeMap::new() };
    for key in known.keys.iter().filter(|key| key.purpose.stretches()) {
        let Answer::Stretching(stretching) = ask(Request::Stretching(*key))? else {
            return Err(RemoteError::Protocol);
        };
        known.stretching.insert(*key, stretching);
    }
    Ok(known)
}

/// Sends a frame and waits for the answer.
fn converse(stream: &mut UnixStream, frame: &[u8]) -> Result<Answer, RemoteError> {
    let failed = |error: std::io::Error| match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => RemoteError::Timeout,
        ErrorKind::InvalidData => RemoteError::Protocol,
        _ => RemoteError::Broken(error),
    };
    stream.write_all(frame).map_err(failed)?;
    let mut length = [0; 4];
    stream.read_exact(&mut length).map_err(failed)?;
    let content = read_content(stream, length).map_err(failed)?;
    Answer::read(&content).map_err(|_| RemoteError::Protocol)
}

/// The rest of a frame, of which the length was read.
pub(super) fn read_content(stream: &mut UnixStream, length: [u8; 4]) -> std::io::Result<Zeroizing<Vec<u8>>> {
    let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    if !(2..=MAX_FRAME).contains(&length) {
        return Err(ErrorKind::InvalidData.into());
    }
    let mut content = Zeroizing::new(vec![0; length]);
    stream.read_exact(&mut content)?;
    Ok(content)
}

fn unexpected() -> CustodyError {
    CustodyError::Unavailable(Box::new(RemoteError::Protocol))
}

impl KeyCustody for RemoteCustody {
    fn keys(&self) -> Vec<KeyId> {
        self.known().keys.clone()
    }

    fn refresh(&self) -> Result<(), CustodyError> {
        RemoteCustody::refresh(self).map_err(|error| CustodyError::Unavailable(Box::new(error)))
    }

    fn stretching(&self, key: KeyId) -> Result<Stretching, CustodyError> {
        let known = self.known();
        match known.stretching.get(&key) {
            Some(stretching) => Ok(stretching.clone()),
            None if known.keys.contains(&key) => Err(CustodyError::WrongPurpose(key)),
            None => Err(CustodyError::NoSuchKey(key)),
        }
    }

    fn hmac(&self, key: KeyId, inputs: &[&[u8]]) -> Result<Vec<[u8; 32]>, CustodyError> {
        self.hashes(key, None, inputs)
    }

    fn hmac_for(&self, key: KeyId, share: ShareTag, inputs: &[&[u8]]) -> Result<Vec<[u8; 32]>, CustodyError> {
        self.hashes(key, Some(share), inputs)
    }

    fn seal(&self, purpose: Purpose, aad: &[u8], plaintext: &[u8]) -> Result<Vec<u8>, CustodyError> {
        match self.ask(&Request::Seal { purpose, aad, plaintext })? {
            Answer::Bytes(sealed) => Ok(sealed.to_vec()),
            _ => Err(unexpected()),
        }
    }

    fn open(&self, purpose: Purpose, aad: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, CustodyError> {
        match self.ask(&Request::Open { purpose, aad, sealed })? {
            Answer::Bytes(opened) => Ok(opened),
            _ => Err(unexpected()),
        }
    }

    fn audit_count(&self, key: KeyId) -> Result<Option<u64>, CustodyError> {
        match self.ask(&Request::Audit(key))? {
            Answer::Audit(count) => Ok(count),
            _ => Err(unexpected()),
        }
    }

    fn usage(&self) -> Result<Vec<KeyUsage>, CustodyError> {
        match self.ask(&Request::Usage)? {
            Answer::Usage(usage) => Ok(usage),
            _ => Err(unexpected()),
        }
    }
}

impl RemoteCustody {
    fn hashes(
        &self,
        key: KeyId,
        share: Option<ShareTag>,
        inputs: &[&[u8]],
    ) -> Result<Vec<[u8; 32]>, CustodyError> {
        match self.ask(&Request::Hmac { key, share, inputs: inputs.to_vec() })? {
            Answer::Hashes(hashes) if hashes.len() == inputs.len() => Ok(hashes),
            _ => Err(unexpected()),
        }
    }
}

impl std::fmt::Debug for RemoteCustody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RemoteCustody").field("path", &self.options.path).finish_non_exhaustive()
    }
}
