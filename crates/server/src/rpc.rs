//! The trait that a `rolodex.RolodexService` implements, and its registration with a Connect router; generated.

#![expect(
    dead_code,
    unreachable_pub,
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    clippy::match_single_binding,
    reason = "generated"
)]

include!(concat!(env!("OUT_DIR"), "/rolodex.rs"));
