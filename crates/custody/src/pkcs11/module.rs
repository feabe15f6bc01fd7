//! The module's one context for the whole process.
//!
//! `C_Initialize` and `C_Finalize` are the process's, not a token's: so each module is loaded once, is never
//! unloaded, and whoever restarts it ends every session of every token. [`Module::number`] counts restarts, so that a
//! session of before is never used or closed by its handle, which another may have by then. A restart that did not
//! come from here is not counted: nothing else in the process may end the module.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError, RwLock, RwLockReadGuard};

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};

use super::Pkcs11Error;

static LOADED: Mutex<BTreeMap<PathBuf, &'static Module>> = Mutex::new(BTreeMap::new());

pub(super) struct Module {
    pub(super) context: Pkcs11,
    path: PathBuf,
    /// Held for reading by every call, for writing by a restart: nothing may be under way during `C_Finalize`.
    restarts: RwLock<u64>,
}

/// Nothing restarts the module while this is held. It holds how often that was done.
pub(super) type Running = RwLockReadGuard<'static, u64>;

impl Module {
    pub(super) fn load(path: &Path) -> Result<&'static Self, Pkcs11Error> {
        let failed = |source| Pkcs11Error::Module { module: path.into(), source };
        let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(module) = loaded.get(path) {
            return Ok(module);
        }
        let context = Pkcs11::new(path).map_err(failed)?;
        start(&context).map_err(failed)?;
        let module: &'static Self =
            Box::leak(Box::new(Self { context, path: path.into(), restarts: RwLock::new(0) }));
        loaded.insert(path.into(), module);
        Ok(module)
    }

    pub(super) fn running(&'static self) -> Running {
        self.restarts.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends and starts the module, unless that was done since `seen`.
    pub(super) fn restart(&self, seen: u64) -> Result<(), Pkcs11Error> {
        let mut restarts = self.restarts.write().unwrap_or_else(PoisonError::into_inner);
        if *restarts != seen {
            return Ok(());
        }
        *restarts += 1;
        // It may be ended already, or too broken to be ended: what counts is that it starts.
        let _ = self.context.clone().finalize();
        start(&self.context).map_err(|source| Pkcs11Error::Module { module: self.path.clone(), source })
    }
}

fn start(context: &Pkcs11) -> Result<(), Error> {
    match context.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
        // Somebody else in this process uses it.
        Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => Ok(()),
        outcome => outcome,
    }
}
