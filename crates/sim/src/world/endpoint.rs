//! Upstreams of a certified chain: serve the state of a node as encoded certificates.

use super::committees::Committees;
use super::{
    node::{Node, Personality},
    plot::Scene,
};
use crate::truth::{Truth, View};
use bytes::Bytes;
use commonware_codec::Encode as _;
use commonware_consensus::types::{Epoch, Epocher as _, FixedEpocher, Round, View as ViewNumber};
use commonware_runtime::Clock;
use commonware_utils::sync::Mutex;
use std::{
    collections::{HashMap, HashSet},
    fmt,
    num::NonZeroU64,
    sync::Arc,
    time::Duration,
};
use tidewatch_certified::{CertificateKind, Feed, Key, Push, Schemes, SchemesParts, Transport};
use tidewatch_core::{Block as _, BlockRef, Digest, Fault, FaultKind, Height, Tier};
use tidewatch_testkit::{
    chain::TestBlock,
    committee::{Committee, NAMESPACE, Scheme},
};

/// About one finalized height in this many has no certificate of its own, because it was finalized
/// through a descendant.
const BY_A_DESCENDANT: u8 = 4;

/// Messages sent so far, and requests and connections open now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Non-empty responses to requests for a tip.
    pub tips: u64,
    /// Non-empty responses to requests for a height.
    pub heights: u64,
    /// Frames pushed.
    pub pushes: u64,
    /// Messages among these that were sent for the first time, or by a misbehaving node.
    pub new: u64,
    /// Requests in flight.
    pub in_flight: usize,
    /// Open push connections.
    pub open: usize,
}

/// The validators of a world, and a foreign committee for forgeries. Certificates are cached.
pub struct Validators {
    committees: Committees,
    epocher: FixedEpocher,
    strangers: Committee,
    made: Mutex<HashMap<(CertificateKind, Round, Digest, bool), Bytes>>,
}

impl fmt::Debug for Validators {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Validators").field("epocher", &self.epocher).finish_non_exhaustive()
    }
}

impl Validators {
    /// Two committees, of which the last block of each epoch of `length` heights names the next one's: the
    /// same, or the other.
    pub fn new(length: u64) -> Self {
        let [one, other, strangers] = [1, 2, 3].map(|seed| Committee::new(seed, 1));
        let length = NonZeroU64::new(length).unwrap_or(NonZeroU64::MIN);
        Self {
            committees: Committees::new(vec![one, other]),
            epocher: FixedEpocher::new(length),
            strangers,
            made: Mutex::default(),
        }
    }

    /// A follower's table of epochs, with the first committee as its anchor.
    pub fn schemes(&self) -> Schemes<FixedEpocher, Committees, TestBlock> {
        let parts = SchemesParts {
            epocher: self.epocher.clone(),
            boundary: self.committees.clone(),
            blocks: (),
            certificates: (),
        };
        let identity = *self.committees.first().verifier().identity();
        let scheme = Scheme::certificate_verifier(NAMESPACE, identity);
        Schemes::new(parts, Epoch::zero(), scheme)
    }

    /// Epoch of `height`.
    fn epoch(&self, height: Height) -> Epoch {
        self.epocher.containing(height).map_or(Epoch::zero(), |epoch| epoch.epoch())
    }

    /// Whether the block at `height` is the last one of its epoch.
    fn ends(&self, height: Height) -> bool {
        self.epocher.containing(height).is_some_and(|epoch| epoch.last() == height)
    }

    /// Committee of `epoch` of the chain, as the block before it names it.
    fn committee(&self, truth: &Truth, epoch: Epoch) -> &Committee {
        let before = epoch.previous().and_then(|before| self.epocher.last(before));
        let boundary = before.and_then(|height| truth.now().chain.get(height.get()));
        match boundary {
            Some(boundary) => self.committees.after(&boundary.digest),
            None => self.committees.first(),
        }
    }

    fn certificate(
        &self,
        truth: &Truth,
        kind: CertificateKind,
        round: Round,
        digest: Digest,
        honest: bool,
    ) -> Bytes {
        let committee = match honest {
            true => self.committee(truth, round.epoch()),
            false => &self.strangers,
        };
        let mut made = self.made.lock();
        let made = made.entry((kind, round, digest, honest));
        let make = || match kind {
            CertificateKind::Finalized => committee.finalization(round, digest),
            CertificateKind::Notarized => committee.notarization(round, digest),
        };
        made.or_insert_with(make).clone()
    }
}

