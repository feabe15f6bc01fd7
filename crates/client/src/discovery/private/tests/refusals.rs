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
            (
                with(|terms| (terms.layout, terms.shard_bits, terms.rows) = (4, 7, 1)),
                TrustError::ManyShards { shards: 128, most: 64 },
            ),
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

#[tokio::test]
async fn a_server_that_is_behind_another_is_asked_later_and_not_distrusted() {
    for mode in Mode::ALL {
        let provider = |layout| {
            let listings = (0..10).map(|number| (0, sii(number), account(number))).collect();
            Provider::with(mode, listings, |terms| terms.layout = layout)
        };
        let server = TestServer::start(provider(2)).await;
        let (mut directory, mut book) = (server.directory(), book(mode));
        refresh(&mut directory, &mut book, &contacts(0..3), NOW).await.unwrap();
        server.provide(provider(1));
        server.paths();
        let error = refresh(&mut server.directory(), &mut book, &contacts(3..5), NOW).await.unwrap_err();
        assert!(matches!(error, DiscoveryError::BehindLayout) && error.to_string().contains("try again"));
        assert_eq!(server.paths(), ["GET parameters", "GET parameters"]);
        // An older epoch is another matter.
        accept(&mut book, &Provider::with(mode, vec![], |terms| terms.epoch = 2)).unwrap();
        let error = refresh(&mut server.directory(), &mut book, &contacts(3..5), NOW).await.unwrap_err();
        assert!(matches!(error, DiscoveryError::Trust(TrustError::OldEpoch)), "{error}");
    }
}
