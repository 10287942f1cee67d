//! The table of epochs.

use super::{
    Boundary, CertificateCodec, EpochScheme, Epochs, Step, Walk,
    keeper::{Mailbox, Record},
};
use crate::{CertifiedBlock, Error};
use bytes::Bytes;
use commonware_codec::{self as codec, Read};
use commonware_consensus::types::{Epoch, Epocher};
use commonware_cryptography::certificate::{Provider, Scoped};
use commonware_utils::sync::Mutex;
use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, OnceLock},
    time::{Duration, SystemTime},
};
use tidewatch_core::{Anchor, BlockRef, Conflict, Height};

/// How the scheme of an epoch is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// From our own configuration.
    Anchor,
    /// From this block, which is final and ends the epoch before.
    Boundary(BlockRef),
    /// By the group's key alone, which verified a finalization of this block.
    Key(BlockRef),
}

#[derive(Clone, Debug)]
struct Entry<S> {
    scheme: Arc<S>,
    /// The key under which its certificates verify, where that is all that they need.
    key: Option<Bytes>,
    known: Known,
}

/// What became of a boundary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Learned {
    New,
    Again,
    /// It contradicts another one, or a block that the key alone vouched for.
    Conflict(Conflict),
    /// It names another key than our anchor.
    OtherKey,
}

/// Schemes by epoch. Every method is a decision without I/O.
#[derive(Clone, Debug)]
pub(super) struct Table<S> {
    entries: BTreeMap<Epoch, Entry<S>>,
}

impl<S> Table<S> {
    pub(super) fn new(epoch: Epoch, scheme: S, key: Option<Bytes>) -> Self {
        let entry = Entry { scheme: Arc::new(scheme), key, known: Known::Anchor };
        Self { entries: BTreeMap::from([(epoch, entry)]) }
    }

    /// The newest known epoch that is not above `epoch`.
    pub(super) fn newest(&self, epoch: Epoch) -> Option<(Epoch, Known)> {
        self.entries.range(..=epoch).next_back().map(|(epoch, entry)| (*epoch, entry.known))
    }

    /// Whether two known epochs have one key.
    pub(super) fn same_key(&self, one: Epoch, other: Epoch) -> bool {
        let key = |epoch| self.entries.get(&epoch).and_then(|entry| entry.key.as_ref());
        key(one).is_some() && key(one) == key(other)
    }

    /// The scheme that certificates of `epoch`, which is not known, may verify under.
    pub(super) fn candidate(&self, epoch: Epoch) -> Option<Arc<S>> {
        let above = self.entries.range(epoch..).next().map(|(_, entry)| entry);
        let mut below = self.entries.range(..epoch).rev().map(|(_, entry)| entry);
        let Some(newest) = below.next() else {
            // From before our anchor: if the chain never changed its key, that one verifies it.
            return above.filter(|entry| entry.key.is_some()).map(|entry| entry.scheme.clone());
        };
        let key = newest.key.as_ref()?;
        let same =
            |entry: Option<&Entry<S>>| entry.is_some_and(|entry| entry.key.as_ref() == Some(key));
        let kept = matches!(newest.known, Known::Key(_)) || same(below.next()) || same(above);
        kept.then(|| newest.scheme.clone())
    }

    /// The certificate of a block in `epoch` verified under its candidate.
    pub(super) fn vouch(&mut self, epoch: Epoch, tip: BlockRef) {
        if self.entries.contains_key(&epoch) {
            return;
        }
        let from = self.entries.range(..epoch).next_back();
        let Some((_, entry)) = from.or_else(|| self.entries.range(epoch..).next()) else { return };
        let (scheme, key) = (entry.scheme.clone(), entry.key.clone());
        self.entries.insert(epoch, Entry { scheme, key, known: Known::Key(tip) });
    }

    /// A final boundary gives the scheme of `epoch`.
    pub(super) fn learn(
        &mut self,
        epoch: Epoch,
        scheme: S,
        key: Option<Bytes>,
        boundary: BlockRef,
    ) -> Learned {
        let known = Known::Boundary(boundary);
        let entry = Entry { scheme: Arc::new(scheme), key, known };
        let learned = match self.entries.get(&epoch) {
            None => Learned::New,
            Some(found) => match found.known {
                Known::Boundary(first) if first == boundary => return Learned::Again,
                Known::Boundary(ours) => {
                    return Learned::Conflict(Conflict { ours, theirs: boundary });
                }
                _ if found.key == entry.key => Learned::New,
                Known::Key(ours) => return Learned::Conflict(Conflict { ours, theirs: boundary }),
                Known::Anchor => return Learned::OtherKey,
            },
        };
        self.entries.insert(epoch, entry);
        learned
    }

