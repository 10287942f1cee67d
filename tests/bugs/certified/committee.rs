//! Certificates over the blocks of a scripted chain.

use bytes::Bytes;
use commonware_codec::Encode as _;
use commonware_consensus::types::{Epoch, Round, View};
use std::sync::OnceLock;
use tidewatch_certified::{CertificateKind, Push};
use tidewatch_core::Block as _;
use tidewatch_testkit::{
    chain::{Chain, TestBlock},
    committee::Committee,
};

const VALIDATORS: u32 = 4;

/// The validators of the followed chain.
pub(crate) fn ours() -> &'static Committee {
    static OURS: OnceLock<Committee> = OnceLock::new();
    OURS.get_or_init(|| Committee::new(0, VALIDATORS))
}

/// Validators of a different chain.
pub(crate) fn strangers() -> &'static Committee {
    static STRANGERS: OnceLock<Committee> = OnceLock::new();
    STRANGERS.get_or_init(|| Committee::new(1, VALIDATORS))
}

/// The view in which the block at `height` was certified, which is higher than the height.
pub(crate) const fn view(height: u64) -> View {
    View::new(height * 2 + 1)
}

/// Wire encoding of a certificate of `committee` over `block` in `epoch`, followed by the block.
pub(crate) fn certify(
    committee: &Committee,
    kind: CertificateKind,
    epoch: Epoch,
    block: &TestBlock,
) -> Bytes {
    let reference = block.reference();
    let round = Round::new(epoch, view(reference.height.get()));
    let certificate = match kind {
        CertificateKind::Finalized => committee.finalization(round, reference.digest),
        CertificateKind::Notarized => committee.notarization(round, reference.digest),
    };
    [certificate, block.encode()].concat().into()
}

/// A finalization of the block of `chain` at `height`, by the validators of the followed chain.
pub(crate) fn finalization(chain: &Chain, height: u64) -> Bytes {
    let block = &chain.blocks()[height as usize];
    certify(ours(), CertificateKind::Finalized, Epoch::zero(), block)
}

/// The same finalization as a push.
pub(crate) fn push(chain: &Chain, height: u64) -> Push {
    Push::Finalization(finalization(chain, height))
}
