//! Which bytes hash to a block's digest: the forms that headers have on different chains.
//!
//! The digest of a block is the Keccak-256 hash of some bytes, its *preimage*. On Ethereum, and on most
//! chains that took its header, these are the RLP of the header. Others differ by a rule:
//!
//! | form | chains | rule |
//! |---|---|---|
//! | [`Form::Ethereum`] | most, and all that follow the merge | fifteen fields, and those of each fork behind them |
//! | [`Form::Aura`] | Gnosis before the merge, others that OpenEthereum ran | step and signature where Ethereum has mix hash and nonce |
//! | [`Form::Celo`] | Celo until its fork Gingerbread | ten fields: no uncles, difficulty, gas limit, mix hash and nonce |
//! | [`Form::Avalanche`] | Avalanche's C-Chain and its relatives | the hash of the block's extra data behind the nonce, and fields of its own |
//!
//! Validators that agree by Istanbul (Celo until it became a rollup, GoQuorum, Besu's IBFT and QBFT) add
//! their seals to the extra data after the hash was made. [`unsealed`] takes them out again; those of GoQuorum
//! and Besu by what their sources say, because no header of theirs was at hand.
//!
//! Nothing here knows chains by their number. The claimed hash decides which rule a header follows: bytes
//! that hash to it are that block's, whichever rule named them.

use alloy_consensus::Header;
use alloy_primitives::{B64, B256, Bytes, U256, b256};
use alloy_rlp::{Decodable, Encodable, PayloadView};

/// What the mix hash is where validators agree by Istanbul.
const ISTANBUL: B256 = b256!("63746963616c2062797a616e74696e65206661756c7420746f6c6572616e6365");

/// Bytes before Istanbul's own part of the extra data.
const VANITY: usize = 32;

/// What a header has besides the fields of Ethereum's, or instead of some of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Form {
    #[default]
    Ethereum,
    Aura {
        step: u64,
        signature: Bytes,
    },
    Celo,
    Avalanche(Avalanche),
}

/// Fields of Avalanche's headers. All but the first came with a fork each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Avalanche {
    pub(super) ext_data_hash: B256,
    pub(super) ext_data_gas_used: Option<U256>,
    pub(super) block_gas_cost: Option<U256>,
    pub(super) timestamp_ms: Option<u64>,
    pub(super) min_delay_excess: Option<u64>,
}

/// Items of an RLP list, one after another.
#[derive(Default)]
struct List(Vec<u8>);

impl List {
    fn push(&mut self, item: &dyn Encodable) -> &mut Self {
        item.encode(&mut self.0);
        self
    }

    /// Fields that came with forks: one that is absent ends the list.
    fn optional(&mut self, items: &[Option<&dyn Encodable>]) {
        let last = items.iter().rposition(Option::is_some).map_or(0, |last| last + 1);
        for item in &items[..last] {
            match item {
                Some(item) => self.push(*item),
                None => self.push(&""), // A gap, which no chain has: zero, as go-ethereum writes it.
            };
        }
    }

    fn finish(self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.0.len() + 9);
        alloy_rlp::Header { list: true, payload_length: self.0.len() }.encode(&mut bytes);
        bytes.extend(self.0);
        bytes
    }
}

impl Form {
    /// The preimage of a block with this header.
    pub(super) fn encode(&self, header: &Header) -> Vec<u8> {
        let h = header;
        let mut list = List::default();
        match self {
            Self::Ethereum => return alloy_rlp::encode(header),
            Self::Celo => {
                list.push(&h.parent_hash).push(&h.beneficiary).push(&h.state_root);
                list.push(&h.transactions_root).push(&h.receipts_root).push(&h.logs_bloom);
                list.push(&h.number).push(&h.gas_used).push(&h.timestamp).push(&h.extra_data);
            }
            Self::Aura { step, signature } => {
                common(&mut list, h).push(step).push(signature);
                list.optional(&[h.base_fee_per_gas.as_ref().map(|fee| fee as _)]);
            }
            Self::Avalanche(own) => {
                common(&mut list, h).push(&h.mix_hash).push(&h.nonce).push(&own.ext_data_hash);
                list.optional(&[
                    h.base_fee_per_gas.as_ref().map(|field| field as _),
                    own.ext_data_gas_used.as_ref().map(|field| field as _),
                    own.block_gas_cost.as_ref().map(|field| field as _),
                    h.blob_gas_used.as_ref().map(|field| field as _),
                    h.excess_blob_gas.as_ref().map(|field| field as _),
                    h.parent_beacon_block_root.as_ref().map(|field| field as _),
                    own.timestamp_ms.as_ref().map(|field| field as _),
                    own.min_delay_excess.as_ref().map(|field| field as _),
                ]);
            }
        }
        list.finish()
    }

