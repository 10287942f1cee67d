//! What survives: inputs, proofs, and the table of jobs.
//!
//! # Overview
//!
//! ```text
//!  PARTITION-table              lines: what it is of, jobs, the proven tip, prunes
//!  PARTITION-inputs/            one file for each job, until its proof is committed
//!  PARTITION-proofs-XXXXXXXX/   one file for each proof, in directories of 65,536 heights
//!  PARTITION-aside/             a few proofs of blocks that were reorged out
//! ```
//!
//! A file is named by the block that it is about, height and digest, so that what was made for a block that
//! never came, or was reorged out, is never taken for that of the one at its height. It starts with the SHA-256
//! of its content. Written once, it is never overwritten.
//!
//! # Restart safety
//!
//! | step | order | a crash before it leaves |
//! |---|---|---|
//! | a block is added | its inputs, then its line | a file without a line: swept |
//! | it was submitted | its line, with the handle, before anybody waits for it | a job at the prover, found again under the same handle |
//! | a proof came, and verified | its file, then its line | a proof without a line: taken in at the next start |
//! | it is committed | the tip's line, which also ends the job; then readers see it | a proof that waits: committed again |
//! | after that | the inputs are removed | a file without a line: swept |
//! | a prune | its line, then the files: proofs are copied aside, then removed | files without lines: inputs are swept, proofs put aside |
//! | a block comes back | its proof's file, then its line, then the one aside is removed | a proof without a line: put aside again |
//!
//! A line that was not written whole is none; the journal drops it. A tip can so never be ahead of its proof.
//! Damage of what was written whole is refused as [`CorruptRecord`](tidewatch_core::FaultKind::CorruptRecord).
//!
//! # Cost
//!
//! Six barriers for a block that is proven at its first attempt. The table is rewritten once more than half of
//! it is out of date; a start reads all of it.

pub(crate) mod files;
mod record;
mod table;
#[cfg(test)]
pub(crate) mod tests;

use crate::{Error, Key, Stored, plan::Saved, plan::State};
use bytes::Bytes;
use commonware_storage::Context;
use files::{Files, Kind, SHARD};
use record::Record;
use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroU64,
};
use table::{Base, Table};
use tidewatch_core::{BlockRef, ChainId, Digest, Fault, Height};
use tracing::{info, warn};

/// Where things lie, and how large they may be.
#[derive(Clone, Debug)]
pub struct Config {
    /// Prefix of the storage partitions.
    pub partition: String,
    /// Largest inputs of a block, in bytes.
    pub inputs_max: u64,
    /// Largest proof, in bytes.
    pub proof_max: u64,
    /// How many blocks below the proven tip keep their proofs, at the least: whole directories are removed.
    /// `None` keeps all of them.
    pub keep: Option<NonZeroU64>,
    /// Proofs of blocks that were reorged out which are kept in case their block comes back.
    pub aside_max: usize,
}

impl Config {
    /// Inputs and proofs of 64 MiB at the most, and every proof is kept.
    pub fn new(partition: impl Into<String>) -> Self {
        let max = 64 * 1024 * 1024;
        Self {
            partition: partition.into(),
            inputs_max: max,
            proof_max: max,
            keep: None,
            aside_max: 64,
        }
    }
}

/// Which chain is proven, with what, from where on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// The chain.
    pub chain: ChainId,
    /// Identifies the statement and its verification key.
    pub program: Digest,
    /// The block above which proving begins, at the first start: genesis, or one that needs no proof. Later
    /// starts go on from the proven tip.
    pub start: BlockRef,
}

impl Subject {
    /// What a directory is of; `None` where proving never began. Nobody else may have it open.
    ///
    /// # Errors
    ///
    /// The disk, or damage.
    pub async fn of<E: Context>(context: E, config: &Config) -> Result<Option<Self>, Fault> {
        let table = Table::open(&context, &format!("{}-table", config.partition)).await;
        let table = table.map_err(|error| Fault::new("the proving directory", error))?;
        let base = table.folded.base;
        Ok(base.map(|Base { chain, program, start }| Self { chain, program, start }))
    }
}

