//! Custody over real parts: SoftHSM tokens, sockets, processes.

mod faults;
mod mending;
mod pkcs11;
mod remote;
mod secrets;
// By its path: the rest of the testkit builds the whole server.
#[path = "../../../testkit/src/softhsm.rs"]
#[expect(unreachable_pub, reason = "written for other crates' tests too")]
mod softhsm;
mod speed;
mod support;
