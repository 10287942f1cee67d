//! What consumers are put through. Each scene is one check, on fresh state.

use super::{
    history::{History, Step, TALE},
    name,
    play::{Ended, Look, NOTHING_DURABLE, Play, Stage},
    subject::Subject,
    watched::Crash,
};
use crate::{Runtime, report::Flaw};
use commonware_utils::{NZU64, NZUsize};
use rand::{SeedableRng as _, rngs::StdRng};
use std::{num::NonZeroUsize, time::Duration};
use tidewatch_core::{Fault, Positions as _};
use tidewatch_store::{Keep, Retention};

/// Sizes of batches.
const BATCHES: [NonZeroUsize; 4] = [NZUsize!(256), NZUsize!(1), NZUsize!(2), NZUsize!(7)];

/// The size of those that a crash ends.
const BATCH: NonZeroUsize = NZUsize!(5);

/// Sizes of those that come again.
const OTHERS: [NonZeroUsize; 2] = [NZUsize!(3), NZUsize!(8)];

/// Awaits of a consumer at which it has a crash, at the most.
const AWAITS_MAX: u32 = 12;

/// Batches that are out at a crash.
const OUT: [usize; 4] = [2, 3, 5, 8];

/// Drawn steps after those of the tale.
const DRAWN: usize = 20;

/// Events that a log keeps that has dropped the older ones.
const FEW: u64 = 8;

/// For so long nothing comes: connections break meanwhile, and timers run out.
const QUIET: Duration = Duration::from_millis(100);

/// More than any history here has.
const MANY: u64 = 1 << 16;

fn untold(fault: &Fault) -> Flaw {
    Flaw::not_shown(format_args!("the history could not be told: {fault}"))
}

/// A whole history, and how many events it has. The same one for the same seed, in a log of its own:
/// a log remembers how far a consumer of a name has come.
async fn whole(seed: u64) -> Look<(History, u64)> {
    let mut history = History::new(NZU64!(MANY));
    history.tell(&TALE).await.map_err(|fault| untold(&fault))?;
    history.draw(&mut StdRng::seed_from_u64(seed), DRAWN).await.map_err(|fault| untold(&fault))?;
    let end = end(&history).await;
    Ok((history, end))
}

/// What a scene has shown in the end.
fn shown(shown: bool, otherwise: &str) -> Look {
    if shown { Ok(()) } else { Err(Flaw::not_shown(otherwise)) }
}

async fn end(history: &History) -> u64 {
    history.last().await.map_or(0, |last| last.cursor.handled())
}

/// Everything at once, in batches of different sizes, and bit by bit.
pub(super) async fn takes<E: Runtime, J: Subject>(
    stage: &mut Stage<'_, E>,
    fresh: &mut impl FnMut() -> J,
    seed: u64,
) -> Look {
    let mut told = false;
    for batch in BATCHES {
        let (history, end) = whole(seed).await?;
        let mut play = Play::new(stage, fresh());
        play.live(&history.log, batch, Crash::Never, end).await?;
        told |= play.judge_end().await?;
    }
    // Stopped, and opened again, after every few events: none of them hides what another one did.
    let mut history = History::new(NZU64!(MANY));
    let mut play = Play::new(stage, fresh());
    for step in TALE {
        history.step(step).await.map_err(|fault| untold(&fault))?;
        play.live(&history.log, BATCH, Crash::Never, end(&history).await).await?;
        told |= play.judge_end().await?;
    }
    shown(told, NOTHING_DURABLE)
}

/// A prune that moves tiers above its target and below it alike, in one step: by the log's own event, and at
/// the beginning of a bridge.
pub(super) async fn prunes<E: Runtime, J: Subject>(
    stage: &mut Stage<'_, E>,
    fresh: &mut impl FnMut() -> J,
) -> Look {
    let before = [Step::Grow(12), Step::Tiers([11, 8, 3])];
    // Down to 10: checkpointed falls from above it, proven below it. Then down to 11: both fall below it.
    let falls = [Step::Fall(2, 3, [7, 5, 3]), Step::Tiers([11, 9, 3]), Step::Fall(2, 2, [5, 4, 3])];
    let mut told = false;
    for batch in BATCHES {
        let mut history = History::new(NZU64!(MANY));
        history.tell(&before).await.map_err(|fault| untold(&fault))?;
        let mut play = Play::new(stage, fresh());
        for fall in falls {
            history.step(fall).await.map_err(|fault| untold(&fault))?;
            play.live(&history.log, batch, Crash::Never, end(&history).await).await?;
            told |= play.judge_end().await?;
        }
    }
    let mut first = History::new(NZU64!(MANY));
    first.tell(&before).await.map_err(|fault| untold(&fault))?;
    let mut other = History::new(NZU64!(MANY));
    other.tell(&[Step::Grow(10), Step::Tiers([5, 5, 3])]).await.map_err(|fault| untold(&fault))?;
    other.fork_off();
    other.tell(&[Step::Grow(4)]).await.map_err(|fault| untold(&fault))?;
    let mut play = Play::new(stage, fresh());
    play.live(&first.log, BATCH, Crash::Never, end(&first).await).await?;
    told |= cross(&mut play, &first, &other).await?;
    shown(told, NOTHING_DURABLE)
}

