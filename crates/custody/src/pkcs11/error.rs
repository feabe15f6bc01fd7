use std::path::PathBuf;
use std::sync::Arc;

use cryptoki::error::{Error, RvError};

use crate::{KeyId, Purpose};

/// What is wrong with a token or its keys, and what to do about it. No variant carries a PIN or any part of a key.
#[derive(Debug, thiserror::Error)]
pub enum Pkcs11Error {
    /// The module cannot be loaded or started.
    #[error("cannot load the PKCS#11 module {}: name the shared library that came with the HSM", .module.display())]
    Module {
        /// The module's file.
        module: PathBuf,
        /// The loader's or the module's reason.
        #[source]
        source: Error,
    },
    /// No token has this label: the HSM is not reached, or it is another one.
    #[error("there is no token `{label}`: the module shows {}", shown(.found))]
    NoToken {
        /// The label that was looked for.
        label: String,
        /// The labels of the tokens that are there.
        found: Vec<String>,
    },
    /// More than one token has this label.
    #[error("more than one token is called `{0}`: give each a label of its own")]
    SeveralTokens(String),
    /// The token cannot do what is needed.
    #[error("the token `{label}` lacks the mechanism {mechanism}")]
    NoMechanism {
        /// The token's label.
        label: String,
        /// The mechanism's name in PKCS#11.
        mechanism: &'static str,
    },
    /// The PIN is wrong. It is not tried again by this process, for repeated tries lock tokens.
    #[error(
        "the token `{0}` refuses the PIN: put the right one in place and start again; it was tried once and will not be tried again"
    )]
    WrongPin(String),
    /// The PIN is locked.
    #[error(
        "the user PIN of the token `{0}` is locked after wrong tries: its security officer has to set it anew"
    )]
    PinLocked(String),
    /// One more wrong try would lock the PIN, so it was not tried.
    #[error(
        "the user PIN of the token `{0}` has one try left, which was not used: log in once by hand with the right PIN, which gives all tries back"
    )]
    PinFinalTry(String),
    /// The token has no user PIN yet.
    #[error("the token `{0}` has no user PIN yet: its security officer has to set one")]
    PinNotSet(String),
    /// The PIN has expired or has to be changed first.
    #[error("the user PIN of the token `{0}` has to be changed before it can be used")]
    PinExpired(String),
    /// A record tells of a key that is not in the token.
    #[error(
        "the token's record tells of the {0}, and there is no such key: bring it back from the HSM's back-up. If it was destroyed on purpose, destroy the record too"
    )]
    KeyMissing(KeyId),
    /// There is no key for a purpose.
    #[error("the token has no {} key: `acquaint keys init` makes the keys", .0.name())]
    NoKeys(Purpose),
    /// The keys are there already.
    #[error("the token `{0}` has a key of every purpose already: they are never made anew")]
    Exists(String),
    /// Two objects have the same label.
    #[error(
        "the token has two objects for the {0}: see which one is right, and destroy the other with the HSM's own tools"
    )]
    Twice(KeyId),
    /// The key may leave the token, so it protects nothing.
    #[error("the {0} is not sensitive or may be extracted, so it was not made by this program: destroy it")]
    Exposed(KeyId),
    /// The record of a key cannot be read.
    #[error("the record of the {key} cannot be read: {reason}")]
    Record {
        /// Whose record.
        key: KeyId,
        /// What is wrong, without any of it.
        reason: &'static str,
    },
    /// There is no such key in the token.
    #[error("the token has no {0}")]
    NoSuchKey(KeyId),
    /// It is the only key of its purpose.
    #[error("the {0} is the only one of its purpose: without it nothing works")]
    Only(KeyId),
    /// A key version was asked for whose number is past the last.
    #[error("there is no version after that of the {0}")]
    NoMoreVersions(KeyId),
    /// The operating system has no randomness.
    #[error("the operating system gives no randomness")]
    NoRandomness(#[source] getrandom::Error),
    /// The token or its module failed at something.
    #[error("the token `{label}` failed")]
    Failed {
        /// The token's label.
        label: String,
        /// The module's own reason, a return code and the function that gave it.
        #[source]
        source: Error,
    },
    /// The token went away or stopped working, and could not be brought back.
    #[error(
        "the token `{label}` does not work any more, and neither a new log-in nor a restart of its module helped"
    )]
    Gone {
        /// The token's label.
        label: String,
        /// What failed last.
        #[source]
        last: Arc<Pkcs11Error>,
    },
    /// As [`Gone`](Self::Gone), a moment ago: it is left alone for a while.
    #[error("the token `{label}` stopped working a moment ago and is not tried again yet")]
    Resting {
        /// The token's label.
        label: String,
        /// What failed then.
        #[source]
        last: Arc<Pkcs11Error>,
    },
}

