//! The walk from the cursor to the tip, and the ticker. An epoch is one slot; it expires two epochs later.

use super::*;
use commonware_runtime::{Clock as _, Runner as _, Supervisor as _, deterministic};
use commonware_utils::sync::Mutex;
use std::{collections::BTreeSet, sync::Arc, time::Duration};
use tidewatch_core::{Fault, FaultKind};

/// A chain with a checkpoint for each slot, and a block for each checkpoint.
#[derive(Default)]
struct Scripted {
    proven: Option<ProvenAt>,
    slot: Option<u64>,
    gone: BTreeSet<u64>,
    reads: Mutex<Vec<(u64, u64)>>,
    heavy: Mutex<Vec<u64>>,
}

fn missing(what: &str) -> Fault {
    FaultKind::Missing.fault("test", what)
}

impl Chain for Scripted {
    type Heavy = u64;

    async fn light(&self, from: u64, max: u64) -> Result<Vec<Light>, Fault> {
        self.reads.lock().push((from, max));
        Ok((from..from + max).map(|number| Light { number, slot: number }).collect())
    }

    async fn heavy(&self, number: u64) -> Result<u64, Fault> {
        self.heavy.lock().push(number);
        if self.gone.contains(&number) { Err(missing("boom")) } else { Ok(number) }
    }

    async fn proven(&self) -> Result<Option<ProvenAt>, Fault> {
        Ok(self.proven)
    }

    async fn slot(&self) -> Result<Option<u64>, Fault> {
        Ok(self.slot)
    }

    async fn epoch(&self, _: u64) -> Result<EpochAt, Fault> {
        Ok(EpochAt::default())
    }

    async fn checkpoint_of(&self, height: u64) -> Result<Option<u64>, Fault> {
        Ok((!self.gone.contains(&height)).then_some(height))
    }
}

#[derive(Default)]
struct Taken(Vec<u64>);

impl Take<u64> for Taken {
    async fn take(&mut self, light: Light, heavy: u64) -> Result<(), Fault> {
        assert_eq!(light.number, heavy);
        self.0.push(heavy);
        Ok(())
    }
}

fn simulate<F: Future>(test: impl FnOnce(deterministic::Context) -> F) -> F::Output {
    deterministic::Runner::timed(Duration::from_secs(10_000)).start(test)
}

/// PN-2.
#[test]
fn more_checkpoints_than_could_be_proven_are_dropped_and_the_rest_is_one_read() {
    simulate(|_| async move {
        let (chain, mut taken) = (Scripted::default(), Taken::default());
        let mut walk = CatchUp::new(geometry(1), 0);
        let progress = walk.advance(100, &chain, &mut taken).await.unwrap();
        assert_eq!((progress.dropped, taken.0.as_slice()), (98, &[99, 100][..]));
        assert_eq!((chain.reads.lock().clone(), walk.cursor()), (vec![(99, 2)], 100));
        let again = walk.advance(100, &chain, &mut taken).await.unwrap();
        assert_eq!(again, Progress::default());
        assert_eq!(chain.reads.lock().len(), 1);
    });
}

/// PN-11.
#[test]
fn a_walk_that_fails_in_the_middle_goes_on_there() {
    simulate(|_| async move {
        let mut chain = Scripted { gone: [2].into(), ..Scripted::default() };
        let (mut walk, mut taken) = (CatchUp::new(geometry(9), 0), Taken::default());
        assert!(walk.advance(4, &chain, &mut taken).await.is_err());
        assert_eq!((walk.cursor(), taken.0.as_slice()), (1, &[1][..]));
        chain.gone.clear();
        walk.advance(4, &chain, &mut taken).await.unwrap();
        assert_eq!((walk.cursor(), taken.0.as_slice()), (4, &[1, 2, 3, 4][..]));
    });
}

