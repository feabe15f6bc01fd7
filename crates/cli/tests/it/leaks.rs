//! No number, address, code, account or token can be read anywhere but where it belongs, at the most talkative log level.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use acquaint_client::{Client, ClientError};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::support::{self, Person, Search, Server, number, until, written};

/// How the outbox's own lines begin: the one place where codes are meant to be read.
const OUTBOX: &str = "!!! DEVELOPMENT OUTBOX";

const EMAILS: [&str; 3] =
    ["leaky.person@example.com", "mailto:other.leak@example.org", "Leaky Name <third@leaks.example>"];
const FIXED_LINE: &str = "+33199001234";
const TOLL_FREE: &str = "+18005550199";
/// Reads as a number, but nobody can have it.
const NOBODYS: &str = "+12120550177";

#[derive(Default)]
struct Secrets {
    numbers: BTreeSet<String>,
    codes: BTreeSet<String>,
    accounts: BTreeSet<String>,
    tokens: BTreeSet<String>,
    api_key: String,
}

/// Everything that a caller was refused with, as it sees it.
#[derive(Default)]
struct Answers(Vec<Vec<u8>>);

impl Answers {
    fn keep<T>(&mut self, outcome: Result<T, ClientError>) {
        let Err(error) = outcome else { panic!("it was not refused") };
        self.0.push(format!("{error} {error:?}").into_bytes());
    }
}

