//! Private lookup on each store: identifiers are resolved through HTTP, and what is asked wrongly is refused.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use acquaint_pir::{
    BatchShape, Client, Configuration, Keyword, Parameters as PirParameters, Plan, SecretKey, Shape,
};
use acquaint_protocol::identifier::Sii;
use acquaint_protocol::lookup::parameters::{Parameters, Published, Terms};
use acquaint_protocol::lookup::wire::{
    ANSWER_HEADER_BYTES, KeysAnswer, OprfAnswer, OprfRequest, QueryHeader, keys_id,
};
use acquaint_protocol::lookup::{Keys, Kind, Mode, find_record, input, pir_output, shard_of};
use acquaint_protocol::oprf::{EvaluatedElement, Proof, blind};
use acquaint_server::config::Config;
use acquaint_testkit::{Answer, back_end, did, number};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::json;

use super::App;

pub(crate) async fn app(change: impl FnOnce(&mut Config)) -> App {
    App::start_with(|config| {
        back_end(config);
        config.directory.provider = "contacts.example".into();
        config.private_lookup.psm = true;
        config.private_lookup.pir = true;
        config.http.account_calls = 100_000;
        config.verification.emails = true;
        change(config);
    })
    .await
}

async fn enrol(app: &App, who: usize, identifier: &str) -> String {
    let asked = json!({ "identifier": identifier }).to_string();
    let sent = app.as_account(&did(who), "POST", "/v1/directory/verifications", &asked).await;
    assert_eq!(sent.status, 202, "{sent:?}");
    let guess = json!({ "identifier": identifier, "code": app.code(identifier) }).to_string();
    let confirmed = app.as_account(&did(who), "POST", "/v1/directory/verifications/confirm", &guess).await;
    let listing = json!({ "token": confirmed.text("token") }).to_string();
    let listed = app.as_account(&did(who), "POST", "/v1/directory/listings", &listing).await;
    assert_eq!(listed.status, 201, "{listed:?}");
    listed.text("id")
}

async fn parameters(app: &App, mode: Mode) -> Parameters {
    let answer = app.ask("GET", "/v1/discovery/parameters", "", "").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let published: Published = serde_json::from_slice(&answer.body).unwrap();
    let parameters = published.of(mode).unwrap().clone();
    let now = u64::try_from(app.discovery().now() / 1000).unwrap();
    parameters.verify(mode, &parameters.signing_key.0, now).unwrap();
    parameters
}

fn configuration(terms: &Terms) -> Configuration {
    let columns = usize::try_from(terms.columns).unwrap();
    let shape = Shape { rows: terms.rows.into(), columns, slots: 4, answers: 2 };
    Configuration::new(PirParameters::new(shape).unwrap(), &terms.epoch_bytes(Kind::Shard).unwrap())
}

/// A client by the protocol and the engine alone.
struct Seeker {
    who: usize,
    mode: Mode,
    terms: Terms,
    client: Client,
    secret: SecretKey,
    keys: Vec<u8>,
    random: StdRng,
}

impl Seeker {
    async fn new(app: &App, who: usize, mode: Mode) -> Self {
        let terms = parameters(app, mode).await.terms;
        // Another one's keys and requests, each time.
        static SEEKERS: AtomicU64 = AtomicU64::new(0);
        let mut random = StdRng::seed_from_u64(SEEKERS.fetch_add(1, Ordering::Relaxed));
        let client = Client::new(configuration(&terms));
        let secret = SecretKey::generate(&mut random);
        let keys = client.evaluation_keys(&secret, &mut random);
        Self { who, mode, terms, client, secret, keys, random }
    }

    async fn send_keys(&self, app: &App) -> Answer {
        app.as_account(&did(self.who), "PUT", "/v1/discovery/keys", &self.keys).await
    }

