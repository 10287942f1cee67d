//! The port: an execution layer as the view needs it.

use crate::{Forkchoice, Order};
use std::{fmt, future::Future};
use tidewatch_core::{Block, BlockRef, Digest, Fault, Height};

/// A block as a client is given it.
pub trait Payload: Clone + Send + Sync + 'static {
    /// Which block it is.
    fn reference(&self) -> BlockRef;

    /// What the client is given, as text: kept as evidence where it says that the block is invalid.
    fn evidence(&self) -> String;
}

/// What a client says of a block that it was given, or of a head that it was pointed at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It executed everything up to the block that it names, and that is valid.
    Valid(Digest),
    /// It cannot say yet, because it is syncing or has put the block aside: nothing was done.
    NotYet(Aside),
    /// It refuses it for good.
    Invalid {
        /// The newest valid block below, if it named one.
        valid: Option<Digest>,
        /// Its words, cut to a bound and printable.
        why: String,
    },
}

/// Why a client has no verdict yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aside {
    /// It lacks what is below.
    Syncing,
    /// It keeps the block, and has not executed it.
    Accepted,
}

impl fmt::Display for Aside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Syncing => "SYNCING",
            Self::Accepted => "ACCEPTED",
        })
    }
}

/// Where a client stands, by its own word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Its head, and what it holds to be safe and finalized.
    pub forkchoice: Forkchoice,
    /// Where the head stands among targets, if its block says so: the round that consensus finalized it in.
    pub order: Option<Order>,
}

/// A client that executes blocks: the execution layer, as the view needs it.
///
/// Every call has a deadline of its own: none outlasts it, whatever the client does.
///
/// # Cancel safety
///
/// Every method may be dropped at any await. A client that was given a block may have taken it.
pub trait Execution: Send + Sync + 'static {
    /// The chain's blocks, as sources deliver them.
    type Block: Block;
    /// The same, as the client is given them.
    type Payload: Payload;

    /// Names the client in faults, without credentials.
    fn name(&self) -> &str;

    /// What the client has to be given for each of `blocks`, in their order, checked against them. An answer
    /// that is not of these very blocks is a fault.
    fn prepare(
        &self,
        blocks: &[Self::Block],
    ) -> impl Future<Output = Result<Vec<Self::Payload>, Fault>> + Send;

    /// Gives it one block. Parents come before their children.
    fn give(&self, payload: &Self::Payload) -> impl Future<Output = Result<Verdict, Fault>> + Send;

    /// Points it at a head.
    fn point(&self, to: &Forkchoice) -> impl Future<Output = Result<Verdict, Fault>> + Send;

    /// Where it stands.
    fn standing(&self) -> impl Future<Output = Result<Standing, Fault>> + Send;

    /// Its blocks at `heights`, on the chain under its head; `None` where it has none.
    fn at(
        &self,
        heights: &[Height],
    ) -> impl Future<Output = Result<Vec<Option<BlockRef>>, Fault>> + Send;

    /// The height up to which it would have everything after a crash; `None` where it has nothing.
    fn durable(&self) -> impl Future<Output = Result<Option<Height>, Fault>> + Send;
}
