//! Where the document of a DID is.

use reqwest::Url;
use url::Host;

/// A DID of a method that atproto has.
pub(super) enum Name {
    /// `did:plc`: the directory has the document.
    Plc,
    /// `did:web`: the host has it, at this URL (<https://w3c-ccg.github.io/did-method-web/>).
    Web(Url),
}

impl Name {
    /// Reads a DID. Of `did:web` atproto takes host names alone, without a path, and without a port but for development,
    /// which `private_too` says.
    pub(super) fn parse(did: &str, private_too: bool) -> Option<Self> {
        let (method, id) = did.strip_prefix("did:")?.split_once(':')?;
        match method {
            // <https://web.plc.directory/spec/v0.1/did-plc>: 120 bits in base 32.
            "plc" => (id.len() == 24 && id.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'2'..=b'7')))
                .then_some(Self::Plc),
            "web" => web(id, private_too).map(Self::Web),
            _ => None,
        }
    }
}

fn web(id: &str, private_too: bool) -> Option<Url> {
    let (host, port) = match id.split_once("%3A") {
        Some((host, port)) if private_too => (host, Some(port.parse::<u16>().ok()?)),
        Some(_) => return None,
        None => (id, None),
    };
    let local = private_too && host == "localhost";
    let is_address = private_too && host.parse::<std::net::Ipv4Addr>().is_ok();
    if !(local || is_address || is_host_name(host)) {
        return None;
    }
    let (scheme, port) = (if local { "http" } else { "https" }, port.map(|port| format!(":{port}")));
    let url: Url =
        format!("{scheme}://{host}{}/.well-known/did.json", port.unwrap_or_default()).parse().ok()?;
    // Whatever a URL may be read as, it is this host that is asked.
    let same = match url.host() {
        Some(Host::Domain(name)) => name == host,
        Some(Host::Ipv4(address)) => private_too && address.to_string() == host,
        Some(Host::Ipv6(_)) | None => false,
    };
    same.then_some(url)
}

/// A host name of two labels or more in small letters, so that an account has one spelling, and no address.
fn is_host_name(host: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let last = host.rsplit('.').next().unwrap_or_default();
    host.len() <= 253
        && host.contains('.')
        && host.split('.').all(is_label)
        && last.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase())
}
