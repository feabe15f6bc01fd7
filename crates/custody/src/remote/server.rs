use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::net::sockopt::socket_peercred;
use zeroize::Zeroizing;

use super::wire::{Answer, Failure, Request};
use super::{MAX_FRAME, RemoteError};
use crate::{CustodyError, KeyCustody};

/// How long nothing is accepted after the system had no room for a connection.
const PAUSE: Duration = Duration::from_millis(50);

/// How often the key holder is asked which keys there are, however often others ask.
const REFRESH_PAUSE: Duration = Duration::from_secs(1);

/// Who is answered, and how many at once.
#[derive(Debug, Clone)]
pub struct ServeOptions {
    /// The user ids whose processes are answered. The default is this process's own alone.
    pub allowed: Vec<u32>,
    /// The most connections, each with a thread. At least twice as many as the asking side's: while it comes back,
    /// its old ones may still be there.
    pub connections: usize,
    /// How long to wait for the rest of a frame that has begun, and for an answer to be taken.
    pub timeout: Duration,
}

impl Default for ServeOptions {
    fn default() -> Self {
        Self {
            allowed: vec![rustix::process::getuid().as_raw()],
            connections: 32,
            timeout: Duration::from_secs(10),
        }
    }
}

/// What the serving process may want to log. Nothing of it comes from the other side's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// A process of a user who is not let in was turned away.
    TurnedAway {
        /// Its user id.
        uid: u32,
    },
    /// The key holder could not be asked which keys there are now; what was known before stands.
    NotRefreshed,
    /// A connection was closed because there are as many as are allowed.
    Full,
    /// A connection was closed because it did not keep to the protocol, or stopped in the middle.
    Broken,
    /// A connection could not be accepted.
    NotAccepted,
}

/// A custody socket that is served. Its file is removed when this is dropped.
pub struct Server {
    path: PathBuf,
    options: ServeOptions,
    shared: Arc<Shared>,
}

/// Ends a [`Server`] from another thread.
#[derive(Clone)]
pub struct Stop(Arc<Shared>);

struct Shared {
    listener: UnixListener,
    stopping: AtomicBool,
    connections: Mutex<BTreeMap<u64, UnixStream>>,
    /// When the key holder was last asked which keys there are.
    refreshed: Mutex<Option<Instant>>,
}

impl Shared {
    fn connections(&self) -> MutexGuard<'_, BTreeMap<u64, UnixStream>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Stop {
    /// Accepts nothing more; what is being answered is answered to its end.
    pub fn stop(&self) {
        self.0.stopping.store(true, Ordering::SeqCst);
        // Wakes what waits in accept(2).
        let _ = rustix::net::shutdown(&self.0.listener, rustix::net::Shutdown::Both);
        for connection in self.0.connections().values() {
            let _ = connection.shutdown(std::net::Shutdown::Read);
        }
    }
}

impl Server {
    /// Makes the socket at `path`, mode 0660. A socket that a process of before left there is replaced.
    ///
    /// # Errors
    /// [`RemoteError::InUse`], [`RemoteError::NoSocket`], or the operating system's refusal.
    pub fn bind(path: &Path, options: ServeOptions) -> Result<Self, RemoteError> {
        let io = |source| RemoteError::Io { path: path.into(), source };
        match std::fs::symlink_metadata(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(io(error)),
            Ok(there) if !there.file_type().is_socket() => return Err(RemoteError::NoSocket(path.into())),
            Ok(_) => match UnixStream::connect(path) {
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                    std::fs::remove_file(path).map_err(io)?;
                }
                Ok(_) => return Err(RemoteError::InUse(path.into())),
                Err(error) => return Err(io(error)),
            },
        }
        let listener = UnixListener::bind(path).map_err(io)?;
        // Whoever connects before this is looked at like everybody else: the mode is a second fence.
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660)).map_err(io)?;
        let shared = Shared {
            listener,
            stopping: AtomicBool::new(false),
            connections: Mutex::new(BTreeMap::new()),
            refreshed: Mutex::new(None),
        };
        Ok(Self { path: path.into(), options, shared: Arc::new(shared) })
    }

    /// What ends [`serve`](Self::serve).
    #[must_use]
    pub fn stopper(&self) -> Stop {
        Stop(Arc::clone(&self.shared))
    }

    /// Answers for `custody` until it is [stopped](Stop::stop), with a thread for each connection. `report` is called
    /// from any of them.
    pub fn serve(&self, custody: &dyn KeyCustody, report: &(dyn Fn(Event) + Sync)) {
        let shared = &*self.shared;
        std::thread::scope(|scope| {
            for number in 0.. {
                let accepted = shared.listener.accept();
                if shared.stopping.load(Ordering::SeqCst) {
                    return;
                }
                let Ok((stream, _)) = accepted else {
                    report(Event::NotAccepted);
                    std::thread::sleep(PAUSE);
                    continue;
                };
                if let Err(event) = self.admit(number, &stream) {
                    report(event);
                    continue;
                }
                let answering =
                    std::thread::Builder::new().name("custody".into()).spawn_scoped(scope, move || {
                        let _listed = Listed(shared, number);
                        if converse(shared, stream, custody, report) {
                            report(Event::Broken);
                        }
                    });
                if answering.is_err() {
                    shared.connections().remove(&number);
                    report(Event::NotAccepted);
                }
            }
        });
    }

    /// Whether a connection may stay; then [`Stop::stop`] knows of it.
    fn admit(&self, number: u64, stream: &UnixStream) -> Result<(), Event> {
        let peer = socket_peercred(stream).map_err(|_| Event::NotAccepted)?;
        let uid = peer.uid.as_raw();
        if !self.options.allowed.contains(&uid) {
            return Err(Event::TurnedAway { uid });
        }
        let timeout = Some(self.options.timeout);
        let set = stream.set_read_timeout(timeout).and_then(|()| stream.set_write_timeout(timeout));
        let copy = set.and_then(|()| stream.try_clone()).map_err(|_| Event::NotAccepted)?;
        let mut connections = self.shared.connections();
        if connections.len() >= self.options.connections {
            return Err(Event::Full);
        }
        connections.insert(number, copy);
        Ok(())
    }
}

