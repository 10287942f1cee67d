//! Sessions. An epoch has two slots: epoch 3 is slots 6 and 7.

use super::*;
use SessionState::{AwaitingCheckpoints, Cancelled, Completed, Failed, Stopped};

struct World {
    checkpoints: Checkpoints,
    sessions: Sessions,
    view: View,
}

impl World {
    fn new(pending_max: usize, full_epochs: bool, there: &[(u64, u64)]) -> Self {
        let mut checkpoints = Checkpoints::new(geometry(2));
        for (number, slot) in there {
            checkpoints.add(id(*number, *slot), *number).unwrap();
        }
        let mut world = Self {
            checkpoints,
            sessions: Sessions::new(pending_max, full_epochs),
            view: View { next_epoch: Some(3), ..View::default() },
        };
        world.chain(there);
        world
    }

    /// The chain has these checkpoints, and their epochs are complete.
    fn chain(&mut self, there: &[(u64, u64)]) {
        self.view.checkpoints.clear();
        for (number, slot) in there {
            self.view.checkpoints.entry(slot / 2).or_default().push(id(*number, *slot));
            self.view.complete.insert(slot / 2);
        }
    }

    fn on(&mut self, trigger: &Trigger) -> Vec<Action> {
        self.sessions.reconcile(trigger, &self.checkpoints, &self.view)
    }

    fn tick(&mut self) -> Vec<Action> {
        self.on(&Trigger::Tick)
    }

    fn start(&mut self, epoch: u64) -> Result<(SessionId, Option<Action>), NotStarted> {
        self.sessions.start(epoch, &self.checkpoints, &self.view)
    }

    fn states(&self) -> Vec<SessionState> {
        self.sessions.list().map(|(_, session)| session.state).collect()
    }
}

const BOTH: [(u64, u64); 2] = [(1, 6), (2, 7)];

fn opened(actions: &[Action]) -> SessionId {
    match actions {
        [Action::Start(id)] => *id,
        other => panic!("{other:?}"),
    }
}

/// SM-1, SM-3, SM-5, SM-6, SM-8 to SM-11.
#[test]
fn an_epoch_that_is_complete_and_covered_has_one_session() {
    let mut world = World::new(0, true, &BOTH);
    world.view.complete.clear();
    assert_eq!(world.on(&Trigger::Checkpoint(3)), [], "it is not complete");
    world.chain(&[(1, 6), (2, 7), (3, 7)]);
    assert_eq!(world.on(&Trigger::Checkpoint(3)), [], "it is not covered");
    world.chain(&BOTH);
    world.view.next_epoch = None;
    assert_eq!(world.tick(), [], "no block after the proven tip");
    world.view.next_epoch = Some(3);
    let id = opened(&world.tick());
    let session = world.sessions.get(id).unwrap();
    assert_eq!((session.spec.from_slot, session.spec.to_slot), (6, 7));
    assert_eq!(slots(&session.content), [6, 7]);
    assert_eq!((world.tick(), world.on(&Trigger::Checkpoint(3))), (vec![], vec![]));
}

/// SM-13, SM-14.
#[test]
fn a_session_that_failed_is_kept_until_its_content_changes() {
    let mut world = World::new(0, true, &BOTH);
    let failed = opened(&world.tick());
    let ended = world.sessions.broke_off(failed, &world.checkpoints);
    assert_eq!(ended, (true, Some(Action::PostMortem(failed))));
    assert_eq!(world.sessions.broke_off(failed, &world.checkpoints), (false, None), "once");
    assert_eq!((world.tick(), world.tick(), world.states()), (vec![], vec![], vec![Failed]));
    world.checkpoints.prune(0);
    world.checkpoints.add(id(2, 7), 2).unwrap();
    world.chain(&[(2, 7)]);
    let again = opened(&world.tick());
    assert_eq!(slots(&world.sessions.get(again).unwrap().content), [7]);
    assert_eq!(world.states().len(), 1);
}

/// SM-16, SM-22, SM-23.
#[test]
fn a_session_that_a_failed_checkpoint_stopped_begins_again_over_a_fresh_one() {
    let mut world = World::new(0, true, &BOTH);
    let stopped = opened(&world.tick());
    let instance = world.checkpoints.within(7..=7)[0].instance;
    world.checkpoints.failed(instance);
    assert_eq!(
        world.sessions.broke_off(stopped, &world.checkpoints),
        (true, None),
        "no post mortem"
    );
    assert_eq!(world.states(), [Stopped]);
    for trigger in [Trigger::Tick, Trigger::Checkpoint(3), Trigger::Prune([3].into())] {
        assert_eq!(world.on(&trigger), []);
    }
    assert_eq!(world.states(), []);
    world.checkpoints.prune(1);
    world.checkpoints.add(id(2, 7), 2).unwrap();
    opened(&world.on(&Trigger::Checkpoint(3)));
}

