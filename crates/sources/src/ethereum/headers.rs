//! The chain of an execution node, header by header.

use super::{
    EthBlock, EthereumError,
    aside::Aside,
    history::{Histories, Search},
    rule::Rules,
    wire::{By, NO_GENESIS, read_genesis},
};
use crate::{
    error::fault,
    rpc::{Answer, Call, NodeError, Recent, Rpc, Upstreams},
};
use commonware_runtime::{Clock, Spawner};
use commonware_utils::{NZUsize, sync::Mutex};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    num::NonZeroUsize,
};
use tidewatch_core::{Block as _, BlockRef, Digest, Fault, Height, Limits};

/// Digests that one question may name. The search of a pass goes by powers of that.
const DIGESTS_MAX: usize = 64;

/// What a node said of one block: that it has it, that it has none, or something that cannot be.
pub(crate) type Found = Result<Option<EthBlock>, Fault>;

/// Whether a node has a block. One that is wrong is there.
const fn is_there(found: &Found) -> bool {
    !matches!(found, Ok(None))
}

/// Headers of a chain, from execution nodes. What was fetched and verified lately is not fetched again.
pub(crate) struct Headers<E: Clock, R> {
    upstreams: Upstreams<E, R>,
    /// How those of this family hash.
    rules: Rules,
    recent: Mutex<Recent<EthBlock>>,
    histories: Mutex<Histories>,
}

impl<E: Clock, R> fmt::Debug for Headers<E, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Headers").field(&self.upstreams).finish()
    }
}

impl<E: Clock + Spawner, R: Rpc> Headers<E, R> {
    pub(crate) fn new(upstreams: Upstreams<E, R>, rules: Rules, recent_max: NonZeroUsize) -> Self {
        let recent = Mutex::new(Recent::new(recent_max.get()));
        Self { upstreams, rules, recent, histories: Mutex::default() }
    }

    pub(crate) const fn upstreams(&self) -> &Upstreams<E, R> {
        &self.upstreams
    }

    fn name(&self) -> &str {
        self.upstreams.name()
    }

    /// Digests are one batch, with room for the call that binds them to the tip, and for genesis. Blocks are
    /// a few rounds of as many batches as may be on their way at once.
    pub(crate) fn limits(&self) -> Limits {
        let batch = self.upstreams.batch_max();
        let or_one = |calls: usize| NonZeroUsize::new(calls).unwrap_or(NonZeroUsize::MIN);
        let digests_max = or_one(batch.saturating_sub(2)).min(NZUsize!(DIGESTS_MAX));
        let blocks_max = or_one(self.upstreams.question_max().saturating_sub(1));
        Limits { digests_max, blocks_max }
    }

    /// Asks for blocks, and keeps those that verify. `None` where the node has none. One that is refused
    /// costs the others nothing: what its fault means is for the caller, who counts it.
    pub(crate) async fn ask(&self, wanted: &[By]) -> Result<Vec<Found>, Fault> {
        let calls: Vec<_> = wanted.iter().map(|by| by.call()).collect();
        let aside = Aside::new(self.upstreams.context(), self.name(), self.rules, wanted);
        let early = |places: &[usize], answers: &[Answer]| aside.begin(places, answers);
        let answers = self.upstreams.ask_showing(&calls, &early).await?;
        Ok(self.keep(aside.end(&answers).await))
    }

    /// The same, and with it whether height 0 is as it was.
    pub(crate) async fn ask_from_genesis(&self, wanted: &[By]) -> Result<Vec<Found>, Fault> {
        let genesis = By::Height(Height::zero()).call();
        let (found, genesis) = self.ask_behind(&[], wanted, &[genesis]).await?;
        if let [genesis, ..] = &genesis[..] {
            self.begins(genesis).await?;
        }
        Ok(found)
    }

    /// The same, with other calls in one question with it: some before the blocks and some behind them. What
    /// is answered to those comes back as it is.
    pub(crate) async fn ask_behind(
        &self,
        before: &[Call],
        wanted: &[By],
        behind: &[Call],
    ) -> Result<(Vec<Found>, Vec<Answer>), Fault> {
        let blocks = wanted.iter().map(|by| by.call());
        let calls: Vec<_> =
            before.iter().cloned().chain(blocks).chain(behind.iter().cloned()).collect();
        let mut answers: Vec<Answer> = self.upstreams.ask(&calls).await?;
        let from = before.len().min(answers.len());
        let blocks = answers.drain(from..(from + wanted.len()).min(answers.len()));
        let blocks = wanted.iter().zip(blocks);
        let found = blocks.map(|(by, answer)| by.read_by(self.rules, self.name(), &answer));
        let found = found.collect();
        Ok((self.keep(found), answers))
    }