/// Everything that survives. It has one writer.
pub(crate) struct Disk<E: Context> {
    files: Files<E>,
    table: Table<E>,
    config: Config,
    program: Digest,
    /// Proofs of blocks that were reorged out.
    aside: BTreeMap<(Height, [u8; 32]), Stored>,
}

impl<E: Context> Disk<E> {
    /// Opens what there is, or begins.
    pub(crate) async fn open(context: E, config: Config, subject: &Subject) -> Result<Self, Error> {
        let mut table = Table::open(&context, &format!("{}-table", config.partition)).await?;
        match &table.folded.base {
            None => {
                let Subject { chain, program, start } = subject.clone();
                table.write(vec![Record::Base { chain, program, start }]).await?;
            }
            Some(Base { chain, .. }) if *chain != subject.chain => {
                let (found, wanted) = (chain.clone(), subject.chain.clone());
                return Err(Error::WrongChain { found, wanted });
            }
            Some(Base { program, .. }) if *program != subject.program => {
                let (found, wanted) = (*program, subject.program);
                return Err(Error::WrongProgram { found, wanted });
            }
            Some(_) => {}
        }
        let files = Files::new(context.child("files"), config.clone());
        let program = subject.program;
        let mut disk = Self { files, table, config, program, aside: BTreeMap::new() };
        disk.sweep().await?;
        Ok(disk)
    }

    /// Removes inputs that no job needs, and takes in proofs that a crash kept from the table.
    async fn sweep(&mut self) -> Result<(), Error> {
        let needed = |jobs: &BTreeMap<u64, Saved>, block: &BlockRef| {
            jobs.get(&block.height.get()).is_some_and(|job| job.key.block == *block)
        };
        for block in self.files.scan(Kind::Inputs, 0).await? {
            if !needed(&self.table.folded.jobs, &block) {
                self.files.remove(Kind::Inputs, &self.key(block)).await;
            }
        }
        for block in self.files.scan(Kind::Aside, 0).await? {
            let key = self.key(block);
            match self.files.read(Kind::Aside, &key).await? {
                Some((stored, _)) if !needed(&self.table.folded.jobs, &block) => {
                    self.aside.insert((block.height, block.digest.0), stored);
                }
                _ => self.files.remove(Kind::Aside, &key).await,
            }
        }
        let (mut found, mut whole, mut gone) = (Vec::new(), BTreeSet::new(), Vec::new());
        for (block, stored) in self.above(self.tip()).await? {
            whole.insert(block.height.get());
            match self.table.folded.jobs.get(&block.height.get()) {
                Some(job) if job.key.block == block => {
                    if !matches!(job.state, State::Proved(_)) {
                        info!(%block, "a finished proof is taken in");
                        let mut job = job.clone();
                        (job.state, job.handles) = (State::Proved(stored), Vec::new());
                        found.push(Record::Job(job));
                    }
                }
                _ => gone.push((block, stored)),
            }
        }
        for job in self.table.folded.jobs.values() {
            if matches!(job.state, State::Proved(_)) && !whole.contains(&job.key.height()) {
                warn!(block = %job.key, "its proof is damaged: it is proven again");
                found.push(Record::Job(Saved { state: State::Open, ..job.clone() }));
            }
        }
        self.table.write(found).await?;
        self.put_aside(gone).await
    }

    /// Proofs above `tip`. Those that are not whole are removed.
    async fn above(&self, tip: BlockRef) -> Result<Vec<(BlockRef, Stored)>, Error> {
        let mut found = Vec::new();
        let mut shard = tip.height.get() / SHARD;
        loop {
            let blocks = self.files.scan(Kind::Proof, shard * SHARD).await?;
            for block in blocks.iter().filter(|block| block.height > tip.height) {
                let key = self.key(*block);
                match self.files.read(Kind::Proof, &key).await? {
                    Some((stored, _)) => found.push((*block, stored)),
                    None => self.files.remove(Kind::Proof, &key).await,
                }
            }
            // Heights are consecutive: beyond an empty directory that no job reaches there is nothing.
            let reach = self.table.folded.jobs.keys().next_back().copied().unwrap_or_default();
            if blocks.is_empty() && shard * SHARD >= reach {
                return Ok(found);
            }
            shard += 1;
        }
    }

