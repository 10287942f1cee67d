//! The suite for sources: see [`source`].

mod acts;
mod answers;
mod cancel;
mod exam;
mod follow;
pub mod name;
mod probe;
mod ranges;
mod stage;

pub use stage::{Stage, Still};

use super::{
    Runtime,
    report::{Flaw, Report},
};
use exam::{Exam, tip};
use follow::Followed;
use probe::Probe;
use std::{sync::Arc, time::Duration};
use tidewatch_core::{Source, Tier};

/// The chain is this long, where the stage can make it grow: shorter ones have nothing to be asked.
const LENGTH: u64 = 12;

/// How often a source is asked whether it has seen that.
const LOOKS_MAX: usize = 64;

/// Between two such looks.
const PAUSE: Duration = Duration::from_millis(100);

/// Examines `source`: every check of [`name`], by questions and by following it with a real driver,
/// while `stage` does what it can to the chain (`()` for a chain that nobody here can move).
///
/// # Cancel safety
///
/// Dropped, it leaves the chain as the last act of the stage did; its driver is dropped with
/// `context`.
pub async fn source<E: Runtime, S: Source>(
    context: E,
    source: Arc<S>,
    stage: &mut impl Stage,
) -> Report {
    let mut report = Report::new(source.name(), &name::ALL);
    let probe = Arc::new(Probe::new(context.child("probe"), source));
    let exam = Exam { source: &*probe, still: stage.is_still() };
    grow_up(&exam, stage).await;
    Box::pin(questions(&exam, &mut report)).await;
    let [again, both] = exam.doorbells_ring(stage).await;
    report.record(name::DOORBELL, again);
    report.record(name::BELLS, both);
    Box::pin(follow(&context, &probe, &exam, stage, &mut report)).await;
    report.record(name::LEFT, exam.left_tip_is_refused(stage).await);

    let end = |flaw: Option<String>| flaw.map_or(Ok(()), |flaw| Err(Flaw::broken(flaw)));
    report.record(name::ENDS, end(probe.late()));
    report.record(name::PANICS, end(probe.panicked()));
    let calls = probe.calls();
    report.count("calls for the chain_info", calls.identities);
    report.count("for snapshots", calls.snapshots);
    report.count("for digests", calls.digests);
    report.count("for blocks", calls.ranges);
    report
}

/// Makes a short chain longer, as far as the stage can.
async fn grow_up<E: Runtime, S: Source>(exam: &Exam<'_, E, S>, stage: &mut impl Stage) {
    let height = async || {
        let snapshot = exam.snapshot().await.ok()?;
        Some(snapshot.tips.block(Tier::Proposed).map_or(0, |tip| tip.height.get()))
    };
    let Some(now) = height().await.filter(|height| *height < LENGTH) else { return };
    if !stage.grow(LENGTH - now).await {
        return;
    }
    for _ in 0..LOOKS_MAX {
        if height().await.is_none_or(|height| height >= LENGTH) {
            return;
        }
        exam.source.clock().sleep(PAUSE).await;
    }
}

/// What can be asked of any chain.
async fn questions<E: Runtime, S: Source>(exam: &Exam<'_, E, S>, report: &mut Report) {
    report.record(name::IDENTITY, exam.identity_stays().await);
    report.record(name::GENESIS, exam.genesis_is_at_0().await);
    report.record(name::LADDER, exam.ladder_is_kept().await);
    report.record(name::PROOF, exam.proofs_are_of_tips().await);
    report.record(name::QUIET, exam.snapshots_are_same().await);
    report.record(name::TIERS, exam.tiers_are_on_chain().await);
    report.record(name::ORDER, exam.digests_are_in_order().await);
    report.record(name::LIMIT, exam.digests_up_to_limit().await);
    report.record(name::ABOVE, exam.nothing_is_above().await);
    report.record(name::LINKED, exam.ranges_are_linked().await);
    report.record(name::AT_MOST, exam.ranges_are_bounded().await);
    report.record(name::REACH, exam.ranges_lead_to_tip().await);
    report.record(name::AGREE, exam.blocks_agree_with_digests().await);
    report.record(name::OTHER, exam.no_block_leads_elsewhere().await);
    report.record(name::DROPPED, exam.calls_may_be_dropped().await);
    report.record(name::TOGETHER, exam.calls_agree_together().await);
}

/// Follows the source, and what the stage does to its chain: for its blocks, then for its tips alone.
async fn follow<E: Runtime, S: Source>(
    context: &E,
    probe: &Arc<Probe<E, S>>,
    exam: &Exam<'_, E, S>,
    stage: &mut impl Stage,
    report: &mut Report,
) {
    let (chain_info, tip) =
        match (exam.chain_info().await, exam.snapshot().await.and_then(|s| tip(&s))) {
            (Ok(chain_info), Ok(tip)) => (chain_info, tip),
            (Err(flaw), _) | (_, Err(flaw)) => {
                report.record(name::FOLLOWED, Err(flaw));
                return;
            }
        };
    let start = |driver, tips_only| {
        let exam = Exam { source: exam.source, still: exam.still };
        Followed::start(context.child(driver), exam, probe.clone(), &chain_info, tip, tips_only)
    };
    let mut followed = start("driver", false);
    followed.play(stage, report).await;
    followed.stop().await;

    let mut followed = start("tips_only", true);
    let look = followed.play_tips(stage, report).await;
    report.record(name::TIPS_ONLY, look);
    followed.stop().await;
}
