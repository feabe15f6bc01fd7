use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use acquaint_custody::pkcs11::{Pkcs11Custody, TokenConfig};
use acquaint_custody::secret::Secret;
use acquaint_custody::{KeyCustody, KeyId, Purpose};
use acquaint_protocol::pair::Suite;
use cryptoki::context::Pkcs11;
use cryptoki::object::{Attribute, AttributeType, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::types::AuthPin;

use crate::softhsm::SoftHsm;

pub(crate) const PIN: &str = "correct-horse-7913";
/// 2026-01-01T00:00:00Z.
pub(crate) const NOW: i64 = 1_767_225_600_000;

pub(crate) fn key(purpose: Purpose, version: u32) -> KeyId {
    KeyId { purpose, version }
}

pub(crate) fn config(hsm: &SoftHsm, label: &str) -> TokenConfig {
    config_with_pin(hsm, label, PIN)
}

pub(crate) fn config_with_pin(hsm: &SoftHsm, label: &str, pin: &str) -> TokenConfig {
    let mut config = TokenConfig::new(hsm.module(), label.into(), Secret::new(pin.into()));
    config.rest = Duration::ZERO;
    config
}

/// A token `label` with a key of every purpose.
pub(crate) fn custody(hsm: &SoftHsm, label: &str) -> Pkcs11Custody {
    hsm.token(label, PIN);
    Pkcs11Custody::create(config(hsm, label), Suite::HARD, NOW).unwrap()
}

/// The module as somebody else in this process has it, in a session on the token `label`.
pub(crate) fn beside(hsm: &SoftHsm, label: &str) -> (Pkcs11, Session) {
    let module = Pkcs11::new(hsm.module()).unwrap();
    let slots = module.get_slots_with_initialized_token().unwrap();
    let slot = slots.into_iter().find(|slot| module.get_token_info(*slot).unwrap().label() == label).unwrap();
    let session = module.open_rw_session(slot).unwrap();
    (module, session)
}

pub(crate) fn log_in(session: &Session) {
    session.login(UserType::User, Some(&AuthPin::new(PIN.into()))).unwrap();
}

/// The objects with this label, by class.
pub(crate) fn objects(session: &Session, label: &str) -> BTreeMap<String, ObjectHandle> {
    let found = session.find_objects(&[Attribute::Label(label.into())]).unwrap();
    let by_class = found.into_iter().map(|handle| {
        let class = session.get_attributes(handle, &[AttributeType::Class]).unwrap();
        let [Attribute::Class(class)] = class[..] else { panic!("an object has a class") };
        (class.to_string(), handle)
    });
    by_class.collect()
}

/// Whether `custody` works with all its keys as it did when `checks` were made.
pub(crate) fn checks(custody: &dyn KeyCustody) -> Vec<(KeyId, Vec<u8>)> {
    let check = |key| (key, acquaint_custody::key_check(custody, key).unwrap());
    custody.keys().into_iter().map(check).collect()
}

pub(crate) fn assert_same(custody: &dyn KeyCustody, checks: &[(KeyId, Vec<u8>)]) {
    for (key, check) in checks {
        assert!(acquaint_custody::matches_check(custody, *key, check).unwrap(), "{key}");
    }
}

/// A clock that is set by hand.
#[derive(Clone, Default)]
pub(crate) struct HandClock(Arc<AtomicI64>);

impl HandClock {
    pub(crate) fn clock(&self) -> acquaint_custody::budget::Clock {
        let time = Arc::clone(&self.0);
        Arc::new(move || time.load(Ordering::SeqCst))
    }
}

/// An error with all that lies behind it.
pub(crate) fn told(error: &dyn std::error::Error) -> String {
    let mut text = format!("{error} {error:?}");
    let mut behind = error.source();
    while let Some(error) = behind {
        text = format!("{text}: {error} {error:?}");
        behind = error.source();
    }
    text
}