#[tokio::test]
async fn nothing_can_be_read_where_it_does_not_belong() {
    let mut server = Server::new();
    server.set("ACQUAINT_LOG__LEVEL", "trace");
    server.set("ACQUAINT_VERIFICATION__RESEND_S", "0");
    server.set("ACQUAINT_POOL__THREADS", "1");
    server.set("ACQUAINT_IMPORT__DEADLINE_MS", "300");
    server.start();
    let mut secrets = Secrets { api_key: server.api_key(), ..Default::default() };
    let mut answers = Answers::default();

    let people: Vec<_> = (0..4)
        .map(|index| server.person(&format!("did:plc:leaky{index}name"), &number(index * 111)))
        .collect();
    secrets.accounts.extend(people.iter().map(|person| person.did.clone()));
    secrets.numbers.extend(people.iter().map(|person| person.phone.clone()));
    for person in &people[..3] {
        be_found(person, &people, &mut secrets, &mut answers).await;
    }
    // The answers go out after 300 ms, before everything is matched on a busy machine.
    let began = std::time::Instant::now();
    while people[0].matches().await.len() < 2 {
        assert!(began.elapsed() < support::PATIENCE, "the matches did not come");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    people[0].client.dismiss(&people[0].did, &people[1].did).await.unwrap();
    people[2].client.remove_data(&people[2].did).await.unwrap();
    be_refused(&server, &people[3], &mut secrets, &mut answers).await;
    speak_http(&server, &mut secrets, &mut answers);
    check(&server, &mut secrets, &answers);

    // Killed with accepted lists that are not worked through.
    let (did, phone) = ("did:plc:leakylate", number(666));
    secrets.accounts.insert(did.into());
    secrets.numbers.insert(phone.clone());
    for round in 0..3 {
        let token = token(&server.person(did, &phone), &mut secrets).await;
        let client = server.client();
        let contacts: Vec<_> =
            (0..1000).map(|index| format!("+1212557{:04}", round * 1000 + index)).collect();
        secrets.numbers.extend(contacts.iter().cloned());
        let call = tokio::spawn(async move { client.import(did, &token, contacts).await });
        let pending = || -> i64 {
            server.database().query_row("SELECT count(*) FROM import_lists", [], |row| row.get(0)).unwrap()
        };
        until("an accepted list", || (pending() > 0).then_some(())).await;
        tokio::time::sleep(Duration::from_millis(40 * round)).await;
        server.kill();
        let _answer = call.await.unwrap();
        check(&server, &mut secrets, &answers);
        server.start();
        check(&server, &mut secrets, &answers);
        let pending = || -> i64 {
            server.database().query_row("SELECT count(*) FROM import_lists", [], |row| row.get(0)).unwrap()
        };
        until("the end of the import", || (pending() == 0).then_some(())).await;
    }
    assert_eq!(server.stop().code(), Some(0));
    check(&server, &mut secrets, &answers);
    // The search finds what is there.
    let outbox = std::fs::read(server.home().join("outbox.txt")).unwrap();
    assert!(!search(&secrets).find(&outbox).is_empty());
}

/// Verifies after a wrong guess, and imports everybody, with addresses and junk in between.
async fn be_found(person: &Person, people: &[Person], secrets: &mut Secrets, answers: &mut Answers) {
    person.client.start_verification(&person.did, &written(&person.phone, 0)).await.unwrap();
    let wrong = format!("{:06}", (person.last_code().parse::<u32>().unwrap() + 1) % 1_000_000);
    answers.keep(person.client.verify(&person.did, &person.phone, &wrong).await);
    secrets.codes.insert(wrong);
    let token = token(person, secrets).await;
    let mut contacts: Vec<String> =
        people.iter().zip(0..).map(|(other, form)| written(&other.phone, form)).collect();
    contacts.extend(EMAILS.map(str::to_owned));
    contacts.extend(
        [FIXED_LINE, TOLL_FREE, NOBODYS, "2125550177;phone-context=tel:", "\u{0}+12125550177"]
            .map(str::to_owned),
    );
    contacts.extend((400..440).map(number));
    secrets.numbers.extend((400..440).map(number));
    person.client.import(&person.did, &token, contacts.clone()).await.unwrap();
    answers.keep(person.client.import(&person.did, &token, contacts).await);
}

async fn token(person: &Person, secrets: &mut Secrets) -> String {
    let token = person.verify().await.unwrap();
    let sealed = URL_SAFE_NO_PAD.decode(&token).unwrap();
    let mut inside = Search::default();
    for form in forms(&person.phone) {
        inside.add(form, "the number");
    }
    inside.add(person.did.as_bytes(), "the account");
    assert_eq!(inside.find(&sealed), [], "a token can be read");
    assert_eq!(inside.find(token.as_bytes()), [], "a token can be read");
    secrets.tokens.insert(token.clone());
    token
}

/// Every kind of refusal.
async fn be_refused(server: &Server, person: &Person, secrets: &mut Secrets, answers: &mut Answers) {
    let (client, did) = (&person.client, person.did.as_str());
    secrets.numbers.extend([FIXED_LINE, TOLL_FREE, NOBODYS, "+12125550177"].map(str::to_owned));
    for phone in [
        FIXED_LINE,
        TOLL_FREE,
        NOBODYS,
        "2125550177",
        "+12125550177 or so",
        "",
        "2125550177;phone-context=tel:",
        "leaky.person@example.com",
    ] {
        answers.keep(client.start_verification(did, phone).await);
        answers.keep(client.verify(did, phone, "271828").await);
    }
    secrets.codes.insert("271828".into());
    let long = format!("+12125550177{}", " ".repeat(100));
    answers.keep(client.start_verification(did, &long).await);
    for account in ["", "did:plc:", "leaky3name", "+12125550177", "did:plc:leaky3name?phone=+12125550177"] {
        answers.keep(client.start_verification(account, &person.phone).await);
        answers.keep(client.all_matches(account).await);
        answers.keep(client.sync_status(account).await);
        answers.keep(client.remove_data(account).await);
        answers.keep(client.dismiss(did, account).await);
    }
    answers.keep(client.matches(did, 0, "").await);
    answers.keep(client.matches(did, 10, "+12125550177").await);
    answers.keep(client.import(did, "+12125550177", vec![number(1)]).await);
    let token = token(person, secrets).await;
    answers.keep(client.import(did, &token, Vec::new()).await);
    answers.keep(client.import(did, &token, vec![number(1); 1001]).await);
    answers.keep(client.import("did:plc:leaky0name", &token, vec![number(1)]).await);
    // On a connection of its own, which does not outlive it.
    answers.keep(server.client().import(did, &token, vec!["+12125550177 ".repeat(200_000)]).await);
    secrets.numbers.insert(number(1));
    // Every guess at a code, and then all codes of a day.
    client.start_verification(did, &person.phone).await.unwrap();
    let right: u32 = person.last_code().parse().unwrap();
    for guess in 1..=6 {
        let wrong = format!("{:06}", (right + guess) % 1_000_000);
        answers.keep(client.verify(did, &person.phone, &wrong).await);
        secrets.codes.insert(wrong);
    }
    answers.keep(client.start_verification(did, &person.phone).await);
    let other = server.person("did:plc:leakyother", &number(3));
    secrets.accounts.insert(other.did.clone());
    secrets.numbers.insert(other.phone.clone());
    let mut sent = 0;
    while other.client.start_verification(&other.did, &other.phone).await.is_ok() {
        sent += 1;
        assert!(sent < 100);
    }
    answers.keep(other.client.start_verification(&other.did, &other.phone).await);
    // Without the key, and with another.
    for key in ["", "wrong+12125550177"] {
        answers.keep(Client::new(server.url(), key).unwrap().start_verification(did, &person.phone).await);
    }
}

/// What no client of ours would send, over HTTP/1.1 and HTTP/2 (which is what an AppView speaks).
fn speak_http(server: &Server, secrets: &mut Secrets, answers: &mut Answers) {
    let phone = &number(555);
    secrets.numbers.insert(phone.clone());
    secrets.accounts.insert("did:plc:leakyhttp".into());
    let person = format!("{{\"actor\":\"did:plc:leakyhttp\",\"phone\":\"{phone}\"");
    secrets.codes.insert("314159".into());
    let (start, json) = ("StartPhoneVerification", "application/json");
    let requests = [
        (start, json, format!("{person}}}")),
        ("VerifyPhone", json, format!("{person},\"verificationCode\":\"314159\"}}")),
        (
            "ImportContacts",
            json,
            format!("{{\"actor\":\"did:plc:leakyhttp\",\"token\":\"{phone}\",\"contacts\":[\"{phone}\"]}}"),
        ),
        ("GetMatches", json, format!("{{\"actor\":\"did:plc:leakyhttp\",\"limit\":\"{phone}\"}}")),
        (start, json, format!("{person},\"phone\":7}}")),
        (start, json, format!("{person},\"leaky.person@example.com\":\"{phone}\"}}")),
        (start, json, format!("{person} {phone}")),
        (start, json, format!("{{\"phone\":[\"{phone}\"]}}")),
        (start, "application/proto", format!("{phone}{phone}")),
        (start, "text/plain", phone.clone()),
        (start, &phone[1..], phone.clone()),
        ("ImportContacts", json, format!("{{\"contacts\":[\"{}", format!("{phone},").repeat(100_000))),
    ];
    for (method, kind, body) in &requests {
        for key in [format!("Bearer {}", secrets.api_key), String::new(), format!("Basic {phone}")] {
            let path = format!("/rolodex.RolodexService/{method}");
            answers.0.push(ask(server, "POST", &path, kind, &key, body.as_bytes()));
            answers.0.push(ask_http2(server, "POST", &path, kind, &key, body.as_bytes()));
        }
    }
}

/// What stands in a path is neither logged nor told back.
#[tokio::test]
async fn nothing_of_an_unknown_path_can_be_read() {
    let mut server = Server::new();
    server.set("ACQUAINT_LOG__LEVEL", "trace");
    server.start();
    let mut secrets = Secrets { api_key: server.api_key(), ..Default::default() };
    let mut answers = Answers::default();
    let phone = &number(555);
    secrets.numbers.insert(phone.clone());
    let key = format!("Bearer {}", secrets.api_key);
    for (method, path) in [
        ("POST", format!("/rolodex.RolodexService/{phone}")),
        ("POST", format!("/rolodex.RolodexService/Ping/{phone}")),
        ("POST", format!("/rolodex.RolodexService/Ping?phone={phone}")),
        ("GET", format!("/rolodex.RolodexService/Ping?encoding=json&message=%22{phone}%22")),
        ("GET", format!("/healthz?phone={phone}")),
        ("GET", format!("/{phone}")),
    ] {
        answers.0.push(ask(&server, method, &path, "application/json", &key, b"{}"));
        answers.0.push(ask_http2(&server, method, &path, "application/json", &key, b"{}"));
    }
    check(&server, &mut secrets, &answers);
}

fn connect(server: &Server) -> TcpStream {
    let stream = TcpStream::connect(server.url().strip_prefix("http://").unwrap()).unwrap();
    stream.set_read_timeout(Some(support::PATIENCE)).unwrap();
    stream
}

/// HTTP/1.1: the answer as it came.
fn ask(server: &Server, method: &str, path: &str, kind: &str, key: &str, body: &[u8]) -> Vec<u8> {
    let mut stream = connect(server);
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: acquaint\r\nconnection: close\r\nauthorization: {key}\r\n\
         content-type: {kind}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let mut answer = Vec::new();
    // The server may answer and hang up before it has read all.
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
    let _ = stream.read_to_end(&mut answer);
    assert!(answer.starts_with(b"HTTP/1.1 "));
    answer
}

/// HTTP/2 with prior knowledge (RFC 9113): the frames of the answer, whose header fields stay compressed. A body is cut
/// to what one frame holds.
fn ask_http2(server: &Server, method: &str, path: &str, kind: &str, key: &str, body: &[u8]) -> Vec<u8> {
    let mut stream = connect(server);
    let fields = [
        (":method", method),
        (":scheme", "http"),
        (":authority", "acquaint"),
        (":path", path),
        ("authorization", key),
        ("content-type", kind),
    ];
    // Each a literal without indexing, not Huffman-coded (RFC 7541, section 6.2.2).
    let fields =
        fields.iter().flat_map(|(name, value)| [vec![0], hpack_text(name), hpack_text(value)].concat());
    let sent = [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        frame(4, 0, 0, &[]),
        frame(1, 4, 1, &fields.collect::<Vec<_>>()),
        frame(0, 1, 1, &body[..body.len().min(16_000)]),
    ];
    stream.write_all(&sent.concat()).unwrap();
    let mut answer = Vec::new();
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).unwrap();
        let mut payload =
            vec![0; usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2])];
        stream.read_exact(&mut payload).unwrap();
        let (kind, flags, of_the_answer) = (head[3], head[4], head[8] == 1);
        answer.extend(payload);
        // The end of its data or its headers, or a reset.
        if of_the_answer && (kind == 3 || kind < 2 && flags & 1 == 1) {
            return answer;
        }
        assert_ne!(kind, 7, "the server ends the connection");
    }
}

