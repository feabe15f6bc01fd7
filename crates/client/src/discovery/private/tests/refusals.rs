//! Parameters that are not trusted, limits, and changes in the middle.

use super::*;

fn accept(book: &mut Book, provider: &Provider) -> Result<(), TrustError> {
    let trust = Trust::default();
    book.accept_private(&provider.parameters(), provider.mode, &trust, NOW).map(drop)
}

#[test]
fn parameters_that_would_mark_somebody_are_refused_and_change_nothing() {
    for mode in Mode::ALL {
        let with = |change: fn(&mut Terms)| {
            Provider::with(mode, vec![], |terms| {
                (terms.epoch, terms.layout) = (5, 3);
                change(terms);
            })
        };
        let good = with(|_| ());
        let mut book = book(mode);
        accept(&mut book, &good).unwrap();
        let before = book.clone();
        let mut other_key = with(|_| ());
        other_key.terms.oprf_public_key = Bytes([3; 32]);
        let two_keys = match mode {
            Mode::Psm => TrustError::TwoKeys,
            Mode::Pir => ParametersError::Sizes.into(),
        };
        for (provider, error) in [
            (other_key, two_keys),
            (with(|terms| terms.epoch = 4), TrustError::OldEpoch),
            (with(|terms| terms.epoch = 1006), TrustError::FarEpoch),
            (with(|terms| terms.layout = 2), TrustError::OldLayout),
            (with(|terms| terms.rows = 8), TrustError::TwoSizes),
            (with(|terms| terms.columns = 8), TrustError::TwoSizes),
            (with(|terms| terms.shard_bits = 1), TrustError::TwoSizes),
            (
                with(|terms| {
                    (terms.batch_tables, terms.batch_queries) = (2, 1);
                    (terms.batch_rows, terms.batch_columns) = (4, 4);
                }),
                TrustError::TwoSizes,
            ),
            (with(|terms| (terms.layout, terms.shard_bits, terms.rows) = (4, 7, 1)), TrustError::ManyShards),
            (with(|terms| terms.provider.push('x')), TrustError::OtherProvider),
            (with(|terms| terms.expires_at = NOW), ParametersError::Expired.into()),
        ] {
            assert_eq!(accept(&mut book, &provider), Err(error), "{mode:?}");
            assert!(book == before);
        }
        let stranger = good.signed_with(2);
        let stranger = book.accept_private(&stranger, mode, &Trust::default(), NOW);
        assert_eq!(stranger, Err(ParametersError::OtherKey.into()));
        let pinned = Trust { signing_key: Some([7; 32]), ..Trust::default() };
        let other_book = book.accept_private(&good.parameters(), mode, &pinned, NOW);
        assert_eq!(other_book, Err(TrustError::OtherBook));
        let other = if mode == Mode::Psm { Mode::Pir } else { Mode::Psm };
        let other = book.accept_private(&good.parameters(), other, &Trust::default(), NOW);
        assert_eq!(other, Err(TrustError::OtherProfile));
        // A newer layout has other sizes, and so has a newer epoch, which is followed at once: it tells nothing.
        accept(&mut book, &with(|terms| (terms.layout, terms.rows) = (4, 8))).unwrap();
        accept(&mut book, &with(|terms| (terms.epoch, terms.layout) = (6, 1))).unwrap();
        assert_eq!(accept(&mut book, &good), Err(TrustError::OldEpoch));
    }
}

