use std::sync::atomic::{AtomicBool, Ordering};

use acquaint_custody::{CustodyError, KeyCustody, Purpose};
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};

use crate::softhsm::{SoftHsm, alone};
use crate::support::{assert_same, beside, checks, custody, key, told};

#[test]
fn comes_back_after_log_outs_closed_sessions_and_restarts() {
    alone("mending::comes_back_after_log_outs_closed_sessions_and_restarts", |hsm| {
        let custody = custody(hsm, "acquaint");
        let before = checks(&custody);
        for _ in 0..3 {
            beside(hsm, "acquaint").1.logout().unwrap();
            assert_same(&custody, &before);
            // Every session ends, and the module can be used.
            restart(hsm);
            assert_same(&custody, &before);
            // The module is ended, as when it loses its connection to an HSM.
            Pkcs11::new(hsm.module()).unwrap().finalize().unwrap();
            assert_same(&custody, &before);
        }
    });
}

/// Ends every session, as somebody else in this process could.
fn restart(hsm: &SoftHsm) {
    let module = Pkcs11::new(hsm.module()).unwrap();
    module.clone().finalize().unwrap();
    module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)).unwrap();
}

#[test]
fn comes_back_when_the_token_does() {
    alone("mending::comes_back_when_the_token_does", |hsm| {
        let custody = custody(hsm, "acquaint");
        let before = checks(&custody);
        let away = hsm.tokens().with_file_name("away");
        for _ in 0..3 {
            std::fs::rename(hsm.tokens(), &away).unwrap();
            std::fs::create_dir(hsm.tokens()).unwrap();
            // SoftHSM itself holds on to a token until it is started again.
            Pkcs11::new(hsm.module()).unwrap().finalize().unwrap();
            for _ in 0..3 {
                let error = custody.hmac(key(Purpose::Pair, 1), &[b"x"]).unwrap_err();
                assert!(matches!(error, CustodyError::Unavailable(_)));
                assert!(told(&error).contains("there is no token `acquaint`"), "{}", told(&error));
                assert!(custody.seal(Purpose::Seal, b"", b"x").is_err());
            }
            std::fs::remove_dir(hsm.tokens()).unwrap();
            std::fs::rename(&away, hsm.tokens()).unwrap();
            assert_same(&custody, &before);
        }
    });
}

#[test]
fn threads_share_the_sessions_and_come_back_together() {
    alone("mending::threads_share_the_sessions_and_come_back_together", |hsm| {
        let one = custody(hsm, "one");
        let expected = one.hmac(key(Purpose::Pair, 1), &[&b"x"[..]; 32]).unwrap();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            // More threads than sessions.
            let workers: Vec<_> = (0..12)
                .map(|_| {
                    scope.spawn(|| {
                        for _ in 0..60 {
                            assert_eq!(one.hmac(key(Purpose::Pair, 1), &[&b"x"[..]; 32]).unwrap(), expected);
                            let sealed = one.seal(Purpose::Seal, b"row", b"text").unwrap();
                            assert_eq!(one.open(Purpose::Seal, b"row", &sealed).unwrap().as_slice(), b"text");
                        }
                    })
                })
                .collect();
            // Between two disturbances every thread gets to do something: an operation is tried twice, not for ever.
            scope.spawn(|| {
                let (_module, session) = beside(hsm, "one");
                while !done.load(Ordering::SeqCst) {
                    let before = one.hmac(key(Purpose::Code, 1), &[b"y"]).unwrap();
                    session.logout().unwrap();
                    for _ in 0..200 {
                        assert_eq!(one.hmac(key(Purpose::Code, 1), &[b"y"]).unwrap(), before);
                    }
                }
            });
            let outcomes: Vec<_> = workers.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
            done.store(true, Ordering::SeqCst);
            assert!(outcomes.iter().all(Result::is_ok));
        });
    });
}

#[test]
fn two_tokens_of_one_module_do_not_disturb_each_other() {
    alone("mending::two_tokens_of_one_module_do_not_disturb_each_other", |hsm| {
        hsm.token("other", crate::support::PIN);
        let one = custody(hsm, "one");
        let other = acquaint_custody::pkcs11::Pkcs11Custody::create(
            crate::support::config(hsm, "other"),
            acquaint_protocol::pair::Suite::HARD,
            crate::support::NOW,
        )
        .unwrap();
        let before = [checks(&one), checks(&other)];
        for _ in 0..4 {
            Pkcs11::new(hsm.module()).unwrap().finalize().unwrap();
            assert_same(&other, &before[1]);
            assert_same(&one, &before[0]);
            beside(hsm, "one").1.logout().unwrap();
            assert_same(&one, &before[0]);
            assert_same(&other, &before[1]);
        }
    });
}
