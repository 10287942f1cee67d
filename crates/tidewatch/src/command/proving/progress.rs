//! How far proving is, for whoever watches.

use super::statement::time_ms;
use commonware_runtime::{
    Clock as _, Spawner as _, Supervisor as _,
    telemetry::metrics::{GaugeExt as _, MetricsExt as _},
    tokio::Context,
};
use std::{
    collections::VecDeque,
    time::{Duration, SystemTime},
};
use tidewatch_core::{AnyBlock, Archive as _, BlockRef, Height, json};
use tidewatch_prover::{
    plan::{Stage, Status},
    scheduler::Mailbox,
};
use tidewatch_store::Reader;

/// How often it is looked.
const LOOK: Duration = Duration::from_secs(1);
/// What "a minute" is.
const MINUTE: Duration = Duration::from_secs(60);

/// Shows where proving is, again and again, until the scheduler has stopped.
pub(super) fn start(
    context: &Context,
    mailbox: Mailbox,
    store: Reader<Context, AnyBlock>,
    show: impl Fn(&json::Proving) + Send + 'static,
) {
    let context = context.child("progress");
    let lag = context.gauge("lag_seconds", "Age of the lowest block that is not proven");
    context.spawn(move |context| async move {
        let (mut rate, mut lowest) = (Rate::default(), None);
        while let Some(status) = mailbox.status().await {
            let now = context.current();
            let made = made(&mailbox, &store, status.proven, &mut lowest).await;
            let lag_ms = made.map_or(0, |made| since(now, made));
            let _ = lag.try_set(lag_ms / 1_000);
            let per_minute = rate.count(now, status.proven.height.get());
            let failure = match status.stalled {
                true => failure(&mailbox, &status).await,
                false => None,
            };
            show(&line(&status, lag_ms, per_minute, failure));
            context.sleep(LOOK).await;
        }
    });
}

fn line(status: &Status, lag_ms: u64, per_minute: u64, failure: Option<String>) -> json::Proving {
    let count = |stage| status.count(stage) as u64;
    json::Proving {
        proven: status.proven.into(),
        committed: status.committed.into(),
        lag: status.lag(),
        lag_ms,
        pending: count(Stage::Pending),
        running: count(Stage::Running),
        waiting: count(Stage::Proved),
        poisoned: count(Stage::Poisoned),
        per_minute,
        stalled: status.stalled,
        cause: failure,
    }
}

/// Why the lowest block is not proven, as far as that is known.
async fn failure(mailbox: &Mailbox, status: &Status) -> Option<String> {
    if let Some(reason) = &status.head_poisoned {
        return Some(reason.clone());
    }
    let jobs = mailbox.jobs(status.proven.height.next(), 1).await?;
    jobs.into_iter().next()?.failure
}

fn since(now: SystemTime, time_ms: u64) -> u64 {
    let made = SystemTime::UNIX_EPOCH + Duration::from_millis(time_ms);
    let age = now.duration_since(made).unwrap_or_default();
    age.as_millis().try_into().unwrap_or(u64::MAX)
}

/// When the lowest block that is not proven was made, which is read once for each.
async fn made(
    mailbox: &Mailbox,
    store: &Reader<Context, AnyBlock>,
    proven: BlockRef,
    lowest: &mut Option<(BlockRef, Option<u64>)>,
) -> Option<u64> {
    let above: Height = proven.height.next();
    let block = mailbox.jobs(above, 1).await?.first()?.block;
    if let Some((known, made)) = *lowest
        && known == block
    {
        return made;
    }
    let made = store.block(block).await.ok().as_ref().and_then(time_ms);
    *lowest = Some((block, made));
    made
}

/// Counts what was proven in the last minute.
#[derive(Debug, Default)]
struct Rate(VecDeque<(SystemTime, u64)>);

impl Rate {
    /// Proven is at `height` now. Returns how many blocks that is more than a minute ago, or than at first.
    fn count(&mut self, now: SystemTime, height: u64) -> u64 {
        // A tip that was pruned back, and a clock that was set back, begin anew.
        let fits = |(at, seen): &(SystemTime, u64)| *seen <= height && *at <= now;
        if !self.0.back().is_none_or(fits) {
            self.0.clear();
        }
        self.0.push_back((now, height));
        let old = |at: SystemTime| now.duration_since(at).unwrap_or_default() > MINUTE;
        while self.0.len() > 1 && old(self.0[0].0) {
            self.0.pop_front();
        }
        height - self.0.front().map_or(height, |(_, first)| *first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proofs_of_the_last_minute_are_counted() {
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let mut rate = Rate::default();
        for (seconds, height, expected) in [
            (100, 7, 0),
            (101, 7, 0),
            (130, 10, 3),
            (160, 12, 5),
            (161, 13, 6),
            (190, 13, 3),
            (251, 13, 0),
            // Pruned back; then the clock is set back.
            (252, 11, 0),
            (253, 12, 1),
            (200, 13, 0),
            (201, 14, 1),
        ] {
            assert_eq!(rate.count(at(seconds), height), expected, "{seconds} s, height {height}");
        }
    }
}
