//! What survives: the proposal in hand with what was attested of it, and every preblock.

use bytes::{Buf, BufMut};
use commonware_codec::{EncodeSize, Error as Codec, RangeCfg, Read, ReadExt as _, Write};
use commonware_consensus::types::Round;
use commonware_cryptography::ed25519;
use commonware_runtime::{Supervisor as _, tokio::Context};
use futures::lock::Mutex;
use std::sync::{Arc, OnceLock};
use tidewatch_core::Height;
use tidewatch_sequencer::{
    Error, Identity, Preblock, Proposal,
    disk::Lines,
    timelock::{HOLDERS_MAX, Statement},
};

/// Signatures of holders, by their places.
pub(super) type Attestations = Vec<(u16, ed25519::Signature)>;

/// A line about the proposal in hand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// It was accepted.
    Proposed(Proposal),
    /// A holder has made this statement about it.
    Attested(u16, Statement),
    /// Its order is fixed, as of this round.
    Fixed(Identity, Round, Attestations),
    /// Numbers up to this are done.
    Done(Height),
    /// No certificate of a round above this has been seen.
    Seen(Round),
}

impl Line {
    const PROPOSED: u8 = 0;
    const ATTESTED: u8 = 1;
    const FIXED: u8 = 2;
    const DONE: u8 = 3;
    const SEEN: u8 = 4;
}

impl Write for Line {
    fn write(&self, buf: &mut impl BufMut) {
        match self {
            Self::Proposed(proposal) => {
                buf.put_u8(Self::PROPOSED);
                proposal.write(buf);
            }
            Self::Attested(holder, Statement { identity, fixed }) => {
                buf.put_u8(Self::ATTESTED);
                holder.write(buf);
                identity.write(buf);
                fixed.write(buf);
            }
            Self::Fixed(identity, fixed, attestations) => {
                buf.put_u8(Self::FIXED);
                identity.write(buf);
                fixed.write(buf);
                attestations.write(buf);
            }
            Self::Done(number) => {
                buf.put_u8(Self::DONE);
                number.write(buf);
            }
            Self::Seen(round) => {
                buf.put_u8(Self::SEEN);
                round.write(buf);
            }
        }
    }
}

impl EncodeSize for Line {
    fn encode_size(&self) -> usize {
        1 + match self {
            Self::Proposed(proposal) => proposal.encode_size(),
            Self::Attested(holder, Statement { identity, fixed }) => {
                holder.encode_size() + identity.encode_size() + fixed.encode_size()
            }
            Self::Fixed(identity, fixed, attestations) => {
                identity.encode_size() + fixed.encode_size() + attestations.encode_size()
            }
            Self::Done(number) => number.encode_size(),
            Self::Seen(round) => round.encode_size(),
        }
    }
}

impl Read for Line {
    type Cfg = ();

    fn read_cfg(buf: &mut impl Buf, (): &()) -> Result<Self, Codec> {
        Ok(match u8::read(buf)? {
            Self::PROPOSED => Self::Proposed(Proposal::read(buf)?),
            Self::ATTESTED => {
                let holder = u16::read(buf)?;
                let (identity, fixed) = (Identity::read(buf)?, Round::read(buf)?);
                Self::Attested(holder, Statement { identity, fixed })
            }
            Self::FIXED => {
                let (identity, fixed) = (Identity::read(buf)?, Round::read(buf)?);
                let many = RangeCfg::from(0..=HOLDERS_MAX);
                Self::Fixed(identity, fixed, Vec::read_cfg(buf, &(many, ((), ())))?)
            }
            Self::DONE => Self::Done(Height::read(buf)?),
            Self::SEEN => Self::Seen(Round::read(buf)?),
            tag => return Err(Codec::InvalidEnum(tag)),
        })
    }
}

/// The proposal in hand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pending {
    pub(super) proposal: Proposal,
    /// As of which round its order is fixed, and who attested that.
    pub(super) fixed: Option<(Round, Attestations)>,
}

/// The preblocks: written by the orderer, read by every stream.
#[derive(Clone)]
pub(super) struct Preblocks {
    lines: Arc<Mutex<Lines<Context, Preblock>>>,
    /// The number of the first one, once there is one.
    first: Arc<OnceLock<Height>>,
}

impl Preblocks {
    /// The number that the history begins with.
    pub(super) fn first(&self) -> Option<Height> {
        self.first.get().copied()
    }

    /// The preblock of `number`, which is in the history.
    pub(super) async fn read(&self, number: Height) -> Result<Preblock, Error> {
        let first = self.first().unwrap_or(number);
        self.lines.lock().await.read(number.get().saturating_sub(first.get())).await
    }

    /// Durable when it answers.
    pub(super) async fn write(&self, preblock: Preblock) -> Result<(), Error> {
        let number = preblock.identity.number;
        self.lines.lock().await.write(&[preblock]).await?;
        self.first.get_or_init(|| number);
        Ok(())
    }
}

/// Everything that was written before.
pub(super) struct Opened {
    pub(super) preblocks: Preblocks,
    pub(super) orders: Lines<Context, Line>,
    pub(super) newest: Option<Height>,
    pub(super) pending: Option<Pending>,
    /// No certificate of a round above this was seen.
    pub(super) seen: Option<Round>,
    /// The statements of holders, in their order.
    pub(super) stated: Vec<(u16, Statement)>,
}

/// Opens what there is.
pub(super) async fn open(context: &Context, partition: &str) -> Result<Opened, crate::Error> {
    let damaged =
        |reason: &dyn std::fmt::Display| crate::Error::Ordering { reason: reason.to_string() };
    let (mut first, mut newest, mut gap) = (None, None::<Height>, false);
    let lines = Lines::open(
        context.child("preblocks"),
        format!("{partition}-preblocks"),
        "the preblocks",
        |_, preblock: Preblock| {
            let number = preblock.identity.number;
            gap = gap || newest.is_some_and(|newest| newest.next() != number);
            first = first.or(Some(number));
            newest = Some(number);
            Ok(())
        },
    );
    let lines = lines.await.map_err(|error| damaged(&error))?;
    if gap {
        return Err(damaged(&"the numbers of the preblocks have a gap"));
    }
    let (mut pending, mut stated, mut seen) = (None::<Pending>, Vec::new(), None);
    let orders = Lines::open(
        context.child("orders"),
        format!("{partition}-orders"),
        "the orders",
        |_, line| {
            match line {
                Line::Proposed(proposal) => pending = Some(Pending { proposal, fixed: None }),
                Line::Attested(holder, statement) => stated.push((holder, statement)),
                Line::Fixed(identity, fixed, attestations) => {
                    if let Some(pending) = &mut pending
                        && pending.proposal.identity == identity
                    {
                        pending.fixed = Some((fixed, attestations));
                    }
                }
                Line::Done(_) => {}
                Line::Seen(round) => seen = seen.max(Some(round)),
            }
            Ok(())
        },
    );
    let orders = orders.await.map_err(|error| damaged(&error))?;
    let pending = pending.filter(|pending| Some(pending.proposal.identity.number) > newest);
    let first = Arc::new(first.map_or_else(OnceLock::new, OnceLock::from));
    let preblocks = Preblocks { lines: Arc::new(Mutex::new(lines)), first };
    Ok(Opened { preblocks, orders, newest, pending, seen, stated })
}
