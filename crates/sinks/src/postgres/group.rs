//! Which blocks to ask for.
//!
//! An event names the first and the last block of a range. Those between are asked for by digest of the last one, which
//! the server answers as long as its chain goes through it. Once it does not, a prune below is in the stream, or comes:
//! what is left of the range then goes through the block that was pruned to.

use super::Error;
use crate::events::Event;
use tidewatch_client::{Block, Blocks, Message};

/// Most blocks that one event may announce: a server that was away for long says so in one. At 12 s a block they are
/// four months.
pub const RANGE_MAX: u64 = 1_000_000;

/// What to ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    /// The event says everything that is left of the range: its first block, or its first and its last one.
    Said,
    /// The chain that goes through `tip`, up to there.
    Through(Block),
    /// All of it is undone again.
    Undone,
}

/// What to ask for of `range`, which `later` events of the same transaction follow.
pub(super) fn ask<'a>(
    range: &Blocks,
    later: impl Iterator<Item = &'a Message>,
) -> Result<Ask, Error> {
    let (from, to) = (range.from.height, range.to.height);
    if to.checked_sub(from).is_none_or(|more| more >= RANGE_MAX) {
        return Err(Error::Unstorable(format!(
            "{from} to {to} in one event, where {RANGE_MAX} blocks are the most"
        )));
    }
    let mut top = &range.to;
    for message in later {
        match message {
            Message::Pruned(pruned) if pruned.to.height < top.height => top = &pruned.to,
            Message::Reset(_) => return Ok(Ask::Undone),
            _ => {}
        }
    }
    Ok(match top.height {
        height if height < from => Ask::Undone,
        height if height == from => Ask::Said,
        height if height - 1 == from && height == to => Ask::Said,
        _ => Ask::Through(top.clone()),
    })
}

/// The same, of the event at `index` of `group`.
pub(super) fn ask_of(group: &[Event], index: usize) -> Result<Option<Ask>, Error> {
    let Some(Message::Blocks(range)) = group.get(index).map(|event| &event.message) else {
        return Ok(None);
    };
    let later = group.iter().skip(index + 1).map(|event| &event.message);
    ask(range, later).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn block(height: u64) -> Value {
        json!({ "height": height, "digest": format!("{height:064x}") })
    }

    fn message(value: Value) -> Message {
        serde_json::from_value(value).unwrap()
    }

    fn blocks(from: u64, to: u64) -> Message {
        message(json!({
            "event": "blocks", "from": block(from), "to": block(to), "count": 1, "cursor": "c",
        }))
    }

    fn pruned(to: u64) -> Message {
        let none = json!({
            "proposed": null, "checkpointed": null, "proven": null, "finalized": null,
        });
        message(json!({
            "event": "pruned", "to": block(to), "depth": 1, "tips": none, "cursor": "c",
        }))
    }

    fn reset() -> Message {
        let none = json!({
            "proposed": null, "checkpointed": null, "proven": null, "finalized": null,
        });
        message(json!({
            "event": "reset", "code": "too_old", "detail": "", "block": null, "tips": none, "cursor": "c",
        }))
    }

    #[test]
    fn what_is_asked_for_goes_through_the_lowest_block_that_is_pruned_to_afterwards() {
        let through = |height| Ask::Through(serde_json::from_value(block(height)).unwrap());
        let table = [
            (blocks(5, 5), vec![], Ask::Said),
            (blocks(5, 6), vec![], Ask::Said),
            (blocks(5, 7), vec![], through(7)),
            (blocks(5, 9), vec![pruned(9)], through(9)),
            (blocks(5, 9), vec![pruned(8)], through(8)),
            (blocks(5, 9), vec![pruned(7), blocks(8, 12), pruned(10)], through(7)),
            (blocks(5, 9), vec![pruned(8), blocks(9, 12), pruned(6)], through(6)),
            // Of a range that is cut to two, the second one is not what the event names.
            (blocks(5, 9), vec![pruned(6)], through(6)),
            (blocks(5, 9), vec![pruned(5)], Ask::Said),
            (blocks(5, 9), vec![pruned(4)], Ask::Undone),
            (blocks(5, 9), vec![reset()], Ask::Undone),
            (blocks(5, 9), vec![pruned(7), reset(), blocks(3, 4)], Ask::Undone),
        ];
        for (range, later, wanted) in table {
            let Message::Blocks(range) = range else { panic!("{range:?}") };
            assert_eq!(ask(&range, later.iter()).unwrap(), wanted, "{range:?} {later:?}");
        }
    }

    #[test]
    fn a_range_without_an_end_is_refused() {
        for (from, to) in [(1, RANGE_MAX + 1), (0, u64::MAX), (2, 1)] {
            let Message::Blocks(range) = blocks(from, to) else { panic!("blocks") };
            let refused = ask(&range, [].into_iter()).unwrap_err();
            assert!(matches!(refused, Error::Unstorable(_)), "{refused}");
        }
        let Message::Blocks(range) = blocks(1, RANGE_MAX) else { panic!("blocks") };
        assert!(ask(&range, [].into_iter()).is_ok());
    }
}
