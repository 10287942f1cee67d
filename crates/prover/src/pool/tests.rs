//! A pool on real threads.

use crate::{Failure, Key, Pool, Progress, Prove, Prover as _, Released};
use bytes::Bytes;
use commonware_runtime::{Clock as _, Runner as _, Supervisor as _, tokio};
use commonware_utils::NZUsize;
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc::{Receiver, Sender, channel},
    },
    time::Duration,
};
use tidewatch_core::{BlockRef, Digest, Height};

/// Computes until the test lets it end.
struct Gated {
    gate: std::sync::Mutex<Receiver<Result<(), String>>>,
    running: Arc<AtomicUsize>,
    peak: Arc<AtomicUsize>,
}

impl Prove for Gated {
    fn prove(&self, key: &Key, _: &[u8], _: &Released) -> Result<Bytes, String> {
        let running = self.running.fetch_add(1, Ordering::SeqCst) + 1;
        self.peak.fetch_max(running, Ordering::SeqCst);
        let said = self.gate.lock().unwrap().recv().unwrap();
        self.running.fetch_sub(1, Ordering::SeqCst);
        if key.block.height.get() == 13 {
            panic!("thirteen");
        }
        said.map(|()| Bytes::from(key.block.height.get().to_string()))
    }
}

fn key(height: u64) -> Key {
    Key::one(BlockRef::new(Height::new(height), Digest([1; 32])), Digest([2; 32]))
}

fn gated() -> (Gated, Sender<Result<(), String>>, Arc<AtomicUsize>) {
    let (sender, gate) = channel();
    let peak = Arc::new(AtomicUsize::new(0));
    let prove = Gated { gate: gate.into(), running: Arc::default(), peak: peak.clone() };
    (prove, sender, peak)
}

const LONG: Duration = Duration::from_secs(60);

/// PS-13.
#[test]
fn an_attempt_after_one_that_took_too_long_goes_on_with_it_and_no_more_run_than_there_are_slots() {
    tokio::Runner::default().start(|context| async move {
        let (prove, gate, peak) = gated();
        let pool = Pool::new(context.child("pool"), "pool", prove, NZUsize!(1));
        let first = pool.submit(key(1), Bytes::new()).await.unwrap();
        assert_eq!(pool.poll(&first, Duration::ZERO).await, Ok(Progress::Running));
        pool.release(&first).await;
        assert_eq!(pool.submit(key(2), Bytes::new()).await, Err(Failure::Full), "it still runs");
        assert_eq!(pool.submit(key(1), Bytes::new()).await, Ok(first.clone()), "the same job");
        gate.send(Ok(())).unwrap();
        let proved = Progress::Proved(Bytes::from_static(b"1"));
        assert_eq!(pool.poll(&first, LONG).await, Ok(proved.clone()));
        assert_eq!(pool.poll(&first, LONG).await, Ok(proved), "until it is released");
        pool.release(&first).await;
        assert_eq!(pool.poll(&first, LONG).await, Err(Failure::Lost));
        assert_eq!((pool.running(), peak.load(Ordering::SeqCst)), (0, 1));
    });
}

#[test]
fn a_panic_is_one_failed_attempt_and_gives_its_slot_back() {
    tokio::Runner::default().start(|context| async move {
        let (prove, gate, _) = gated();
        let pool = Pool::new(context.child("pool"), "pool", prove, NZUsize!(1));
        let handle = pool.submit(key(13), Bytes::new()).await.unwrap();
        gate.send(Ok(())).unwrap();
        let failed = pool.poll(&handle, LONG).await;
        assert_eq!(failed, Err(Failure::Unprovable("it panicked: thirteen".into())));
        let handle = pool.submit(key(14), Bytes::new()).await.unwrap();
        gate.send(Err("no".into())).unwrap();
        assert_eq!(pool.poll(&handle, LONG).await, Err(Failure::Unprovable("no".into())));
        let again = pool.submit(key(14), Bytes::new()).await.unwrap();
        gate.send(Ok(())).unwrap();
        assert!(matches!(pool.poll(&again, LONG).await, Ok(Progress::Proved(_))), "a new attempt");
    });
}

#[test]
fn proofs_that_nobody_fetches_are_bounded() {
    tokio::Runner::default().start(|context| async move {
        let (prove, gate, _) = gated();
        let pool = Pool::new(context.child("pool"), "pool", prove, NZUsize!(1));
        let mut handles = Vec::new();
        for height in 20..40 {
            let handle = pool.submit(key(height), Bytes::new()).await.unwrap();
            gate.send(Ok(())).unwrap();
            pool.poll(&handle, LONG).await.unwrap();
            handles.push(handle);
        }
        // A proof is there a moment before the oldest one is dropped.
        let mut kept = usize::MAX;
        for _ in 0..100 {
            kept = 0;
            for handle in &handles {
                kept += usize::from(pool.poll(handle, Duration::ZERO).await.is_ok());
            }
            if kept <= 8 {
                break;
            }
            context.sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(kept, 8);
    });
}

/// PS-04: what is computed here holds no task of the runtime up.
#[test]
fn the_runtime_answers_while_every_slot_computes() {
    tokio::Runner::default().start(|context| async move {
        let (prove, gate, _) = gated();
        let pool = Pool::new(context.child("pool"), "pool", prove, NZUsize!(8));
        for height in 1..=8 {
            pool.submit(key(height), Bytes::new()).await.unwrap();
        }
        for _ in 0..100 {
            commonware_runtime::reschedule().await;
        }
        context.sleep(Duration::from_millis(1)).await;
        assert_eq!(pool.running(), 8);
        for _ in 0..8 {
            gate.send(Ok(())).unwrap();
        }
        for height in 1..=8 {
            let handle = pool.submit(key(height), Bytes::new()).await.unwrap();
            assert!(matches!(pool.poll(&handle, LONG).await, Ok(Progress::Proved(_))));
        }
    });
}