    const fn key(&self, block: BlockRef) -> Key {
        Key::one(block, self.program)
    }

    /// The proven tip.
    pub(crate) fn tip(&self) -> BlockRef {
        let folded = &self.table.folded;
        let start = folded.base.as_ref().map(|base| base.start);
        let tip = folded.tip.or(start);
        // Opening wrote a base.
        tip.unwrap_or_else(|| BlockRef::new(Height::zero(), Digest([0; 32])))
    }

    /// The jobs above the tip, in rising order.
    pub(crate) fn jobs(&self) -> impl Iterator<Item = Saved> + '_ {
        self.table.folded.jobs.values().cloned()
    }

    /// Adds blocks with their inputs: the inputs of all of them are durable first.
    pub(crate) async fn add(&mut self, blocks: &[(Key, Bytes)]) -> Result<Vec<Saved>, Error> {
        let mut saved = Vec::with_capacity(blocks.len());
        for (key, inputs) in blocks {
            let inputs = self.files.write(Kind::Inputs, key, inputs).await?;
            let proof = self.back(key).await?;
            let state = proof.map_or(State::Open, State::Proved);
            saved.push(Saved { key: *key, inputs, state, logical: 0, handles: Vec::new() });
        }
        self.table.write(saved.iter().cloned().map(Record::Job).collect()).await?;
        for job in saved.iter().filter(|job| matches!(job.state, State::Proved(_))) {
            self.aside.remove(&(job.key.block.height, job.key.block.digest.0));
            self.files.remove(Kind::Aside, &job.key).await;
        }
        Ok(saved)
    }

    /// The inputs of `key`, as they were added.
    pub(crate) async fn inputs(&self, key: &Key) -> Result<Bytes, Error> {
        let known = self.table.folded.jobs.get(&key.height()).map(|job| job.inputs);
        match self.files.read(Kind::Inputs, key).await? {
            Some((stored, bytes)) if known == Some(stored) => Ok(bytes),
            _ => Err(Error::Damaged { what: "the inputs", block: key.block }),
        }
    }

    /// Writes how a job stands.
    pub(crate) async fn put(&mut self, job: Saved) -> Result<(), Error> {
        self.table.write(vec![Record::Job(job)]).await
    }

    /// Changes how a job stands, if it is there.
    pub(crate) async fn change(
        &mut self,
        key: &Key,
        change: impl FnOnce(&mut Saved),
    ) -> Result<(), Error> {
        let job = self.table.folded.jobs.get(&key.height()).filter(|job| job.key == *key);
        let Some(mut job) = job.cloned() else { return Ok(()) };
        change(&mut job);
        self.put(job).await
    }

    /// Keeps a proof that was verified: its file, then the job's line. `None` if the block is not wanted.
    pub(crate) async fn proved(
        &mut self,
        key: &Key,
        proof: &Bytes,
    ) -> Result<Option<Stored>, Error> {
        let job = self.table.folded.jobs.get(&key.height()).filter(|job| job.key == *key);
        let Some(mut job) = job.cloned() else { return Ok(None) };
        if let State::Proved(stored) = job.state {
            return Ok(Some(stored));
        }
        let stored = self.files.write(Kind::Proof, key, proof).await?;
        (job.state, job.handles) = (State::Proved(stored), Vec::new());
        self.put(job).await?;
        Ok(Some(stored))
    }

    /// Moves the proven tip onto `key`, whose proof is kept.
    pub(crate) async fn commit(&mut self, key: &Key) -> Result<(), Error> {
        debug_assert!(
            matches!(
                self.table.folded.jobs.get(&key.height()),
                Some(Saved { key: ours, state: State::Proved(_), .. }) if ours == key
            ),
            "{key} is committed without a proof"
        );
        self.table.write(vec![Record::Tip(key.block)]).await
    }

    /// Removes what is not needed once the tip stands on `key`, and readers know that it does.
    pub(crate) async fn committed(&mut self, key: &Key) {
        self.files.remove(Kind::Inputs, key).await;
        // One directory is left behind each time the tip enters another.
        if let Some(keep) = self.config.keep
            && key.height().is_multiple_of(SHARD)
            && let Some(last) = key.height().checked_sub(keep.get().max(SHARD))
            && let Some(shard) = (last / SHARD).checked_sub(1)
        {
            self.files.remove_shard(shard * SHARD).await;
        }
    }

    /// Forgets everything above `to`. Proofs of what is forgotten are kept aside.
    pub(crate) async fn prune(&mut self, to: BlockRef) -> Result<(), Error> {
        let back = self.tip().height > to.height;
        let above = to.height.get().saturating_add(1);
        let jobs: Vec<Saved> =
            self.table.folded.jobs.range(above..).map(|(_, job)| job.clone()).collect();
        if jobs.is_empty() && !back {
            return Ok(());
        }
        self.table.write(vec![Record::Pruned(to)]).await?;
        let mut gone = if back { self.above(to).await? } else { Vec::new() };
        for job in jobs {
            self.files.remove(Kind::Inputs, &job.key).await;
            if let (false, State::Proved(stored)) = (back, job.state) {
                gone.push((job.key.block, stored));
            }
        }
        self.put_aside(gone).await
    }

    /// Keeps proofs of blocks that were reorged out, as many as may be: in a directory of their own, so that below
    /// the tip nothing but the chain's own proofs is left. The others are removed.
    async fn put_aside(&mut self, gone: Vec<(BlockRef, Stored)>) -> Result<(), Error> {
        for (block, stored) in &gone {
            self.aside.insert((block.height, block.digest.0), *stored);
        }
        self.bound_aside().await;
        for (block, _) in gone {
            let key = self.key(block);
            if self.aside.contains_key(&(block.height, block.digest.0)) {
                match self.files.read(Kind::Proof, &key).await? {
                    Some((_, proof)) => drop(self.files.write(Kind::Aside, &key, &proof).await?),
                    None => drop(self.aside.remove(&(block.height, block.digest.0))),
                }
            }
            self.files.remove(Kind::Proof, &key).await;
        }
        Ok(())
    }

    /// The proof of a block that comes back, if it was put aside: it is among the chain's proofs from now on.
    async fn back(&self, key: &Key) -> Result<Option<Stored>, Error> {
        if !self.aside.contains_key(&(key.block.height, key.block.digest.0)) {
            return Ok(None);
        }
        match self.files.read(Kind::Aside, key).await? {
            Some((_, proof)) => self.files.write(Kind::Proof, key, &proof).await.map(Some),
            None => Ok(None),
        }
    }

    async fn bound_aside(&mut self) {
        while self.aside.len() > self.config.aside_max {
            let tip = self.tip().height;
            let old = self.aside.first_key_value().is_some_and(|((height, _), _)| *height <= tip);
            let dropped = if old { self.aside.pop_first() } else { self.aside.pop_last() };
            let Some(((height, digest), _)) = dropped else { return };
            let key = self.key(BlockRef::new(height, Digest(digest)));
            warn!(block = %key.block, "too many proofs of blocks that were reorged out: dropped");
            self.files.remove(Kind::Aside, &key).await;
        }
    }

    /// The proof of `block`, if it is kept.
    pub(crate) async fn proof(&self, block: BlockRef) -> Result<Option<Bytes>, Error> {
        let found = self.files.read(Kind::Proof, &self.key(block)).await?;
        Ok(found.map(|(_, bytes)| bytes))
    }

    #[cfg(test)]
    pub(crate) fn lines(&self) -> u64 {
        self.table.len()
    }
}
