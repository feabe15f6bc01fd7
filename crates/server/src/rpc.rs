//! The trait that a `rolodex.RolodexService` implements, and its registration with a Connect router; generated.

#![expect(clippy::allow_attributes, reason = "generated")]

include!(concat!(env!("OUT_DIR"), "/rolodex.rs"));
