//! Private information retrieval.

mod client;
mod database;
mod kernel;
mod keyword;
mod mask;
mod parameters;
mod ring;
mod sample;
mod server;
mod wire;

pub use client::{Client, Lookup, LookupError, Place, SecretKey};
pub use database::{Change, Database, DatabaseError, Storage};
pub use kernel::Kernel;
pub use keyword::{Full, Inserted, Keyword, KeywordTable, Placement, Position, TableError};
pub use parameters::{Configuration, ConfigurationId, Noise, ParameterError, Parameters, Shape};
pub use server::{AnswerError, EvaluationKeys, Query, Server};
pub use wire::DecodeError;
