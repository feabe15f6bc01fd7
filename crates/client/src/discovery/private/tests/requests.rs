//! What is sent, and what is found.

use super::*;

#[tokio::test]
async fn people_are_found_in_both_modes_and_in_all_shards() {
    for mode in Mode::ALL {
        for shard_bits in [0, 2] {
            let listings = (0..40).map(|number| (0, sii(number), account(number))).collect();
            let provider = Provider::with(mode, listings, |terms| terms.shard_bits = shard_bits);
            let server = TestServer::start(provider).await;
            let (mut directory, mut book) = (server.directory(), book(mode));
            let people = contacts(34..44);
            let mut told = Vec::new();
            let outcome = directory
                .refresh(&mut book, &people, &Trust::default(), NOW, |progress| told.push(progress))
                .await;
            let done = outcome.unwrap();
            assert_eq!(found(&book, &people), (34..40).map(account).collect::<Vec<_>>(), "{mode:?}");
            assert!(people.iter().all(|contact| book.looked_up_at(contact) == Some(NOW)));

            let each = per_shard(10, shard_bits);
            let shards = 1 << shard_bits;
            let expected = Refreshed {
                asked: 10,
                evaluated: if mode == Mode::Psm { 10 } else { 0 },
                queries: each * shards,
                keys_sent: 1,
                round_trips: shards + usize::from(mode == Mode::Psm),
                sent: done.sent,
                received: done.received,
                first_use: book.signing_key(),
                ..Refreshed::default()
            };
            assert_eq!(done, expected);
            let seen = server.seen();
            let paths: Vec<&str> = seen.iter().map(|seen| seen.path.as_str()).collect();
            let oprf = ["POST oprf"].iter().take(usize::from(mode == Mode::Psm));
            let all = ["GET parameters"].iter().chain(oprf).chain(&["PUT keys"]).copied();
            let all: Vec<&str> = all.chain(vec!["POST query"; shards]).collect();
            assert_eq!(paths, all);
            for call in &seen {
                let token = call.headers.get("authorization").map(|token| token.to_str().unwrap());
                assert_eq!(token, (call.path != "GET parameters").then_some("Bearer token"));
                let content = call.headers.get("content-type");
                assert!(call.body.is_empty() || content.unwrap() == "application/octet-stream");
            }
            assert_eq!(
                done.sent,
                seen.iter().map(|seen| u64::try_from(seen.body.len()).unwrap()).sum::<u64>()
            );
            assert!(told.is_sorted_by_key(|progress| progress.answered));
            assert!(told.iter().all(|progress| progress.queries == each * shards));
            assert_eq!(told.last().unwrap().answered, each * shards);
        }
    }
}

#[tokio::test]
async fn tomorrow_no_output_is_evaluated_again_and_new_keys_are_made() {
    for mode in Mode::ALL {
        let server = TestServer::start(Provider::new(mode, 0..10)).await;
        let (mut directory, people) = (server.directory(), contacts(5..15));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.book");
        let mut book = Book::open(&path, mode.into()).unwrap();
        refresh(&mut directory, &mut book, &people, NOW).await.unwrap();
        let first = server.seen();
        let keys = |seen: &[server::Seen]| {
            seen.iter().find(|seen| seen.path == "PUT keys").map(|seen| seen.body.clone())
        };
        assert!(keys(&first).is_some());

        book.save(&path).unwrap();
        let mut book = Book::open(&path, mode.into()).unwrap();
        assert_eq!(found(&book, &people).len(), 5);
        let done = refresh(&mut directory, &mut book, &people, NOW + FRESH_S - 1).await.unwrap();
        assert_eq!(done, Refreshed { fresh: 10, ..Refreshed::default() });
        // One more a little later: the keys are still there.
        let soon = refresh(&mut directory, &mut book, &contacts([1]), NOW + 60).await.unwrap();
        assert_eq!((soon.asked, soon.keys_sent), (1, 0));
        assert!(server.paths().iter().all(|path| path == "POST query" || path == "POST oprf"));

        server.state.lock().unwrap().provider.terms.keys_ttl_s = 10 * 86_400;
        let done = refresh(&mut directory, &mut book, &people, NOW + FRESH_S).await.unwrap();
        assert_eq!((done.asked, done.evaluated, done.keys_sent, done.queries), (10, 0, 1, 10));
        let second = server.seen();
        assert_eq!(second.iter().map(|seen| &seen.path).collect::<Vec<_>>(), ["PUT keys", "POST query"]);
        assert_ne!(keys(&first), keys(&second), "a secret is used for a day");
        assert_eq!(found(&book, &people).len(), 5);
    }
}

