//! Snapshots that are of one moment, and not of a node that lags behind.
//!
//! A batch is answered call by call, and behind one address there may be several nodes. So tips can be
//! of two moments, and a tip can be lower than the one before although the chain never was: nothing
//! tells a node that lags from a chain that became shorter, but that the first does not last. Both are
//! looked at again before they are given out; a pass would tell its consumers to drop blocks.

use super::{Config, NodeError, Rpc, Upstreams};
use crate::error::fault;
use commonware_runtime::Clock;
use commonware_utils::sync::Mutex;
use futures::future::BoxFuture;
use std::time::Duration;
use tidewatch_core::{BlockRef, Fault, Ladder, Snapshot, Tier, TipSet};
use tracing::debug;

/// What a snapshot looks like beside the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    /// Of one chain, and not lower.
    Fine,
    /// Its tips are not of one chain.
    Torn,
    /// Its proposed tip is lower than the one before.
    Lower,
}

fn look(before: Option<BlockRef>, tips: &TipSet, ladder: Ladder) -> Look {
    let proposed = tips.block(Tier::Proposed);
    if tips.check(ladder).is_err() {
        return Look::Torn;
    }
    match (before, proposed) {
        (Some(before), Some(now)) if now.height < before.height => Look::Lower,
        _ => Look::Fine,
    }
}

/// Takes snapshots again that look wrong, and gives them out all the same if they go on to.
#[derive(Debug)]
pub(crate) struct Steady {
    ladder: Ladder,
    torn_max: u32,
    lower_max: u32,
    pause: Duration,
    before: Mutex<Option<BlockRef>>,
}

impl Steady {
    pub(crate) fn new(ladder: Ladder, config: &Config) -> Self {
        let Config { torn_max, lower_max, lower_pause: pause, .. } = *config;
        Self { ladder, torn_max, lower_max, pause, before: Mutex::default() }
    }

    /// A snapshot by `take`, which asks `upstreams`.
    ///
    /// # Errors
    ///
    /// Those of `take`, and `WrongPosition` for a tip above which there could never be a block.
    pub(crate) async fn snapshot<'a, E: Clock, R: Rpc>(
        &self,
        upstreams: &Upstreams<E, R>,
        take: impl Fn() -> BoxFuture<'a, Result<Snapshot, Fault>> + Send + Sync,
    ) -> Result<Snapshot, Fault> {
        let (mut torn, mut lower) = (0, 0);
        loop {
            let snapshot = take().await?;
            if let Some(tip) = snapshot.tips.unfollowable() {
                let error = NodeError::TooHigh { tip };
                return Err(upstreams.refuse(fault(upstreams.name(), error)));
            }
            let before = *self.before.lock();
            match look(before, &snapshot.tips, self.ladder) {
                Look::Torn if torn < self.torn_max => {
                    torn += 1;
                    let fault = fault(upstreams.name(), NodeError::TwoMoments);
                    let fault = upstreams.refuse(fault);
                    debug!(%fault, torn, "asking again");
                }
                Look::Lower if lower < self.lower_max => {
                    lower += 1;
                    let fault = fault(upstreams.name(), NodeError::Lower);
                    let fault = upstreams.refuse(fault);
                    debug!(%fault, lower, "asking again");
                    upstreams.move_on();
                    upstreams.context().sleep(self.pause).await;
                }
                _ => {
                    let proposed = snapshot.tips.block(Tier::Proposed).or(before);
                    if std::mem::replace(&mut *self.before.lock(), proposed) != proposed {
                        upstreams.moved();
                    }
                    return Ok(snapshot);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidewatch_core::{Digest, Height};

    #[test]
    fn a_snapshot_is_looked_at_beside_the_one_before() {
        let at = |height, fill| BlockRef::new(Height::new(height), Digest([fill; 32]));
        let tips = |proposed, finalized| {
            let tips = TipSet::unknown().with(Tier::Proposed, proposed);
            tips.with(Tier::Finalized, finalized)
        };
        let table = [
            ("first", None, tips(at(9, 1), at(5, 1)), Look::Fine),
            ("same", Some(at(9, 1)), tips(at(9, 1), at(5, 1)), Look::Fine),
            ("swapped", Some(at(9, 1)), tips(at(9, 2), at(5, 1)), Look::Fine),
            ("higher", Some(at(9, 1)), tips(at(12, 1), at(5, 1)), Look::Fine),
            ("lower", Some(at(9, 1)), tips(at(8, 1), at(5, 1)), Look::Lower),
            ("lower fork", Some(at(9, 1)), tips(at(8, 2), at(5, 1)), Look::Lower),
            ("finalized above", Some(at(9, 1)), tips(at(9, 1), at(10, 1)), Look::Torn),
            ("two blocks at a height", None, tips(at(9, 1), at(9, 2)), Look::Torn),
            ("torn and lower", Some(at(9, 1)), tips(at(4, 1), at(5, 1)), Look::Torn),
            ("nothing known", Some(at(9, 1)), TipSet::unknown(), Look::Fine),
        ];
        for (case, before, tips, want) in table {
            assert_eq!(look(before, &tips, Ladder::Rollup), want, "{case}");
        }
    }
}
