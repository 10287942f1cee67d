//! `GET /v1/events`: one reader of the log, in three forms.
//!
//! | file | what |
//! |---|---|
//! | `ask` | what was asked for |
//! | `select` | which events that is |
//! | `open` | where a stream begins, and why it does not |
//! | `reader` | a position in the log, and what comes next there |
//! | `fold` | many events as few |
//! | `stream` | server-sent events and JSON lines |
//! | `page` | one answer with some events |

mod ask;
mod fold;
mod open;
mod page;
mod reader;
mod select;
mod stream;

pub(crate) use ask::{Ask, From, Representation};
pub(crate) use open::{Opened, Outcome, Refusal, open};
pub(crate) use page::page;
#[cfg(test)]
pub(crate) use select::Select;
pub(crate) use stream::stream;
