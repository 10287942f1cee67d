//! The lines of the table of jobs.

use crate::{
    Failure, Handle, Key, Stored,
    plan::{Saved, State},
};
use bytes::{Buf, BufMut, Bytes};
use commonware_codec::{EncodeSize, Error, RangeCfg, Read, ReadExt as _, Write, varint::UInt};
use tidewatch_core::{BlockRef, ChainId, Digest};

/// Provers that one job is submitted to at once, at the most.
const HANDLES_MAX: usize = 8;
/// Longest name of a prover, in bytes.
const NAME_MAX: usize = 200;

/// One line. Of two lines about one height, the later says all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Record {
    /// What the table is of, and the block that proving began above: the first line.
    Base { chain: ChainId, program: Digest, start: BlockRef },
    /// A job above the proven tip, as it stands.
    Job(Saved),
    /// The proven tip: jobs at or below it are done.
    Tip(BlockRef),
    /// Everything above the block is forgotten, and the tip is not above it.
    Pruned(BlockRef),
}

/// The version of this format.
pub(crate) const FORMAT: u8 = 1;

fn write_text(text: &str, buf: &mut impl BufMut) {
    Bytes::copy_from_slice(text.as_bytes()).write(buf);
}

fn text_size(text: &str) -> usize {
    UInt(text.len() as u64).encode_size() + text.len()
}

fn read_text(buf: &mut impl Buf, max: usize) -> Result<String, Error> {
    let bytes = Bytes::read_cfg(buf, &RangeCfg::from(0..=max))?;
    String::from_utf8(bytes.into()).map_err(|_| Error::Invalid("text", "not UTF-8"))
}

impl Record {
    const BASE: u8 = 0;
    const JOB: u8 = 1;
    const TIP: u8 = 2;
    const PRUNED: u8 = 3;

    const OPEN: u8 = 0;
    const PROVED: u8 = 1;
    const POISONED: u8 = 2;
}

impl Write for Record {
    fn write(&self, buf: &mut impl BufMut) {
        match self {
            Self::Base { chain, program, start } => {
                buf.put_u8(Self::BASE);
                buf.put_u8(FORMAT);
                write_text(chain.as_str(), buf);
                program.write(buf);
                start.write(buf);
            }
            Self::Job(Saved { key, inputs, state, logical, handles }) => {
                buf.put_u8(Self::JOB);
                key.block.write(buf);
                key.program.write(buf);
                inputs.write(buf);
                buf.put_u32(*logical);
                match state {
                    State::Open => buf.put_u8(Self::OPEN),
                    State::Proved(proof) => {
                        buf.put_u8(Self::PROVED);
                        proof.write(buf);
                    }
                    State::Poisoned(reason) => {
                        buf.put_u8(Self::POISONED);
                        write_text(reason, buf);
                    }
                }
                buf.put_u8(handles.len().min(HANDLES_MAX) as u8);
                for (prover, handle) in handles.iter().take(HANDLES_MAX) {
                    write_text(prover, buf);
                    write_text(handle.as_str(), buf);
                }
            }
            Self::Tip(block) => {
                buf.put_u8(Self::TIP);
                block.write(buf);
            }
            Self::Pruned(to) => {
                buf.put_u8(Self::PRUNED);
                to.write(buf);
            }
        }
    }
}

impl EncodeSize for Record {
    fn encode_size(&self) -> usize {
        1 + match self {
            Self::Base { chain, program, start } => {
                1 + text_size(chain.as_str()) + program.encode_size() + start.encode_size()
            }
            Self::Job(Saved { key, inputs, state, handles, .. }) => {
                let state = match state {
                    State::Open => 0,
                    State::Proved(proof) => proof.encode_size(),
                    State::Poisoned(reason) => text_size(reason),
                };
                let handles: usize = (handles.iter().take(HANDLES_MAX))
                    .map(|(prover, handle)| text_size(prover) + text_size(handle.as_str()))
                    .sum();
                key.block.encode_size()
                    + key.program.encode_size()
                    + inputs.encode_size()
                    + 4
                    + 1
                    + state
                    + 1
                    + handles
            }
            Self::Tip(block) | Self::Pruned(block) => block.encode_size(),
        }
    }
}

