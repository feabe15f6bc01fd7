//! Asking a homeserver who has one of its OpenID tokens (Matrix server-server API, "OpenID").

use std::time::Duration;

use serde::Deserialize;
use url::Url;

use crate::config::Config;
use crate::outbound::{CertificatesError, PublicFault, PublicHttp};

/// How long a homeserver may take for an answer, and how many are asked at once.
const WITHIN: Duration = Duration::from_secs(5);
const AT_ONCE: usize = 32;
/// Where homeservers are without anything that says otherwise.
const PORT: u16 = 8448;
/// The longest name of a homeserver: a DNS name has 253 characters, and a port six.
const MOST: usize = 259;
/// The longest Matrix id (specification, "Common Identifier Format").
const MOST_OF_ID: usize = 255;

/// Asks homeservers.
pub(crate) struct Homeservers {
    http: PublicHttp,
    /// Those whose accounts may ask; `*` for all.
    known: Vec<String>,
    scheme: &'static str,
    /// Where `.well-known` is asked: the port of the scheme.
    web_port: u16,
}

/// Why an OpenID token is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unproven {
    /// The name is no homeserver's, or not one that is asked.
    Name,
    /// The homeserver says that the token is not good, or that it is another server's account.
    Refused,
    /// It cannot be asked.
    Unavailable,
}

#[derive(Deserialize)]
struct WellKnown {
    #[serde(rename = "m.server")]
    server: String,
}

#[derive(Deserialize)]
struct UserInfo {
    sub: String,
}

impl Homeservers {
    pub(crate) fn new(config: &Config) -> Result<Self, CertificatesError> {
        let private_too = config.matrix.allow_private_addresses;
        let (scheme, web_port) = if private_too { ("http", 80) } else { ("https", 443) };
        let http = PublicHttp::new(private_too, WITHIN, AT_ONCE)?;
        Ok(Self { http, known: config.matrix.homeservers.clone(), scheme, web_port })
    }

    /// Whether accounts of this homeserver may ask.
    pub(super) fn is_known(&self, name: &str) -> bool {
        self.known.iter().any(|known| known == "*" || known == name)
    }

    /// The account that `name` gave this token to.
    pub(super) async fn account(&self, name: &str, token: &str) -> Result<String, Unproven> {
        let (host, port) = parts(name).filter(|_| self.is_known(name)).ok_or(Unproven::Name)?;
        let authority = match port {
            Some(_) => name.to_owned(),
            None => self.delegated(host).await,
        };
        let base = format!("{}://{authority}/_matrix/federation/v1/openid/userinfo", self.scheme);
        let mut url = Url::parse(&base).map_err(|_| Unproven::Name)?;
        url.query_pairs_mut().append_pair("access_token", token);
        if !self.http.admits(&url) {
            return Err(Unproven::Name);
        }
        // Whether a name leads to a private address or nowhere is the operator's business.
        let answer = self.http.get(url).await.map_err(|fault| match fault {
            PublicFault::Forbidden | PublicFault::Unavailable => Unproven::Unavailable,
        })?;
        if answer.status.is_server_error() {
            return Err(Unproven::Unavailable);
        }
        let info = answer.json::<UserInfo>().filter(|_| answer.status.is_success());
        let UserInfo { sub } = info.ok_or(Unproven::Refused)?;
        // Else a homeserver could speak for another's accounts.
        let is_its = sub.starts_with('@')
            && sub.len() <= MOST_OF_ID
            && sub.split_once(':').is_some_and(|(_, server)| server == name);
        is_its.then_some(sub).ok_or(Unproven::Refused)
    }

    /// Where a server without a port is: where its `.well-known` says, or else at the port that all have. Records of the DNS
    /// (SRV) are not looked up.
    async fn delegated(&self, host: &str) -> String {
        let usual = || format!("{host}:{PORT}");
        let url = format!("{}://{host}:{}/.well-known/matrix/server", self.scheme, self.web_port);
        let Ok(url) = Url::parse(&url) else { return usual() };
        let Ok(answer) = self.http.get(url).await else { return usual() };
        let told = answer.json::<WellKnown>().filter(|_| answer.status.is_success());
        match told.as_ref().and_then(|told| Some((parts(&told.server)?, &told.server))) {
            Some(((_, Some(_)), server)) => server.clone(),
            Some(((host, None), _)) => format!("{host}:{PORT}"),
            None => usual(),
        }
    }
}

/// Host and port of a server's name (Matrix specification, "Server name"), names of the DNS and IPv4 addresses only.
fn parts(name: &str) -> Option<(&str, Option<u16>)> {
    let (host, port) = match name.split_once(':') {
        Some((host, port)) => {
            let digits = (1..=5).contains(&port.len()) && port.bytes().all(|byte| byte.is_ascii_digit());
            (host, Some(port.parse().ok().filter(|_| digits)?))
        }
        None => (name, None),
    };
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.';
    (name.len() <= MOST && !host.is_empty() && host.bytes().all(is_part)).then_some((host, port))
}

#[cfg(test)]
mod tests;
