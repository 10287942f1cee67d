//! One key holder: what it attests, and when it gives its share of a seed.

use crate::committee::Member;
use alto_types::NAMESPACE;
use commonware_codec::Encode as _;
use commonware_consensus::{simplex::scheme::Namespace, types::Round};
use commonware_cryptography::{
    bls12381::primitives::{
        ops::threshold,
        variant::{MinSig, PartialSignature},
    },
    ed25519,
};
use tidewatch_sequencer::timelock::{Keys, Statement};

/// Why a holder does not attest an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Declined {
    /// It has seen a certificate of the round, or of a later one: what is sealed to it may have been read.
    TooLate,
    /// The round is not the next one.
    TooFar,
    /// It has attested a later number.
    Past,
    /// It has attested other content for the number.
    Other,
    /// It has attested this content as of a later round.
    Earlier,
}

/// Whether a holder that attested `last`, and has seen a certificate of `newest` and of none later, attests
/// `statement`.
pub(super) fn attests(
    last: Option<&Statement>,
    newest: Round,
    statement: &Statement,
) -> Result<(), Declined> {
    let fixed = statement.fixed;
    if fixed <= newest {
        return Err(Declined::TooLate);
    }
    if fixed.epoch() != newest.epoch() || fixed.view() != newest.view().next() {
        return Err(Declined::TooFar);
    }
    let Some(last) = last else { return Ok(()) };
    if statement.identity.number < last.identity.number {
        return Err(Declined::Past);
    }
    if statement.identity.number > last.identity.number {
        return Ok(());
    }
    if !statement.identity.same(&last.identity) {
        return Err(Declined::Other);
    }
    if fixed < last.fixed { Err(Declined::Earlier) } else { Ok(()) }
}

/// A holder. Its last statement is durable before its signature is used.
pub(super) struct Holder {
    member: Member,
    last: Option<Statement>,
}

impl Holder {
    pub(super) const fn new(member: Member) -> Self {
        Self { member, last: None }
    }

    /// It made this statement: of the disk's lines the last counts.
    pub(super) const fn stated(&mut self, statement: Statement) {
        self.last = Some(statement);
    }

    pub(super) fn attests(&self, newest: Round, statement: &Statement) -> Result<(), Declined> {
        attests(self.last.as_ref(), newest, statement)
    }

    /// Signs what it attests.
    pub(super) fn sign(&self, keys: &Keys, statement: &Statement) -> ed25519::Signature {
        keys.attest(&self.member.key, statement)
    }

    /// Its share of the seed of `round`, if it has seen a certificate of it or of a later one.
    pub(super) fn release(&self, round: Round, newest: Round) -> Option<PartialSignature<MinSig>> {
        let namespace = Namespace::new(NAMESPACE).seed;
        (round <= newest)
            .then(|| threshold::sign_message(&self.member.share, &namespace, &round.encode()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alto_types::EPOCH;
    use commonware_consensus::types::{Epoch, View};
    use std::num::NonZeroU32;
    use tidewatch_core::{Digest, Height};
    use tidewatch_sequencer::Identity;

    const fn round(view: u64) -> Round {
        Round::new(EPOCH, View::new(view))
    }

    fn statement(number: u64, content: u8, view: u64) -> Statement {
        let identity = Identity {
            number: Height::new(number),
            parent: Digest([9; 32]),
            content: Digest([content; 32]),
            attempt: NonZeroU32::MIN,
        };
        Statement { identity, fixed: round(view) }
    }

    #[test]
    fn an_order_is_attested_before_its_round_and_never_beside_another() {
        let last = statement(5, 1, 8);
        let elsewhere =
            Statement { fixed: Round::new(Epoch::new(1), View::new(10)), ..statement(5, 1, 10) };
        let cases = [
            (None, statement(1, 1, 10), Ok(())),
            (None, statement(1, 1, 9), Err(Declined::TooLate)),
            (None, statement(1, 1, 11), Err(Declined::TooFar)),
            (None, elsewhere, Err(Declined::TooFar)),
            (Some(&last), statement(6, 2, 10), Ok(())),
            (Some(&last), statement(5, 1, 10), Ok(())),
            (Some(&last), statement(5, 2, 10), Err(Declined::Other)),
            (Some(&last), statement(4, 1, 10), Err(Declined::Past)),
            (Some(&statement(5, 1, 11)), statement(5, 1, 10), Err(Declined::Earlier)),
        ];
        for (last, statement, expected) in cases {
            assert_eq!(attests(last, round(9), &statement), expected, "{last:?} {statement:?}");
        }
    }

    #[test]
    fn a_share_of_a_seed_is_given_once_the_round_or_a_later_one_is_certified() {
        let committee = crate::Committee::deal(3, 4).unwrap();
        let holders: Vec<_> = committee.members().iter().cloned().map(Holder::new).collect();
        assert!(holders.iter().all(|holder| holder.release(round(8), round(7)).is_none()));
        let shares: Vec<_> = holders
            .iter()
            .filter_map(|holder| holder.release(round(8), round(8)))
            .take(3)
            .collect();
        let seed = threshold::recover::<MinSig, _>(
            committee.polynomial(),
            &shares,
            &commonware_parallel::Sequential,
        );
        assert_eq!(seed.unwrap(), committee.seed_of(round(8)), "what a certificate would hold");
    }
}
