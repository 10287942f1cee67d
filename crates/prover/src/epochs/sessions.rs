//! Which proofs of epochs are made, over which checkpoints.

use super::{CheckpointId, Checkpoints, Entry};
use std::collections::{BTreeMap, BTreeSet};

/// Names a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u64);

/// Whether all of an epoch is proven, or a part that somebody asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// All of it.
    Full,
    /// From its first slot to one in it.
    Partial,
}

/// What a session proves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Spec {
    /// All of the epoch, or a part.
    pub kind: Kind,
    /// The epoch.
    pub epoch: u64,
    /// Its first slot.
    pub from_slot: u64,
    /// The last slot that is proven.
    pub to_slot: u64,
}

/// Where a session stands. The last six are final: nothing leaves them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SessionState {
    /// Not begun.
    Initialized,
    /// Its checkpoints are being proven.
    AwaitingCheckpoints,
    /// They are, and the proof over them is made.
    AwaitingRoot,
    /// It is being published.
    Publishing,
    /// It was published.
    Completed,
    /// A longer one was.
    Superseded,
    /// Its deadline passed.
    TimedOut,
    /// Its content changed, or nobody wants it.
    Cancelled,
    /// It could not go on, through no fault of its own: a checkpoint failed, or was pruned.
    Stopped,
    /// It failed although every checkpoint was well.
    Failed,
}

impl SessionState {
    /// Whether nothing leaves it.
    pub const fn is_terminal(self) -> bool {
        !matches!(
            self,
            Self::Initialized | Self::AwaitingCheckpoints | Self::AwaitingRoot | Self::Publishing
        )
    }
}

/// A proof that is made over checkpoints that never change.
#[derive(Clone, Debug)]
pub struct Session {
    /// What it proves.
    pub spec: Spec,
    /// Its checkpoints, in order: never none.
    pub content: Vec<Entry>,
    /// Where it stands.
    pub state: SessionState,
}

/// What is known of the chain at one moment.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// Epochs in which no more blocks come.
    pub complete: BTreeSet<u64>,
    /// The chain's checkpoints of those epochs.
    pub checkpoints: BTreeMap<u64, Vec<CheckpointId>>,
    /// The epoch of the block after the proven tip, if that block exists.
    pub next_epoch: Option<u64>,
    /// The height of the proven tip.
    pub proven: u64,
}

/// Why sessions are looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// A checkpoint of this epoch was added.
    Checkpoint(u64),
    /// A prune changed these epochs.
    Prune(BTreeSet<u64>),
    /// Time passed.
    Tick,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Begin the work of this session.
    Start(SessionId),
    /// End it, without waiting, for this reason.
    Cancel(SessionId, &'static str),
    /// Keep what is known of it for whoever looks into it: it failed by itself. Once for each session.
    PostMortem(SessionId),
}

/// Why no session was begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotStarted {
    /// Nothing of that epoch is there.
    #[error("no blocks found")]
    NoBlocks,
    /// The proven tip is past it.
    #[error("already proven")]
    Proven,
    /// A checkpoint of it failed.
    #[error("failed to schedule")]
    FailedCheckpoint,
    /// So many run already.
    #[error("max pending reached")]
    Full,
    /// Everything is being stopped.
    #[error("stopped")]
    Stopped,
}

/// All sessions. One caller at a time: each trigger is taken as a whole.
#[derive(Clone, Debug)]
pub struct Sessions {
    sessions: BTreeMap<SessionId, Session>,
    next: u64,
    /// 0 is no limit.
    pending_max: usize,
    /// Whether all of an epoch is proven without anybody asking.
    full_epochs: bool,
    stopped: bool,
}

const CHANGED: &str = "canonical content changed";
const STOPPING: &str = "prover-node stopping";

impl Sessions {
    /// None. `pending_max` bounds those that are not over, 0 does not; without `full_epochs` only what is asked for
    /// is proven.
    pub const fn new(pending_max: usize, full_epochs: bool) -> Self {
        Self { sessions: BTreeMap::new(), next: 0, pending_max, full_epochs, stopped: false }
    }

