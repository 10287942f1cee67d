//! The pool, on disk.

use super::{
    held::{DELAYED, Limits, NotAccepted, State, reservation, select},
    lines::Lines,
    record::Line,
};
use crate::{
    Block, Error, Locked, Place, Pool, Proposal, Sender, TRANSACTION_BYTES_MIN, Transaction,
    timelock::{NotInTime, Window, sealed_to},
};
use commonware_consensus::types::Round;
use commonware_runtime::Spawner;
use commonware_storage::Context;
use commonware_utils::{
    channel::oneshot,
    sync::{AsyncMutex, Mutex},
};
use futures::{FutureExt as _, future::BoxFuture};
use std::{fmt, sync::Arc};
use tidewatch_core::{
    ChainId, Digest, Fault, Height,
    watch::{Receiver, Sender as Watch, watch},
};

const ABOUT: &str = "the sequencer's pool";

/// What a transaction must be, so that what is accepted is not dropped for its round.
#[derive(Clone, Debug)]
pub struct Door {
    /// The newest round that is known to be certified, at any moment.
    pub certified: Receiver<Option<Round>>,
    /// Bytes of one proposal, at the most: what [`Pool::select`] is called with.
    pub proposal_bytes: usize,
}

type Answers = Vec<Result<Digest, NotAccepted>>;

/// Transactions that wait to be written, and whoever waits for that.
struct Asked {
    transactions: Vec<Transaction>,
    door: Option<Door>,
    answer: oneshot::Sender<Result<Answers, Fault>>,
}

struct Inner<E: Context> {
    lines: AsyncMutex<Lines<E, Line>>,
    state: Mutex<State>,
    /// What is accepted with the next write: many callers cost one.
    asked: Mutex<Vec<Asked>>,
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
        let at = lines.end();
        lines.write(&new).await.map_err(failed)?;
        let end = lines.end();
        let (waiting, shorter) = {
            let mut state = self.state.lock();
            for (position, line) in (at..).zip(new) {
                state.fold_at(position, line).map_err(failed)?;
            }
            state.check_reserved().map_err(failed)?;
            let stale = lines.is_stale(state.counts());
            (state.waiting(), stale.then(|| state.shorter(end, |from| lines.left(from))))
        };
        if let Some(shorter) = shorter {
            lines.rewrite_from(&shorter.lines, shorter.from).await.map_err(failed)?;
            self.state.lock().shortened(&shorter, end);
        }
        self.waiting.change(|now| std::mem::replace(now, waiting) != waiting);
        Ok(answer)
    }

    /// Accepts what was asked for up to now.
    async fn accept(&self) {
        let mut asked = Vec::new();
        let accepted = self.change(|state| {
            asked = std::mem::take(&mut *self.asked.lock());
            decide(state, &asked, self.limits)
        });
        let accepted = accepted.await;
        let mut answers = accepted.map(Vec::into_iter);
        for Asked { answer, .. } in asked {
            let answered = match &mut answers {
                Ok(answers) => Ok(answers.next().unwrap_or_default()),
                Err(fault) => Err(fault.clone()),
            };
            let _ = answer.send(answered); // The caller may have left.
        }
    }
}

