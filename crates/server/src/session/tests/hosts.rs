//! Where DID documents come from, and where they may not.

use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::signing::{HEADER, document, k256_key, k256_multikey, k256_sign, own};
use super::site::{Page, Site};
use super::*;
use crate::outbound::{Lookup, PublicFault, PublicHttp};
use crate::session::did::{ResolveError, Resolver};

const DOCUMENT: &str = "/.well-known/did.json";

/// A host of `did:web` on this machine, and sessions for development that ask it.
async fn world() -> (World, Site, String) {
    let site = Site::start().await;
    let did = format!("did:web:localhost%3A{}", site.port);
    let world = World::new(|config| {
        config.atproto.service_did = SERVICE.into();
        config.atproto.plc_url = site.url.clone();
        config.atproto.allow_private_addresses = true;
        config.atproto.did_timeout_ms = 500;
    });
    (world, site, did)
}

impl World {
    fn token_of(&self, did: &str, id: &str) -> String {
        let claims = changed(&self.service_claims(id), &json!({"iss": did})).to_string();
        assemble(HEADER, &claims, k256_sign(&k256_key(1)))
    }
}

#[tokio::test]
async fn a_host_of_did_web_has_its_own_document() {
    let (world, site, did) = world().await;
    site.put(DOCUMENT, own(&did, k256_multikey(&k256_key(1))));
    assert_eq!(whose(world.bearer(&world.token_of(&did, "1")).await).as_deref(), Ok(did.as_str()));
    assert_eq!(whose(world.bearer(&world.token_of(&did, "2")).await).as_deref(), Ok(did.as_str()));
    assert_eq!(site.all(), 1);
}

#[tokio::test]
async fn documents_that_are_not_the_dids_own_are_refused_or_wait() {
    use SessionError::{Refused, Unavailable};
    let key = || k256_multikey(&k256_key(1));
    for (page, outcome) in [
        (own("did:web:example.com", key()), Refused),
        (document("did:web:example.com", &[("#atproto", "Multikey", key())]), Refused),
        (Page::Json("{}".into()), Refused),
        (Page::Json("<html></html>".into()), Refused),
        (Page::Redirect("/elsewhere".into()), Refused),
        (Page::Long(65_537), Refused),
        (Page::Status(404), Refused),
        (Page::Status(410), Refused),
        (Page::Status(500), Unavailable),
        (Page::Status(429), Unavailable),
        (Page::Slow, Unavailable),
    ] {
        let (world, site, did) = world().await;
        site.put("/elsewhere", own(&did, key()));
        for (did, path) in [(did.as_str(), DOCUMENT), (ALICE, &format!("/{ALICE}"))] {
            site.put(path, page.clone());
            for _ in 0..3 {
                assert_eq!(whose(world.bearer(&world.token_of(did, "1")).await), Err(outcome));
            }
            assert_eq!(site.asked(path).len(), 1, "what failed is not asked again at once");
        }
        assert!(site.asked("/elsewhere").is_empty());
        // Mended, and asked again after a while.
        site.put(DOCUMENT, own(&did, key()));
        world.clock.advance(Duration::from_secs(if outcome == Refused { 30 } else { 5 }));
        assert_eq!(whose(world.bearer(&world.token_of(&did, "1")).await).as_deref(), Ok(did.as_str()));
    }
}

#[tokio::test]
async fn many_who_ask_at_once_ask_once() {
    let (world, site, did) = world().await;
    site.put(DOCUMENT, own(&did, k256_multikey(&k256_key(1))));
    let tokens: Vec<_> = (0..20).map(|id| world.token_of(&did, &id.to_string())).collect();
    let outcomes = futures::future::join_all(tokens.iter().map(|token| world.bearer(token))).await;
    assert!(outcomes.into_iter().all(|outcome| outcome.is_ok()));
    assert_eq!(site.all(), 1);
}

