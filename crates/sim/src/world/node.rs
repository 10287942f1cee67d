//! Simulated upstreams, each with a personality.

use crate::truth::{Truth, View};
use commonware_runtime::Clock;
use commonware_utils::sync::Mutex;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use std::{future::pending, sync::Arc, time::Duration};
use tidewatch_core::{Block as _, BlockRef, Digest, Fault, FaultKind, Height, Tier, TipSet};
use tidewatch_testkit::chain::{Chain, TestBlock};

/// Blocks that a node without old ones has below its tip.
const RECENT: u64 = 8;

/// How far timestamps from the future lie ahead.
const AHEAD_MS: u64 = 3_600_000;

/// How an upstream misbehaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Personality {
    /// Never misbehaves: reports the true state.
    Honest,
    /// Reports a slightly outdated state.
    Laggard,
    /// A load balancer in front of three nodes at different heights.
    Balanced,
    /// Blocks that do not link, are at other heights or above the tip, or are too many.
    ForgesBlocks,
    /// Digests that are wrong, too few, or of other heights.
    ForgesDigests,
    /// Tips that violate the ladder.
    BreaksLadder,
    /// A chain that forks below the finalized tip.
    ContradictsFinality,
    /// Accepts requests and never responds.
    Silent,
    /// Alternates between two tips, and rings the doorbell continuously.
    Flapping,
    /// Empty responses.
    Empty,
    /// Truncated responses.
    Truncated,
    /// Tips of different moments in one response.
    Torn,
    /// Responses from a stale cache.
    TimeTraveller,
    /// Responses that take longer than any deadline.
    Slow,
    /// Errors.
    Erring,
    /// Does not know one of the tiers.
    Poor,
    /// Has no blocks from long before its tip.
    Recent,
    /// Timestamps from the future.
    Ahead,
    /// A chain with another genesis.
    Stranger,
    /// Reports the true chain and a fork of it in turn, for two snapshots each.
    TwoFaced,
}

impl Personality {
    /// Every personality except `Honest`.
    pub const ALL: [Self; 19] = [
        Self::Laggard,
        Self::Balanced,
        Self::ForgesBlocks,
        Self::ForgesDigests,
        Self::BreaksLadder,
        Self::ContradictsFinality,
        Self::Silent,
        Self::Flapping,
        Self::Empty,
        Self::Truncated,
        Self::Torn,
        Self::TimeTraveller,
        Self::Slow,
        Self::Erring,
        Self::Poor,
        Self::Recent,
        Self::Ahead,
        Self::Stranger,
        Self::TwoFaced,
    ];

    /// Those that an endpoint of a certified chain can have: the others say what only a trusted node can say.
    pub const OF_ENDPOINTS: &[Self] = Self::ALL.split_at(14).0;

    /// Whether a view whose finalized tip is at `finalized` finds out that the answers are of no use, as long as
    /// they are all like that: the source itself takes them as they are. Without a finalized tip, or with genesis
    /// alone, nothing contradicts finality.
    pub const fn is_unusable(self, finalized: u64) -> bool {
        match self {
            Self::BreaksLadder | Self::Empty => true,
            Self::ContradictsFinality => finalized > 0,
            _ => false,
        }
    }
}

/// Health of an upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// Misbehaves according to its personality.
    Wild,
    /// Misbehaves in every call.
    Stubborn,
    /// Reports the true state, at once.
    Healed,
    /// Never responds again.
    Dead,
}

struct State {
    rng: StdRng,
    health: Health,
    /// A forged chain that it reports until the next snapshot.
    other: Option<View>,
    /// A fork of the true chain that it reports now and then, and its first height.
    face: Option<(u64, View)>,
    /// Snapshots reported.
    told: u64,
    /// Tiers that it does not know any more.
    lost: Vec<Tier>,
    asked: u64,
}

/// One remote endpoint.
pub struct Node<E> {
    name: String,
    personality: Personality,
    /// Probability that it misbehaves in a call.
    rate: f64,
    /// Probability that the chain moves during a call.
    restless: f64,
    clock: E,
    truth: Arc<Mutex<Truth>>,
    state: Mutex<State>,
}

