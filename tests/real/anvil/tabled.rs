//! The tables of a database behind a follower, over every reorg of a real node.

use super::{caught_up, epoch, with_anvil};
use commonware_runtime::{Clock as _, Spawner as _, Supervisor as _, tokio::Context};
use std::time::Duration;
use tidewatch_core::{BlockRef, within};
use tidewatch_sinks::postgres::{self, Address, Config, OnReset};
use tidewatch_tests::{Anvil, DEADLINE, EthereumNode, EthereumSettings, anvil::Tags};
use tokio_postgres::Client;

#[allow(dead_code, clippy::unwrap_used, reason = "shared with the tests of the sink")]
#[path = "../../../crates/sinks/tests/real/database.rs"]
mod database;
use database::Postgres;

type Row = (i64, String);

fn row(block: BlockRef) -> Row {
    (block.height.get() as i64, block.digest.to_string())
}

async fn rows(client: &Client, query: &str) -> Vec<Row> {
    let rows = client.query(query, &[]).await.unwrap_or_default();
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

/// Waits until the tips of the tables are the node's, and compares every block.
async fn becomes(context: &Context, client: &Client, anvil: &Anvil) {
    let Tags { latest, safe, finalized } = anvil.tags().await;
    let wanted = [safe, finalized, latest].map(row);
    // In the order of their names: checkpointed, finalized, proposed.
    let tips = "select number, hash from tidewatch.tips order by tier";
    let waits = async {
        while rows(client, tips).await != wanted {
            context.sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(within(context, DEADLINE, waits).await.is_some(), "{wanted:?}");
    let blocks = rows(client, "select number, hash from tidewatch.blocks order by number").await;
    let chain: Vec<_> = anvil.chain().await.into_iter().skip(1).map(row).collect();
    assert_eq!(blocks, chain);
}

#[test]
fn the_tables_of_a_database_are_a_real_nodes_chain_over_every_reorg() {
    with_anvil(epoch(8), async |context, anvil| {
        let Some(postgres) = Postgres::start().await else { return };
        anvil.mine(40).await;
        let node = EthereumNode::start(&context, &EthereumSettings::http(&anvil)).await;
        caught_up(&node, &anvil).await;
        let (from, _serving) = node.serve(&context).await;
        let config = Config {
            address: Address::new(&postgres.url(), None).expect("an address"),
            schema: "tidewatch".into(),
            from,
            token: None,
            earliest: true,
            on_reset: OnReset::Stop,
        };
        let sink = context.child("sink").spawn(|context| postgres::run(context, config, |_| {}));
        let client = postgres.client().await;
        becomes(&context, &client, &anvil).await;
        // The last one goes down to the finalized block.
        for depth in [1, 3, 8, 11, 16] {
            anvil.reorg(depth).await;
            becomes(&context, &client, &anvil).await;
            anvil.mine(2).await;
            becomes(&context, &client, &anvil).await;
        }
        let undone =
            rows(&client, "select count(*), '' from tidewatch.events where kind = 'pruned'");
        assert!(undone.await[0].0 >= 5, "each reorg is in the history");
        sink.abort();
    });
}
