//! The faces of the main port, and what they share: who calls, from where, and failures in the form of each face.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use acquaint_service::{Caller, CredentialsError, Discovery, LookupError, RateLimited, Seeker};
use axum::extract::Request;
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use connectrpc::ErrorCode;
use http::request::Parts;
use http::{HeaderName, StatusCode, header};
use zeroize::Zeroizing;

use super::body::BodyLimits;
use super::connect::refusal;
use super::rest::problem::{Problem, Refusal};
use super::{matrix, rocketchat, xrpc};
use crate::session::{Presented, SessionError, Sessions, Through};

/// How callers speak to the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Face {
    /// `/v1/`: JSON, with problems (RFC 9457).
    Rest,
    /// `/xrpc/`: JSON, with the errors of atproto's HTTP API.
    Xrpc,
    /// Rocket.Chat's lookup.
    Rocketchat,
    /// `/_matrix/identity/`.
    Matrix,
    /// The RPC, and everything else.
    Connect,
}

impl Face {
    /// Whose path it is.
    pub(super) fn of(path: &str) -> Self {
        match path {
            path if path.starts_with("/v1/") => Self::Rest,
            path if path.starts_with("/xrpc/") => Self::Xrpc,
            path if path == rocketchat::PATH => Self::Rocketchat,
            path if path.starts_with(matrix::PREFIX) => Self::Matrix,
            _ => Self::Connect,
        }
    }

    /// A failure that is about no field, in this face's form.
    pub(super) fn failure(self, code: ErrorCode, status: StatusCode, message: &'static str) -> Response {
        match self {
            Self::Rest => Problem::failure(status, message).into_answer(),
            Self::Xrpc => xrpc::failure(status, message),
            Self::Rocketchat => rocketchat::failure(status, message),
            Self::Matrix => matrix::failure(status, message),
            Self::Connect => refusal::failure(code, status, message),
        }
    }
}

/// Where a connection comes from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer(pub(super) IpAddr);

/// What the faces for people need.
#[derive(Clone)]
pub(super) struct Public {
    pub(super) discovery: Arc<Discovery>,
    pub(super) sessions: Arc<Sessions>,
    /// The header in which a proxy says where a call comes from.
    pub(super) address_header: Option<HeaderName>,
    pub(super) limits: BodyLimits,
    /// Before the names of the methods that have no lexicon.
    pub(super) lxm_prefix: Arc<str>,
}

impl Public {
    /// Who calls, by the session that the request presents. `lxm` names the method for tokens that are for one method.
    pub(super) async fn caller(&self, parts: &Parts, lxm: &str) -> Result<Caller, NoCaller> {
        let authorization = single(parts, header::AUTHORIZATION)?;
        self.caller_of(parts, authorization, single(parts, ACCOUNT)?, lxm).await
    }

    /// As [`caller`](Self::caller), by a session that stands elsewhere in the request.
    pub(super) async fn caller_of(
        &self,
        parts: &Parts,
        authorization: Option<&http::HeaderValue>,
        account: Option<&http::HeaderValue>,
        lxm: &str,
    ) -> Result<Caller, NoCaller> {
        let presented = Presented { authorization, account, lxm: Some(lxm) };
        let address = self.address(parts);
        // An API key costs nothing to look at; a token can have this server ask others.
        let is_key = presented.account.is_some();
        let stranger = match presented.authorization {
            Some(_) if !is_key => Some(self.discovery.count_stranger(address)?),
            _ => None,
        };
        let session = self.sessions.verify(presented).await?;
        if let Some(stranger) = stranger {
            stranger.is_known();
        }
        let address = match session.through {
            // The back end's own address, which tells nobody from another.
            Through::Key => None,
            _ => Some(address),
        };
        Ok(Caller { account: session.account, provider: session.provider, address })
    }

    /// A back end with an API key, whoever it may call for.
    pub(super) fn back_end(&self, parts: &Parts) -> Result<(), SessionError> {
        let authorization = single(parts, header::AUTHORIZATION)?;
        self.sessions.back_end(authorization).map(drop)
    }

