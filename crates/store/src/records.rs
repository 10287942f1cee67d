//! Events as they are kept: without the cursor, which is made when a record is read.
//!
//! A cursor names digests at powers of two below the head that the event left. In a view of blocks they
//! are looked up in the chain that is there when the record is read. That chain may have replaced the
//! record's own since, from the lowest block that a later prune went down to (which is of the new chain,
//! where it lies below everything that the view knew): only heights below that are looked up, or up to what
//! the record itself says is finalized. A view without blocks has
//! nothing to look up later: there the locators are kept with the event.

use bytes::{Buf, BufMut};
use commonware_codec::{EncodeSize, Error, RangeCfg, Read, ReadExt, Write, varint::UInt};
use std::collections::BTreeSet;
use tidewatch_core::{BlockRef, ChainId, Cursor, Event, Height, Locator, Record, Tier, Watermarks};

/// Locators that one cursor holds at most.
const LOCATORS_MAX: usize = 24;

/// Prunes that are told apart: past that, records before the oldest two share the lower target.
pub(crate) const PRUNES_MAX: usize = 64;

/// An event in its place in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stored {
    /// Its position: a record that is found elsewhere is corrupt.
    pub(crate) sequence: u64,
    pub(crate) event: Event,
    /// Where the view stood right after it.
    pub(crate) watermarks: Watermarks,
    /// The newest prune before it: all prunes are found from the last record, one by one.
    pub(crate) pruned: Option<u64>,
    /// What the view knew below its head, if it was given no blocks.
    pub(crate) locators: Vec<Locator>,
}

impl Stored {
    /// The heights whose digests its cursor wants, of a chain that is its own up to `trusted`.
    fn wants(&self, trusted: Option<Height>) -> impl Iterator<Item = Height> {
        let head = self.watermarks.delivered.map(|delivered| delivered.height);
        head.into_iter()
            .flat_map(Cursor::heights_below)
            .filter(move |height| trusted.is_some_and(|trusted| *height <= trusted))
    }

    fn finalized(&self) -> Option<Height> {
        self.watermarks.tips.block(Tier::Finalized).map(|block| block.height)
    }
}

/// The lowest blocks that later prunes went down to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Prunes {
    /// Every prune from this event on is known.
    from: u64,
    /// Sequences of prunes with their targets, both rising: of two prunes, the later one that goes as
    /// deep says all.
    lowest: Vec<(u64, Height)>,
}

impl Prunes {
    /// Knows the prunes from event `from` on, and none yet.
    pub(crate) const fn since(from: u64) -> Self {
        Self { from, lowest: Vec::new() }
    }

    /// Notes that event `sequence` pruned down to `to`.
    pub(crate) fn note(&mut self, sequence: u64, to: Height) {
        debug_assert!(self.lowest.last().is_none_or(|(last, _)| *last < sequence));
        while self.lowest.pop_if(|(_, target)| *target >= to).is_some() {}
        self.lowest.push((sequence, to));
        if self.lowest.len() > PRUNES_MAX {
            // Records between the two are held to the deeper prune, which is less than they could have.
            let (_, target) = self.lowest.remove(0);
            self.lowest[0].1 = target;
        }
    }

    /// Up to which height the chain that is there now is that of `record`.
    fn trusted(&self, record: &Stored) -> Option<Height> {
        if record.sequence + 1 < self.from {
            return record.finalized();
        }
        let later = self.lowest.iter().find(|(sequence, _)| *sequence > record.sequence);
        later.map_or(Some(Height::new(u64::MAX)), |(_, target)| {
            record.finalized().max(target.previous())
        })
    }

    /// The heights whose digests the cursors of `records` want, all together.
    pub(crate) fn wanted(&self, records: &[Stored]) -> Vec<Height> {
        let wanted: BTreeSet<_> =
            records.iter().flat_map(|record| record.wants(self.trusted(record))).collect();
        wanted.into_iter().collect()
    }

    /// `stored` with its cursor; `known` says what [`Prunes::wanted`] was answered.
    pub(crate) fn record(
        &self,
        chain: &ChainId,
        stored: &Stored,
        known: impl Fn(Height) -> Option<BlockRef>,
    ) -> Record {
        let trusted = self.trusted(stored);
        let found = stored.wants(trusted).filter_map(known).map(|block| Locator::of(&block));
        let below = found.chain(stored.locators.iter().copied());
        let cursor = Cursor::located(chain, stored.sequence + 1, &stored.watermarks, below);
        Record { event: stored.event, watermarks: stored.watermarks, cursor }
    }
}