/// The consumer goes on at `other` from its position in `first`.
async fn cross<E: Runtime, J: Subject>(
    play: &mut Play<'_, '_, E, J>,
    first: &History,
    other: &History,
) -> Look<bool> {
    let Some(name) = play.name() else { return Err(Flaw::see(name::NAME)) };
    let position = first.log.load(&name).await.map_err(|fault| untold(&fault))?;
    let Some(position) = position else { return Ok(false) };
    // Another log counts other events.
    let end = end(other).await;
    let handled = position.handled().min(end);
    let position = position.counted(handled);
    other.log.store(&name, &position).await.map_err(|fault| untold(&fault))?;
    play.live(&other.log, BATCH, Crash::Never, end).await?;
    play.judge_end().await
}

/// Events that come while it is there, with nothing to do in between.
pub(super) async fn live<E: Runtime, J: Subject>(
    stage: &mut Stage<'_, E>,
    fresh: &mut impl FnMut() -> J,
) -> Look {
    let mut history = History::new(NZU64!(MANY));
    let mut play = Play::new(stage, fresh());
    let mut life = play.begin(&history.log, BATCH, Crash::Never).await?;
    let mut ended = Ok(Ended::Stopped);
    for step in TALE {
        history.step(step).await.map_err(|fault| untold(&fault))?;
        ended = play.reach(&mut life, end(&history).await).await;
        if ended.is_err() {
            break;
        }
        play.pause(QUIET).await;
    }
    play.end(life, if ended.is_err() { Ended::Crashed } else { Ended::Stopped }).await?;
    ended?;
    shown(play.judge_end().await?, NOTHING_DURABLE)
}

/// A crash after the consumer has taken events in, before that is known: they come again, in the same
/// batches or, if `cut`, in others.
pub(super) async fn again<E: Runtime, J: Subject>(
    stage: &mut Stage<'_, E>,
    fresh: &mut impl FnMut() -> J,
    seed: u64,
    cut: bool,
) -> Look {
    let batches = whole(seed).await?.1.div_ceil(BATCH.get() as u64);
    let mut told = false;
    for batch in [1, 2, batches / 2, 1 + seed % batches, batches] {
        for then in if cut { &OTHERS[..] } else { &[BATCH] } {
            let (history, end) = whole(seed).await?;
            let mut play = Play::new(stage, fresh());
            play.live(&history.log, BATCH, Crash::After { batch }, end).await?;
            play.live(&history.log, *then, Crash::Never, end).await?;
            told |= play.judge_end().await?;
        }
    }
    shown(told, NOTHING_DURABLE)
}

/// A crash at every await of the consumer.
pub(super) async fn inside<E: Runtime, J: Subject>(
    stage: &mut Stage<'_, E>,
    fresh: &mut impl FnMut() -> J,
    seed: u64,
) -> Look {
    let batches = whole(seed).await?.1.div_ceil(BATCH.get() as u64);
    let mut told = false;
    for batch in [1, 2, 3, batches / 2, batches] {
        for awaits in 1..=AWAITS_MAX {
            let (history, end) = whole(seed).await?;
            let mut play = Play::new(stage, fresh());
            let crash = Crash::Inside { batch, awaits };
            if play.live(&history.log, BATCH, crash, end).await? != Ended::Crashed {
                break; // It has no such await.
            }
            play.live(&history.log, BATCH, Crash::Never, end).await?;
            told |= play.judge_end().await?;
        }
    }
    shown(told, "it was never seen to wait while it handles events that it keeps")
}

