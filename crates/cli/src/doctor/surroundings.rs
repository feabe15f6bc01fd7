//! What lies around a server: its port, the time, the certificate.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::time::Duration;

use acquaint_client::{Client, ClientError};
use acquaint_server::config::Config;
use acquaint_server::{Ambient, Millis, upkeep};

use super::{Seen, ok, warning, wrong};
use crate::store::causes;

/// How long another machine is waited for.
const PATIENCE: Duration = Duration::from_secs(5);
const SECOND: Millis = 1000;
const DAY: Millis = 24 * 60 * 60 * SECOND;

/// Who answers at the port.
enum Answer {
    Ours,
    /// As our protocol has it, but it refuses the key.
    OtherKey,
    Foreign,
    /// The port speaks TLS, which is not looked into.
    Unknown,
}

/// The port, and the folder's holder: a server that runs must be the one that answers.
pub(super) async fn port(config: &Config, held: bool, holder: Option<u32>) -> Vec<Seen> {
    const PORT: &str = "port";
    const HOLDER: &str = "process";
    let who = holder.map_or_else(|| "a process".to_owned(), |pid| format!("process {pid}"));
    let address = config.listen;
    let bound = if address.port() == 0 { None } else { Some(TcpListener::bind(address)) };
    let in_use = matches!(&bound, Some(Err(error)) if error.kind() == std::io::ErrorKind::AddrInUse);
    let answer = if in_use { Some(answer(config).await) } else { None };
    let port = match (&bound, &answer) {
        (None, _) => ok(PORT, "any free one is taken"),
        (Some(Ok(_)), _) => ok(PORT, format!("{address} is free")),
        (Some(Err(_)), Some(Answer::Ours)) if held => ok(PORT, format!("our server answers at {address}")),
        (Some(Err(_)), Some(Answer::Ours)) => wrong(
            PORT,
            format!("a server answers at {address}, and it does not use this data folder"),
            "stop it, or name another address in `listen`",
        ),
        (Some(Err(_)), Some(Answer::OtherKey)) => wrong(
            PORT,
            format!("a server answers at {address} that has another API key"),
            "start it again if `auth.api_key` was changed; else name another address in `listen`",
        ),
        (Some(Err(_)), Some(Answer::Unknown)) if held => {
            ok(PORT, format!("{address} is taken, as it should be; who answers there was not looked into"))
        }
        (Some(Err(_)), Some(_)) => wrong(
            PORT,
            format!("another program has {address}"),
            "stop it, or name another address in `listen`",
        ),
        (Some(Err(error)), None) => wrong(
            PORT,
            format!("{address} cannot be listened on: {error}"),
            "name an address of this machine, and a port above 1023, in `listen`",
        ),
    };
    let answers = config.listen.port() == 0
        || matches!(answer, Some(Answer::Ours | Answer::OtherKey | Answer::Unknown));
    let process = match (held, answers) {
        (false, _) => ok(HOLDER, "no server uses the data folder"),
        (true, true) => ok(HOLDER, format!("{who} uses the data folder")),
        (true, false) => wrong(
            HOLDER,
            format!("{who} uses the data folder, and does not answer at {address}"),
            "stop it: only one server can use a folder",
        ),
    };
    vec![process, port]
}

/// The port, where nothing tells which process should have it.
pub(super) async fn port_of_several(config: &Config) -> Seen {
    port(config, true, None).await.pop().unwrap_or_else(|| ok("port", "not looked at"))
}

async fn answer(config: &Config) -> Answer {
    if !config.tls.certificate.as_os_str().is_empty() {
        return Answer::Unknown;
    }
    let ip = match config.listen.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    let url = format!("http://{}", SocketAddr::new(ip, config.listen.port()));
    let Ok(client) = Client::new(&url, &config.auth.api_key) else { return Answer::Foreign };
    match tokio::time::timeout(PATIENCE, client.ping()).await {
        Ok(Ok(())) => Answer::Ours,
        Ok(Err(ClientError::Unauthenticated)) => Answer::OtherKey,
        _ => Answer::Foreign,
    }
}

