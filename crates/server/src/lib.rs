//! placeholder

pub mod rpc;