    /// What identifiers yield; asks the server where the mode wants it.
    async fn resolve(&mut self, app: &App, siis: &[Sii]) -> Vec<Keys> {
        let scope = self.terms.scope().unwrap();
        let inputs: Vec<_> = siis.iter().map(|sii| input(sii, 0)).collect();
        if self.mode == Mode::Pir {
            return inputs.iter().map(|input| Keys::derive(&scope, &pir_output(&scope, input))).collect();
        }
        let random = &mut self.random;
        let fill = |bytes: &mut [u8]| {
            random.fill_bytes(bytes);
            Ok::<(), ()>(())
        };
        let inputs: Vec<Vec<u8>> = inputs.iter().map(|input| input.to_vec()).collect();
        let (blinding, elements) = blind(&inputs, fill).unwrap();
        let elements = elements.iter().map(|element| element.to_bytes()).collect();
        let mut request = [0; 16];
        self.random.fill_bytes(&mut request);
        let message = OprfRequest { epoch: self.terms.epoch, request, elements }.encode().unwrap();
        let answer = app.as_account(&did(self.who), "POST", "/v1/discovery/oprf", &message).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let OprfAnswer { epoch, elements, proof } = OprfAnswer::decode(&answer.body).unwrap();
        assert_eq!(epoch, self.terms.epoch);
        let elements: Vec<_> = elements.into_iter().map(EvaluatedElement).collect();
        let outputs = blinding.finalize(&elements, &Proof(proof), &self.terms.oprf_key()).unwrap();
        outputs.iter().map(|output| Keys::derive(&scope, output.as_bytes())).collect()
    }

    fn header(&mut self, shard: u32, count: usize) -> QueryHeader {
        let mut request = [0; 16];
        self.random.fill_bytes(&mut request);
        QueryHeader {
            mode: self.mode,
            epoch: self.terms.epoch,
            layout: self.terms.layout,
            kind: Kind::Shard,
            shard,
            keys: keys_id(&self.keys),
            request,
            count: u16::try_from(count).unwrap(),
        }
    }

    fn query(&mut self, keyword: [u8; 16]) -> Vec<u8> {
        let shape = self.client.configuration().parameters().shape();
        let lookup = Keyword::new(keyword).lookup(shape);
        self.client.query(&self.secret, &lookup, &mut self.random).unwrap()
    }

    /// A request for keywords of one shard, as it is sent.
    fn request(&mut self, shard: u32, keywords: &[[u8; 16]]) -> Vec<u8> {
        let mut message = self.header(shard, keywords.len()).encode();
        for keyword in keywords {
            message.extend(self.query(*keyword));
        }
        message
    }

    async fn ask(&self, app: &App, message: &[u8]) -> Answer {
        app.as_account(&did(self.who), "POST", "/v1/discovery/query", message).await
    }

    /// Whose identifiers are.
    async fn look(&mut self, app: &App, siis: &[Sii]) -> Vec<Option<String>> {
        let keys = self.resolve(app, siis).await;
        let mut found = Vec::new();
        for keys in keys {
            let shard = shard_of(keys.shard(), self.terms.shard_bits);
            let message = self.request(shard, &[keys.keyword()]);
            let answer = self.ask(app, &message).await;
            assert_eq!(answer.status, 200, "{answer:?}");
            found.extend(self.read(&[keys], &answer));
        }
        found
    }

    fn read(&self, keys: &[Keys], answer: &Answer) -> Vec<Option<String>> {
        let parameters = self.client.configuration().parameters();
        let each = parameters.answer_bytes();
        assert_eq!(answer.body.len(), ANSWER_HEADER_BYTES + keys.len() * each);
        let answers = answer.body[ANSWER_HEADER_BYTES..].chunks_exact(each);
        let open = |(keys, answer): (&Keys, &[u8])| {
            let lookup = Keyword::new(keys.keyword()).lookup(parameters.shape());
            let slots = self.client.recover(&self.secret, &lookup, answer).unwrap();
            find_record(keys, self.mode, "contacts.example", &slots)
        };
        keys.iter().zip(answers).map(open).collect()
    }
}

