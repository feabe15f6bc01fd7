//! Files of shards, for an operator's commands. They need no configuration and no key: a file says itself what it is.

pub use acquaint_service::shard::{
    Head, Owner, Record, Section, Shard, ShardError, Stat, Verified, anonymous, available_memory,
    check_memory, memory_needed, stat, verify,
};
