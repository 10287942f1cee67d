//! Calls of contracts on layer 1, and the words that they answer with.

use super::ValidatorsError;
use crate::{
    error::fault,
    rpc::{self, Answer, Call},
};
use alloy_primitives::keccak256;
use commonware_formatting::{from_hex, hex};
use serde_json::{Value, json};
use tidewatch_core::Fault;

/// 32 bytes, the highest first: a number, an address, a hash.
pub(super) type Word = [u8; 32];

/// An address on layer 1.
pub(super) type Address = [u8; 20];

/// The longest answer of a contract, in bytes: a committee of [`MEMBERS_MAX`], in hexadecimal.
const ANSWER_MAX: usize = 512 * 1024;

/// Members of a committee, at the most. Networks have 24 to 48.
pub(super) const MEMBERS_MAX: usize = 4_096;

/// Calls `function` of the contract at `to`, as of `at`: a tag, or what names a block.
pub(super) fn call(to: &Address, function: &str, arguments: &[Word], at: &Value) -> Call {
    let mut data = keccak256(function)[..4].to_vec();
    arguments.iter().for_each(|word| data.extend_from_slice(word));
    let call = json!({"to": format!("0x{}", hex(to)), "data": format!("0x{}", hex(&data))});
    Call::new("eth_call", vec![call, at.clone()]).answered_by(ANSWER_MAX)
}

/// A number as a word.
pub(super) fn word(number: u64) -> Word {
    let mut word = [0; 32];
    word[24..].copy_from_slice(&number.to_be_bytes());
    word
}

/// The words that a contract answered, of any number; none where there is no contract.
fn any(name: &str, what: &'static str, answer: &Answer) -> Result<Vec<Word>, Fault> {
    let text: String = rpc::read(name, &what, answer)?;
    let bytes = text.strip_prefix("0x").and_then(from_hex);
    let wrong = |got, want| fault(name, ValidatorsError::Words { what, got, want });
    let bytes = bytes.ok_or_else(|| wrong(text.len(), 1))?;
    match bytes.as_chunks::<32>() {
        (words, []) => Ok(words.to_vec()),
        _ => Err(wrong(bytes.len(), bytes.len() / 32 + 1)),
    }
}

/// The `N` words that a contract answered, which may have more behind them.
pub(super) fn words<const N: usize>(
    name: &str,
    what: &'static str,
    answer: &Answer,
) -> Result<[Word; N], Fault> {
    let words = any(name, what, answer)?;
    let got = words.len() * 32;
    let first = words.first_chunk::<N>().copied();
    first.ok_or_else(|| fault(name, ValidatorsError::Words { what, got, want: N }))
}

/// The addresses that a contract answered.
pub(super) fn addresses(
    name: &str,
    what: &'static str,
    answer: &Answer,
) -> Result<Vec<Address>, Fault> {
    let words = any(name, what, answer)?;
    let wrong = |want| fault(name, ValidatorsError::Words { what, got: words.len() * 32, want });
    let [offset, length, members @ ..] = words.as_slice() else { return Err(wrong(2)) };
    let count = number(name, what, length)?;
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    if count > MEMBERS_MAX {
        return Err(fault(name, ValidatorsError::TooMany { what, got: count, max: MEMBERS_MAX }));
    }
    if number(name, what, offset)? != 32 || members.len() != count {
        return Err(wrong(count + 2));
    }
    members.iter().map(|word| address(name, what, word)).collect()
}

/// A word as a number of 64 bits.
pub(super) fn number(name: &str, what: &'static str, word: &Word) -> Result<u64, Fault> {
    let (high, low) = word.split_at(24);
    let low = low.try_into().ok().filter(|_| high.iter().all(|byte| *byte == 0));
    low.map(u64::from_be_bytes).ok_or_else(|| strange(name, what, word))
}

/// A word as an address.
pub(super) fn address(name: &str, what: &'static str, word: &Word) -> Result<Address, Fault> {
    let (high, low) = word.split_at(12);
    let low = low.try_into().ok().filter(|_| high.iter().all(|byte| *byte == 0));
    low.ok_or_else(|| strange(name, what, word))
}

pub(super) fn strange(name: &str, what: &'static str, word: &Word) -> Fault {
    fault(name, ValidatorsError::Word { what, word: hex(word) })
}
