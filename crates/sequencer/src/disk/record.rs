//! The lines of the pool and of the chain.

use crate::{
    Block, Identity, Sender, Transaction,
    values::{REASON_MAX, TRANSACTIONS_MAX, read_text, text_size, write_text},
};
use bytes::{Buf, BufMut};
use commonware_codec::{EncodeSize, Error, RangeCfg, Read, ReadExt as _, Write, varint::UInt};
use tidewatch_core::{ChainId, Digest, Height};

/// The version of these formats.
pub(super) const FORMAT: u8 = 1;

/// A line of the pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// What the pool is of: the first line, and that of a pool that is written anew from here on.
    Base { chain: ChainId, settled: Height },
    /// What the pool is of, where lines before were dropped. Those that are left and those after it count.
    Since { chain: ChainId, settled: Height },
    /// The pool was written anew as a whole: every line before its base is void.
    Complete,
    /// It was not, and none of it counts.
    Abandoned,
    /// The next nonce of a sender, where its transactions are gone.
    Nonce(Sender, u64),
    /// A transaction that was accepted.
    Accepted(Transaction),
    /// The proposal that may be at the network.
    Reserved { identity: Identity, time_ms: u64, transactions: Vec<Digest> },
    /// There is none.
    Released,
    /// A block was applied: the transactions that are gone, and those that are dropped, with the reason.
    Settled { number: Height, gone: Vec<Digest>, nonces: Vec<(Sender, u64)> },
    /// A transaction that is in no block.
    Dropped(Digest, String),
}

impl Line {
    const BASE: u8 = 0;
    const NONCE: u8 = 1;
    const ACCEPTED: u8 = 2;
    const RESERVED: u8 = 3;
    const RELEASED: u8 = 4;
    const SETTLED: u8 = 5;
    const DROPPED: u8 = 6;
    const COMPLETE: u8 = 7;
    const ABANDONED: u8 = 8;
    const SINCE: u8 = 9;
}

impl Write for Line {
    fn write(&self, buf: &mut impl BufMut) {
        match self {
            Self::Base { chain, settled } => {
                buf.put_u8(Self::BASE);
                buf.put_u8(FORMAT);
                write_text(chain.as_str(), buf);
                settled.write(buf);
            }
            Self::Since { chain, settled } => {
                buf.put_u8(Self::SINCE);
                write_text(chain.as_str(), buf);
                settled.write(buf);
            }
            Self::Nonce(sender, next) => {
                buf.put_u8(Self::NONCE);
                sender.write(buf);
                UInt(*next).write(buf);
            }
            Self::Accepted(transaction) => {
                buf.put_u8(Self::ACCEPTED);
                transaction.write(buf);
            }
            Self::Reserved { identity, time_ms, transactions } => {
                buf.put_u8(Self::RESERVED);
                identity.write(buf);
                UInt(*time_ms).write(buf);
                transactions.write(buf);
            }
            Self::Released => buf.put_u8(Self::RELEASED),
            Self::Complete => buf.put_u8(Self::COMPLETE),
            Self::Abandoned => buf.put_u8(Self::ABANDONED),
            Self::Settled { number, gone, nonces } => {
                buf.put_u8(Self::SETTLED);
                number.write(buf);
                gone.write(buf);
                UInt(nonces.len() as u64).write(buf);
                for (sender, next) in nonces {
                    sender.write(buf);
                    UInt(*next).write(buf);
                }
            }
            Self::Dropped(id, reason) => {
                buf.put_u8(Self::DROPPED);
                id.write(buf);
                write_text(reason, buf);
            }
        }
    }
}

impl EncodeSize for Line {
    fn encode_size(&self) -> usize {
        1 + match self {
            Self::Base { chain, settled } => 1 + text_size(chain.as_str()) + settled.encode_size(),
            Self::Since { chain, settled } => text_size(chain.as_str()) + settled.encode_size(),
            Self::Nonce(sender, next) => sender.encode_size() + UInt(*next).encode_size(),
            Self::Accepted(transaction) => transaction.encode_size(),
            Self::Reserved { identity, time_ms, transactions } => {
                identity.encode_size() + UInt(*time_ms).encode_size() + transactions.encode_size()
            }
            Self::Released | Self::Complete | Self::Abandoned => 0,
            Self::Settled { number, gone, nonces } => {
                let nonces = UInt(nonces.len() as u64).encode_size()
                    + nonces
                        .iter()
                        .map(|(sender, next)| sender.encode_size() + UInt(*next).encode_size())
                        .sum::<usize>();
                number.encode_size() + gone.encode_size() + nonces
            }
            Self::Dropped(id, reason) => id.encode_size() + text_size(reason),
        }
    }
}

fn format(buf: &mut impl Buf) -> Result<(), Error> {
    match u8::read(buf)? {
        FORMAT => Ok(()),
        other => Err(Error::InvalidEnum(other)),
    }
}

fn chain(buf: &mut impl Buf) -> Result<ChainId, Error> {
    let chain = ChainId::new(read_text(buf, ChainId::MAX)?);
    chain.map_err(|_| Error::Invalid("Line", "no chain id"))
}

impl Read for Line {
    type Cfg = ();

