//! The line that a stream has besides events, where several followers write it in turn.

use super::{Block, Tips};
use crate::{Cursor, Watermarks};
use serde::Serialize;

/// A leader of those who write one stream begins: what follows leads on from `cursor`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename = "lead")]
pub struct Lead<'a> {
    /// The leader's fencing token: greater than that of any leader before.
    pub token: u64,
    /// The run of a publisher that leads.
    pub publisher: &'a str,
    /// The highest block delivered at `cursor`.
    pub block: Option<Block>,
    /// The tiers at `cursor`.
    pub tips: Tips,
    /// The position that the next event goes on from.
    pub cursor: String,
}

impl<'a> Lead<'a> {
    /// The line of `publisher`, whose token is `token`, at `cursor`.
    pub fn new(publisher: &'a str, token: u64, cursor: &Cursor) -> Self {
        let Watermarks { delivered, tips } = cursor.watermarks();
        let (block, tips) = (delivered.map(Into::into), (&tips).into());
        Self { token, publisher, block, tips, cursor: cursor.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ChainId;

    #[test]
    fn the_line_is_that_of_the_contract() {
        let cursor = Cursor::start(&ChainId::new("test").unwrap());
        let line = serde_json::to_string(&Lead::new("00ff", 7, &cursor)).unwrap();
        let none = r#"{"proposed":null,"checkpointed":null,"proven":null,"finalized":null}"#;
        let wanted = format!(
            r#"{{"event":"lead","token":7,"publisher":"00ff","block":null,"tips":{none},"cursor":"{cursor}"}}"#
        );
        assert_eq!(line, wanted);
    }
}