/// The clock, against what was written down with it, and against others'.
pub(super) async fn clock(config: &Config, newest: Option<Millis>) -> Seen {
    const WHAT: &str = "clock";
    const SET: &str = "set the clock and keep it right (`timedatectl set-ntp true`) before the server runs: limits do not \
                       leak, and nothing expires, while it is behind";
    let clock = Ambient::default().clock;
    let behind = newest.map_or(0, |newest| newest.saturating_sub(clock.now()));
    if behind > 30 * SECOND {
        return wrong(WHAT, format!("{} behind the newest entry of the database", span(behind)), SET);
    }
    let elsewhere = elsewhere(config);
    if elsewhere.is_empty() {
        return ok(WHAT, "not behind the database; no other clock is configured to compare it with");
    }
    for url in &elsewhere {
        if let Some(theirs) = upkeep::time_at(url, PATIENCE).await {
            let skew = theirs.saturating_sub(clock.now()).saturating_abs();
            if skew > 30 * SECOND {
                return warning(WHAT, format!("{} away from that of {}", span(skew), host(url)), SET);
            }
            return ok(WHAT, format!("within 30 s of that of {}", host(url)));
        }
    }
    ok(WHAT, format!("not behind the database; {} did not tell its time", host(&elsewhere[0])))
}

/// Providers and services that are configured.
fn elsewhere(config: &Config) -> Vec<String> {
    let mut urls = Vec::new();
    for provider in config.delivery.sms.iter().chain(&config.delivery.email) {
        match provider.as_str() {
            "twilio" => urls.push(&config.twilio.url),
            "plivo" => urls.push(&config.plivo.url),
            "webhook" => urls.push(&config.webhook.url),
            _ => {}
        }
    }
    match config.notifications.to.as_str() {
        "appview" => urls.push(&config.notifications.appview_url),
        "webhook" => urls.push(&config.notifications.webhook_url),
        _ => {}
    }
    urls.into_iter().filter(|url| !url.is_empty()).cloned().collect()
}

/// Whether somebody listens where notifications go. Whether they take one, only a notification can tell.
pub(super) async fn notifications(config: &Config) -> Seen {
    const WHAT: &str = "notifications";
    let (url, key) = match config.notifications.to.as_str() {
        "appview" => (&config.notifications.appview_url, "notifications.appview_url"),
        "webhook" => (&config.notifications.webhook_url, "notifications.webhook_url"),
        _ => return ok(WHAT, "off; nobody is told of matches"),
    };
    match upkeep::reach(url, PATIENCE).await {
        Ok(()) => ok(WHAT, format!("{} can be connected to", host(url))),
        Err(error) => wrong(
            WHAT,
            format!("{} cannot be connected to: {error}", host(url)),
            format!("start what listens there, or correct `{key}`; until then notifications wait"),
        ),
    }
}

/// A URL without what may be secret in it.
fn host(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    authority.rsplit('@').next().unwrap_or_default()
}

fn span(millis: Millis) -> String {
    match millis / SECOND {
        seconds if seconds < 120 => format!("{seconds} s"),
        seconds if seconds < 2 * 60 * 60 => format!("{} min", seconds / 60),
        seconds if seconds < 48 * 60 * 60 => format!("{} h", seconds / 3600),
        seconds => format!("{} days", seconds / 86_400),
    }
}

pub(super) fn certificate(config: &Config, now: Millis) -> Seen {
    const WHAT: &str = "TLS";
    const RENEW: &str = "renew it";
    match upkeep::check_tls(&config.tls) {
        Err(error) => wrong(WHAT, causes(&error), "correct `tls.certificate` and `tls.key`"),
        Ok(None) if config.is_loopback() => ok(WHAT, "off; only this machine can connect"),
        Ok(None) => warning(
            WHAT,
            "off, and other machines can connect",
            "set `tls.certificate` and `tls.key`, or let a proxy on this machine do it",
        ),
        Ok(Some((from, _))) if now < from => wrong(
            WHAT,
            format!("the certificate is valid in {} only", span(from - now)),
            "wait, or look at the clock",
        ),
        Ok(Some((_, to))) if now >= to => {
            wrong(WHAT, format!("the certificate ended {} ago", span(now - to)), RENEW)
        }
        Ok(Some((_, to))) if to - now < 14 * DAY => {
            warning(WHAT, format!("the certificate ends in {}", span(to - now)), RENEW)
        }
        Ok(Some((_, to))) => {
            ok(WHAT, format!("the certificate and its key fit, for {} more", span(to - now)))
        }
    }
}
