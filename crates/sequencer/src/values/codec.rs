//! The encoding of these values: what is on the wire and on disk.

use super::{
    Block, Content, EVIDENCE_MAX, Identity, Opened, Preblock, Proposal, REASON_MAX, Sender,
    TRANSACTION_BYTES_MAX, TRANSACTIONS_MAX, Transaction,
};
use bytes::{Buf, BufMut, Bytes};
use commonware_codec::{EncodeSize, Error, RangeCfg, Read, ReadExt as _, Write, varint::UInt};
use std::num::NonZeroU32;
use tidewatch_core::{Digest, Height};

impl Write for Sender {
    fn write(&self, buf: &mut impl BufMut) {
        buf.put_slice(&self.0);
    }
}

impl EncodeSize for Sender {
    fn encode_size(&self) -> usize {
        32
    }
}

impl Read for Sender {
    type Cfg = ();

    fn read_cfg(buf: &mut impl Buf, (): &()) -> Result<Self, Error> {
        Ok(Self(<[u8; 32]>::read(buf)?))
    }
}

impl Write for Transaction {
    fn write(&self, buf: &mut impl BufMut) {
        self.sender.write(buf);
        UInt(self.nonce).write(buf);
        self.payload.write(buf);
    }
}

impl EncodeSize for Transaction {
    fn encode_size(&self) -> usize {
        self.sender.encode_size() + UInt(self.nonce).encode_size() + self.payload.encode_size()
    }
}

impl Read for Transaction {
    type Cfg = ();

    fn read_cfg(buf: &mut impl Buf, (): &()) -> Result<Self, Error> {
        let sender = Sender::read(buf)?;
        let nonce = UInt::read(buf)?.into();
        let payload = Bytes::read_cfg(buf, &RangeCfg::from(0..=TRANSACTION_BYTES_MAX))?;
        Ok(Self { sender, nonce, payload })
    }
}

impl Write for Content {
    fn write(&self, buf: &mut impl BufMut) {
        UInt(self.time_ms).write(buf);
        self.transactions.write(buf);
    }
}

impl EncodeSize for Content {
    fn encode_size(&self) -> usize {
        UInt(self.time_ms).encode_size() + self.transactions.encode_size()
    }
}

impl Read for Content {
    type Cfg = ();

    fn read_cfg(buf: &mut impl Buf, (): &()) -> Result<Self, Error> {
        let time_ms = UInt::read(buf)?.into();
        let transactions = Vec::read_cfg(buf, &(RangeCfg::from(0..=TRANSACTIONS_MAX), ()))?;
        Ok(Self { time_ms, transactions })
    }
}

impl Write for Identity {
    fn write(&self, buf: &mut impl BufMut) {
        self.number.write(buf);
        self.parent.write(buf);
        self.content.write(buf);
        buf.put_u32(self.attempt.get());
    }
}

impl EncodeSize for Identity {
    fn encode_size(&self) -> usize {
        self.number.encode_size() + self.parent.encode_size() + self.content.encode_size() + 4
    }
}

impl Read for Identity {
    type Cfg = ();

    fn read_cfg(buf: &mut impl Buf, (): &()) -> Result<Self, Error> {
        let number = Height::read(buf)?;
        let (parent, content) = (Digest::read(buf)?, Digest::read(buf)?);
        let attempt = NonZeroU32::new(u32::read(buf)?);
        let attempt = attempt.ok_or(Error::Invalid("Identity", "attempt 0"))?;
        Ok(Self { number, parent, content, attempt })
    }
}

impl Write for Proposal {
    fn write(&self, buf: &mut impl BufMut) {
        self.identity.write(buf);
        self.content.write(buf);
    }
}

impl EncodeSize for Proposal {
    fn encode_size(&self) -> usize {
        self.identity.encode_size() + self.content.encode_size()
    }
}

impl Read for Proposal {
    type Cfg = ();

    fn read_cfg(buf: &mut impl Buf, (): &()) -> Result<Self, Error> {
        Ok(Self { identity: Identity::read(buf)?, content: Content::read(buf)? })
    }
}

