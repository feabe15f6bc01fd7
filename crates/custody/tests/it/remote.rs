use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use acquaint_custody::budget::{Budget, Budgeted};
use acquaint_custody::pkcs11::Pkcs11Custody;
use acquaint_custody::remote::{
    Event, MAX_FRAME, RemoteCustody, RemoteError, RemoteOptions, ServeOptions, Server,
};
use acquaint_custody::software::{SoftwareCustody, add_version};
use acquaint_custody::{CustodyError, KeyCustody, NewStretching, Purpose, ShareTag, conformance, newest};
use acquaint_protocol::pair::Suite;
use tempfile::TempDir;

use crate::softhsm::alone;
use crate::support::{HandClock, NOW, PIN, assert_same, checks, config, custody, told};

fn software() -> SoftwareCustody {
    SoftwareCustody::generate(Suite::STANDARD).unwrap()
}

fn socket() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("custody.sock");
    (folder, path)
}

fn connect(path: &Path) -> Result<RemoteCustody, RemoteError> {
    RemoteCustody::connect(RemoteOptions::new(path.into()))
}

fn uid() -> u32 {
    std::os::unix::fs::MetadataExt::uid(&std::fs::metadata("/proc/self").unwrap())
}

/// Serves `custody` at `path` while `body` runs; what the server reported.
fn served(custody: &dyn KeyCustody, path: &Path, options: ServeOptions, body: impl FnOnce()) -> Vec<Event> {
    let server = Server::bind(path, options).unwrap();
    let (stop, events) = (server.stopper(), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        scope.spawn(|| server.serve(custody, &|event| events.lock().unwrap().push(event)));
        // Also when it panics, or the server would be waited for without end.
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body));
        stop.stop();
        outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
    events.into_inner().unwrap()
}

#[test]
fn keeps_the_contract_over_software() {
    let (_folder, path) = socket();
    let events = served(&software(), &path, ServeOptions::default(), || {
        let remote = connect(&path).unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o7777, 0o660);
        conformance::run(&remote, &software());
    });
    assert_eq!(events, []);
    assert!(!path.exists(), "nothing is left");
}

#[test]
fn keeps_the_contract_over_pkcs11_with_a_budget() {
    alone("remote::keeps_the_contract_over_pkcs11_with_a_budget", |hsm| {
        let budget = Budget { per_second: 1_000_000, per_day: 1_000_000, per_account_and_day: Some(500_000) };
        let budgets: BTreeMap<_, _> = Purpose::ALL.into_iter().map(|purpose| (purpose, budget)).collect();
        let file = hsm.config().with_file_name("budget.json");
        // Made before the module is used: it looks for tokens once.
        hsm.token("other", PIN);
        let behind =
            Budgeted::new(custody(hsm, "one"), budgets, Some(file), HandClock::default().clock()).unwrap();
        let other = Pkcs11Custody::create(config(hsm, "other"), Suite::STANDARD, NOW).unwrap();
        let path = hsm.config().with_file_name("custody.sock");
        let events = served(&behind, &path, ServeOptions::default(), || {
            let remote = connect(&path).unwrap();
            conformance::run(&remote, &other);
            assert_same(&remote, &checks(behind.inner()));
            let usage = remote.usage().unwrap();
            assert_eq!(usage, behind.usage().unwrap());
            assert!(usage.iter().all(|usage| usage.allowed > 0 && usage.unaccounted.is_none()));
        });
        assert_eq!(events, []);
    });
}

