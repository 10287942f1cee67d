//! What is seen from inside of a validator while others do what they should not.

use super::{Condition, Config, Devnet, Watched};
use alto_types::CertificateMode;
use commonware_codec::Encode as _;
use commonware_runtime::{
    Clock as _, Runner as _, Supervisor as _,
    tokio::{Config as RuntimeConfig, Context, Runner},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};
use tidewatch_core::{ChainId, FaultKind, Height};
use tidewatch_sentinel::{
    Act, AtSlot, Canonical as _, Committees as _, Contradiction, Observation, Observer as _, Seen,
    Sent, Slot, Standing, ValidatorId, simplex::HandIn,
};

const DEADLINE: Duration = Duration::from_secs(45);

fn embed<F: Future<Output = ()>>(test: impl FnOnce(Context) -> F) {
    let directory = tempfile::TempDir::new().unwrap();
    Runner::new(RuntimeConfig::default().with_storage_directory(directory.path())).start(test);
}

/// Everything that was handed in, by slot.
struct Heard {
    ids: Vec<ValidatorId>,
    slots: Arc<Mutex<BTreeMap<Slot, Seen>>>,
}

impl Heard {
    fn of(ids: &[ValidatorId]) -> Self {
        Self { ids: ids.to_vec(), slots: Arc::default() }
    }

    fn hand_in(&self) -> HandIn {
        let slots = self.slots.clone();
        Box::new(move |observation: Observation| {
            let mut slots = slots.lock().unwrap();
            slots.entry(observation.slot()).or_default().add(observation);
        })
    }

    fn newest(&self) -> Slot {
        self.slots.lock().unwrap().last_key_value().map_or(Slot(0), |(slot, _)| *slot)
    }

    /// Of whom anything that is so was seen in the slots from `from` on.
    fn who(&self, from: Slot, is: impl Fn(&Sent) -> bool) -> BTreeSet<ValidatorId> {
        let slots = self.slots.lock().unwrap();
        let seen =
            |id: &&ValidatorId| slots.range(from..).any(|(_, seen)| seen.of(id).is_some_and(&is));
        self.ids.iter().filter(seen).cloned().collect()
    }

    /// Who sent anything in the slots from `from` on.
    fn senders(&self, from: Slot) -> BTreeSet<ValidatorId> {
        self.who(from, |_| true)
    }

    /// Who contradicted itself, in which slots, and in which ways.
    fn contradicted(&self) -> BTreeMap<ValidatorId, Vec<(Slot, Contradiction)>> {
        let mut found = BTreeMap::<_, Vec<_>>::new();
        for (slot, seen) in &*self.slots.lock().unwrap() {
            for id in &self.ids {
                let kinds = seen.of(id).map_or(&[][..], Sent::contradicted);
                for kind in kinds {
                    found.entry(id.clone()).or_default().push((*slot, *kind));
                }
            }
        }
        found
    }
}

/// Four validators, and what is heard inside of the first.
struct Watch<'a> {
    context: &'a Context,
    devnet: Devnet,
    ids: Vec<ValidatorId>,
    heard: Heard,
    watched: Watched,
}

impl<'a> Watch<'a> {
    /// Begins once all four were heard.
    async fn begin(context: &'a Context, mode: CertificateMode) -> Self {
        let (devnet, ids) = four(context, mode).await;
        let heard = Heard::of(&ids);
        let watched =
            devnet.watched(context.child("watched"), 0, chain(), heard.hand_in()).unwrap();
        let watch = Self { context, devnet, ids, heard, watched };
        watch.until("votes of all", |heard| heard.senders(Slot(0)).len() == 4).await;
        watch
    }

    /// Reads the chain as a sentinel does: a validator that is behind the others is asked again.
    async fn standing(&self) -> Option<Standing> {
        match self.watched.canonical.standing().await {
            Ok(standing) => standing,
            Err(fault) => {
                assert_eq!(fault.kind, FaultKind::Unavailable, "{fault}");
                None
            }
        }
    }

    /// Waits. The slots of a new epoch become known when the chain is read.
    async fn until(&self, what: &str, is: impl Fn(&Heard) -> bool) {
        let end = self.context.current() + DEADLINE;
        while !is(&self.heard) {
            self.standing().await;
            self.pause(end, what).await;
        }
    }

    /// Waits until the validator's own chain has passed `slot`.
    async fn past(&self, slot: Slot) -> Standing {
        let end = self.context.current() + DEADLINE;
        loop {
            match self.standing().await {
                Some(standing) if standing.tip.slot > slot => return standing,
                _ => self.pause(end, "a chain that long").await,
            }
        }
    }

    async fn pause(&self, end: SystemTime, what: &str) {
        assert!(self.context.current() < end, "{what} did not happen");
        self.context.sleep(Duration::from_millis(20)).await;
    }

    async fn end(self) {
        self.watched.listener.stop();
        self.devnet.stop().await;
    }
}

