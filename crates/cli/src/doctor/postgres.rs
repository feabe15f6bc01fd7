//! The database of several servers.

use acquaint_server::config::Config;
use acquaint_server::database::{DatabaseError, Options, look};
use acquaint_server::upkeep::PostgresOpenError as OpenError;

use super::{Seen, ok, warning, wrong};
use crate::store::{causes, size};

const WHAT: &str = "database";

/// What is known of the database, and lines about it. `None` where it cannot be looked into.
pub(super) async fn database(
    config: &Config,
    options: &Options,
) -> (Option<acquaint_server::database::Seen>, Vec<Seen>) {
    match look(options).await {
        Ok(found) => {
            let seen = lines(config, &found);
            (Some(found), seen)
        }
        Err(error) => {
            let advice = advice(&error);
            (None, vec![wrong(WHAT, causes(&error), advice)])
        }
    }
}

fn lines(config: &Config, found: &acquaint_server::database::Seen) -> Vec<Seen> {
    let mut seen = vec![state(found)];
    let wanted = i64::from(config.store.pool_size);
    seen.push(if wanted >= found.max_connections {
        wrong(
            "connections",
            format!("`store.pool_size` is {wanted}, and PostgreSQL allows {} in all", found.max_connections),
            "lower the one or raise `max_connections`",
        )
    } else if wanted.saturating_mul(3) > found.max_connections {
        warning(
            "connections",
            format!(
                "PostgreSQL allows {} in all, and each server takes up to {wanted}",
                found.max_connections
            ),
            "two servers and a rolling restart need room for three pools: raise `max_connections`",
        )
    } else {
        ok("connections", format!("up to {wanted} of {}", found.max_connections))
    });
    if let Some(setting) = &found.unsafe_setting {
        seen.push(warning(
            "durability",
            format!("PostgreSQL runs with {setting}"),
            "switch it on: a power cut loses what was acknowledged",
        ));
    }
    seen
}

fn state(found: &acquaint_server::database::Seen) -> Seen {
    let server = &found.server;
    if found.read_only {
        return wrong(
            WHAT,
            format!("PostgreSQL {server} answers, and is read-only"),
            "it is a standby: add `target_session_attrs=read-write` to `store.postgres`, or name the primary",
        );
    }
    if let Some(lacks) = &found.lacks {
        return wrong(
            WHAT,
            format!("the role may not {lacks}"),
            "grant it (docs/operations/postgresql.md, \"Set-up\"), or name another role in `store.postgres`",
        );
    }
    match (found.version, found.known_version) {
        (0, _) => ok(WHAT, format!("PostgreSQL {server} answers; the first start makes the tables")),
        (version, known) if version < known => ok(
            WHAT,
            format!("PostgreSQL {server}, schema version {version}; the next start brings it to {known}"),
        ),
        (version, _) => {
            let bytes = size(u64::try_from(found.bytes).unwrap_or(0));
            ok(WHAT, format!("PostgreSQL {server}, {bytes}, schema version {version}"))
        }
    }
}

fn advice(error: &OpenError) -> &'static str {
    match error {
        OpenError::Database(DatabaseError::Unreachable { .. }) => {
            "start PostgreSQL, or correct host and port in `store.postgres`; until then requests fail and imports wait"
        }
        OpenError::Database(error) => match error.code() {
            Some("28000" | "28P01") => "correct role and password in `store.postgres`, or `pg_hba.conf`",
            Some("3D000") => {
                "make the database (docs/operations/postgresql.md, \"Set-up\"), or correct its name"
            }
            Some("42501") => "grant the role what it lacks (docs/operations/postgresql.md, \"Set-up\")",
            Some("53300") => {
                "lower `store.pool_size` of the servers, or raise PostgreSQL's `max_connections`"
            }
            _ => "look into PostgreSQL's log",
        },
        OpenError::Newer { .. } => "run the newer program",
        OpenError::Unfinished => "run the same import again until it ends, or name an empty database",
        OpenError::Foreign => "name a database of this program's own in `store.postgres`",
        OpenError::Certificates { .. } => "correct `store.ca_file`",
        _ => "correct the section `store` of the configuration",
    }
}