fn hpack_text(text: &str) -> Vec<u8> {
    let mut bytes = match text.len() {
        length @ 0..127 => vec![length as u8],
        length @ 127..255 => vec![127, (length - 127) as u8],
        _ => panic!("too long for this test"),
    };
    bytes.extend(text.as_bytes());
    bytes
}

fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).unwrap().to_be_bytes();
    [&[0, length[0], length[1], kind, flags, 0, 0, 0, stream], payload].concat()
}

/// A number as text, with and without the country, and as an integer of 48 bits or more in both byte orders.
fn forms(number: &str) -> Vec<Vec<u8>> {
    let digits = number.trim_start_matches('+');
    let country = if number.starts_with("+1") { 1 } else { 2 };
    let national = &digits[country..];
    let integers = [digits, national].map(|digits| digits.parse::<u64>().unwrap());
    let mut forms = vec![national.as_bytes().to_vec()];
    forms.extend(
        integers
            .iter()
            .flat_map(|integer| [integer.to_be_bytes()[2..].to_vec(), integer.to_le_bytes()[..6].to_vec()]),
    );
    if country == 1 {
        let (area, exchange, line) = (&national[..3], &national[3..6], &national[6..]);
        forms.push(format!("({area}) {exchange}-{line}").into_bytes());
        forms.push(format!("{area}.{exchange}.{line}").into_bytes());
        forms.push(format!("{area}-{exchange}-{line}").into_bytes());
    }
    forms
}