/// What all endpoints of a world share.
#[derive(Clone, Debug)]
pub struct Network {
    /// Validators that sign.
    pub validators: Arc<Validators>,
    /// True state of the chain.
    pub truth: Arc<Mutex<Truth>>,
    /// What happens where epochs end.
    pub scene: Scene,
    /// Traffic of all endpoints.
    pub traffic: Arc<Mutex<Traffic>>,
    /// Certificates sent so far, each with its block.
    pub sent: Arc<Mutex<HashSet<Bytes>>>,
    /// Whether connections hand over certificates that nobody sent.
    pub makes_up: bool,
}

impl Network {
    /// Counts a message. A message of a misbehaving node always counts as new, because a certificate
    /// that does not verify is not remembered by the verifier.
    fn send(&self, count: fn(&mut Traffic) -> &mut u64, bytes: &Bytes, acts_up: bool) {
        let new = acts_up || self.sent.lock().insert(bytes.clone());
        let mut traffic = self.traffic.lock();
        *count(&mut traffic) += 1;
        traffic.new += u64::from(new);
    }
}

/// One endpoint: a [`Node`] that responds in bytes.
#[derive(Debug)]
pub struct Endpoint<E> {
    node: Arc<Node<E>>,
    network: Network,
}

impl<E: Clock> Endpoint<E> {
    /// The endpoint of `node`.
    pub const fn new(node: Arc<Node<E>>, network: Network) -> Self {
        Self { node, network }
    }
}

/// Builds responses from the view of a node.
struct Desk<'a, E> {
    node: &'a Node<E>,
    network: &'a Network,
}

