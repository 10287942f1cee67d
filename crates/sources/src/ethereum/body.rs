//! The body of a block: what its header commits to, beside the header.

use super::{EthBlock, EthereumError};
use crate::{
    error::fault,
    rpc::{Answer, Call, read},
};
use alloy_consensus::{
    EMPTY_OMMER_ROOT_HASH, EthereumTxEnvelope, TxEip4844,
    proofs::{calculate_transaction_root, calculate_withdrawals_root},
};
use alloy_eips::eip4895::Withdrawals;
use alloy_primitives::B256;
use serde::Deserialize;
use serde_json::json;
use tidewatch_core::{Block as _, BlockRef, Digest, Fault};

/// A transaction of a block: those with blobs without them.
pub type Transaction = EthereumTxEnvelope<TxEip4844>;

/// The longest body in JSON, in bytes: with the gas that the largest chains have in a block, one is below 8
/// MiB even if it were calldata alone.
const BODY_MAX: usize = 16 * 1024 * 1024;

/// The body of a block. The header of the block commits to it: transactions and withdrawals have its roots.
#[derive(Clone, Debug, Deserialize)]
pub struct EthBody {
    /// The transactions, in order.
    pub transactions: Vec<Transaction>,
    /// The withdrawals, where the header commits to any.
    #[serde(default)]
    pub withdrawals: Option<Withdrawals>,
}

/// The call that asks for the body of `block`, by its digest.
pub(super) fn call(block: &EthBlock) -> Call {
    let call = Call::new("eth_getBlockByHash", vec![json!(block.hash()), true.into()]);
    call.answered_by(BODY_MAX)
}

impl EthBody {
    /// The body in `answer`, if it is that of `block`.
    pub(super) fn read(name: &str, block: &EthBlock, answer: &Answer) -> Result<Self, Fault> {
        let reference = block.reference();
        let body = read::<Option<Self>>(name, &format_args!("the body of {reference}"), answer)?;
        let body = body.ok_or_else(|| fault(name, EthereumError::NoBody(reference)))?;
        body.check(block).map_err(|error| fault(name, error))?;
        Ok(body)
    }

