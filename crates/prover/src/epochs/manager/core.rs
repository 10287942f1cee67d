//! What a manager holds: the decisions, joined with what survives of them.

use super::{
    super::{
        Action, AfterFailure, Candidate, CandidateId, Chain, Checkpoints, Content, Entry, Geometry,
        Kind, Light, Pieces, Publishing, Range, SessionId, SessionState, Sessions, Spec, Take,
        Trigger, View,
        work::{Job, Work},
    },
    config::Config,
    kept::Kept,
    material::Span,
};
use crate::{Error, Failure, Time, plan};
use commonware_storage::Context;
use rand::Rng;
use std::collections::{BTreeMap, BTreeSet};
use tidewatch_core::{Fault, FaultKind, Stopper};

/// A checkpoint that is being proven, with what that needs.
pub(super) struct Registered {
    pub(super) content: Content,
    pub(super) pieces: Pieces,
}

/// What was found out that somebody is to look into.
pub(super) enum Autopsy {
    Checkpoint(Content, String),
    Epoch(Spec, Vec<super::super::CheckpointId>, String),
}

/// Everything but the cursor.
pub(super) struct Core<E: Context> {
    pub(super) kept: Kept<E>,
    pub(super) checkpoints: Checkpoints,
    /// By instance.
    pub(super) contents: BTreeMap<u64, Registered>,
    pub(super) sessions: Sessions,
    pub(super) publishing: Publishing,
    pub(super) candidates: BTreeMap<CandidateId, SessionId>,
    pub(super) work: Work,
    /// Stops the attempts that run, in order: they let their prover know.
    pub(super) attempts: BTreeMap<Job, Stopper>,
    pub(super) autopsies: Vec<Autopsy>,
    logical_max: std::num::NonZeroU32,
}

impl<E: Context> Core<E> {
    pub(super) fn new(kept: Kept<E>, config: &Config, provers: Vec<String>) -> Self {
        let limits: plan::Config = config.proving.plan.clone();
        Self {
            kept,
            checkpoints: Checkpoints::new(config.geometry),
            contents: BTreeMap::new(),
            sessions: Sessions::new(config.pending_max, config.full_epochs),
            publishing: Publishing::new(),
            candidates: BTreeMap::new(),
            logical_max: limits.logical_max,
            work: Work::new(limits, provers),
            attempts: BTreeMap::new(),
            autopsies: Vec::new(),
        }
    }

    const fn geometry(&self) -> &Geometry {
        self.checkpoints.geometry()
    }

    /// Takes a checkpoint in: its proving begins at once, with what there is of it already.
    pub(super) async fn register(&mut self, light: Light, content: Content) -> Result<(), Fault> {
        let wrong = |detail: String| Err(FaultKind::WrongPosition.fault("a checkpoint", detail));
        let Content { id, ref blocks } = content;
        if (light.number, light.slot) != (id.number, id.slot) {
            return wrong(format!("{} at {}, which is {light:?}", id.number, id.slot));
        }
        let linked = blocks.windows(2).all(|pair| {
            let [below, above] = pair else { return false };
            above.parent == below.block.digest && above.block.height == below.block.height.next()
        });
        let ends = blocks.first().zip(blocks.last()).filter(|_| linked);
        let Some((first, last)) = ends else {
            return wrong(format!("the blocks of {} do not follow each other", id.number));
        };
        let whole = Range { first: first.block.height.get(), last: last.block.height.get() };
        match self.checkpoints.add(id, whole.last) {
            Ok(true) => {}
            Ok(false) => return Ok(()),
            Err(occupied) => return wrong(occupied.to_string()),
        }
        let found = self.kept.within(blocks).await.map_err(fault)?;
        let pieces = Pieces::new(whole, found, self.logical_max);
        let entry = self.checkpoints.within(id.slot..=id.slot);
        let Some(Entry { instance, .. }) = entry.into_iter().next() else { return Ok(()) };
        for range in pieces.open() {
            self.work.add(Job::Piece(instance, range), range.first);
        }
        self.contents.insert(instance, Registered { content, pieces });
        Ok(())
    }

    /// Checkpoints are gone: nobody proves them any more.
    pub(super) fn dropped(&mut self, entries: &[Entry]) {
        for Entry { instance, .. } in entries {
            let Some(registered) = self.contents.remove(instance) else { continue };
            for range in registered.pieces.open() {
                self.unwanted(Job::Piece(*instance, range));
            }
        }
    }