    /// The header whose preimage is `bytes`, and its form; `None` if they are no header's. A header has
    /// one preimage of each form: others are refused.
    pub(super) fn decode(bytes: &[u8]) -> Option<(Self, Header)> {
        let mut rest = bytes;
        let PayloadView::List(items) = alloy_rlp::Header::decode_raw(&mut rest).ok()? else {
            return None;
        };
        // Each item with its own head: a string of 32 bytes has 33.
        let long =
            |at: usize, length: usize| items.get(at).is_some_and(|item| item.len() == length + 1);
        let (form, header) = if items.len() == 10 {
            (Self::Celo, celo(&items)?)
        } else if !long(13, 32) {
            aura(&items)?
        } else if long(15, 32) {
            avalanche(&items)?
        } else {
            (Self::Ethereum, Header::decode(&mut &*bytes).ok()?)
        };
        (rest.is_empty() && form.encode(&header) == bytes).then_some((form, header))
    }
}

/// The thirteen fields that all forms but Celo's begin with.
fn common<'a>(list: &'a mut List, h: &Header) -> &'a mut List {
    list.push(&h.parent_hash).push(&h.ommers_hash).push(&h.beneficiary).push(&h.state_root);
    list.push(&h.transactions_root).push(&h.receipts_root).push(&h.logs_bloom);
    list.push(&h.difficulty).push(&h.number).push(&h.gas_limit).push(&h.gas_used);
    list.push(&h.timestamp).push(&h.extra_data)
}

/// Reads items in their order. Whether they are in their only encoding shows when they are encoded again.
struct Items<'a>(std::slice::Iter<'a, &'a [u8]>);

impl<'a> Items<'a> {
    fn new(items: &'a [&'a [u8]]) -> Self {
        Self(items.iter())
    }

    fn next<T: Decodable>(&mut self) -> Option<T> {
        T::decode(&mut &**self.0.next()?).ok()
    }

    /// A field that may be missing at the end; `Err` if it is there and wrong.
    fn optional<T: Decodable>(&mut self) -> Option<Option<T>> {
        if self.0.len() == 0 { Some(None) } else { self.next().map(Some) }
    }

    fn is_empty(&self) -> bool {
        self.0.len() == 0
    }

    fn common(&mut self) -> Option<Header> {
        Some(Header {
            parent_hash: self.next()?,
            ommers_hash: self.next()?,
            beneficiary: self.next()?,
            state_root: self.next()?,
            transactions_root: self.next()?,
            receipts_root: self.next()?,
            logs_bloom: self.next()?,
            difficulty: self.next()?,
            number: self.next()?,
            gas_limit: self.next()?,
            gas_used: self.next()?,
            timestamp: self.next()?,
            extra_data: self.next()?,
            ..Header::default()
        })
    }
}

fn celo(items: &[&[u8]]) -> Option<Header> {
    let mut items = Items::new(items);
    Some(Header {
        parent_hash: items.next()?,
        beneficiary: items.next()?,
        state_root: items.next()?,
        transactions_root: items.next()?,
        receipts_root: items.next()?,
        logs_bloom: items.next()?,
        number: items.next()?,
        gas_used: items.next()?,
        timestamp: items.next()?,
        extra_data: items.next()?,
        ..Header::default()
    })
}

fn aura(items: &[&[u8]]) -> Option<(Form, Header)> {
    let mut items = Items::new(items);
    let header = items.common()?;
    let form = Form::Aura { step: items.next()?, signature: items.next()? };
    let header = Header { base_fee_per_gas: items.optional()?, ..header };
    items.is_empty().then_some((form, header))
}

