//! Custody in a process of its own, behind a Unix socket.
//!
//! [`Server`] answers for any [`KeyCustody`](crate::KeyCustody), as a [budget](crate::budget) over an HSM;
//! [`RemoteCustody`] asks it. The process that serves, under a user of its own, alone has PIN and budget. So who owns
//! the process that asks can have as much hashed, sealed and opened as the budget allows while they are there, and can
//! take nothing along but the stretch peppers. The kernel tells each side whose process the other is (`SO_PEERCRED`,
//! unix(7)); the socket's mode is 0660.
//!
//! # Protocol
//!
//! Either side sends frames: a length as u32, then that many bytes, 2 to [`MAX_FRAME`]. All numbers are big-endian.
//! A frame begins with a version byte, 1, and a kind. The asking side sends one frame and waits for one.
//!
//! | kind | asks for | content | answer |
//! |---|---|---|---|
//! | 1 | the keys | none | 129: keys |
//! | 2 | how to stretch | key | 130: pepper of 32 bytes, canonicalisation u32, suite's name as bytes |
//! | 3 | hashes | key, share, list of inputs as bytes | 131: list of 32 bytes |
//! | 4 | sealing | purpose, context as bytes, message as bytes | 132: bytes |
//! | 5 | opening | purpose, context as bytes, sealed as bytes | 132: bytes |
//! | 6 | what is used of the budgets | none | 133: list of usages |
//! | 7 | the HSM's own count of a key | key | 134: 0, or 1 and a u64 |
//! | | any | | 135: a failure |
//!
//! A purpose is one byte: 1 pair, 2 number, 3 code, 4 account, 5 token, 6 seal. A key is a purpose and a u32. A share
//! is 0, or 1 and 16 bytes. Bytes are a u32 and so many bytes; a list is a u32 and so many elements. A usage is a key,
//! `allowed` u64, `used_today` u64, `per_day` u64, `per_second` u32, `over_second` u64, `over_day` u64, `over_share`
//! u64, and `unaccounted`: 0, or 1 and an i64. A failure is one byte and what belongs to it: 1 no such key (key),
//! 2 wrong purpose (key), 3 not ours, 4 unavailable (text as bytes), 5 over budget (key, wait in milliseconds u64),
//! 6 the frame was not understood (text as bytes); after the last one the connection is closed.

mod client;
mod server;
mod wire;

use std::path::PathBuf;

pub use client::{RemoteCustody, RemoteOptions};
pub use server::{Event, ServeOptions, Server, Stop};
#[cfg(feature = "fuzzing")]
pub use wire::fuzzing;

/// The most bytes of a frame, after its length: 4 MiB. The largest that is sent in service is an address book of a
/// thousand entries.
pub const MAX_FRAME: usize = 4 << 20;

/// What is wrong with a custody socket, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// Another process serves there.
    #[error("another custody process serves at {}: end it first, or name another socket", .0.display())]
    InUse(PathBuf),
    /// Something that is no socket is there.
    #[error("{} is there already and is no socket: name another place", .0.display())]
    NoSocket(PathBuf),
    /// The socket cannot be made or reached.
    #[error("cannot use the custody socket {}", .path.display())]
    Io {
        /// The socket's place.
        path: PathBuf,
        /// The operating system's reason.
        #[source]
        source: std::io::Error,
    },
    /// Another user's process serves than should.
    #[error("the custody socket {} is served by user id {uid}, which is not the one that was named", .path.display())]
    OtherUser {
        /// The socket's place.
        path: PathBuf,
        /// Who serves there.
        uid: u32,
    },
    /// The custody process closed the connection, or it broke.
    #[error(
        "the connection to the custody process broke: see that process's log; it may be full, stopped, or not let this user in"
    )]
    Broken(#[source] std::io::Error),
    /// There was no answer in time.
    #[error("the custody process did not answer in time")]
    Timeout,
    /// It answered what was not asked, or not in this protocol.
    #[error(
        "the custody process answers in another way than this program expects: use the same version of both"
    )]
    Protocol,
    /// It refused for a reason of its own, as that the HSM is gone.
    #[error("the custody process cannot do it: {0}")]
    Refused(String),
    /// What was asked is larger than a frame.
    #[error("this asks for {0} bytes at once, and the custody process takes {MAX_FRAME}")]
    TooLarge(usize),
    /// It has other keys than when this process began.
    #[error(
        "the custody process has other keys than before: put the right ones back, or start this process again"
    )]
    OtherKeys,
}

#[cfg(test)]
mod tests;