    /// Remembers the blocks among these.
    fn keep(&self, blocks: Vec<Found>) -> Vec<Found> {
        let mut recent = self.recent.lock();
        blocks.iter().flatten().flatten().for_each(|block| recent.keep(block.clone()));
        blocks
    }

    /// The block in an answer that nothing goes on without.
    pub(crate) fn need(&self, found: Found) -> Result<Option<EthBlock>, Fault> {
        found.map_err(|fault| self.upstreams.refuse(fault))
    }

    /// The digests at `heights` of the chain that ends in `tip`.
    ///
    /// They are asked for where two chains part, and blocks are dropped on the strength of them: whether
    /// it is still the same chain at all is asked with them.
    ///
    /// # Errors
    ///
    /// `Torn`: the node's chain has left the tip by now. `WrongChain`: it is another one.
    pub(crate) async fn digests(
        &self,
        tip: BlockRef,
        heights: &[Height],
    ) -> Result<Vec<Option<Digest>>, Fault> {
        // Of the block at height 0 nothing but its name matters, which every answer below confirms.
        let genesis = self.upstreams.genesis().map(|genesis| genesis.digest);
        // What has to be asked anyway also brings the blocks of digests that are known: they are what is
        // downloaded next.
        let (mut digests, unknown): (Vec<_>, Vec<_>) = {
            let mut recent = self.recent.lock();
            let digest = |height: &Height| match height.get() {
                0 => genesis.or_else(|| recent.digest(tip, *height)),
                _ => recent.digest(tip, *height),
            };
            let digests = heights.iter().map(digest).collect();
            let below = heights
                .iter()
                .copied()
                .filter(|height| *height <= tip.height && (height.get() > 0 || genesis.is_none()));
            (digests, below.filter(|height| recent.range(*height, tip, 1).is_empty()).collect())
        };
        let missing = |digests: &[Option<Digest>]| {
            let mut both = heights.iter().zip(digests);
            both.any(|(height, digest)| digest.is_none() && *height <= tip.height)
        };
        if !missing(&digests) {
            return Ok(digests);
        }
        let Some(found) = self.under(tip, &unknown, true).await? else {
            self.recent.lock().forget();
            return Err(self.upstreams.refuse(fault(self.name(), NodeError::LeftTip { tip })));
        };
        let blocks = found.into_iter().map(|found| self.need(found));
        let blocks = blocks.collect::<Result<Vec<_>, _>>()?;
        let found: BTreeMap<_, _> = unknown.into_iter().zip(blocks).collect();
        for (height, digest) in heights.iter().zip(&mut digests) {
            let block = found.get(height).and_then(Option::as_ref);
            *digest = digest.or_else(|| Some(block?.reference().digest));
        }
        Ok(digests)
    }

    /// Makes sure that the block at height 0 is the one that it was. A node that does not have it says
    /// once more which chain it is of.
    async fn begins(&self, answer: &Answer) -> Result<(), Fault> {
        let theirs = read_genesis(self.name(), answer);
        let theirs = theirs.map_err(|fault| self.upstreams.refuse(fault))?;
        let ours = self.upstreams.genesis();
        if theirs == ours {
            return Ok(());
        }
        if theirs.is_none() || ours == Some(NO_GENESIS) {
            return self.upstreams.greet_again().await;
        }
        self.recent.lock().forget();
        Err(self.upstreams.doubt(theirs).await)
    }