#[tokio::test]
async fn a_provider_that_is_not_trusted_is_asked_for_nothing() {
    let server = TestServer::start(Provider::new(Mode::Psm, 0..3)).await;
    let (mut directory, mut sealed) = (server.directory(), book(Mode::Psm));
    let pinned = Trust { signing_key: Some([7; 32]), ..Trust::default() };
    let outcome = directory.refresh(&mut sealed, &contacts([1]), &pinned, NOW, |_| ()).await;
    assert!(matches!(outcome, Err(DiscoveryError::Trust(_))), "{outcome:?}");
    assert_eq!(server.paths(), ["GET parameters"]);
    // A second key for the epoch, to another who asks.
    refresh(&mut directory, &mut sealed, &contacts([1]), NOW).await.unwrap();
    server.paths();
    server.state.lock().unwrap().provider.terms.oprf_public_key = Bytes([3; 32]);
    let outcome = refresh(&mut server.directory(), &mut sealed, &contacts([2]), NOW).await;
    assert!(matches!(outcome, Err(DiscoveryError::Trust(TrustError::TwoKeys))), "{outcome:?}");
    assert_eq!(server.paths(), ["GET parameters"]);
    // Books and modes that do not go together.
    for profile in [Profile::Pir, Profile::Sealed, Profile::Weak] {
        let outcome = refresh(&mut server.directory(), &mut Book::new(profile), &contacts([2]), NOW).await;
        assert!(matches!(outcome, Err(DiscoveryError::OtherProfile)), "{outcome:?}");
    }
    assert!(server.paths().is_empty());
    let (settings, caller) = (crate::Settings::default(), Caller::Nobody);
    let mut directory = Directory::new(&server.url, settings, caller, Mode::Pir).unwrap();
    let outcome = refresh(&mut directory, &mut book(Mode::Pir), &contacts([1]), NOW).await;
    assert!(matches!(outcome, Err(DiscoveryError::NoMode("pir"))), "{outcome:?}");
}

#[tokio::test]
async fn a_server_that_cannot_be_called_is_refused() {
    for url in ["ftp://b.example", "b.example", "http://"] {
        let servers = vec![Server { first: 0, last: 0, url: url.into() }];
        let provider = Provider::with(Mode::Pir, vec![], |terms| terms.servers = servers);
        let server = TestServer::start(provider).await;
        let outcome = refresh(&mut server.directory(), &mut book(Mode::Pir), &contacts([1]), NOW).await;
        assert!(matches!(outcome, Err(DiscoveryError::Trust(TrustError::Server))), "{url} {outcome:?}");
    }
    // The session token of a provider with TLS goes nowhere without.
    let of = |url: &str| {
        let servers = vec![Server { first: 0, last: 0, url: url.into() }];
        let provider = Provider::with(Mode::Pir, vec![], |terms| terms.servers = servers);
        Tables::new(provider.terms).unwrap()
    };
    let (plain, tls) = ("http://b.example/", "HTTPS://b.example");
    for (home, url, wanted) in [
        ("https://a.example", plain, Err(TrustError::Server)),
        ("https://a.example", tls, Ok("HTTPS://b.example".to_owned())),
        ("http://a.example", plain, Ok("http://b.example".to_owned())),
        ("http://a.example", tls, Ok("HTTPS://b.example".to_owned())),
    ] {
        assert_eq!(super::http::server_of(home, &of(url), 0), wanted);
    }
    let none = Tables::new(Provider::new(Mode::Pir, []).terms).unwrap();
    assert_eq!(super::http::server_of("https://a.example", &none, 0).as_deref(), Ok("https://a.example"));
}

#[tokio::test]
async fn where_a_limit_has_no_room_for_dummies_they_are_left_out_and_that_is_told() {
    let limit = Fault::Refused(429, "RATE_LIMIT_EXCEEDED");
    let server = TestServer::start(Provider::new(Mode::Psm, 0..10)).await;
    let (mut directory, mut book) = (server.directory(), book(Mode::Psm));
    server.faults([Fault::None, limit]);
    let done = refresh(&mut directory, &mut book, &contacts(0..3), NOW).await.unwrap();
    assert_eq!((done.asked, done.evaluated, done.queries, done.unpadded), (3, 3, 10, true));
    let counts = |server: &TestServer| {
        let shapes = server.shapes().into_iter().filter(|(path, ..)| path == "POST oprf");
        shapes.map(|(.., head)| u16::from_be_bytes([head[5], head[6]])).collect::<Vec<_>>()
    };
    assert_eq!(counts(&server), [10, 3]);
    // Not even for those: half of it is tried, and whoever has an output is asked for all the same.
    server.faults([limit, limit, Fault::None, limit, limit]);
    let outcome = refresh(&mut directory, &mut book, &contacts(20..80), NOW).await;
    let error = outcome.unwrap_err();
    let is_limit = |error: &DiscoveryError| {
        matches!(error, DiscoveryError::Call(ClientError::Refused { reason: Reason::RateLimitExceeded, .. }))
    };
    assert!(is_limit(&error), "{error}");
    assert_eq!(counts(&server), [150, 60, 30, 30, 25]);
    assert_eq!((20..80).filter(|number| book.looked_up_at(&sii(*number)).is_some()).count(), 30);
    // Nobody has an output, and there is no room for any.
    server.always("oprf", limit);
    let error = refresh(&mut directory, &mut book, &contacts([90]), NOW).await.unwrap_err();
    assert!(is_limit(&error) && server.paths().iter().all(|path| path == "POST oprf"));
}

