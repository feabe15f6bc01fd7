//! Every message that crosses the wire, generated from `proto/`.
//!
//! They are what was sent and nothing more: plain text, not validated, and not overwritten when dropped. Owned messages
//! and views leave every string out of `Debug`; their JSON form holds everything.

#[cfg(test)]
mod tests;

/// The contact service as Bluesky's AppView calls it (`proto/rolodex/rolodex.proto`).
#[expect(
    missing_docs,
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    clippy::match_single_binding,
    reason = "generated"
)]
pub mod rolodex {
    include!(concat!(env!("OUT_DIR"), "/rolodex.rs"));
}
