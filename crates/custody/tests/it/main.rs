//! Custody over real parts: SoftHSM tokens, sockets, processes.

#[cfg(test)]
mod faults;
#[cfg(test)]
mod mending;
#[cfg(test)]
mod pkcs11;
#[cfg(test)]
mod remote;
#[cfg(test)]
mod secrets;
#[cfg(test)]
// By its path: the rest of the testkit builds the whole server.
#[path = "../../../testkit/src/softhsm.rs"]
#[expect(unreachable_pub, reason = "written for other crates' tests too")]
mod softhsm;
#[cfg(test)]
mod support;