#[test]
fn the_budget_is_kept_where_the_caller_cannot_reach_it() {
    let (_folder, path) = socket();
    let clock = HandClock::default();
    let pair = Budget { per_second: 1000, per_day: 100, per_account_and_day: Some(10) };
    let budgets = BTreeMap::from([(Purpose::Pair, pair)]);
    let behind = Budgeted::new(software(), budgets, None, clock.clock()).unwrap();
    served(&behind, &path, ServeOptions::default(), || {
        let remote = connect(&path).unwrap();
        let key = newest(&remote, Purpose::Pair).unwrap();
        let over = |outcome: Result<Vec<[u8; 32]>, CustodyError>| match outcome {
            Err(CustodyError::OverBudget { key: of, retry_after }) => {
                assert_eq!(of, key);
                retry_after
            }
            other => panic!("{other:?}"),
        };
        let one = ShareTag([1; 16]);
        assert_eq!(
            remote.hmac_for(key, one, &[b"x"; 10].map(|x| &x[..])).unwrap(),
            [remote.hmac(key, &[b"x"]).unwrap()[0]; 10]
        );
        assert_eq!(over(remote.hmac_for(key, one, &[b"x"])), Duration::from_secs(86_400));
        assert_eq!(remote.hmac_for(key, ShareTag([2; 16]), &[b"x"]).unwrap().len(), 1);
        // Another connection, another process: the same budget.
        let again = connect(&path).unwrap();
        over(again.hmac(key, &[&b"x"[..]; 89]));
        assert_eq!(again.hmac(key, &[&b"x"[..]; 88]).unwrap().len(), 88);
        over(remote.hmac(key, &[b"x"]));
        let usage = remote.usage().unwrap();
        assert_eq!((usage[0].used_today, usage[0].over_share, usage[0].over_day), (100, 1, 90));
    });
}

#[test]
fn comes_back_after_the_custody_process_does() {
    let (_folder, path) = socket();
    let behind = software();
    let before = checks(&behind);
    let mut remote = None;
    for _ in 0..3 {
        served(&behind, &path, ServeOptions::default(), || {
            let remote = remote.get_or_insert_with(|| connect(&path).unwrap());
            assert_same(remote, &before);
        });
        // Back before anybody asked: what is open from before is of no use.
        served(&behind, &path, ServeOptions::default(), || assert_same(remote.as_ref().unwrap(), &before));
        // Dead: whoever asks is told at once.
        let remote = remote.as_ref().unwrap();
        for _ in 0..3 {
            let error = remote.hmac(newest(remote, Purpose::Pair).unwrap(), &[b"x"]).unwrap_err();
            assert!(matches!(error, CustodyError::Unavailable(_)), "{}", told(&error));
            assert!(told(&error).contains("custody"), "{}", told(&error));
        }
        // A killed process leaves its socket behind.
        drop(UnixListener::bind(&path).unwrap());
    }
    // What comes back with other keys is not asked.
    let remote = remote.unwrap();
    served(&software(), &path, ServeOptions::default(), || {
        let error = remote.hmac(newest(&remote, Purpose::Code).unwrap(), &[b"x"]).unwrap_err();
        assert!(told(&error).contains("other keys than before"), "{}", told(&error));
    });
}

#[test]
fn only_named_users_are_let_in_and_only_a_named_one_is_trusted() {
    let (_folder, path) = socket();
    let options = ServeOptions { allowed: vec![uid() + 1], ..ServeOptions::default() };
    let events = served(&software(), &path, options, || {
        let error = connect(&path).unwrap_err();
        assert!(matches!(error, RemoteError::Broken(_)), "{error}");
    });
    assert_eq!(events, [Event::TurnedAway { uid: uid() }]);
    served(&software(), &path, ServeOptions::default(), || {
        let mut options = RemoteOptions::new(path.clone());
        options.server_uid = Some(uid() + 1);
        let error = RemoteCustody::connect(options.clone()).unwrap_err();
        assert!(matches!(error, RemoteError::OtherUser { uid: found, .. } if found == uid()));
        options.server_uid = Some(uid());
        RemoteCustody::connect(options).unwrap();
    });
}

#[test]
fn a_place_is_taken_only_when_it_is_free() {
    let (folder, path) = socket();
    let file = folder.path().join("file");
    std::fs::write(&file, "kept").unwrap();
    let refused = |path: &Path| Server::bind(path, ServeOptions::default()).err().unwrap();
    assert!(matches!(refused(&file), RemoteError::NoSocket(_)));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "kept");
    let absent = folder.path().join("absent/custody.sock");
    assert!(matches!(refused(&absent), RemoteError::Io { .. }));
    assert!(matches!(connect(&path), Err(RemoteError::Io { .. })));
    served(&software(), &path, ServeOptions::default(), || {
        assert!(matches!(refused(&path), RemoteError::InUse(_)));
        connect(&path).unwrap();
    });
}

fn frame(content: &[u8]) -> Vec<u8> {
    [&u32::try_from(content.len()).unwrap().to_be_bytes()[..], content].concat()
}

