//! What is sent where a quota has no room.

use super::*;

const LIMIT: Fault = Fault::Refused(429, "RATE_LIMIT_EXCEEDED");

/// How many elements each request for evaluations has, and how many queries each request of queries.
fn counts(server: &TestServer) -> (Vec<u16>, Vec<u16>) {
    let (mut elements, mut queries) = (Vec::new(), Vec::new());
    for (path, _, head) in server.shapes() {
        match path.as_str() {
            "POST oprf" => elements.push(u16::from_be_bytes([head[5], head[6]])),
            "POST query" => queries.push(u16::from_be_bytes([head[15], head[16]])),
            _ => {}
        }
    }
    (elements, queries)
}

fn is_limit(error: &DiscoveryError) -> bool {
    matches!(error, DiscoveryError::Call(ClientError::Refused { reason: Reason::RateLimitExceeded, .. }))
}

fn may_tell() -> Trust {
    Trust { unpadded: true, ..Trust::default() }
}

#[tokio::test]
async fn evaluations_go_down_by_classes_and_queries_are_sent_all_the_same() {
    let server = TestServer::start(Provider::new(Mode::Psm, 0..10)).await;
    let (mut directory, mut book) = (server.directory(), book(Mode::Psm));
    server.faults([Fault::None, LIMIT]);
    let error = refresh(&mut directory, &mut book, &contacts(0..3), NOW).await.unwrap_err();
    assert!(is_limit(&error), "{error}");
    assert_eq!(counts(&server), (vec![10], vec![10]), "the number is not told");
    let done = directory.done();
    assert_eq!((done.asked, done.evaluated, done.queries, done.unpadded), (0, 0, 10, false));
    assert!(done.sent > 1_000_000, "keys are among it: {}", done.sent);

    server.faults([LIMIT]);
    let outcome = directory.refresh(&mut book, &contacts(0..3), &may_tell(), NOW, |_| ()).await;
    let done = outcome.unwrap();
    assert_eq!((done.asked, done.evaluated, done.queries, done.unpadded), (3, 3, 10, true));
    assert_eq!(counts(&server), (vec![10, 3], vec![10]));

    // 70 people in a class of 150; whoever has an output is asked for all the same.
    server.faults([LIMIT, Fault::None, LIMIT, Fault::None, LIMIT]);
    let error = refresh(&mut directory, &mut book, &contacts(20..90), NOW).await.unwrap_err();
    assert!(is_limit(&error), "{error}");
    assert_eq!(counts(&server), (vec![150, 50, 50, 10, 10], vec![64, 64, 22]));
    assert_eq!((directory.done().asked, directory.done().unpadded), (60, false));
    assert_eq!((20..90).filter(|number| book.looked_up_at(&sii(*number)).is_some()).count(), 60);
    // A refusal also after the number was told is one, and what was told stays told.
    server.always("oprf", LIMIT);
    let outcome = directory.refresh(&mut book, &contacts([95]), &may_tell(), NOW, |_| ()).await;
    assert!(is_limit(&outcome.unwrap_err()));
    assert_eq!((counts(&server), directory.done().unpadded), ((vec![10, 1], vec![10]), true));
}

#[tokio::test]
async fn queries_go_down_by_classes_however_many_contacts_there_are() {
    let listings = || (0..50).map(|number| (0, sii(number), account(number))).collect::<Vec<_>>();
    let each = u16::try_from(per_shard(50, 1)).unwrap();
    for mode in Mode::ALL {
        for people in if mode == Mode::Psm { vec![30] } else { vec![11, 50] } {
            // Refused at once, and in the middle.
            for (good, first) in [(0, vec![each]), (1, vec![each, each])] {
                let provider = Provider::with(mode, listings(), |terms| terms.shard_bits = 1);
                let server = TestServer::start(provider).await;
                let (mut directory, mut book) = (server.directory(), book(mode));
                // Parameters, evaluations, keys.
                let before = if mode == Mode::Psm { 3 } else { 2 };
                server.faults((0..before + good).map(|_| Fault::None).chain([LIMIT]));
                let done = refresh(&mut directory, &mut book, &contacts(0..people), NOW).await.unwrap();
                assert_eq!((done.asked, done.unpadded), (people, false));
                assert_eq!(found(&book, &contacts(0..people)).len(), people);
                assert_eq!(counts(&server).1, [first, vec![10; 2 * 5]].concat());
            }
        }
    }
}