    /// A session.
    pub fn get(&self, id: SessionId) -> Option<&Session> {
        self.sessions.get(&id)
    }

    /// Every session that is known, in the order in which they began.
    pub fn list(&self) -> impl Iterator<Item = (SessionId, &Session)> {
        self.sessions.iter().map(|(id, session)| (*id, session))
    }

    fn is_full(&self) -> bool {
        let live = self.sessions.values().filter(|session| !session.state.is_terminal()).count();
        self.pending_max > 0 && live >= self.pending_max
    }

    fn open(&mut self, spec: Spec, content: Vec<Entry>) -> SessionId {
        debug_assert!(!content.is_empty(), "a session over nothing");
        self.next += 1;
        let id = SessionId(self.next);
        let state = SessionState::Initialized;
        self.sessions.insert(id, Session { spec, content, state });
        id
    }

    /// A session goes on, or is over. What is over stays so: `false`. One that failed by itself has its post mortem.
    pub fn moved(&mut self, id: SessionId, to: SessionState) -> (bool, Option<Action>) {
        let Some(session) = self.sessions.get_mut(&id) else { return (false, None) };
        if session.state.is_terminal() {
            return (false, None);
        }
        session.state = to;
        let full = session.spec.kind == Kind::Full;
        let failed = to == SessionState::Failed && full;
        (true, failed.then_some(Action::PostMortem(id)))
    }

    /// How a session whose work broke off ended: by its own fault only where every checkpoint is well.
    pub fn broke_off(
        &mut self,
        id: SessionId,
        checkpoints: &Checkpoints,
    ) -> (bool, Option<Action>) {
        let Some(session) = self.sessions.get(&id) else { return (false, None) };
        let there = content(checkpoints, &session.spec);
        let well = |ours: &Entry| {
            there.iter().any(|entry| entry.instance == ours.instance && !entry.failed)
        };
        let state = match session.content.iter().all(well) {
            true => SessionState::Failed,
            false => SessionState::Stopped,
        };
        self.moved(id, state)
    }

    /// Ends sessions whose content changed, drops those that are over, and begins what is missing.
    pub fn reconcile(
        &mut self,
        trigger: &Trigger,
        checkpoints: &Checkpoints,
        view: &View,
    ) -> Vec<Action> {
        let mut actions = Vec::new();
        if self.stopped {
            return actions;
        }
        self.invalidate(checkpoints, &mut actions);
        if self.full_epochs {
            let epochs: Vec<u64> = match trigger {
                Trigger::Checkpoint(epoch) => vec![*epoch],
                Trigger::Prune(epochs) => epochs.iter().copied().collect(),
                Trigger::Tick => view.next_epoch.into_iter().collect(),
            };
            for epoch in epochs {
                actions.extend(self.open_full(epoch, checkpoints, view));
            }
        }
        actions
    }

    fn invalidate(&mut self, checkpoints: &Checkpoints, actions: &mut Vec<Action>) {
        let ids: Vec<SessionId> = self.sessions.keys().copied().collect();
        for id in ids {
            let Some(Session { spec, content: ours, state }) = self.sessions.get(&id) else {
                continue;
            };
            let (spec, state, now) = (*spec, *state, content(checkpoints, spec));
            let same = if state.is_terminal() {
                now.iter().map(|entry| entry.id).eq(ours.iter().map(|entry| entry.id))
            } else {
                // What was pruned and came back is another proving of it.
                now.iter().map(|entry| entry.instance).eq(ours.iter().map(|entry| entry.instance))
            };
            if !state.is_terminal() {
                if same {
                    continue;
                }
                if let Some(session) = self.sessions.get_mut(&id) {
                    session.state = SessionState::Cancelled;
                }
                actions.push(Action::Cancel(id, CHANGED));
            } else if same
                && spec.kind == Kind::Full
                && matches!(state, SessionState::Failed | SessionState::Completed)
            {
                // It failed, and would again; or it was published, and the proven tip lags behind.
                continue;
            }
            self.sessions.remove(&id);
            let rebuild = spec.kind == Kind::Full || !state.is_terminal();
            if !same && rebuild && !now.is_empty() && now.iter().all(|entry| !entry.failed) {
                actions.push(Action::Start(self.open(spec, now)));
            }
        }
    }