    fn read_cfg(buf: &mut impl Buf, (): &()) -> Result<Self, Error> {
        let many = RangeCfg::from(0..=TRANSACTIONS_MAX);
        match u8::read(buf)? {
            Self::BASE => {
                format(buf)?;
                Ok(Self::Base { chain: chain(buf)?, settled: Height::read(buf)? })
            }
            Self::SINCE => Ok(Self::Since { chain: chain(buf)?, settled: Height::read(buf)? }),
            Self::NONCE => Ok(Self::Nonce(Sender::read(buf)?, UInt::read(buf)?.into())),
            Self::ACCEPTED => Ok(Self::Accepted(Transaction::read(buf)?)),
            Self::RESERVED => Ok(Self::Reserved {
                identity: Identity::read(buf)?,
                time_ms: UInt::read(buf)?.into(),
                transactions: Vec::read_cfg(buf, &(many, ()))?,
            }),
            Self::RELEASED => Ok(Self::Released),
            Self::COMPLETE => Ok(Self::Complete),
            Self::ABANDONED => Ok(Self::Abandoned),
            Self::SETTLED => {
                let number = Height::read(buf)?;
                let gone = Vec::read_cfg(buf, &(many, ()))?;
                let count: u64 = UInt::read(buf)?.into();
                if count > TRANSACTIONS_MAX as u64 {
                    return Err(Error::InvalidLength(count as usize));
                }
                let nonces = (0..count)
                    .map(|_| Ok((Sender::read(buf)?, UInt::read(buf)?.into())))
                    .collect::<Result<_, Error>>()?;
                Ok(Self::Settled { number, gone, nonces })
            }
            Self::DROPPED => Ok(Self::Dropped(Digest::read(buf)?, read_text(buf, REASON_MAX)?)),
            tag => Err(Error::InvalidEnum(tag)),
        }
    }
}

/// A line of the chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Link {
    /// What it is: the first line.
    Genesis { chain: ChainId, digest: Digest, time_ms: u64 },
    /// A block.
    Block(Box<Block>),
}

impl Link {
    const GENESIS: u8 = 0;
    const BLOCK: u8 = 1;
}

impl Write for Link {
    fn write(&self, buf: &mut impl BufMut) {
        match self {
            Self::Genesis { chain, digest, time_ms } => {
                buf.put_u8(Self::GENESIS);
                buf.put_u8(FORMAT);
                write_text(chain.as_str(), buf);
                digest.write(buf);
                UInt(*time_ms).write(buf);
            }
            Self::Block(block) => {
                buf.put_u8(Self::BLOCK);
                block.write(buf);
            }
        }
    }
}

impl EncodeSize for Link {
    fn encode_size(&self) -> usize {
        1 + match self {
            Self::Genesis { chain, digest, time_ms } => {
                1 + text_size(chain.as_str()) + digest.encode_size() + UInt(*time_ms).encode_size()
            }
            Self::Block(block) => block.encode_size(),
        }
    }
}

impl Read for Link {
    type Cfg = ();

    fn read_cfg(buf: &mut impl Buf, (): &()) -> Result<Self, Error> {
        match u8::read(buf)? {
            Self::GENESIS => {
                format(buf)?;
                let chain = chain(buf)?;
                Ok(Self::Genesis {
                    chain,
                    digest: Digest::read(buf)?,
                    time_ms: UInt::read(buf)?.into(),
                })
            }
            Self::BLOCK => Ok(Self::Block(Box::new(Block::read(buf)?))),
            tag => Err(Error::InvalidEnum(tag)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use commonware_codec::{DecodeExt as _, Encode as _};
    use commonware_cryptography::{Hasher as _, Sha256};
    use std::num::NonZeroU32;

    fn lines() -> Vec<Line> {
        let sender = Sender([7; 32]);
        let payload = Bytes::from_static(b"payload");
        let (number, digest) = (Height::new(300), Digest([4; 32]));
        let attempt = NonZeroU32::MIN;
        let identity = Identity { number, parent: digest, content: digest, attempt };
        vec![
            Line::Base { chain: ChainId::new("test:1").unwrap(), settled: number },
            Line::Nonce(sender, 5),
            Line::Accepted(Transaction { sender, nonce: 300, payload }),
            Line::Reserved { identity, time_ms: 1_000_000, transactions: vec![digest; 2] },
            Line::Released,
            Line::Settled { number, gone: vec![digest], nonces: vec![(sender, 6)] },
            Line::Dropped(digest, "because".into()),
            Line::Complete,
            Line::Abandoned,
        ]
    }

    #[test]
    fn a_line_decodes_to_itself_and_a_part_of_one_does_not_decode() {
        for line in lines() {
            let bytes = line.encode();
            assert_eq!(Line::decode(bytes.clone()).unwrap(), line);
            for cut in 0..bytes.len() {
                assert!(Line::decode(bytes.slice(..cut)).is_err(), "{line:?} cut at {cut}");
            }
        }
    }

    #[test]
    fn the_format_is_frozen() {
        let bytes: Vec<u8> = lines().iter().flat_map(|line| line.encode().to_vec()).collect();
        assert_eq!(
            Sha256::hash(&[&bytes]).to_string(),
            "492d14f7540760d986c7ad79229017730e7f1dae906430b69e351bfcffaab2fd"
        );
    }
}