#[tokio::test]
async fn where_a_limit_has_no_room_for_queries_of_dummies_they_are_left_out_and_that_is_told() {
    let limit = Fault::Refused(429, "RATE_LIMIT_EXCEEDED");
    let listings = (0..10).map(|number| (0, sii(number), account(number))).collect();
    let provider = Provider::with(Mode::Pir, listings, |terms| terms.shard_bits = 1);
    let server = TestServer::start(provider).await;
    let (mut directory, mut book) = (server.directory(), book(Mode::Pir));
    server.faults([Fault::None, Fault::None, limit]);
    let done = refresh(&mut directory, &mut book, &contacts(0..3), NOW).await.unwrap();
    assert_eq!((done.asked, done.queries, done.unpadded), (3, 6, true));
    let counts = |server: &TestServer| {
        let shapes = server.shapes().into_iter().filter(|(path, ..)| path == "POST query");
        shapes.map(|(.., head)| head[16]).collect::<Vec<_>>()
    };
    assert_eq!(counts(&server), [10, 3, 3]);
    // In the middle of a round shards would get different numbers: it is given up.
    server.faults([Fault::None, limit]);
    let error = refresh(&mut directory, &mut book, &contacts(3..6), NOW).await.unwrap_err();
    assert!(matches!(error, DiscoveryError::Call(ClientError::Refused { .. })), "{error}");
    assert_eq!(counts(&server), [10, 10]);
    assert_eq!(book.looked_up_at(&sii(4)), None);
    // Ten of ten leave nothing out.
    server.always("query", limit);
    refresh(&mut directory, &mut book, &contacts(10..20), NOW).await.unwrap_err();
    assert_eq!(counts(&server), [10]);
}

#[tokio::test]
async fn a_change_is_met_by_one_look_at_the_parameters() {
    for mode in Mode::ALL {
        let provider = |epoch, layout| {
            let listings = (0..10).map(|number| (0, sii(number), account(number))).collect();
            Provider::with(mode, listings, |terms| (terms.epoch, terms.layout) = (epoch, layout))
        };
        let server = TestServer::start(provider(1, 1)).await;
        let (mut directory, mut book) = (server.directory(), book(mode));
        refresh(&mut directory, &mut book, &contacts(0..5), NOW).await.unwrap();
        server.paths();
        for (at, (epoch, layout)) in [(1, 2), (2, 1)].into_iter().enumerate() {
            server.provide(provider(epoch, layout));
            let now = NOW + FRESH_S * u64::try_from(at + 1).unwrap();
            let done = refresh(&mut directory, &mut book, &contacts(0..5), now).await.unwrap();
            assert_eq!((done.asked, done.first_use), (5, None));
            assert_eq!(found(&book, &contacts(0..5)).len(), 5);
            let paths = server.paths();
            let again = paths.iter().skip_while(|path| *path != "GET parameters").collect::<Vec<_>>();
            assert!(paths.contains(&"POST query".to_owned()) && !again.is_empty());
            // Outputs are of an epoch.
            let needs_outputs = mode == Mode::Psm && epoch == 2;
            assert_eq!(again.contains(&&"POST oprf".to_owned()), needs_outputs, "{paths:?}");
        }
        for code in ["EPOCH_CHANGED", "LAYOUT_CHANGED", "SHARD_ELSEWHERE"] {
            server.always("query", Fault::Refused(if code == "SHARD_ELSEWHERE" { 421 } else { 409 }, code));
            let outcome = refresh(&mut directory, &mut book, &contacts([7]), NOW).await;
            assert!(matches!(outcome, Err(DiscoveryError::KeepsChanging)), "{outcome:?}");
            let paths = server.paths();
            assert_eq!(paths.iter().filter(|path| *path == "POST query").count(), 2, "{paths:?}");
        }
    }
}