    fn unwanted(&mut self, job: Job) {
        self.work.remove(&job);
        if let Some(attempt) = self.attempts.remove(&job) {
            attempt.stop();
        }
    }

    /// What the chain says of `epochs`, of the epoch after the proven tip, and of itself.
    pub(super) async fn view(
        &self,
        chain: &impl Chain,
        epochs: impl IntoIterator<Item = u64>,
    ) -> Result<View, Fault> {
        let (proven, slot) = (chain.proven().await?, chain.slot().await?);
        let geometry = *self.geometry();
        let next_epoch = proven.and_then(|proven| proven.next).map(|next| geometry.epoch(next));
        let height = proven.map_or(0, |proven| proven.height);
        let mut view = View { next_epoch, proven: height, ..View::default() };
        let epochs: BTreeSet<u64> = epochs.into_iter().chain(next_epoch).collect();
        for epoch in epochs {
            let at = chain.epoch(epoch).await?;
            // Past its deadline nothing of it counts, and no session begins that would only end.
            if at.complete && slot.is_none_or(|slot| slot < geometry.deadline(epoch)) {
                view.complete.insert(epoch);
            }
            view.checkpoints.insert(epoch, at.checkpoints);
        }
        Ok(view)
    }

    /// Looks at the sessions, and carries out what follows.
    pub(super) async fn reconcile(&mut self, trigger: &Trigger, view: &View) -> Result<(), Error> {
        let actions = self.sessions.reconcile(trigger, &self.checkpoints, view);
        self.act(actions).await
    }

    pub(super) async fn act(&mut self, actions: Vec<Action>) -> Result<(), Error> {
        for action in actions {
            match action {
                Action::Start(id) => {
                    self.sessions.moved(id, SessionState::AwaitingCheckpoints);
                    self.advance(id).await?;
                }
                Action::Cancel(id, reason) => {
                    tracing::debug!(session = id.0, reason, "session cancelled");
                    self.leave(id);
                }
                Action::PostMortem(id) => self.post_mortem(id, "its own proof failed"),
            }
        }
        Ok(())
    }

    fn post_mortem(&mut self, id: SessionId, reason: &str) {
        let Some(session) = self.sessions.get(id) else { return };
        let ids = session.content.iter().map(|entry| entry.id).collect();
        self.autopsies.push(Autopsy::Epoch(session.spec, ids, reason.into()));
    }

    /// Ends the work of a session that is over. What is being published goes on.
    fn leave(&mut self, id: SessionId) {
        self.unwanted(Job::Root(id));
        let waiting: Vec<CandidateId> =
            self.candidates.iter().filter(|(_, of)| **of == id).map(|(id, _)| *id).collect();
        for candidate in waiting {
            if self.publishing.withdraw(candidate) {
                self.candidates.remove(&candidate);
            }
        }
    }

    /// A session is over in `state`, unless it was before.
    pub(super) async fn end(&mut self, id: SessionId, state: SessionState) -> Result<(), Error> {
        let spec = self.sessions.get(id).map(|session| session.spec);
        let (moved, action) = self.sessions.moved(id, state);
        self.over(id, spec.filter(|_| moved), action).await
    }

    /// A session could not go on: by its own fault, if every checkpoint of it is well.
    pub(super) async fn broke_off(&mut self, id: SessionId) -> Result<(), Error> {
        let spec = self.sessions.get(id).map(|session| session.spec);
        let (moved, action) = self.sessions.broke_off(id, &self.checkpoints);
        self.over(id, spec.filter(|_| moved), action).await
    }

    async fn over(
        &mut self,
        id: SessionId,
        spec: Option<Spec>,
        action: Option<Action>,
    ) -> Result<(), Error> {
        let Some(spec) = spec else { return Ok(()) };
        self.leave(id);
        if spec.kind == Kind::Partial {
            self.kept.ask(spec.epoch, false).await?;
        }
        if let Some(Action::PostMortem(id)) = action {
            self.post_mortem(id, "its own proof failed");
        }
        Ok(())
    }

    /// Goes on with a session whose checkpoints may be proven by now.
    pub(super) async fn advance(&mut self, id: SessionId) -> Result<(), Error> {
        let Some(session) = self.sessions.get(id) else { return Ok(()) };
        let whole = session.content.iter().all(|entry| {
            let registered = self.contents.get(&entry.instance);
            registered.is_some_and(|registered| registered.pieces.whole().is_some())
        });
        if session.state != SessionState::AwaitingCheckpoints || !whole {
            return Ok(());
        }
        let Some(Span { first, last, .. }) = self.span(id) else { return Ok(()) };
        self.sessions.moved(id, SessionState::AwaitingRoot);
        let key = self.kept.key(first, last);
        if self.kept.get(&key).await?.is_some() {
            self.ready(id);
        } else {
            self.work.add(Job::Root(id), first);
        }
        Ok(())
    }

