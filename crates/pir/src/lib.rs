//! Private information retrieval: a client reads records of a server's table, and the server does not learn which.
//!
//! The scheme is of the family of Spiral (eprint 2022/368) and Respire (eprint 2024/1165). A query is two RLWE ciphertexts,
//! of which only the coefficients that are used are sent. The server expands them with the session's evaluation keys, takes
//! the first dimension of the table as a matrix times the encrypted choice of a row, chooses the column by folding with
//! encrypted bits, turns the slot into place, and packs one, two or four slots into one small ciphertext. For 2^20 records
//! of 128 bytes, by keyword (two buckets of four records): 1,659 bytes up, 3,585 bytes down, 1,023,537 bytes of keys once a
//! session. Many lookups at once go to small tables ([`BatchShape`]), where they share the work of the expansion and their
//! answers share ciphertexts.
//!
//! Nothing here knows what records and keywords mean. There is no I/O, no clock, no thread and no randomness but what is
//! given as an argument; the client's half is portable.
//!
//! ```
//! use acquaint_pir::{
//!     Client, Configuration, Database, Lookup, Parameters, Place, SecretKey, Server, Shape,
//! };
//! # use rand::{SeedableRng, rngs::StdRng};
//! # let mut random = StdRng::seed_from_u64(1);
//!
//! // Both agree on the shape of the table, and on the epoch.
//! let shape = Shape { rows: 4, columns: 4, slots: 16, answers: 1 };
//! let configuration = Configuration::new(Parameters::new(shape)?, b"epoch 1");
//!
//! // The server has a table of 256 records of 128 bytes.
//! let server = Server::new(configuration.clone());
//! let memory = vec![0; configuration.parameters().table_words()];
//! let database = Database::build(&server, Box::new(memory), |row, column, slots| {
//!     slots.fill((10 * row + column) as u8);
//! })?;
//!
//! // Once a session: the client sends evaluation keys.
//! let client = Client::new(configuration);
//! let secret = SecretKey::generate(&mut random);
//! let keys = server.read_keys(&client.evaluation_keys(&secret, &mut random))?;
//!
//! let lookup = Lookup { row: 3, places: vec![Place { column: 2, slot: 15 }] };
//! let query = client.query(&secret, &lookup, &mut random)?;
//! let answer = server.answer(&database, &keys, &server.read_query(&query)?)?;
//! assert_eq!(client.recover(&secret, &lookup, &answer)?, [[32; 128]]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What is promised
//!
//! - A server that follows the protocol or not learns nothing from keys and queries but that they were sent, if RLWE with
//!   the parameters of [`Parameters`] is hard. Queries of one session are linked by the keys that they need: make a new
//!   [`SecretKey`] at least once in 24 hours.
//! - Whether an answer is right is not checked: a server can answer with anything. Records must carry a tag of their own.
//! - What the client makes of an answer must not show. Who sends made-up answers and sees which were understood
//!   learns the secret, coefficient by coefficient (a reaction attack). So [`Client::recover`] decodes whatever it gets, in
//!   the same time; and nobody may retry, complain or ask for something else because a record's tag was wrong, in a way that
//!   the server sees.
//! - A client that reads a slot learns all of it: what stands beside a record should be sealed, or public.
//! - Answers are wrong with the probability that [`Parameters::noise`] tells, less than 2^−40 for each query.

mod batch;
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

pub use batch::{BatchShape, Plan};
pub use client::{Client, Lookup, LookupError, Place, SecretKey};
pub use database::{Change, Database, DatabaseError, Storage};
pub use kernel::Kernel;
pub use keyword::{Full, Inserted, Keyword, KeywordTable, Misplaced, Placement, Position, TableError};
pub use parameters::{Configuration, ConfigurationId, Noise, ParameterError, Parameters, Shape};
pub use server::{AnswerError, EvaluationKeys, Query, Server};
pub use wire::DecodeError;