/// A quota that has room for a part of a round gets somewhere.
#[tokio::test]
async fn what_was_answered_before_a_limit_is_kept_where_there_is_one_shard() {
    let listings = (0..50).map(|number| (0, sii(number), account(number))).collect();
    let provider = Provider::with(Mode::Pir, listings, |terms| terms.max_queries = 7);
    let server = TestServer::start(provider).await;
    let (mut directory, mut book) = (server.directory(), book(Mode::Pir));
    server.faults([Fault::None, Fault::None, Fault::None, Fault::None, LIMIT, Fault::None, Fault::None]);
    server.faults([LIMIT]);
    let error = refresh(&mut directory, &mut book, &contacts(0..30), NOW).await.unwrap_err();
    assert!(is_limit(&error), "{error}");
    // 50 places: two requests of 7, and then by ten.
    assert_eq!(counts(&server).1, [7, 7, 7, 7, 3, 7]);
    let done = directory.done();
    assert_eq!((done.asked, done.queries, done.unpadded), (24, 24, false));
    assert_eq!(found(&book, &contacts(0..30)).len(), 24);
    let done = refresh(&mut directory, &mut book, &contacts(0..30), NOW).await.unwrap();
    assert_eq!((done.asked, done.fresh), (6, 24));
    // Where the rest has room, 36 places are left for smaller rounds.
    let (mut directory, mut book) = (server.directory(), Book::new(Profile::Pir));
    counts(&server);
    server.faults([Fault::None, Fault::None, Fault::None, Fault::None, LIMIT]);
    let done = refresh(&mut directory, &mut book, &contacts(0..30), NOW).await.unwrap();
    assert_eq!((done.asked, done.unpadded), (30, false));
    assert_eq!(counts(&server).1, [7, 7, 7, 7, 3, 7, 3, 7, 3, 6]);
}

#[tokio::test]
async fn the_number_of_queries_is_told_in_the_end_and_only_if_that_is_allowed() {
    let server = TestServer::start(Provider::new(Mode::Pir, 0..20)).await;
    let (mut directory, mut book) = (server.directory(), book(Mode::Pir));
    let planned = contacts(0..3);
    server.faults([Fault::None, Fault::None, LIMIT]);
    let outcome = directory.lookup(&mut book, &planned, 10, &Trust::default(), NOW).await;
    assert!(is_limit(&outcome.unwrap_err()));
    assert_eq!((counts(&server).1, directory.done().unpadded), (vec![10], false));
    server.faults([LIMIT]);
    let done = directory.lookup(&mut book, &planned, 10, &may_tell(), NOW).await.unwrap();
    assert_eq!((done.asked, done.queries, done.unpadded), (3, 3, true));
    assert_eq!(counts(&server).1, [10, 3]);
    // Ten of ten leave nothing out.
    server.always("query", LIMIT);
    let outcome = directory.refresh(&mut book, &contacts(10..20), &may_tell(), NOW, |_| ()).await;
    assert!(is_limit(&outcome.unwrap_err()));
    assert_eq!((counts(&server).1, directory.done().unpadded), (vec![10], false));
}

/// Rounds of 500 look alike, also the last, and also at a limit.
#[tokio::test]
async fn five_hundred_and_one_contacts_look_like_a_thousand() {
    let mut shapes = Vec::new();
    for people in [501, 1000] {
        let server = TestServer::start(Provider::new(Mode::Psm, 0..3)).await;
        server.always("query", LIMIT);
        let (mut directory, mut book) = (server.directory(), book(Mode::Psm));
        let error = refresh(&mut directory, &mut book, &contacts(0..people), NOW).await.unwrap_err();
        assert!(is_limit(&error), "{error}");
        assert_eq!(directory.done().evaluated, 1000);
        shapes.push(server.shapes());
    }
    assert!(shapes[0] == shapes[1]);
    assert_eq!(shapes[0].iter().filter(|(path, ..)| path == "POST oprf").count(), 2);
}