pub(crate) fn write_text(text: &str, buf: &mut impl BufMut) {
    UInt(text.len() as u64).write(buf);
    buf.put_slice(text.as_bytes());
}

pub(crate) fn text_size(text: &str) -> usize {
    UInt(text.len() as u64).encode_size() + text.len()
}

pub(crate) fn read_text(buf: &mut impl Buf, max: usize) -> Result<String, Error> {
    let bytes = Bytes::read_cfg(buf, &RangeCfg::from(0..=max))?;
    String::from_utf8(bytes.into()).map_err(|_| Error::Invalid("text", "not UTF-8"))
}

impl Opened {
    const CLEAR: u8 = 0;
    const DROPPED: u8 = 1;
}

impl Write for Opened {
    fn write(&self, buf: &mut impl BufMut) {
        match self {
            Self::Clear(bytes) => {
                buf.put_u8(Self::CLEAR);
                bytes.write(buf);
            }
            Self::Dropped(reason) => {
                buf.put_u8(Self::DROPPED);
                write_text(reason, buf);
            }
        }
    }
}

impl EncodeSize for Opened {
    fn encode_size(&self) -> usize {
        1 + match self {
            Self::Clear(bytes) => bytes.encode_size(),
            Self::Dropped(reason) => text_size(reason),
        }
    }
}

impl Read for Opened {
    type Cfg = ();

    fn read_cfg(buf: &mut impl Buf, (): &()) -> Result<Self, Error> {
        match u8::read(buf)? {
            Self::CLEAR => {
                let max = RangeCfg::from(0..=TRANSACTION_BYTES_MAX);
                Ok(Self::Clear(Bytes::read_cfg(buf, &max)?))
            }
            Self::DROPPED => Ok(Self::Dropped(read_text(buf, REASON_MAX)?)),
            tag => Err(Error::InvalidEnum(tag)),
        }
    }
}

fn read_opened(buf: &mut impl Buf, content: &Content) -> Result<Vec<Opened>, Error> {
    let many = RangeCfg::from(0..=TRANSACTIONS_MAX);
    let opened = Vec::<Opened>::read_cfg(buf, &(many, ()))?;
    if opened.len() != content.transactions.len() {
        return Err(Error::InvalidLength(opened.len()));
    }
    Ok(opened)
}

impl Write for Preblock {
    fn write(&self, buf: &mut impl BufMut) {
        self.identity.write(buf);
        self.content.write(buf);
        self.opened.write(buf);
        self.evidence.write(buf);
    }
}

impl EncodeSize for Preblock {
    fn encode_size(&self) -> usize {
        self.identity.encode_size()
            + self.content.encode_size()
            + self.opened.encode_size()
            + self.evidence.encode_size()
    }
}

impl Read for Preblock {
    type Cfg = ();

    fn read_cfg(buf: &mut impl Buf, (): &()) -> Result<Self, Error> {
        let (identity, content) = (Identity::read(buf)?, Content::read(buf)?);
        let opened = read_opened(buf, &content)?;
        let evidence = Bytes::read_cfg(buf, &RangeCfg::from(0..=EVIDENCE_MAX))?;
        Ok(Self { identity, content, opened, evidence })
    }
}

impl Write for Block {
    fn write(&self, buf: &mut impl BufMut) {
        self.identity.write(buf);
        self.content.write(buf);
        self.opened.write(buf);
    }
}

impl EncodeSize for Block {
    fn encode_size(&self) -> usize {
        self.identity.encode_size() + self.content.encode_size() + self.opened.encode_size()
    }
}

impl Read for Block {
    type Cfg = ();

    fn read_cfg(buf: &mut impl Buf, (): &()) -> Result<Self, Error> {
        let (identity, content) = (Identity::read(buf)?, Content::read(buf)?);
        // The digest of a block is that of its identity: what came with it must be what it names.
        if content.digest(identity.number, identity.parent) != identity.content {
            return Err(Error::Invalid("Block", "its identity does not name its content"));
        }
        let opened = read_opened(buf, &content)?;
        Ok(Self { identity, content, opened })
    }
}
