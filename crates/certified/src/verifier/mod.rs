//! The only way from network bytes to trusted values.
//!
//! # Overview
//!
//! [`Verified`] has no constructor outside this module. These are the ways to a verified value:
//!
//! | value | from | proof |
//! |---|---|---|
//! | [`Certified`] block | bytes of a certificate and a block | [`Verifier::check`]: the certificate's payload is the block's digest, its epoch is the one of the block's height in our table, and it verifies under that epoch's scheme |
//! | block | bytes, and a verified [`BlockRef`] | [`Verifier::resolve`], [`Verifier::admit`]: it hashes to that digest and is of that height |
//! | [`BlockRef`] | a verified block | it names that block, or its parent |
//! | genesis | our configuration | nothing to prove |
//!
//! Decoding is bounded by the codec configuration of the block, and trailing bytes are refused. A [`Claim`]
//! is decoded but not checked: enough to recognise a stale certificate before its signature is checked.
//!
//! # Cost
//!
//! A certificate check is the one expensive operation, about a millisecond. The [`checker`] makes them on
//! its own thread, batches those that wait together, and counts them by reason. A certificate that
//! verified recently is not checked again.

pub mod checker;
mod report;

#[cfg(test)]
mod tests;

pub use report::{Finality, Finalized};

use crate::{CertificateCodec, CertifiedBlock, Check, EpochScheme, Epochs, Error, Metrics, Scheme};
use bytes::{Buf, Bytes};
use checker::Unchecked;
use commonware_codec::{Encode, Error as CodecError, Read};
use commonware_consensus::{
    simplex::types::{Finalization, Notarization, Proposal, Subject},
    types::Round,
};
use commonware_parallel::Sequential;
use rand::CryptoRng;
use std::{fmt, ops::Deref, sync::OnceLock};
use tidewatch_core::{BlockRef, Digest, Fault, Height};

/// A value that passed the verifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verified<T>(T);

impl<T> Verified<T> {
    /// The value.
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<T> Deref for Verified<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<B: CertifiedBlock> Verified<B> {
    /// The name of this block.
    pub fn name(&self) -> Verified<BlockRef> {
        Verified(self.0.reference())
    }

    /// The block that this one vouches for by naming it as its parent; `None` below genesis.
    pub fn vouched(&self) -> Option<Verified<BlockRef>> {
        let height = self.0.reference().height.previous()?;
        Some(Verified(BlockRef::new(height, self.0.parent())))
    }
}

impl<B: CertifiedBlock> Verified<Certified<B>> {
    /// The certified block alone.
    pub fn block(&self) -> Verified<B> {
        Verified(self.0.block.clone())
    }
}

/// What a certificate proves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CertificateKind {
    /// A quorum voted for the block. It can still be replaced.
    Notarized,
    /// A quorum finalized the block. It will never be replaced.
    Finalized,
}

impl fmt::Display for CertificateKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Notarized => "notarization",
            Self::Finalized => "finalization",
        })
    }
}

/// A block with a certificate over it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certified<B> {
    /// What the certificate proves.
    pub kind: CertificateKind,
    /// The round of the certificate. Certificates are ordered by round, never by height.
    pub round: Round,
    /// The block.
    pub block: B,
    /// The certificate with its proposal, in the chain's own encoding.
    pub proof: Bytes,
}

#[derive(Clone, Debug)]
enum Certificate<S: Scheme> {
    Notarization(Notarization<S, Digest>),
    Finalization(Finalization<S, Digest>),
}

impl<S: Scheme> Certificate<S> {
    fn read(
        kind: CertificateKind,
        buf: &mut impl Buf,
        codec: &CertificateCodec<S>,
    ) -> Result<Self, CodecError> {
        Ok(match kind {
            CertificateKind::Notarized => Self::Notarization(Notarization::read_cfg(buf, codec)?),
            CertificateKind::Finalized => Self::Finalization(Finalization::read_cfg(buf, codec)?),
        })
    }

    const fn kind(&self) -> CertificateKind {
        match self {
            Self::Notarization(_) => CertificateKind::Notarized,
            Self::Finalization(_) => CertificateKind::Finalized,
        }
    }

    const fn proposal(&self) -> &Proposal<Digest> {
        match self {
            Self::Notarization(notarization) => &notarization.proposal,
            Self::Finalization(finalization) => &finalization.proposal,
        }
    }

    fn encode(&self) -> Bytes {
        match self {
            Self::Notarization(notarization) => notarization.encode(),
            Self::Finalization(finalization) => finalization.encode(),
        }
    }

