//! Seals that validators who agree by Istanbul add to the extra data after the hash was made.
//!
//! Those of GoQuorum and Besu by what their sources say, because no header of theirs was at hand.

use super::{List, list};
use alloy_primitives::{B256, Bytes, b256};

/// What the mix hash is where validators agree by Istanbul.
const ISTANBUL: B256 = b256!("63746963616c2062797a616e74696e65206661756c7420746f6c6572616e6365");

/// Bytes before Istanbul's own part of the extra data.
const VANITY: usize = 32;

/// The extra data of a header as its hash has it, where that may be another than the header's own: without
/// the seals by which validators agreed on the block.
pub(in crate::ethereum) fn unsealed(extra: &[u8], mix_hash: Option<B256>) -> Option<Bytes> {
    if mix_hash.is_some_and(|mix_hash| mix_hash != ISTANBUL && !mix_hash.is_zero()) {
        return None;
    }
    // Besu's begins with the list, the others with 32 bytes of anything.
    let besu = list(extra).filter(|items| matches!(items.len(), 4 | 5));
    let (vanity, mut items) = match besu {
        Some(items) => (&[][..], items),
        None => {
            let (vanity, rest) = extra.split_at_checked(VANITY)?;
            (vanity, list(rest)?)
        }
    };
    /// An empty list.
    const NONE: &[u8] = &[0xc0];
    match (vanity.is_empty(), items.len()) {
        // IBFT 2.0, with and without seals: vanity, validators, vote, round.
        (true, _) if items.get(3).is_some_and(|round| round.len() == 5) => items.truncate(4),
        // QBFT: the list of seals stays, and is empty.
        (true, 5) => items[4] = NONE,
        // GoQuorum: validators, the proposer's seal, seals.
        (false, 3) => items[2] = NONE,
        // Celo: validators that come and go, the proposer's seal, the aggregated seal, the parent's.
        (false, 6) => items[4] = &[0xc3, 0x80, 0x80, 0x80],
        _ => return None,
    }
    let mut whole = List::default();
    items.iter().for_each(|item| whole.0.extend_from_slice(item));
    Some([vanity, &whole.finish()].concat().into())
}

#[cfg(test)]
mod tests {
    use super::{List, *};

    fn list(items: &[&[u8]]) -> Vec<u8> {
        let mut list = List::default();
        items.iter().for_each(|item| list.0.extend_from_slice(item));
        list.finish()
    }

    #[test]
    fn seals_that_were_added_after_the_hash_are_taken_out_by_the_shape_of_the_extra_data() {
        let string = |length: usize| alloy_rlp::encode(&[7_u8; 64][..length]);
        let (vanity, seal, round) = (string(32), string(64), string(4));
        let (none, seals) = (list(&[]), list(&[&seal, &seal]));
        let plain = |items: &[&[u8]]| [&[7; VANITY][..], &list(items)].concat();
        let aggregated = list(&[&string(2), &string(48), &string(1)]);
        let nothing: &[u8] = &[0xc3, 0x80, 0x80, 0x80];
        let table = [
            (
                "IBFT",
                list(&[&vanity, &none, &none, &round, &seals]),
                list(&[&vanity, &none, &none, &round]),
            ),
            (
                "QBFT",
                list(&[&vanity, &none, &none, &[1], &seals]),
                list(&[&vanity, &none, &none, &[1], &none]),
            ),
            ("GoQuorum", plain(&[&none, &seal, &seals]), plain(&[&none, &seal, &none])),
            (
                "Celo",
                plain(&[&none, &none, &[0x80], &seal, &aggregated, &aggregated]),
                plain(&[&none, &none, &[0x80], &seal, nothing, &aggregated]),
            ),
        ];
        for (what, extra, want) in table {
            for mix_hash in [None, Some(ISTANBUL), Some(B256::ZERO)] {
                assert_eq!(unsealed(&extra, mix_hash), Some(want.clone().into()), "{what}");
            }
            assert_eq!(unsealed(&extra, Some(B256::repeat_byte(7))), None, "{what}");
            for cut in 0..extra.len() {
                let _ = unsealed(&extra[..cut], None);
            }
        }
        for extra in [vec![], vec![0xc0], vec![7; 97], plain(&[&seal]), list(&[&vanity, &seal])] {
            assert_eq!(unsealed(&extra, None), None, "{extra:?}");
        }
    }
}
