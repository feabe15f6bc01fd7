use acquaint_testkit::mail::{Encryption, Fault, MailServer};

use super::*;

fn at(server: &MailServer) -> Config {
    let mut config = config("http://127.0.0.1:9");
    config.smtp.port = server.port.into();
    config.smtp.username = "codes".into();
    config.smtp.password = "mail's password".into();
    config.delivery.subject = "Your code – naïve".into();
    config
}

#[tokio::test]
async fn a_message_is_submitted_with_all_that_it_needs() {
    let server = MailServer::start(Encryption::None, []).await;
    send("smtp", &at(&server), ADDRESS).await.unwrap();
    let log = server.log();
    let login = BASE64_STANDARD.encode("\0codes\0mail's password");
    let wanted = [
        "EHLO example.org",
        &format!("AUTH PLAIN {login}"),
        "MAIL FROM:<codes@example.org>",
        "RCPT TO:<person@example.com>",
        "DATA",
        "QUIT",
    ];
    assert_eq!(log.commands, wanted);
    let [message] = log.messages.try_into().unwrap();
    let (head, body) = message.split_once("\r\n\r\n").unwrap();
    let head: Vec<_> = head.split("\r\n").collect();
    for line in [
        "From: Example <codes@example.org>",
        "To: person@example.com",
        "Date: Thu, 01 Jan 2026 00:00:00 +0000",
        &format!("Message-ID: <{ID}@example.org>"),
        "Auto-Submitted: auto-generated",
        "Content-Type: text/plain; charset=utf-8",
    ] {
        assert!(head.contains(&line), "no {line:?} in {head:?}");
    }
    // RFC 2047.
    assert!(head.iter().any(|line| line.starts_with("Subject: ") && line.is_ascii()), "{head:?}");
    assert_eq!(body.trim_end(), "041627 is your code & <nothing> else: 1+1=2");
}

#[tokio::test]
async fn nobody_logs_in_without_a_user_name() {
    let server = MailServer::start(Encryption::None, []).await;
    let mut config = at(&server);
    config.smtp.username.clear();
    send("smtp", &config, ADDRESS).await.unwrap();
    assert!(!server.log().commands.iter().any(|command| command.starts_with("AUTH")));
}

#[tokio::test]
async fn refusals_and_faults_are_told_apart() {
    use Fate::{Recipient, Refused, Unavailable, Unknown};
    let cases = [
        ("greeting", Fault::Line("421 4.3.2 too busy"), Unavailable, "421"),
        ("greeting", Fault::Line("HTTP/1.1 400 Bad Request"), Unavailable, "does not speak SMTP"),
        ("greeting", Fault::HangUp, Unavailable, "broke off"),
        ("greeting", Fault::Silence, Unavailable, "in time"),
        ("AUTH", Fault::Line("535 5.7.8 wrong"), Refused, "user name or password"),
        ("AUTH", Fault::HangUp, Unavailable, "broke off"),
        ("MAIL", Fault::Line("553 5.7.1 not yours"), Refused, "smtp.from"),
        ("RCPT", Fault::Line("550 5.1.1 <person@example.com> nobody"), Recipient, "no such"),
        ("RCPT", Fault::Line("552 5.2.2 full"), Recipient, "mailbox"),
        ("RCPT", Fault::Line("550 no such user here"), Recipient, "cannot deliver"),
        ("RCPT", Fault::Line("550 5.7.1 relaying denied"), Refused, "policy"),
        ("RCPT", Fault::Line("451 4.7.1 greylisted"), Refused, "policy"),
        ("RCPT", Fault::Line("450 later"), Refused, "greylisting"),
        ("RCPT", Fault::Silence, Unavailable, "in time"),
        ("DATA", Fault::Line("554 5.5.1 no"), Refused, "refuses the message"),
        ("DATA", Fault::HangUp, Unavailable, "broke off"),
        (".", Fault::Line("554 5.6.0 spam"), Refused, "refuses the message"),
        (".", Fault::Line("451 4.3.0 disk full"), Refused, "refuses the message"),
        (".", Fault::HangUp, Unknown, "broke before"),
        (".", Fault::Line("what?"), Unknown, "broke before"),
        (".", Fault::Silence, Unknown, "in time"),
    ];
    let outcomes = cases.map(|(place, fault, fate, reason)| async move {
        let server = MailServer::start(Encryption::None, [(place, fault)]).await;
        let mut config = at(&server);
        if matches!(fault, Fault::Silence) {
            // All of it is waited for.
            config.delivery.attempt_timeout_s = 3;
        }
        let failure = send("smtp", &config, ADDRESS).await.unwrap_err();
        assert_eq!(failure.fate, fate, "{place} {fault:?}: {failure:?}");
        assert!(failure.reason.contains(reason), "{place} {fault:?}: {}", failure.reason);
        assert_eq!(server.log().connections, 1, "{place} {fault:?}");
        let arrived = place == ".";
        assert_eq!(server.log().messages.len(), usize::from(arrived), "{place} {fault:?}");
    });
    futures::future::join_all(outcomes).await;

    let server = MailServer::start(Encryption::None, []).await;
    let config = at(&server);
    drop(server);
    tokio::task::yield_now().await;
    let failure = send("smtp", &config, ADDRESS).await.unwrap_err();
    assert_eq!((failure.fate, failure.reason.contains("cannot be connected to")), (Unavailable, true));
}

#[tokio::test]
async fn a_message_that_was_taken_stays_so_when_the_good_bye_fails() {
    for fault in [Fault::HangUp, Fault::Silence, Fault::Line("500 no")] {
        let server = MailServer::start(Encryption::None, [("QUIT", fault)]).await;
        send("smtp", &at(&server), ADDRESS).await.unwrap();
    }
}

#[tokio::test]
async fn without_starttls_nothing_is_sent_in_clear() {
    let server = MailServer::start(Encryption::None, []).await;
    let mut config = at(&server);
    config.smtp.security = "starttls".into();
    let failure = send("smtp", &config, ADDRESS).await.unwrap_err();
    assert_eq!((failure.fate, failure.reason.contains("no STARTTLS")), (Fate::Refused, true), "{failure:?}");
    assert!(server.log().commands.iter().all(|command| command.starts_with("EHLO") || command == "QUIT"));
}

#[tokio::test]
async fn the_probe_logs_in_and_sends_nothing() {
    let server = MailServer::start(Encryption::None, []).await;
    assert_eq!(probe("smtp", &at(&server)).await.unwrap(), "it takes the login");
    let commands = server.log().commands;
    assert!(
        matches!(&commands[..], [ehlo, auth, quit]
        if ehlo.starts_with("EHLO") && auth.starts_with("AUTH") && quit == "QUIT"),
        "{commands:?}"
    );
    let server = MailServer::start(Encryption::None, [("AUTH", Fault::Line("535 no"))]).await;
    assert!(probe("smtp", &at(&server)).await.unwrap_err().reason.contains("password"));
}
