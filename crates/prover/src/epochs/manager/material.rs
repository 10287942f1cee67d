//! What proofs are made of.

use super::{
    super::{Entry, Range, RangeProgram, SessionId, SessionState, work::Job},
    core::Core,
};
use crate::{Error, Key};
use bytes::Bytes;
use commonware_storage::Context;
use tidewatch_core::{BlockRef, Digest};

/// Blocks of a session: the digest below the first one, its height, and the last one.
pub(super) struct Span {
    pub(super) parent: Digest,
    pub(super) first: u64,
    pub(super) last: BlockRef,
}

impl<E: Context> Core<E> {
    /// The blocks of a session, while all of its checkpoints are there.
    pub(super) fn span(&self, id: SessionId) -> Option<Span> {
        let content = &self.sessions.get(id)?.content;
        let blocks = |entry: &Entry| Some(&self.contents.get(&entry.instance)?.content.blocks);
        let first = blocks(content.first()?)?.first()?;
        let last = blocks(content.last()?)?.last()?.block;
        Some(Span { parent: first.parent, first: first.block.height.get(), last })
    }

    /// What a prover needs for `job`: its key, the digest below it, and inputs. `None` where it is not wanted, or
    /// something that it is made of has to be made again first.
    pub(super) async fn inputs(
        &mut self,
        job: &Job,
        program: &impl RangeProgram,
    ) -> Result<Option<(Key, Digest, Bytes)>, Error> {
        match *job {
            Job::Piece(instance, range) => {
                let Some(registered) = self.contents.get(&instance) else { return Ok(None) };
                let blocks = &registered.content.blocks;
                let Some(base) = blocks.first().map(|block| block.block.height.get()) else {
                    return Ok(None);
                };
                let at = |height: u64| usize::try_from(height.saturating_sub(base)).ok();
                let slice = at(range.first).zip(at(range.last));
                let slice = slice.and_then(|(from, to)| blocks.get(from..=to));
                let Some((blocks, last)) = slice.and_then(|slice| Some((slice, slice.last()?)))
                else {
                    return Ok(None);
                };
                let (parent, key) = (blocks[0].parent, self.kept.key(range.first, last.block));
                Ok(Some((key, parent, program.inputs(blocks))))
            }
            Job::Root(id) => {
                let Some(Span { parent, first, last }) = self.span(id) else { return Ok(None) };
                let Some(proofs) = self.proofs(id).await? else { return Ok(None) };
                Ok(Some((self.kept.key(first, last), parent, program.joined(parent, &proofs))))
            }
        }
    }

    /// The proofs that a session's is made of, in order. One that is damaged is made again first.
    async fn proofs(&mut self, id: SessionId) -> Result<Option<Vec<(Key, Bytes)>>, Error> {
        let Some(session) = self.sessions.get(id) else { return Ok(None) };
        let instances: Vec<u64> = session.content.iter().map(|entry| entry.instance).collect();
        let (mut proofs, mut lost) = (Vec::new(), false);
        for instance in instances {
            let Some(registered) = self.contents.get(&instance) else { return Ok(None) };
            let Some(pieces) = registered.pieces.whole() else { return Ok(None) };
            let blocks = &registered.content.blocks;
            let block = |height| blocks.iter().find(|block| block.block.height.get() == height);
            let keys: Vec<(Range, Key)> = (pieces.iter())
                .filter_map(|range| {
                    Some((*range, self.kept.key(range.first, block(range.last)?.block)))
                })
                .collect();
            for (range, key) in keys {
                if let Some(proof) = self.kept.get(&key).await? {
                    proofs.push((key, proof));
                    continue;
                }
                lost = true;
                if let Some(registered) = self.contents.get_mut(&instance) {
                    registered.pieces.lost(range);
                }
                self.work.add(Job::Piece(instance, range), range.first);
            }
        }
        if lost {
            self.work.remove(&Job::Root(id));
            self.sessions.moved(id, SessionState::AwaitingCheckpoints);
        }
        Ok((!lost).then_some(proofs))
    }
}