impl<E> std::fmt::Debug for Node<E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node").field("name", &self.name).finish_non_exhaustive()
    }
}

/// State that a response is built from, and whether the node misbehaves in it.
struct Mood {
    view: View,
    acts_up: bool,
}

impl<E: Clock> Node<E> {
    /// An endpoint that reports `truth`.
    pub fn new(
        nth: usize,
        (personality, rate): (Personality, f64),
        restless: f64,
        seed: u64,
        clock: E,
        truth: Arc<Mutex<Truth>>,
    ) -> Self {
        let rng = StdRng::seed_from_u64(seed ^ (nth as u64 + 1).wrapping_mul(0x9e37_79b9));
        let health = Health::Wild;
        let state =
            State { rng, health, other: None, face: None, told: 0, lost: Vec::new(), asked: 0 };
        let name = format!("{nth}-{personality:?}").to_lowercase();
        Self { name, personality, rate, restless, clock, truth, state: Mutex::new(state) }
    }

    /// Name of the upstream.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Personality of the upstream.
    pub const fn personality(&self) -> Personality {
        self.personality
    }

    /// Sets the health.
    pub fn set(&self, health: Health) {
        let mut state = self.state.lock();
        (state.health, state.other) = (health, None);
    }

    /// From here on it does not know `tiers`.
    pub fn lose(&self, tiers: impl IntoIterator<Item = Tier>) {
        self.state.lock().lost = tiers.into_iter().collect();
    }

    /// Present health.
    pub fn health(&self) -> Health {
        self.state.lock().health
    }

    /// Number of requests received.
    pub fn asked(&self) -> u64 {
        self.state.lock().asked
    }

    /// Sleeps on the clock of the node.
    pub(super) async fn sleep(&self, duration: Duration) {
        self.clock.sleep(duration).await;
    }

    pub(super) fn now_ms(&self) -> u64 {
        super::millis(self.clock.current())
    }

    fn chance(&self, rate: f64) -> bool {
        rate > 0.0 && self.state.lock().rng.random_bool(rate.min(1.0))
    }

    /// A random number below `below`.
    pub(super) fn pick(&self, below: usize) -> usize {
        self.state.lock().rng.random_range(0..below.max(1))
    }

    /// Receives a request. The chain may move while the request is in transit; then the node decides
    /// whether it misbehaves, and which state it reports.
    pub async fn meet(&self) -> Result<(View, bool), Fault> {
        let health = {
            let mut state = self.state.lock();
            state.asked += 1;
            state.health
        };
        if health == Health::Dead {
            return pending().await;
        }
        let wild = health == Health::Wild;
        let latency = self.pick(if wild { 60 } else { 3 }) as u64;
        self.clock.sleep(Duration::from_millis(latency)).await;
        if wild && self.chance(self.restless) {
            let now = self.now_ms();
            self.truth.lock().step(now);
        }
        let acts_up = health == Health::Stubborn || (wild && self.chance(self.rate));
        let Mood { view, acts_up } = self.mood(acts_up).await?;
        Ok((view, acts_up))
    }

    async fn mood(&self, acts_up: bool) -> Result<Mood, Fault> {
        let ago = |moves| self.truth.lock().ago(moves).clone();
        let view = match self.personality {
            _ if !acts_up => ago(0),
            Personality::Laggard => ago(2),
            Personality::Balanced => ago([0, 1, 4][self.pick(3)]),
            Personality::Flapping => ago(self.pick(2)),
            Personality::TimeTraveller => ago(20),
            Personality::Silent => return pending().await,
            Personality::Slow => {
                self.clock.sleep(Duration::from_secs(self.pick(40) as u64)).await;
                ago(0)
            }
            Personality::Erring => {
                let kinds = [
                    FaultKind::Unreachable,
                    FaultKind::Timeout,
                    FaultKind::Unavailable,
                    FaultKind::Missing,
                    FaultKind::Behind,
                    FaultKind::Malformed,
                    FaultKind::UnexpectedContent,
                    FaultKind::Oversized,
                    FaultKind::WrongDigest,
                ];
                let kind = kinds[self.pick(kinds.len())];
                return Err(kind.fault(self.name.clone(), "injected by the simulation"));
            }
            _ => ago(0),
        };
        Ok(Mood { view, acts_up })
    }

