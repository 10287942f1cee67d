//! A source of some chain, with the types of that chain erased.
//!
//! # Overview
//!
//! A program that learns from its configuration which chain it follows cannot name the chain's block
//! type. [`AnySource`] holds any [`Source`] and is one itself; its blocks are [`AnyBlock`]s, which keep the
//! chain's own encoding: what is stored is byte for byte what the typed source would have stored, and
//! either of them opens the other's data.
//!
//! # Cost
//!
//! One allocation for each call, and one for each block, which is encoded when it is erased and copied
//! from then on.

use crate::{
    Block, BlockRange, BlockRef, ChainInfo, Digest, Doorbell, Fault, Height, Ladder, Limits,
    Snapshot, Source, Watermarks,
};
use bytes::{Buf, BufMut, Bytes};
use commonware_codec::{Codec, Encode, EncodeSize, Error, Read, Write};
use std::{fmt, future::Future, pin::Pin, sync::Arc};

/// A block of some chain: what the stream needs of it, and its bytes in the chain's own encoding.
#[derive(Clone, PartialEq, Eq)]
pub struct AnyBlock {
    reference: BlockRef,
    parent: Digest,
    bytes: Bytes,
}

impl AnyBlock {
    /// The block in the encoding of its chain.
    pub const fn bytes(&self) -> &Bytes {
        &self.bytes
    }
}

impl<B: Block + Encode> From<&B> for AnyBlock {
    fn from(block: &B) -> Self {
        Self { reference: block.reference(), parent: block.parent(), bytes: block.encode() }
    }
}

impl fmt::Debug for AnyBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AnyBlock({}, {} bytes)", self.reference, self.bytes.len())
    }
}

impl Block for AnyBlock {
    fn reference(&self) -> BlockRef {
        self.reference
    }

    fn parent(&self) -> Digest {
        self.parent
    }
}

impl Write for AnyBlock {
    fn write(&self, buf: &mut impl BufMut) {
        buf.put_slice(&self.bytes);
    }
}

impl EncodeSize for AnyBlock {
    fn encode_size(&self) -> usize {
        self.bytes.len()
    }
}

impl Read for AnyBlock {
    type Cfg = BlockDecoder;

    fn read_cfg(buf: &mut impl Buf, decoder: &BlockDecoder) -> Result<Self, Error> {
        (decoder.0)(buf)
    }
}

/// Decodes the blocks of one chain into [`AnyBlock`]s, with every check that the chain's own type makes.
#[derive(Clone)]
pub struct BlockDecoder(Arc<Decode>);

type Decode = dyn Fn(&mut dyn Buf) -> Result<AnyBlock, Error> + Send + Sync;

impl BlockDecoder {
    /// Decodes blocks of type `B`, which is configured by `cfg`. The encoding of `B` must be canonical: a
    /// block that decodes from other bytes than it encodes to would not keep them.
    pub fn new<B: Block + Codec>(cfg: B::Cfg) -> Self
    where
        B::Cfg: Send + Sync + 'static,
    {
        Self(Arc::new(move |mut buf| {
            B::read_cfg(&mut buf, &cfg).map(|block| AnyBlock::from(&block))
        }))
    }
}

impl fmt::Debug for BlockDecoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BlockDecoder")
    }
}

type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, Fault>> + Send + 'a>>;

/// [`Source`] as a trait object: the same methods, with boxed futures and erased blocks.
trait DynSource: Send + Sync {
    fn name(&self) -> &str;
    fn ladder(&self) -> Ladder;
    fn limits(&self) -> Limits;
    fn chain_info(&self) -> Answer<'_, ChainInfo>;
    fn snapshot(&self) -> Answer<'_, Snapshot>;
    fn digests<'a>(&'a self, tip: BlockRef, at: &'a [Height]) -> Answer<'a, Vec<Option<Digest>>>;
    fn blocks(&self, tip: BlockRef, from: Height) -> Answer<'_, Vec<AnyBlock>>;
    fn range(&self, tip: BlockRef, from: Height) -> Answer<'_, BlockRange<AnyBlock>>;
    fn doorbell(&self) -> Doorbell;
    fn durable(&self, watermarks: &Watermarks);
    fn judged(&self, verdict: Result<(), &Fault>);
}

impl<S: Source<Block: Encode>> DynSource for S {
    fn name(&self) -> &str {
        Source::name(self)
    }

    fn ladder(&self) -> Ladder {
        Source::ladder(self)
    }

    fn limits(&self) -> Limits {
        Source::limits(self)
    }

    fn chain_info(&self) -> Answer<'_, ChainInfo> {
        Box::pin(Source::chain_info(self))
    }

    fn snapshot(&self) -> Answer<'_, Snapshot> {
        Box::pin(Source::snapshot(self))
    }

    fn digests<'a>(&'a self, tip: BlockRef, at: &'a [Height]) -> Answer<'a, Vec<Option<Digest>>> {
        Box::pin(Source::digests(self, tip, at))
    }

    fn blocks(&self, tip: BlockRef, from: Height) -> Answer<'_, Vec<AnyBlock>> {
        Box::pin(async move {
            let blocks = Source::blocks(self, tip, from).await?;
            Ok(blocks.iter().map(AnyBlock::from).collect())
        })
    }

    fn range(&self, tip: BlockRef, from: Height) -> Answer<'_, BlockRange<AnyBlock>> {
        Box::pin(async move {
            let BlockRange { blocks, certificates } = Source::range(self, tip, from).await?;
            let blocks = blocks.iter().map(AnyBlock::from).collect();
            Ok(BlockRange { blocks, certificates })
        })
    }

    fn doorbell(&self) -> Doorbell {
        Source::doorbell(self)
    }

    fn durable(&self, watermarks: &Watermarks) {
        Source::durable(self, watermarks);
    }

    fn judged(&self, verdict: Result<(), &Fault>) {
        Source::judged(self, verdict);
    }
}

