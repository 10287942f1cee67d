//! PX-1 to PX-20: an anchor over a vault whose transactions are all or nothing.

use super::*;
use Tier::*;
use bytes::Bytes;
use commonware_runtime::{Runner as _, deterministic};
use commonware_utils::sync::Mutex;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use tidewatch_core::{Digest, Height, TipSet};

fn block(height: u64) -> BlockRef {
    BlockRef::new(Height::new(height), Digest([height as u8; 32]))
}

fn advanced(tier: Tier, height: u64) -> Event {
    Event::Advanced { tier, tip: block(height).into() }
}

fn pruned(to: u64, tips: &[(Tier, u64)]) -> Event {
    let mut set = TipSet::unknown().with(Proposed, block(to));
    for (tier, height) in tips {
        set = set.with(*tier, block(*height));
    }
    Event::Pruned { to: block(to), depth: 0, tips: set }
}

#[test]
fn px_1_to_px_17_what_an_event_does_to_an_anchor() {
    let decided = |tier, anchor: Option<u64>, event: &Event| decide(tier, anchor.map(block), event);
    let to = |height| Some(Move::To(block(height)));
    let back = |to, rolled| Some(Move::Back { to: block(to), rolled: block(rolled) });
    let table = [
        ("PX-1", decided(Proposed, None, &advanced(Proposed, 1)), to(1)),
        ("PX-3", decided(Proposed, Some(4), &pruned(3, &[])), back(3, 3)),
        ("PX-6", decided(Proposed, Some(5), &pruned(3, &[])), back(3, 3)),
        ("PX-7", decided(Finalized, Some(5), &advanced(Finalized, 9)), to(9)),
        ("PX-10", decided(Proposed, Some(1), &advanced(Proposed, 2)), to(2)),
        ("PX-11", decided(Checkpointed, Some(1), &advanced(Proposed, 2)), None),
        ("PX-14", decided(Proposed, Some(1), &advanced(Checkpointed, 2)), None),
        ("PX-15", decided(Proven, Some(1), &advanced(Proven, 5)), to(5)),
        ("PX-16", decided(Finalized, Some(1), &advanced(Finalized, 10)), to(10)),
        ("PX-17", decided(Proposed, Some(2), &pruned(3, &[])), None),
        (
            "a tier below what survives",
            decided(Proven, Some(5), &pruned(3, &[(Proven, 2)])),
            back(2, 3),
        ),
        ("a tier that moved back", decided(Proven, Some(3), &pruned(4, &[(Proven, 2)])), to(2)),
        ("no anchor yet", decided(Proposed, None, &pruned(3, &[])), None),
        ("the same again", decided(Proposed, Some(2), &advanced(Proposed, 2)), None),
    ];
    for (case, found, expected) in table {
        assert_eq!(found, expected, "{case}");
    }
    let regressed = Event::Regressed { tier: Proven, tip: block(2).into() };
    assert_eq!(decided(Proven, Some(5), &regressed), to(2), "a tier that moved back by itself");
}

#[derive(Clone, Default)]
struct State {
    anchor: Option<BlockRef>,
    header: Bytes,
    notes: BTreeSet<u64>,
    events: BTreeSet<u64>,
}

/// A vault, its headers and its dependents, as a test sees them.
#[derive(Clone, Default)]
struct Wallet(Arc<Mutex<Script>>);

#[derive(Default)]
struct Script {
    kept: State,
    /// Blocks whose headers are known; all, where that is `None`.
    known: Option<BTreeMap<BlockKey, Bytes>>,
    unreachable: bool,
    refuses: bool,
    full: bool,
    asked: Vec<BlockRef>,
    /// Where the anchor stood while dependents rolled back.
    rolled_at: Vec<Option<BlockRef>>,
    wiped: u64,
}

type BlockKey = (u64, [u8; 32]);

fn broken<T>(what: &str) -> Result<T, Fault> {
    Err(FaultKind::Disk.fault("the wallet", what))
}

