//! The decisions: tables, and every order of events in a small world.

mod tables;
mod worlds;

use super::{
    build::{Build, build},
    effect::{Effect, Notice},
    ingress::{Answer, Nothing, Refusal},
    plan::Plan,
    *,
};
use crate::*;
use bytes::Bytes;
use std::num::NonZeroU32;
use tidewatch_core::{Block as _, BlockRef, Digest, Fault, FaultKind, Height};

fn genesis() -> Standing {
    Standing { block: BlockRef::new(Height::zero(), Digest([7; 32])), time_ms: 1_000 }
}

fn transaction(nonce: u64) -> Transaction {
    Transaction { sender: Sender([1; 32]), nonce, payload: Bytes::from_static(b"payload") }
}

fn content(transactions: Vec<Transaction>) -> Content {
    Content { time_ms: 2_000, transactions }
}

/// What the network makes of `proposal`.
fn preblock(proposal: &Proposal) -> Preblock {
    let Proposal { identity, content } = proposal.clone();
    let opened = content.transactions.iter().map(|it| Opened::Clear(it.payload.clone())).collect();
    Preblock { identity, content, opened, evidence: Bytes::new() }
}

fn standing(block: &Block) -> Standing {
    Standing { block: block.reference(), time_ms: block.content.time_ms }
}

fn fault() -> Fault {
    FaultKind::Unreachable.fault("test", "no")
}
