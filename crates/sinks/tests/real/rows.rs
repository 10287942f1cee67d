//! What has to hold of the ready-made tables at every moment, and at the end.

use super::{database::pause, world::World};
use tidewatch_core::{BlockRef, Cursor, Tier};
use tokio_postgres::{Client, IsolationLevel};

/// Holds the tables against each other and against the cursor, as of one moment. Gives the position and the cursor;
/// `None` before the first event.
pub(crate) async fn consistent(client: &mut Client) -> Option<(i64, Cursor)> {
    let snapshot = client.build_transaction().isolation_level(IsolationLevel::RepeatableRead);
    let snapshot = snapshot.read_only(true).start().await.unwrap();
    let there = "select to_regclass('tidewatch.cursors') is not null";
    if !snapshot.query_one(there, &[]).await.unwrap().get::<_, bool>(0) {
        return None;
    }
    let number = async |query: &str| snapshot.query_one(query, &[]).await.unwrap().get::<_, i64>(0);
    let row = "select position, cursor from tidewatch.cursors where consumer = 'tables'";
    let Some(row) = snapshot.query_opt(row, &[]).await.unwrap() else {
        for table in ["blocks", "tips", "events", "undone"] {
            let count = format!("select count(*) from tidewatch.{table}");
            assert_eq!(number(&count).await, 0, "{table} has rows, and there is no cursor");
        }
        return None;
    };
    let (position, cursor): (i64, String) = (row.get(0), row.get(1));
    let cursor: Cursor = cursor.parse().unwrap();
    // The cursor says by itself where its consumer stands.
    let top = "select number, hash from tidewatch.blocks order by number desc limit 1";
    let top = snapshot.query_opt(top, &[]).await.unwrap();
    let top = top.map(|row| (row.get::<_, i64>(0), row.get::<_, String>(1)));
    assert_eq!(top, cursor.delivered().map(pair), "the highest block is that of the cursor");
    for tier in Tier::ALL {
        let tip = "select t.number, t.hash, b.hash from tidewatch.tips t
                   left join tidewatch.blocks b using (number) where tier = $1";
        let tip = snapshot.query_opt(tip, &[&tier.as_str()]).await.unwrap();
        let block: Option<Option<String>> = tip.as_ref().map(|row| row.get(2));
        let tip = tip.map(|row| (row.get::<_, i64>(0), row.get::<_, String>(1)));
        assert_eq!(tip, cursor.block(tier).map(pair), "{} is that of the cursor", tier.as_str());
        assert_eq!(block, tip.map(|tip| Some(tip.1)), "{} is a block", tier.as_str());
    }
    let unlinked = "
        select count(*) from (
            select number, parent, lag(number) over w as below, lag(hash) over w as hash
            from tidewatch.blocks window w as (order by number)
        ) as linked where below is not null and (below + 1 <> number or parent is distinct from hash)";
    assert_eq!(number(unlinked).await, 0, "each block stands on the one below");
    let dense = "select count(*) - coalesce(max(position), 0) from tidewatch.events";
    assert_eq!(number(dense).await, 0, "no event is missing, and none twice");
    let newest = "select coalesce(max(position), 0) from tidewatch.events";
    assert_eq!(number(newest).await, position, "the newest event is the one at the cursor");
    let above = "
        select count(*) from tidewatch.blocks b where checkpoint_tier is not null and number > coalesce(
            (select t.number from tidewatch.tips t where t.tier = b.checkpoint_tier), -1)";
    assert_eq!(number(above).await, 0, "no checkpoint is of a block that left it");
    Some((position, cursor))
}

fn pair(block: BlockRef) -> (i64, String) {
    (block.height.get() as i64, block.digest.to_string())
}

/// Waits until the tables have the highest block and its tier, then compares every block. Gives how many there are.
pub(crate) async fn becomes(client: &mut Client, world: &World) -> u64 {
    let wanted = pair(world.at(world.head));
    for _ in 0..6_000 {
        if let Some((_, cursor)) = consistent(client).await
            && cursor.block(Tier::Proposed).map(pair).as_ref() == Some(&wanted)
            && cursor.delivered().map(pair).as_ref() == Some(&wanted)
            && cursor.block(Tier::Finalized).map(pair) == world.finalized().map(pair)
        {
            return equal(client, world).await;
        }
        pause();
    }
    panic!("the tables have {:?}, and not {wanted:?}", consistent(client).await);
}

/// Compares every block with the chain.
async fn equal(client: &Client, world: &World) -> u64 {
    let rows = "select number, hash, parent, tier from tidewatch.chain order by number";
    let rows = client.query(rows, &[]).await.unwrap();
    assert_eq!(rows.len() as u64, world.head, "as many blocks");
    let finalized = world.finalized().map_or(0, |tip| tip.height.get() as i64);
    for (row, height) in rows.iter().zip(1..) {
        let block: (i64, String) = (row.get(0), row.get(1));
        assert_eq!(block, pair(world.at(height)));
        let parent: Option<String> = row.get(2);
        assert_eq!(parent, Some(world.at(height - 1).digest.to_string()), "of block {height}");
        let tier: &str = row.get(3);
        assert_eq!(tier == "finalized", block.0 <= finalized, "block {height} is {tier}");
    }
    world.head
}
