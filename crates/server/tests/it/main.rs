//! The whole application over HTTP, with a clock set by hand.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests: a failure is a panic")]
#![expect(clippy::duplicate_mod, reason = "some tests run on each store")]

mod bad_input;
mod clock;
mod delivery;
mod deploy;
mod directory_attacks;
mod directory_servers;
mod emails;
mod enumeration;
mod hardening;
mod hsm;
mod http2;
mod limits;
mod privacy;
mod private_batches;
mod private_servers;
mod raw;
mod rest;
mod several;
mod telemetry;
mod tls;

/// What must be so whatever the store is, on the embedded one.
#[path = "."]
mod sqlite {
    use acquaint_testkit::App;

    #[path = "credentials.rs"]
    mod credentials;
    #[path = "directory.rs"]
    mod directory;
    #[path = "directory_epochs.rs"]
    mod directory_epochs;
    #[path = "directory_mappings.rs"]
    mod directory_mappings;
    #[path = "import.rs"]
    mod import;
    #[path = "lookups.rs"]
    mod lookups;
    #[path = "matching.rs"]
    mod matching;
    #[path = "matrix/mod.rs"]
    mod matrix;
    #[path = "network.rs"]
    mod network;
    #[path = "notifications.rs"]
    mod notifications;
    #[path = "private_lookup.rs"]
    mod private_lookup;
    #[path = "rocketchat.rs"]
    mod rocketchat;
    #[path = "verification.rs"]
    mod verification;
}

/// The same on PostgreSQL.
#[path = "."]
mod postgres {
    use acquaint_testkit::PostgresApp as App;

    #[path = "credentials.rs"]
    mod credentials;
    #[path = "directory.rs"]
    mod directory;
    #[path = "directory_epochs.rs"]
    mod directory_epochs;
    #[path = "directory_mappings.rs"]
    mod directory_mappings;
    #[path = "import.rs"]
    mod import;
    #[path = "lookups.rs"]
    mod lookups;
    #[path = "matching.rs"]
    mod matching;
    #[path = "matrix/mod.rs"]
    mod matrix;
    #[path = "network.rs"]
    mod network;
    #[path = "notifications.rs"]
    mod notifications;
    #[path = "private_lookup.rs"]
    mod private_lookup;
    #[path = "rocketchat.rs"]
    mod rocketchat;
    #[path = "verification.rs"]
    mod verification;
}

use acquaint_client::ClientError;

/// The contract's reason of a refused call.
fn reason<T: std::fmt::Debug>(outcome: Result<T, ClientError>) -> String {
    match outcome {
        Err(ClientError::Refused { reason, .. }) => reason.to_string(),
        other => panic!("not refused with a reason: {other:?}"),
    }
}
