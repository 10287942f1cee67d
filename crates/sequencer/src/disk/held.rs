//! What a pool holds, as its lines fold to it, and what follows from that: without a disk.

use super::{lines::is_stale, record::Line};
use crate::{
    Block, Content, Error, Identity, Proposal, Sender, TRANSACTION_BYTES_MAX,
    TRANSACTION_BYTES_MIN, TRANSACTIONS_MAX, Transaction, shortened,
    timelock::{Ahead, NotInTime, named},
};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    ops::RangeInclusive,
};
use tidewatch_core::{ChainId, Digest, FaultKind, Height, Reason};

/// Where the delayed inbox is, by sender and nonce.
pub(super) const DELAYED: RangeInclusive<(Sender, u64)> =
    (Sender::DELAYED, 0)..=(Sender::DELAYED, u64::MAX);

/// Transactions that are in no block and are remembered with the reason, at the most.
const DROPPED_MAX: usize = 4096;

/// Transactions that are looked at and do not fit, at the most, until the rest waits for the next proposal. Otherwise the last
/// bytes of each proposal would cost a look at everything in the pool.
const MISSES_MAX: usize = 256;

/// How much a pool holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Transactions that wait or are reserved.
    pub transactions: usize,
    /// Their bytes.
    pub bytes: usize,
    /// Bytes of one transaction.
    pub transaction_bytes: usize,
}

impl Default for Limits {
    /// 100,000 transactions of 128 KiB at the most, and 256 MiB of them.
    fn default() -> Self {
        let bytes = 256 * 1024 * 1024;
        Self { transactions: 100_000, bytes, transaction_bytes: 128 * 1024 }
    }
}

/// Why a transaction was not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAccepted {
    /// The sender's nonce is used, by this or by another transaction.
    #[error("nonce {nonce} is used, the next one of this sender is {next}")]
    Used {
        /// The transaction's.
        nonce: u64,
        /// The sender's next.
        next: u64,
    },
    /// A transaction of this sender is missing before it.
    #[error("nonce {nonce} leaves a gap, the next one of this sender is {next}")]
    Gap {
        /// The transaction's.
        nonce: u64,
        /// The sender's next.
        next: u64,
    },
    /// It is too large.
    #[error("a transaction of {bytes} bytes, of {max} at the most")]
    Oversized {
        /// Its bytes.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// Its round is none of those that it may be sealed to now.
    #[error(transparent)]
    NotInTime(#[from] NotInTime),
    /// There is no room.
    #[error("the pool is full, with {transactions} transactions of {bytes} bytes")]
    Full {
        /// Transactions that are there.
        transactions: usize,
        /// Their bytes.
        bytes: usize,
    },
}

impl Reason for NotAccepted {
    fn kind(&self) -> FaultKind {
        match self {
            Self::Used { .. } => FaultKind::Behind,
            Self::Gap { .. } => FaultKind::Missing,
            Self::Oversized { .. } => FaultKind::Oversized,
            Self::NotInTime(NotInTime::Malformed) => FaultKind::Malformed,
            Self::NotInTime(NotInTime::TooEarly { .. } | NotInTime::TooFar { .. }) => {
                FaultKind::Behind
            }
            Self::NotInTime(NotInTime::Backlog | NotInTime::Overdue | NotInTime::NoRound)
            | Self::Full { .. } => FaultKind::Unavailable,
        }
    }
}

/// What the lines fold to.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) chain: Option<ChainId>,
    pub(super) settled: Height,
    /// By the order in which they were accepted.
    pub(super) queue: BTreeMap<u64, Transaction>,
    pub(super) ids: BTreeMap<Digest, u64>,
    /// Places by sender and nonce.
    pub(super) by_nonce: BTreeMap<(Sender, u64), u64>,
    pub(super) accepted: u64,
    pub(super) bytes: usize,
    pub(super) nonces: BTreeMap<Sender, u64>,
    pub(super) reserved: Option<(Proposal, BTreeSet<u64>)>,
    /// What is reserved without being there: of an earlier proposal, or the lines are damaged.
    pub(super) lost: Option<Identity>,
    /// Where the line that is folded is in the journal.
    pub(super) position: u64,
    /// Where the lines of those in the queue are, by place. Both ascend.
    pub(super) positions: BTreeMap<u64, u64>,
    /// What was given out last and is not reserved yet: in memory alone.
    pub(super) given: BTreeSet<u64>,
    pub(super) dropped: BTreeMap<Digest, String>,
    pub(super) oldest_dropped: VecDeque<Digest>,
    pub(super) locked: bool,
    /// The same, being written anew.
    pub(super) anew: Option<Box<Self>>,
}

