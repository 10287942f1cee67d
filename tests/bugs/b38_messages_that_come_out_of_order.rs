//! B38. A later block arrived over the live connection before an earlier one, and the duplicate check,
//! which compared sequences, dropped the earlier one.
//!
//! Here a push only hints that the tip may have moved. Delivered blocks come from the hash chain, so
//! that every order of five pushes delivers the same blocks, each once and in order.

use crate::{
    certified::{Endpoint, Followed, push},
    support::{millis, patient, simulate, whole_up_to},
};
use commonware_runtime::{Clock as _, Supervisor as _};
use tidewatch_core::Tier;
use tidewatch_testkit::chain::Chain;

/// All orders of `items`.
fn permutations(items: &[u64]) -> Vec<Vec<u64>> {
    if items.is_empty() {
        return vec![Vec::new()];
    }
    let with = |at: usize| {
        let rest: Vec<_> = [&items[..at], &items[at + 1..]].concat();
        permutations(&rest).into_iter().map(move |rest| [&[items[at]][..], &rest].concat())
    };
    (0..items.len()).flat_map(with).collect()
}

#[test]
fn for_every_order_of_five_messages_nothing_is_lost_doubled_or_out_of_order() {
    let orders = permutations(&[11, 12, 13, 14, 15]);
    assert_eq!(orders.len(), 120);
    let chain = Chain::new('a', 15);
    let frames: Vec<_> = (11..=15).map(|height| Ok(push(&chain, height))).collect();
    simulate(|context| async move {
        for (nth, order) in orders.into_iter().enumerate() {
            let context = context.child("order").with_attribute("nth", nth);
            let endpoint = Endpoint::new(&context, &chain, 10);
            let followed = Followed::start(&context, endpoint.clone(), patient()).await;
            context.sleep(millis(100)).await;
            assert_eq!(followed.delivered(), Some(10));
            endpoint.stand(&chain, 15);
            for height in &order {
                endpoint.push(&frames[*height as usize - 11]);
                context.sleep(millis(50)).await;
            }
            assert_eq!(whole_up_to(&followed.view.events()), 15, "{order:?}");
            let finalized = followed.view.stands().tips.block(Tier::Finalized);
            assert_eq!(finalized, Some(chain.at(15)), "{order:?}");
            followed.driver.abort();
            followed.upstream.abort();
        }
    });
}
