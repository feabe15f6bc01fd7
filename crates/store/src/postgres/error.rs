//! What went wrong, without what it went wrong with: PostgreSQL's messages and details can hold keys and rows, so only
//! the error's class is kept.

use std::time::Duration;

use tokio_postgres::error::SqlState;

use crate::StoreError;

/// Why the database did not do it. Holds no text of the server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DatabaseError {
    /// All connections of the pool were lent.
    #[error(
        "no connection to the database became free within {} s: all {size} are in use; raise the pool's size, or find \
         out what is slow",
        waited.as_secs()
    )]
    PoolExhausted {
        /// How long a verb waits.
        waited: Duration,
        /// How many connections the pool has.
        size: usize,
    },
    /// No connection could be made.
    #[error("no connection to the database: {reason}")]
    Unreachable {
        /// The kind of failure.
        reason: &'static str,
    },
    /// The connection ended in the middle of the work.
    #[error("the connection to the database was lost")]
    Lost,
    /// The connection ended while it was committing: nobody can tell whether it did.
    #[error("the connection to the database was lost while committing: it may be written or not")]
    Unknown,
    /// PostgreSQL refused.
    #[error("the database refused: {} (SQLSTATE {code})", meaning(code))]
    Refused {
        /// The SQLSTATE, five letters and digits.
        code: String,
    },
    /// PostgreSQL answered something that this program does not understand.
    #[error("the database's answer is not understood")]
    Answer,
    /// What was read changed before it was locked, time and again.
    #[error("the rows kept changing while they were locked")]
    Contended,
    /// Internal: what was read has changed; the whole verb is to be done again.
    #[error("what was read has changed")]
    Changed,
}

impl DatabaseError {
    /// The SQLSTATE, if the database gave one.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Refused { code } => Some(code),
            _ => None,
        }
    }

    /// Nothing was written, and the same again can succeed at once.
    pub(super) fn is_transient(&self) -> bool {
        match self {
            Self::Lost | Self::Changed => true,
            // serialization_failure, deadlock_detected
            Self::Refused { code } => code == "40001" || code == "40P01",
            _ => false,
        }
    }
}

impl From<DatabaseError> for StoreError {
    fn from(error: DatabaseError) -> Self {
        match error {
            DatabaseError::Answer => Self::Corrupt("a value has the wrong form"),
            DatabaseError::Refused { code } if code == "XX001" || code == "XX002" => {
                Self::Corrupt("the database's files are damaged")
            }
            DatabaseError::Changed => Self::Unavailable(Box::new(DatabaseError::Contended)),
            error => Self::Unavailable(Box::new(error)),
        }
    }
}

impl From<tokio_postgres::Error> for DatabaseError {
    fn from(error: tokio_postgres::Error) -> Self {
        failure(&error)
    }
}

/// The class of an error.
pub(super) fn failure(error: &tokio_postgres::Error) -> DatabaseError {
    if let Some(code) = error.code() {
        return if ends_connection(code) {
            DatabaseError::Lost
        } else {
            DatabaseError::Refused { code: code.code().to_owned() }
        };
    }
    let source = std::error::Error::source(error);
    if error.is_closed() || source.is_some_and(|source| source.is::<std::io::Error>()) {
        return DatabaseError::Lost;
    }
    DatabaseError::Answer
}

/// The class of an error while connecting.
pub(super) fn unreachable(error: &tokio_postgres::Error) -> DatabaseError {
    if let Some(code) = error.code() {
        return DatabaseError::Refused { code: code.code().to_owned() };
    }
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        if let Some(rustls::Error::InvalidCertificate(_)) = error.downcast_ref() {
            return DatabaseError::Unreachable {
                reason: "its certificate is not trusted, not for this name, or has expired",
            };
        }
        if let Some(error) = error.downcast_ref::<std::io::Error>() {
            use std::io::ErrorKind as Kind;
            let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
            let reason = match (inner, error.kind()) {
                (Some(rustls::Error::InvalidCertificate(_)), _) => {
                    "its certificate is not trusted, not for this name, or has expired"
                }
                (Some(_), _) => "TLS with it failed",
                (None, Kind::ConnectionRefused) => {
                    "it refuses connections: is it down, or is the port wrong?"
                }
                (None, Kind::NotFound) => "its socket is not there: is it down, or is the path wrong?",
                (None, Kind::PermissionDenied) => "its socket may not be used by this user",
                (None, Kind::TimedOut) => "it did not answer in time",
                (None, Kind::InvalidInput) => "its name is not one that a certificate can be for",
                _ => "the network failed, or its name is not known",
            };
            return DatabaseError::Unreachable { reason };
        }
        source = error.source();
    }
    DatabaseError::Unreachable { reason: "it does not speak TLS, or no PostgreSQL, or wants a password" }
}

/// PostgreSQL said why, and hung up.
fn ends_connection(code: &SqlState) -> bool {
    // admin_shutdown, crash_shutdown, and both timeouts of an idle session
    matches!(code.code(), "57P01" | "57P02" | "57P05" | "25P03")
}

fn meaning(code: &str) -> &'static str {
    match code {
        "53100" => "its disk is full",
        "53200" => "it is out of memory",
        "53300" => "it has no connection left: lower the pools' sizes, or raise max_connections",
        "53400" | "54000" => "a limit of its configuration is reached",
        "55P03" => "a lock was not to be had in time",
        "57014" => "a statement took too long",
        "57P03" => "it is starting or stopping",
        "25006" => "it is read-only: is this a standby?",
        "28000" | "28P01" => "the role or its password is wrong",
        "3D000" => "there is no such database",
        "3F000" => "there is no such schema",
        "42501" => "the role lacks a privilege",
        "42P01" | "42703" => {
            "a table or column is missing: is the schema another program's, or half restored?"
        }
        "58030" | "58P01" => "it could not read or write a file",
        _ => match code.get(..2) {
            Some("08") => "the connection failed",
            Some("22" | "23") => "a value did not fit",
            Some("40") => "it was rolled back",
            Some("53") => "it has not enough of something",
            Some("57") => "an operator intervened",
            Some("58" | "XX") => "it has an internal error",
            _ => "it did not want to",
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_told_by_their_class() {
        let full = DatabaseError::Refused { code: "53100".into() };
        assert_eq!(full.to_string(), "the database refused: its disk is full (SQLSTATE 53100)");
        assert!(!full.is_transient());
        assert!(DatabaseError::Refused { code: "40P01".into() }.is_transient());
        let waited = Duration::from_secs(5);
        let exhausted = DatabaseError::PoolExhausted { waited, size: 3 }.to_string();
        assert!(exhausted.contains("within 5 s: all 3 are in use"), "{exhausted}");
        assert!(matches!(StoreError::from(DatabaseError::Answer), StoreError::Corrupt(_)));
    }
}
