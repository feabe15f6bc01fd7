use std::fmt;

/// One input, and where its tag goes.
///
/// The tag is part of the input: its length enters the hash.
pub struct Job<'a> {
    /// P of RFC 9106: below 2^32 bytes, may be empty.
    pub password: &'a [u8],
    /// S of RFC 9106: 8 to 2^32 - 1 bytes.
    pub salt: &'a [u8],
    /// Takes the tag: 4 to 2^32 - 1 bytes. What it holds before does not matter.
    pub tag: &'a mut [u8],
}

/// A field of a [`Job`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// [`Job::password`].
    Password,
    /// [`Job::salt`].
    Salt,
    /// [`Job::tag`].
    Tag,
}

/// The jobs were not all done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HashError {
    /// A field has a length that Argon2 does not know. Nothing was computed.
    #[error("job {job}: {field} is {length} bytes long: it has to be {least} to 4294967295", least = field.least())]
    Length {
        /// Which job, from 0.
        job: usize,
        /// Which of its fields.
        field: Field,
        /// How long it is, in bytes.
        length: usize,
    },
    /// The caller no longer wanted it.
    #[error("cancelled after {done} jobs")]
    Cancelled {
        /// The first so many jobs have their tags; the tags of the others are as they were.
        done: usize,
    },
}

impl Job<'_> {
    /// Checks what RFC 9106, section 3.1, asks of lengths; the shortest salt is the reference implementation's.
    pub(crate) fn check(&self, job: usize) -> Result<(), HashError> {
        let lengths = [
            (Field::Password, self.password.len()),
            (Field::Salt, self.salt.len()),
            (Field::Tag, self.tag.len()),
        ];
        match lengths
            .into_iter()
            .find(|&(field, length)| length < field.least() || u32::try_from(length).is_err())
        {
            Some((field, length)) => Err(HashError::Length { job, field, length }),
            None => Ok(()),
        }
    }
}

impl Field {
    const fn least(self) -> usize {
        match self {
            Self::Password => 0,
            Self::Salt => 8,
            Self::Tag => 4,
        }
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Password => "the password",
            Self::Salt => "the salt",
            Self::Tag => "the tag",
        })
    }
}

impl fmt::Debug for Job<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Job(redacted)")
    }
}