fn avalanche(items: &[&[u8]]) -> Option<(Form, Header)> {
    let mut items = Items::new(items);
    let mut header = items.common()?;
    (header.mix_hash, header.nonce) = (items.next()?, items.next::<B64>()?);
    let mut own = Avalanche { ext_data_hash: items.next()?, ..Avalanche::default() };
    header.base_fee_per_gas = items.optional()?;
    own.ext_data_gas_used = items.optional()?;
    own.block_gas_cost = items.optional()?;
    header.blob_gas_used = items.optional()?;
    header.excess_blob_gas = items.optional()?;
    header.parent_beacon_block_root = items.optional()?;
    own.timestamp_ms = items.optional()?;
    own.min_delay_excess = items.optional()?;
    items.is_empty().then_some((Form::Avalanche(own), header))
}

/// The extra data of a header as its hash has it, where that may be another than the header's own: without
/// the seals by which validators agreed on the block.
pub(super) fn unsealed(extra: &[u8], mix_hash: Option<B256>) -> Option<Bytes> {
    if mix_hash.is_some_and(|mix_hash| mix_hash != ISTANBUL && !mix_hash.is_zero()) {
        return None;
    }
    // Besu's begins with the list, the others with 32 bytes of anything.
    let besu = items(extra).filter(|items| matches!(items.len(), 4 | 5));
    let (vanity, mut items) = match besu {
        Some(items) => (&[][..], items),
        None => {
            let (vanity, list) = extra.split_at_checked(VANITY)?;
            (vanity, items(list)?)
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
    let mut list = List::default();
    items.iter().for_each(|item| list.0.extend_from_slice(item));
    Some([vanity, &list.finish()].concat().into())
}

/// The items of the list that `bytes` are, each with its own head.
fn items(mut bytes: &[u8]) -> Option<Vec<&[u8]>> {
    match alloy_rlp::Header::decode_raw(&mut bytes).ok()? {
        PayloadView::List(items) if bytes.is_empty() => Some(items),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::keccak256;

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

    #[test]
    fn every_form_is_told_from_the_others_by_its_bytes() {
        let header =
            Header { number: 7, timestamp: 9, difficulty: U256::from(3), ..Header::default() };
        let london = Header { base_fee_per_gas: Some(7), ..header.clone() };
        let signature = Bytes::from(vec![7; 65]);
        let first = Avalanche { ext_data_hash: B256::repeat_byte(9), ..Avalanche::default() };
        let last = Avalanche {
            ext_data_gas_used: Some(U256::ZERO),
            block_gas_cost: Some(U256::from(7)),
            timestamp_ms: Some(9_000),
            min_delay_excess: Some(1),
            ext_data_hash: first.ext_data_hash,
        };
        let cancun = Header {
            blob_gas_used: Some(0),
            excess_blob_gas: Some(0),
            parent_beacon_block_root: Some(B256::repeat_byte(3)),
            ..london.clone()
        };
        let celo = Header { difficulty: U256::ZERO, ..header.clone() };
        let table = [
            (Form::Ethereum, header.clone()),
            (Form::Ethereum, london.clone()),
            (Form::Aura { step: 0, signature: signature.clone() }, header.clone()),
            (Form::Aura { step: u64::MAX, signature }, london),
            (Form::Celo, celo),
            (Form::Avalanche(first), header),
            (Form::Avalanche(last), cancun),
        ];
        let mut hashes: Vec<_> = Vec::new();
        for (form, header) in table {
            let bytes = form.encode(&header);
            assert_eq!(Form::decode(&bytes), Some((form, header)));
            for cut in 0..bytes.len() {
                assert_eq!(Form::decode(&bytes[..cut]), None);
            }
            assert_eq!(
                Form::decode(&[&bytes[..], &[0]].concat()),
                None,
                "nothing follows a header"
            );
            hashes.push(keccak256(bytes));
        }
        let different: std::collections::BTreeSet<_> = hashes.iter().collect();
        assert_eq!(different.len(), hashes.len());
    }
}