impl<E: Clock> Desk<'_, E> {
    fn round(&self, block: BlockRef) -> Round {
        let epoch = self.network.validators.epoch(block.height);
        Round::new(epoch, ViewNumber::new(self.network.truth.lock().nth(&block.digest)))
    }

    fn certificate(
        &self,
        kind: CertificateKind,
        round: Round,
        digest: Digest,
        honest: bool,
    ) -> Bytes {
        let truth = self.network.truth.lock();
        self.network.validators.certificate(&truth, kind, round, digest, honest)
    }

    /// A certificate over `block`, followed by the block.
    fn certified(&self, kind: CertificateKind, block: &TestBlock) -> Bytes {
        let reference = block.reference();
        let round = self.round(reference);
        let certificate = self.certificate(kind, round, reference.digest, true);
        [certificate, block.encode()].concat().into()
    }

    /// Whether `block` ends an epoch, and that is withheld: as an answer by its digest, or with its certificate.
    fn withheld(&self, block: &TestBlock, by_digest: bool) -> bool {
        let network = self.network;
        network.validators.ends(block.reference().height)
            && network.scene.withholds(by_digest, self.node.now_ms())
    }

    /// A finalization by validators that had finalized another block at that height.
    fn contradiction(&self) -> Option<Bytes> {
        let block = self.network.scene.contradiction()?;
        let BlockRef { height, digest } = block.reference();
        let epoch = self.network.validators.epoch(height);
        let round = Round::new(epoch, ViewNumber::new(u64::from(u32::MAX) + height.get()));
        let certificate = self.certificate(CertificateKind::Finalized, round, digest, true);
        Some([certificate, block.encode()].concat().into())
    }

    /// The honest response to `key` in `view`.
    fn answer(&self, view: &View, key: Key) -> Option<Bytes> {
        let blocks = view.chain.blocks();
        let finalized = view.tips.block(Tier::Finalized).map(|tip| tip.height.get());
        let at = |height: u64| blocks.get(height as usize).filter(|_| height > 0);
        match key {
            Key::LatestFinalization if let Some(second) = self.contradiction() => Some(second),
            Key::LatestFinalization => finalized
                .and_then(at)
                .filter(|block| !self.withheld(block, false))
                .map(|block| self.certified(CertificateKind::Finalized, block)),
            Key::LatestNotarization => {
                at(view.chain.tip()).map(|block| self.certified(CertificateKind::Notarized, block))
            }
            Key::Height(height) => {
                let finalized = finalized?;
                let block = at(height.get()).filter(|_| height.get() <= finalized)?;
                let own = block.reference().digest.0[31] % BY_A_DESCENDANT != 0;
                // No block of an epoch follows its last one, so that has one of its own.
                let own = own || self.network.validators.ends(height);
                ((own || height.get() == finalized) && !self.withheld(block, false))
                    .then(|| self.certified(CertificateKind::Finalized, block))
            }
            Key::Digest(digest) => {
                let same = |block: &&TestBlock| block.reference().digest == digest;
                let block = blocks.iter().rev().find(same);
                block.filter(|block| !self.withheld(block, true)).map(|block| block.encode())
            }
            // Indexers do not find certificates.
            Key::Certificate { .. } | Key::Blocks { .. } => None,
        }
    }

    /// The response of a misbehaving node, in place of `honest`.
    fn lie(&self, view: &View, key: Key, honest: Option<Bytes>) -> Option<Bytes> {
        match self.node.personality() {
            Personality::Empty => None,
            Personality::Truncated => {
                honest.map(|bytes| bytes.slice(..self.node.pick(bytes.len())))
            }
            Personality::ForgesBlocks => self.forge(view, key, honest),
            Personality::ForgesDigests => {
                let finalized = view.tips.block(Tier::Finalized);
                let finalized = finalized.map_or(0, |tip| tip.height.get() as usize);
                let block = &view.chain.blocks()[self.node.pick(finalized + 1)];
                match key {
                    Key::Digest(_) => Some(block.encode()),
                    _ => Some(self.certified(CertificateKind::Finalized, block)),
                }
            }
            // Presents a notarized block as finalized, and vice versa.
            Personality::BreaksLadder => {
                let tip = view.chain.blocks().last()?;
                let kind = match key {
                    Key::LatestNotarization => CertificateKind::Finalized,
                    _ => CertificateKind::Notarized,
                };
                Some(self.certified(kind, tip))
            }
            Personality::ContradictsFinality => self.contradict(view, key),
            Personality::Torn => {
                let view = self.network.truth.lock().ago(self.node.pick(8)).clone();
                self.answer(&view, key)
            }
            _ => honest,
        }
    }

    /// Random bytes, trailing bytes, or a certificate over one block followed by a different block.
    fn forge(&self, view: &View, key: Key, honest: Option<Bytes>) -> Option<Bytes> {
        let tip = view.chain.blocks().last()?;
        let false_block = TestBlock::new(
            tip.reference().height.get(),
            '?',
            Digest([self.node.pick(256) as u8; 32]),
        );
        match (self.node.pick(4), key) {
            (0, _) => Some(vec![self.node.pick(256) as u8; self.node.pick(4_096)].into()),
            (1, _) => honest.map(|bytes| [bytes, Bytes::from_static(&[0; 64])].concat().into()),
            (_, Key::Digest(_)) => Some(false_block.encode()),
            _ => {
                let reference = tip.reference();
                let round = self.round(reference);
                let digest = reference.digest;
                let certificate = self.certificate(CertificateKind::Finalized, round, digest, true);
                Some([certificate, false_block.encode()].concat().into())
            }
        }
    }

    /// A different block at a height of the chain, certified by the foreign committee or by the
    /// committee of another epoch.
    fn contradict(&self, view: &View, key: Key) -> Option<Bytes> {
        let tip = view.chain.tip();
        let height = match key {
            Key::Height(height) => height.get().min(tip),
            _ => self.node.pick(tip as usize) as u64 + 1,
        };
        let below = view.chain.get(height.checked_sub(1)?)?;
        let block = TestBlock::new(height, '!', below.digest);
        let reference = block.reference();
        let epoch = self.network.validators.epoch(reference.height);
        let number = ViewNumber::new(u64::from(u32::MAX) + height);
        let (round, honest) = match self.node.pick(3) {
            0 => (Round::new(epoch, number), false),
            1 => (Round::new(Epoch::new(epoch.get() + 1), number), true),
            _ => (Round::new(epoch, ViewNumber::new(1)), false),
        };
        let digest = reference.digest;
        let certificate = self.certificate(CertificateKind::Finalized, round, digest, honest);
        Some([certificate, block.encode()].concat().into())
    }
}

