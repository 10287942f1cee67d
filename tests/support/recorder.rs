//! Watches a follower, so that a test can wait for what it is about.

use std::time::Duration;
use tidewatch_core::{
    BlockRef, Fault, FaultKind, Height, Monitor, State, Status, Tier, Watermarks,
};
use tokio::sync::watch;

/// How long a test waits for one thing to happen: far beyond what it takes, on a loaded machine too.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// What a recorder has seen so far.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Where the view stands.
    pub watermarks: Watermarks,
    /// The last status.
    pub status: Option<Status>,
    /// Every state that was entered, in order.
    pub states: Vec<State>,
    /// Every fault, in order.
    pub faults: Vec<Fault>,
}

impl Seen {
    /// The height of the highest delivered block.
    pub fn delivered(&self) -> Option<Height> {
        self.watermarks.delivered.map(|block| block.height)
    }

    /// The finalized block.
    pub fn finalized(&self) -> Option<BlockRef> {
        self.watermarks.tips.block(Tier::Finalized)
    }

    /// Whether finality has come to `height`.
    pub fn is_final(&self, height: Height) -> bool {
        self.finalized().is_some_and(|block| block.height >= height)
    }

    /// The state that holds.
    pub fn state(&self) -> Option<State> {
        self.states.last().copied()
    }

    /// How many faults there were of `kind`.
    pub fn count(&self, kind: FaultKind) -> usize {
        self.faults.iter().filter(|fault| fault.kind == kind).count()
    }
}

/// A monitor of follower and source that remembers everything.
#[derive(Debug, Default)]
pub struct Recorder(watch::Sender<Seen>);

impl Recorder {
    /// What it has seen so far.
    pub fn seen(&self) -> Seen {
        self.0.borrow().clone()
    }

    /// Waits until `happened` holds, and gives what was seen then. Fails after [`DEADLINE`].
    pub async fn until(&self, what: &str, happened: impl FnMut(&Seen) -> bool) -> Seen {
        let seen = self.within(DEADLINE, happened).await;
        seen.unwrap_or_else(|seen| panic!("{what} did not happen within {DEADLINE:?}: {seen:#?}"))
    }

    /// Waits until `happened` holds, and gives what was seen then; what was seen last if that is not within `limit`.
    pub async fn within(
        &self,
        limit: Duration,
        happened: impl FnMut(&Seen) -> bool,
    ) -> Result<Seen, Box<Seen>> {
        let mut seen = self.0.subscribe();
        let seen = tokio::time::timeout(limit, seen.wait_for(happened)).await;
        match seen {
            Ok(seen) => Ok(seen.expect("the recorder is alive").clone()),
            Err(_) => Err(Box::new(self.seen())),
        }
    }

    /// Waits until finality has come to `height`.
    pub async fn until_final(&self, height: u64) -> Seen {
        let height = Height::new(height);
        self.until(&format!("finality of {height}"), |seen| seen.is_final(height)).await
    }
}

impl Monitor for Recorder {
    fn moved(&self, watermarks: &Watermarks) {
        self.0.send_modify(|seen| seen.watermarks = *watermarks);
    }

    fn fault(&self, fault: &Fault) {
        self.0.send_modify(|seen| seen.faults.push(fault.clone()));
    }

    fn status(&self, status: &Status) {
        self.0.send_modify(|seen| {
            if seen.state() != Some(status.state) {
                seen.states.push(status.state);
            }
            seen.status = Some(*status);
        });
    }
}