    /// Whether the header of `block` commits to this.
    fn check(&self, block: &EthBlock) -> Result<(), EthereumError> {
        let header = block.header();
        let transactions = calculate_transaction_root(&self.transactions);
        let withdrawals = self.withdrawals.as_ref().map(|all| calculate_withdrawals_root(all));
        let same = |part, computed: Option<B256>, header: Option<B256>| {
            if computed == header {
                return Ok(());
            }
            let [computed, header] =
                [computed, header].map(|root| Digest(root.unwrap_or_default().0));
            let block: BlockRef = block.reference();
            Err(EthereumError::OtherBody { block, part, computed, header })
        };
        same("transactions", Some(transactions), Some(header.transactions_root))?;
        same("withdrawals", withdrawals, header.withdrawals_root)?;
        // Nothing here reads uncles: no chain that has an execution layer of its own has any.
        same("uncles", Some(EMPTY_OMMER_ROOT_HASH), Some(header.ommers_hash))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_consensus::Header;
    use serde_json::{Value, value::to_raw_value};
    use tidewatch_core::FaultKind;

    /// A transfer as nodes write it, with the signature of the example in EIP-155.
    fn transfer(nonce: u64) -> Value {
        json!({
            "type": "0x0",
            "hash": "0x33469b22e9f636356c4160a87eb19df52b7412e8eac32a4a55ffe88ea8350788",
            "nonce": format!("{nonce:#x}"),
            "gasPrice": "0x4a817c800",
            "gas": "0x5208",
            "to": "0x3535353535353535353535353535353535353535",
            "value": "0xde0b6b3a7640000",
            "input": "0x",
            "chainId": "0x1",
            "v": "0x25",
            "r": "0x28ef61340bd939bc2195fe537567866003e1a15d3c71ff63e1590620aa636276",
            "s": "0x67cbe9d8997f761aecb703304b3800ccf555c9f3dc64214b297fb1966a3b6d83",
            "blockNumber": "0x1",
        })
    }

    fn withdrawal(amount: u64) -> Value {
        json!({
            "index": "0x1",
            "validatorIndex": "0x2",
            "address": "0x3535353535353535353535353535353535353535",
            "amount": format!("{amount:#x}"),
        })
    }

    fn body(transactions: &[u64], withdrawals: Option<&[u64]>) -> Value {
        let transactions: Vec<_> = transactions.iter().map(|nonce| transfer(*nonce)).collect();
        let withdrawals = withdrawals.map(|all| all.iter().map(|gwei| withdrawal(*gwei)).collect());
        let withdrawals: Option<Vec<_>> = withdrawals;
        let mut body = json!({ "transactions": transactions, "number": "0x7" });
        if let Some(withdrawals) = withdrawals {
            body["withdrawals"] = json!(withdrawals);
        }
        body
    }

    /// The block whose header commits to `body`.
    fn block(body: &Value) -> EthBlock {
        let body: EthBody = serde_json::from_value(body.clone()).unwrap();
        let header = Header {
            number: 7,
            transactions_root: calculate_transaction_root(&body.transactions),
            withdrawals_root: body.withdrawals.as_ref().map(|all| calculate_withdrawals_root(all)),
            ..Header::default()
        };
        EthBlock::plain(&header).unwrap()
    }

    fn read(block: &EthBlock, body: &Value) -> Result<EthBody, Fault> {
        EthBody::read("node", block, &Ok(to_raw_value(body).unwrap()))
    }

    #[test]
    fn a_transaction_is_encoded_again_as_it_was_signed() {
        let body = read(&block(&body(&[9], None)), &body(&[9], None)).unwrap();
        let hash = format!(
            "{:x}",
            alloy_primitives::keccak256(alloy_eips::eip2718::Encodable2718::encoded_2718(
                &body.transactions[0]
            ))
        );
        assert_eq!(hash, "33469b22e9f636356c4160a87eb19df52b7412e8eac32a4a55ffe88ea8350788");
    }

    #[test]
    fn only_the_body_that_the_header_commits_to_is_one() {
        let table = [
            (body(&[], None), body(&[], None), None),
            (body(&[1, 2], None), body(&[1, 2], None), None),
            (body(&[1], Some(&[5])), body(&[1], Some(&[5])), None),
            (body(&[], Some(&[])), body(&[], Some(&[])), None),
            (body(&[1, 2], None), body(&[2, 1], None), Some("the transactions")),
            (body(&[1], None), body(&[], None), Some("the transactions")),
            (body(&[], None), body(&[1], None), Some("the transactions")),
            (body(&[], Some(&[5])), body(&[], Some(&[6])), Some("the withdrawals")),
            (body(&[], Some(&[5])), body(&[], None), Some("the withdrawals")),
            (body(&[], None), body(&[], Some(&[])), Some("the withdrawals")),
        ];
        for (of, came, wrong) in table {
            let result = read(&block(&of), &came);
            let Some(wrong) = wrong else {
                assert!(result.is_ok(), "{of}: {result:?}");
                continue;
            };
            let fault = result.unwrap_err();
            assert_eq!(fault.kind, FaultKind::WrongDigest, "{fault}");
            assert!(fault.detail.starts_with(wrong), "{fault}");
        }
    }

    /// Everything in `value` that is in nothing else, by its pointer.
    fn leaves(value: &Value, at: &str, found: &mut Vec<String>) {
        match value {
            Value::Object(fields) => {
                fields
                    .iter()
                    .for_each(|(name, value)| leaves(value, &format!("{at}/{name}"), found));
            }
            Value::Array(all) => {
                all.iter()
                    .enumerate()
                    .for_each(|(i, value)| leaves(value, &format!("{at}/{i}"), found));
            }
            _ => {}
        }
        found.push(at.to_owned());
    }

    #[test]
    fn whatever_is_wrong_in_a_body_it_is_refused_or_is_the_one_that_the_header_commits_to() {
        let whole = body(&[1, 2], Some(&[5, 6]));
        let block = block(&whole);
        let mut places = Vec::new();
        leaves(&whole, "", &mut places);
        let huge = format!("0x{}", "f".repeat(80));
        let wrong = [json!(null), json!(""), json!("0x"), json!("0x0"), json!(huge), json!(-1)];
        let wrong: Vec<_> = wrong.into_iter().chain([json!([]), json!({}), json!(true)]).collect();
        for place in &places {
            for value in &wrong {
                let mut damaged = whole.clone();
                *damaged.pointer_mut(place).unwrap() = value.clone();
                match read(&block, &damaged) {
                    Ok(body) => body.check(&block).unwrap(),
                    Err(fault) => assert!(fault.to_string().len() < 1_000, "{place}: {fault}"),
                }
            }
        }
    }

    #[test]
    fn what_is_no_body_is_refused_by_its_kind() {
        let empty = body(&[], None);
        let mut odd = body(&[1], None);
        odd["transactions"][0]["type"] = json!("0x7e");
        let table = [
            (json!(null), FaultKind::Missing),
            (json!({}), FaultKind::Malformed),
            (json!({ "transactions": ["0x11"] }), FaultKind::Malformed),
            (odd, FaultKind::Malformed),
        ];
        for (came, kind) in table {
            assert_eq!(read(&block(&empty), &came).unwrap_err().kind, kind, "{came}");
        }
        let header = Header { ommers_hash: B256::repeat_byte(1), ..block(&empty).header().clone() };
        let uncles = EthBlock::plain(&header).unwrap();
        assert_eq!(read(&uncles, &empty).unwrap_err().kind, FaultKind::WrongDigest);
    }
}
