//! Where state is kept.

use std::path::PathBuf;
use std::time::Duration;

use acquaint_store::postgres::{OpenError, Options};
use serde::{Deserialize, Serialize};

use super::check::bad;
use super::{Config, ConfigError, Secret};

/// Where state is kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct Store {
    /// `sqlite`, embedded, in `data_dir`; or `postgres`, for several servers.
    pub kind: String,
    /// PostgreSQL's connection string: `postgresql://user:password@host/database?sslmode=require`.
    pub postgres: Secret,
    /// Connections to PostgreSQL that a server opens at most.
    pub pool_size: u32,
    /// How long is waited for a free one.
    pub pool_wait_s: u32,
    /// Certificate authorities (PEM) to trust for PostgreSQL in place of the system's; empty for the system's. Relative to
    /// the configuration file's folder.
    pub ca_file: PathBuf,
    /// Speak in clear with a PostgreSQL on another machine.
    pub allow_cleartext: bool,
}

impl Default for Store {
    fn default() -> Self {
        Self {
            kind: "sqlite".into(),
            postgres: Secret::default(),
            pool_size: 16,
            pool_wait_s: 5,
            ca_file: PathBuf::new(),
            allow_cleartext: false,
        }
    }
}

impl Store {
    /// How PostgreSQL is connected to; `None` for the embedded store.
    #[must_use]
    pub fn postgres(&self) -> Option<Options> {
        let Self { kind, postgres, pool_size, pool_wait_s, ca_file, allow_cleartext } = self;
        (kind == "postgres").then(|| Options {
            connection: postgres.expose().to_owned(),
            pool_size: usize::try_from(*pool_size).unwrap_or(usize::MAX),
            wait: Duration::from_secs(u64::from(*pool_wait_s)),
            ca_file: Some(ca_file.clone()).filter(|path| !path.as_os_str().is_empty()),
            allow_cleartext: *allow_cleartext,
        })
    }
}

pub(super) fn check(config: &Config) -> Result<(), ConfigError> {
    let store = &config.store;
    match store.kind.as_str() {
        // What is named and not used would be missed too late.
        "sqlite" if !store.postgres.is_empty() => {
            return bad("store.kind", "`postgres` where `store.postgres` is set");
        }
        "sqlite" => return Ok(()),
        "postgres" => {}
        _ => return bad("store.kind", "`sqlite` or `postgres`"),
    }
    if !(1..=60).contains(&store.pool_wait_s) {
        return bad("store.pool_wait_s", "1 to 60");
    }
    // A thousand is more than any PostgreSQL should have.
    if store.pool_size > 1000 {
        return bad("store.pool_size", "2 to 1000");
    }
    let Some(options) = store.postgres() else { return Ok(()) };
    match options.check() {
        Err(OpenError::PoolSize) => bad("store.pool_size", "2 to 1000"),
        Err(OpenError::Cleartext) => bad(
            "store.postgres",
            "with `sslmode=require` for a host that is not this one, unless `store.allow_cleartext` says that the network \
             encrypts by itself",
        ),
        Err(_) => bad(
            "store.postgres",
            "a connection string, as `postgresql://user:password@host:5432/database?sslmode=require` or \
             `host=/run/postgresql user=acquaint dbname=acquaint`, with sslmode disable, prefer or require",
        ),
        Ok(()) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(change: impl FnOnce(&mut Store)) -> String {
        let mut config = Config::default();
        config.store.kind = "postgres".into();
        config.store.postgres = "postgresql://acquaint:hunter2@db.example/acquaint?sslmode=require".into();
        change(&mut config.store);
        check(&config).map_or_else(|error| error.to_string(), |()| String::new())
    }

    #[test]
    fn what_is_wrong_is_told_by_its_key_and_never_quoted() {
        assert_eq!(refused(|_| {}), "");
        assert_eq!(refused(|store| *store = Store::default()), "");
        let clear = "postgresql://acquaint:hunter2@db.example/acquaint";
        for (key, change) in [
            ("`store.kind`", (|store| store.kind = "sqlite".into()) as fn(&mut Store)),
            ("`store.kind`", |store| store.kind = "mysql".into()),
            ("`store.postgres`", |store| store.postgres = "".into()),
            ("`store.postgres`", |store| store.postgres = "hunter2".into()),
            ("`store.pool_size`", |store| store.pool_size = 1),
            ("`store.pool_size`", |store| store.pool_size = 1001),
            ("`store.pool_wait_s`", |store| store.pool_wait_s = 0),
            ("`store.pool_wait_s`", |store| store.pool_wait_s = 61),
        ] {
            let told = refused(change);
            assert!(told.contains(key) && !told.contains("hunter2"), "{key}: {told}");
        }
        let told = refused(|store| store.postgres = clear.into());
        assert!(told.contains("`store.allow_cleartext`") && !told.contains("hunter2"), "{told}");
        let allowed = |store: &mut Store| {
            store.postgres = clear.into();
            store.allow_cleartext = true;
        };
        assert_eq!(refused(allowed), "");
    }

    #[test]
    fn a_connection_string_is_never_printed() {
        let store = Store {
            kind: "postgres".into(),
            postgres: "host=/x password=hunter2".into(),
            ..Store::default()
        };
        let options = store.postgres().unwrap();
        assert!(options.connection.contains("hunter2") && options.ca_file.is_none());
        assert!(!format!("{store:?} {options:?}").contains("hunter2"));
    }
}
