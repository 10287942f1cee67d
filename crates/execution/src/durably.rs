//! A source that learns of nothing as durable before the client would have it after a crash.

use commonware_utils::sync::Mutex;
use std::{collections::VecDeque, sync::Arc};
use tidewatch_core::{
    BlockRange, BlockRef, ChainInfo, Digest, Doorbell, Fault, Height, Ladder, Limits, Snapshot,
    Source, Watermarks, watch::Receiver,
};

/// Watermarks that wait for the floor. The oldest are dropped first: later ones stand for them.
const WAITING_MAX: usize = 1_024;

/// A source for a driver whose view is a client that writes behind its head.
///
/// A driver notifies its source of what its view has taken in, and a source that must not forget a block before
/// it is durable somewhere else releases it then. A client says that it stands at a block before that block
/// survives a crash. This passes watermarks on once the floor of the [`Executor`](crate::Executor) has reached
/// their delivered block; everything else it passes on as it is.
pub struct Durably<S> {
    source: Arc<S>,
    floor: Receiver<Option<BlockRef>>,
    waiting: Mutex<VecDeque<Watermarks>>,
}

impl<S: Source> std::fmt::Debug for Durably<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Durably").field("source", &self.source.name()).finish_non_exhaustive()
    }
}

impl<S> Durably<S> {
    /// `source`, which learns of nothing above `floor`: that of the executor's mailbox.
    pub fn new(source: Arc<S>, floor: Receiver<Option<BlockRef>>) -> Self {
        Self { source, floor, waiting: Mutex::default() }
    }
}

/// Takes those of `waiting` that are not above `floor`; the newest of them.
fn released(waiting: &mut VecDeque<Watermarks>, floor: Option<BlockRef>) -> Option<Watermarks> {
    let floor = floor?;
    let below = |it: &Watermarks| it.delivered.is_none_or(|block| block.height <= floor.height);
    let mut released = None;
    waiting.retain(|watermarks| {
        if below(watermarks) {
            released = Some(*watermarks);
        }
        !below(watermarks)
    });
    released
}

impl<S: Source> Source for Durably<S> {
    type Block = S::Block;

    fn name(&self) -> &str {
        self.source.name()
    }

    fn ladder(&self) -> Ladder {
        self.source.ladder()
    }

    fn limits(&self) -> Limits {
        self.source.limits()
    }

    async fn chain_info(&self) -> Result<ChainInfo, Fault> {
        self.source.chain_info().await
    }

    async fn snapshot(&self) -> Result<Snapshot, Fault> {
        self.source.snapshot().await
    }

    async fn digests(
        &self,
        tip: BlockRef,
        heights: &[Height],
    ) -> Result<Vec<Option<Digest>>, Fault> {
        self.source.digests(tip, heights).await
    }

    async fn blocks(&self, tip: BlockRef, from: Height) -> Result<Vec<S::Block>, Fault> {
        self.source.blocks(tip, from).await
    }

    async fn range(&self, tip: BlockRef, from: Height) -> Result<BlockRange<S::Block>, Fault> {
        self.source.range(tip, from).await
    }

    fn doorbell(&self) -> Doorbell {
        self.source.doorbell()
    }

    fn durable(&self, watermarks: &Watermarks) {
        let released = {
            let mut waiting = self.waiting.lock();
            // What was pruned is not what the view has any more.
            let height = |it: &Watermarks| it.delivered.map(|block| block.height);
            let pruned = |it: &Watermarks| height(it) > height(watermarks);
            waiting.retain(|it| !pruned(it));
            if waiting.len() == WAITING_MAX {
                waiting.pop_front();
            }
            waiting.push_back(*watermarks);
            released(&mut waiting, self.floor.current())
        };
        if let Some(watermarks) = released {
            self.source.durable(&watermarks);
        }
    }

    fn judged(&self, verdict: Result<(), &Fault>) {
        self.source.judged(verdict);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(height: u64) -> BlockRef {
        BlockRef::new(Height::new(height), Digest([height as u8; 32]))
    }

    fn marks(height: u64) -> Watermarks {
        Watermarks { delivered: Some(at(height)), ..Watermarks::none() }
    }

    #[test]
    fn nothing_above_the_floor_is_released_and_the_newest_below_it_stands_for_the_others() {
        let mut waiting: VecDeque<_> = [2, 4, 6, 8].map(marks).into();
        let table = [
            (None, None, 4),
            (Some(1), None, 4),
            (Some(5), Some(4), 2),
            (Some(5), None, 2),
            (Some(9), Some(8), 0),
        ];
        for (floor, want, left) in table {
            let released = released(&mut waiting, floor.map(at));
            assert_eq!(released, want.map(marks), "{floor:?}");
            assert_eq!(waiting.len(), left, "{floor:?}");
        }
    }
}