/// For all but codes, which are too short to be told from any number in a log.
fn search(secrets: &Secrets) -> Search {
    let mut search = Search::default();
    for number in &secrets.numbers {
        forms(number).into_iter().for_each(|form| search.add(form, number));
    }
    for text in ["leaky.person", "other.leak", "third@leaks", "Leaky Name"]
        .into_iter()
        .map(str::to_owned)
        .chain(secrets.tokens.iter().cloned())
    {
        search.add(text.as_bytes(), &text);
    }
    for token in &secrets.tokens {
        search.add(URL_SAFE_NO_PAD.decode(token).unwrap(), "the bytes of a token");
    }
    search
}

fn check(server: &Server, secrets: &mut Secrets, answers: &Answers) {
    secrets.codes.extend(server.outbox().into_iter().map(|(_, code)| code));
    let mut everywhere = search(secrets);
    let mut found: Vec<String> = Vec::new();
    let mut note = |place: &str, all: Vec<(usize, &str)>, bytes: &[u8]| {
        for (at, what) in all.into_iter().take(3) {
            let around = &bytes[at.saturating_sub(120)..(at + 40).min(bytes.len())];
            found.push(format!("{what} in {place}: …{}…", String::from_utf8_lossy(around).escape_debug()));
        }
    };
    // The key file and the configuration: all but the API key.
    for file in support::files(&server.home()) {
        let name = file.path.file_name().unwrap().to_str().unwrap();
        if name == "acquaint.toml" || name == "keys.json" {
            note(name, everywhere.find(&file.bytes), &file.bytes);
        }
    }
    for answer in &answers.0 {
        note("an answer", everywhere.find(answer), answer);
    }
    everywhere.add(secrets.api_key.as_bytes(), "the API key");
    for account in &secrets.accounts {
        everywhere.add(account.strip_prefix("did:plc:").unwrap(), account);
    }
    let temporary = support::files(&server.temporary());
    for file in support::files(&server.data()).into_iter().chain(temporary) {
        let place = file.path.display().to_string();
        note(&place, everywhere.find(&file.bytes), &file.bytes);
        let mut codes = Search::default();
        secrets.codes.iter().for_each(|code| codes.add(code.as_bytes(), code));
        note(&place, codes.find(&file.bytes), &file.bytes);
    }
    let log = server.log();
    let log: Vec<&str> = log.lines().filter(|line| !line.starts_with(OUTBOX)).collect();
    for line in log {
        note("the log", everywhere.find(line.as_bytes()), line.as_bytes());
        // Without the time, whose fraction of a second has six digits too.
        let told = line.split_once("Z ").map_or(line, |(_, told)| told);
        let words = told.split(|character: char| !character.is_ascii_alphanumeric());
        note(
            "the log",
            words.filter(|word| secrets.codes.contains(*word)).map(|code| (0, code)).collect(),
            line.as_bytes(),
        );
    }
    assert!(found.is_empty(), "{} leaks: {:#?}", found.len(), &found[..found.len().min(12)]);
}
