//! What a service answered.

use reqwest::{Response, StatusCode};
use serde::de::DeserializeOwned;

use super::MAX_ANSWER;

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    /// Its status.
    pub(crate) status: StatusCode,
    /// Its body, as far as there was one.
    pub(crate) body: Body,
}

/// The body of an answer; never printed, because services repeat what they were asked.
pub(crate) enum Body {
    /// All of it.
    Whole(Vec<u8>),
    /// Larger than 64 KiB.
    TooLarge,
    /// Its end did not come in time.
    Slow,
    /// The connection broke first.
    CutOff,
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.fault())
    }
}

impl Answer {
    pub(super) async fn read(mut response: Response) -> Self {
        let status = response.status();
        let mut bytes = Vec::new();
        let body = loop {
            match response.chunk().await {
                Ok(Some(chunk)) if bytes.len() + chunk.len() > MAX_ANSWER => break Body::TooLarge,
                Ok(Some(chunk)) => bytes.extend_from_slice(&chunk),
                Ok(None) => break Body::Whole(bytes),
                Err(error) if error.is_timeout() => break Body::Slow,
                Err(_) => break Body::CutOff,
            }
        };
        Self { status, body }
    }

    /// The body as JSON of a documented form, if it is that.
    pub(crate) fn json<T: DeserializeOwned>(&self) -> Option<T> {
        match &self.body {
            Body::Whole(bytes) => serde_json::from_slice(bytes).ok(),
            Body::TooLarge | Body::Slow | Body::CutOff => None,
        }
    }
}

impl Body {
    /// Whether it is HTML or XML, which none of these services answers.
    pub(crate) fn is_page(&self) -> bool {
        matches!(self, Self::Whole(bytes) if bytes.trim_ascii_start().starts_with(b"<"))
    }

    /// What is wrong with a body that is not of the documented form.
    pub(crate) fn fault(&self) -> &'static str {
        match self {
            Self::Whole(_) if self.is_page() => {
                "its answer is a web page: is the URL right, or does something in between answer?"
            }
            Self::Whole(_) => "its answer is not of the documented form: is the URL right?",
            Self::TooLarge => "its answer is larger than 64 KiB: is the URL right?",
            Self::Slow => "its answer did not end in time",
            Self::CutOff => "its answer broke off",
        }
    }
}