fn sii(text: &str) -> Sii {
    Sii::parse(&if text.contains('@') { format!("mailto:{text}") } else { format!("tel:{text}") }).unwrap()
}

#[tokio::test]
async fn who_is_listed_is_found_in_both_modes_and_nobody_else() {
    let app = app(|_| {}).await;
    let listing = enrol(&app, 1, &number(1)).await;
    enrol(&app, 2, "ada@example.com").await;
    let asked = [sii(&number(1)), sii(&number(3)), sii("ada@example.com")];
    for mode in Mode::ALL {
        let mut seeker = Seeker::new(&app, 7, mode).await;
        let kept = seeker.send_keys(&app).await;
        assert_eq!(kept.status, 200, "{kept:?}");
        assert_eq!(KeysAnswer::decode(&kept.body).unwrap().id, keys_id(&seeker.keys));
        assert_eq!(seeker.look(&app, &asked).await, [Some(did(1)), None, Some(did(2))], "{mode:?}");
    }
    // Withdrawn, and gone from both at once.
    let path = format!("/v1/directory/listings/{listing}");
    let gone = app.as_account(&did(1), "DELETE", &path, "").await;
    assert_eq!(gone.status, 200, "{gone:?}");
    for mode in Mode::ALL {
        let mut seeker = Seeker::new(&app, 7, mode).await;
        seeker.send_keys(&app).await;
        assert_eq!(seeker.look(&app, &asked).await, [None, None, Some(did(2))], "{mode:?}");
    }
    app.stop().await;
}

/// What passes by on the wire is the same for hit, miss and filling, but for bytes that are random.
#[tokio::test]
async fn hit_miss_and_filling_look_alike_on_the_wire() {
    let app = app(|_| {}).await;
    enrol(&app, 1, &number(1)).await;
    let mut seeker = Seeker::new(&app, 7, Mode::Psm).await;
    seeker.send_keys(&app).await;
    let keys = seeker.resolve(&app, &[sii(&number(1)), sii(&number(2))]).await;
    let mut keywords: Vec<[u8; 16]> = keys.iter().map(Keys::keyword).collect();
    let mut filling = [0; 16];
    seeker.random.fill_bytes(&mut filling);
    keywords.push(filling);
    let mut shown = Vec::new();
    for keyword in keywords {
        let message = seeker.request(0, &[keyword]);
        let answer = seeker.ask(&app, &message).await;
        assert_eq!(answer.status, 200);
        let head: Vec<String> = answer
            .head
            .lines()
            .filter(|line| !line.starts_with("date") && !line.contains("-id"))
            .map(str::to_owned)
            .collect();
        // Version and mode, epoch, layout, kind, shard and keys stand before what is random: the request's id.
        shown.push((
            message.len(),
            message[..31].to_vec(),
            head,
            answer.body.len(),
            answer.body[..4].to_vec(),
        ));
    }
    assert_eq!(shown[0], shown[1]);
    assert_eq!(shown[0], shown[2]);
    app.stop().await;
}