    fn open_full(&mut self, epoch: u64, checkpoints: &Checkpoints, view: &View) -> Option<Action> {
        let geometry = checkpoints.geometry();
        let (from_slot, to_slot) = (geometry.first_slot(epoch), geometry.last_slot(epoch));
        let spec = Spec { kind: Kind::Full, epoch, from_slot, to_slot };
        let present = self.sessions.values().any(|session| session.spec == spec);
        if present || self.is_full() || !view.complete.contains(&epoch) {
            return None;
        }
        let wanted = view.checkpoints.get(&epoch).filter(|wanted| !wanted.is_empty())?;
        let ours = content(checkpoints, &spec);
        let covered = ours.iter().map(|entry| entry.id).eq(wanted.iter().copied());
        if !covered || ours.iter().any(|entry| entry.failed) {
            return None;
        }
        Some(Action::Start(self.open(spec, ours)))
    }

    /// Proves what there is of `epoch`, because somebody asked. A session that does so already is that one. Returns
    /// at once; the proof is made later.
    ///
    /// # Errors
    ///
    /// [`NotStarted`].
    pub fn start(
        &mut self,
        epoch: u64,
        checkpoints: &Checkpoints,
        view: &View,
    ) -> Result<(SessionId, Option<Action>), NotStarted> {
        if self.stopped {
            return Err(NotStarted::Stopped);
        }
        let geometry = checkpoints.geometry();
        let from_slot = geometry.first_slot(epoch);
        let there = checkpoints.within(from_slot..=geometry.last_slot(epoch));
        let last = there.last().ok_or(NotStarted::NoBlocks)?;
        if view.proven >= last.last_block {
            return Err(NotStarted::Proven);
        }
        let spec = Spec { kind: Kind::Partial, epoch, from_slot, to_slot: last.id.slot };
        let covers = |session: &Session| {
            let ours = session.content.iter().map(|entry| entry.instance);
            let same = ours.eq(there.iter().map(|entry| entry.instance));
            !session.state.is_terminal() && session.spec.epoch == epoch && same
        };
        if let Some((id, _)) = self.sessions.iter().find(|(_, session)| covers(session)) {
            return Ok((*id, None));
        }
        if there.iter().any(|entry| entry.failed) {
            return Err(NotStarted::FailedCheckpoint);
        }
        if self.is_full() {
            return Err(NotStarted::Full);
        }
        let id = self.open(spec, there);
        Ok((id, Some(Action::Start(id))))
    }

    /// Forgets sessions of `epoch` that failed, so that they may begin anew. How many those were.
    pub fn forget_failed(&mut self, epoch: u64) -> usize {
        let before = self.sessions.len();
        self.sessions.retain(|_, session| {
            session.spec.epoch != epoch || session.state != SessionState::Failed
        });
        before - self.sessions.len()
    }

    /// Stops: everything that is not over is cancelled, and nothing begins any more.
    pub fn stop(&mut self) -> Vec<Action> {
        self.stopped = true;
        let mut actions = Vec::new();
        for (id, session) in &mut self.sessions {
            if !session.state.is_terminal() {
                session.state = SessionState::Cancelled;
                actions.push(Action::Cancel(*id, STOPPING));
            }
        }
        actions
    }
}

fn content(checkpoints: &Checkpoints, spec: &Spec) -> Vec<Entry> {
    checkpoints.within(spec.from_slot..=spec.to_slot)
}