/// SM-19, SM-20.
#[test]
fn a_prune_ends_sessions_over_what_went_and_begins_them_over_what_is_left() {
    let mut world = World::new(0, true, &BOTH);
    let first = opened(&world.tick());
    world.checkpoints.prune(1);
    let actions = world.on(&Trigger::Prune([3].into()));
    let [Action::Cancel(cancelled, reason), Action::Start(second)] = actions.as_slice() else {
        panic!("{actions:?}")
    };
    assert_eq!((*cancelled, *reason), (first, "canonical content changed"));
    let second = world.sessions.get(*second).unwrap();
    assert_eq!((second.spec.to_slot, slots(&second.content)), (7, vec![6]));
    world.checkpoints.prune(0);
    let actions = world.on(&Trigger::Prune([3].into()));
    assert!(matches!(actions[..], [Action::Cancel(..)]), "{actions:?}");
    assert_eq!(world.states(), []);
}

/// SM-24s, SM-42, SM-17.
#[test]
fn a_completed_session_stays_while_the_proven_tip_lags_and_goes_with_its_content() {
    let mut world = World::new(0, true, &BOTH);
    let completed = opened(&world.tick());
    assert_eq!(world.sessions.moved(completed, Completed), (true, None));
    assert_eq!(world.sessions.moved(completed, Failed), (false, None), "terminal is terminal");
    assert_eq!((world.tick(), world.tick(), world.states()), (vec![], vec![], vec![Completed]));
    world.checkpoints.reap(3);
    world.chain(&[]);
    assert_eq!((world.tick(), world.states()), (vec![], vec![]));
}

/// SM-28 to SM-30, SM-34, SM-35.
#[test]
fn what_somebody_asks_for_is_proven_once_and_again_after_it_is_over() {
    let mut world = World::new(0, true, &[(1, 14)]);
    world.view.complete.clear();
    let (partial, action) = world.start(7).unwrap();
    assert_eq!(action, Some(Action::Start(partial)));
    let spec = world.sessions.get(partial).unwrap().spec;
    assert_eq!((spec.kind, spec.from_slot, spec.to_slot), (Kind::Partial, 14, 14));
    assert_eq!(world.start(7), Ok((partial, None)), "the same one");
    world.sessions.moved(partial, AwaitingCheckpoints);
    world.sessions.moved(partial, Stopped);
    let (again, _) = world.start(7).unwrap();
    assert_ne!(again, partial);
    let mut world = World::new(0, true, &[(1, 14), (2, 15)]);
    world.view.next_epoch = Some(7);
    let full = opened(&world.tick());
    assert_eq!(world.start(7), Ok((full, None)), "a full one proves it already");
    assert_eq!(world.start(9), Err(NotStarted::NoBlocks));
    world.view.proven = 2;
    assert_eq!(world.start(7), Err(NotStarted::Proven));
}

#[test]
fn a_failed_checkpoint_or_too_many_sessions_refuse_a_request() {
    let mut world = World::new(1, false, &[(1, 6), (2, 8)]);
    let instance = world.checkpoints.within(8..=8)[0].instance;
    world.checkpoints.failed(instance);
    assert_eq!(world.start(4), Err(NotStarted::FailedCheckpoint));
    world.start(3).unwrap();
    world.checkpoints.add(id(3, 10), 3).unwrap();
    assert_eq!(world.start(5), Err(NotStarted::Full));
}

/// SM-36 to SM-38.
#[test]
fn a_stop_cancels_everything_and_begins_nothing() {
    let mut world = World::new(0, true, &[(1, 6), (2, 8)]);
    world.on(&Trigger::Checkpoint(3));
    world.on(&Trigger::Checkpoint(4));
    let actions = world.sessions.stop();
    assert_eq!(actions.len(), 2);
    assert!(
        actions
            .iter()
            .all(|action| { matches!(action, Action::Cancel(_, "prover-node stopping")) })
    );
    assert_eq!(world.states(), [Cancelled, Cancelled]);
    assert_eq!((world.tick(), world.start(3)), (vec![], Err(NotStarted::Stopped)));
}

/// SM-39 to SM-41.
#[test]
fn without_full_epochs_only_what_is_asked_for_is_proven() {
    let mut world = World::new(0, false, &BOTH);
    for trigger in [Trigger::Tick, Trigger::Checkpoint(3), Trigger::Prune([3].into())] {
        assert_eq!(world.on(&trigger), []);
    }
    assert!(world.start(3).is_ok());
}

/// ES-5: what a session is over was copied when it began.
#[test]
fn what_a_session_is_over_does_not_change_with_the_store() {
    let mut world = World::new(0, true, &BOTH);
    let session = opened(&world.tick());
    let before = world.sessions.get(session).unwrap().content.clone();
    world.checkpoints.failed(before[0].instance);
    world.checkpoints.prune(1);
    world.checkpoints.add(id(3, 7), 3).unwrap();
    assert_eq!(world.sessions.get(session).unwrap().content, before);
    assert_eq!(slots(&before), [6, 7]);
}