#[tokio::test]
async fn what_is_asked_wrongly_is_told_before_anything_is_charged() {
    let app = app(|config| config.lookups.queries = 100).await;
    enrol(&app, 1, &number(1)).await;
    let mut seeker = Seeker::new(&app, 7, Mode::Psm).await;
    let keyword = [7; 16];
    let left = || async {
        let quota = app.as_account(&did(7), "GET", "/v1/lookup/quota", "").await;
        quota.json()["queries"]["left"].as_u64().unwrap()
    };
    // Keys that are not there, and another session's.
    let message = seeker.request(0, &[keyword]);
    let unknown = seeker.ask(&app, &message).await;
    assert_eq!((unknown.status, unknown.text("code").as_str()), (409, "KEYS_UNKNOWN"), "{unknown:?}");
    assert_eq!(seeker.send_keys(&app).await.status, 200);
    let stolen = app.as_account(&did(8), "POST", "/v1/discovery/query", &message).await;
    assert_eq!((stolen.status, stolen.text("code").as_str()), (409, "KEYS_UNKNOWN"));
    let before = left().await;

    let good = seeker.request(0, &[keyword]);
    let changed = |at: usize, bytes: &[u8]| {
        let mut message = good.clone();
        message[at..at + bytes.len()].copy_from_slice(bytes);
        message
    };
    let cases: Vec<(&str, Vec<u8>, u16, &str, &str)> = vec![
        ("empty", vec![], 400, "INVALID_REQUEST", ""),
        ("version", changed(0, &[2]), 400, "INVALID_REQUEST", "version"),
        ("mode", changed(1, &[9]), 400, "INVALID_REQUEST", "mode"),
        ("epoch", changed(2, &9_u32.to_be_bytes()), 409, "EPOCH_CHANGED", "epoch"),
        ("layout", changed(6, &9_u32.to_be_bytes()), 409, "LAYOUT_CHANGED", "layout"),
        ("kind", changed(10, &[9]), 400, "INVALID_REQUEST", "kind"),
        ("no batch tables", changed(10, &[1]), 400, "INVALID_REQUEST", "count"),
        ("shard", changed(11, &1_u32.to_be_bytes()), 400, "INVALID_REQUEST", "shard"),
        ("count", changed(47, &2_u16.to_be_bytes()), 400, "INVALID_REQUEST", "count"),
        ("count 0", changed(47, &0_u16.to_be_bytes()), 400, "INVALID_REQUEST", "count"),
        ("cut", good[..good.len() - 1].to_vec(), 400, "INVALID_REQUEST", "count"),
        ("longer", [good.clone(), vec![0]].concat(), 400, "INVALID_REQUEST", "count"),
        ("of another configuration", changed(50, &[0; 16]), 400, "INVALID_REQUEST", "entry 0"),
        ("a query's version", changed(49, &[7]), 400, "INVALID_REQUEST", "entry 0"),
        ("coefficients too large", changed(98, &[0xff; 64]), 400, "INVALID_REQUEST", "entry 0"),
    ];
    for (what, message, status, code, named) in cases {
        let answer = seeker.ask(&app, &message).await;
        assert_eq!((answer.status, answer.text("code").as_str()), (status, code), "{what}: {answer:?}");
        assert!(answer.text("detail").contains(named), "{what}: {}", answer.text("detail"));
    }
    let most = seeker.request(0, &vec![keyword; 65]);
    let many = seeker.ask(&app, &most).await;
    assert!(many.status == 400 && many.text("detail").contains("64"), "{many:?}");
    for (what, keys) in [
        ("none", vec![]),
        ("cut", seeker.keys[1..].to_vec()),
        ("version", [vec![9], seeker.keys[1..].to_vec()].concat()),
        ("noise", vec![0xff; seeker.keys.len()]),
    ] {
        let refused = app.as_account(&did(9), "PUT", "/v1/discovery/keys", &keys).await;
        assert_eq!(refused.status, 400, "{what}: {refused:?}");
        assert!(refused.text("detail").contains("evaluation keys"), "{what}: {refused:?}");
    }
    let huge = app.as_account(&did(9), "PUT", "/v1/discovery/keys", &vec![0; 1024 * 1024 + 1]).await;
    assert_eq!(huge.status, 413);
    // Elements: none, the identity, and what is no point.
    for (elements, named) in [(vec![], "elements"), (vec![[0; 32]], "entry 0"), (vec![[0xff; 32]], "entry 0")]
    {
        let mut message = vec![1];
        message.extend(1_u32.to_be_bytes());
        message.extend([3; 16]);
        message.extend(u16::try_from(elements.len()).unwrap().to_be_bytes());
        message.extend(elements.concat());
        let refused = app.as_account(&did(7), "POST", "/v1/discovery/oprf", &message).await;
        assert_eq!(refused.status, 400, "{refused:?}");
        assert!(refused.text("detail").contains(named) || named == "elements", "{refused:?}");
    }
    assert_eq!(left().await, before, "nothing was charged");
    // Work is charged each time, also for the same request.
    assert_eq!(seeker.ask(&app, &good).await.status, 200);
    assert_eq!(seeker.ask(&app, &good).await.status, 200);
    assert_eq!(left().await, before - 2);
    // In mode pir the identifiers of a repeated request are free, and another one may not come under its name.
    let mut seeker = Seeker::new(&app, 7, Mode::Pir).await;
    seeker.send_keys(&app).await;
    let good = seeker.request(0, &[keyword]);
    let identifiers = || async {
        let quota = app.as_account(&did(7), "GET", "/v1/lookup/quota", "").await;
        quota.json()["guaranteed"]["left"].as_u64().unwrap()
    };
    let before = identifiers().await;
    assert_eq!(seeker.ask(&app, &good).await.status, 200);
    assert_eq!(seeker.ask(&app, &good).await.status, 200);
    assert_eq!(identifiers().await, before - 1);
    let other = seeker.query(keyword);
    let reused = seeker.ask(&app, &[&good[..49], &other].concat()).await;
    assert_eq!(reused.status, 400, "{reused:?}");
    app.stop().await;
}

