//! B61. The epoch was read from the certificate itself, which may contain none or a wrong one, and the
//! certificate was then verified against the wrong quorum.
//!
//! Here the quorum comes from the local epoch schedule, by the height of the block and nothing else. A
//! certificate whose epoch is not that of its height is rejected before its signature is verified, and
//! so is one at a height whose epoch is unknown.

use crate::{
    certified::{certify, ours, strangers},
    support::{Recorder, simulate},
};
use commonware_consensus::types::Epoch;
use commonware_runtime::Supervisor as _;
use tidewatch_certified::{
    CertificateKind, Check, Checker, EpochScheme, Epochs, Metrics, Verifier, checker,
};
use tidewatch_core::{Block as _, FaultKind, Height};
use tidewatch_testkit::{
    chain::{Chain, TestBlock},
    committee::Scheme,
};

/// Epoch 0 below height 50, epoch 1 of other validators below 100, and nothing is known of what follows.
struct Table;

impl Epochs for Table {
    type Scheme = Scheme;

    fn codec(&self) {}

    fn at(&self, height: Height) -> Option<EpochScheme<Scheme>> {
        let (epoch, committee) = match height.get() {
            0..50 => (0, ours()),
            50..100 => (1, strangers()),
            _ => return None,
        };
        Some(EpochScheme { epoch: Epoch::new(epoch), scheme: committee.verifier() })
    }
}

#[test]
fn only_the_validators_of_the_height_in_the_epoch_of_the_height_are_a_quorum() {
    simulate(|context| async move {
        let chain = Chain::new('a', 120);
        let metrics = Metrics::new(&context, "endpoint", Recorder::new(&context));
        let genesis = chain.blocks()[0].clone();
        let config = checker::Config::default();
        let (checker, mailbox) = Checker::new(context.child("checker"), config);
        checker.start();
        let verifier = Verifier::<_, TestBlock>::new(Table, genesis, (), metrics.clone(), mailbox);
        let (first, second) = (ours(), strangers());
        // The last column: whether it was rejected before a signature was verified.
        let table = [
            ("the first epoch's", first, 0, 49, true, false),
            ("the second epoch's", second, 1, 50, true, false),
            ("of the epoch before", first, 0, 50, false, true),
            ("of the epoch after", second, 1, 49, false, true),
            ("of the old validators, who name the new epoch", first, 1, 50, false, false),
            ("of the new validators, who name the old epoch", second, 0, 49, false, false),
            (
                "of the new validators, with the epoch that they do not have",
                second,
                0,
                60,
                false,
                true,
            ),
            ("of an epoch that is nowhere", first, 7, 20, false, true),
            ("beyond the table", second, 1, 100, false, true),
            ("beyond the table, in an epoch of its own", second, 2, 110, false, true),
        ];
        for kind in [CertificateKind::Finalized, CertificateKind::Notarized] {
            for (case, committee, epoch, height, valid, unchecked) in table {
                let block = &chain.blocks()[height];
                let bytes = certify(committee, kind, Epoch::new(epoch), block);
                let claim = verifier.claim(kind, bytes).unwrap();
                let before = metrics.work().checks_total();
                match verifier.check(claim, Check::Tip).await {
                    Ok(verified) => {
                        assert!(valid, "{case}");
                        assert_eq!(verified.block.reference(), chain.at(height as u64));
                    }
                    Err(fault) => {
                        assert!(!valid, "{case}: {fault}");
                        let known = Table.at(Height::new(height as u64)).is_some();
                        let kind = match known {
                            true => FaultKind::InvalidCertificate,
                            false => FaultKind::UnknownEpoch,
                        };
                        assert_eq!(fault.kind, kind, "{case}");
                    }
                }
                assert_eq!(metrics.work().checks_total() == before, unchecked, "{case}");
            }
        }
    });
}
