//! The pool, on disk.

use super::{lines::Lines, record::Line};
use crate::{
    Block, Content, Error, Locked, Place, Pool, Proposal, Sender, TRANSACTION_BYTES_MAX,
    TRANSACTION_BYTES_MIN, TRANSACTIONS_MAX, Transaction, shortened,
};
use commonware_runtime::Spawner;
use commonware_storage::Context;
use commonware_utils::sync::{AsyncMutex, Mutex};
use futures::{FutureExt as _, future::BoxFuture};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt,
    sync::Arc,
};
use tidewatch_core::{
    ChainId, Digest, Fault, FaultKind, Height, Reason,
    watch::{Receiver, Sender as Watch, watch},
};

const ABOUT: &str = "the sequencer's pool";
/// Transactions that are in no block and are remembered with the reason, at the most.
const DROPPED_MAX: usize = 4096;

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
            Self::Full { .. } => FaultKind::Unavailable,
        }
    }
}

/// What the lines fold to.
#[derive(Debug, Default)]
struct State {
    chain: Option<ChainId>,
    settled: Height,
    /// By the order in which they were accepted.
    queue: BTreeMap<u64, Transaction>,
    ids: BTreeMap<Digest, u64>,
    /// Places by sender and nonce.
    by_nonce: BTreeMap<(Sender, u64), u64>,
    accepted: u64,
    bytes: usize,
    nonces: BTreeMap<Sender, u64>,
    reserved: Option<(Proposal, BTreeSet<u64>)>,
    dropped: BTreeMap<Digest, String>,
    oldest_dropped: VecDeque<Digest>,
    locked: bool,
    /// The same, being written anew.
    anew: Option<Box<Self>>,
}