/// Byte for byte, but for what is random: hits, misses, one contact, ten, and a planned round for nobody.
#[tokio::test]
async fn what_is_sent_is_the_same_whoever_is_asked_for_and_found() {
    let everybody = || (0..100).map(|number| (0, sii(number), account(number))).collect::<Vec<_>>();
    for mode in Mode::ALL {
        let change = |terms: &mut Terms| (terms.shard_bits, terms.max_queries) = (1, 7);
        let mut shapes = Vec::new();
        for (listings, people) in [
            (everybody(), contacts(0..10)),
            (everybody(), contacts(200..210)),
            (vec![], contacts(0..10)),
            (everybody(), contacts([3])),
            (everybody(), contacts(98..105)),
        ] {
            let server = TestServer::start(Provider::with(mode, listings, change)).await;
            refresh(&mut server.directory(), &mut book(mode), &people, NOW).await.unwrap();
            shapes.push(server.shapes());
        }
        let queries = shapes[0].iter().filter(|(path, ..)| path == "POST query");
        assert_eq!(queries.map(|(.., head)| head[16]).collect::<Vec<_>>(), [7, 3, 7, 3]);
        for other in &shapes[1..] {
            assert_eq!(*other, shapes[0], "{mode:?}");
        }
        let server = TestServer::start(Provider::with(mode, everybody(), change)).await;
        let (mut directory, mut book) = (server.directory(), book(mode));
        for people in [vec![], contacts(0..9), contacts(0..9), contacts([5]), vec![]] {
            let outcome = directory.lookup(&mut book, &people, 10, &Trust::default(), NOW).await;
            assert_eq!(outcome.unwrap().asked, people.len());
            let seen: Vec<_> =
                server.shapes().into_iter().filter(|(path, ..)| path == "POST query").collect();
            let wanted: Vec<_> =
                shapes[0].iter().filter(|(path, ..)| path == "POST query").cloned().collect();
            assert_eq!(seen, wanted, "{mode:?}");
        }
        assert_eq!(found(&book, &contacts(0..10)).len(), 9);
        let outcome = directory.lookup(&mut book, &contacts(0..11), 10, &Trust::default(), NOW).await;
        assert!(matches!(outcome, Err(DiscoveryError::TooManyContacts)));
    }
}

#[tokio::test]
async fn a_lost_answer_is_asked_for_with_the_same_bytes() {
    let server = TestServer::start(Provider::new(Mode::Psm, 0..10)).await;
    let faults = [Fault::None, Fault::Lost];
    server.faults([faults, faults, faults].concat());
    let mut book = book(Mode::Psm);
    refresh(&mut server.directory(), &mut book, &contacts(5..15), NOW).await.unwrap();
    let seen = server.seen();
    let paths: Vec<&str> = seen.iter().map(|seen| seen.path.as_str()).collect();
    let twice = ["POST oprf", "POST oprf", "PUT keys", "PUT keys", "POST query", "POST query"];
    assert_eq!(paths[1..], twice);
    for pair in seen[1..].chunks(2) {
        assert_eq!(pair[0].body, pair[1].body);
    }
    assert_eq!(found(&book, &contacts(5..15)).len(), 5);
}

