//! B83. A request to resume from an unusable cursor hung for minutes, or the cursor was called invalid
//! when it was only ahead of a lagging server, and its owner gave up.
//!
//! Here there are five responses to five kinds of cursors. Each requires a different reaction of the
//! owner, and none of them calls a source or waits.

use crate::support::{Disk, announced, history, millis, open_with, simulate};
use commonware_runtime::{Clock as _, Supervisor as _, deterministic};
use commonware_utils::{NZU64, NZUsize};
use std::collections::BTreeSet;
use tidewatch_core::{
    ChainId, Change, Cursor, Event, EventLog as _, History as _, LocalView as _, Malformed, Record,
    Resume, ResumeError, Tier, TipSet, Watermarks,
};
use tidewatch_store::{Config, Retention};
use tidewatch_testkit::chain::Chain;

/// A store that retains 40 events, and followed `chain` up to `height`, with two events per block.
async fn followed(
    context: &deterministic::Context,
    partition: &str,
    chain: &Chain,
    height: u64,
) -> Disk {
    let config = Config {
        retention: Retention::events(NZU64!(40)),
        partition: partition.into(),
        ..Config::new(chain.chain_info(), ())
    };
    let mut store = open_with(context.child("store"), config).await.unwrap();
    for height in 1..=height {
        let moved = announced(Tier::Proposed, chain.at(height));
        store.commit(vec![Change::Blocks(chain.range(height, height)), moved]).await.unwrap();
    }
    store
}

async fn last(log: &Disk) -> Record {
    let end = log.watermarks().await.unwrap().tips.version() * 2;
    log.read(end - 1, NZUsize!(1)).await.unwrap().remove(0)
}

#[test]
fn each_cursor_gets_an_answer_of_its_own_at_once() {
    simulate(|context| async move {
        let chain = Chain::new('a', 100);
        let at_one = {
            let store = followed(&context, "one", &chain, 1).await;
            history(&*store).await.pop().unwrap().cursor
        };
        let ahead = last(&followed(&context, "ahead", &chain, 80).await).await.cursor;
        let fork = chain.fork(41, 'b', 48);
        let forked = last(&followed(&context, "fork", &fork, 48).await).await.cursor;
        let mut ours = followed(&context, "ours", &chain, 50).await;
        let text = last(&ours).await.cursor.to_string();
        ours.commit(vec![announced(Tier::Finalized, chain.at(46))]).await.unwrap();

        let tips =
            TipSet::unknown().with(Tier::Proposed, fork.at(48)).with(Tier::Finalized, fork.at(45));
        let watermarks = Watermarks { delivered: Some(fork.at(48)), tips };
        let final_elsewhere =
            Cursor::new(&chain.chain_info().id, 96, &watermarks, &[fork.at(47), fork.at(40)]);

        let forged = format!("{}x{}", &text[..40], &text[41..]);
        let watermarks = Watermarks { delivered: Some(chain.at(50)), tips: TipSet::unknown() };
        let other = Cursor::new(&ChainId::new("test:2").unwrap(), 50, &watermarks, &[]);

        let started = context.current();
        let answer = async |text: &str| match text.parse::<Cursor>() {
            Ok(cursor) => ours.resume(&cursor).await,
            Err(malformed) => Err(malformed.into()),
        };
        let mut answers = BTreeSet::new();
        for (case, text) in [
            ("forged", forged),
            ("of another chain", other.to_string()),
            ("from the future", ahead.to_string()),
            ("of events that are gone", at_one.to_string()),
            ("final on another fork", final_elsewhere.to_string()),
            ("of another fork", forked.to_string()),
        ] {
            let answer = answer(&text).await;
            let expected = match (case, &answer) {
                ("forged", Err(ResumeError::Malformed(Malformed(_)))) => true,
                ("of another chain", Err(ResumeError::WrongChain { ours })) => {
                    *ours == chain.chain_info().id
                }
                ("from the future", Err(ResumeError::Ahead { theirs, ours })) => {
                    (*theirs, *ours) == (Some(chain.at(80)), Some(chain.at(50)))
                }
                ("of events that are gone", Ok(Resume::Forked { ancestor, bridge, .. })) => {
                    let blocks = Event::Blocks { from: chain.at(2), to: chain.at(50) };
                    (*ancestor, bridge[0].event) == (chain.at(1), blocks)
                }
                ("final on another fork", Err(ResumeError::TooOld { restart })) => {
                    let resumed = ours.resume(restart).await;
                    assert_eq!(resumed, Ok(Resume::Exact { next: restart.handled() }));
                    true
                }
                ("of another fork", Ok(Resume::Forked { ancestor, bridge, .. })) => {
                    // The nearest locator below the fork.
                    assert!(chain.has(*ancestor) && ancestor.height.get() >= 32, "{ancestor}");
                    assert!(matches!(bridge[0].event, Event::Pruned { to, .. } if to == *ancestor));
                    assert_eq!(bridge.last().unwrap().watermarks.delivered, Some(chain.at(50)));
                    true
                }
                _ => false,
            };
            assert!(expected, "{case}: {answer:?}");
            answers.insert(case);
        }
        assert_eq!(answers.len(), 6);
        let took = context.current().duration_since(started).unwrap();
        assert!(took < millis(100), "{took:?}");
    });
}