fn shown(found: &[String]) -> String {
    if found.is_empty() { "none".into() } else { found.join(", ") }
}

/// How a log-in was refused for good. Kept, so that the same PIN is never tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    WrongPin,
    Locked,
    FinalTry,
    NotSet,
    Expired,
}

impl Refusal {
    pub(super) fn told(self, label: &str) -> Pkcs11Error {
        let label = label.to_owned();
        match self {
            Self::WrongPin => Pkcs11Error::WrongPin(label),
            Self::Locked => Pkcs11Error::PinLocked(label),
            Self::FinalTry => Pkcs11Error::PinFinalTry(label),
            Self::NotSet => Pkcs11Error::PinNotSet(label),
            Self::Expired => Pkcs11Error::PinExpired(label),
        }
    }

    /// What a failed `C_Login` says of the PIN. `None` only for what is known to say nothing of it: anything else
    /// counts as a wrong PIN, since to try again could lock the token.
    pub(super) fn of_login(error: &Error) -> Option<Self> {
        let Error::Pkcs11(code, _) = error else { return Some(Self::WrongPin) };
        match code {
            RvError::PinLocked => Some(Self::Locked),
            RvError::PinExpired => Some(Self::Expired),
            RvError::UserPinNotInitialized => Some(Self::NotSet),
            RvError::SessionHandleInvalid
            | RvError::SessionClosed
            | RvError::TokenNotPresent
            | RvError::TokenNotRecognized
            | RvError::DeviceRemoved
            | RvError::DeviceError
            | RvError::DeviceMemory
            | RvError::HostMemory
            | RvError::SlotIdInvalid
            | RvError::CryptokiNotInitialized => None,
            _ => Some(Self::WrongPin),
        }
    }
}

/// Whether a new session, a new log-in or a restart of the module can mend this failure of an operation.
pub(super) fn can_be_mended(error: &Error) -> bool {
    let Error::Pkcs11(code, _) = error else { return false };
    matches!(
        code,
        RvError::SessionHandleInvalid
            | RvError::SessionClosed
            | RvError::UserNotLoggedIn
            | RvError::ObjectHandleInvalid
            | RvError::KeyHandleInvalid
            | RvError::TokenNotPresent
            | RvError::TokenNotRecognized
            | RvError::DeviceRemoved
            | RvError::DeviceError
            | RvError::SlotIdInvalid
            | RvError::CryptokiNotInitialized
            | RvError::GeneralError
            | RvError::FunctionFailed
            | RvError::OperationActive
            | RvError::OperationNotInitialized
    )
}

#[cfg(test)]
mod tests {
    use cryptoki::context::Function;

    use super::*;

    #[test]
    fn a_pin_is_given_up_unless_the_failure_was_surely_another() {
        let login = |code| Refusal::of_login(&Error::Pkcs11(code, Function::Login));
        assert_eq!(login(RvError::PinIncorrect), Some(Refusal::WrongPin));
        assert_eq!(login(RvError::PinLocked), Some(Refusal::Locked));
        assert_eq!(login(RvError::PinExpired), Some(Refusal::Expired));
        assert_eq!(login(RvError::UserPinNotInitialized), Some(Refusal::NotSet));
        // Some modules say no more than this of a wrong PIN.
        assert_eq!(login(RvError::FunctionFailed), Some(Refusal::WrongPin));
        assert_eq!(login(RvError::GeneralError), Some(Refusal::WrongPin));
        assert_eq!(login(RvError::VendorDefined(0x8000_0001)), Some(Refusal::WrongPin));
        assert_eq!(login(RvError::DeviceRemoved), None);
        assert_eq!(login(RvError::SessionHandleInvalid), None);
        for refusal in
            [Refusal::WrongPin, Refusal::Locked, Refusal::FinalTry, Refusal::NotSet, Refusal::Expired]
        {
            assert!(refusal.told("acquaint").to_string().contains("token `acquaint`"), "{refusal:?}");
        }
    }

    #[test]
    fn only_what_can_change_is_tried_again() {
        let mended = |code| can_be_mended(&Error::Pkcs11(code, Function::Sign));
        assert!(
            mended(RvError::DeviceRemoved)
                && mended(RvError::UserNotLoggedIn)
                && mended(RvError::TokenNotPresent)
        );
        assert!(mended(RvError::SessionHandleInvalid) && mended(RvError::ObjectHandleInvalid));
        assert!(
            !mended(RvError::DataLenRange)
                && !mended(RvError::KeyFunctionNotPermitted)
                && !mended(RvError::PinIncorrect)
        );
    }
}