/// How a journal is made shorter: lines to write, and the position before which all others are dropped then.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Shorter {
    pub(super) lines: Vec<Line>,
    pub(super) from: u64,
}

impl State {
    /// Folds the line at `position`.
    pub(super) fn fold_at(&mut self, position: u64, line: Line) -> Result<(), Error> {
        self.position = position;
        self.fold(line)
    }

    /// Whether everything that is reserved is there.
    ///
    /// # Errors
    ///
    /// It is not.
    pub(super) fn check_reserved(&self) -> Result<(), Error> {
        match self.lost {
            None => Ok(()),
            Some(identity) => Err(Error::Pool(format!("{identity} reserves what is not there"))),
        }
    }

    pub(super) fn fold(&mut self, line: Line) -> Result<(), Error> {
        if let Some(anew) = &mut self.anew
            && !matches!(line, Line::Base { .. } | Line::Complete | Line::Abandoned)
        {
            return anew.fold_at(self.position, line);
        }
        match line {
            Line::Base { chain, settled } => {
                let base = Self { chain: Some(chain), settled, ..Self::default() };
                match &self.chain {
                    // Files are dropped as a whole: the end of what is void may still be there.
                    None => *self = base,
                    Some(_) => self.anew = Some(Box::new(base)),
                }
            }
            Line::Since { chain, settled } => {
                (self.chain, self.settled) = (Some(chain), settled);
            }
            Line::Complete => {
                if let Some(anew) = self.anew.take() {
                    *self = *anew;
                }
            }
            Line::Abandoned => self.anew = None,
            Line::Nonce(sender, next) => {
                self.nonces.insert(sender, next);
            }
            Line::Accepted(transaction) => {
                self.accepted += 1;
                self.bytes += transaction.bytes();
                self.nonces.insert(transaction.sender, transaction.nonce.saturating_add(1));
                self.ids.insert(transaction.id(), self.accepted);
                self.by_nonce.insert((transaction.sender, transaction.nonce), self.accepted);
                self.positions.insert(self.accepted, self.position);
                self.queue.insert(self.accepted, transaction);
            }
            Line::Reserved { identity, time_ms, transactions } => {
                let places = transactions.iter().map(|id| self.ids.get(id).copied());
                let places: Option<Vec<_>> = places.collect();
                self.lost = places.is_none().then_some(identity);
                let Some(places) = places else {
                    // What it reserved was dropped from the journal, and is gone: a later line says so.
                    self.reserved = None;
                    return Ok(());
                };
                let there = |place: &u64| self.queue.get(place).cloned();
                let transactions = places.iter().filter_map(there).collect();
                let content = Content { time_ms, transactions };
                let proposal = Proposal { identity, content };
                self.given.clear();
                self.reserved = Some((proposal, places.into_iter().collect()));
            }
            Line::Released => (self.reserved, self.lost) = (None, None),
            Line::Settled { number, gone, nonces } => {
                self.settled = number;
                (self.reserved, self.lost) = (None, None);
                self.given.clear();
                gone.iter().for_each(|id| self.remove(id));
                self.nonces.extend(nonces);
            }
            Line::Dropped(id, reason) => {
                self.remove(&id);
                if self.dropped.insert(id, reason).is_none() {
                    self.oldest_dropped.push_back(id);
                }
                if self.oldest_dropped.len() > DROPPED_MAX
                    && let Some(oldest) = self.oldest_dropped.pop_front()
                {
                    self.dropped.remove(&oldest);
                }
            }
        }
        Ok(())
    }

    fn remove(&mut self, id: &Digest) {
        let Some(place) = self.ids.remove(id) else { return };
        self.positions.remove(&place);
        let Some(transaction) = self.queue.remove(&place) else { return };
        if let Some((_, places)) = &mut self.reserved {
            places.remove(&place);
        }
        self.by_nonce.remove(&(transaction.sender, transaction.nonce));
        self.bytes -= transaction.bytes();
    }

