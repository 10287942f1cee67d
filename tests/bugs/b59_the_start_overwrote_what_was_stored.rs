//! B59. A configured start height overwrote the stored one, and history was skipped or fetched again.
//!
//! Here the precedence is documented and simple: the stored state wins. The setting applies only before
//! the first block (see [`Start`](tidewatch_stream::Start)).

use crate::support::{Live, from, history, open, secs, simulate, told};
use commonware_runtime::{Supervisor as _, deterministic};
use tidewatch_core::{Change, LocalView as _};
use tidewatch_stream::driver::Config;
use tidewatch_testkit::{chain::Chain, source::ScriptedSource};

/// The first event of a start at 30 in a store that already has blocks up to `stored`.
async fn first_event(context: &deterministic::Context, stored: u64) -> String {
    let chain = Chain::new('a', 60);
    let mut store = open(context, &chain.chain_info()).await.unwrap();
    if stored > 0 {
        store.commit(vec![Change::Blocks(chain.range(1, stored))]).await.unwrap();
    }
    drop(store);
    let store = open(&context.child("again"), &chain.chain_info()).await.unwrap();
    let before = history(&*store).await.len();
    let source = ScriptedSource::new(&chain, [60, 0, 0, 0]);
    let config = Config { mode: from(30), ..Config::default() };
    let log = store.clone();
    let live = Live::on(context, &source, store, config);
    live.sleep(secs(5)).await;
    assert_eq!(log.watermarks().unwrap().delivered, Some(chain.at(60)));
    live.stop().await;
    told(&history(&log).await[before..]).remove(0)
}

#[test]
fn a_start_height_acts_only_where_nothing_is_stored() {
    for (stored, first) in [
        (0, "blocks 30a-39a"),
        (20, "blocks 21a-30a"),
        (29, "blocks 30a-39a"),
        (30, "blocks 31a-40a"),
        (45, "blocks 46a-55a"),
    ] {
        simulate(|context| async move {
            assert_eq!(first_event(&context, stored).await, first, "{stored} blocks are stored");
        });
    }
}
