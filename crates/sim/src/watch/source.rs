//! The border to the source.

use super::{Answer, Observation, Question, Watch};
use crate::truth::since_begin;
use commonware_runtime::Clock;
use std::{sync::Arc, time::SystemTime};
use tidewatch_core::{
    BlockRange, BlockRef, ChainInfo, Digest, Doorbell, Fault, Height, Ladder, Limits, Snapshot,
    Source, Watermarks,
};
use tidewatch_testkit::chain::TestBlock;

/// A source whose questions and answers are written down.
#[derive(Debug)]
pub struct Spied<E, S> {
    inner: Arc<S>,
    clock: E,
    watch: Watch,
}

impl<E: Clock, S: Source<Block = TestBlock>> Spied<E, S> {
    /// Stands in front of `inner`.
    pub const fn new(inner: Arc<S>, clock: E, watch: Watch) -> Self {
        Self { inner, clock, watch }
    }

    fn ask(&self, question: Question) -> Pending<'_, E> {
        self.watch.see(Observation::Asked(question.clone()));
        let since = self.clock.current();
        Pending { watch: &self.watch, clock: &self.clock, since, question: Some(question) }
    }
}

/// A question that waits for its answer. Dropped, it was not waited for.
struct Pending<'a, E: Clock> {
    watch: &'a Watch,
    clock: &'a E,
    since: SystemTime,
    question: Option<Question>,
}

impl<E: Clock> Pending<'_, E> {
    fn end(&mut self, answer: Answer) {
        if let Some(question) = self.question.take() {
            let now = self.clock.current();
            let (at, took) = (since_begin(now), now.duration_since(self.since).unwrap_or_default());
            self.watch.see(Observation::Answered { question, answer, at, took });
        }
    }

    fn answered<T: Clone>(
        mut self,
        answer: Result<T, Fault>,
        kind: impl FnOnce(T) -> Answer,
    ) -> Result<T, Fault> {
        match &answer {
            Ok(value) => self.end(kind(value.clone())),
            Err(fault) => self.end(Answer::Fault(fault.clone())),
        }
        answer
    }
}

impl<E: Clock> Drop for Pending<'_, E> {
    fn drop(&mut self) {
        self.end(Answer::Dropped);
    }
}

impl<E: Clock, S: Source<Block = TestBlock>> Source for Spied<E, S> {
    type Block = TestBlock;

    fn name(&self) -> &str {
        self.inner.name()
    }

    fn ladder(&self) -> Ladder {
        self.inner.ladder()
    }

    fn limits(&self) -> Limits {
        self.inner.limits()
    }

    async fn chain_info(&self) -> Result<ChainInfo, Fault> {
        self.inner.chain_info().await
    }

    async fn snapshot(&self) -> Result<Snapshot, Fault> {
        let pending = self.ask(Question::Snapshot);
        let answer = self.inner.snapshot().await;
        pending.answered(answer, Answer::Snapshot)
    }

    async fn digests(
        &self,
        tip: BlockRef,
        heights: &[Height],
    ) -> Result<Vec<Option<Digest>>, Fault> {
        let pending = self.ask(Question::Digests(tip, heights.to_vec()));
        let answer = self.inner.digests(tip, heights).await;
        pending.answered(answer, Answer::Digests)
    }

    async fn blocks(&self, tip: BlockRef, from: Height) -> Result<Vec<TestBlock>, Fault> {
        let pending = self.ask(Question::Blocks(tip, from));
        let answer = self.inner.blocks(tip, from).await;
        pending.answered(answer, Answer::Blocks)
    }

    async fn range(&self, tip: BlockRef, from: Height) -> Result<BlockRange<TestBlock>, Fault> {
        let pending = self.ask(Question::Blocks(tip, from));
        let (answer, certificates) = match self.inner.range(tip, from).await {
            Ok(BlockRange { blocks, certificates }) => (Ok(blocks), certificates),
            Err(fault) => (Err(fault), Vec::new()),
        };
        let blocks = pending.answered(answer, Answer::Blocks)?;
        Ok(BlockRange { blocks, certificates })
    }

    fn doorbell(&self) -> Doorbell {
        self.inner.doorbell()
    }

    fn durable(&self, watermarks: &Watermarks) {
        self.inner.durable(watermarks);
    }

    fn judged(&self, verdict: Result<(), &Fault>) {
        self.inner.judged(verdict);
    }
}