/// Guard that increments a counter while it is alive.
struct Open {
    traffic: Arc<Mutex<Traffic>>,
    count: fn(&mut Traffic) -> &mut usize,
}

impl Open {
    fn new(traffic: &Arc<Mutex<Traffic>>, count: fn(&mut Traffic) -> &mut usize) -> Self {
        *count(&mut traffic.lock()) += 1;
        Self { traffic: traffic.clone(), count }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        *(self.count)(&mut self.traffic.lock()) -= 1;
    }
}

impl<E: Clock> Transport for Endpoint<E> {
    type Feed = Pushes<E>;

    fn name(&self) -> &str {
        self.node.name()
    }

    async fn fetch(&self, key: Key) -> Result<Option<Bytes>, Fault> {
        let traffic = &self.network.traffic;
        let _open = Open::new(traffic, |traffic| &mut traffic.in_flight);
        let (view, acts_up) = self.node.meet().await?;
        let desk = Desk { node: &self.node, network: &self.network };
        let honest = desk.answer(&view, key);
        let answer = if acts_up { desk.lie(&view, key, honest) } else { honest };
        match (key, &answer) {
            (Key::LatestFinalization | Key::LatestNotarization, Some(bytes)) => {
                self.network.send(|traffic| &mut traffic.tips, bytes, acts_up);
            }
            (Key::Height(_), Some(bytes)) => {
                self.network.send(|traffic| &mut traffic.heights, bytes, acts_up);
            }
            (Key::Digest(_) | Key::Certificate { .. } | Key::Blocks { .. }, _) | (_, None) => {}
        }
        Ok(answer)
    }

    async fn listen(&self) -> Result<Pushes<E>, Fault> {
        let _open = Open::new(&self.network.traffic, |traffic| &mut traffic.in_flight);
        self.node.meet().await?;
        let open = Open::new(&self.network.traffic, |traffic| &mut traffic.open);
        let (node, network) = (self.node.clone(), self.network.clone());
        Ok(Pushes { node, network, pushed: (None, None), made_up: None, _open: open })
    }
}

/// A push connection, which sends a certificate when a tip moves.
pub struct Pushes<E> {
    node: Arc<Node<E>>,
    network: Network,
    /// Last finalized and last notarized block pushed.
    pushed: (Option<BlockRef>, Option<BlockRef>),
    /// What nobody sent.
    made_up: Option<Bytes>,
    _open: Open,
}

impl<E> fmt::Debug for Pushes<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pushes").field("node", &self.node).finish_non_exhaustive()
    }
}

impl<E: Clock> Pushes<E> {
    /// The next certificate to push.
    fn next_of(&mut self, view: &View) -> Option<Key> {
        let (finalized, tip) = (view.tips.block(Tier::Finalized), view.chain.get(view.chain.tip()));
        if self.pushed.0 != finalized {
            self.pushed.0 = finalized;
            return Some(Key::LatestFinalization);
        }
        if self.pushed.1 != tip {
            self.pushed.1 = tip;
            return Some(Key::LatestNotarization);
        }
        None
    }
}

impl<E: Clock> Feed for Pushes<E> {
    async fn next(&mut self) -> Result<Push, Fault> {
        if let Some(bytes) = self.made_up.take() {
            return Ok(Push::Finalization(bytes));
        }
        loop {
            let wait = Duration::from_millis(20 + self.node.pick(200) as u64);
            self.node.sleep(wait).await;
            let (view, acts_up) = self.node.meet().await?;
            if acts_up && self.node.personality() == Personality::Flapping {
                return Err(FaultKind::Unreachable.fault(self.node.name(), "hung up"));
            }
            let Some(key) = self.next_of(&view) else { continue };
            let desk = Desk { node: &self.node, network: &self.network };
            let honest = desk.answer(&view, key);
            let response = if acts_up { desk.lie(&view, key, honest) } else { honest };
            let Some(bytes) = response else { continue };
            if self.network.makes_up {
                self.made_up = desk.contradict(&view, key);
            }
            self.network.send(|traffic| &mut traffic.pushes, &bytes, acts_up);
            return Ok(match key {
                Key::LatestFinalization => Push::Finalization(bytes),
                _ => Push::Notarization(bytes),
            });
        }
    }
}