impl Headers for Wallet {
    type Header = Bytes;

    async fn header(&self, block: BlockRef) -> Result<Option<Bytes>, Fault> {
        let script = &mut *self.0.lock();
        script.asked.push(block);
        if script.unreachable {
            return Err(FaultKind::Unreachable.fault("the node", "is down"));
        }
        let header = || Bytes::copy_from_slice(&block.digest.0);
        let key = (block.height.get(), block.digest.0);
        Ok(script.known.as_ref().map_or_else(|| Some(header()), |known| known.get(&key).cloned()))
    }
}

impl Vault for Wallet {
    type Header = Bytes;
    type Transaction = State;

    async fn anchor(&self) -> Result<Option<BlockRef>, Fault> {
        Ok(self.0.lock().kept.anchor)
    }

    async fn begin(&mut self) -> Result<State, Fault> {
        Ok(self.0.lock().kept.clone())
    }

    fn set(&mut self, state: &mut State, block: BlockRef, header: Bytes) -> Result<(), Fault> {
        (state.anchor, state.header) = (Some(block), header);
        Ok(())
    }

    async fn commit(&mut self, state: State) -> Result<(), Fault> {
        let script = &mut *self.0.lock();
        if script.full {
            return broken("is full");
        }
        script.kept = state;
        Ok(())
    }
}

struct Notes(Wallet);
struct Events(Wallet);

impl Dependent<State> for Notes {
    fn roll_back(&mut self, state: &mut State, to: BlockRef) -> Result<(), Fault> {
        self.0.0.lock().rolled_at.push(state.anchor);
        state.notes.retain(|height| *height <= to.height.get());
        Ok(())
    }

    fn moved(&mut self, _: BlockRef) {
        self.0.0.lock().wiped += 1;
    }
}

impl Dependent<State> for Events {
    fn roll_back(&mut self, state: &mut State, to: BlockRef) -> Result<(), Fault> {
        if self.0.0.lock().refuses {
            return broken("refuses");
        }
        state.events.retain(|height| *height <= to.height.get());
        Ok(())
    }
}

impl Wallet {
    fn at(height: u64) -> Self {
        let wallet = Self::default();
        {
            let script = &mut *wallet.0.lock();
            script.kept.anchor = Some(block(height));
            script.kept.notes = (1..=height).collect();
            script.kept.events = (1..=height).collect();
        }
        wallet
    }

    fn anchored(&self, tier: Tier) -> Anchor<Self, Self> {
        let anchor = Anchor::new("wallet", tier, self.clone(), self.clone());
        anchor.with(Notes(self.clone())).with(Events(self.clone()))
    }

    fn kept(&self) -> (Option<u64>, u64, u64) {
        let kept = &self.0.lock().kept;
        let highest = |of: &BTreeSet<u64>| of.last().copied().unwrap_or_default();
        let anchor = kept.anchor.map(|block| block.height.get());
        (anchor, highest(&kept.notes), highest(&kept.events))
    }
}

fn simulate<F: Future>(test: impl FnOnce() -> F) -> F::Output {
    deterministic::Runner::timed(Duration::from_secs(10)).start(|_| test())
}

#[test]
fn px_2_an_anchor_that_moves_wipes_what_was_cached_and_one_that_does_not_wipes_nothing() {
    simulate(|| async {
        let wallet = Wallet::at(1);
        let mut anchor = wallet.anchored(Proposed);
        anchor.take(&advanced(Checkpointed, 2)).await.unwrap();
        assert_eq!(wallet.0.lock().wiped, 0);
        anchor.take(&advanced(Proposed, 2)).await.unwrap();
        assert_eq!(wallet.0.lock().wiped, 1);
        assert_eq!(wallet.kept().0, Some(2));
    });
}

