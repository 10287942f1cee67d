//! Blocks that nodes push: a doorbell, and the blocks themselves.
//!
//! Each doorbell has a stream of its own, opened when it is listened to first, from the block above the
//! highest one that was seen. A push is kept, unlooked at, until the source takes it and checks the
//! signature: so nothing is concluded from it, and what is signed need not be asked for.
//!
//! # Back-off
//!
//! A stream that ends, or is silent for a minute, is opened again after a wait that doubles. Only a new block
//! after which a tip moved begins it anew: a node can take subscriptions, and repeat what everybody knows,
//! for nothing.

use super::{MidenBlock, calls};
use crate::rpc::{
    Answer, Call, Config, Rate, Rpc, Toll, Unanswered,
    grpc::{Messages, Streams},
    jitter,
};
use commonware_runtime::Clock;
use commonware_utils::sync::Mutex;
use futures::stream::{StreamExt as _, unfold};
use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};
use tidewatch_core::{Backoff, Doorbell, within};
use tracing::debug;

/// Pushed blocks that wait to be taken. What is beyond is asked for.
const WAITING_MAX: usize = 256;

/// How long a stream may be silent: nodes make a block every few seconds, however empty.
const SILENCE: Duration = Duration::from_secs(60);

/// Blocks that were pushed and not taken yet, of all nodes of one source.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    blocks: BTreeMap<u32, MidenBlock>,
    /// The highest that was pushed, or is known otherwise.
    highest: u32,
}

impl Inbox {
    /// The committed tip is at this height.
    pub(super) fn reached(&self, height: u32) {
        let mut state = self.state.lock();
        let waiting = state.blocks.last_key_value().map_or(height, |(number, _)| *number);
        state.highest = waiting.max(height);
    }

    /// Takes what was pushed.
    pub(super) fn take(&self) -> Vec<MidenBlock> {
        std::mem::take(&mut self.state.lock().blocks).into_values().collect()
    }

    fn next(&self) -> u32 {
        self.state.lock().highest.saturating_add(1)
    }

    /// Whether a block that was pushed is news. It is kept then, if there is room.
    pub(super) fn put(&self, block: MidenBlock) -> bool {
        let mut state = self.state.lock();
        let news = block.number > state.highest;
        if news {
            state.highest = block.number;
            if state.blocks.len() < WAITING_MAX {
                state.blocks.insert(block.number, block);
            }
        }
        news
    }
}

/// A node whose pushes go to an inbox. Clones are the same one.
pub(super) struct Pushing<E, R>(Arc<Inner<E, R>>);

struct Inner<E, R> {
    clock: E,
    node: R,
    inbox: Arc<Inbox>,
    /// How long it may take to open a stream.
    timeout: Duration,
    pushes: Mutex<Pushes>,
}

/// A stream that is open.
struct Open {
    messages: Messages,
    /// The block that came over it last; at first the one below what it was opened for.
    heard: u32,
}

struct Pushes {
    backoff: Backoff,
    /// A new block was pushed since a tip moved.
    news: bool,
}

impl<E, R> Clone for Pushing<E, R> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<E, R: fmt::Debug> fmt::Debug for Pushing<E, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.node.fmt(f)
    }
}

impl<E: Clock, R: Streams> Pushing<E, R> {
    pub(super) fn new(clock: E, node: R, inbox: Arc<Inbox>, config: &Config) -> Self {
        let backoff = Backoff::new(config.backoff_base, config.backoff_cap);
        let pushes = Mutex::new(Pushes { backoff, news: false });
        Self(Arc::new(Inner { clock, node, inbox, timeout: config.request_timeout, pushes }))
    }

    /// Waits for the next block in `open`, or for a stream where there is none. What another doorbell heard before is
    /// new to this one.
    async fn ring(&self, open: &mut Option<Open>, toll: &Toll) {
        let Inner { clock, node, inbox, timeout, .. } = &*self.0;
        loop {
            let Some(Open { messages, heard }) = open.as_mut() else {
                toll().await;
                let first = inbox.next();
                let asked = calls::blocks(first, usize::MAX);
                match within(clock, *timeout, node.stream(&asked)).await {
                    Some(Ok(messages)) => {
                        *open = Some(Open { messages, heard: first.saturating_sub(1) });
                        // What was committed in between was not heard.
                        return;
                    }
                    Some(Err(fault)) => debug!(%fault, "no pushes"),
                    None => debug!(node = node.name(), "no pushes in time"),
                }
                self.rest().await;
                continue;
            };
            let message = within(clock, SILENCE, messages.next()).await.flatten();
            match message.map(|message| calls::read_pushed(node.name(), &message?)) {
                Some(Ok(block)) => {
                    let number = block.number;
                    if inbox.put(block) {
                        self.0.pushes.lock().news = true;
                    }
                    // Not by which is higher: nothing is verified here, and one that is not true would silence all
                    // that come after it.
                    if number != std::mem::replace(heard, number) {
                        return;
                    }
                }
                ended => {
                    debug!(node = node.name(), ?ended, "pushes ended");
                    *open = None;
                    self.rest().await;
                }
            }
        }
    }

    async fn rest(&self) {
        let wait = self.0.pushes.lock().backoff.fail(&mut jitter(self.0.clock.current()));
        self.0.clock.sleep(wait).await;
    }
}

impl<E: Clock, R: Streams> Rpc for Pushing<E, R> {
    fn name(&self) -> &str {
        self.0.node.name()
    }

    fn rate(&self) -> Rate {
        self.0.node.rate()
    }

    async fn send(&self, calls: &[Call]) -> Result<Vec<Answer>, Unanswered> {
        self.0.node.send(calls).await
    }

    /// Rings for every new block that is pushed, and once after each time that the stream was opened.
    fn doorbell(&self, toll: Toll) -> Doorbell {
        Doorbell::new(unfold((self.clone(), None, toll), |(node, mut open, toll)| async {
            node.ring(&mut open, &toll).await;
            Some(((), (node, open, toll)))
        }))
    }

    fn moved(&self) {
        let mut pushes = self.0.pushes.lock();
        if std::mem::take(&mut pushes.news) {
            pushes.backoff.succeed();
        }
    }
}