/// A connection's entry, which goes with its thread, however that ends.
struct Listed<'a>(&'a Shared, u64);

impl Drop for Listed<'_> {
    fn drop(&mut self) {
        self.0.connections().remove(&self.1);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Answers until the other side ends in good order; whether it did not.
fn converse(
    shared: &Shared,
    mut stream: UnixStream,
    custody: &dyn KeyCustody,
    report: &dyn Fn(Event),
) -> bool {
    loop {
        // Whoever stops after the connection was listed shuts it down; whoever stopped before is seen here.
        if shared.stopping.load(Ordering::SeqCst) {
            return false;
        }
        let frame = match read_frame(&mut stream) {
            Ok(Some(frame)) => frame,
            Ok(None) => return false,
            Err(_) => return true,
        };
        let answer = match Request::read(&frame) {
            Ok(request) => answer(shared, custody, &request, report)
                .unwrap_or_else(|error| Answer::Failure(error.into())),
            Err(_) => {
                let told = Failure::NotUnderstood("the frame is not of version 1, or not whole".into());
                let _ = Answer::Failure(told).frame().map(|frame| stream.write_all(&frame));
                return true;
            }
        };
        let too_long = |length| {
            let told = format!("the answer has {length} bytes, and a frame takes {MAX_FRAME}");
            Answer::Failure(Failure::Unavailable(told)).frame()
        };
        let Ok(frame) = answer.frame().or_else(too_long) else { return true };
        if stream.write_all(&frame).is_err() {
            return true;
        }
    }
}

/// The next frame without its length, or nothing after the last.
fn read_frame(stream: &mut UnixStream) -> std::io::Result<Option<Zeroizing<Vec<u8>>>> {
    let mut length = [0; 4];
    let mut filled = 0;
    while filled < length.len() {
        match stream.read(length.get_mut(filled..).unwrap_or_default()) {
            Ok(0) if filled == 0 => return Ok(None),
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(more) => filled += more,
            // Between two frames the other side may take its time.
            Err(error) if error.kind() == ErrorKind::WouldBlock && filled == 0 => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    super::client::read_content(stream, length).map(Some)
}

fn answer(
    shared: &Shared,
    custody: &dyn KeyCustody,
    request: &Request<'_>,
    report: &dyn Fn(Event),
) -> Result<Answer, CustodyError> {
    Ok(match request {
        Request::Keys => {
            // Whoever asks wants to know of keys that were made meanwhile; but not so often that it wears the HSM out. What was
            // known is still good if that fails.
            let is_due = {
                let mut refreshed = shared.refreshed.lock().unwrap_or_else(PoisonError::into_inner);
                let is_due = refreshed.is_none_or(|at| at.elapsed() >= REFRESH_PAUSE);
                if is_due {
                    *refreshed = Some(Instant::now());
                }
                is_due
            };
            if is_due && custody.refresh().is_err() {
                report(Event::NotRefreshed);
            }
            Answer::Keys(custody.keys())
        }
        Request::Stretching(key) => Answer::Stretching(custody.stretching(*key)?),
        Request::Hmac { key, share: None, inputs } => Answer::Hashes(custody.hmac(*key, inputs)?),
        Request::Hmac { key, share: Some(share), inputs } => {
            Answer::Hashes(custody.hmac_for(*key, *share, inputs)?)
        }
        Request::Seal { purpose, aad, plaintext } => {
            Answer::Bytes(Zeroizing::new(custody.seal(*purpose, aad, plaintext)?))
        }
        Request::Open { purpose, aad, sealed } => Answer::Bytes(custody.open(*purpose, aad, sealed)?),
        Request::Usage => Answer::Usage(custody.usage()?),
        Request::Audit(key) => Answer::Audit(custody.audit_count(*key)?),
    })
}
