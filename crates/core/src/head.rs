//! Where a driver stands now, for everybody in the process who need not wait until it is durable elsewhere.

use crate::{
    BlockRef, Height, Status, Tier, TipSet, Watermarks,
    watch::{self, Closed},
};

/// A driver's position at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Where the local view stands.
    pub watermarks: Watermarks,
    /// The source's tips, as it last reported them.
    pub tips: TipSet,
    /// Whether that can be relied on.
    pub status: Status,
}

impl Head {
    /// The head of a driver that has not begun.
    pub const fn unknown() -> Self {
        Self { watermarks: Watermarks::none(), tips: TipSet::unknown(), status: Status::unknown() }
    }

    /// The highest delivered block.
    pub const fn delivered(&self) -> Option<BlockRef> {
        self.watermarks.delivered
    }

    /// The block at which `tier` stands in the local view.
    pub fn block(&self, tier: Tier) -> Option<BlockRef> {
        self.watermarks.tips.block(tier)
    }

    /// Whether `tier` stands at `height` or above it, in the local view.
    pub fn reached(&self, tier: Tier, height: Height) -> bool {
        self.block(tier).is_some_and(|block| block.height >= height)
    }
}

/// Updates the heads of one driver. Dropped with it, which ends the [`Heads`].
#[derive(Debug)]
pub struct HeadSender(watch::Sender<Head>);

impl HeadSender {
    /// A sender and the first [`Heads`], both at [`Head::unknown`].
    pub fn new() -> (Self, Heads) {
        let (sender, receiver) = watch::watch(Head::unknown());
        (Self(sender), Heads(receiver))
    }

    /// Updates the head. Those who watch are woken only if it is another one than before.
    pub fn update(&self, update: impl FnOnce(&mut Head)) {
        self.0.change(|head| {
            let before = *head;
            update(head);
            *head != before
        });
    }
}

/// Watches where a driver stands. Cheap to clone.
///
/// A head says what is so now; it is not a history. Of heads that follow each other fast, a watcher sees
/// the newest. What must be handled event by event, across restarts, is handed to a
/// [`Consumer`](crate::Consumer).
#[derive(Clone, Debug)]
pub struct Heads(watch::Receiver<Head>);

impl Heads {
    /// The head as it is now.
    pub fn current(&self) -> Head {
        self.0.current()
    }

    /// Waits for a head that this watcher has not seen, and returns the newest.
    ///
    /// # Errors
    ///
    /// [`Closed`] once the driver has ended and its last head was seen.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it has seen nothing.
    pub async fn changed(&mut self) -> Result<Head, Closed> {
        self.0.changed().await
    }

    /// Waits until `holds` is true of the head, and returns that head; at once if it already is. A head
    /// that is replaced at once can be missed.
    ///
    /// # Errors
    ///
    /// [`Closed`] once the driver has ended and it is not true of its last head.
    ///
    /// # Cancel safety
    ///
    /// May be dropped and called again.
    pub async fn until(&self, holds: impl FnMut(&Head) -> bool) -> Result<Head, Closed> {
        self.0.until(holds).await
    }

    /// Waits until `tier` stands at `height` or above it.
    ///
    /// # Errors
    ///
    /// [`Closed`] once the driver has ended below it.
    ///
    /// # Cancel safety
    ///
    /// May be dropped and called again.
    pub async fn reached(&self, tier: Tier, height: Height) -> Result<Head, Closed> {
        self.until(|head| head.reached(tier, height)).await
    }
}
