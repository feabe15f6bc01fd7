//! A PIN or a passphrase: from a file or the environment, never from the command line, and never printed.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// The most bytes that a secret may have. PINs of HSMs have some dozens at most.
pub const MAX_BYTES: usize = 1024;

/// A PIN or a passphrase. Wiped when dropped; cannot be printed.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Secret(String);

/// Why there is no secret. No variant carries any of it.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The file cannot be read.
    #[error("cannot read the secret in {}", .path.display())]
    Io {
        /// Where the file is.
        path: PathBuf,
        /// The file system's reason.
        #[source]
        source: std::io::Error,
    },
    /// Others than the owner may read or write the file.
    #[error("{} has mode {mode:04o}, so others can read the secret in it: run `chmod 600 {}`", .path.display(), .path.display())]
    Permissions {
        /// Where the file is.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The environment has no such variable.
    #[error("the environment variable {0} is not set, or is not UTF-8: set it to the secret")]
    NoVariable(String),
    /// It is empty, longer than [`MAX_BYTES`], has a line break within, or is no text.
    #[error("the secret in {0} is not one line of UTF-8, of 1 to {MAX_BYTES} bytes")]
    NotOneLine(String),
}

impl Secret {
    /// Takes a secret that is at hand already.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// Reads the secret from a file that nobody but its owner may read: one line, with or without its end.
    ///
    /// # Errors
    /// [`SecretError`] says which file and what is wrong with it.
    pub fn from_file(path: &Path) -> Result<Self, SecretError> {
        let io = |source| SecretError::Io { path: path.into(), source };
        let file = File::open(path).map_err(io)?;
        let mode = file.metadata().map_err(io)?.permissions().mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(SecretError::Permissions { path: path.into(), mode });
        }
        let place = || path.display().to_string();
        // Room for all of it, so that no half of it is left where a growing buffer was.
        let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_BYTES + 3));
        file.take(MAX_BYTES as u64 + 3).read_to_end(&mut bytes).map_err(io)?;
        let text = std::str::from_utf8(&bytes).map_err(|_| SecretError::NotOneLine(place()))?;
        Self::checked(text, place)
    }

    /// Reads the secret from an environment variable. Whoever may read this process's `/proc/PID/environ` (its own
    /// user and root) can read it there; a file is better.
    ///
    /// # Errors
    /// [`SecretError::NoVariable`] or [`SecretError::NotOneLine`].
    pub fn from_env(name: &str) -> Result<Self, SecretError> {
        let text = std::env::var(name).map_err(|_| SecretError::NoVariable(name.into()))?;
        Self::checked(&Zeroizing::new(text), || name.into())
    }

    fn checked(text: &str, place: impl Fn() -> String) -> Result<Self, SecretError> {
        let line = text.strip_suffix('\n').unwrap_or(text);
        let line = line.strip_suffix('\r').unwrap_or(line);
        if line.is_empty() || line.len() > MAX_BYTES || line.contains(['\n', '\r', '\0']) {
            return Err(SecretError::NotOneLine(place()));
        }
        Ok(Self(line.to_owned()))
    }

    /// The secret itself, for whoever has to hand it on.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_one_line_of_a_private_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pin");
        let put = |bytes: &[u8], mode| {
            std::fs::write(&path, bytes).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        assert!(matches!(Secret::from_file(&path), Err(SecretError::Io { .. })));
        for good in ["hunter2!x", "hunter2!x\n", "hunter2!x\r\n"] {
            put(good.as_bytes(), 0o600);
            assert_eq!(Secret::from_file(&path).unwrap().expose(), "hunter2!x");
        }
        put(" kept as it is ".as_bytes(), 0o400);
        let kept = Secret::from_file(&path).unwrap();
        assert_eq!(kept.expose(), " kept as it is ");
        assert_eq!(format!("{kept:?}"), "Secret(..)");
        let long = vec![b'1'; MAX_BYTES + 1];
        std::fs::remove_file(&path).unwrap();
        for bad in
            [&b""[..], b"\n", b"hunter2!x\ny\n", b"hunter2!x\n\n", b"hunter\xff2!x", b"hunter2!x\0", &long]
        {
            put(bad, 0o600);
            let error = Secret::from_file(&path).unwrap_err();
            assert!(matches!(error, SecretError::NotOneLine(_)));
            assert!(!format!("{error:?} {error}").contains("hunter"));
        }
        for mode in [0o640, 0o604, 0o620] {
            put(b"hunter2!x", mode);
            let error = Secret::from_file(&path).unwrap_err();
            assert!(matches!(error, SecretError::Permissions { mode: found, .. } if found == mode));
            assert!(error.to_string().contains("chmod 600"), "{error}");
        }
    }

    #[test]
    fn reads_a_variable_of_the_environment() {
        // Set by cargo for every test; a test cannot set one without unsafe code.
        assert_eq!(Secret::from_env("CARGO_PKG_NAME").unwrap().expose(), "acquaint-custody");
        assert!(matches!(Secret::from_env("ACQUAINT_NOT_SET"), Err(SecretError::NoVariable(_))));
    }
}