    /// The lowest epoch whose boundary was passed over: it, or the one after it, is known by its key alone.
    pub(super) fn gap(&self) -> Option<Epoch> {
        let mut expected: Option<Epoch> = None;
        for (epoch, entry) in &self.entries {
            if let Some(expected) = expected
                && expected < *epoch
            {
                return expected.previous();
            }
            if matches!(entry.known, Known::Key(_)) {
                return epoch.previous();
            }
            expected = Some(epoch.next());
        }
        None
    }

    pub(super) fn get(&self, epoch: Epoch) -> Option<Arc<S>> {
        self.entries.get(&epoch).map(|entry| entry.scheme.clone())
    }
}

/// The newest boundary, by epoch, and its time.
#[derive(Clone, Copy, Debug, Default)]
struct Newest {
    epoch: Epoch,
    time_ms: Option<u64>,
}

/// What the table began with, and when somebody said so.
#[derive(Clone, Copy, Debug)]
struct Trusted {
    anchor: Anchor,
    time_ms: Option<u64>,
}

struct Inner<EP, P: Boundary<B>, B: Read> {
    epocher: EP,
    boundary: P,
    blocks: B::Cfg,
    certificates: CertificateCodec<P::Scheme>,
    trusted: Mutex<Trusted>,
    table: Mutex<Table<P::Scheme>>,
    newest: Mutex<Newest>,
    /// The certificates that boundaries came with.
    certificates_of: Mutex<BTreeMap<Height, (BlockRef, Bytes)>>,
    conflict: Mutex<Conflicts>,
    keeper: OnceLock<Mailbox>,
}

/// A contradiction, until it was reported. One is enough: a chain that contradicts itself is broken.
#[derive(Debug, Default)]
struct Conflicts {
    first: Option<Conflict>,
    reported: bool,
}

/// The epochs of a chain whose boundaries carry the next scheme: see the [module](super). Cheap to clone;
/// clones share the table.
pub struct Schemes<EP, P: Boundary<B>, B: Read>(Arc<Inner<EP, P, B>>);

impl<EP, P: Boundary<B>, B: Read> Clone for Schemes<EP, P, B> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<EP, P: Boundary<B>, B: Read> fmt::Debug for Schemes<EP, P, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let table = self.0.table.lock();
        let known = table.entries.iter().map(|(epoch, entry)| (epoch.get(), entry.known));
        f.debug_map().entries(known).finish()
    }
}

/// What a table of epochs is made of.
#[expect(missing_debug_implementations, reason = "nothing in it is bound to have one")]
pub struct Parts<EP, P: Boundary<B>, B: Read> {
    /// Which heights belong to which epoch.
    pub epocher: EP,
    /// Reads boundaries.
    pub boundary: P,
    /// Bounds what is decoded of a block.
    pub blocks: B::Cfg,
    /// Bounds what is decoded of a certificate, of whatever epoch.
    pub certificates: CertificateCodec<P::Scheme>,
}

impl<EP: Epocher, P: Boundary<B>, B: CertifiedBlock> Schemes<EP, P, B> {
    /// A table that trusts `scheme` for `epoch`: the anchor that everything else is verified from.
    pub fn new(parts: Parts<EP, P, B>, epoch: Epoch, scheme: P::Scheme) -> Self {
        let Parts { epocher, boundary, blocks, certificates } = parts;
        let key = boundary.key(&scheme);
        Self(Arc::new(Inner {
            epocher,
            boundary,
            blocks,
            certificates,
            trusted: Mutex::new(Trusted { anchor: Anchor::Identity, time_ms: None }),
            table: Mutex::new(Table::new(epoch, scheme, key)),
            newest: Mutex::default(),
            certificates_of: Mutex::default(),
            conflict: Mutex::default(),
            keeper: OnceLock::new(),
        }))
    }

