//! One's own listings: to be found by an identifier that one has verified.

use std::fmt;

use http::Method;
use serde::{Deserialize, Serialize};

use super::Directory;
use super::http::{Call, Content, SMALL};
use crate::ClientError;
use crate::retry::Repeat;

/// That the caller's account may be found by an identifier. Its `Debug` tells neither that nor the name.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listing {
    /// What names it.
    pub id: String,
    /// The number or e-mail address.
    pub identifier: String,
    /// The name that others find, where it is not the account's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// Which of the identifier's mappings it is.
    #[serde(default, skip_serializing_if = "is_first")]
    pub index: u8,
    /// When the identifier was verified last.
    pub verified_at: i64,
    /// When the listing ends unless it is verified again.
    pub expires_at: i64,
}

impl fmt::Debug for Listing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Listing(redacted)")
    }
}

/// That the account owns an identifier: good for one listing. Its `Debug` tells nothing.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verified {
    /// What [`Directory::enrol`] takes.
    pub token: String,
    /// Until when.
    pub expires_at: i64,
}

impl fmt::Debug for Verified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Verified(redacted)")
    }
}

#[derive(Serialize)]
struct Start<'a> {
    identifier: &'a str,
}

#[derive(Serialize)]
struct Confirm<'a> {
    identifier: &'a str,
    code: &'a str,
}

#[derive(Serialize)]
struct Enrol<'a> {
    token: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    username: Option<&'a str>,
    #[serde(skip_serializing_if = "is_first")]
    index: u8,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "what serde calls it with")]
fn is_first(index: &u8) -> bool {
    *index == 0
}

#[derive(Deserialize)]
struct Listings {
    listings: Vec<Listing>,
}

impl Directory {
    /// Has a code sent to a number in international form, or an e-mail address. Never repeated by itself: each call may send
    /// a code.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn start_verification(&mut self, identifier: &str) -> Result<(), ClientError> {
        let body = serde_json::to_vec(&Start { identifier }).map_err(super::http::unreadable)?;
        let deadline = self.http.settings().deadline;
        let (method, path) = (Method::POST, "/v1/directory/verifications");
        let call = Call {
            method,
            path,
            body: Some(body),
            content: Content::Json,
            limit: SMALL,
            repeat: Repeat::Never,
            deadline,
        };
        self.http.call(&call).await.map(drop)
    }

    /// Exchanges a code for a token that allows one listing.
    ///
    /// # Errors
    /// [`ClientError`]. After [`Reason::InvalidCode`](crate::Reason::InvalidCode) another guess may be made.
    pub async fn confirm(&mut self, identifier: &str, code: &str) -> Result<Verified, ClientError> {
        let message = Confirm { identifier, code };
        let path = "/v1/directory/verifications/confirm";
        self.http.json(Method::POST, path, Some(&message), Repeat::Unconnected).await
    }

    /// Lets the account be found by what the token is of, under `username` where the server takes one.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn enrol(&mut self, token: &str, username: Option<&str>) -> Result<Listing, ClientError> {
        self.enrol_at(token, username, 0).await
    }

    /// As [`enrol`](Self::enrol), as the identifier's mapping `index`: an identifier may have several, and whoever looks into
    /// buckets finds that of index 0.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn enrol_at(
        &mut self,
        token: &str,
        username: Option<&str>,
        index: u8,
    ) -> Result<Listing, ClientError> {
        let message = Enrol { token, username, index };
        self.http.json(Method::POST, "/v1/directory/listings", Some(&message), Repeat::Unconnected).await
    }

    /// The account's own listings.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn listings(&mut self) -> Result<Vec<Listing>, ClientError> {
        let path = "/v1/directory/listings";
        let answer = self.http.json(Method::GET, path, None::<&()>, Repeat::Idempotent).await;
        answer.map(|Listings { listings }| listings)
    }

    /// Withdraws one listing.
    ///
    /// # Errors
    /// [`ClientError`], of an `id` that is none as well.
    pub async fn withdraw(&mut self, id: &str) -> Result<(), ClientError> {
        let is_id = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if id.is_empty() || !id.chars().all(is_id) {
            return Err(ClientError::Config("a listing's id has letters, digits, `-` and `_`"));
        }
        self.delete(&format!("/v1/directory/listings/{id}")).await
    }

    /// Withdraws all listings of the account.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn withdraw_all(&mut self) -> Result<(), ClientError> {
        self.delete("/v1/directory/listings").await
    }

    async fn delete(&mut self, path: &str) -> Result<(), ClientError> {
        let deadline = self.http.settings().deadline;
        let (method, repeat) = (Method::DELETE, Repeat::Idempotent);
        self.http
            .call(&Call { method, path, body: None, content: Content::Json, limit: SMALL, repeat, deadline })
            .await
            .map(drop)
    }
}