/// Any source, itself a source of [`AnyBlock`]s. Clones share the source.
#[derive(Clone)]
pub struct AnySource(Arc<dyn DynSource>);

impl AnySource {
    /// Erases the types of `source`.
    pub fn new<S: Source<Block: Encode>>(source: Arc<S>) -> Self {
        Self(source)
    }
}

impl fmt::Debug for AnySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AnySource({})", self.0.name())
    }
}

impl Source for AnySource {
    type Block = AnyBlock;

    fn name(&self) -> &str {
        self.0.name()
    }

    fn ladder(&self) -> Ladder {
        self.0.ladder()
    }

    fn limits(&self) -> Limits {
        self.0.limits()
    }

    async fn chain_info(&self) -> Result<ChainInfo, Fault> {
        self.0.chain_info().await
    }

    async fn snapshot(&self) -> Result<Snapshot, Fault> {
        self.0.snapshot().await
    }

    async fn digests(
        &self,
        tip: BlockRef,
        heights: &[Height],
    ) -> Result<Vec<Option<Digest>>, Fault> {
        self.0.digests(tip, heights).await
    }

    async fn blocks(&self, tip: BlockRef, from: Height) -> Result<Vec<AnyBlock>, Fault> {
        self.0.blocks(tip, from).await
    }

    async fn range(&self, tip: BlockRef, from: Height) -> Result<BlockRange<AnyBlock>, Fault> {
        self.0.range(tip, from).await
    }

    fn doorbell(&self) -> Doorbell {
        self.0.doorbell()
    }

    fn durable(&self, watermarks: &Watermarks) {
        self.0.durable(watermarks);
    }

    fn judged(&self, verdict: Result<(), &Fault>) {
        self.0.judged(verdict);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use commonware_codec::{Decode as _, ReadExt as _};

    /// Height, digest and parent, and a tag that its configuration demands.
    #[derive(Clone, Debug, PartialEq, Eq)]
    struct Typed {
        reference: BlockRef,
        parent: Digest,
        tag: u8,
    }

    impl Block for Typed {
        fn reference(&self) -> BlockRef {
            self.reference
        }

        fn parent(&self) -> Digest {
            self.parent
        }
    }

    impl Write for Typed {
        fn write(&self, buf: &mut impl BufMut) {
            self.tag.write(buf);
            self.reference.write(buf);
            self.parent.write(buf);
        }
    }

    impl EncodeSize for Typed {
        fn encode_size(&self) -> usize {
            1 + self.reference.encode_size() + self.parent.encode_size()
        }
    }

    impl Read for Typed {
        type Cfg = u8;

        fn read_cfg(buf: &mut impl Buf, tag: &u8) -> Result<Self, Error> {
            if u8::read(buf)? != *tag {
                return Err(Error::Invalid("Typed", "another tag"));
            }
            Ok(Self { reference: BlockRef::read(buf)?, parent: Digest::read(buf)?, tag: *tag })
        }
    }

    fn typed() -> Typed {
        let reference = BlockRef::new(Height::new(300), Digest([1; 32]));
        Typed { reference, parent: Digest([2; 32]), tag: 7 }
    }

    #[test]
    fn an_erased_block_has_the_bytes_of_its_chain_and_decodes_by_its_rules() {
        let (typed, decoder) = (typed(), BlockDecoder::new::<Typed>(7));
        let any = AnyBlock::from(&typed);
        assert_eq!((any.reference(), any.parent()), (typed.reference, typed.parent));
        assert_eq!((any.encode(), any.encode_size()), (typed.encode(), typed.encode_size()));
        assert_eq!(AnyBlock::decode_cfg(typed.encode(), &decoder).unwrap(), any);
        assert_eq!(Typed::decode_cfg(any.encode(), &7).unwrap(), typed);
        assert!(AnyBlock::decode_cfg(typed.encode(), &BlockDecoder::new::<Typed>(8)).is_err());
        for cut in 0..any.bytes().len() {
            assert!(AnyBlock::decode_cfg(any.bytes().slice(..cut), &decoder).is_err(), "{cut}");
        }
    }

    #[test]
    fn several_erased_blocks_decode_one_after_another() {
        let any = AnyBlock::from(&typed());
        let mut bytes = vec![any.clone(), any.clone()].encode();
        assert_eq!(usize::read_cfg(&mut bytes, &commonware_codec::RangeCfg::new(..)).unwrap(), 2);
        let decoder = BlockDecoder::new::<Typed>(7);
        for _ in 0..2 {
            assert_eq!(AnyBlock::read_cfg(&mut bytes, &decoder).unwrap(), any);
        }
        assert_eq!(bytes.remaining(), 0);
    }
}