impl Write for Stored {
    fn write(&self, buf: &mut impl BufMut) {
        UInt(self.sequence).write(buf);
        self.event.write(buf);
        self.watermarks.write(buf);
        self.pruned.map(UInt).write(buf);
        self.locators.write(buf);
    }
}

impl EncodeSize for Stored {
    fn encode_size(&self) -> usize {
        UInt(self.sequence).encode_size()
            + self.event.encode_size()
            + self.watermarks.encode_size()
            + self.pruned.map(UInt).encode_size()
            + self.locators.encode_size()
    }
}

impl Read for Stored {
    type Cfg = ();

    fn read_cfg(buf: &mut impl Buf, (): &()) -> Result<Self, Error> {
        Ok(Self {
            sequence: UInt::read(buf)?.into(),
            event: Event::read(buf)?,
            watermarks: Watermarks::read(buf)?,
            pruned: Option::<UInt<u64>>::read(buf)?.map(Into::into),
            locators: Vec::read_cfg(buf, &(RangeCfg::from(0..=LOCATORS_MAX), ()))?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use commonware_codec::{DecodeExt as _, Encode as _};
    use commonware_cryptography::{Hasher as _, Sha256};
    use tidewatch_core::{Digest, TipSet};

    fn block(height: u64) -> BlockRef {
        BlockRef::new(Height::new(height), Digest([height as u8; 32]))
    }

    fn stored(sequence: u64, finalized: Option<u64>) -> Stored {
        let mut tips = TipSet::unknown();
        tips.set(Tier::Finalized, finalized.map(|height| block(height).into()));
        Stored {
            sequence,
            event: Event::Blocks { from: block(1), to: block(200) },
            watermarks: Watermarks { delivered: Some(block(200)), tips },
            pruned: Some(300),
            locators: vec![Locator::of(&block(7))],
        }
    }

    #[test]
    fn a_stored_event_is_frozen() {
        let bytes = stored(400, Some(9)).encode();
        assert_eq!(Stored::decode(bytes.clone()).unwrap(), stored(400, Some(9)));
        for cut in 0..bytes.len() {
            assert!(Stored::decode(bytes.slice(..cut)).is_err(), "cut at {cut} decodes");
        }
        assert_eq!(
            Sha256::hash(&[&bytes]).to_string(),
            "8ae414aa53e44dd58f52870de5cf0a1294f3af08c122957add42c825d34f7b12"
        );
    }

    #[test]
    fn a_record_trusts_the_chain_below_the_lowest_later_prune() {
        let mut prunes = Prunes::since(100);
        for (sequence, to) in [(110, 50), (120, 80), (130, 70), (140, 90)] {
            prunes.note(sequence, Height::new(to));
        }
        let trusted =
            |sequence, finalized| prunes.trusted(&stored(sequence, finalized)).map(Height::get);
        for (sequence, finalized, expected) in [
            (98, None, None),
            (98, Some(3), Some(3)),
            (99, None, Some(49)),
            (109, Some(3), Some(49)),
            (109, Some(60), Some(60)),
            (110, None, Some(69)),
            (120, None, Some(69)),
            (130, None, Some(89)),
            (140, None, Some(u64::MAX)),
            (150, Some(3), Some(u64::MAX)),
        ] {
            assert_eq!(trusted(sequence, finalized), expected, "event {sequence}, {finalized:?}");
        }
    }

    #[test]
    fn however_many_prunes_there_were_no_record_trusts_more_than_it_may() {
        let (mut prunes, mut all) = (Prunes::default(), Vec::new());
        for n in 0..300_u64 {
            let to = 1_000 + n - (n * 7_919 % 31);
            prunes.note(10 * n, Height::new(to));
            all.push((10 * n, to));
            assert!(prunes.lowest.len() <= PRUNES_MAX);
        }
        for sequence in 0..3_000 {
            let lowest = all.iter().filter(|(at, _)| *at > sequence).map(|(_, to)| *to).min();
            let trusted = prunes.trusted(&stored(sequence, None)).unwrap().get();
            assert!(lowest.is_none_or(|lowest| trusted < lowest), "event {sequence}");
        }
        let newest = prunes.trusted(&stored(2_985, None)).unwrap().get();
        assert_eq!(Some(newest), all.last().map(|(_, to)| *to - 1));
    }
}
