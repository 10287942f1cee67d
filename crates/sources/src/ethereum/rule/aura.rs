//! AuRa: Gnosis before the merge, and others that OpenEthereum ran.

use super::{Items, List, Rule};
use alloy_consensus::Header;
use alloy_primitives::Bytes;

pub(super) const RULE: Rule = Rule {
    is_plain: false,
    preimage: |header, json| {
        json.is_whole().then_some(())?;
        let step = json.step.or(json.aura_step)?.to();
        let signature = json.signature.as_ref().or(json.aura_seal.as_ref())?;
        Some(encode(header, step, signature))
    },
    header: |bytes| {
        let mut items = Items::new(bytes)?;
        let header = items.common()?;
        let (step, signature) = (items.next()?, items.next::<Bytes>()?);
        let header = Header { base_fee_per_gas: items.optional()?, ..header };
        (encode(&header, step, &signature) == bytes).then_some(header)
    },
};

pub(super) fn encode(header: &Header, step: u64, signature: &Bytes) -> Vec<u8> {
    let mut list = List::default();
    list.common(header).push(&step).push(signature);
    list.optional(&[header.base_fee_per_gas.as_ref().map(|fee| fee as _)]);
    list.finish()
}