    /// The newest epoch that is known, and how.
    pub fn newest(&self) -> Option<(Epoch, Known)> {
        self.0.table.lock().newest(Epoch::new(u64::MAX))
    }

    /// Refuses to go on from what is known for too long. Whoever held the keys of an epoch long ago may have
    /// sold them since, and can sign another chain from there on: what was trusted must be fresh.
    ///
    /// Fresh is what somebody said lately, with the first start on a directory or with an anchor, and an epoch
    /// that began lately. A table that is kept nowhere passes: what it trusts was said just now.
    ///
    /// # Errors
    ///
    /// [`Error::TooOld`] if both are older than `age_max` at `now`.
    pub fn fresh(&self, now: SystemTime, age_max: Duration) -> Result<(), Error> {
        let Some(trusted_ms) = self.0.trusted.lock().time_ms else { return Ok(()) };
        let Newest { epoch, time_ms } = *self.0.newest.lock();
        let time = Duration::from_millis(time_ms.unwrap_or(0).max(trusted_ms));
        let Ok(age) = now.duration_since(SystemTime::UNIX_EPOCH + time) else { return Ok(()) };
        match age > age_max {
            true => Err(Error::TooOld { epoch, age: Duration::from_secs(age.as_secs()), age_max }),
            false => Ok(()),
        }
    }

    /// How the scheme of `epoch` is known; `None` if it is not.
    pub fn known(&self, epoch: Epoch) -> Option<Known> {
        self.0.table.lock().entries.get(&epoch).map(|entry| entry.known)
    }

    /// The epoch that a block at `height` gives the scheme of, if it is a boundary.
    fn next_epoch(&self, height: Height) -> Option<Epoch> {
        let epoch = self.0.epocher.containing(height)?;
        (epoch.last() == height).then(|| epoch.epoch().next())
    }

    /// Hands boundaries to `keeper` from now on.
    pub(super) fn keep(&self, keeper: Mailbox) {
        let _ = self.0.keeper.set(keeper); // One keeper is enough; a second one has nothing to do.
    }

    /// What to trust was said at `time_ms`, last: by an anchor that somebody vouched for, or with the key that
    /// the table was made with.
    pub(super) fn trusted(&self, pinned: bool, time_ms: Option<u64>) {
        let mut trusted = self.0.trusted.lock();
        trusted.time_ms = time_ms;
        if pinned {
            trusted.anchor = Anchor::Pinned;
        }
    }

    /// The boundary `block` came with `certificate`.
    pub(super) fn certified(&self, block: BlockRef, certificate: Option<Bytes>) {
        if let Some(certificate) = certificate {
            self.0.certificates_of.lock().entry(block.height).or_insert((block, certificate));
        }
    }

    /// Learns a boundary; returns the epoch that it gives the scheme of, if it is new.
    pub(super) fn take(&self, block: BlockRef, bytes: Bytes) -> Result<Option<Epoch>, Error> {
        let Some(epoch) = self.next_epoch(block.height) else { return Ok(None) };
        let unreadable = |error| Error::NoScheme { block, epoch, error };
        let decoded = B::decode_cfg(bytes, &self.0.blocks).map_err(unreadable)?;
        if decoded.reference() != block {
            return Err(unreadable(codec::Error::Invalid(
                "boundary",
                "it is not the block of its name",
            )));
        }
        let scheme = self.0.boundary.scheme(epoch, &decoded).map_err(unreadable)?;
        let key = self.0.boundary.key(&scheme);
        let learned = self.0.table.lock().learn(epoch, scheme, key, block);
        let mut newest = self.0.newest.lock();
        if learned == Learned::New && newest.epoch <= epoch {
            *newest = Newest { epoch, time_ms: decoded.time_ms() };
        }
        drop(newest);
        match learned {
            Learned::New => Ok(Some(epoch)),
            Learned::Again => Ok(None),
            Learned::Conflict(conflict) => {
                self.0.conflict.lock().first.get_or_insert(conflict);
                Ok(None)
            }
            Learned::OtherKey => Err(Error::OtherKey { block, epoch }),
        }
    }
}

impl<EP: Epocher, P: Boundary<B>, B: CertifiedBlock> Epochs for Schemes<EP, P, B> {
    type Scheme = P::Scheme;

    fn codec(&self) -> CertificateCodec<P::Scheme> {
        self.0.certificates.clone()
    }

