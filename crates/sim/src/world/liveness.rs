//! After the faults end, the view and all consumers must converge on the chain.

use super::{
    Health, PASSES, World,
    life::{NAMES, Process, STOP, TICK},
    millis,
};
use commonware_macros::select;
use commonware_runtime::{Clock as _, deterministic};
use futures::pin_mut;
use rand::RngExt as _;
use std::sync::atomic::Ordering;
use tidewatch_core::Tier;
use tidewatch_stream::{FLAPPING_WINDOW as WINDOW, Mode, driver::SyncError};
use tidewatch_testkit::words::{tips_words, watermarks_words};

impl World {
    /// Ends all faults, then checks that everything converges on the chain.
    pub(super) async fn liveness(
        &mut self,
        context: &deterministic::Context,
        mut process: Process,
    ) {
        process.trouble.end();
        process.calm.store(true, Ordering::Relaxed);
        self.heal(&process);
        // A chain without one certificate is none that could be followed: it makes its first block at last.
        if self.mix.certified && self.truth.lock().now().chain.tip() == 0 {
            self.truth.lock().grow(1, millis(context.current()));
        }
        if self.converge(context, &mut process).await
            && self.wakes(context, &mut process).await
            && self.cost(context, &mut process).await
            && self.contradicted(context, &mut process).await
        {
            self.stop(context, process).await;
        }
    }

    /// At least one upstream is healed; of the others, any may be dead, or go on with what is of no use.
    fn heal(&mut self, process: &Process) {
        self.scene.heal();
        let core = self.rng.random_range(0..process.nodes.len());
        let finalized = process.store.watermarks().ok();
        let finalized = finalized.and_then(|watermarks| watermarks.tips.block(Tier::Finalized));
        let finalized = finalized.map_or(0, |tip| tip.height.get());
        for (nth, node) in process.nodes.iter().enumerate() {
            let unusable = node.personality().is_unusable(finalized);
            let stubborn = unusable && self.rng.random_bool(self.mix.stubborn);
            node.set(match nth == core || self.rng.random_bool(0.5) {
                _ if nth != core && stubborn => Health::Stubborn,
                true => Health::Healed,
                false => Health::Dead,
            });
        }
    }

    async fn converge(&mut self, context: &deterministic::Context, process: &mut Process) -> bool {
        // One pass may have started before the faults ended, and each dead upstream may cost one. A source that
        // was seen to go to and fro is believed when it has been on one side for a while, and is moved on
        // meanwhile, also to the dead.
        let mut passes = PASSES + process.nodes.len();
        let mut patience = 2 * WINDOW;
        let (mut outcomes, mut held) = (Vec::new(), false);
        while passes > 0 {
            if process.upstream.is_some() {
                // A cached tip must expire before the source fetches a new one.
                context.sleep(self.mix.silence).await;
                self.look(context, process);
            }
            let outcome = self.synced(context, process).await;
            held = outcome.contains("kind: Flapping") || (held && outcome.starts_with("Err"));
            match patience.checked_sub(1).filter(|_| held) {
                Some(less) => patience = less,
                None => passes -= 1,
            }
            outcomes.push(outcome);
            if self.watch.violation().is_some() || self.ended(process) {
                return false;
            }
            if self.stands(process).await {
                return self.consumers_follow(context, process).await
                    && self.traveller_follows(context, process).await;
            }
        }
        let detail = self.waiting(process, &outcomes).await;
        self.watch.broken("liveness", detail);
        false
    }

    /// Waits for a pass, and reports the time meanwhile.
    async fn synced(&self, context: &deterministic::Context, process: &Process) -> String {
        let before = self.watch.asked();
        let pass = process.follower.sync();
        pin_mut!(pass);
        loop {
            select! {
                outcome = &mut pass => {
                    let asked = self.watch.asked().since(&before).snapshots > 0;
                    if !asked && !matches!(outcome, Err(SyncError::Stopped(_))) {
                        let detail = "a request was served by a pass that started before it";
                        self.watch.broken("wakes", detail.into());
                    }
                    return format!("{outcome:?}");
                },
                () = context.sleep(TICK) => {
                    self.look(context, process);
                    if self.watch.violation().is_some() {
                        return "the pass does not end".into();
                    }
                },
            }
        }
    }

    /// Whether the watermarks of the view match the chain.
    async fn stands(&self, process: &Process) -> bool {
        let Ok(watermarks) = process.store.watermarks() else { return false };
        let now = self.truth.lock().now().clone();
        let announced = Tier::ALL.iter().all(|tier| {
            let tip = now.tips.block(*tier).filter(|_| self.lost != Some(*tier));
            tip.is_none() || watermarks.tips.block(*tier) == tip
        });
        let proposed = now.tips.block(Tier::Proposed);
        match self.mix.mode {
            Mode::TipsOnly => announced,
            // Nothing is delivered while the chain is below the start.
            Mode::Blocks { .. } => {
                announced && watermarks.delivered.is_none_or(|head| Some(head) == proposed)
            }
        }
    }

    async fn consumers_follow(
        &mut self,
        context: &deterministic::Context,
        process: &mut Process,
    ) -> bool {
        let end = context.current() + STOP;
        loop {
            let Ok(watermarks) = process.store.watermarks() else { return false };
            let behind: Vec<_> = self
                .books
                .iter()
                .zip(NAMES)
                .filter(|(books, _)| {
                    // A bridge does not count how often the tips moved.
                    let held = books.lock().held.watermarks;
                    !held.same_blocks(&watermarks)
                })
                .map(|(books, name)| {
                    format!("{name} is at {}", watermarks_words(&books.lock().held.watermarks))
                })
                .collect();
            if behind.is_empty() {
                return true;
            }
            if context.current() > end || self.ended(process) {
                let detail = format!(
                    "{}, the view is at {}",
                    behind.join(", "),
                    watermarks_words(&watermarks)
                );
                self.watch.broken("liveness", detail);
                return false;
            }
            context.sleep(TICK).await;
        }
    }

    /// Describes what each actor is waiting for.
    async fn waiting(&self, process: &Process, outcomes: &[String]) -> String {
        let watermarks = process.store.watermarks();
        let stands = watermarks
            .map_or_else(|fault| fault.to_string(), |watermarks| watermarks_words(&watermarks));
        let upstreams: Vec<_> = process
            .nodes
            .iter()
            .map(|node| format!("{} {:?} asked {}", node.name(), node.health(), node.asked()))
            .collect();
        let consumers: Vec<_> = self
            .books
            .iter()
            .zip(NAMES)
            .map(|(books, name)| format!("{name} waits for event {}", books.lock().held.next))
            .collect();
        format!(
            "the chain is at {}, the view at {stands}; passes: {}; upstreams: {}; {}",
            tips_words(&self.truth.lock().now().tips),
            outcomes.join(" | "),
            upstreams.join(", "),
            consumers.join(", "),
        )
    }
}