#[tokio::test]
async fn each_mode_is_charged_for_what_it_tells() {
    let app = app(|config| {
        config.lookups.guaranteed = 10;
        config.lookups.queries = 12;
    })
    .await;
    enrol(&app, 1, &number(1)).await;
    let quota = || async {
        let quota = app.as_account(&did(7), "GET", "/v1/lookup/quota", "").await.json();
        [quota["guaranteed"]["left"].as_u64().unwrap(), quota["queries"]["left"].as_u64().unwrap()]
    };
    let mut seeker = Seeker::new(&app, 7, Mode::Psm).await;
    seeker.send_keys(&app).await;
    seeker.send_keys(&app).await;
    assert_eq!(quota().await, [10, 11], "keys are a query's work, once");
    seeker.look(&app, &[sii(&number(1)), sii(&number(2))]).await;
    assert_eq!(quota().await, [8, 9]);
    let mut seeker = Seeker::new(&app, 7, Mode::Pir).await;
    seeker.send_keys(&app).await;
    seeker.look(&app, &[sii(&number(1)), sii(&number(2))]).await;
    assert_eq!(quota().await, [6, 6]);
    let many = seeker.request(0, &[[1; 16]; 7]);
    let refused = seeker.ask(&app, &many).await;
    assert_eq!(refused.status, 429, "{refused:?}");
    assert!(refused.header("retry-after").is_some());
    app.stop().await;
}

#[tokio::test]
async fn modes_that_are_off_are_not_there() {
    let app = app(|config| config.private_lookup.pir = false).await;
    let answer = app.ask("GET", "/v1/discovery/parameters", "", "").await;
    let published: Published = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(published.modes.len(), 1);
    let mut seeker = Seeker::new(&app, 7, Mode::Psm).await;
    seeker.send_keys(&app).await;
    let mut message = seeker.request(0, &[[1; 16]]);
    message[1] = 1;
    assert_eq!(seeker.ask(&app, &message).await.status, 404);
    let plain = json!({ "identifiers": [number(1)] }).to_string();
    assert_eq!(app.as_account(&did(7), "POST", "/v1/discovery/lookup", &plain).await.status, 404);
    let app = app.restart_with(|config| config.private_lookup.psm = false).await;
    for (method, path) in
        [("GET", "parameters"), ("POST", "oprf"), ("PUT", "keys"), ("POST", "query"), ("POST", "lookup")]
    {
        let answer = app.as_account(&did(7), method, &format!("/v1/discovery/{path}"), "x").await;
        assert_eq!(answer.status, 404, "{path}: {answer:?}");
    }
    app.stop().await;
}