    fn at(&self, height: Height) -> Option<EpochScheme<P::Scheme>> {
        let epoch = self.epoch(height)?;
        Some(EpochScheme { epoch, scheme: self.0.table.lock().get(epoch)? })
    }

    fn candidate(&self, height: Height) -> Option<EpochScheme<P::Scheme>> {
        let epoch = self.epoch(height)?;
        Some(EpochScheme { epoch, scheme: self.0.table.lock().candidate(epoch)? })
    }

    fn vouched(&self, tip: BlockRef) {
        if let Some(epoch) = self.epoch(tip.height) {
            self.0.table.lock().vouch(epoch, tip);
        }
    }

    fn is_boundary(&self, height: Height) -> bool {
        self.next_epoch(height).is_some()
    }

    fn learn(&self, block: BlockRef, bytes: Bytes, proof: Option<Bytes>) -> Result<(), Error> {
        self.certified(block, proof.clone());
        if let Some(epoch) = self.take(block, bytes.clone())?
            && let Some(keeper) = self.0.keeper.get()
        {
            keeper.keep(Record { epoch, block, bytes, proof });
        }
        Ok(())
    }

    fn certificate(&self, block: BlockRef) -> Option<Bytes> {
        let known = self.0.certificates_of.lock().get(&block.height).cloned();
        known.filter(|(of, _)| *of == block).map(|(_, certificate)| certificate)
    }

    async fn kept(&self, block: BlockRef) -> Result<(), Error> {
        let Some(epoch) = self.next_epoch(block.height) else { return Ok(()) };
        match self.known(epoch) {
            Some(Known::Boundary(ours)) if ours == block => {}
            Some(Known::Boundary(ours)) => {
                return Err(Error::OtherBoundary { epoch, ours, theirs: block });
            }
            _ => return Err(Error::OtherKey { block, epoch }),
        }
        match self.0.keeper.get() {
            Some(keeper) if !keeper.durable(epoch).await => Err(Error::NotKept { epoch }),
            _ => Ok(()),
        }
    }

    fn ended_by(&self, epoch: Epoch) -> Option<BlockRef> {
        match self.known(epoch)? {
            Known::Boundary(block) => Some(block),
            Known::Anchor | Known::Key(_) => None,
        }
    }

    fn walk(&self, height: Height) -> Option<Walk> {
        Some(Walk::new(self.epoch(height)?))
    }

    fn step(&self, walk: &mut Walk) -> Option<Step> {
        walk.step(&self.0.table.lock())
    }

    fn epoch(&self, height: Height) -> Option<Epoch> {
        Some(self.0.epocher.containing(height)?.epoch())
    }

    fn newest_below(&self, epoch: Epoch) -> Option<Epoch> {
        self.0.table.lock().newest(epoch).map(|(epoch, _)| epoch)
    }

    fn boundary(&self, epoch: Epoch) -> Option<Height> {
        self.0.epocher.last(epoch)
    }

    fn gap(&self) -> Option<Height> {
        let epoch = self.0.table.lock().gap()?;
        self.0.epocher.last(epoch)
    }

    fn trust(&self) -> Option<(Epoch, Anchor, Option<u64>)> {
        let (epoch, _) = self.newest()?;
        Some((epoch, self.0.trusted.lock().anchor, self.0.newest.lock().time_ms))
    }

    fn take_conflict(&self) -> Option<Conflict> {
        let mut conflict = self.0.conflict.lock();
        match conflict.reported {
            true => None,
            false => {
                conflict.reported = conflict.first.is_some();
                conflict.first
            }
        }
    }
}

/// Commonware's own parts are given what a boundary or our anchor says, and nothing that is known by the
/// group's key alone: they take a scheme that is found for a certificate that verifies.
impl<EP: Epocher, P: Boundary<B>, B: CertifiedBlock> Provider for Schemes<EP, P, B> {
    type Scope = Epoch;
    type Scheme = P::Scheme;

    fn scoped(&self, epoch: Epoch) -> Option<Scoped<P::Scheme>> {
        let table = self.0.table.lock();
        let entry = table.entries.get(&epoch)?;
        (!matches!(entry.known, Known::Key(_))).then(|| Scoped::verifier(entry.scheme.clone()))
    }
}