#[test]
fn px_4_and_px_5_one_that_is_given_up_in_the_middle_changed_nothing() {
    simulate(|| async {
        let wallet = Wallet::at(5);
        let mut anchor = wallet.anchored(Proposed);
        drop(anchor.take(&pruned(3, &[])));
        assert_eq!(wallet.kept(), (Some(5), 5, 5));
        anchor.take(&pruned(3, &[])).await.unwrap();
        assert_eq!(wallet.kept(), (Some(3), 3, 3));
    });
}

#[test]
fn px_6_and_px_9_a_prune_rolls_everything_back_while_the_anchor_stands_and_moves_it_then() {
    simulate(|| async {
        let wallet = Wallet::at(5);
        wallet.anchored(Proposed).take(&pruned(3, &[])).await.unwrap();
        assert_eq!(wallet.kept(), (Some(3), 3, 3), "a note at 4 is gone, one at 3 is kept");
        assert_eq!(wallet.0.lock().rolled_at, [Some(block(5))]);
        assert_eq!(&wallet.0.lock().kept.header[..], block(3).digest.0);
    });
}

#[test]
fn px_8_a_dependent_that_refuses_leaves_everything_as_it_was_and_the_same_event_succeeds_later() {
    simulate(|| async {
        let wallet = Wallet::at(5);
        let mut anchor = wallet.anchored(Proposed);
        wallet.0.lock().refuses = true;
        anchor.take(&pruned(3, &[])).await.unwrap_err();
        assert_eq!((wallet.kept(), wallet.0.lock().wiped), ((Some(5), 5, 5), 0));
        wallet.0.lock().refuses = false;
        anchor.take(&pruned(3, &[])).await.unwrap();
        assert_eq!(wallet.kept(), (Some(3), 3, 3));
    });
}

#[test]
fn px_12_and_px_13_a_header_is_read_by_its_hash_and_a_block_that_vanished_moves_nothing() {
    simulate(|| async {
        let wallet = Wallet::at(1);
        let mut anchor = wallet.anchored(Checkpointed);
        wallet.0.lock().known = Some(BTreeMap::new());
        anchor.take(&advanced(Checkpointed, 2)).await.unwrap();
        assert_eq!(wallet.kept().0, Some(1), "PX-13");
        assert_eq!(wallet.0.lock().asked, [block(2)], "PX-12");
        // Where a prune needs it, that is no answer.
        let fault = anchor.take(&pruned(0, &[])).await.unwrap_err();
        assert_eq!((fault.kind, wallet.kept().0), (FaultKind::Missing, Some(1)));
    });
}

#[test]
fn px_18_an_event_costs_one_header_and_nothing_else() {
    simulate(|| async {
        let wallet = Wallet::at(1);
        let mut anchor = wallet.anchored(Proposed);
        anchor.take(&Event::Blocks { from: block(2), to: block(2) }).await.unwrap();
        assert!(wallet.0.lock().asked.is_empty());
        anchor.take(&advanced(Proposed, 2)).await.unwrap();
        assert_eq!(wallet.0.lock().asked, [block(2)]);
    });
}

#[test]
fn px_19_and_px_20_what_cannot_be_read_or_written_now_is_an_error_and_comes_again() {
    simulate(|| async {
        let wallet = Wallet::at(1);
        let mut anchor = wallet.anchored(Proposed);
        wallet.0.lock().unreachable = true;
        anchor.take(&advanced(Proposed, 2)).await.unwrap_err();
        assert_eq!(wallet.kept().0, Some(1), "PX-19");
        wallet.0.lock().unreachable = false;
        wallet.0.lock().full = true;
        anchor.take(&advanced(Proposed, 2)).await.unwrap_err();
        assert_eq!(wallet.kept().0, Some(1), "PX-20");
        wallet.0.lock().full = false;
        anchor.take(&advanced(Proposed, 2)).await.unwrap();
        assert_eq!((wallet.kept().0, anchor.block().await.unwrap()), (Some(2), Some(block(2))));
    });
}