#[test]
fn epochs_that_are_proven_or_past_their_deadline_are_skipped_as_a_whole() {
    simulate(|_| async move {
        // Epochs of four slots; the proven tip is in the middle of the second.
        let proven = Some(ProvenAt { height: 5, slot: 5, next: Some(6), complete: false });
        let chain = Scripted { proven, slot: Some(9), ..Scripted::default() };
        let (mut walk, mut taken) = (CatchUp::new(geometry(4), 0), Taken::default());
        let progress = walk.advance(8, &chain, &mut taken).await.unwrap();
        assert_eq!(taken.0, [4, 5, 6, 7, 8], "never a part of an epoch");
        assert_eq!(chain.heavy.lock().clone(), taken.0, "nothing heavy for what is skipped");
        assert_eq!(progress.skipped, 3);
        // Epoch 1 expires at slot 12.
        let chain = Scripted { slot: Some(12), ..Scripted::default() };
        let (mut walk, mut taken) = (CatchUp::new(geometry(4), 3), Taken::default());
        walk.advance(8, &chain, &mut taken).await.unwrap();
        assert_eq!((taken.0.as_slice(), walk.cursor()), (&[8][..], 8));
    });
}

/// PN-3, PN-5, PN-12.
#[test]
fn a_prune_takes_the_cursor_to_before_its_checkpoint_or_changes_nothing() {
    simulate(|_| async move {
        let chain = Scripted { gone: [2].into(), ..Scripted::default() };
        let mut walk = CatchUp::new(geometry(1), 3);
        let error = walk.prune(2, &chain).await.unwrap_err();
        assert!(error.to_string().contains("no block at 2"), "{error}");
        assert_eq!(walk.cursor(), 3);
        assert_eq!(walk.prune(1, &chain).await, Ok(0));
        let mut walk = CatchUp::new(geometry(1), 3);
        assert_eq!(walk.prune(9, &chain).await, Ok(3), "never up");
        assert_eq!(walk.prune(0, &chain).await, Ok(0));
    });
}

/// PN-8, PN-9, PN-25.
#[test]
fn what_has_expired_is_swept_once() {
    let mut sweep = Sweep::new(geometry(1), None);
    assert_eq!((sweep.due(None), sweep.due(Some(1))), (None, None));
    assert_eq!(sweep.due(Some(4)), Some(2));
    assert_eq!(sweep.due(Some(4)), Some(2), "until it is done");
    sweep.done(2);
    assert_eq!((sweep.due(Some(4)), sweep.swept()), (None, Some(2)));
    assert_eq!(sweep.due(Some(1_000_000)), Some(999_998), "one sweep, however far it jumped");
    sweep.done(999_998);
    assert_eq!(sweep.due(Some(5)), None);
    assert_eq!(sweep.due(Some(6)), Some(4), "after a jump back it goes on from there");
}

/// The slot is the time in seconds, plus what the test says.
struct ByTime(deterministic::Context, Arc<Mutex<i64>>);

impl Slots for ByTime {
    async fn slot(&mut self) -> Option<u64> {
        let passed = self.0.current().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        u64::try_from(passed as i64 + *self.1.lock()).ok()
    }
}

#[derive(Clone, Default)]
struct Swept(Arc<Mutex<Vec<u64>>>, Arc<Mutex<usize>>);

impl Expire for Swept {
    async fn expire(&mut self, epoch: u64) -> Result<(), Fault> {
        let mut failures = self.1.lock();
        if *failures > 0 {
            *failures -= 1;
            return Err(missing("not now"));
        }
        self.0.lock().push(epoch);
        Ok(())
    }
}

/// PN-26.
#[test]
fn the_ticker_sweeps_on_time_when_nothing_else_happens_and_after_the_clock_jumped() {
    simulate(|context| async move {
        let (jump, swept) = (Arc::new(Mutex::new(0)), Swept::default());
        let slots = ByTime(context.child("slots"), jump.clone());
        let sweep = Sweep::new(geometry(1), None);
        let second = Duration::from_secs(1);
        let (ticker, mailbox) =
            Expiry::new(context.child("expiry"), slots, swept.clone(), sweep, second);
        let handle = ticker.start();
        context.sleep(10 * second + second / 2).await;
        assert_eq!(swept.0.lock().last(), Some(&8));
        assert!(swept.0.lock().iter().copied().eq(0..=8), "each on time");
        *jump.lock() = 100;
        context.sleep(second).await;
        assert_eq!(swept.0.lock().last(), Some(&109));
        *jump.lock() = 0;
        context.sleep(second).await;
        *swept.1.lock() = 2;
        context.sleep(4 * second).await;
        let last = swept.0.lock().last().copied();
        assert_eq!(last, Some(14), "it goes on after a jump back, and after failures");
        mailbox.stop();
        handle.await.unwrap().unwrap();
    });
}