#[test]
fn whoever_does_not_keep_to_the_protocol_is_dropped_and_others_are_served() {
    let (_folder, path) = socket();
    let behind = software();
    let options = ServeOptions { timeout: Duration::from_millis(200), ..ServeOptions::default() };
    let events = served(&behind, &path, options, || {
        let remote = connect(&path).unwrap();
        let hostile = [
            frame(&[2, 1]),
            frame(&[1, 99]),
            frame(&[1, 1, 0]),
            frame(&[1, 3, 1, 0, 0, 0, 1, 0, 255, 255, 255, 255]),
            u32::try_from(MAX_FRAME + 1).unwrap().to_be_bytes().to_vec(),
            vec![255; 4],
            vec![0; 4],
            // Begun, and never ended.
            vec![0, 0],
            vec![0, 0, 0, 9, 1],
        ];
        for bytes in &hostile {
            let mut stream = UnixStream::connect(&path).unwrap();
            stream.write_all(bytes).unwrap();
            let mut told = Vec::new();
            // It ends, after at most one failure.
            let _ = stream.read_to_end(&mut told);
            assert!(told.is_empty() || told[4..6] == [1, 135], "{told:?}");
            assert_same(&remote, &checks(&behind));
        }
    });
    assert_eq!(events, [Event::Broken; 9]);
}

#[test]
fn more_connections_than_allowed_are_closed() {
    let (_folder, path) = socket();
    let behind = software();
    let options = ServeOptions { connections: 2, ..ServeOptions::default() };
    let events = served(&behind, &path, options, || {
        let (one, two) = (connect(&path).unwrap(), connect(&path).unwrap());
        assert!(matches!(connect(&path), Err(RemoteError::Broken(_))));
        assert_same(&one, &checks(&behind));
        assert_same(&two, &checks(&behind));
    });
    assert_eq!(events, [Event::Full]);
}

#[test]
fn threads_share_the_connections() {
    let (_folder, path) = socket();
    let behind = software();
    let before = checks(&behind);
    let mut options = RemoteOptions::new(path.clone());
    options.connections = std::num::NonZeroUsize::new(2).unwrap();
    served(&behind, &path, ServeOptions::default(), || {
        let remote = RemoteCustody::connect(options).unwrap();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..20 {
                        assert_same(&remote, &before);
                    }
                    remote.refresh().unwrap();
                });
            }
        });
    });
}

#[test]
fn a_key_that_is_made_behind_the_socket_shows_when_it_is_looked_for() {
    let (folder, path) = socket();
    let file = folder.path().join("keys.json");
    let behind = SoftwareCustody::create(&file, Suite::STANDARD).unwrap();
    let events = served(&behind, &path, ServeOptions::default(), || {
        let remote = connect(&path).unwrap();
        let made = add_version(&file, None, Purpose::Pair, NewStretching::Kept).unwrap();
        assert!(!remote.keys().contains(&made));
        // It looks once a second at most.
        std::thread::sleep(Duration::from_millis(1100));
        KeyCustody::refresh(&remote).unwrap();
        assert!(remote.keys().contains(&made));
        remote.hmac(made, &[b"x"]).unwrap();
        // What was known stands when the other side cannot look.
        std::fs::remove_file(&file).unwrap();
        std::thread::sleep(Duration::from_millis(1100));
        for _ in 0..5 {
            KeyCustody::refresh(&remote).unwrap();
        }
        remote.hmac(made, &[b"x"]).unwrap();
    });
    assert_eq!(events, [Event::NotRefreshed]);
}

#[test]
fn what_is_larger_than_a_frame_is_refused() {
    let (_folder, path) = socket();
    served(&software(), &path, ServeOptions::default(), || {
        let remote = connect(&path).unwrap();
        let largest = vec![7; MAX_FRAME - 11];
        // The sealed form is longer, and its frame too long.
        let error = remote.seal(Purpose::Seal, b"", &largest).unwrap_err();
        assert!(told(&error).contains("a frame takes"), "{}", told(&error));
        let error = remote.seal(Purpose::Seal, b"", &vec![7; MAX_FRAME]).unwrap_err();
        assert!(told(&error).contains("at once"), "{}", told(&error));
        let sealed = remote.seal(Purpose::Seal, b"", &largest[..MAX_FRAME - 100]).unwrap();
        assert_eq!(remote.open(Purpose::Seal, b"", &sealed).unwrap().len(), MAX_FRAME - 100);
    });
}