/// A crash while several batches are out. With the delivery's limit, no more are.
pub(super) async fn out<E: Runtime, J: Subject>(
    stage: &mut Stage<'_, E>,
    fresh: &mut impl FnMut() -> J,
    seed: u64,
) -> Look {
    let mut told = false;
    for batches in OUT {
        let (history, end) = whole(seed).await?;
        let mut play = Play::new(stage, fresh());
        let crash = Crash::Out { batches };
        if play.live(&history.log, BATCH, crash, end).await? != Ended::Crashed {
            break; // It never has so many out.
        }
        play.live(&history.log, BATCH, Crash::Never, end).await?;
        told |= play.judge_end().await?;
    }
    shown(told, "it never had several batches out that it acknowledged later")
}

/// A consumer that was away while events and blocks were dropped.
pub(super) async fn restarts<E: Runtime, J: Subject>(
    stage: &mut Stage<'_, E>,
    fresh: &mut impl FnMut() -> J,
) -> Look {
    let mut told = false;
    for crash in [Crash::Never, Crash::AfterRestart] {
        // The blocks are trimmed too: otherwise it would be led on.
        let blocks = Keep { count: Some(NZU64!(1)), ..Keep::default() };
        let mut history = History::new(Retention { blocks, ..Retention::events(NZU64!(FEW)) });
        history.tell(&TALE[..2]).await.map_err(|fault| untold(&fault))?;
        let mut play = Play::new(stage, fresh());
        play.live(&history.log, BATCH, Crash::Never, end(&history).await).await?;
        history.tell(&TALE[2..]).await.map_err(|fault| untold(&fault))?;
        // The events that are kept say nothing of the lower tiers, and no block below them is held.
        history.tell(&[Step::Grow(1); FEW as usize]).await.map_err(|fault| untold(&fault))?;
        let end = end(&history).await;
        let ended = play.live(&history.log, BATCH, crash, end).await?;
        match ended {
            Ended::Refused => {
                // What it had is what it has.
                told |= play.judge_end().await?;
                continue;
            }
            Ended::Crashed => drop(play.live(&history.log, BATCH, Crash::Never, end).await?),
            Ended::Stopped => {}
        }
        if play.seen(|seen| seen.restarts == 0) {
            return Err(Flaw::broken("it was handed events with others missing before them"));
        }
        told |= play.judge_end().await?;
    }
    shown(told, NOTHING_DURABLE)
}

/// A consumer that was away while events were dropped, and no block was: it is led on, also where it took
/// the bridge in and did not come to say so.
async fn is_led_on<E: Runtime, J: Subject>(
    stage: &mut Stage<'_, E>,
    fresh: &mut impl FnMut() -> J,
) -> Look {
    for crash in [Crash::Never, Crash::After { batch: 1 }] {
        let mut history = History::new(NZU64!(FEW));
        history.tell(&TALE[..2]).await.map_err(|fault| untold(&fault))?;
        let mut play = Play::new(stage, fresh());
        play.live(&history.log, BATCH, Crash::Never, end(&history).await).await?;
        for steps in [&TALE[2..9], &TALE[9..]] {
            history.tell(steps).await.map_err(|fault| untold(&fault))?;
            history.tell(&[Step::Grow(1); FEW as usize]).await.map_err(|fault| untold(&fault))?;
            if play.live(&history.log, BATCH, crash, end(&history).await).await? == Ended::Crashed {
                // It comes back to a log that is further on.
                history.step(Step::Grow(FEW)).await.map_err(|fault| untold(&fault))?;
                play.live(&history.log, BATCH, Crash::Never, end(&history).await).await?;
            }
            play.judge_end().await?;
        }
    }
    Ok(())
}

/// A consumer whose position is one of another log, on a fork that this one does not have, or one of events
/// that are gone.
pub(super) async fn bridges<E: Runtime, J: Subject>(
    stage: &mut Stage<'_, E>,
    fresh: &mut impl FnMut() -> J,
) -> Look {
    let mut first = History::new(NZU64!(MANY));
    first.tell(&TALE[..8]).await.map_err(|fault| untold(&fault))?;
    let mut other = History::new(NZU64!(MANY));
    other.tell(&[Step::Grow(5)]).await.map_err(|fault| untold(&fault))?;
    other.fork_off();
    other.tell(&[Step::Grow(7), Step::Tiers([9, 7, 4])]).await.map_err(|fault| untold(&fault))?;
    other.tell(&[Step::Grow(1); 16]).await.map_err(|fault| untold(&fault))?;

    let mut play = Play::new(stage, fresh());
    play.live(&first.log, BATCH, Crash::Never, end(&first).await).await?;
    let told = cross(&mut play, &first, &other).await?;
    drop(play);
    is_led_on(stage, fresh).await?;
    shown(told, NOTHING_DURABLE)
}
