//! A client of `rolodex.RolodexService`; generated.

#![expect(clippy::allow_attributes, reason = "generated")]

include!(concat!(env!("OUT_DIR"), "/rolodex.rs"));