impl State {
    fn fold(&mut self, line: Line) -> Result<(), Error> {
        if let Some(anew) = &mut self.anew
            && !matches!(line, Line::Base { .. } | Line::Complete | Line::Abandoned)
        {
            return anew.fold(line);
        }
        if self.chain.is_none() && !matches!(line, Line::Base { .. }) {
            // Files are dropped as a whole: the end of what is void may still be there.
            return Ok(());
        }
        match line {
            Line::Base { chain, settled } => {
                let base = Self { chain: Some(chain), settled, ..Self::default() };
                match &self.chain {
                    None => *self = base,
                    Some(_) => self.anew = Some(Box::new(base)),
                }
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
                self.nonces.insert(transaction.sender, transaction.nonce + 1);
                self.ids.insert(transaction.id(), self.accepted);
                self.by_nonce.insert((transaction.sender, transaction.nonce), self.accepted);
                self.queue.insert(self.accepted, transaction);
            }
            Line::Reserved { identity, time_ms, transactions } => {
                let places = transactions.iter().map(|id| self.ids.get(id).copied());
                let places: Option<Vec<_>> = places.collect();
                let lost = || Error::Pool(format!("{identity} reserves what is not there"));
                let places = places.ok_or_else(lost)?;
                let there = |place: &u64| self.queue.get(place).cloned();
                let transactions = places.iter().filter_map(there).collect();
                let content = Content { time_ms, transactions };
                let proposal = Proposal { identity, content };
                self.reserved = Some((proposal, places.into_iter().collect()));
            }
            Line::Released => self.reserved = None,
            Line::Settled { number, gone, nonces } => {
                self.settled = number;
                self.reserved = None;
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
        let Some(transaction) = self.ids.remove(id).and_then(|place| self.queue.remove(&place))
        else {
            return;
        };
        self.by_nonce.remove(&(transaction.sender, transaction.nonce));
        self.bytes -= transaction.bytes();
    }

    fn is_reserved(&self, place: u64) -> bool {
        self.reserved.as_ref().is_some_and(|(_, places)| places.contains(&place))
    }

    fn waiting(&self) -> usize {
        self.queue.len() - self.reserved.as_ref().map_or(0, |(_, places)| places.len())
    }

    /// Lines that say the same.
    fn lines(&self) -> Vec<Line> {
        let settled = self.settled;
        let base = self.chain.clone().map(|chain| Line::Base { chain, settled });
        let dropped = self.oldest_dropped.iter().filter_map(|id| {
            let reason = self.dropped.get(id)?;
            Some(Line::Dropped(*id, reason.clone()))
        });
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

    fn check(&self, transaction: &Transaction, limits: &Limits) -> Result<(), NotAccepted> {
        let (nonce, bytes) = (transaction.nonce, transaction.payload.len());
        let max = limits.transaction_bytes.min(TRANSACTION_BYTES_MAX);
        if bytes > max {
            return Err(NotAccepted::Oversized { bytes, max });
        }
        let next = self.nonces.get(&transaction.sender).copied().unwrap_or_default();
        match nonce.cmp(&next) {
            std::cmp::Ordering::Less => return Err(NotAccepted::Used { nonce, next }),
            std::cmp::Ordering::Greater => return Err(NotAccepted::Gap { nonce, next }),
            std::cmp::Ordering::Equal => {}
        }
        let (transactions, there) = (self.queue.len(), self.bytes);
        if transactions >= limits.transactions || there + transaction.bytes() > limits.bytes {
            return Err(NotAccepted::Full { transactions, bytes: there });
        }
        Ok(())
    }

    /// What `block` means for the pool.
    fn settle(&self, block: &Block) -> Vec<Line> {
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

fn reservation(proposal: &Proposal) -> Line {
    let transactions = proposal.content.transactions.iter().map(Transaction::id).collect();
    Line::Reserved { identity: proposal.identity, time_ms: proposal.content.time_ms, transactions }
}

/// Which of `delayed` and of `queue` go into one proposal of `bytes`, in this order: of each sender none after one that
/// does not fit. With no room left for even the smallest, the rest is not looked at.
pub(super) fn select<'a>(
    delayed: impl Iterator<Item = &'a Transaction>,
    queue: impl Iterator<Item = &'a Transaction>,
    bytes: usize,
) -> Vec<Transaction> {
    let mut left = bytes;
    let (mut chosen, mut skipped) = (Vec::new(), BTreeSet::new());
    let pooled = queue.filter(|it| it.sender != Sender::DELAYED);
    for transaction in delayed.chain(pooled) {
        if left < TRANSACTION_BYTES_MIN || chosen.len() == TRANSACTIONS_MAX {
            break;
        }
        let bytes = transaction.bytes();
        if skipped.contains(&transaction.sender) || bytes > left {
            skipped.insert(transaction.sender);
            continue;
        }
        left -= bytes;
        chosen.push(transaction.clone());
    }
    chosen
}

struct Inner<E: Context> {
    lines: AsyncMutex<Lines<E, Line>>,
    state: Mutex<State>,
    waiting: Watch<usize>,
    limits: Limits,
}

impl<E: Context> Inner<E> {
    /// Decides on lines from the state, writes them, and folds them: one writer at a time.
    async fn change<T>(
        &self,
        decide: impl FnOnce(&State) -> Result<(Vec<Line>, T), Fault>,
    ) -> Result<T, Fault> {
        let failed = |error| Fault::new(ABOUT, error);
        let mut lines = self.lines.lock().await;
        let (new, answer) = decide(&self.state.lock())?;
        lines.write(&new).await.map_err(failed)?;
        let (waiting, stale) = {
            let mut state = self.state.lock();
            for line in new {
                state.fold(line).map_err(failed)?;
            }
            let counts = state.queue.len() + state.nonces.len() + state.dropped.len() + 2;
            (state.waiting(), lines.is_stale(counts).then(|| state.lines()))
        };
        if let Some(stale) = stale {
            lines.rewrite(&stale).await.map_err(failed)?;
        }
        self.waiting.change(|now| std::mem::replace(now, waiting) != waiting);
        Ok(answer)
    }
}

/// The pool, in a journal: nonces of a sender without a gap, in the order in which they were accepted.
pub struct DiskPool<E: Context + Spawner> {
    context: Mutex<E>,
    inner: Arc<Inner<E>>,
    waiting: Receiver<usize>,
}

impl<E: Context + Spawner> fmt::Debug for DiskPool<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DiskPool").field("waiting", &self.waiting.current()).finish_non_exhaustive()
    }
}

impl<E: Context + Spawner> DiskPool<E> {
    /// Opens the pool in `partition`, or begins it.
    ///
    /// # Errors
    ///
    /// It is of another chain, it is damaged, or the disk.
    pub async fn open(
        context: E,
        partition: &str,
        chain: ChainId,
        limits: Limits,
    ) -> Result<Self, Fault> {
        let failed = |error| Fault::new(ABOUT, error);
        let mut state = State::default();
        let (partition, at) = (format!("{partition}-pool"), context.child("pool"));
        let lines = Lines::open(at, partition, "the pool", |line| state.fold(line)).await;
        let mut lines = lines.map_err(failed)?;
        if state.anew.is_some() {
            lines.write(&[Line::Abandoned]).await.map_err(failed)?;
            state.fold(Line::Abandoned).map_err(failed)?;
        }
        match state.chain.clone() {
            None => {
                let base = Line::Base { chain, settled: Height::zero() };
                lines.write(std::slice::from_ref(&base)).await.map_err(failed)?;
                state.fold(base).map_err(failed)?;
            }
            Some(found) if found == chain => {}
            Some(found) => return Err(failed(Error::WrongChain { found, wanted: chain })),
        }
        let (watcher, waiting) = watch(state.waiting());
        let (lines, state) = (AsyncMutex::new(lines), Mutex::new(state));
        let inner = Arc::new(Inner { lines, state, waiting: watcher, limits });
        Ok(Self { context: Mutex::new(context), inner, waiting })
    }

    /// Accepts transactions, as many as can be, in one write: durable before it answers. One answer for each.
    ///
    /// # Errors
    ///
    /// The disk: whether they were accepted is known after a restart.
    ///
    /// # Cancel safety
    ///
    /// Dropped, they are accepted all the same.
    pub async fn insert(
        &self,
        transactions: Vec<Transaction>,
    ) -> Result<Vec<Result<Digest, NotAccepted>>, Fault> {
        let limits = self.inner.limits;
        self.change(move |state| {
            let (mut lines, mut answers) = (Vec::new(), Vec::new());
            // As it will be after those of this batch that come before.
            let next = |sender| Some((sender, *state.nonces.get(&sender)?));
            let nonces = transactions.iter().filter_map(|it| next(it.sender)).collect();
            let (chain, bytes) = (state.chain.clone(), state.bytes);
            let mut ahead = State { chain, nonces, bytes, ..State::default() };
            let room = limits.transactions.saturating_sub(state.queue.len());
            let limits = Limits { transactions: room, ..limits };
            for transaction in transactions {
                let checked = ahead.check(&transaction, &limits).map_err(|error| match error {
                    NotAccepted::Full { transactions, bytes } => {
                        let transactions = transactions + state.queue.len();
                        NotAccepted::Full { transactions, bytes }
                    }
                    error => error,
                });
                answers.push(checked.map(|()| transaction.id()));
                if answers.last().is_some_and(Result::is_ok) {
                    let line = Line::Accepted(transaction);
                    let folded = ahead.fold(line.clone());
                    folded.map_err(|error| Fault::new(ABOUT, error))?;
                    lines.push(line);
                }
            }
            Ok((lines, answers))
        })
        .await
    }

    /// Where a transaction is; `None` if it never was here, or left it with a block: the chain has it then.
    pub fn place(&self, id: &Digest) -> Option<Place> {
        let state = self.inner.state.lock();
        if let Some(reason) = state.dropped.get(id) {
            return Some(Place::Dropped(reason.clone()));
        }
        let place = *state.ids.get(id)?;
        let number = state.reserved.as_ref().map(|(proposal, _)| proposal.identity.number);
        match number {
            Some(number) if state.is_reserved(place) => Some(Place::Reserved(number)),
            _ => Some(Place::Pooled),
        }
    }

    /// The next nonce of `sender`.
    pub fn nonce(&self, sender: &Sender) -> u64 {
        self.inner.state.lock().nonces.get(sender).copied().unwrap_or_default()
    }

    /// Keeps everything in, or gives it out again.
    pub fn lock(&self, locked: bool) {
        self.inner.state.lock().locked = locked;
    }

    /// On a task of its own: a caller that leaves does not cut a write off.
    fn change<T: Send + 'static>(
        &self,
        decide: impl FnOnce(&State) -> Result<(Vec<Line>, T), Fault> + Send + 'static,
    ) -> BoxFuture<'static, Result<T, Fault>> {
        let inner = self.inner.clone();
        let context = self.context.lock().child("write");
        let changed = context.spawn(move |_| async move { inner.change(decide).await });
        async move { changed.await.unwrap_or_else(|_| Err(Fault::new(ABOUT, Error::Stopped))) }
            .boxed()
    }
}

