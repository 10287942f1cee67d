//! The opaque, portable position of a consumer in an event history.
//!
//! # Format
//!
//! Unpadded URL-safe base64, at most [`CURSOR_TEXT_MAX`] characters, of
//!
//! ```text
//! version u8 = 1 │ chain tag [u8;8] │ handled varint │ presence u8 │ blocks… │ n u8 │ locators… │ crc32 u32
//! ```
//!
//! where *presence* is a bit set: which of (delivered, proposed, checkpointed, proven, finalized) follow
//! as blocks, and whether proposed equals delivered and is omitted. Each *locator* is a distance below
//! the head (varint) and the first 8 bytes of the digest at that height. Locators are at powers of two
//! below the head, so that a server that has never seen this consumer can find the common ancestor with
//! a single lookup.
//!
//! A cursor is not authenticated. Its blocks are only compared with the server's own, so a forged cursor
//! can only harm the consumer that presents it.

use crate::{BlockRef, ChainId, Digest, Height, Tier, TipSet, Watermarks};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::{Buf, BufMut};
use commonware_codec::{EncodeSize, Error, Read, ReadExt, Write, varint::UInt};
use commonware_cryptography::{Hasher as _, Sha256};
use std::{fmt, str::FromStr};

/// Length limit of a cursor's text, in characters.
pub const CURSOR_TEXT_MAX: usize = 512;

/// Length limit of a cursor's encoding, in bytes: what fits into the text.
const BYTES_MAX: usize = CURSOR_TEXT_MAX / 4 * 3;

const VERSION: u8 = 1;
const TAG: usize = 8;
const CRC: usize = 4;

/// Presence bits, lowest first: delivered, the four tiers in the order of [`Tier::ALL`], and whether
/// proposed equals delivered.
const DELIVERED: u8 = 1;
const PROPOSED_IS_DELIVERED: u8 = 1 << 5;

/// A block below a cursor's head, identified by its height and a prefix of its digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Locator {
    /// Height of the block.
    pub height: Height,
    /// The first 8 bytes of its digest: enough to rule out accidental collisions at one height, but not
    /// a proof of anything.
    pub tag: [u8; TAG],
}

impl Locator {
    /// The locator of `block`.
    pub fn of(block: &BlockRef) -> Self {
        Self { height: block.height, tag: head(&block.digest) }
    }

    /// Whether this is the locator of `block`.
    pub fn is(&self, block: &BlockRef) -> bool {
        *self == Self::of(block)
    }
}

impl Write for Locator {
    fn write(&self, buf: &mut impl BufMut) {
        self.height.write(buf);
        buf.put_slice(&self.tag);
    }
}

impl EncodeSize for Locator {
    fn encode_size(&self) -> usize {
        self.height.encode_size() + TAG
    }
}

impl Read for Locator {
    type Cfg = ();

    fn read_cfg(buf: &mut impl Buf, (): &()) -> Result<Self, Error> {
        Ok(Self { height: Height::read(buf)?, tag: <[u8; TAG]>::read(buf)? })
    }
}

fn head(digest: &Digest) -> [u8; TAG] {
    let mut tag = [0; TAG];
    tag.copy_from_slice(&digest.0[..TAG]);
    tag
}

/// The opaque, portable position of a consumer in an event history: the number of events it has
/// handled, the watermarks after them, and locators below its head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    chain: [u8; TAG],
    handled: u64,
    delivered: Option<BlockRef>,
    tips: [Option<BlockRef>; 4],
    /// Strictly below the head, in strictly ascending distance from it.
    locators: Vec<Locator>,
}

