use crate::{Message, fold::Fold};
use serde_json::{Value, json};

fn block(height: u64) -> Value {
    json!({ "height": height, "digest": format!("{height:064x}") })
}

fn tip(height: u64) -> Value {
    json!({ "block": block(height), "checkpoint": null })
}

fn tips(proposed: u64, finalized: u64) -> Value {
    json!({ "proposed": tip(proposed), "checkpointed": null, "proven": null, "finalized": tip(finalized) })
}

fn hello(resume: &str, head: u64, finalized: u64) -> Value {
    json!({
        "event": "hello", "protocol": 1, "chain": "c", "genesis": block(0),
        "ladder": ["proposed", "checkpointed", "proven", "finalized"], "version": "1", "heartbeat_ms": 1,
        "head": null, "resume": resume, "block": block(head), "tips": tips(head, finalized), "cursor": "h",
    })
}

fn blocks(from: u64, to: u64) -> Value {
    json!({ "event": "blocks", "from": block(from), "to": block(to), "count": to + 1 - from, "cursor": "b" })
}

fn moved(event: &str, tier: &str, height: u64) -> Value {
    json!({ "event": event, "tier": tier, "block": block(height), "checkpoint": null, "cursor": "m" })
}

fn pruned(to: u64, depth: u64, finalized: u64) -> Value {
    json!({ "event": "pruned", "to": block(to), "depth": depth, "tips": tips(to, finalized), "cursor": "p" })
}

fn lagged() -> Value {
    json!({ "event": "lagged", "from": 1, "to": 2, "skipped": null, "cursor": "l" })
}

/// Where `messages` lead, or why they break the law.
fn folded(whole: bool, messages: &[Value]) -> Result<(u64, u64), String> {
    let mut fold = Fold::new(whole);
    for message in messages {
        let message: Message = serde_json::from_value(message.clone()).unwrap();
        fold.apply(&message).map_err(|broken| broken.to_string())?;
    }
    let state = &fold.state;
    let height = |block: &Option<crate::Block>| block.as_ref().map_or(0, |block| block.height);
    let finalized = state.tips.finalized.as_ref().map_or(0, |tip| tip.block.height);
    Ok((height(&state.block), finalized))
}

#[test]
fn events_lead_where_the_server_says_or_the_law_is_broken() {
    let start = || hello("start", 10, 5);
    let table = [
        (vec![start(), blocks(11, 12), moved("advanced", "proposed", 12)], Ok((12, 5))),
        (
            vec![start(), pruned(7, 3, 5), blocks(8, 11), moved("advanced", "finalized", 6)],
            Ok((11, 6)),
        ),
        (
            vec![start(), blocks(11, 11), hello("exact", 11, 5)],
            Err("proposed at the cursor is another one"),
        ),
        (vec![start(), moved("regressed", "proposed", 9)], Ok((10, 5))),
        (vec![start(), blocks(12, 13)], Err("block 12 comes where 11 has to")),
        (vec![start(), pruned(7, 2, 5)], Err("2 blocks are pruned, and not 3")),
        (vec![start(), pruned(7, 3, 4)], Err("a prune moves what is final")),
        (
            vec![start(), moved("regressed", "finalized", 4)],
            Err("finalized moves from Some(5) to 4"),
        ),
        (
            vec![start(), moved("advanced", "finalized", 4)],
            Err("finalized moves from Some(5) to 4"),
        ),
        (
            vec![start(), moved("advanced", "proposed", 11)],
            Err("proposed is above what was delivered"),
        ),
        (vec![start(), hello("exact", 11, 5)], Err("the block at the cursor")),
        // Another history may begin higher; one reset is a new start.
        (vec![start(), hello("forked", 10, 5), pruned(6, 2, 5), blocks(9, 9)], Ok((9, 5))),
        (vec![start(), hello("reset", 3, 1)], Ok((3, 1))),
        // What leads over events that are no longer kept may do so too, and what comes after that may not.
        (vec![start(), lagged(), pruned(6, 2, 5), blocks(9, 9)], Ok((9, 5))),
        (
            vec![start(), lagged(), blocks(13, 14), blocks(16, 16)],
            Err("block 16 comes where 15 has to"),
        ),
    ];
    for (messages, wanted) in table {
        let got = folded(true, &messages);
        match (&got, wanted) {
            (Ok(got), Ok(wanted)) => assert_eq!(*got, wanted, "{messages:?}"),
            (Err(got), Err(wanted)) => assert!(got.contains(wanted), "{got} is not {wanted}"),
            (got, wanted) => panic!("{got:?} is not {wanted:?}: {messages:?}"),
        }
    }
    // With a filter, blocks are missing by right.
    assert_eq!(folded(false, &[start(), blocks(12, 13), pruned(9, 1, 5)]), Ok((9, 5)));
}

#[test]
fn a_kind_that_is_newer_than_the_client_is_passed_over() {
    let newer: Message =
        serde_json::from_value(json!({ "event": "weather", "rain": true })).unwrap();
    assert_eq!(newer, Message::Other);
    assert_eq!(newer.cursor(), None);
}