#[tokio::test]
async fn a_back_end_is_answered_in_the_clear_where_that_is_switched_on() {
    let app = app(|config| config.private_lookup.plain = true).await;
    enrol(&app, 1, &number(1)).await;
    let asked = json!({ "identifiers": [number(2), number(1)] }).to_string();
    let answer = app.as_account(&did(7), "POST", "/v1/discovery/lookup", &asked).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let expected = json!({ "found": [{ "identifier": format!("tel:{}", number(1)), "account": did(1) }] });
    assert_eq!(answer.json(), expected);
    let left = app.as_account(&did(7), "GET", "/v1/lookup/quota", "").await.json();
    assert_eq!(left["guaranteed"]["left"], 48);
    let nobody = app.ask("POST", "/v1/discovery/lookup", "", &asked).await;
    assert_eq!(nobody.status, 401);
    let wrong = json!({ "identifiers": ["nobody"] }).to_string();
    let refused = app.as_account(&did(7), "POST", "/v1/discovery/lookup", &wrong).await;
    assert!(refused.status == 400 && refused.text("detail").contains("entry 0"), "{refused:?}");
    assert!(!refused.text("detail").contains("nobody"));
    app.stop().await;
}

/// Under a new key everybody is found again, under the former one as long as it is answered, and who withdraws is gone from
/// both.
#[tokio::test]
async fn a_new_key_is_filled_while_the_former_one_answers() {
    let app = app(|_| {}).await;
    let listing = enrol(&app, 1, &number(1)).await;
    enrol(&app, 2, &number(2)).await;
    let asked = [sii(&number(1)), sii(&number(2))];
    let mut before = Seeker::new(&app, 7, Mode::Psm).await;
    before.send_keys(&app).await;
    assert_eq!(before.look(&app, &asked).await, [Some(did(1)), Some(did(2))]);
    assert_eq!(app.discovery().rotate_directory("psm").await.unwrap(), 2);
    let mut after = loop {
        let seeker = Seeker::new(&app, 7, Mode::Psm).await;
        if seeker.terms.epoch == 2 {
            break seeker;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_ne!(before.terms.oprf_public_key, after.terms.oprf_public_key);
    assert_eq!(after.keys.len(), before.keys.len());
    after.send_keys(&app).await;
    assert_eq!(after.look(&app, &asked).await, [Some(did(1)), Some(did(2))]);
    before.send_keys(&app).await;
    assert_eq!(before.look(&app, &asked).await, [Some(did(1)), Some(did(2))]);
    let path = format!("/v1/directory/listings/{listing}");
    assert_eq!(app.as_account(&did(1), "DELETE", &path, "").await.status, 200);
    assert_eq!(before.look(&app, &asked).await, [None, Some(did(2))]);
    after.send_keys(&app).await;
    assert_eq!(after.look(&app, &asked).await, [None, Some(did(2))]);
    app.stop().await;
}

/// A whole address book against the batch tables: every table is asked as often as every other.
#[tokio::test]
async fn an_address_book_is_resolved_from_the_batch_tables() {
    let app = app(|config| config.private_lookup.batches = true).await;
    for who in 1..=3 {
        enrol(&app, who, &number(who)).await;
    }
    let mut seeker = Seeker::new(&app, 7, Mode::Psm).await;
    seeker.send_keys(&app).await;
    let siis: Vec<Sii> = (1..=20).map(|who| sii(&number(who))).collect();
    let keys = seeker.resolve(&app, &siis).await;
    let Terms { batch_tables, batch_queries, batch_rows, batch_columns, .. } = seeker.terms.clone();
    let columns = usize::try_from(batch_columns).unwrap();
    let shape = Shape { rows: batch_rows.into(), columns, slots: 8, answers: 2 };
    let batch = BatchShape { tables: batch_tables.into(), queries: batch_queries.into(), shape };
    let epoch = seeker.terms.epoch_bytes(Kind::Batch).unwrap();
    let client = Client::new(Configuration::new(batch.parameters().unwrap(), &epoch));
    let keywords: Vec<Keyword> = keys.iter().map(|keys| Keyword::new(keys.keyword())).collect();
    let plan = Plan::new(&keywords, &batch, &mut seeker.random);
    assert!(plan.left.is_empty());
    let header = QueryHeader { kind: Kind::Batch, ..seeker.header(0, batch.tables) };
    let mut message = header.encode();
    let lookups: Vec<_> = plan.keywords.iter().map(|keyword| keyword.lookup(shape)).collect();
    for lookups in lookups.chunks_exact(batch.queries) {
        message.extend(client.query_all(&seeker.secret, lookups, &mut seeker.random).unwrap());
    }
    let answer = seeker.ask(&app, &message).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let each = client.configuration().parameters().answer_bytes();
    assert_eq!(answer.body.len(), ANSWER_HEADER_BYTES + batch.tables * each);
    let answers = answer.body[ANSWER_HEADER_BYTES..].chunks_exact(each);
    let slots = lookups.chunks_exact(batch.queries).zip(answers);
    let slots =
        slots.flat_map(|(lookups, answer)| client.recover_all(&seeker.secret, lookups, answer).unwrap());
    let mut found = vec![None; siis.len()];
    for (slots, place) in slots.zip(&plan.placed) {
        let Some(place) = place else { continue };
        found[*place] = find_record(&keys[*place], Mode::Psm, "contacts.example", &slots);
    }
    let expected: Vec<_> = (1..=20).map(|who| (who <= 3).then(|| did(who))).collect();
    assert_eq!(found, expected);
    // One query too few is no batch.
    let short = QueryHeader { count: header.count - 1, ..header }.encode();
    let refused = seeker.ask(&app, &short).await;
    assert!(refused.status == 400 && refused.text("detail").contains("132"), "{refused:?}");
    app.stop().await;
}

/// A start finds the shards in their files, and what changed since in the store.
#[tokio::test]
async fn shards_are_opened_from_their_files() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("shards");
    let app = app(|config| config.private_lookup.files = path.clone()).await;
    let listing = enrol(&app, 1, &number(1)).await;
    enrol(&app, 2, &number(2)).await;
    let files = || {
        let names = std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<String> = names.map(|name| name.into_string().unwrap()).collect();
        names.sort();
        names
    };
    assert_eq!(files(), ["pir-1-1-0.shard", "psm-1-1-0.shard"]);
    let asked = [sii(&number(1)), sii(&number(2))];
    let withdraw = format!("/v1/directory/listings/{listing}");
    assert_eq!(app.as_account(&did(1), "DELETE", &withdraw, "").await.status, 200);
    let app = app.restart_with(|_| {}).await;
    let mut seeker = Seeker::new(&app, 7, Mode::Psm).await;
    seeker.send_keys(&app).await;
    assert_eq!(seeker.look(&app, &asked).await, [None, Some(did(2))]);
    // A damaged file is not used, and written anew.
    let damaged = path.join("psm-1-1-0.shard");
    let whole = std::fs::read(&damaged).unwrap();
    let mut bytes = whole.clone();
    let at = bytes.len() / 2;
    bytes[at] ^= 1;
    std::fs::remove_file(&damaged).unwrap();
    write(&damaged, &bytes);
    write(&path.join("psm-9-9-0.shard"), b"of an epoch that is over");
    let app = app.restart_with(|_| {}).await;
    let mut seeker = Seeker::new(&app, 7, Mode::Psm).await;
    seeker.send_keys(&app).await;
    assert_eq!(seeker.look(&app, &asked).await, [None, Some(did(2))]);
    assert_ne!(std::fs::read(&damaged).unwrap(), bytes);
    assert_eq!(files(), ["pir-1-1-0.shard", "psm-1-1-0.shard"]);
    app.stop().await;
}

fn write(path: &std::path::Path, bytes: &[u8]) {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    file.unwrap().write_all(bytes).unwrap();
}