#[tokio::test]
async fn the_documents_that_are_kept_are_bounded() {
    let site = Site::start().await;
    let mut config = Config::default();
    config.atproto.plc_url = site.url.clone();
    config.atproto.did_cache_entries = 2;
    let resolver = Resolver::new(&config, Arc::new(HandClock::default())).unwrap();
    let dids = ["b", "c", "d"].map(|letter| format!("did:plc:{}", letter.repeat(24)));
    for did in &dids {
        site.put(&format!("/{did}"), own(did, k256_multikey(&k256_key(1))));
        assert!(resolver.resolve(did).await.is_ok());
    }
    for (did, asked) in [(&dids[2], 1), (&dids[1], 1), (&dids[0], 2)] {
        assert!(resolver.resolve(did).await.is_ok());
        assert_eq!(site.asked(&format!("/{did}")).len(), asked);
    }
}

#[tokio::test]
async fn a_document_names_the_accounts_server_and_can_be_had_fresh() {
    let (_, site, did) = world().await;
    let mut config = Config::default();
    config.atproto.plc_url = site.url.clone();
    let resolver = Resolver::new(&config, Arc::new(HandClock::default())).unwrap();
    let path = format!("/{ALICE}");
    site.put(&path, own(ALICE, k256_multikey(&k256_key(1))));
    let document = resolver.resolve(ALICE).await.unwrap();
    assert_eq!(document.pds.as_ref().map(reqwest::Url::as_str), Some("https://pds.example.com/"));
    // A server's URL may not lead inside.
    let Page::Json(text) = own(ALICE, k256_multikey(&k256_key(2))) else { unreachable!() };
    for url in
        ["http://pds.example.com", "https://127.0.0.1", "https://[::1]", "https://a:b@pds.example.com", "x"]
    {
        site.put(&path, Page::Json(text.replace("https://pds.example.com", url)));
        let fresh = resolver.resolve_now(ALICE).await.unwrap();
        assert!(fresh.key != document.key && fresh.pds.is_none(), "{url}");
        assert!(Arc::ptr_eq(&fresh, &resolver.resolve(ALICE).await.unwrap()));
    }
    site.put(&path, Page::Status(500));
    assert!(matches!(resolver.resolve_now(ALICE).await, Err(ResolveError::Unavailable)));
    assert!(resolver.resolve(ALICE).await.is_ok(), "what is kept stays");
    site.put(&path, Page::Status(410));
    assert!(matches!(resolver.resolve_now(ALICE).await, Err(ResolveError::Gone | ResolveError::NotFound)));
    assert!(matches!(resolver.resolve(ALICE).await, Err(ResolveError::Gone | ResolveError::NotFound)));
    assert!(matches!(resolver.resolve_now(&did).await, Err(ResolveError::Invalid)), "not for development");
    let url = "https://10.0.0.1/".parse().unwrap();
    assert_eq!(resolver.public().get(url).await.unwrap_err(), PublicFault::Forbidden);
}

#[tokio::test]
async fn names_that_are_no_host_names_are_not_asked() {
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let lookup: Lookup = Arc::new(move |_| {
        counted.fetch_add(1, Ordering::SeqCst);
        Ok(vec![IpAddr::from([127, 0, 0, 1])])
    });
    let public = PublicHttp::with_lookup(false, Duration::from_secs(2), 4, lookup).unwrap();
    let resolver = Resolver::with_public(&Config::default(), Arc::new(HandClock::default()), public).unwrap();
    for did in [
        "did:web:127.0.0.1",
        "did:web:2130706433",
        "did:web:0x7f.1",
        "did:web:0177.0.0.1",
        "did:web:1.2.3",
        "did:web:[::1]",
        "did:web:%5B%3A%3A1%5D",
        "did:web:localhost",
        "did:web:localhost%3A8080",
        "did:web:example.com%3A8080",
        "did:web:example.com%3a8080",
        "did:web:example.com:8080",
        "did:web:example.com:user:alice",
        "did:web:example.com%2Fpath",
        "did:web:example.com%23",
        "did:web:example.com.",
        "did:web:.example.com",
        "did:web:example..com",
        "did:web:-example.com",
        "did:web:Example.com",
        "did:web:alice%40example.com",
        "did:web:ex_ample.com",
        "did:web:",
        "did:web",
        "did:plc:",
        "did:plc:AAAAAAAAAAAAAAAAAAAAAAAA",
        "did:plc:aaaaaaaaaaaaaaaaaaaaaaa1",
        "did:plc:aaaaaaaaaaaaaaaaaaaaaaaaa",
        "did:plc:../admin",
        "did:key:zQ3shokFTS3brHcDQrn82RUDfCZESWL1ZdCEJwekUDPQiYBme",
        "did:",
        "",
    ] {
        assert!(matches!(resolver.resolve(did).await, Err(ResolveError::Invalid)), "{did}");
    }
    let long = format!("did:web:{}com", "a.".repeat(130));
    assert!(matches!(resolver.resolve(&long).await, Err(ResolveError::Invalid)));
    assert_eq!(asked.load(Ordering::SeqCst), 0);
    // This one is, and leads inside.
    assert!(matches!(resolver.resolve("did:web:example.com").await, Err(ResolveError::Unavailable)));
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}

