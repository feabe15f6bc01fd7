//! File descriptors: each connection takes one.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What the process needs besides connections: the database's files, log, listeners, calls to others.
const BESIDES: u64 = 128;

/// Raises the limit that most systems start a process with (1024) as far as the system lets it. Beyond it, connections
/// would be refused long before `http.max_connections` is reached.
pub(crate) fn allow(max_connections: u32) {
    let wanted = u64::from(max_connections) + BESIDES;
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_none_or(|current| current >= wanted) {
        return;
    }
    let allowed = maximum.map_or(wanted, |maximum| maximum.min(wanted));
    let raised = setrlimit(Resource::Nofile, Rlimit { current: Some(allowed), maximum });
    if raised.is_err() || allowed < wanted {
        tracing::warn!(
            wanted,
            "the system allows fewer open files than `http.max_connections` needs: raise the limit (LimitNOFILE in \
             systemd, `ulimit -n` in a shell), or lower the key"
        );
    }
}
