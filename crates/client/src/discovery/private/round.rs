//! Questions and answers without a network. Each round gives the messages to send, and puts what comes of the answers into the
//! book.

mod elements;
mod queries;

pub use elements::ElementsRound;
pub use queries::{QueryMessage, QueryRound};