/// Which of the transactions are accepted, in their order.
fn decide(
    state: &State,
    asked: &[Asked],
    limits: Limits,
) -> Result<(Vec<Line>, Vec<Answers>), Fault> {
    let transactions = || asked.iter().flat_map(|asked| &asked.transactions);
    // As it will be after those of this write that come before.
    let next = |sender| Some((sender, *state.nonces.get(&sender)?));
    let nonces = transactions().filter_map(|it| next(it.sender)).collect();
    let (chain, bytes) = (state.chain.clone(), state.bytes);
    let mut after = State { chain, nonces, bytes, ..State::default() };
    let room = limits.transactions.saturating_sub(state.queue.len());
    let limits = Limits { transactions: room, ..limits };
    let (mut lines, mut ahead) = (Vec::new(), None);
    let mut accept = |transaction: &Transaction, door: Option<&Door>| {
        let checked = after.check(transaction, &limits).map_err(|error| match error {
            NotAccepted::Full { transactions, bytes } => {
                let transactions = transactions + state.queue.len();
                NotAccepted::Full { transactions, bytes }
            }
            error => error,
        });
        if let Err(why) = checked {
            return Ok(Err(why));
        }
        if let Some(Door { certified, proposal_bytes }) = door {
            let ahead = ahead.get_or_insert_with(|| state.ahead(*proposal_bytes));
            let bytes = transaction.bytes();
            let admitted = sealed_to(&transaction.payload).ok_or(NotInTime::Malformed);
            let admitted = admitted.and_then(|round| {
                let certified = certified.current().ok_or(NotInTime::NoRound)?;
                ahead.window(certified, bytes)?.admits(round)?;
                Ok(round)
            });
            match admitted {
                Ok(round) => ahead.waits(bytes, Some(round)),
                Err(why) => return Ok(Err(why.into())),
            }
        }
        let line = Line::Accepted(transaction.clone());
        after.fold(line.clone()).map_err(|error| Fault::new(ABOUT, error))?;
        lines.push(line);
        Ok(Ok(transaction.id()))
    };
    let mut answers = Vec::with_capacity(asked.len());
    for Asked { transactions, door, .. } in asked {
        let each = transactions.iter().map(|transaction| accept(transaction, door.as_ref()));
        answers.push(each.collect::<Result<Answers, Fault>>()?);
    }
    Ok((lines, answers))
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
        let lines =
            Lines::open(at, partition, "the pool", |position, line| state.fold_at(position, line));
        let mut lines = lines.await.map_err(failed)?;
        if state.anew.is_some() {
            lines.write(&[Line::Abandoned]).await.map_err(failed)?;
            state.fold(Line::Abandoned).map_err(failed)?;
        }
        state.check_reserved().map_err(failed)?;
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
        let asked = Mutex::default();
        let inner = Arc::new(Inner { lines, state, asked, waiting: watcher, limits });
        Ok(Self { context: Mutex::new(context), inner, waiting })
    }

    /// Accepts transactions, as many as can be, in one write: durable before it answers. One answer for each. What they
    /// are sealed to is not looked at.
    ///
    /// # Errors
    ///
    /// The disk: whether they were accepted is known after a restart.
    ///
    /// # Cancel safety
    ///
    /// Dropped, they are accepted all the same.
    pub async fn insert(&self, transactions: Vec<Transaction>) -> Result<Answers, Fault> {
        self.ask(transactions, None).await
    }

    /// The same for those that are sealed to a round that is late enough for the proposal that they will be in, and near
    /// enough for the others: see [`Ahead`](crate::timelock::Ahead). That is decided at the moment at which their place in
    /// the order is.
    ///
    /// # Errors
    ///
    /// As of [`insert`](Self::insert).
    ///
    /// # Cancel safety
    ///
    /// As of [`insert`](Self::insert).
    pub async fn admit(
        &self,
        transactions: Vec<Transaction>,
        door: &Door,
    ) -> Result<Answers, Fault> {
        self.ask(transactions, Some(door.clone())).await
    }

    /// The rounds that a transaction of so many bytes may be sealed to now.
    ///
    /// # Errors
    ///
    /// There is none.
    pub fn window(&self, door: &Door, bytes: usize) -> Result<Window, NotInTime> {
        let certified = door.certified.current().ok_or(NotInTime::NoRound)?;
        let ahead = self.inner.state.lock().ahead(door.proposal_bytes);
        ahead.window(certified, bytes.max(TRANSACTION_BYTES_MIN))
    }

    async fn ask(
        &self,
        transactions: Vec<Transaction>,
        door: Option<Door>,
    ) -> Result<Answers, Fault> {
        let (answer, answered) = oneshot::channel();
        self.inner.asked.lock().push(Asked { transactions, door, answer });
        let inner = self.inner.clone();
        let context = self.context.lock().child("write");
        // On a task of its own: see `change`. Whichever comes first accepts for all, and answers them.
        drop(context.spawn(move |_| async move { inner.accept().await }));
        answered.await.unwrap_or_else(|_| Err(Fault::new(ABOUT, Error::Stopped)))
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
        async move {
            // What is being written now was accepted for this proposal: it is waited for.
            let _writer = self.inner.lines.lock().await;
            let mut state = self.inner.state.lock();
            if state.locked {
                return Err(Locked);
            }
            let free = |place: &u64| {
                let transaction = state.queue.get(place)?;
                (!state.is_reserved(*place)).then_some((*place, transaction))
            };
            let delayed = state.by_nonce.range(DELAYED).filter_map(|(_, place)| free(place));
            let selected = select(delayed, state.queue.keys().filter_map(free), bytes);
            // From here on they are in hand: what is accepted now comes after them.
            state.given = selected.iter().map(|(place, _)| *place).collect();
            Ok(selected.into_iter().map(|(_, transaction)| transaction).collect())
        }
        .boxed()
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