/// A name that leads to this machine is not connected to, whatever it led to a moment ago.
#[tokio::test]
async fn a_name_is_judged_by_the_address_that_is_connected_to() {
    let site = Site::start().await;
    site.put("/", Page::Json("{}".into()));
    let url: reqwest::Url = format!("http://rebinding.example:{}/", site.port).parse().unwrap();
    let inside: Lookup = Arc::new(|_| Ok(vec![IpAddr::from([127, 0, 0, 1])]));
    // For development it is, so the look-up is the one that counts.
    let open = PublicHttp::with_lookup(true, Duration::from_secs(2), 4, Arc::clone(&inside)).unwrap();
    assert!(open.get(url.clone()).await.is_ok());
    assert_eq!(site.all(), 1);
    let guarded = PublicHttp::with_lookup(false, Duration::from_secs(2), 4, inside).unwrap();
    let encrypted: reqwest::Url = format!("https://rebinding.example:{}/", site.port).parse().unwrap();
    for url in [url, encrypted.clone()] {
        assert_eq!(guarded.get(url).await.unwrap_err(), PublicFault::Forbidden);
    }
    // The first look-up finds nothing, the second another address: each connection has its own, and is judged by it.
    let turn = AtomicUsize::new(0);
    let rebinding: Lookup = Arc::new(move |_| match turn.fetch_add(1, Ordering::SeqCst) {
        0 => Err(std::io::ErrorKind::NotFound.into()),
        _ => Ok(["127.0.0.1", "::1", "169.254.169.254", "::ffff:127.0.0.1"]
            .map(|text| text.parse().unwrap())
            .into()),
    });
    let guarded = PublicHttp::with_lookup(false, Duration::from_secs(2), 4, rebinding).unwrap();
    assert_eq!(guarded.get(encrypted.clone()).await.unwrap_err(), PublicFault::Unavailable);
    assert_eq!(guarded.get(encrypted).await.unwrap_err(), PublicFault::Forbidden);
    assert_eq!(site.all(), 1);
}

#[tokio::test]
async fn a_url_is_judged_before_it_is_asked() {
    let nowhere: Lookup = Arc::new(|_| Err(std::io::ErrorKind::NotFound.into()));
    let guarded = PublicHttp::with_lookup(false, Duration::from_secs(2), 4, nowhere).unwrap();
    for (url, admitted) in [
        ("https://pds.example.com/xrpc", true),
        ("https://pds.example.com:8443/", true),
        ("http://pds.example.com/", false),
        ("ftp://pds.example.com/", false),
        ("https://127.0.0.1/", false),
        ("https://93.184.215.14/", false),
        ("https://0x7f000001/", false),
        ("https://[::1]/", false),
        ("https://[2606:2800:21f:cb07:6820:80da:af6b:8b2c]/", false),
        ("https://alice@pds.example.com/", false),
        ("https://:secret@pds.example.com/", false),
        ("data:application/json,{}", false),
    ] {
        let url: reqwest::Url = url.parse().unwrap();
        assert_eq!(guarded.admits(&url), admitted, "{url}");
        let wanted = if admitted { PublicFault::Unavailable } else { PublicFault::Forbidden };
        assert_eq!(guarded.get(url).await.unwrap_err(), wanted);
    }
}
