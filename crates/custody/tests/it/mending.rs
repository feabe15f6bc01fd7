use std::sync::atomic::{AtomicUsize, Ordering};

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

/// More threads than sessions.
const WORKERS: usize = 12;
const ROUNDS: usize = 60;

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
        let progress: Vec<_> = (0..WORKERS).map(|_| AtomicUsize::new(0)).collect();
        let made = |worker: usize| progress[worker].load(Ordering::SeqCst);
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..WORKERS)
                .map(|worker| {
                    let (one, expected, progress) = (&one, &expected, &progress[worker]);
                    scope.spawn(move || {
                        for _ in 0..ROUNDS {
                            assert_eq!(one.hmac(key(Purpose::Pair, 1), &[&b"x"[..]; 32]).unwrap(), *expected);
                            let sealed = one.seal(Purpose::Seal, b"row", b"text").unwrap();
                            assert_eq!(one.open(Purpose::Seal, b"row", &sealed).unwrap().as_slice(), b"text");
                            progress.fetch_add(1, Ordering::SeqCst);
                        }
                    })
                })
                .collect();
            // The next log-out comes when every worker has gone through a whole round since the last one: an operation
            // is tried twice, not for ever.
            let mut log_outs = 0;
            while workers.iter().any(|worker| !worker.is_finished()) {
                beside(hsm, "one").1.logout().unwrap();
                log_outs += 1;
                let before: Vec<_> = (0..WORKERS).map(made).collect();
                while workers
                    .iter()
                    .enumerate()
                    .any(|(number, worker)| !worker.is_finished() && made(number) < before[number] + 2)
                {
                    std::thread::yield_now();
                }
                // Logged in again, or there would be nobody to log out.
                one.hmac(key(Purpose::Code, 1), &[b"y"]).unwrap();
            }
            assert!(log_outs > 3, "{log_outs} log-outs");
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
            // Each has the first session after a restart of its own, so their handles are the same numbers: what is
            // asked of one may not be answered with the other's key.
            Pkcs11::new(hsm.module()).unwrap().finalize().unwrap();
            assert_same(&one, &before[0]);
            Pkcs11::new(hsm.module()).unwrap().finalize().unwrap();
            assert_same(&other, &before[1]);
            assert_same(&one, &before[0]);
            beside(hsm, "one").1.logout().unwrap();
            assert_same(&one, &before[0]);
            assert_same(&other, &before[1]);
        }
    });
}
