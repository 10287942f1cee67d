//! After the faults: everything must come to where the chain stands.

use super::{
    Health, PASSES, World,
    life::{NAMES, Process, STOP, TICK},
};
use crate::scripted::words::{tips_words, watermarks_words};
use commonware_macros::select;
use commonware_runtime::{Clock as _, deterministic};
use futures::pin_mut;
use rand::RngExt as _;
use std::sync::atomic::Ordering;
use tidewatch_core::{LocalView as _, Tier};
use tidewatch_stream::{Mode, driver::SyncError};

impl World {
    /// Faults have stopped: everything must come to where the chain stands.
    pub(super) async fn liveness(
        &mut self,
        context: &deterministic::Context,
        mut process: Process,
    ) {
        process.trouble.end();
        process.calm.store(true, Ordering::Relaxed);
        self.heal(&process);
        if self.converge(context, &mut process).await
            && self.wakes(context, &mut process).await
            && self.cost(context, &mut process).await
        {
            self.stop(context, process).await;
        }
    }

    /// At least one upstream is healed; of the others, any may be dead.
    fn heal(&mut self, process: &Process) {
        let core = self.rng.random_range(0..process.nodes.len());
        for (nth, node) in process.nodes.iter().enumerate() {
            let healed = nth == core || self.rng.random_bool(0.5);
            node.set(if healed { Health::Healed } else { Health::Dead });
        }
    }

    async fn converge(&mut self, context: &deterministic::Context, process: &mut Process) -> bool {
        // One pass may be under way since before, and each dead upstream costs one.
        let passes = PASSES + process.nodes.len();
        let mut outcomes = Vec::new();
        for _ in 0..passes {
            if process.upstream.is_some() {
                // What answers from memory is asked after its time.
                context.sleep(self.mix.silence).await;
                self.look(context, process);
            }
            let outcome = self.synced(context, process).await;
            outcomes.push(outcome);
            if self.watch.violation().is_some() || self.ended(process) {
                return false;
            }
            if self.stands(process).await {
                return self.consumers_follow(context, process).await;
            }
        }
        let detail = self.waiting(process, &outcomes).await;
        self.watch.broken("liveness", detail);
        false
    }

    /// Waits for a pass, while time is told to pass.
    async fn synced(&self, context: &deterministic::Context, process: &Process) -> String {
        let before = self.watch.asked();
        let pass = process.mailbox.sync();
        pin_mut!(pass);
        loop {
            select! {
                outcome = &mut pass => {
                    let asked = self.watch.asked().since(&before).snapshots > 0;
                    if !asked && !matches!(outcome, Err(SyncError::Stopped(_))) {
                        let detail = "a pass was asked for, and one from before answered";
                        self.watch.broken("wakes", detail.into());
                    }
                    return format!("{outcome:?}");
                },
                () = context.sleep(TICK) => {
                    self.look(context, process);
                    if self.watch.violation().is_some() {
                        return "it does not end".into();
                    }
                },
            }
        }
    }

    /// Whether the view stands where the chain does.
    async fn stands(&self, process: &Process) -> bool {
        let Ok(watermarks) = process.store.watermarks().await else { return false };
        let now = self.truth.lock().now().clone();
        let told = Tier::ALL.iter().all(|tier| {
            let tip = now.tips.block(*tier);
            tip.is_none() || watermarks.tips.block(*tier) == tip
        });
        let proposed = now.tips.block(Tier::Proposed);
        match self.mix.mode {
            Mode::TipsOnly => told,
            // Nothing is delivered while the chain is below the start.
            Mode::Blocks { .. } => {
                told && watermarks.delivered.is_none_or(|head| Some(head) == proposed)
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
            let Ok(watermarks) = process.store.watermarks().await else { return false };
            let behind: Vec<_> = self
                .books
                .iter()
                .zip(NAMES)
                .filter(|(books, _)| books.lock().held.watermarks != watermarks)
                .map(|(books, name)| {
                    format!("{name} holds {}", watermarks_words(&books.lock().held.watermarks))
                })
                .collect();
            if behind.is_empty() {
                return true;
            }
            if context.current() > end || self.ended(process) {
                let detail =
                    format!("{}, the view {}", behind.join(", "), watermarks_words(&watermarks));
                self.watch.broken("liveness", detail);
                return false;
            }
            context.sleep(TICK).await;
        }
    }

    /// What each actor waits for.
    async fn waiting(&self, process: &Process, outcomes: &[String]) -> String {
        let watermarks = process.store.watermarks().await;
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
            "the chain stands at {}, the view at {stands}; passes: {}; upstreams: {}; {}",
            tips_words(&self.truth.lock().now().tips),
            outcomes.join(" | "),
            upstreams.join(", "),
            consumers.join(", "),
        )
    }
}
