//! Answers that are none, and keys that are not there.

use super::*;

#[tokio::test]
async fn noise_finds_nobody_and_changes_nothing_that_is_sent() {
    for mode in Mode::ALL {
        let mut sent = Vec::new();
        for fault in [Fault::None, Fault::Noise] {
            let server = TestServer::start(Provider::new(mode, 0..10)).await;
            server.always("query", fault);
            let (mut directory, mut book) = (server.directory(), book(mode));
            for (round, people) in [contacts(0..10), contacts(3..13)].into_iter().enumerate() {
                let now = NOW + FRESH_S / 2 * u64::try_from(round).unwrap();
                let done = refresh(&mut directory, &mut book, &people, now).await.unwrap();
                assert_eq!(done.asked, if round == 0 { 10 } else { 3 });
            }
            let wanted = if matches!(fault, Fault::None) { 10 } else { 0 };
            assert_eq!(found(&book, &contacts(0..13)).len(), wanted);
            sent.push(server.shapes());
        }
        assert_eq!(sent[0], sent[1], "{mode:?}");
    }
}

#[tokio::test]
async fn an_answer_of_another_form_is_refused_and_nothing_learnt_of_the_round() {
    let provider = |mode| {
        let listings = (0..10).map(|number| (0, sii(number), account(number))).collect();
        Provider::with(mode, listings, |terms| terms.shard_bits = 1)
    };
    for mode in Mode::ALL {
        let server = TestServer::start(provider(mode)).await;
        let (mut directory, mut book) = (server.directory(), book(mode));
        // Only the outputs are kept, and keys that were sent.
        server.always("query", Fault::Cut(0));
        refresh(&mut directory, &mut book, &contacts(0..5), NOW).await.unwrap_err();
        server.state.lock().unwrap().always = None;
        server.seen();
        let before = book.clone();
        // Version, count, version of the first answer; of the first request of the round, and of the second.
        use Fault::{Changed, Cut, More};
        for fault in [Cut(0), Cut(2), Cut(3), Cut(100), More, Changed(0), Changed(1), Changed(2), Changed(3)]
        {
            for good in 0..2 {
                server.faults((0..good).map(|_| Fault::None).chain([fault]));
                let error = refresh(&mut directory, &mut book, &contacts(0..5), NOW).await.unwrap_err();
                let is_told = matches!(
                    &error,
                    DiscoveryError::OtherAnswer | DiscoveryError::Call(ClientError::Unreachable(_))
                );
                assert!(is_told, "{error}");
                assert!(book == before, "{mode:?}");
                assert_eq!(server.paths().iter().filter(|path| *path == "POST query").count(), good + 1);
            }
        }
        refresh(&mut directory, &mut book, &contacts(0..5), NOW).await.unwrap();
        assert_eq!(found(&book, &contacts(0..5)).len(), 5);
    }
}

#[tokio::test]
async fn outputs_of_another_key_or_form_are_refused_and_not_kept() {
    let server = TestServer::start(Provider::new(Mode::Psm, 0..10)).await;
    let (mut directory, mut book) = (server.directory(), book(Mode::Psm));
    use Fault::{Changed, Cut, More};
    // Version, epoch, count, element, proof.
    for (fault, is_proof) in [
        (Cut(0), false),
        (Cut(200), false),
        (More, false),
        (Changed(0), false),
        (Changed(4), false),
        (Changed(6), false),
        (Changed(7 + 32 * 10), true),
    ] {
        server.always("oprf", fault);
        let error = refresh(&mut directory, &mut book, &contacts(0..5), NOW).await.unwrap_err();
        assert_eq!(matches!(error, DiscoveryError::Oprf(_)), is_proof, "{error}");
        assert!(book.is_empty());
        assert_eq!(server.paths().last().unwrap(), "POST oprf", "nothing more was asked");
    }
    // A key that was not published.
    server.state.lock().unwrap().always = None;
    let marked = acquaint_protocol::oprf::ServerKey::derive(&[8; 32], b"").unwrap();
    server.state.lock().unwrap().provider.oprf = marked;
    let error = refresh(&mut directory, &mut book, &contacts(0..5), NOW).await.unwrap_err();
    assert!(matches!(error, DiscoveryError::Oprf(_)), "{error}");
    assert!(book.is_empty());
}

#[tokio::test]
async fn keys_that_a_server_does_not_have_are_sent_again_but_not_for_ever() {
    for mode in Mode::ALL {
        let server = TestServer::start(Provider::new(mode, 0..10)).await;
        let (mut directory, mut book) = (server.directory(), book(mode));
        refresh(&mut directory, &mut book, &contacts([1]), NOW).await.unwrap();
        server.seen();
        // As after a restart.
        let (lookup, trust) = (contacts([1, 2]), Trust::default());
        directory.lookup(&mut book, &lookup, 10, &trust, NOW).await.unwrap();
        server.seen();
        server.faults([Fault::Refused(409, "KEYS_UNKNOWN")]);
        let done = directory.lookup(&mut book, &lookup, 10, &trust, NOW).await.unwrap();
        assert_eq!((done.asked, done.keys_sent), (2, 1));
        let seen = server.seen();
        let paths: Vec<&str> = seen.iter().map(|seen| seen.path.as_str()).collect();
        assert_eq!(paths, ["POST query", "PUT keys", "POST query"]);
        assert_eq!(seen[0].body, seen[2].body, "the same request");

        server.always("query", Fault::Refused(409, "KEYS_UNKNOWN"));
        let error = directory.lookup(&mut book, &lookup, 10, &trust, NOW).await.unwrap_err();
        assert!(matches!(error, DiscoveryError::KeysForgotten), "{error}");
        let paths = server.paths();
        assert_eq!(paths, ["POST query", "PUT keys", "POST query", "PUT keys", "POST query"]);
    }
}

#[tokio::test]
async fn keys_that_expire_or_get_another_name_are_not_used() {
    let server = TestServer::start(Provider::new(Mode::Pir, 0..10)).await;
    server.state.lock().unwrap().provider.terms.keys_ttl_s = 600;
    let (mut directory, mut book) = (server.directory(), book(Mode::Pir));
    let trust = Trust::default();
    let mut sent = Vec::new();
    for now in [NOW, NOW + 500, NOW + 540] {
        let done = directory.lookup(&mut book, &contacts([1]), 10, &trust, now).await.unwrap();
        sent.push(done.keys_sent);
    }
    assert_eq!(sent, [1, 0, 1]);
    let mut directory = server.directory();
    server.always("keys", Fault::Changed(1));
    let error = directory.lookup(&mut book, &contacts([1]), 10, &trust, NOW).await.unwrap_err();
    assert!(matches!(error, DiscoveryError::OtherAnswer), "{error}");
    server.always("keys", Fault::Refused(503, "UNAVAILABLE"));
    let error = directory.lookup(&mut book, &contacts([1]), 10, &trust, NOW).await.unwrap_err();
    assert!(matches!(error, DiscoveryError::Call(ClientError::Unavailable { .. })), "{error}");
    assert_eq!(server.paths().iter().filter(|path| *path == "POST query").count(), 3);
}
