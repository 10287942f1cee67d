//! Etherlink: a list of eleven texts. What they say is written in hex, whatever it is.
//!
//! | field | what is written in hex |
//! |---|---|
//! | hash of the parent, roots of state, transactions and receipts, bloom, miner, extra data | its bytes; an absent one is an empty text |
//! | number | 32 bytes, the lowest first |
//! | gas limit | 8 bytes, the lowest first |
//! | gas used | its decimal digits |
//! | time | as RFC 3339, in UTC and whole seconds |
//!
//! The base fee and the mix hash are covered by nothing. By what its kernel does, in
//! `etherlink/kernel_latest/ethereum/src/block.rs` of `tezos/tezos-mirror`.

use super::{Items, List, Rule};
use alloy_consensus::Header;
use alloy_primitives::{Address, B256, Bloom, Bytes, hex};

pub(super) const RULE: Rule = Rule {
    is_plain: false,
    preimage: |header, json| json.is_whole().then(|| encode(header, true))?,
    header: decode,
};

/// Blocks without a miner, whom nodes write as the zero address.
pub(super) const NOBODYS: Rule = Rule {
    is_plain: false,
    preimage: |header, _| header.beneficiary.is_zero().then(|| encode(header, false))?,
    // The other one reads them as well.
    header: |_| None,
};

/// `None` for a time that RFC 3339 cannot write.
pub(super) fn encode(h: &Header, has_miner: bool) -> Option<Vec<u8>> {
    let mut number = [0; 32];
    number[..8].copy_from_slice(&h.number.to_le_bytes());
    let texts = [
        hex::encode(h.parent_hash),
        hex::encode(h.state_root),
        hex::encode(h.transactions_root),
        hex::encode(h.receipts_root),
        hex::encode(h.logs_bloom),
        if has_miner { hex::encode(h.beneficiary) } else { String::new() },
        hex::encode(number),
        hex::encode(h.gas_limit.to_le_bytes()),
        hex::encode(h.gas_used.to_string()),
        hex::encode(rfc_3339(h.timestamp)?),
        hex::encode(&h.extra_data),
    ];
    let mut list = List::default();
    for text in &texts {
        list.push(text);
    }
    Some(list.finish())
}

fn decode(bytes: &[u8]) -> Option<Header> {
    let mut items = Items::new(bytes)?;
    let mut next = || hex::decode(items.next::<String>()?).ok();
    let (parent, state, transactions, receipts) = (next()?, next()?, next()?, next()?);
    let (bloom, miner, number, gas_limit) = (next()?, next()?, next()?, next()?);
    let (gas_used, time, extra) = (next()?, next()?, next()?);
    let hash = |bytes: &[u8]| B256::try_from(bytes).ok();
    let header = Header {
        parent_hash: hash(&parent)?,
        state_root: hash(&state)?,
        transactions_root: hash(&transactions)?,
        receipts_root: hash(&receipts)?,
        logs_bloom: Bloom::try_from(&bloom[..]).ok()?,
        beneficiary: match &miner[..] {
            [] => Address::ZERO,
            miner => Address::try_from(miner).ok()?,
        },
        number: u64::from_le_bytes(number.get(..8)?.try_into().ok()?),
        gas_limit: u64::from_le_bytes(gas_limit.try_into().ok()?),
        gas_used: std::str::from_utf8(&gas_used).ok()?.parse().ok()?,
        timestamp: seconds(std::str::from_utf8(&time).ok()?)?,
        extra_data: Bytes::from(extra),
        ..Header::default()
    };
    (encode(&header, !miner.is_empty())? == bytes).then_some(header)
}

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;
/// The first second of the year 10000, which has no place in RFC 3339.
const END: u64 = 253_402_300_800;

fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

/// Days of a year's months.
fn months(year: u64) -> [u64; 12] {
    let february = if is_leap(year) { 29 } else { 28 };
    [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
}

/// Days from 1970 to the first of January of `year`.
fn days_to(year: u64) -> u64 {
    let leaps = |year: u64| year / 4 - year / 100 + year / 400;
    365 * (year - 1970) + leaps(year - 1) - leaps(1969)
}

fn rfc_3339(seconds: u64) -> Option<String> {
    (seconds < END).then_some(())?;
    let (days, time) = (seconds / DAY, seconds % DAY);
    let year = (1970 + days / 366..).find(|year| days < days_to(year + 1))?;
    let (mut day, mut month) = (days - days_to(year), 1);
    for days in months(year) {
        if day < days {
            break;
        }
        (day, month) = (day - days, month + 1);
    }
    let (hour, minute, second) = (time / HOUR, time % HOUR / MINUTE, time % MINUTE);
    Some(format!("{year:04}-{month:02}-{:02}T{hour:02}:{minute:02}:{second:02}Z", day + 1))
}

/// The seconds of a time as it is written here. Whether that was its only way shows when it is written again.
fn seconds(text: &str) -> Option<u64> {
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<u64>().ok();
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    (year >= 1970 && (1..=12).contains(&month) && day >= 1).then_some(())?;
    let days = days_to(year) + months(year).iter().zip(1..month).map(|(days, _)| days).sum::<u64>();
    Some((days + day - 1) * DAY + hour * HOUR + minute * MINUTE + second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_the_calendar_has_them() {
        let table = [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (951_868_799, "2000-02-29T23:59:59Z"),
            (1_704_067_199, "2023-12-31T23:59:59Z"),
            (1_709_210_096, "2024-02-29T12:34:56Z"),
            (4_107_542_399, "2100-02-28T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
            (END - 1, "9999-12-31T23:59:59Z"),
        ];
        for (at, text) in table {
            assert_eq!(rfc_3339(at).as_deref(), Some(text));
            assert_eq!(seconds(text), Some(at));
        }
        assert_eq!(rfc_3339(END), None);
        // Every day of four hundred years, against a calendar that was not made by the same hand.
        for day in (0..146_097).step_by(13) {
            let text = rfc_3339(day * DAY + 1).unwrap();
            let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(day * DAY + 1);
            let theirs = httpdate::fmt_http_date(time);
            let (date, year) = (&theirs[5..7], &theirs[12..16]);
            assert!(text.starts_with(year) && &text[8..10] == date, "{text} {theirs}");
            assert_eq!(seconds(&text), Some(day * DAY + 1));
        }
    }

    #[test]
    fn times_in_other_words_are_none() {
        for text in ["", "1969-12-31T00:00:00Z", "2024-00-01T00:00:00Z", "2024-13-01T00:00:00Z"] {
            assert_eq!(seconds(text), None, "{text}");
        }
        let header = Header { timestamp: 1_709_210_096, ..Header::default() };
        let preimage = encode(&header, true).unwrap();
        let zone = hex::encode("Z");
        let other = hex::encode("z");
        let at = preimage.windows(2).rposition(|at| at == zone.as_bytes()).unwrap();
        let mut changed = preimage.clone();
        changed[at..at + 2].copy_from_slice(other.as_bytes());
        assert!(decode(&preimage).is_some());
        assert_eq!(decode(&changed), None);
    }
}
