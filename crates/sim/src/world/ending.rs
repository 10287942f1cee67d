//! The end of a world: the cost of following without faults, and a clean shutdown.

use super::{
    PASSES, World,
    life::{Process, STOP},
    millis,
};
use crate::watch::Asked;
use commonware_runtime::{Clock as _, deterministic};
use std::time::Duration;
use tidewatch_core::{Block as _, Height, State, Tier, TipSet};
use tidewatch_stream::Mode;
use tidewatch_testkit::chain::TestBlock;

/// Maximum delay between a doorbell and the pass that it wakes: shorter than any poll interval.
const RUNG: Duration = Duration::from_millis(100);

impl World {
    /// A doorbell wakes a pass at once; without a doorbell, the poll interval does.
    pub(super) async fn wakes(
        &self,
        context: &deterministic::Context,
        process: &mut Process,
    ) -> bool {
        // After a failed pass, back-off delays the next one in spite of the doorbell.
        let mut passes = PASSES + self.mix.nodes.len();
        while let Err(error) = process.follower.sync().await {
            passes -= 1;
            if passes == 0 || self.ended(process) {
                self.watch.broken("liveness", format!("every pass fails: {error}"));
                return false;
            }
        }
        // The doorbell of a certified source is rung by its upstream, at times the test cannot control.
        if process.upstream.is_none() {
            self.truth.lock().ring();
            if !self.is_asked_within(context, RUNG, "the doorbell rang").await {
                return false;
            }
        }
        self.is_asked_within(context, self.mix.poll + RUNG, "no doorbell rang").await
    }

    async fn is_asked_within(
        &self,
        context: &deterministic::Context,
        wait: Duration,
        why: &str,
    ) -> bool {
        let before = self.watch.asked();
        context.sleep(wait).await;
        let asked = self.watch.asked().since(&before).snapshots > 0;
        if !asked {
            self.watch.broken("wakes", format!("{why}, and no pass began within {wait:?}"));
        }
        asked && self.watch.violation().is_none()
    }

    /// In a healed world, the cost of every pass is within its budget.
    pub(super) async fn cost(
        &mut self,
        context: &deterministic::Context,
        process: &mut Process,
    ) -> bool {
        let now = millis(context.current());
        let quiet = self.pass(process).await;
        // A boundary that was passed over by the group's key alone is filled in with a question for the tip.
        let fills = u64::from(self.mix.certified);
        let may = Asked { snapshots: 1, digests: 0, ranges: 0 };
        if !self.within("a quiet pass", quiet, may, fills) {
            return false;
        }
        let given =
            process.store.watermarks().is_ok_and(|watermarks| watermarks.delivered.is_some());
        if !given {
            return true; // Without blocks there are no parent links: every pass needs a search.
        }
        let max = self.mix.blocks_max as u64;
        for blocks in [1, max, 2 * max + 1] {
            self.truth.lock().grow(blocks, now);
            let blocks = blocks.max(self.behind(process));
            let cost = self.pass(process).await;
            let ranges = blocks.div_ceil(max);
            // If finalized blocks are skipped and finality advanced, the head must be located first.
            let skips = matches!(self.mix.mode, Mode::Blocks { skip_finalized: true, .. });
            let digests = u64::from(skips && self.mix.certified);
            // A range ends at the highest height in it that has its own certificate.
            let ranges = if self.mix.certified { 2 * ranges } else { ranges };
            let may = Asked { snapshots: 1, digests, ranges };
            let checks = self.checks(&may) + self.epochs(blocks);
            if !self.within(&format!("{blocks} new blocks"), cost, may, checks) {
                return false;
            }
        }
        for depth in [1, 2, 7, 40] {
            let depth = self.truth.lock().reorg(depth, now);
            let fork = self.truth.lock().now().chain.tip().saturating_sub(depth + 1);
            if !knows(process, fork).await {
                return true; // A fork below the first delivered block refetches more than it replaced.
            }
            let blocks = (depth + 1).max(self.behind(process) + depth);
            let cost = self.pass(process).await;
            // One range that does not link, then the new blocks.
            let ranges = 1 + blocks.div_ceil(max);
            let digests = self.search(depth) + 1;
            let may = Asked { snapshots: 2, digests, ranges };
            let checks = self.checks(&may) + self.epochs(1);
            if !self.within(&format!("a reorg {depth} deep"), cost, may, checks) {
                return false;
            }
        }
        true
    }

    /// Blocks of the chain above the highest one taken in: more than the newest, if an unusable answer ended
    /// the pass before.
    fn behind(&self, process: &Process) -> u64 {
        let delivered = process.store.watermarks().ok().and_then(|watermarks| watermarks.delivered);
        let tip = self.truth.lock().now().chain.tip();
        delivered.map_or(0, |delivered| tip.saturating_sub(delivered.height.get()))
    }

    /// Budget of requests for digests in a search over `depth` blocks: a gallop and a bisection.
    fn search(&self, depth: u64) -> u64 {
        let log2 = u64::from(u64::BITS - depth.leading_zeros());
        match self.mix.digests_max {
            1 => 2 * log2 + 2,
            many => (log2 + 2).div_ceil(many as u64) + log2 + 1,
        }
    }