impl Read for Record {
    type Cfg = ();

    fn read_cfg(buf: &mut impl Buf, (): &()) -> Result<Self, Error> {
        match u8::read(buf)? {
            Self::BASE => {
                let format = u8::read(buf)?;
                if format != FORMAT {
                    return Err(Error::InvalidEnum(format));
                }
                let chain = ChainId::new(read_text(buf, ChainId::MAX)?);
                let chain = chain.map_err(|_| Error::Invalid("Record", "no chain id"))?;
                Ok(Self::Base { chain, program: Digest::read(buf)?, start: BlockRef::read(buf)? })
            }
            Self::JOB => {
                let key = Key::one(BlockRef::read(buf)?, Digest::read(buf)?);
                let inputs = Stored::read(buf)?;
                let logical = u32::read(buf)?;
                let state = match u8::read(buf)? {
                    Self::OPEN => State::Open,
                    Self::PROVED => State::Proved(Stored::read(buf)?),
                    Self::POISONED => State::Poisoned(read_text(buf, Failure::REASON_MAX)?),
                    tag => return Err(Error::InvalidEnum(tag)),
                };
                let count = usize::from(u8::read(buf)?);
                if count > HANDLES_MAX {
                    return Err(Error::InvalidLength(count));
                }
                let mut handles = Vec::with_capacity(count);
                for _ in 0..count {
                    let prover = read_text(buf, NAME_MAX)?;
                    let handle = Handle::new(read_text(buf, Handle::MAX)?);
                    let handle = handle.map_err(|_| Error::Invalid("Record", "no handle"))?;
                    handles.push((prover, handle));
                }
                Ok(Self::Job(Saved { key, inputs, state, logical, handles }))
            }
            Self::TIP => Ok(Self::Tip(BlockRef::read(buf)?)),
            Self::PRUNED => Ok(Self::Pruned(BlockRef::read(buf)?)),
            tag => Err(Error::InvalidEnum(tag)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use commonware_codec::{DecodeExt as _, Encode as _};
    use commonware_cryptography::{Hasher as _, Sha256};
    use tidewatch_core::Height;

    fn records() -> Vec<Record> {
        let block = BlockRef::new(Height::new(300), Digest([3; 32]));
        let stored = Stored { digest: Digest([4; 32]), bytes: 5_000_000 };
        let key = Key::one(block, Digest([9; 32]));
        let job =
            |state, handles| Record::Job(Saved { key, inputs: stored, state, logical: 2, handles });
        let handle = Handle::new("7-00ff").unwrap();
        vec![
            Record::Base {
                chain: ChainId::new("test:1").unwrap(),
                program: Digest([9; 32]),
                start: block,
            },
            job(State::Open, vec![("worker".into(), handle.clone()), ("other".into(), handle)]),
            job(State::Proved(stored), vec![]),
            job(State::Poisoned("because".into()), vec![]),
            Record::Tip(block),
            Record::Pruned(block),
        ]
    }

    #[test]
    fn a_line_decodes_to_itself_and_a_part_of_one_does_not_decode() {
        for record in records() {
            let bytes = record.encode();
            assert_eq!(bytes.len(), record.encode_size());
            assert_eq!(Record::decode(bytes.clone()).unwrap(), record);
            for cut in 0..bytes.len() {
                assert!(Record::decode(bytes.slice(..cut)).is_err(), "{record:?} cut at {cut}");
            }
        }
    }

    #[test]
    fn the_format_is_frozen() {
        let bytes: Vec<u8> = records().iter().flat_map(|record| record.encode().to_vec()).collect();
        assert_eq!(
            Sha256::hash(&[&bytes]).to_string(),
            "abdf833b4106be001353f6ed7dc564a95732a1bce69200e867225dadc13c308d"
        );
    }
}