    /// What was signed, and the signature.
    const fn signed(&self) -> (Subject<'_, Digest>, &S::Certificate) {
        match self {
            Self::Notarization(Notarization { proposal, certificate }) => {
                (Subject::Notarize { proposal }, certificate)
            }
            Self::Finalization(Finalization { proposal, certificate }) => {
                (Subject::Finalize { proposal }, certificate)
            }
        }
    }

    fn verify(&self, rng: &mut impl CryptoRng, scheme: &S) -> bool {
        match self {
            Self::Notarization(notarization) => notarization.verify(rng, scheme, &Sequential),
            Self::Finalization(finalization) => finalization.verify(rng, scheme, &Sequential),
        }
    }
}

/// An unchecked certificate with its block: it decodes and is about that block, nothing more.
#[derive(Clone, Debug)]
pub struct Claim<S: Scheme, B> {
    certificate: Certificate<S>,
    block: B,
}

impl<S: Scheme, B: CertifiedBlock> Claim<S, B> {
    /// What the certificate claims to prove.
    pub const fn kind(&self) -> CertificateKind {
        self.certificate.kind()
    }

    /// The round that it claims.
    pub const fn round(&self) -> Round {
        self.certificate.proposal().round
    }

    /// The block that it is about.
    pub fn reference(&self) -> BlockRef {
        self.block.reference()
    }

    /// The block, as a candidate for [`Verifier::admit`].
    pub fn into_block(self) -> B {
        self.block
    }
}

/// Decodes what comes from the network, and has it checked.
pub struct Verifier<X: Epochs, B: Read> {
    epochs: X,
    codec: B::Cfg,
    genesis: B,
    metrics: Metrics,
    checker: checker::Mailbox<X::Scheme>,
    reports: OnceLock<report::Reports<X::Scheme, B>>,
}

impl<X: Epochs + fmt::Debug, B: Read> fmt::Debug for Verifier<X, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier").field("epochs", &self.epochs).finish_non_exhaustive()
    }
}

impl<X: Epochs, B: CertifiedBlock> Verifier<X, B> {
    /// A verifier for the chain that starts at `genesis` and is certified as `epochs` says. `codec`
    /// bounds what is decoded; `checker` checks the signatures.
    pub const fn new(
        epochs: X,
        genesis: B,
        codec: B::Cfg,
        metrics: Metrics,
        checker: checker::Mailbox<X::Scheme>,
    ) -> Self {
        Self { epochs, codec, genesis, metrics, checker, reports: OnceLock::new() }
    }

    /// The table of epochs.
    pub(crate) const fn epochs(&self) -> &X {
        &self.epochs
    }

    /// The block at height 0, from our own configuration.
    pub fn genesis(&self) -> Verified<B> {
        Verified(self.genesis.clone())
    }

    /// Decodes a certificate and its block.
    ///
    /// # Errors
    ///
    /// `Malformed` if the bytes are not exactly that, `WrongDigest` if the certificate is about another
    /// block.
    pub fn claim(
        &self,
        kind: CertificateKind,
        mut bytes: Bytes,
    ) -> Result<Claim<X::Scheme, B>, Fault> {
        let claim = Certificate::read(kind, &mut bytes, &self.epochs.codec())
            .and_then(|certificate| Ok(Claim { certificate, block: self.read(&mut bytes)? }));
        let claim =
            claim.map_err(|error| self.metrics.reject(Error::NotACertificate { kind, error }))?;
        let (payload, block) = (claim.certificate.proposal().payload, claim.reference());
        if payload != block.digest {
            return Err(self.metrics.reject(Error::OtherPayload { kind, payload, block }));
        }
        Ok(claim)
    }

    /// Checks a certificate under the scheme that our table gives for the height of its block.
    ///
    /// # Errors
    ///
    /// `UnknownEpoch` if our table has no scheme for that height, yet, and it does not verify under the key
    /// that the chain kept so far. `InvalidCertificate` if the
    /// certificate names another epoch than our table, or its signature does not verify. `Unavailable`
    /// if too many certificates wait to be checked, `Stopped` if the checker has ended.
    ///
    /// # Cancel safety
    ///
    /// Dropped, the check is withdrawn unless it has begun; other checks are not affected.
    pub async fn check(
        &self,
        claim: Claim<X::Scheme, B>,
        check: Check,
    ) -> Result<Verified<Certified<B>>, Fault> {
        let (kind, round, block) = (claim.kind(), claim.round(), claim.reference());
        let (scheme, known) = match self.epochs.at(block.height) {
            Some(scheme) => (Some(scheme), true),
            None => (self.epochs.candidate(block.height), false),
        };
        let Some(EpochScheme { epoch, scheme }) = scheme else {
            return Err(self.unknown(kind, block, round));
        };
        if round.epoch() != epoch {
            let error = Error::OtherEpoch { kind, block, round, expected: epoch };
            return Err(self.metrics.reject(error));
        }
        debug_assert_eq!(claim.certificate.proposal().payload, block.digest, "a claim's invariant");
        let finalized = self.reports.get().and_then(|_| claim.finalized());
        let Claim { certificate, block: body } = claim;
        let proof = certificate.encode();
        let verdict = self.checker.check(certificate, proof.clone(), scheme, check, &self.metrics);
        let verifies = verdict.await.map_err(|unchecked| {
            self.metrics.reject(match unchecked {
                Unchecked::Overloaded(waiting) => Error::Overloaded { kind, block, round, waiting },
                Unchecked::Stopped => Error::Stopped { kind, block, round },
            })
        })?;
        if !verifies {
            return Err(match known {
                true => self.metrics.reject(Error::BadSignature { kind, block, round }),
                // The key that was kept so far may have been changed on the way to that epoch.
                false => self.unknown(kind, block, round),
            });
        }
        if kind == CertificateKind::Finalized {
            if !known {
                self.epochs.vouched(block);
            }
            self.learn(&body, Some(&proof));
            self.report(finalized);
        }
        Ok(Verified(Certified { kind, round, block: body, proof }))
    }

