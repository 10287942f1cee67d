//! Messages to a scheduler.

use crate::{
    Error, Failure, Handle, Key,
    plan::{Status, Token},
};
use bytes::Bytes;
use commonware_actor::mailbox::{Policy, Sender};
use commonware_runtime::Clock;
use commonware_utils::channel::oneshot;
use std::{collections::VecDeque, time::Duration};
use tidewatch_core::{
    BlockRef, Digest, Fault, Height, Stopper, TierProof, watch::Receiver, within,
};

/// A block to prove.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewBlock {
    /// The block.
    pub block: BlockRef,
    /// The digest of the block below it.
    pub parent: Digest,
    /// What a prover needs of it.
    pub inputs: Bytes,
}

/// How far proving is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proven {
    /// The proven tip.
    pub tip: BlockRef,
    /// The highest block whose inputs are kept. Never below the tip.
    pub committed: BlockRef,
    /// The proof of the tip; `None` at the block that proving began above.
    pub proof: Option<TierProof>,
    /// Whether the block above the tip is poisoned, or has waited for too long: the alert.
    pub stalled: bool,
}

/// How a job is listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The block.
    pub block: BlockRef,
    /// Where the job stands: `pending`, `running`, `proved`, `poisoned`.
    pub stage: crate::plan::Stage,
    /// Attempts since it was added or requeued.
    pub attempts: u32,
    /// Logical failures among them.
    pub logical: u32,
    /// The newest failure, or why it is poisoned.
    pub failure: Option<String>,
    /// The provers that work on it.
    pub provers: Vec<String>,
}

pub(super) type Answer<T> = oneshot::Sender<Result<T, Fault>>;

/// How an attempt goes on.
#[derive(Debug)]
pub(super) enum Report {
    /// The prover took it. The answer says whether it is still wanted, once the handle is durable.
    Submitted { token: Token, handle: Handle, wanted: oneshot::Sender<bool> },
    /// It goes on.
    Alive(Token),
    /// It brought a proof, which was verified.
    Proved { key: Key, token: Option<Token>, proof: Bytes, answer: Option<Answer<()>> },
    /// It brought none.
    Failed { token: Token, failure: Failure },
}

#[derive(Debug)]
pub(super) enum Message {
    Add(Vec<NewBlock>, Answer<()>),
    Prune(BlockRef, Answer<()>),
    Requeue(Height, Answer<BlockRef>),
    Supply(Height, Bytes, Answer<()>),
    Status(oneshot::Sender<Status>),
    Jobs(Height, usize, oneshot::Sender<Vec<Listed>>),
    Proof(BlockRef, Answer<Option<Bytes>>),
    Report(Report),
    Offer { prover: usize, offer: Result<crate::Offer, Failure> },
}

impl Message {
    fn is_closed(&self) -> bool {
        match self {
            Self::Add(_, answer) | Self::Prune(_, answer) | Self::Supply(_, _, answer) => {
                answer.is_closed()
            }
            Self::Requeue(_, answer) => answer.is_closed(),
            Self::Status(answer) => answer.is_closed(),
            Self::Jobs(_, _, answer) => answer.is_closed(),
            Self::Proof(_, answer) => answer.is_closed(),
            Self::Report(_) | Self::Offer { .. } => false,
        }
    }

    const fn alive(&self) -> Option<Token> {
        match self {
            Self::Report(Report::Alive(token)) => Some(*token),
            _ => None,
        }
    }
}

impl Policy for Message {
    type Overflow = VecDeque<Self>;

    /// Reports are never dropped, and there are a few for each attempt at the most; of two signs of life of
    /// one attempt the newer says all. Requests whose caller has left are dropped: who still wants them asks
    /// again.
    fn handle(overflow: &mut VecDeque<Self>, message: Self) {
        overflow.retain(|waiting| !waiting.is_closed());
        let repeated = message
            .alive()
            .is_some_and(|token| overflow.iter().any(|waiting| waiting.alive() == Some(token)));
        if !repeated && !message.is_closed() {
            overflow.push_back(message);
        }
    }
}

/// Talks to a scheduler. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Mailbox {
    pub(super) sender: Sender<Message>,
    pub(super) stopper: Stopper,
    pub(super) proven: Receiver<Proven>,
    pub(super) room: Receiver<bool>,
    pub(super) wait: Duration,
}

