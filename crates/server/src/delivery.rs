//! Delivery adapters: how codes reach people.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use acquaint_protocol::identifier::Identifier;
use acquaint_service::{Code, CodeSender, DeliveryError};
use async_trait::async_trait;

/// Writes codes to a file and to standard error instead of sending them: for development, on loopback only.
#[derive(Debug)]
pub(crate) struct Outbox {
    pub(crate) file: PathBuf,
}

#[async_trait]
impl CodeSender for Outbox {
    async fn send(&self, to: &Identifier, code: &Code) -> Result<(), DeliveryError> {
        let line = format!("{} {}\n", to.as_str(), code.digits());
        let told = write!(std::io::stderr(), "!!! DEVELOPMENT OUTBOX, NOT SENT !!! code for {line}");
        let file = OpenOptions::new().append(true).create(true).mode(0o600).open(&self.file);
        // One small write, so that lines of concurrent requests do not mix.
        let written = told.and(file).and_then(|mut file| file.write_all(line.as_bytes()));
        written.map_err(|error| DeliveryError {
            reason: "the development outbox cannot be written",
            may_arrive: false,
            source: Some(Box::new(error)),
        })
    }
}