    /// Learns the scheme of the next epoch, if `block`, which is final, is the last one of its epoch.
    pub(crate) fn learn(&self, block: &B, proof: Option<&Bytes>) {
        let name = block.reference();
        if !self.epochs.is_boundary(name.height) {
            return;
        }
        let learned = self.epochs.learn(name, block.encode(), proof.cloned());
        if let Err(error) = learned {
            let fault = self.metrics.reject(error);
            self.metrics.absorbed(&fault);
        }
    }

    /// Decodes the block that a verified block names.
    ///
    /// # Errors
    ///
    /// `Malformed`; `WrongDigest` if it is another block; `WrongPosition` if its height is not the one
    /// below its child's; `NotLinked` if it is at height 0 and not our genesis.
    pub fn resolve(&self, name: &Verified<BlockRef>, bytes: Bytes) -> Result<Verified<B>, Fault> {
        self.hashed(name, bytes).map(Verified)
    }

    /// Admits a decoded block if it is the one that a verified block names.
    ///
    /// # Errors
    ///
    /// As [`Verifier::resolve`].
    pub fn admit(&self, name: &Verified<BlockRef>, block: B) -> Result<Verified<B>, Fault> {
        self.matches(name, &block)?;
        Ok(Verified(block))
    }

    /// Decodes a block that was sent as `name`. It is that block, but `name` itself is not verified.
    pub(crate) fn hashed(&self, name: &BlockRef, mut bytes: Bytes) -> Result<B, Fault> {
        let block = self
            .read(&mut bytes)
            .map_err(|error| self.metrics.reject(Error::NotABlock { name: *name, error }))?;
        self.matches(name, &block)?;
        Ok(block)
    }

    /// Decodes blocks that were sent for consecutive heights from `from` on, each behind its length. Nothing of them
    /// is verified.
    pub(crate) fn claimed_blocks(&self, mut bytes: Bytes, from: Height) -> Result<Vec<B>, Fault> {
        let (mut blocks, mut height) = (Vec::new(), from);
        while bytes.has_remaining() {
            let wrong = |error| self.metrics.reject(Error::NotBlocks { height, error });
            let length = bytes.try_get_u32().map_err(|_| wrong(CodecError::EndOfBuffer))?;
            let length = usize::try_from(length).unwrap_or(usize::MAX);
            if length > bytes.remaining() {
                return Err(wrong(CodecError::EndOfBuffer));
            }
            let block = self.read(&mut bytes.split_to(length)).map_err(wrong)?;
            let found = block.reference();
            if found.height != height {
                return Err(self.metrics.reject(Error::OtherHeight { found, height }));
            }
            blocks.push(block);
            height = height.next();
        }
        Ok(blocks)
    }

    fn read(&self, bytes: &mut Bytes) -> Result<B, CodecError> {
        let block = B::read_cfg(bytes, &self.codec)?;
        match bytes.remaining() {
            0 => Ok(block),
            extra => Err(CodecError::ExtraData(extra)),
        }
    }

    fn matches(&self, name: &BlockRef, block: &B) -> Result<(), Fault> {
        let found = block.reference();
        let genesis = self.genesis.reference();
        let error = if found.digest != name.digest {
            Error::OtherBlock { found, name: *name }
        } else if found.height != name.height {
            Error::MisnamedHeight { found, height: name.height }
        } else if found.height == Height::zero() && found != genesis {
            Error::OtherGenesis { found, genesis }
        } else {
            return Ok(());
        };
        Err(self.metrics.reject(error))
    }
}