/// The text is not a valid cursor.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed cursor: {0}")]
pub struct Malformed(pub &'static str);

impl Cursor {
    /// The position of a consumer that has handled the first `handled` events of a history of `chain`,
    /// which lead to `watermarks`.
    ///
    /// `below` are candidates for locators; blocks that are not below the head are ignored. Blocks at
    /// the heights of [`Cursor::heights_below`] make a reorg cheap to resolve. If not all locators fit,
    /// the deepest are dropped.
    pub fn new(chain: &ChainId, handled: u64, watermarks: &Watermarks, below: &[BlockRef]) -> Self {
        Self::located(chain, handled, watermarks, below.iter().map(Locator::of))
    }

    /// The same, of blocks of which only locators are known.
    pub fn located(
        chain: &ChainId,
        handled: u64,
        watermarks: &Watermarks,
        below: impl IntoIterator<Item = Locator>,
    ) -> Self {
        let mut cursor = Self {
            chain: Self::tag(chain),
            handled,
            delivered: watermarks.delivered,
            tips: Tier::ALL.map(|tier| watermarks.tips.block(tier)),
            locators: Vec::new(),
        };
        let Some(top) = cursor.head() else { return cursor };
        let mut locators: Vec<_> =
            below.into_iter().filter(|locator| locator.height < top.height).collect();
        locators.sort_by_key(|locator| std::cmp::Reverse(locator.height));
        locators.dedup_by_key(|locator| locator.height);
        let mut room = BYTES_MAX.saturating_sub(cursor.encode_size());
        locators.retain(|locator| {
            let size = locator_size(top, locator);
            let fits = size <= room;
            room = if fits { room - size } else { 0 };
            fits
        });
        cursor.locators = locators;
        debug_assert!(cursor.locators_descend(), "locators out of order below {top}");
        debug_assert!(cursor.encode_size() <= BYTES_MAX, "a cursor must fit into its text");
        cursor
    }

    /// The position of a new consumer, before the first event of a history of `chain`.
    pub fn start(chain: &ChainId) -> Self {
        Self::new(chain, 0, &Watermarks::none(), &[])
    }

    /// Heights at powers of two below `top`, nearest first: the preferred heights of locators.
    pub fn heights_below(top: Height) -> impl Iterator<Item = Height> {
        (0..u64::BITS).map_while(move |k| top.get().checked_sub(1 << k)).take(24).map(Height::new)
    }

    fn tag(chain: &ChainId) -> [u8; TAG] {
        head(&Sha256::hash(&[chain.as_str().as_bytes()]))
    }

    /// Whether this cursor belongs to `chain`.
    pub fn is_of(&self, chain: &ChainId) -> bool {
        self.chain == Self::tag(chain)
    }

    /// Number of events of the issuing history that the consumer has handled.
    pub const fn handled(&self) -> u64 {
        self.handled
    }

    /// The highest block delivered to the consumer.
    pub const fn delivered(&self) -> Option<BlockRef> {
        self.delivered
    }

    /// The block of the tip of `tier`, as announced to the consumer.
    pub const fn block(&self, tier: Tier) -> Option<BlockRef> {
        self.tips[tier.index()]
    }

    /// Head of the consumer: see [`Watermarks::head`].
    pub fn head(&self) -> Option<BlockRef> {
        self.delivered.or_else(|| self.block(Tier::Proposed))
    }

    /// Blocks that the consumer knew below its head, nearest first.
    pub fn locators(&self) -> &[Locator] {
        &self.locators
    }

    /// Whether the blocks of the cursor are exactly those of `watermarks`. Checkpoints and the version
    /// of the tip set are not compared.
    pub fn stands_at(&self, watermarks: &Watermarks) -> bool {
        self.delivered == watermarks.delivered
            && Tier::ALL.iter().all(|tier| self.block(*tier) == watermarks.tips.block(*tier))
    }

    /// Where the consumer stands. The cursor does not keep checkpoints, and the version of the tip set
    /// is that of a new one.
    pub fn watermarks(&self) -> Watermarks {
        let mut tips = TipSet::unknown();
        for tier in Tier::ALL {
            tips.set(tier, self.block(tier).map(Into::into));
        }
        Watermarks { delivered: self.delivered, tips }
    }

    /// The position of a new consumer of the same chain.
    #[must_use]
    pub const fn restarted(&self) -> Self {
        let Self { chain, .. } = *self;
        Self { chain, handled: 0, delivered: None, tips: [None; 4], locators: Vec::new() }
    }

    /// The same standing in a history of which `handled` events were handled.
    #[must_use]
    pub fn counted(mut self, handled: u64) -> Self {
        self.handled = handled;
        while self.encode_size() > BYTES_MAX && self.locators.pop().is_some() {}
        self
    }

    fn proposed_is_delivered(&self) -> bool {
        self.delivered.is_some() && self.delivered == self.block(Tier::Proposed)
    }

    fn locators_descend(&self) -> bool {
        let below_head =
            self.head().is_some_and(|top| self.locators.iter().all(|w| w.height < top.height));
        (below_head || self.locators.is_empty())
            && self.locators.windows(2).all(|pair| pair[0].height > pair[1].height)
    }

    fn body_size(&self) -> usize {
        let tips = self.tips.iter().skip(usize::from(self.proposed_is_delivered()));
        let blocks: usize =
            self.delivered.iter().chain(tips.flatten()).map(EncodeSize::encode_size).sum();
        let locators: usize =
            self.head().map_or(0, |top| self.locators.iter().map(|w| locator_size(top, w)).sum());
        1 + TAG + UInt(self.handled).encode_size() + 1 + blocks + 1 + locators
    }
}

fn distance(top: BlockRef, locator: &Locator) -> u64 {
    debug_assert!(locator.height < top.height, "locator at {} is not below {top}", locator.height);
    top.height.get() - locator.height.get()
}

fn locator_size(top: BlockRef, locator: &Locator) -> usize {
    UInt(distance(top, locator)).encode_size() + TAG
}

impl Write for Cursor {
    fn write(&self, out: &mut impl BufMut) {
        let mut buf = Vec::with_capacity(self.body_size());
        buf.put_u8(VERSION);
        buf.put_slice(&self.chain);
        UInt(self.handled).write(&mut buf);
        let mut presence = if self.delivered.is_some() { DELIVERED } else { 0 };
        for tier in Tier::ALL.into_iter().filter(|tier| self.block(*tier).is_some()) {
            presence |= 1 << (1 + tier.index());
        }
        let skip = self.proposed_is_delivered();
        if skip {
            presence |= PROPOSED_IS_DELIVERED;
        }
        buf.put_u8(presence);
        for block in self.delivered.iter().chain(self.tips.iter().skip(skip.into()).flatten()) {
            block.write(&mut buf);
        }
        // Both `new` and `read` bound the encoding, in which a locator takes at least 9 bytes.
        const { assert!(BYTES_MAX / (TAG + 1) <= u8::MAX as usize) };
        buf.put_u8(self.locators.len() as u8);
        if let Some(top) = self.head() {
            for locator in &self.locators {
                UInt(distance(top, locator)).write(&mut buf);
                buf.put_slice(&locator.tag);
            }
        }
        debug_assert_eq!(
            buf.len(),
            self.body_size(),
            "encoded size differs from the announced size"
        );
        out.put_slice(&buf);
        out.put_u32(crc32fast::hash(&buf));
    }
}

impl EncodeSize for Cursor {
    fn encode_size(&self) -> usize {
        self.body_size() + CRC
    }
}

impl Read for Cursor {
    type Cfg = ();

    fn read_cfg(buf: &mut impl Buf, (): &()) -> Result<Self, Error> {
        let invalid = |why| Error::Invalid("Cursor", why);
        if u8::read(buf)? != VERSION {
            return Err(invalid("unknown version"));
        }
        let chain = <[u8; TAG]>::read(buf)?;
        let handled = UInt::read(buf)?.into();
        let presence = u8::read(buf)?;
        if presence >= 1 << 6 {
            return Err(invalid("unknown presence bits"));
        }
        let has = |bit: u8| presence & bit != 0;
        let delivered = if has(DELIVERED) { Some(BlockRef::read(buf)?) } else { None };
        let mut tips = [None; 4];
        for tier in Tier::ALL {
            let same = tier == Tier::Proposed && has(PROPOSED_IS_DELIVERED);
            tips[tier.index()] = match (has(1 << (1 + tier.index())), same) {
                (true, false) => Some(BlockRef::read(buf)?),
                (true, true) if delivered.is_some() => delivered,
                (false, false) => None,
                _ => return Err(invalid("proposed refers to a delivered block that is absent")),
            };
        }
        let mut cursor = Self { chain, handled, delivered, tips, locators: Vec::new() };
        let count = u8::read(buf)?;
        let mut last = 0;
        for _ in 0..count {
            let top = cursor.head().ok_or(invalid("locators without a head"))?;
            let distance: u64 = UInt::read(buf)?.into();
            let height = top.height.get().checked_sub(distance).filter(|_| distance > last);
            let height = Height::new(height.ok_or(invalid("locator out of order"))?);
            last = distance;
            cursor.locators.push(Locator { height, tag: <[u8; TAG]>::read(buf)? });
        }
        if cursor.encode_size() > BYTES_MAX {
            return Err(invalid("too long"));
        }
        debug_assert!(cursor.locators_descend(), "locators out of order");
        // The encoding is canonical, so re-encoding the cursor reproduces the bytes under the checksum.
        let crc = u32::read(buf)?;
        let mut again = Vec::with_capacity(cursor.encode_size());
        cursor.write(&mut again);
        if !again.ends_with(&crc.to_be_bytes()) {
            return Err(invalid("checksum"));
        }
        Ok(cursor)
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = Vec::with_capacity(self.encode_size());
        self.write(&mut bytes);
        f.write_str(&URL_SAFE_NO_PAD.encode(bytes))
    }
}

impl FromStr for Cursor {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        if text.len() > CURSOR_TEXT_MAX {
            return Err(Malformed("longer than 512 characters"));
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| Malformed("not base64"))?;
        let mut bytes = bytes.as_slice();
        let cursor = Self::read(&mut bytes).map_err(|error| match error {
            Error::Invalid(_, why) => Malformed(why),
            _ => Malformed("truncated or corrupted"),
        })?;
        if !bytes.is_empty() {
            return Err(Malformed("trailing bytes"));
        }
        Ok(cursor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TipSet;
    use commonware_codec::{Decode as _, Encode as _};

    fn chain() -> ChainId {
        ChainId::new("test:1").unwrap()
    }

    fn block(height: u64) -> BlockRef {
        BlockRef::new(Height::new(height), Sha256::hash(&[&height.to_be_bytes()]))
    }

    fn full(height: u64) -> Cursor {
        of(height, height)
    }

    /// Of a consumer that has handled so many events.
    fn of(height: u64, handled: u64) -> Cursor {
        let mut tips = TipSet::unknown();
        for (below, tier) in (0..).zip(Tier::ALL) {
            tips.set(tier, Some(block(height - below).into()));
        }
        let watermarks = Watermarks { delivered: Some(block(height)), tips };
        let below: Vec<_> =
            Cursor::heights_below(Height::new(height)).map(|h| block(h.get())).collect();
        Cursor::new(&chain(), handled, &watermarks, &below)
    }

    #[test]
    fn a_cursor_survives_its_text() {
        for cursor in [Cursor::start(&chain()), full(3), full(1_000_000), full(u64::MAX)] {
            let text = cursor.to_string();
            assert!(text.len() <= CURSOR_TEXT_MAX, "{} characters", text.len());
            assert_eq!(text.parse(), Ok(cursor));
        }
    }

    #[test]
    fn locators_reach_a_million_blocks_below_the_tip() {
        let cursor = full(1 << 33);
        let deepest = cursor.locators().last().unwrap();
        assert!(distance(cursor.head().unwrap(), deepest) >= 1 << 19, "{deepest:?}");
    }

    #[test]
    fn a_cursor_with_the_longest_numbers_drops_its_deepest_locators_only() {
        let cursor = full(u64::MAX);
        let distances: Vec<_> =
            cursor.locators().iter().map(|w| distance(cursor.head().unwrap(), w)).collect();
        assert!(distances.len() >= 12, "{distances:?}");
        assert!(distances.iter().enumerate().all(|(k, distance)| *distance == 1 << k));
    }

    #[test]
    fn candidates_that_are_not_below_the_head_are_ignored() {
        let watermarks = Watermarks { delivered: Some(block(9)), tips: TipSet::unknown() };
        let below = [block(10), block(9), block(8), block(8)];
        let cursor = Cursor::new(&chain(), 1, &watermarks, &below);
        assert_eq!(cursor.locators(), [Locator::of(&block(8))]);
    }

    #[test]
    fn a_higher_count_costs_no_more_locators_than_it_has_to() {
        let few = of(u64::MAX, 0);
        let many = few.locators().len();
        let counted = |handled| few.clone().counted(handled);
        // A count that fills it to the last byte.
        let full = (0..64).map(|bits| counted(1_u64 << bits));
        let full = full.max_by_key(EncodeSize::encode_size).unwrap();
        assert_eq!((full.to_string().len(), full.locators().len()), (CURSOR_TEXT_MAX, many));
        assert_eq!(full.to_string().parse(), Ok(full));
        assert_eq!(counted(u64::MAX), of(u64::MAX, u64::MAX));
        assert_eq!(counted(u64::MAX).locators().len(), many - 1);
    }

    #[test]
    fn a_locator_is_a_height_and_the_beginning_of_a_digest() {
        for height in [5, 300, u64::MAX] {
            let locator = Locator::of(&block(height));
            let bytes = locator.encode();
            let expected = [&Height::new(height).encode()[..], &block(height).digest.0[..8]];
            assert_eq!(bytes, expected.concat());
            assert_eq!(Locator::decode_cfg(bytes, &()).unwrap(), locator);
        }
    }

    #[test]
    fn what_is_wrong_with_a_text_is_said() {
        let start = Cursor::start(&chain()).encode();
        let with = |at: usize, byte: u8| {
            let mut bytes = start.to_vec();
            bytes[at] = byte;
            URL_SAFE_NO_PAD.encode(bytes).parse::<Cursor>()
        };
        assert_eq!(with(0, 2), Err(Malformed("unknown version")));
        let absent = Malformed("proposed refers to a delivered block that is absent");
        let presence = 1 + TAG + 1;
        // With the checksum of what would be read.
        assert_eq!(with(presence, PROPOSED_IS_DELIVERED | 1 << 1), Err(absent.clone()));
        assert_eq!(with(presence, PROPOSED_IS_DELIVERED), Err(absent));
        assert_eq!("AQ".parse::<Cursor>(), Err(Malformed("truncated or corrupted")));
    }

    #[test]
    fn every_changed_or_cut_text_is_malformed() {
        let text = full(1000).to_string();
        for at in 0..text.len() {
            assert!(text[..at].parse::<Cursor>().is_err(), "cut at {at}");
            let mut changed = text.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            assert!(changed.parse::<Cursor>().is_err(), "changed at {at}");
        }
        for text in ["", "A", "not a cursor", &"A".repeat(512), &"A".repeat(10_000)] {
            assert!(text.parse::<Cursor>().is_err());
        }
    }

    #[test]
    fn a_cursor_knows_its_chain() {
        let other = ChainId::new("test:2").unwrap();
        assert!(full(5).is_of(&chain()));
        assert!(!full(5).is_of(&other));
    }

    #[test]
    fn bytes_after_a_cursor_are_not_part_of_it() {
        let mut bytes = full(7).encode().to_vec();
        bytes.push(0);
        assert!(Cursor::decode_cfg(bytes.as_slice(), &()).is_err());
    }
}