impl Mailbox {
    async fn request<T>(&self, message: impl FnOnce(Answer<T>) -> Message) -> Result<T, Fault> {
        let stopped = || Fault::new("the proof scheduler", Error::Stopped);
        let (answer, receiver) = oneshot::channel();
        if !self.sender.enqueue(message(answer)).accepted() {
            return Err(stopped());
        }
        receiver.await.map_err(|_| stopped())?
    }

    /// Adds consecutive blocks. Once it returns, their inputs are durable and they will be proven; until then
    /// they do not count as committed. Blocks that are there already are left as they are.
    ///
    /// # Errors
    ///
    /// A block that does not follow the highest one, does not stand on it, or stands beside one that is there; inputs that are too
    /// large; the disk; a scheduler that has stopped. Blocks before the one that was refused may be added.
    ///
    /// # Cancel safety
    ///
    /// Dropped, the blocks may be added or not: add them again.
    pub async fn add(&self, blocks: Vec<NewBlock>) -> Result<(), Fault> {
        self.request(|answer| Message::Add(blocks, answer)).await
    }

    /// Forgets everything above `to`, a block of this chain, and moves the proven tip back to it where it
    /// stands higher.
    ///
    /// # Errors
    ///
    /// The disk; a scheduler that has stopped.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it may have happened or not: ask again.
    pub async fn prune(&self, to: BlockRef) -> Result<(), Fault> {
        self.request(|answer| Message::Prune(to, answer)).await
    }

    /// Attempts the block at `height` again at once, poisoned or not, as if it had never failed.
    ///
    /// # Errors
    ///
    /// [`NoJob`](crate::plan::NoJob); the disk; a scheduler that has stopped.
    ///
    /// # Cancel safety
    ///
    /// As [`Mailbox::prune`].
    pub async fn requeue(&self, height: Height) -> Result<BlockRef, Fault> {
        self.request(|answer| Message::Requeue(height, answer)).await
    }

    /// Takes in a proof of the block at `height` that was made elsewhere, if it verifies.
    ///
    /// # Errors
    ///
    /// It does not verify; [`NoJob`](crate::plan::NoJob); the disk; a scheduler that has stopped.
    ///
    /// # Cancel safety
    ///
    /// As [`Mailbox::prune`].
    pub async fn supply(&self, height: Height, proof: Bytes) -> Result<(), Fault> {
        self.request(|answer| Message::Supply(height, proof, answer)).await
    }

    /// The proof of `block`, if it is kept. Of a block at or below the proven tip it is, as far back as proofs
    /// are kept.
    ///
    /// # Errors
    ///
    /// The disk; a scheduler that has stopped.
    pub async fn proof(&self, block: BlockRef) -> Result<Option<Bytes>, Fault> {
        self.request(|answer| Message::Proof(block, answer)).await
    }

    /// Where it stands; `None` once it has stopped.
    pub async fn status(&self) -> Option<Status> {
        let (answer, receiver) = oneshot::channel();
        let _ = self.sender.enqueue(Message::Status(answer));
        receiver.await.ok()
    }

    /// Jobs from height `from` on, at most `max`, in rising order; `None` once it has stopped. Listed from the
    /// height after the last one on, each job that stays is there exactly once.
    pub async fn jobs(&self, from: Height, max: usize) -> Option<Vec<Listed>> {
        let (answer, receiver) = oneshot::channel();
        let _ = self.sender.enqueue(Message::Jobs(from, max, answer));
        receiver.await.ok()
    }

    /// How far proving is, to read and to await. It closes when the scheduler ends.
    pub fn proven(&self) -> Receiver<Proven> {
        self.proven.clone()
    }

    /// Waits until there is room for one more block, as the configured [`Lag`](crate::plan::Lag) says: for whoever
    /// makes blocks, before each of them. Whether there is: not where the longest wait is over, and the block is made
    /// all the same. At once, unless production is to be slowed; and once the scheduler has ended.
    ///
    /// # Cancel safety
    ///
    /// It may be dropped and called again.
    pub async fn room(&self, clock: &impl Clock) -> bool {
        if self.room.current() {
            return true;
        }
        within(clock, self.wait, self.room.until(|room| *room)).await.is_some()
    }

    /// Stops it: see the module. Safe to call again.
    pub fn stop(&self) {
        self.stopper.stop();
    }
}
