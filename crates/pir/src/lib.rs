//! Private information retrieval.

mod kernel;
mod parameters;
mod ring;
mod sample;

pub use kernel::Kernel;
pub use parameters::{Configuration, ConfigurationId, Noise, ParameterError, Parameters, Shape};