async fn four(context: &Context, mode: CertificateMode) -> (Devnet, Vec<ValidatorId>) {
    let config = Config {
        mode,
        block_time: Duration::from_millis(50),
        epoch_length: 16,
        validators: 4,
        committee: 4,
        ..Config::default()
    };
    let devnet = Devnet::start(context.child("devnet"), config).await.unwrap();
    devnet.reach(Height::new(1), DEADLINE).await.unwrap();
    let ids = devnet.keys().iter().map(|key| ValidatorId::new(key.encode()).unwrap()).collect();
    (devnet, ids)
}

fn chain() -> ChainId {
    ChainId::new("alto:test").unwrap()
}

#[test]
fn every_validator_is_heard_over_the_end_of_an_epoch_and_slots_lead_to_blocks() {
    for mode in CertificateMode::ALL {
        embed(|context| async move {
            let watch = Watch::begin(&context, mode).await;
            watch.devnet.reach(Height::new(20), DEADLINE).await.unwrap();
            watch.until("votes of all", |heard| heard.senders(Slot(18)).len() == 4).await;
            let Watch { ids, heard, watched, .. } = &watch;
            assert_eq!(heard.senders(Slot(0)), ids.iter().cloned().collect());
            assert_eq!(heard.contradicted(), BTreeMap::new());
            let standing = watch.past(Slot(16)).await;
            let at = watched.canonical.at(&standing, Slot(10)..=standing.tip.slot).await.unwrap();
            for (at, slot) in at.iter().zip(10..) {
                // Whoever proposed a block is who had to.
                let AtSlot::Landed(landed) = at else { continue };
                let due = watched.electorate.proposer(Slot(slot)).await.unwrap();
                assert_eq!(landed.proposer, due, "slot {slot}");
                let proposed = due.and_then(|due| {
                    let slots = heard.slots.lock().unwrap();
                    slots.get(&Slot(slot))?.of(&due)?.proposal.clone()
                });
                let proposed = proposed.map_or(Act::Proposal(landed.payload), |signed| signed.act);
                assert_eq!(proposed, Act::Proposal(landed.payload), "slot {slot}");
            }
            assert!(watched.observer.position(Height::new(u64::MAX)).await.unwrap().is_some());
            watch.end().await;
        });
    }
}

#[test]
fn a_validator_that_is_stopped_is_silent_and_votes_again_once_it_runs() {
    embed(|context| async move {
        let watch = Watch::begin(&context, CertificateMode::Standard).await;
        let Watch { devnet, ids, heard, .. } = &watch;
        assert!(devnet.set(3, Condition::Stopped));
        // What was under way may still be heard.
        let silent = heard.newest().plus(4);
        watch.until("slots without it", |heard| heard.newest() > silent.plus(8)).await;
        assert!(!heard.senders(silent).contains(&ids[3]));
        assert!(devnet.set(3, Condition::Runs));
        let again = |heard: &Heard| heard.senders(silent).contains(&ids[3]);
        watch.until("votes of it again", again).await;
        assert_eq!(heard.contradicted(), BTreeMap::new());
        watch.end().await;
    });
}

#[test]
fn one_who_is_paused_or_apart_is_silent_and_catches_up() {
    embed(|context| async move {
        let watch = Watch::begin(&context, CertificateMode::Standard).await;
        let Watch { devnet, ids, heard, .. } = &watch;
        for condition in [Condition::Paused, Condition::Apart(0)] {
            assert!(devnet.set(2, condition));
            let silent = heard.newest().plus(4);
            watch.until("slots without it", |heard| heard.newest() > silent.plus(6)).await;
            assert!(!heard.senders(silent).contains(&ids[2]), "{condition:?}");
            assert!(devnet.set(2, Condition::Runs));
            let again = |heard: &Heard| heard.senders(silent).contains(&ids[2]);
            watch.until("votes of it again", again).await;
        }
        assert_eq!(heard.contradicted(), BTreeMap::new());
        watch.end().await;
    });
}

#[test]
fn one_who_votes_twice_is_caught_and_nobody_else() {
    embed(|context| async move {
        let watch = Watch::begin(&context, CertificateMode::Standard).await;
        let Watch { devnet, ids, heard, .. } = &watch;
        assert!(devnet.set(1, Condition::VotesTwice));
        watch.until("two votes in one slot", |heard| !heard.contradicted().is_empty()).await;
        let after = devnet.tip().get() + 8;
        devnet.reach(Height::new(after), DEADLINE).await.unwrap();
        assert!(heard.contradicted().keys().eq([&ids[1]]), "{:?}", heard.contradicted());
        watch.end().await;
    });
}

#[test]
fn there_is_no_condition_of_a_validator_that_is_not_there() {
    embed(|context| async move {
        let (devnet, _) = four(&context, CertificateMode::Standard).await;
        assert!(!devnet.set(4, Condition::Stopped));
        assert!(devnet.watched(context.child("watched"), 4, chain(), Box::new(drop)).is_none());
        devnet.stop().await;
    });
}