#[tokio::test]
async fn each_server_is_asked_for_its_shards_and_gets_keys_once() {
    for mode in Mode::ALL {
        let listings = || (0..40).map(|number| (0, sii(number), account(number))).collect::<Vec<_>>();
        let of = |servers: Vec<Server>| {
            Provider::with(mode, listings(), |terms| (terms.shard_bits, terms.servers) = (2, servers))
        };
        let (one, two) = (TestServer::start(of(vec![])).await, TestServer::start(of(vec![])).await);
        let servers = vec![
            Server { first: 0, last: 0, url: one.url.clone() },
            Server { first: 1, last: 3, url: format!("{}/", two.url) },
        ];
        one.provide(of(servers.clone()));
        two.provide(of(servers));
        (one.state.lock().unwrap().shards, two.state.lock().unwrap().shards) = (0..1, 1..4);
        let (mut directory, mut book) = (one.directory(), book(mode));
        let done = refresh(&mut directory, &mut book, &contacts(0..20), NOW).await.unwrap();
        assert_eq!((done.asked, done.keys_sent), (20, 2));
        assert_eq!(found(&book, &contacts(0..20)).len(), 20);
        let count = |server: &TestServer| {
            let paths = server.paths();
            let of = |path: &str| paths.iter().filter(|other| *other == path).count();
            (of("PUT keys"), of("POST query"))
        };
        assert_eq!((count(&one), count(&two)), ((1, 1), (1, 3)));
        refresh(&mut directory, &mut book, &contacts(20..21), NOW).await.unwrap();
        assert_eq!((count(&one), count(&two)), ((0, 1), (0, 3)));
    }
}

#[tokio::test]
async fn many_at_once_are_asked_of_batch_tables() {
    for mode in Mode::ALL {
        let change = |terms: &mut Terms| {
            terms.shard_bits = 1;
            (terms.batch_tables, terms.batch_queries) = (16, 4);
            (terms.batch_rows, terms.batch_columns) = (4, 2);
        };
        let listings = (0..60).map(|number| (0, sii(number), account(number))).collect();
        let server = TestServer::start(Provider::with(mode, listings, change)).await;
        let (mut directory, mut book) = (server.directory(), book(mode));
        let people = contacts(50..70);
        let done = refresh(&mut directory, &mut book, &people, NOW).await.unwrap();
        // 50 lookups in each shard, in one batch of 64: four for each table.
        assert_eq!((done.asked, done.postponed, done.queries), (20, 0, 2 * 16));
        let shapes: Vec<_> = server.shapes().into_iter().filter(|(path, ..)| path == "POST query").collect();
        assert_eq!(
            shapes.iter().map(|(.., head)| (head[10], head[14], head[16])).collect::<Vec<_>>(),
            [(1, 0, 16), (1, 1, 16)]
        );
        assert_eq!(found(&book, &people), (50..60).map(account).collect::<Vec<_>>());
        // For 10 the tables of the shards cost less: 64 is more than four times that.
        let done = refresh(&mut directory, &mut book, &contacts(40..45), NOW).await.unwrap();
        assert_eq!((done.asked, done.queries), (5, 2 * 10));
        let shapes: Vec<_> = server.shapes().into_iter().filter(|(path, ..)| path == "POST query").collect();
        assert!(shapes.iter().all(|(.., head)| head[10] == 0) && shapes.len() == 2);
        assert_eq!(found(&book, &contacts(40..45)).len(), 5);
    }
}

#[tokio::test]
async fn an_identifier_can_have_several_accounts() {
    for mode in Mode::ALL {
        let listings = vec![(0, sii(1), account(1)), (3, sii(1), account(3)), (0, sii(2), account(2))];
        let server = TestServer::start(Provider::with(mode, listings, |_| ())).await;
        let mut directory = server.directory();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("third.book");
        let mut third = Book::open_index(&path, mode.into(), 3).unwrap();
        refresh(&mut directory, &mut third, &contacts([1, 2]), NOW).await.unwrap();
        assert_eq!((third.found(&sii(1)), third.found(&sii(2))), (Some("did:plc:3"), None));
        third.save(&path).unwrap();
        assert_eq!(Book::open_index(&path, mode.into(), 3).unwrap().index(), 3);
        let error = Book::open_index(&path, mode.into(), 0).unwrap_err();
        assert!(matches!(error, crate::discovery::BookError::OtherIndex(_)), "{error}");
        let mut first = Book::open_index(&folder.path().join("new.book"), mode.into(), 0).unwrap();
        refresh(&mut directory, &mut first, &contacts([1, 2]), NOW).await.unwrap();
        assert_eq!((first.found(&sii(1)), first.found(&sii(2))), (Some("did:plc:1"), Some("did:plc:2")));
    }
}
