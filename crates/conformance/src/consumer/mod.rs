//! The suite for consumers: see [`consumer`].

mod history;
pub mod name;
mod play;
mod scenes;
mod subject;
mod watched;

pub use subject::Subject;

use super::{
    Runtime,
    report::{Flaw, Report, Verdict},
};
use play::Stage;

/// Examines a consumer: every check of [`name`], by made-up histories that a real delivery hands over
/// from a real log, with crashes in between. `fresh` gives a consumer that has kept nothing yet; each
/// scene begins with one.
///
/// # Cancel safety
///
/// Dropped, it leaves what the last subject kept; its delivery is dropped with `context`.
pub async fn consumer<E: Runtime, J: Subject>(
    mut context: E,
    mut fresh: impl FnMut() -> J,
) -> Report {
    let mut report = Report::new("a consumer", &name::ALL);
    let seed = context.next_u64();
    let mut stage = Stage::new(&context, &mut report);
    scenes(&mut stage, &mut fresh, seed).await;
    let Stage { lives, crashes, events, .. } = stage;
    // What was broken is in the report already.
    for check in [name::REFUSES, name::ENDS, name::PANICS] {
        report.record(check, Ok(()));
    }
    report.count("openings", lives);
    report.count("crashes", crashes);
    report.count("events handed over", events);
    report
}

async fn scenes<E: Runtime, J: Subject>(
    stage: &mut Stage<'_, E>,
    fresh: &mut impl FnMut() -> J,
    seed: u64,
) {
    for check in [
        name::TAKES,
        name::PRUNED,
        name::LIVE,
        name::AGAIN,
        name::CUT,
        name::DROPPED,
        name::OUT,
        name::RESTART,
        name::BRIDGE,
    ] {
        let look: Result<(), Flaw> = match check {
            name::TAKES => scenes::takes(stage, fresh, seed).await,
            name::PRUNED => scenes::prunes(stage, fresh).await,
            name::LIVE => scenes::live(stage, fresh).await,
            name::AGAIN => scenes::again(stage, fresh, seed, false).await,
            name::CUT => scenes::again(stage, fresh, seed, true).await,
            name::DROPPED => scenes::inside(stage, fresh, seed).await,
            name::OUT => scenes::out(stage, fresh, seed).await,
            name::RESTART => scenes::restarts(stage, fresh).await,
            _ => scenes::bridges(stage, fresh).await,
        };
        stage.report.record(check, look);
        // What comes after one of these would only be its consequence.
        let fatal = [name::OPENS, name::REFUSES, name::ENDS, name::PANICS];
        let broken = |check| matches!(stage.report.verdict(check), Some(Verdict::Broken(_)));
        if fatal.into_iter().any(broken) {
            return;
        }
    }
}