impl<E: Context + Spawner> Pool for DiskPool<E> {
    fn select(&self, bytes: usize) -> BoxFuture<'_, Result<Vec<Transaction>, Locked>> {
        let state = self.inner.state.lock();
        let selected = if state.locked {
            Err(Locked)
        } else {
            let free = |place: &u64| {
                let transaction = state.queue.get(place)?;
                (!state.is_reserved(*place)).then_some(transaction)
            };
            let delayed = (Sender::DELAYED, 0)..=(Sender::DELAYED, u64::MAX);
            let delayed = state.by_nonce.range(delayed).filter_map(|(_, place)| free(place));
            Ok(select(delayed, state.queue.keys().filter_map(free), bytes))
        };
        futures::future::ready(selected).boxed()
    }

    fn reserve(&self, proposal: &Proposal) -> BoxFuture<'_, Result<(), Fault>> {
        let (identity, line) = (proposal.identity, reservation(proposal));
        self.change(move |state| {
            if let Some((there, _)) = &state.reserved
                && !there.identity.same(&identity)
            {
                let why = format!("{identity} is reserved beside {}", there.identity);
                return Err(Fault::new(ABOUT, Error::Pool(why)));
            }
            Ok((vec![line], ()))
        })
    }

    fn outstanding(&self) -> Option<Proposal> {
        self.inner.state.lock().reserved.as_ref().map(|(proposal, _)| proposal.clone())
    }

    fn release(&self) -> BoxFuture<'_, Result<(), Fault>> {
        self.change(|state| {
            let lines = state.reserved.as_ref().map(|_| Line::Released);
            Ok((lines.into_iter().collect(), ()))
        })
    }

    fn settle<'a>(&'a self, block: &'a Block) -> BoxFuture<'a, Result<(), Fault>> {
        let block = block.clone();
        self.change(move |state| {
            let new = block.identity.number > state.settled;
            Ok((if new { state.settle(&block) } else { Vec::new() }, ()))
        })
    }

    fn settled(&self) -> Height {
        self.inner.state.lock().settled
    }

    fn waiting(&self) -> Receiver<usize> {
        self.waiting.clone()
    }
}