    /// The proof of a session is durable: it waits to be published.
    fn ready(&mut self, id: SessionId) {
        let Some(Span { first, last, .. }) = self.span(id) else { return };
        let Some(spec) = self.sessions.get(id).map(|session| session.spec) else { return };
        if self.candidates.values().any(|of| *of == id) {
            return;
        }
        self.sessions.moved(id, SessionState::Publishing);
        let Spec { kind, epoch, .. } = spec;
        let deadline = self.geometry().deadline(epoch);
        let (last, full) = (last.height.get(), kind == Kind::Full);
        let candidate = self.publishing.add(Candidate { epoch, first, last, deadline, full });
        self.candidates.insert(candidate, id);
    }

    /// The proof of `key` is durable.
    pub(super) async fn proved(&mut self, job: &Job) -> Result<(), Error> {
        self.attempts.remove(job);
        if !self.work.remove(job) {
            return Ok(());
        }
        match *job {
            Job::Root(id) => {
                let waits =
                    |session: &super::super::Session| session.state == SessionState::AwaitingRoot;
                if self.sessions.get(id).is_some_and(waits) {
                    self.ready(id);
                }
            }
            Job::Piece(instance, range) => {
                let Some(registered) = self.contents.get_mut(&instance) else { return Ok(()) };
                registered.pieces.proved(range);
                if registered.pieces.whole().is_some() {
                    for id in self.over_instance(instance) {
                        self.advance(id).await?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Sessions that are not over and have a checkpoint.
    fn over_instance(&self, instance: u64) -> Vec<SessionId> {
        let has = |(_, session): &(SessionId, &super::super::Session)| {
            let mut content = session.content.iter();
            !session.state.is_terminal() && content.any(|entry| entry.instance == instance)
        };
        self.sessions.list().filter(has).map(|(id, _)| id).collect()
    }

    /// An attempt failed.
    pub(super) async fn failed(
        &mut self,
        job: &Job,
        failure: &Failure,
        now: Time,
        rng: &mut impl Rng,
    ) -> Result<Option<AfterFailure>, Error> {
        self.attempts.remove(job);
        let Some(logical) = self.work.failed(job, failure, now, rng) else { return Ok(None) };
        match *job {
            Job::Root(id) if logical >= self.logical_max.get() => {
                self.broke_off(id).await?;
                Ok(Some(AfterFailure::Poisoned))
            }
            Job::Root(_) => Ok(Some(AfterFailure::Again)),
            Job::Piece(instance, range) => {
                let Some(registered) = self.contents.get_mut(&instance) else { return Ok(None) };
                let after = registered.pieces.failed(range, failure.class());
                match after {
                    AfterFailure::Again | AfterFailure::Stale => {}
                    AfterFailure::Split(low, high) => {
                        self.work.remove(job);
                        for half in [low, high] {
                            self.work.add(Job::Piece(instance, half), half.first);
                        }
                    }
                    AfterFailure::Poisoned => {
                        self.work.remove(job);
                        let content = registered.content.clone();
                        // Of a checkpoint in pieces several may fail.
                        if self.checkpoints.failed(instance) {
                            self.autopsies.push(Autopsy::Checkpoint(content, failure.reason()));
                        }
                        for id in self.over_instance(instance) {
                            self.broke_off(id).await?;
                        }
                    }
                }
                Ok(Some(after))
            }
        }
    }
}

pub(super) fn fault(error: Error) -> Fault {
    Fault::new("the session manager", error)
}

/// The store and the sessions, as the walk gives them checkpoints.
pub(super) struct Taker<'a, E: Context, C> {
    pub(super) core: &'a mut Core<E>,
    pub(super) chain: &'a C,
}

impl<E: Context, C: Chain> Take<Content> for Taker<'_, E, C> {
    async fn take(&mut self, light: Light, content: Content) -> Result<(), Fault> {
        self.core.register(light, content).await?;
        let epoch = self.core.geometry().epoch(light.slot);
        let view = self.core.view(self.chain, [epoch]).await?;
        self.core.reconcile(&Trigger::Checkpoint(epoch), &view).await.map_err(fault)
    }
}
