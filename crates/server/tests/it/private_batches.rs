//! Private lookup of an address book in the batch tables, by the client library.

use acquaint_client::Settings;
use acquaint_client::discovery::private::Directory;
use acquaint_client::discovery::{Book, Caller, Profile, Trust};
use acquaint_protocol::identifier::{Identifier, Sii};
use acquaint_protocol::lookup::Mode;
use acquaint_testkit::{API_KEY, App, BACK_END_KEY, back_end, did, number};
use serde_json::{Value, json};

fn sii(who: usize) -> Sii {
    Sii::from(&Identifier::parse(&number(who), None).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_book_is_resolved_by_one_query_for_each_batch_table() {
    let app = App::start_with(|config| {
        back_end(config);
        config.directory.provider = "contacts.example".into();
        config.private_lookup.psm = true;
        config.private_lookup.batches = true;
        config.lookups.guaranteed = 100_000;
        config.lookups.queries = 100_000;
    })
    .await;
    let mappings: Vec<Value> =
        (0..60).map(|who| json!({ "identifier": number(who), "account": did(who) })).collect();
    let body = json!({ "mappings": mappings }).to_string();
    let key = format!("authorization: Bearer {API_KEY}\r\n");
    let loaded = app.ask("POST", "/operator/directory/mappings", &key, &body).await;
    assert_eq!(loaded.status, 200, "{loaded:?}");

    let settings = Settings { api_key: BACK_END_KEY.into(), ..Settings::default() };
    let caller = Caller::BackEnd(did(900));
    let mut directory = Directory::new(&app.url, settings, caller, Mode::Psm).unwrap();
    let now = u64::try_from(app.discovery().now() / 1000).unwrap();
    // 10 of them are nobody's, and the class is that of 500.
    let people: Vec<Sii> = (0..70).map(sii).collect();
    let mut book = Book::new(Profile::Psm);
    let done = directory.lookup(&mut book, &people, 500, &Trust::default(), now).await.unwrap();
    assert_eq!((done.asked, done.postponed), (70, 0));
    // One request, with one query for each of the 132 tables; each makes four lookups.
    assert_eq!((done.queries, done.keys_sent), (132, 1));
    assert!(!done.unpadded);
    for who in 0..70 {
        let account = (who < 60).then(|| did(who));
        assert_eq!(book.found(&sii(who)), account.as_deref(), "{who}");
    }
    // Few are asked for in the table of all.
    let done = directory.lookup(&mut book, &people[..5], 10, &Trust::default(), now).await.unwrap();
    assert_eq!((done.asked, done.queries, done.keys_sent), (5, 10, 0));
    app.stop().await;
}