    /// Reports all tips and the timestamp of the proposed one.
    pub async fn tips(&self, ladder_top: [Tier; 4]) -> Result<(TipSet, u64), Fault> {
        let (view, acts_up) = self.meet().await?;
        let other_face = {
            let mut state = self.state.lock();
            state.other = None;
            state.told += 1;
            // Twice the same: a follower that looks twice sees one fork.
            state.health == Health::Wild && state.told / 2 % 2 == 1
        };
        let acts_up = match self.personality {
            Personality::TwoFaced => other_face,
            _ => acts_up,
        };
        if !acts_up {
            return Ok((self.known(view.tips), view.time_ms));
        }
        let tips = match self.personality {
            Personality::Empty => TipSet::unknown(),
            Personality::Truncated => {
                let mut tips = view.tips;
                for tier in ladder_top.into_iter().skip(1 + self.pick(3)) {
                    tips.set(tier, None);
                }
                tips
            }
            Personality::BreaksLadder => {
                // Of what it knows: a tier that is dropped afterwards would leave what can be believed.
                let mut tips = self.known(view.tips);
                let [top, .., low] = ladder_top;
                let low = Tier::ALL
                    .into_iter()
                    .rev()
                    .find(|tier| tips.get(*tier).is_some())
                    .unwrap_or(low);
                let (high, below) = (tips.get(top), tips.get(low));
                tips.set(top, below);
                tips.set(low, high);
                tips
            }
            Personality::Torn => {
                let mut tips = view.tips;
                for tier in Tier::ALL {
                    let moves = self.pick(4);
                    tips.set(tier, self.truth.lock().ago(moves).tips.get(tier));
                }
                tips
            }
            Personality::ContradictsFinality => self.other_chain(&view),
            Personality::Poor => {
                let mut tips = view.tips;
                tips.set(ladder_top[1 + self.pick(3)], None);
                tips
            }
            Personality::Stranger => {
                let tip = view.chain.tip();
                self.report(&view, Chain::of_network('h', '!', tip), 0)
            }
            Personality::TwoFaced => self.face(&view),
            _ => view.tips,
        };
        let ahead = if self.personality == Personality::Ahead { AHEAD_MS } else { 0 };
        Ok((self.known(tips), view.time_ms + ahead))
    }

    /// Without the tiers that were lost.
    fn known(&self, mut tips: TipSet) -> TipSet {
        for lost in &self.state.lock().lost {
            tips.set(*lost, None);
        }
        tips
    }

    /// Reports `chain`, which it forged from height `from`, until the next snapshot.
    fn report(&self, view: &View, chain: Chain, from: u64) -> TipSet {
        let tips = chain.tips_at([Some(chain.tip()), None, None, None]);
        self.truth.lock().tell_of(&chain, from);
        self.state.lock().other = Some(View { chain, tips, time_ms: view.time_ms });
        tips
    }

    /// A fork near the tip, the same one as long as nothing in it is final.
    fn face(&self, view: &View) -> TipSet {
        let (tip, floor) = (view.chain.tip(), self.truth.lock().finalized());
        let face = self.state.lock().face.clone().filter(|(at, _)| *at > floor);
        let Some((_, face)) = face else {
            let at = (floor + 1).max(tip.saturating_sub(2));
            let tips = self.report(view, view.chain.fork(at, '!', tip.max(at) + 1), at);
            let mut state = self.state.lock();
            state.face = state.other.clone().map(|face| (at, face));
            return tips;
        };
        let tips = face.tips;
        self.state.lock().other = Some(face);
        tips
    }

    /// A chain that forks from the true one below the finalized tip. It claims no finality, because an
    /// uncertified source could not detect a false claim.
    fn other_chain(&self, view: &View) -> TipSet {
        let tip = view.chain.tip();
        let floor = self.truth.lock().finalized().min(tip);
        if floor == 0 {
            return view.tips;
        }
        let at = self.pick(floor as usize) as u64 + 1;
        self.report(view, view.chain.fork(at, '!', tip + 1), at)
    }