    /// Budget of certificate verifications in a pass: both tips, one for each range that the hash chain
    /// does not cover, and one for each height in a request for digests.
    const fn checks(&self, may: &Asked) -> u64 {
        2 + may.ranges + may.digests * self.mix.digests_max as u64
    }

    /// Budget of certificate verifications for the epochs that `blocks` new blocks can reach into: each
    /// one's boundary, twice if the key that was kept so far is tried first, and as many tries of the tip.
    const fn epochs(&self, blocks: u64) -> u64 {
        match self.mix.certified {
            true => 3 * (blocks / self.mix.habits.epoch + 1),
            false => 0,
        }
    }

    /// Runs one pass. Returns its calls, and the number of certificates verified meanwhile.
    async fn pass(&self, process: &Process) -> (Asked, u64) {
        let checked =
            || process.upstream.as_ref().map_or(0, |upstream| upstream.certificates().checked());
        let (asked, before) = (self.watch.asked(), checked());
        let _ = process.follower.sync().await;
        (self.watch.asked().since(&asked), checked() - before)
    }

    fn within(&self, what: &str, (cost, checked): (Asked, u64), may: Asked, checks: u64) -> bool {
        let kept = cost.snapshots <= may.snapshots
            && cost.digests <= may.digests
            && cost.ranges <= may.ranges
            && checked <= checks;
        if !kept {
            let detail = format!(
                "{what} cost {cost:?} and {checked} certificates, the budget is {may:?} and {checks}"
            );
            self.watch.broken("cost", detail);
        }
        kept && self.watch.violation().is_none()
    }

    /// Validators that finalize a second block where an epoch ended contradict themselves: the follower says
    /// so, and neither its tips nor its epochs move.
    pub(super) async fn contradicted(
        &mut self,
        context: &deterministic::Context,
        process: &mut Process,
    ) -> bool {
        if !self.mix.certified || !self.mix.plot.contradicts {
            return true;
        }
        let now = millis(context.current());
        let second = {
            let mut truth = self.truth.lock();
            let length = self.mix.habits.epoch;
            let next = truth.now().chain.tip() + 1;
            truth.grow((next + 1).next_multiple_of(length) - next, now);
            truth.settle();
            let chain = &truth.now().chain;
            let below = chain.at(chain.tip() - 1).digest;
            TestBlock::new(chain.tip(), '%', below)
        };
        let stood = self.stood(context, process).await;
        if stood.block(Tier::Finalized).map(|block| block.height) != Some(second.reference().height)
        {
            self.watch.broken("liveness", format!("the end of an epoch is not taken: {stood:?}"));
            return false;
        }
        self.scene.contradict(second);
        for _ in 0..PASSES {
            let stands = self.stood(context, process).await;
            if stands != stood || self.watch.violation().is_some() {
                self.watch.broken("contradiction", format!("from {stood:?} to {stands:?}"));
                return false;
            }
            if process.follower.heads().current().status.state == State::Conflicted {
                return true;
            }
        }
        self.watch.broken("contradiction", "nobody says that finality is contradicted".into());
        false
    }

    /// Where the view stands after a pass that asked for the tip.
    async fn stood(&self, context: &deterministic::Context, process: &Process) -> TipSet {
        // A cached tip must expire before the source fetches a new one.
        context.sleep(self.mix.silence).await;
        let _ = process.follower.sync().await;
        process.store.watermarks().map_or_else(|_| TipSet::unknown(), |marks| marks.tips)
    }

    /// Every actor ends when it is stopped, and no task or connection is left.
    pub(super) async fn stop(&mut self, context: &deterministic::Context, process: Process) {
        let (begun, ended) = (context.current(), process.follower.stop(STOP).await);
        let broken = match &ended {
            Err(late) => Some(late.to_string()),
            Ok(report) if report.cause.is_some() || !report.later.is_empty() => {
                Some(report.to_string())
            }
            Ok(_) => None,
        };
        if let Some(broken) = broken {
            let took = context.current().duration_since(begun).unwrap_or_default();
            self.watch.broken("leaks", format!("a stop ended after {took:?} with: {broken}"));
        }
        if let Some(upstream) = process.upstream {
            let left = upstream.end().await;
            if left.open + left.in_flight > 0 {
                self.watch.broken("leaks", format!("connections are left: {left:?}"));
            }
        }
        if let Some(elsewhere) = process.elsewhere
            && let Err(late) = elsewhere.follower.stop(STOP).await
        {
            self.watch.broken("leaks", late.to_string());
        }
        let running = process.trouble.running();
        if running > 0 {
            self.watch.broken("leaks", format!("{running} tasks are left"));
        }
    }
}

/// Whether the view knows a block at `height`.
async fn knows(process: &Process, height: u64) -> bool {
    let height = Height::new(height);
    let known = process.store.locate(&[height]).await;
    known.is_ok_and(|known| known.iter().flatten().any(|block| block.height == height))
}
