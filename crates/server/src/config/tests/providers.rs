//! What each provider needs is asked for by the key's name.

use super::{KEY, load};

const SID: &str = "0123456789abcdef0123456789abcdef";
const SECRET: &str = "s3cret-that-is-not-quoted";
const SIGNING: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// A whole configuration of every provider; `change` takes the place of the line of its key.
fn text(change: &str) -> String {
    let lines = [
        "[verification]",
        "emails = true",
        "[delivery]",
        "sms = [\"twilio\", \"plivo\", \"webhook\"]",
        "email = [\"smtp\", \"webhook\"]",
        "subject = \"Your code\"",
        "[twilio]",
        &format!("account_sid = \"AC{SID}\""),
        "api_key_sid = \"\"",
        &format!("secret = \"{SECRET}\""),
        "from = \"+12125550100\"",
        "url = \"https://api.twilio.com\"",
        "[plivo]",
        "auth_id = \"MA2025RK4E639VJFZAGV\"",
        &format!("auth_token = \"{SECRET}\""),
        "from = \"Example\"",
        "url = \"https://api.plivo.com\"",
        "[webhook]",
        "url = \"https://example.com/codes?of=acquaint\"",
        &format!("secret = \"{SIGNING}\""),
        "[smtp]",
        "host = \"mail.example.com\"",
        "port = 0",
        "security = \"tls\"",
        "username = \"codes\"",
        &format!("password = \"{SECRET}\""),
        "from = \"Example <codes@example.com>\"",
        "[notifications]",
        "to = \"appview\"",
        "appview_url = \"https://appview.example.com\"",
        &format!("appview_password = \"{SECRET}\""),
        "webhook_url = \"http://127.0.0.1:3000/matches\"",
        &format!("webhook_secret = \"{SIGNING}\""),
    ];
    let (section, line) = change.split_once('.').unwrap_or_default();
    let key = line.split(' ').next().unwrap_or_default();
    let mut within = "";
    let mut found = change.is_empty();
    let mut text = String::from(KEY);
    for each in lines {
        within = each.strip_prefix('[').map_or(within, |name| name.trim_end_matches(']'));
        let replaced = within == section && each.split(' ').next() == Some(key);
        found |= replaced;
        text += if replaced { line } else { each };
        text += "\n";
    }
    assert!(found, "no such key: {change}");
    text
}

#[test]
fn a_whole_configuration_of_every_provider_is_taken() {
    load(&text(""), &[]).unwrap();
    for fine in [
        &format!("twilio.from = \"MG{SID}\""),
        &format!("twilio.api_key_sid = \"SK{SID}\""),
        "twilio.from = \"My Example\"",
        "twilio.from = \"12345\"",
        "twilio.url = \"http://127.0.0.1:8080\"",
        "plivo.url = \"http://localhost:8080/\"",
        "webhook.url = \"http://[::1]:8080/codes\"",
        "smtp.port = 2525",
        "smtp.security = \"starttls\"",
        "smtp.from = \"codes@example.com\"",
        "notifications.to = \"webhook\"",
        "notifications.to = \"none\"",
    ] {
        load(&text(fine), &[]).unwrap_or_else(|error| panic!("{fine}: {error}"));
    }
}

#[test]
fn what_a_provider_needs_is_asked_for_by_its_key() {
    let cases = [
        "delivery.sms = [\"twilio\", \"twilio\"]",
        "delivery.sms = [\"smtp\"]",
        "delivery.sms = []",
        "delivery.email = [\"twilio\"]",
        "delivery.subject = \"\"",
        "delivery.subject = \"two\\nlines\"",
        "twilio.account_sid = \"\"",
        "twilio.account_sid = \"AC01\"",
        "twilio.account_sid = \"AC0123456789abcdef0123456789abcde/\"",
        "twilio.api_key_sid = \"AC0123456789abcdef0123456789abcdef\"",
        "twilio.secret = \"\"",
        "twilio.from = \"\"",
        "twilio.from = \"more than eleven\"",
        "twilio.from = \"+1\"",
        "twilio.url = \"http://api.twilio.com\"",
        "twilio.url = \"https://user:s3cret-that-is-not-quoted@api.twilio.com\"",
        "twilio.url = \"https://api.twilio.com/?a=b\"",
        "plivo.auth_id = \"\"",
        "plivo.auth_id = \"MA/..\"",
        "plivo.auth_token = \"\"",
        "plivo.from = \"\"",
        "plivo.url = \"api.plivo.com\"",
        "webhook.url = \"\"",
        "webhook.url = \"http://example.com/\"",
        "webhook.url = \"http://127.0.0.1.example.com/\"",
        "webhook.secret = \"\"",
        "webhook.secret = \"s3cret-that-is-not-quoted\"",
        "webhook.secret = \"whsec_c2hvcnQ=\"",
        "smtp.host = \"\"",
        "smtp.host = \"smtp://mail.example.com\"",
        "smtp.port = 65536",
        "smtp.security = \"ssl\"",
        "smtp.security = \"none\"",
        "smtp.username = \"\"",
        "smtp.password = \"\"",
        "smtp.from = \"\"",
        "smtp.from = \"not an address\"",
        "notifications.to = \"both\"",
        "notifications.appview_url = \"\"",
        "notifications.appview_url = \"http://appview.example.com\"",
        "notifications.appview_password = \"\"",
        "notifications.appview_password = \"s3cret-that-is-not-quoted:with a colon\"",
    ];
    for change in cases {
        let key = change.split(' ').next().unwrap();
        let error = load(&text(change), &[]).map(|_| ()).unwrap_err();
        let told = format!("{error} {error:?}");
        assert!(told.contains(&format!("`{key}`")), "{change}: {error}");
        assert!(!told.contains(SECRET) && !told.contains("MfKQ9r8G"), "{change}: {told}");
    }
    for (change, key) in [
        ("notifications.webhook_url = \"http://example.com\"", "notifications.webhook_url"),
        ("notifications.webhook_secret = \"\"", "notifications.webhook_secret"),
    ] {
        let by_webhook = text(change).replace("to = \"appview\"", "to = \"webhook\"");
        let error = load(&by_webhook, &[]).unwrap_err().to_string();
        assert!(error.contains(key), "{change}: {error}");
    }
    // The AppView takes DIDs only.
    let opaque = format!("account_format = \"opaque\"\n{}", text(""));
    let error = load(&opaque, &[]).unwrap_err().to_string();
    assert!(error.contains("notifications.to"), "{error}");
}

#[test]
fn a_section_that_no_list_names_may_be_empty() {
    load(&format!("{KEY}[delivery]\nsms = [\"outbox\"]\n[twilio]\nfrom = \"\"\n"), &[]).unwrap();
}

#[test]
fn mail_in_clear_stays_on_this_machine() {
    for host in ["localhost", "127.0.0.1", "::1"] {
        let text = text("smtp.security = \"none\"").replace("mail.example.com", host);
        load(&text, &[]).unwrap_or_else(|error| panic!("{host}: {error}"));
    }
}