    /// Who looks up: an account with a session, or whoever has good credentials for the audience of the query.
    pub(super) async fn seeker(
        &self,
        parts: &Parts,
        method: &str,
        audience: Result<Option<String>, Problem>,
    ) -> Result<Seeker, Problem> {
        let authorization = single(parts, header::AUTHORIZATION)?;
        let Some((username, password)) = authorization.and_then(basic) else {
            let caller = self.caller(parts, &format!("{}.{method}", self.lxm_prefix)).await;
            let caller = caller.map_err(|error| self.no_caller(error))?;
            self.discovery.count_call(&caller).map_err(|limited| self.problem(LookupError::from(limited)))?;
            audience?;
            return self.discovery.seeker(&caller).await.map_err(|error| self.problem(error));
        };
        let audience = audience?;
        let address = self.address(parts);
        let stranger =
            self.discovery.count_stranger(address).map_err(|limited| self.no_caller(limited.into()))?;
        let seeker = match self.discovery.check_credentials(audience.as_deref(), &username, &password) {
            Ok(Some(checked)) => self
                .discovery
                .credential_seeker(&checked.audience, &username, Some(address))
                .map_err(|error| self.problem(error))?,
            Ok(None) | Err(CredentialsError::NotConfigured | CredentialsError::UnknownAudience) => None,
            Err(error) => return Err(self.problem(error)),
        };
        let seeker = seeker.ok_or_else(Problem::bad_credentials)?;
        stranger.is_known();
        self.discovery.count_seeker(&seeker).map_err(|limited| self.problem(LookupError::from(limited)))?;
        Ok(seeker)
    }

    /// That nobody is known, as a problem.
    pub(super) fn no_caller(&self, error: NoCaller) -> Problem {
        match error {
            NoCaller::Session(error) => error.into(),
            NoCaller::TooMany(limited) => Problem::rate_limited(limited, self.discovery.now()),
        }
    }

    /// What a use case failed with, as a problem.
    pub(super) fn problem(&self, error: impl Into<Refusal>) -> Problem {
        Problem::of(error, self.discovery.now())
    }

    /// Where the call comes from. Behind a proxy that is the last address of its header, which the proxy itself wrote; calls
    /// without one that can be read share an address that nobody has.
    pub(super) fn address(&self, parts: &Parts) -> IpAddr {
        let Some(header) = &self.address_header else {
            return parts.extensions.get::<Peer>().map_or(NOWHERE, |peer| peer.0);
        };
        let last = parts.headers.get_all(header).iter().next_back().and_then(|value| value.to_str().ok());
        last.and_then(|list| address_in(list.rsplit(',').next()?.trim())).unwrap_or(NOWHERE)
    }
}

/// Nobody's address (RFC 1122, section 3.2.1.3).
const NOWHERE: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// An address as proxies write it: alone, with a port, or in brackets.
fn address_in(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let socket = || text.parse::<SocketAddr>().ok().map(|address| address.ip());
    bare.parse().ok().or_else(socket)
}

/// Why nobody is known to call.
#[derive(Debug)]
pub(super) enum NoCaller {
    /// There is no good session.
    Session(SessionError),
    /// Too many bad ones came from there.
    TooMany(RateLimited),
}

impl From<SessionError> for NoCaller {
    fn from(error: SessionError) -> Self {
        Self::Session(error)
    }
}

impl From<RateLimited> for NoCaller {
    fn from(limited: RateLimited) -> Self {
        Self::TooMany(limited)
    }
}

/// Username and password (RFC 7617). The first colon parts them.
fn basic(authorization: &http::HeaderValue) -> Option<(Zeroizing<String>, Zeroizing<String>)> {
    let (scheme, rest) = authorization.as_bytes().split_at_checked(6)?;
    if !scheme.eq_ignore_ascii_case(b"basic ") {
        return None;
    }
    let nothing = || Some((Zeroizing::default(), Zeroizing::default()));
    // What is no base64, no text or has no colon is refused as any wrong password is.
    let Ok(decoded) = STANDARD.decode(rest).map(Zeroizing::new) else { return nothing() };
    let Ok(text) = std::str::from_utf8(&decoded) else { return nothing() };
    let (username, password) = text.split_once(':').unwrap_or((text, ""));
    Some((Zeroizing::new(username.to_owned()), Zeroizing::new(password.to_owned())))
}

/// For whom a back end calls.
const ACCOUNT: HeaderName = HeaderName::from_static("acquaint-account");

/// A header that there may be one of: who sends two means to be read in two ways.
pub(super) fn single(parts: &Parts, name: HeaderName) -> Result<Option<&http::HeaderValue>, SessionError> {
    let mut values = parts.headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (value, None) => Ok(value),
        _ => Err(SessionError::Refused),
    }
}

/// Whose path a request is for.
pub(super) fn face_of(request: &Request) -> Face {
    Face::of(request.uri().path())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_proxies_write_them() {
        for (text, address) in [
            ("198.51.100.7", Some("198.51.100.7")),
            ("198.51.100.7:4711", Some("198.51.100.7")),
            ("2001:db8::1", Some("2001:db8::1")),
            ("[2001:db8::1]", Some("2001:db8::1")),
            ("[2001:db8::1]:4711", Some("2001:db8::1")),
            ("unknown", None),
            ("", None),
            ("198.51.100.7:", None),
        ] {
            assert_eq!(address_in(text), address.map(|address| address.parse().unwrap()), "{text}");
        }
    }
}