    /// Linked blocks from `from` upwards on the chain under `tip`; none if the node has another chain.
    pub(crate) async fn blocks(&self, tip: BlockRef, from: Height) -> Result<Vec<EthBlock>, Fault> {
        let max = self.limits().blocks_max.get();
        let known = self.recent.lock().range(from, tip, max);
        let whole = known.last().is_some_and(|last| last.reference() == tip) || known.len() == max;
        if whole || from > tip.height {
            return Ok(known);
        }
        let to = from.get().saturating_add(max as u64 - 1).min(tip.height.get());
        let heights: Vec<_> = (from.get()..=to).map(Height::new).collect();
        let mut slots: Vec<_> = {
            let mut recent = self.recent.lock();
            heights.iter().map(|height| recent.range(*height, tip, 1).pop()).collect()
        };
        let unknown = heights.iter().zip(&slots).filter(|(_, known)| known.is_none());
        let unknown: Vec<_> = unknown.map(|(height, _)| *height).collect();
        let endpoint = self.upstreams.current();
        let missing = slots.first().is_some_and(Option::is_none);
        let begun = self.histories.lock().begun(endpoint).filter(|begun| missing && from < *begun);
        if let Some(begins) = begun
            && self.histories.lock().is_believed(self.upstreams.context(), endpoint)
        {
            return Err(self.history_begins(from, begins));
        }
        // Of a node that had no such block, three blocks answer whether it is as it was.
        let around = |begins: Height| {
            let around = [Some(from), begins.previous(), Some(begins)];
            around.into_iter().flatten().collect::<BTreeSet<_>>().into_iter().collect()
        };
        let wanted: Vec<_> = begun.map_or(unknown, around);
        let Some(mut fetched) = self.under(tip, &wanted, false).await? else {
            return Ok(Vec::new());
        };
        if missing && matches!(fetched.first(), Some(Ok(None))) {
            let mut search = Search::new(from, tip.height);
            search.answer(wanted.into_iter().zip(fetched.iter().map(is_there)));
            return Err(self.find_history(tip, from, search).await?);
        }
        if begun.is_some() {
            self.histories.lock().forget(self.upstreams.current());
            fetched.truncate(1);
        }
        let mut refused = None;
        let empty = slots.iter_mut().filter(|slot| slot.is_none());
        for (slot, found) in empty.zip(fetched) {
            match found {
                Ok(block) => *slot = block,
                Err(fault) => refused = refused.or(Some(fault)),
            }
        }
        let mut range: Vec<EthBlock> = Vec::new();
        for block in slots.into_iter().map_while(|slot| slot) {
            if range.last().is_some_and(|below| below.reference().digest != block.parent()) {
                break; // Parts of two chains: what is whole is an answer, the pass asks on from there.
            }
            range.push(block);
        }
        // One bad block costs what stands on it. What is below it is an answer; the next question begins
        // with the bad one.
        if let (true, Some(fault)) = (range.is_empty(), refused) {
            return Err(self.upstreams.refuse(fault));
        }
        // The node may have refused so long a range just now. What was fetched is remembered.
        range.truncate(self.limits().blocks_max.get());
        Ok(range)
    }

    /// The fault of a node without the block at `from` of the chain under `tip`: where its blocks begin.
    async fn find_history(
        &self,
        tip: BlockRef,
        from: Height,
        mut search: Search,
    ) -> Result<Fault, Fault> {
        let begins = loop {
            if let Some(begins) = search.begins() {
                break begins;
            }
            let question = search.question(self.limits().blocks_max.get());
            let Some(found) = self.under(tip, &question, false).await? else {
                return Ok(self.upstreams.refuse(fault(self.name(), NodeError::LeftTip { tip })));
            };
            search.answer(question.into_iter().zip(found.iter().map(is_there)));
        };
        let endpoint = self.upstreams.current();
        self.histories.lock().learn(self.upstreams.context(), endpoint, begins);
        Ok(self.history_begins(from, begins))
    }

    fn history_begins(&self, from: Height, begins: Height) -> Fault {
        let error = EthereumError::HistoryBegins { from, begins };
        self.upstreams.refuse(fault(self.name(), error))
    }

    /// What the node has at `heights` of the chain under `tip`; nothing if it has another block at the
    /// tip's height by now. That it has none at some height is bound to the tip as well: a node that lags,
    /// or another one behind the same address, has none where there is one. With `from_genesis`, the block
    /// at height 0 is bound too.
    async fn under(
        &self,
        tip: BlockRef,
        heights: &[Height],
        from_genesis: bool,
    ) -> Result<Option<Vec<Found>>, Fault> {
        let mut wanted: Vec<_> = heights.iter().copied().map(By::Height).collect();
        let bound = heights.iter().position(|height| *height == tip.height);
        let bound = bound.unwrap_or_else(|| {
            wanted.push(By::Height(tip.height));
            heights.len()
        });
        let mut found = if from_genesis {
            self.ask_from_genesis(&wanted).await?
        } else {
            self.ask(&wanted).await?
        };
        if bound >= found.len() {
            return Ok(None);
        }
        let top = self.need(found.swap_remove(bound))?;
        let Some(top) = top.filter(|top| top.reference() == tip) else { return Ok(None) };
        if bound < heights.len() {
            found.push(Ok(Some(top)));
            let last = found.len() - 1;
            found.swap(bound, last);
        }
        found.truncate(heights.len());
        let mut recent = self.recent.lock();
        for block in found.iter().flatten().flatten() {
            let BlockRef { height, digest } = block.reference();
            recent.add(tip, height, digest);
        }
        Ok(Some(found))
    }
}
