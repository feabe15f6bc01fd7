//! Private lookup over several shards, and over several servers that each hold a part of them; by the client library.

use std::net::TcpListener;
use std::time::Duration;

use acquaint_client::Settings;
use acquaint_client::discovery::private::Directory;
use acquaint_client::discovery::{Book, Caller, Profile, Trust};
use acquaint_protocol::identifier::{Identifier, Sii};
use acquaint_protocol::lookup::Mode;
use acquaint_server::config::Config;
use acquaint_testkit::{API_KEY, BACK_END_KEY, PostgresApp, back_end, did, number};
use serde_json::{Value, json};

/// Four shards of some twenty records.
fn configure(config: &mut Config) {
    back_end(config);
    config.directory.provider = "contacts.example".into();
    config.private_lookup.psm = true;
    config.private_lookup.shard_records = 24;
    config.lookups.guaranteed = 100_000;
    config.lookups.queries = 100_000;
}

fn sii(who: usize) -> Sii {
    Sii::from(&Identifier::parse(&number(who), None).unwrap())
}

async fn load(app: &PostgresApp, people: std::ops::Range<usize>) {
    let mappings: Vec<Value> =
        people.map(|who| json!({ "identifier": number(who), "account": did(who) })).collect();
    let body = json!({ "mappings": mappings }).to_string();
    let key = format!("authorization: Bearer {API_KEY}\r\n");
    let loaded = app.ask("POST", "/operator/directory/mappings", &key, &body).await;
    assert_eq!(loaded.status, 200, "{loaded:?}");
}

/// Who of the people below `n` is found through a server, by a person who has never asked.
async fn found(app: &PostgresApp, asker: usize, n: usize) -> Result<Vec<usize>, String> {
    let settings = Settings { api_key: BACK_END_KEY.into(), ..Settings::default() };
    let caller = Caller::BackEnd(did(asker));
    let mut directory = Directory::new(&app.url, settings, caller, Mode::Psm).unwrap();
    let people: Vec<Sii> = (0..n).map(sii).collect();
    let mut book = Book::new(Profile::Psm);
    let now = u64::try_from(app.discovery().now() / 1000).unwrap();
    // Who found no room in a padded round is asked for in the next.
    for _ in 0..4 {
        let done = directory.refresh(&mut book, &people, &Trust::default(), now, |_| {}).await;
        if done.map_err(|error| error.to_string())?.postponed == 0 {
            break;
        }
    }
    Ok((0..n).filter(|who| book.found(&sii(*who)) == Some(&did(*who))).collect())
}

/// Waits until a server finds just these: shards are being cut anew.
async fn finds(app: &PostgresApp, n: usize, wanted: &[usize]) {
    let mut last = Ok(Vec::new());
    for asker in 900..960 {
        last = found(app, asker, n).await;
        if last.as_deref() == Ok(wanted) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    panic!("{last:?} in place of {wanted:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_is_divided_as_it_grows_and_over_several_servers() {
    let ports: Vec<TcpListener> = (0..2).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let addresses: Vec<_> = ports.iter().map(|port| port.local_addr().unwrap()).collect();
    drop(ports);
    let servers: Vec<String> =
        vec![format!("0-1 http://{}", addresses[0]), format!("2-3 http://{}", addresses[1])];
    let part = |at: usize, shards: &str| {
        let (listen, servers, shards) = (addresses[at], servers.clone(), shards.to_owned());
        move |config: &mut Config| {
            configure(config);
            config.listen = listen;
            config.private_lookup.shards = shards;
            config.private_lookup.servers = servers;
        }
    };
    let one = PostgresApp::start_with(part(0, "0-1")).await;
    let other = one.another(part(1, "2-3")).await;
    load(&one, 0..70).await;
    let everybody: Vec<usize> = (0..70).collect();
    finds(&one, 75, &everybody).await;
    finds(&other, 75, &everybody).await;
    let told = one.ask("GET", "/v1/discovery/parameters", "", "").await.json();
    assert_eq!(told["modes"][0]["shard_bits"], 2, "{told}");

    // A server says that a shard is another's, and sends nobody astray.
    let mut asked = vec![1, 0];
    for number in [1_u32, u32::try_from(told["modes"][0]["layout"].as_u64().unwrap()).unwrap()] {
        asked.extend(number.to_be_bytes());
    }
    asked.push(0);
    asked.extend(3_u32.to_be_bytes());
    asked.extend([0; 32]);
    asked.extend(1_u16.to_be_bytes());
    let elsewhere = one.as_account(&did(7), "POST", "/v1/discovery/query", &asked).await;
    assert_eq!(
        (elsewhere.status, elsewhere.text("code").as_str()),
        (421, "SHARD_ELSEWHERE"),
        "{elsewhere:?}"
    );

    // Withdrawn at one server, and gone from the shards of both.
    for who in [3, 4, 5, 6] {
        let gone = one.as_account(&did(who), "DELETE", "/v1/directory/listings", "").await;
        assert_eq!(gone.status, 200, "{gone:?}");
    }
    let left: Vec<usize> = (0..70).filter(|who| !(3..=6).contains(who)).collect();
    finds(&one, 75, &left).await;
    finds(&other, 75, &left).await;
}

/// While listings come and go, those that stand are found at all times, and those that never stood are not.
#[tokio::test(flavor = "multi_thread")]
async fn lookups_are_right_while_listings_come_and_go() {
    let app = PostgresApp::start_with(configure).await;
    load(&app, 0..20).await;
    finds(&app, 22, &(0..20).collect::<Vec<_>>()).await;
    let changes = async {
        for round in 0..4 {
            load(&app, 100 + 10 * round..110 + 10 * round).await;
            for who in 100 + 10 * round..105 + 10 * round {
                let gone = app.as_account(&did(who), "DELETE", "/v1/directory/listings", "").await;
                assert_eq!(gone.status, 200, "{gone:?}");
            }
        }
    };
    let looks = async {
        let mut right = 0;
        for asker in 800..812 {
            // Refused while the shards are cut anew; never answered wrongly.
            match found(&app, asker, 22).await {
                Ok(people) => {
                    assert_eq!(people, (0..20).collect::<Vec<_>>());
                    right += 1;
                }
                Err(error) => assert!(error.contains("try again") || error.contains("changed"), "{error}"),
            }
        }
        right
    };
    let ((), right) = tokio::join!(changes, looks);
    assert!(right >= 4, "{right}");
    let standing: Vec<usize> = (0..20).chain((100..140).filter(|who| who % 10 >= 5)).collect();
    finds(&app, 140, &standing).await;
}