    pub(super) fn is_reserved(&self, place: u64) -> bool {
        self.reserved.as_ref().is_some_and(|(_, places)| places.contains(&place))
    }

    /// What is ordered before a transaction that is accepted now, in proposals of `bytes` at the most.
    pub(super) fn ahead(&self, bytes: usize) -> Ahead {
        let mut ahead = Ahead::new(bytes);
        let is_in_hand = |place: &u64| self.given.contains(place) || self.is_reserved(*place);
        let places = self.by_nonce.range(DELAYED).map(|(_, place)| place);
        let pooled = self.queue.iter().filter(|(_, it)| it.sender != Sender::DELAYED);
        for place in places.chain(pooled.map(|(place, _)| place)) {
            let Some(transaction) = self.queue.get(place) else { continue };
            let bytes = transaction.bytes();
            let round = match transaction.sender {
                Sender::DELAYED => None,
                _ => named(&transaction.payload),
            };
            if is_in_hand(place) {
                ahead.in_hand(bytes, round);
            } else {
                ahead.waits(bytes, round);
            }
        }
        ahead
    }

    pub(super) fn waiting(&self) -> usize {
        self.queue.len() - self.reserved.as_ref().map_or(0, |(_, places)| places.len())
    }

    /// How many lines would say the same.
    pub(super) fn counts(&self) -> usize {
        self.queue.len() + self.nonces.len() + self.dropped.len() + 2
    }

    /// How the journal, which has `end` lines and those before, is made shorter. What waits is accepted and leaves in one
    /// order, mostly: it is at the journal's end, and only what is before it is dropped. Of the journal there would be
    /// `left` then; where that is still too much, because the oldest one does not leave, all is written anew.
    pub(super) fn shorter(&self, end: u64, left: impl Fn(u64) -> u64) -> Shorter {
        let from = self.positions.first_key_value().map_or(end, |(_, position)| *position);
        let facts = self.facts();
        match is_stale(left(from) + facts.len() as u64, self.counts()) {
            false => Shorter { lines: facts, from },
            true => Shorter { lines: self.lines(), from: end },
        }
    }

    /// What was made of `shorter`, written from `end` on.
    pub(super) fn shortened(&mut self, shorter: &Shorter, end: u64) {
        if shorter.from != end {
            return;
        }
        let accepted = (end..)
            .zip(&shorter.lines)
            .filter_map(|(position, line)| matches!(line, Line::Accepted(_)).then_some(position));
        self.positions = self.queue.keys().copied().zip(accepted).collect();
    }

    fn dropped(&self) -> impl Iterator<Item = Line> {
        self.oldest_dropped.iter().filter_map(|id| {
            let reason = self.dropped.get(id)?;
            Some(Line::Dropped(*id, reason.clone()))
        })
    }

    /// Everything but the transactions that wait, once more: true wherever it is cut off.
    fn facts(&self) -> Vec<Line> {
        let settled = self.settled;
        let since = self.chain.clone().map(|chain| Line::Since { chain, settled });
        let nonces = self.nonces.iter().map(|(sender, next)| Line::Nonce(*sender, *next));
        let reserved = self.reserved.as_ref().map(|(proposal, _)| reservation(proposal));
        let reserved = reserved.unwrap_or(Line::Released);
        since.into_iter().chain(self.dropped()).chain(nonces).chain([reserved]).collect()
    }

    /// Lines that say the same.
    fn lines(&self) -> Vec<Line> {
        let settled = self.settled;
        let base = self.chain.clone().map(|chain| Line::Base { chain, settled });
        let dropped = self.dropped();
        let nonces = self.nonces.iter().map(|(sender, next)| Line::Nonce(*sender, *next));
        let accepted = self.queue.values().cloned().map(Line::Accepted);
        let reserved = self.reserved.as_ref().map(|(proposal, _)| reservation(proposal));
        let mut lines: Vec<_> = base.into_iter().chain(dropped).chain(accepted).collect();
        // After the transactions, whose lines count the nonces as well.
        lines.extend(nonces);
        lines.extend(reserved);
        lines.push(Line::Complete);
        lines
    }