    /// Reports the digests at `heights` under `tip`.
    pub async fn digests(
        &self,
        tip: BlockRef,
        heights: &[Height],
    ) -> Result<Vec<Option<Digest>>, Fault> {
        let (view, acts_up) = self.meet().await?;
        let chain =
            self.state.lock().other.as_ref().map_or(view.chain, |other| other.chain.clone());
        let careless = acts_up && self.personality == Personality::Balanced;
        if !(careless || chain.has(tip)) {
            let detail = format!("it moved away from {tip}");
            return Err(FaultKind::Torn.fault(self.name.clone(), detail));
        }
        let at = |height: &Height| {
            chain.get(height.get()).filter(|_| *height <= tip.height).map(|block| block.digest)
        };
        let mut digests: Vec<_> = heights.iter().map(at).collect();
        if !acts_up {
            return Ok(digests);
        }
        match self.personality {
            Personality::Empty => digests.fill(None),
            Personality::Recent => {
                let oldest = chain.tip().saturating_sub(RECENT);
                for (digest, height) in digests.iter_mut().zip(heights) {
                    *digest = digest.filter(|_| height.get() >= oldest);
                }
            }
            Personality::Truncated => {
                digests.pop();
            }
            Personality::ForgesDigests => match self.pick(4) {
                0 => digests.push(Some(Digest([7; 32]))),
                1 => digests.rotate_left(1),
                2 => digests.clear(),
                _ => {
                    for digest in &mut digests {
                        *digest = Some(Digest([self.pick(256) as u8; 32]));
                    }
                }
            },
            _ => {}
        }
        Ok(digests)
    }

    /// Reports blocks from height `from` up to `tip`.
    pub async fn blocks(
        &self,
        tip: BlockRef,
        from: Height,
        max: usize,
    ) -> Result<Vec<TestBlock>, Fault> {
        let (view, acts_up) = self.meet().await?;
        let chain =
            self.state.lock().other.as_ref().map_or(view.chain, |other| other.chain.clone());
        let careless = acts_up && self.personality == Personality::Balanced;
        if !(careless || chain.has(tip)) {
            return Ok(Vec::new());
        }
        let last = tip.height.get().min(from.get() + max as u64 - 1);
        let mut blocks = chain.range(from.get(), last);
        if !acts_up {
            return Ok(blocks);
        }
        match self.personality {
            Personality::Recent if from.get() < chain.tip().saturating_sub(RECENT) => {
                let detail = format!("no block at {from}");
                return Err(FaultKind::Missing.fault(self.name.clone(), detail));
            }
            Personality::Empty => blocks.clear(),
            Personality::Truncated => blocks.truncate(self.pick(blocks.len())),
            Personality::ForgesBlocks => self.forge(&mut blocks, &chain, tip, max),
            _ => {}
        }
        Ok(blocks)
    }

    fn forge(&self, blocks: &mut Vec<TestBlock>, chain: &Chain, tip: BlockRef, max: usize) {
        let many = blocks.len();
        if many == 0 {
            return;
        }
        let nth = self.pick(many);
        let height = blocks[nth].reference().height.get();
        let roll = self.pick(6);
        match roll {
            // A block with an unknown parent.
            0 => blocks[nth] = TestBlock::new(height, '?', Digest([9; 32])),
            // A gap.
            1 => drop(blocks.remove(nth)),
            // Blocks above the tip.
            2 => {
                let parent = blocks[many - 1].reference().digest;
                let next = blocks[many - 1].reference().height.get() + 1;
                blocks.push(TestBlock::new(next.max(tip.height.get() + 1), '?', parent));
            }
            // Too many.
            3 => {
                let top = blocks[0].reference().height.get() + 2 * max as u64;
                *blocks = chain.range(blocks[0].reference().height.get(), top);
            }
            // Reversed order.
            4 => blocks.reverse(),
            // A chain that links but does not lead to the tip.
            _ => {
                let mut parent = blocks[nth].parent();
                for block in &mut blocks[nth..] {
                    *block = TestBlock::new(block.reference().height.get(), '?', parent);
                    parent = block.reference().digest;
                }
            }
        }
    }
}
