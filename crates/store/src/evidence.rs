//! Contradictions about finalized blocks, kept for whoever must find out who lied.

use bytes::{Buf, BufMut};
use commonware_codec::{EncodeSize, Error, RangeCfg, Read, ReadExt, Write};
use tidewatch_core::{BlockRef, Conflict};

/// Contradictions kept at most. The first ones stay: they are where it began.
pub(crate) const EVIDENCE_MAX: usize = 64;

/// Both sides of each contradiction, once, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Evidence(Vec<Conflict>);

impl Evidence {
    /// Takes `conflict` in, unless it is there or there is no room; says whether it did.
    pub(crate) fn keep(&mut self, conflict: Conflict) -> bool {
        let room = self.0.len() < EVIDENCE_MAX && !self.0.contains(&conflict);
        if room {
            self.0.push(conflict);
        }
        room
    }

    pub(crate) fn conflicts(&self) -> &[Conflict] {
        &self.0
    }
}

impl Write for Evidence {
    fn write(&self, buf: &mut impl BufMut) {
        self.0.len().write(buf);
        for conflict in &self.0 {
            conflict.ours.write(buf);
            conflict.theirs.write(buf);
        }
    }
}

impl EncodeSize for Evidence {
    fn encode_size(&self) -> usize {
        let conflicts = self.0.iter().map(|c| c.ours.encode_size() + c.theirs.encode_size());
        self.0.len().encode_size() + conflicts.sum::<usize>()
    }
}

impl Read for Evidence {
    type Cfg = ();

    fn read_cfg(buf: &mut impl Buf, (): &()) -> Result<Self, Error> {
        let len = usize::read_cfg(buf, &RangeCfg::from(0..=EVIDENCE_MAX))?;
        let mut conflicts = Vec::with_capacity(len);
        for _ in 0..len {
            conflicts.push(Conflict { ours: BlockRef::read(buf)?, theirs: BlockRef::read(buf)? });
        }
        Ok(Self(conflicts))
    }
}
