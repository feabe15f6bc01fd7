//! The development outbox.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;

use super::{Adapter, Failure, Fate, Message};

/// Writes codes to a file and to standard error instead of sending them: for development, on loopback only.
#[derive(Debug)]
pub(super) struct Outbox {
    pub(super) file: PathBuf,
}

impl Outbox {
    fn open(&self) -> std::io::Result<File> {
        OpenOptions::new().append(true).create(true).mode(0o600).open(&self.file)
    }
}

fn failure(error: std::io::Error) -> Failure {
    Failure::new(Fate::Refused, "the development outbox cannot be written").by(error)
}

#[async_trait]
impl Adapter for Outbox {
    async fn send(&self, message: &Message<'_>, _within: Duration) -> Result<(), Failure> {
        let line = format!("{} {}\n", message.to.as_str(), message.code);
        // Whoever read standard error may be gone; the file counts.
        let _unread = write!(std::io::stderr(), "!!! DEVELOPMENT OUTBOX, NOT SENT !!! code for {line}");
        // One small write, so that lines of concurrent requests do not mix.
        self.open().and_then(|mut file| file.write_all(line.as_bytes())).map_err(failure)
    }

    async fn probe(&self, _within: Duration) -> Result<String, Failure> {
        self.open().map_err(failure)?;
        Ok("the development outbox can be written: codes reach nobody".into())
    }
}