    pub(super) fn check(
        &self,
        transaction: &Transaction,
        limits: &Limits,
    ) -> Result<(), NotAccepted> {
        let (nonce, bytes) = (transaction.nonce, transaction.payload.len());
        let max = limits.transaction_bytes.min(TRANSACTION_BYTES_MAX);
        if bytes > max {
            return Err(NotAccepted::Oversized { bytes, max });
        }
        let next = self.nonces.get(&transaction.sender).copied().unwrap_or_default();
        match nonce.cmp(&next) {
            std::cmp::Ordering::Less => return Err(NotAccepted::Used { nonce, next }),
            std::cmp::Ordering::Greater => return Err(NotAccepted::Gap { nonce, next }),
            // Nothing could come after the last one: it counts as used.
            std::cmp::Ordering::Equal if nonce == u64::MAX => {
                return Err(NotAccepted::Used { nonce, next });
            }
            std::cmp::Ordering::Equal => {}
        }
        let (transactions, there) = (self.queue.len(), self.bytes);
        if transactions >= limits.transactions || there + transaction.bytes() > limits.bytes {
            return Err(NotAccepted::Full { transactions, bytes: there });
        }
        Ok(())
    }

    /// What `block` means for the pool.
    pub(super) fn settle(&self, block: &Block) -> Vec<Line> {
        let transactions = &block.content.transactions;
        let mut used: BTreeMap<Sender, u64> = BTreeMap::new();
        let ids: BTreeSet<Digest> = transactions.iter().map(Transaction::id).collect();
        for Transaction { sender, nonce, .. } in transactions {
            let next = used.entry(*sender).or_default();
            *next = (*next).max(nonce.saturating_add(1));
        }
        let mut dropped = Vec::new();
        for (sender, next) in &used {
            let places = self.by_nonce.range((*sender, 0)..(*sender, *next));
            for id in places.filter_map(|(_, place)| Some(self.queue.get(place)?.id())) {
                if !ids.contains(&id) {
                    let number = block.identity.number;
                    let reason = format!("block {number} has another transaction with its nonce");
                    dropped.push(Line::Dropped(id, shortened(&reason)));
                }
            }
        }
        let known = |sender: &Sender| self.nonces.get(sender).copied().unwrap_or_default();
        let nonces = used.into_iter().filter(|(sender, next)| *next > known(sender)).collect();
        let gone = ids.into_iter().filter(|id| self.ids.contains_key(id)).collect();
        // What is dropped goes first: cut off between the two, the block is settled again.
        dropped.push(Line::Settled { number: block.identity.number, gone, nonces });
        dropped
    }
}

pub(super) fn reservation(proposal: &Proposal) -> Line {
    let transactions = proposal.content.transactions.iter().map(Transaction::id).collect();
    Line::Reserved { identity: proposal.identity, time_ms: proposal.content.time_ms, transactions }
}

/// Which of `delayed` and of `queue` go into one proposal of `bytes`, in this order, with their places: of each sender none
/// after one that does not fit. With no room left for even the smallest, or after [`MISSES_MAX`] that did not fit, the rest is
/// not looked at.
pub(super) fn select<'a>(
    delayed: impl Iterator<Item = (u64, &'a Transaction)>,
    queue: impl Iterator<Item = (u64, &'a Transaction)>,
    bytes: usize,
) -> Vec<(u64, Transaction)> {
    let mut left = bytes;
    let (mut chosen, mut skipped, mut misses) = (Vec::new(), BTreeSet::new(), 0);
    let pooled = queue.filter(|(_, it)| it.sender != Sender::DELAYED);
    for (place, transaction) in delayed.chain(pooled) {
        let full = left < TRANSACTION_BYTES_MIN || chosen.len() == TRANSACTIONS_MAX;
        if full || misses == MISSES_MAX {
            break;
        }
        let bytes = transaction.bytes();
        if skipped.contains(&transaction.sender) || bytes > left {
            skipped.insert(transaction.sender);
            misses += 1;
            continue;
        }
        left -= bytes;
        chosen.push((place, transaction.clone()));
    }
    chosen
}
